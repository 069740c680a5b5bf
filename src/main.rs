//! `mesos-slave`: an Apache Mesos agent that runs each executor in a KVM virtual machine of its own.
//!
//! This file turns arguments into a command and its outcome into an exit status; nothing else decides one.

mod api;
mod archive;
mod checkpoint;
mod checks;
mod container;
mod credential;
mod detector;
mod event_loop;
mod fetcher;
mod flags;
mod ids;
mod isolation;
mod libprocess;
mod local;
mod logging;
#[cfg(test)]
mod loopback;
mod messages;
mod path_map;
mod poll;
mod preflight;
mod process;
#[cfg(test)]
mod properties;
mod random;
mod resources;
mod secret_file;
mod slave;
mod start;
mod subprocess;
mod token;
mod vm;

use std::io::Write;
use std::process::ExitCode;

use flags::{CommandKind, FlagError, Parsed};

/// Wrong usage: a flag, its value, or where it came from.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let args = match flags::arguments(std::env::args_os().skip(1)) {
        Ok(args) => args,
        Err(error) => return usage(&error),
    };
    let rest = args.get(1..).unwrap_or_default();
    match args.first().map(String::as_str) {
        Some("execute") => parsed(CommandKind::Execute, rest),
        Some("help") => help(rest),
        Some("local-master") => parsed(CommandKind::LocalMaster, rest),
        // For ourselves only; see docs/design.md.
        Some("check-port") => checks::port::main(&std::env::args_os().skip(2).collect::<Vec<_>>()),
        Some("fetch") => fetcher::main(rest),
        Some("process-container") => process::main(rest),
        Some("vm-container") => vm::main(rest),
        Some("vm-bring") => vm::bring::main(&std::env::args_os().skip(2).collect::<Vec<_>>()),
        Some("vm-collect") => vm::collect::main(&std::env::args_os().skip(2).collect::<Vec<_>>()),
        Some("vm-hand-over") => vm::handover::main(rest),
        Some("vm-preflight") => preflight::main(rest),
        Some("vm-worker") => vm::worker::main(rest),
        _ => parsed(CommandKind::Slave, &args),
    }
}

/// `help`, `help execute`, and `help conf`: the annotated configuration file.
fn help(topic: &[String]) -> ExitCode {
    match topic.first().map(String::as_str) {
        Some("conf") => {
            logging::print(flags::conf_file().trim_end());
            ExitCode::SUCCESS
        }
        Some("execute") => parsed(CommandKind::Execute, &["--help".to_string()]),
        Some(other) if !other.starts_with('-') => {
            complain(&format_args!("no help on '{other}'; there is help, help execute and help conf"));
            ExitCode::from(USAGE)
        }
        _ => parsed(CommandKind::Slave, &["--help".to_string()]),
    }
}

fn parsed(command: CommandKind, args: &[String]) -> ExitCode {
    match flags::parse(command, args, flags::environment()) {
        Err(error) => usage(&error),
        Ok(Parsed::Help(text) | Parsed::Version(text)) => {
            logging::print(&text);
            ExitCode::SUCCESS
        }
        Ok(Parsed::Slave(flags)) => slave(&flags),
        Ok(Parsed::Execute(flags)) => {
            logging::to_stderr("execute", log::LevelFilter::Warn);
            local::execute::main(&flags)
        }
        Ok(Parsed::LocalMaster(flags)) => {
            logging::to_stderr("master", flags.logging_level);
            local::master::main(&local::master::Options {
                address: std::net::SocketAddrV4::new(flags.ip, flags.port),
                exit_with_parent: false,
            })
        }
    }
}

fn slave(flags: &flags::Flags) -> ExitCode {
    let terminal = match flags.log_dir.as_deref().map(start::redirect_log).transpose() {
        Ok(terminal) => terminal,
        Err(error) => return fail(&error),
    };
    logging::to_stderr("slave", flags.logging_level);
    match start::run(flags) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Who starts it by hand looks at the terminal, not into the log.
            if let Some(mut terminal) = terminal {
                let _ = writeln!(terminal, "mesos-slave: {error}");
            }
            fail(&error)
        }
    }
}

fn usage(error: &FlagError) -> ExitCode {
    complain(error);
    ExitCode::from(USAGE)
}

fn fail(error: &dyn std::fmt::Display) -> ExitCode {
    complain(error);
    ExitCode::FAILURE
}

/// If nobody can read it, the exit status still says it.
fn complain(error: &dyn std::fmt::Display) {
    let _ = writeln!(std::io::stderr(), "mesos-slave: {error}");
}
