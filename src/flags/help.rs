//! Texts made from the table: `--help` of each command, and `conf/mesos.conf`.

use std::fmt::Write;

use super::CommandKind;
use super::table::{self, Group, Row, Sources};

/// Widest line of the help, in columns.
const WIDTH: usize = 96;
/// Where the texts of the help begin.
const INDENT: usize = 34;

/// The help of a command.
pub(super) fn help(command: CommandKind) -> String {
    let mut text = introduction(command).to_string();
    let mut group: Option<Group> = None;
    for row in table::of(command) {
        if group.is_none_or(|group| group != row.group) {
            group = Some(row.group);
            let _ = write!(text, "\n{}:\n", title(command, row.group));
        }
        text.push_str(&entry(row));
    }
    text.push_str("\nOther:\n");
    let other = [("  -h, --help", "Show this."), ("      --version", "Show the version.")];
    for (left, right) in other {
        let _ = writeln!(text, "{left:INDENT$}{right}");
    }
    text.push_str(ending(command));
    text.trim_end().to_string()
}

fn introduction(command: CommandKind) -> &'static str {
    match command {
        CommandKind::Slave => {
            "mesos-slave: an Apache Mesos agent that can run each executor in a virtual machine of its own.\n\n\
             Usage: mesos-slave --master=HOST:PORT [--isolation=vm] [flags]\n       \
             mesos-slave execute --master=HOST:PORT|local --command=TEXT [flags]    (execute --help)\n       \
             mesos-slave help | --help | --version\n"
        }
        CommandKind::Execute => {
            "mesos-slave execute: runs a command or a task group on a cluster, follows it, exits as it does.\n\n\
             Usage: mesos-slave execute --master=HOST:PORT --command=TEXT [flags]\n       \
             mesos-slave execute --master=local [--isolation=vm] --command=TEXT [flags]\n       \
             mesos-slave execute --master=HOST:PORT|local --task_group=JSON|FILE [flags]\n"
        }
        CommandKind::LocalMaster => {
            "mesos-slave local-master: the embedded master, for one machine and for tests.\n\n\
             Usage: mesos-slave local-master [flags]\n"
        }
    }
}

fn title(command: CommandKind, group: Group) -> String {
    match (command, group) {
        (CommandKind::Execute, Group::Vm | Group::Directories | Group::Logging) => {
            format!("{}, only with --master=local", group.title())
        }
        _ => group.title().to_string(),
    }
}

fn ending(command: CommandKind) -> &'static str {
    match command {
        CommandKind::Slave => {
            "\nDurations: 500ms, 5secs, 15mins, 2hrs, 1days, 1weeks. Sizes: 64MB, 2GB.\n\
             Each flag may also be an environment variable (MESOS_WORK_DIR) or a line of the file that --conf\n\
             names (work_dir=...). The command line wins over the environment, the environment over the file.\n\
             'mesos-slave help conf' prints such a file with every key explained.\n"
        }
        CommandKind::Execute => {
            "\nDurations: 500ms, 5secs, 15mins, 2hrs, 1days, 1weeks. Sizes: 64MB, 2GB.\n\
             The task's flags are taken from the command line only, the others also from the environment\n\
             (MESOS_MASTER) and the file that --conf names. With --master=local, sandboxes and state are in a\n\
             temporary directory, which is removed at the end, unless --work_dir or --runtime_dir is given.\n"
        }
        CommandKind::LocalMaster => "",
    }
}

fn entry(row: &Row) -> String {
    let short = if row.short.is_empty() { "    ".to_string() } else { format!("-{}, ", row.short) };
    let long = if row.is_switch() { format!("--[no-]{}", row.name) } else { format!("--{}={}", row.name, row.hint) };
    let mut left = format!("  {short}{long}");
    let mut text = row.help.to_string();
    if let Some(default) = row.default {
        let _ = write!(text, " [{default}]");
    }
    let mut out = String::new();
    if left.len() + 2 > INDENT {
        let _ = writeln!(out, "{left}");
        left.clear();
    }
    for line in wrap(&text, WIDTH - INDENT) {
        let _ = writeln!(out, "{left:INDENT$}{line}");
        left.clear();
    }
    out
}

/// Breaks a text at spaces into lines of at most `width` columns.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last_mut().map_or(0, |line| line.len());
        if line > 0 && line + 1 + word.len() > width {
            lines.push(word.to_string());
        } else if let Some(last) = lines.last_mut() {
            if line > 0 {
                last.push(' ');
            }
            last.push_str(word);
        }
    }
    lines
}

/// `conf/mesos.conf`: every flag of the slave that a file may hold, as a comment, with its texts and its default.
pub fn conf_file() -> String {
    let mut text = String::from(
        "# Configuration of mesos-slave, for --conf=FILE (or a directory that holds mesos.conf).\n\
         # Lines are key=value; a comment has a line of its own. The command line and the environment\n\
         # (MESOS_<KEY>) win over this file. Every key is here with its default, commented out.\n",
    );
    let mut group: Option<Group> = None;
    for row in table::of(CommandKind::Slave).filter(|row| row.sources == Sources::Everywhere) {
        if group.is_none_or(|group| group != row.group) {
            group = Some(row.group);
            let _ = write!(text, "\n\n# ---- {} ----\n", row.group.title());
        }
        text.push('\n');
        let allowed = format!("Allowed: {}.", row.allowed);
        for line in [row.help, row.doc, &allowed].iter().filter(|part| !part.is_empty()).flat_map(|part| wrap(part, 96))
        {
            let _ = writeln!(text, "# {line}");
        }
        let _ = writeln!(text, "#{}={}", row.name, row.default.unwrap_or(""));
    }
    text
}
