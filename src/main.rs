//! `mesos-slave`: an Apache Mesos agent that runs each executor in a KVM virtual machine of its own.

mod ids;
mod libprocess;
mod messages;
mod poll;
mod subprocess;

fn main() {}
