//! `mesos-slave`: an Apache Mesos agent that runs each executor in a KVM virtual machine of its own.

mod api;
mod container;
mod flags;
mod ids;
mod libprocess;
mod local;
mod messages;
mod poll;
mod random;
mod resources;
mod slave;
mod subprocess;
mod vm;

fn main() {}
