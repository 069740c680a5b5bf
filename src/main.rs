//! `mesos-slave`: an Apache Mesos agent that runs each executor in a KVM virtual machine of its own.

mod container;
mod ids;
mod isolation;
mod messages;
mod poll;
mod subprocess;

fn main() {}
