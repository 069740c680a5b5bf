//! The table of flags. Each row is all that is known of one flag: names, default, who takes it and from where, its texts, and how its
//! value is read. Parser, `--help` and `conf/mesos.conf` are made from it, and tests walk it.

use super::{CommandKind, ExecuteFlags, Flags, LocalMasterFlags, Master, rows_fetch, rows_slave, rows_task, rows_vm};

/// What the rows' parsers fill in: the flags of every command, of which one command's are used.
#[derive(Debug, Default)]
pub(super) struct Settings {
    pub master: Option<Master>,
    pub slave: Flags,
    pub execute: ExecuteFlags,
    pub local_master: LocalMasterFlags,
}

/// Headings of `--help` and of the conf file, in the order of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Group {
    General,
    Task,
    Network,
    Authentication,
    Directories,
    Resources,
    Executors,
    Fetching,
    Vm,
    Logging,
}

impl Group {
    pub fn title(self) -> &'static str {
        match self {
            Group::General => "General",
            Group::Task => "The task",
            Group::Network => "Network",
            Group::Authentication => "Authentication to the master",
            Group::Directories => "Directories",
            Group::Resources => "What is offered",
            Group::Executors => "Executors",
            Group::Fetching => "Files that tasks name (URIs)",
            Group::Vm => "Virtual machines (--isolation=vm)",
            Group::Logging => "Log",
        }
    }
}

/// Where a value may come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sources {
    /// Command line, environment, conf file.
    Everywhere,
    /// Not from the conf file: `--conf` itself.
    NotFile,
    /// The command line only: what describes one task. (Inside a task, Mesos sets `MESOS_*` variables for other purposes.)
    CommandLine,
}

/// One flag.
pub(super) struct Row {
    /// Long name, with underscores as Mesos has them.
    pub name: &'static str,
    /// One letter, or none.
    pub short: &'static str,
    /// What stands for the value in the help; empty: a switch (`--x`, `--no-x`, `--x=true|false`).
    pub hint: &'static str,
    pub group: Group,
    pub commands: &'static [CommandKind],
    pub sources: Sources,
    /// `execute` takes it for the slave that `--master=local` starts, and hands it on.
    pub for_local_slave: bool,
    /// May be given more than once, with different values.
    pub repeatable: bool,
    /// Read by the row's own parser like any other value.
    pub default: Option<&'static str>,
    /// What the value may be; ends the sentence "allowed: ".
    pub allowed: &'static str,
    /// One line.
    pub help: &'static str,
    /// More, for the conf file; may be empty.
    pub doc: &'static str,
    /// Reads a value, or says why it will not do.
    pub set: fn(&mut Settings, &str) -> Result<(), String>,
}

impl Row {
    /// What all rows have in common; each names what differs.
    pub const PLAIN: Row = Row {
        name: "",
        short: "",
        hint: "",
        group: Group::General,
        commands: &[CommandKind::Slave],
        sources: Sources::Everywhere,
        for_local_slave: false,
        repeatable: false,
        default: None,
        allowed: "",
        help: "",
        doc: "",
        set: |_, _| Ok(()),
    };

    pub fn is_switch(&self) -> bool {
        self.hint.is_empty()
    }

    /// `MESOS_WORK_DIR`.
    #[cfg(test)]
    pub fn variable(&self) -> String {
        format!("MESOS_{}", self.name.to_uppercase())
    }
}

/// Stores what a parser made.
pub(super) fn put<T>(place: &mut T, value: Result<T, String>) -> Result<(), String> {
    *place = value?;
    Ok(())
}

/// Stores what a parser made where there may be nothing.
pub(super) fn put_some<T>(place: &mut Option<T>, value: Result<T, String>) -> Result<(), String> {
    *place = Some(value?);
    Ok(())
}

/// Every row, in the order in which help shows them.
pub(super) fn all() -> impl Iterator<Item = &'static Row> {
    rows_task::ROWS.iter().chain(rows_slave::ROWS).chain(rows_fetch::ROWS).chain(rows_vm::ROWS)
}

/// The rows of a command.
pub(super) fn of(command: CommandKind) -> impl Iterator<Item = &'static Row> {
    all().filter(move |row| row.commands.contains(&command))
}

/// A command's row by name.
pub(super) fn find(command: CommandKind, name: &str) -> Option<&'static Row> {
    of(command).find(|row| row.name == name)
}

/// Another command that has such a flag.
pub(super) fn elsewhere(command: CommandKind, name: &str) -> Option<CommandKind> {
    [CommandKind::Slave, CommandKind::Execute, CommandKind::LocalMaster]
        .into_iter()
        .find(|other| *other != command && find(*other, name).is_some())
}
