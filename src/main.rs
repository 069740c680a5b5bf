//! `mesos-slave`: an Apache Mesos agent that runs each executor in a KVM virtual machine of its own.
#![allow(dead_code)]

mod poll;
mod subprocess;
mod vm;

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<std::ffi::OsString> = std::env::args_os().skip(1).collect();
    match arguments.split_first() {
        Some((command, rest)) if command == "vm-collect" => vm::collect::main(rest),
        _ => ExitCode::from(2),
    }
}
