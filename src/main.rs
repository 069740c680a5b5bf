//! `mesos-slave`: an Apache Mesos agent that runs each executor in a KVM virtual machine of its own.
#![allow(dead_code)]

mod poll;
mod subprocess;
mod vm;

fn main() {}
