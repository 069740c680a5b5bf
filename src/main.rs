//! `mesos-slave`: an Apache Mesos agent that runs each executor in a KVM virtual machine of its own.

mod container;
mod ids;
mod messages;
mod poll;
mod subprocess;
mod vm;

use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.split_first() {
        Some((command, rest)) if command == "vm-worker" => vm::worker::main(rest),
        _ => ExitCode::from(2),
    }
}
