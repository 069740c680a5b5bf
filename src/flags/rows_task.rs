//! Rows of `execute` (one task) and of `local-master`.

use super::CommandKind::{Execute, LocalMaster};
use super::rows_slave::level;
use super::table::{Group, Row, Sources, put, put_some};
use super::values;
use crate::resources::{self, Resources};

use std::time::Duration;

const DAY: Duration = Duration::from_secs(86_400);

/// A task's rows: from the command line only.
const TASK: Row = Row { group: Group::Task, commands: &[Execute], sources: Sources::CommandLine, ..Row::PLAIN };

pub(super) static ROWS: &[Row] = &[
    Row {
        name: "command",
        short: "c",
        hint: "TEXT",
        allowed: "any text that is not empty; /bin/sh reads it where the task runs",
        help: "The command to run, read by /bin/sh where the task runs. Needed, or --task_group.",
        set: |s, v| put(&mut s.execute.command, task_command(v)),
        ..TASK
    },
    Row {
        name: "task_group",
        hint: "JSON|FILE",
        allowed: "the JSON of a TaskGroupInfo, or a file that holds it: a path, or file:///path",
        help: "A group of tasks to run in one container instead of a command: the JSON of Mesos' TaskGroupInfo, or a file that \
               holds it. No task needs an agent_id.",
        set: |s, v| put_some(&mut s.execute.task_group, task_command(v)),
        ..TASK
    },
    Row {
        name: "resources",
        hint: "RESOURCES",
        default: Some("cpus:1;mem:128"),
        allowed: "name:value pairs as in cpus:1;mem:128, with a number for cpus and for mem (megabytes)",
        help: "What the task needs.",
        set: |s, v| put(&mut s.execute.resources, task_resources(v)),
        ..TASK
    },
    Row {
        name: "env",
        short: "e",
        hint: "NAME=VALUE",
        repeatable: true,
        allowed: "NAME=VALUE; it may be given many times, with a name once",
        help: "A variable of the task's environment; may be given many times.",
        set: |s, v| {
            let (name, value) = variable(v)?;
            if s.execute.env.iter().any(|(other, _)| *other == name) {
                return Err(format!("'{name}' is given twice"));
            }
            s.execute.env.push((name, value));
            Ok(())
        },
        ..TASK
    },
    Row {
        name: "name",
        hint: "TEXT",
        allowed: "text of 1 to 255 bytes without control characters",
        help: "The task's name, for people to read.",
        set: |s, v| put_some(&mut s.execute.name, label(v)),
        ..TASK
    },
    Row {
        name: "user",
        hint: "USER",
        allowed: "a user's name: letters, digits, '.', '_', '-'; at most 32 characters",
        help: "Whom the command runs as. In a VM it must be a user of the image.",
        set: |s, v| put_some(&mut s.execute.user, values::user(v)),
        ..TASK
    },
    Row {
        name: "timeout",
        hint: "DURATION",
        allowed: "a duration from 1secs to 365days",
        help: "Kill the task after this time.",
        set: |s, v| put_some(&mut s.execute.timeout, values::duration(v, Duration::from_secs(1)..=DAY * 365)),
        ..TASK
    },
    Row {
        name: "ip",
        hint: "IP",
        group: Group::Network,
        commands: &[LocalMaster],
        sources: Sources::CommandLine,
        default: Some("127.0.0.1"),
        allowed: "an IPv4 address of this host",
        help: "The address to listen on.",
        set: |s, v| put(&mut s.local_master.ip, values::ip(v)),
        ..Row::PLAIN
    },
    Row {
        name: "port",
        hint: "PORT",
        group: Group::Network,
        commands: &[LocalMaster],
        sources: Sources::CommandLine,
        default: Some("5050"),
        allowed: "a number from 0 to 65535; 0 takes any free port",
        help: "The port to listen on.",
        set: |s, v| put(&mut s.local_master.port, values::port(v, 0)),
        ..Row::PLAIN
    },
    Row {
        name: "logging_level",
        hint: "LEVEL",
        group: Group::Logging,
        commands: &[LocalMaster],
        default: Some("INFO"),
        allowed: "TRACE, DEBUG, INFO, WARNING or ERROR",
        help: "How much goes into the log.",
        set: |s, v| put(&mut s.local_master.logging_level, level(v)),
        ..Row::PLAIN
    },
];

fn task_command(text: &str) -> Result<String, String> {
    if text.trim().is_empty() { Err("it is empty".into()) } else { Ok(text.into()) }
}

fn task_resources(text: &str) -> Result<String, String> {
    let list = resources::parse(text).map_err(|error| error.to_string())?;
    let sum: Resources = list.into_iter().collect();
    match ["cpus", "mem"].iter().find(|name| sum.scalar(name).is_none()) {
        Some(name) => Err(format!("it has no {name}, or none above 0")),
        None => Ok(text.into()),
    }
}

fn variable(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some(("", _)) => Err("it has no name".into()),
        Some((name, value)) => Ok((name.into(), value.into())),
        None => Err("it has no '='".into()),
    }
}

fn label(text: &str) -> Result<String, String> {
    match text.len() {
        0 => Err("it is empty".into()),
        1..=255 if !text.chars().any(char::is_control) => Ok(text.into()),
        1..=255 => Err("it holds a control character".into()),
        length => Err(format!("it has {length} bytes")),
    }
}
