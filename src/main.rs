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
mod random;
mod resources;
mod slave;
mod start;
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
