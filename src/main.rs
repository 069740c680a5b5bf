//! `mesos-slave`: an Apache Mesos agent that runs each executor in a KVM virtual machine of its own.

mod flags;
mod ids;
mod messages;
mod poll;
mod resources;
mod subprocess;

fn main() {}
