//! From texts to typed flags: each value by its row's parser, then what must go together.

use std::path::Path;

use super::error::{FlagError, Origin};
use super::gather::Given;
use super::mappings::is_mapping;
use super::table::{self, Group, Settings};
use super::zookeeper::without_secret;
use super::{CommandKind, ExecuteFlags, Flags, Isolation, Master, Parsed};
use crate::path_map::Mapping;

/// Reads every value and checks them against each other.
///
/// # Errors
/// The first bad value, missing flag or contradiction.
pub(super) fn resolve(command: CommandKind, given: &[Given]) -> Result<Parsed, FlagError> {
    let mut settings = Settings::default();
    for each in given {
        (each.row.set)(&mut settings, &each.value).map_err(|why| bad_value(each, why))?;
    }
    match command {
        CommandKind::Slave => slave(settings, given).map(|flags| Parsed::Slave(Box::new(flags))),
        CommandKind::Execute => execute(settings, given).map(|flags| Parsed::Execute(Box::new(flags))),
        CommandKind::LocalMaster => Ok(Parsed::LocalMaster(settings.local_master)),
    }
}

fn bad_value(given: &Given, why: String) -> FlagError {
    FlagError::BadValue {
        key: given.row.name,
        value: printable(&without_secret(&given.value)),
        origin: given.origin.clone(),
        why,
        allowed: given.row.allowed,
    }
}

/// The value as a terminal may show it, shortened.
fn printable(value: &str) -> String {
    let escape = |c: char| {
        if c.is_control() { c.escape_default().to_string() } else { c.to_string() }
    };
    value.chars().take(200).map(escape).collect()
}

fn missing(command: CommandKind, key: &'static str) -> FlagError {
    let allowed = table::find(command, key).map_or("a value", |row| row.allowed);
    FlagError::Missing { key, allowed, help: command.text() }
}

fn slave(settings: Settings, given: &[Given]) -> Result<Flags, FlagError> {
    let mut flags = settings.slave;
    flags.master = settings.master.ok_or_else(|| missing(CommandKind::Slave, "master"))?;
    if flags.vm.image_dir.as_os_str().is_empty() {
        flags.vm.image_dir = flags.vm.dir.join("images");
    }
    if flags.fetcher.cache_dir.as_os_str().is_empty() {
        flags.fetcher.cache_dir = flags.work_dir.join("fetch");
    }
    if flags.work_dir == flags.runtime_dir {
        return Err(FlagError::Contradiction {
            first: said(given, "work_dir"),
            second: said(given, "runtime_dir"),
            advice:
                "sandboxes outlive a reboot and the state of running containers does not; give them two directories"
                    .into(),
        });
    }
    if flags.authentication_timeout_max < flags.authentication_timeout_min {
        return Err(FlagError::Contradiction {
            first: said(given, "authentication_timeout_max"),
            second: said(given, "authentication_timeout_min"),
            advice: "the most must not be less than the least".into(),
        });
    }
    if flags.authenticate_http_executors && flags.jwt_secret_key.is_none() {
        return Err(FlagError::Contradiction {
            first: said(given, "authenticate_http_executors"),
            second: said(given, "jwt_secret_key"),
            advice: "executors get the tokens that they are to show by --jwt_secret_key=FILE only".into(),
        });
    }
    if flags.master == Master::Local && flags.credential.take().is_some() {
        flags.warnings.push("the embedded master has no authentication: --credential has no effect".into());
    }
    sandboxes_stay(&flags)?;
    flags.warnings.extend(idle_vm_flags(given, flags.isolation));
    Ok(flags)
}

/// A sandbox has the same path in its guest: no mapping may reach it.
fn sandboxes_stay(flags: &Flags) -> Result<(), FlagError> {
    let sandboxes = flags.work_dir.join("slaves");
    let reaches =
        |mapping: &&Mapping| sandboxes.starts_with(&mapping.host) || Path::new(&mapping.host).starts_with(&sandboxes);
    match flags.path_map.mappings().find(reaches) {
        None => Ok(()),
        Some(mapping) => Err(FlagError::Contradiction {
            first: format!("the mapping {mapping}"),
            second: format!("--work_dir={}", flags.work_dir.display()),
            advice: "sandboxes are below it, and have the same paths in guests; map narrower directories, or choose another work_dir".into(),
        }),
    }
}

fn execute(settings: Settings, given: &[Given]) -> Result<ExecuteFlags, FlagError> {
    let mut flags = settings.execute;
    flags.master = settings.master.ok_or_else(|| missing(CommandKind::Execute, "master"))?;
    match (&flags.task_group, flags.command.is_empty()) {
        (Some(_), _) => group_alone(given)?,
        (None, true) => return Err(missing(CommandKind::Execute, "command")),
        (None, false) => {}
    }
    if flags.master != Master::Local {
        no_local_flags(given, &flags.master)?;
        return Ok(flags);
    }
    flags.isolation = settings.slave.isolation;
    flags.slave_arguments = slave_arguments(given);
    flags.warnings.extend(idle_vm_flags(given, flags.isolation));
    Ok(flags)
}

/// A group describes its tasks itself.
fn group_alone(given: &[Given]) -> Result<(), FlagError> {
    let of_a_command = ["command", "resources", "env", "name", "user"];
    let typed = |given: &&Given| of_a_command.contains(&given.row.name) && given.origin != Origin::Default;
    match given.iter().find(typed) {
        None => Ok(()),
        Some(given) => Err(FlagError::Contradiction {
            first: format!("--{}", given.row.name),
            second: "--task_group".into(),
            advice: "the group's JSON says it of each task".into(),
        }),
    }
}

/// With a master elsewhere no slave is started here. In the environment or a file such flags may be for another command.
fn no_local_flags(given: &[Given], master: &Master) -> Result<(), FlagError> {
    let typed = |given: &&Given| given.row.for_local_slave && matches!(given.origin, Origin::CommandLine(_));
    match given.iter().find(typed) {
        None => Ok(()),
        Some(given) => Err(FlagError::Contradiction {
            first: format!("--{}", given.row.name),
            second: format!("--master={master}"),
            advice:
                "'execute' starts a slave of its own only with --master=local; slaves that run have their own flags"
                    .into(),
        }),
    }
}

fn slave_arguments(given: &[Given]) -> Vec<String> {
    given
        .iter()
        .filter(|given| given.origin != Origin::Default && (given.row.for_local_slave || given.row.name == "conf"))
        .map(|given| format!("--{}={}", given.row.name, given.value))
        .collect()
}

fn idle_vm_flags(given: &[Given], isolation: Isolation) -> Option<String> {
    let is_mapping = |given: &Given| is_mapping(given.row.hint, &given.value);
    let is_of_vms = |given: &Given| given.row.group == Group::Vm || is_mapping(given);
    let idle = |given: &&Given| is_of_vms(given) && given.origin != Origin::Default;
    let names: Vec<_> = given
        .iter()
        .filter(idle)
        .map(|given| format!("--{}{}", given.row.name, if is_mapping(given) { "'s GUEST" } else { "" }))
        .collect();
    match isolation {
        Isolation::Process if !names.is_empty() => {
            Some(format!("without --isolation=vm, these have no effect: {}", names.join(", ")))
        }
        Isolation::Process | Isolation::Vm => None,
    }
}

fn said(given: &[Given], name: &str) -> String {
    match given.iter().find(|given| given.row.name == name) {
        Some(given) => format!("--{name}={} ({})", without_secret(&given.value), given.origin),
        None => format!("--{name}"),
    }
}

impl ExecuteFlags {
    /// Whether [`ExecuteFlags::slave_arguments`] already hold a flag of this name.
    pub fn slave_has(&self, name: &str) -> bool {
        let start = format!("--{name}=");
        self.slave_arguments.iter().any(|argument| argument.starts_with(&start))
    }
}
