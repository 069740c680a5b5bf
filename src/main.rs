//! `mesos-slave`: an Apache Mesos agent that runs each executor in a KVM virtual machine of its own.

mod api;
mod container;
mod event_loop;
mod flags;
mod ids;
mod isolation;
mod libprocess;
mod local;
mod messages;
mod poll;
mod preflight;
mod random;
mod resources;
mod slave;
mod start;
mod subprocess;
mod vm;

fn main() {}
