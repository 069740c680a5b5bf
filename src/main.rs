//! `mesos-slave`: an Apache Mesos agent that runs each executor in a KVM virtual machine of its own.
#![allow(dead_code)]

mod container;
mod flags;
mod ids;
mod isolation;
mod libprocess;
mod local;
mod messages;
mod poll;
mod process;
mod random;
mod resources;
mod slave;
mod subprocess;
mod vm;

use std::ffi::OsString;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    match arguments.split_first() {
        Some((command, rest)) if command == "vm-collect" => vm::collect::main(rest),
        Some((command, rest)) if command == "process-container" => process::main(rest),
        _ => ExitCode::from(2),
    }
}
