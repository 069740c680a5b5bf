//! `mesos-slave`: an Apache Mesos agent that runs each executor in a KVM virtual machine of its own.

mod container;
mod flags;
mod ids;
mod local;
mod messages;
mod poll;
mod preflight;
mod resources;
mod random;
mod slave;
mod subprocess;
mod vm;

fn main() {}
