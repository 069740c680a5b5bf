//! The launcher: the script that runs an executor's command in the guest. It needs nothing there but a POSIX shell and the
//! tools that come with one (coreutils and util-linux, or busybox), and holds everything that came from outside as
//! single-quoted words.
//!
//! ```text
//! ssh … sh <state>/launcher start     →  pid=4711        the command runs, detached from ssh, in a session of its own
//!                                        boot_id=…
//! ssh … sh <state>/launcher wait      →  exit=0          (or signal=9), when it has ended
//!                                        stdout=1234
//!                                        stderr=0
//!                                        oom=1           if the guest's kernel has killed processes for want of memory
//! ssh … sh <state>/launcher kill TERM →                  to the whole session and all descendants
//! ssh … sh <state>/launcher check health → exit=0        a check's command, as the same user, when it has ended
//! ssh … sh <state>/launcher end-check health →           all that it has started is killed
//! ```
//!
//! `launcher.sh` has the verbs; this room puts the values above them and reads what they print.

use std::fmt;

use crate::subprocess::{Exit, JobEnd};

use super::quote::quote;

/// Where the guest keeps a container's launcher, pid and exit status; only root can write there.
pub const STATE_ROOT: &str = "/run/mesos-slave";

/// Longest single argument or variable, with its NUL, that Linux takes (`MAX_ARG_STRLEN`: 32 pages).
pub const LONGEST_WORD: usize = 128 * 1024;

/// The exit status of `start` when the user does not exist in the guest.
const NO_USER: i32 = 3;
/// The exit status of `wait` when no command was started since the guest's boot.
const NOT_STARTED: i32 = 4;
/// The exit status of `start` when ssh's user is neither root nor the command's user.
const NO_ROOT: i32 = 5;
/// The exit status of `wait` when the supervisor was killed.
const LOST: i32 = 6;

/// What the command is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Program {
    /// `/bin/sh -c` of this text (`CommandInfo.shell`).
    Shell(String),
    /// The file to execute, and its arguments, the first of which is its `argv[0]` (`CommandInfo.shell` false).
    Exec {
        /// Looked up in the command's `PATH` when it has no slash.
        file: String,
        /// May be empty: then `argv[0]` is the file.
        arguments: Vec<String>,
    },
}

/// All that the launcher of one executor holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LauncherScript {
    /// The launcher's own directory in the guest, [`state_directory`] of the container.
    pub state: String,
    /// The sandbox in the guest, absolute.
    pub sandbox: String,
    /// Who runs the command; `None`: the user that ssh logs in as.
    pub user: Option<String>,
    /// The environment, complete and in order; a later value for a name wins. `HOME`, `USER`, `LOGNAME`, `SHELL` and `PATH` are added
    /// when they are not named.
    pub environment: Vec<(String, String)>,
    /// The command.
    pub program: Program,
    /// The slave's hostname, which is to lead to the guest itself.
    pub hostname: Option<String>,
    /// The command is an executor, which is told the guest's address as `LIBPROCESS_IP`.
    pub names_address: bool,
    /// The commands of its checks.
    pub checks: Vec<Job>,
}

/// A command that is run beside the task's, by the same user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// Its name in the launcher, and of the file with its pid: a word of letters.
    pub name: &'static str,
    /// Its environment, as that of [`LauncherScript`].
    pub environment: Vec<(String, String)>,
    /// The command.
    pub program: Program,
}

/// Why there can be no launcher for a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LauncherError {
    /// The user's name cannot be one.
    User(String),
    /// A variable's name is empty or has a `=` or a NUL.
    VariableName(String),
    /// A NUL in a text that becomes an argument or a variable.
    Nul(String),
    /// A text longer than Linux lets an argument or a variable be.
    TooLong(String, usize),
    /// The sandbox or the state directory is not an absolute path.
    Path(String),
}

impl fmt::Display for LauncherError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LauncherError::User(name) => write!(
                f,
                "the user {} cannot be a user of the guest: a name is a letter or '_', then letters, digits, '_', '.', '-'",
                shorten(name)
            ),
            LauncherError::VariableName(name) => {
                write!(
                    f,
                    "the environment variable {} cannot be set: a name is not empty and has no '=' and no NUL",
                    shorten(name)
                )
            }
            LauncherError::Nul(what) => {
                write!(f, "{what} has a NUL byte, which no program can be given")
            }
            LauncherError::TooLong(what, length) => {
                write!(
                    f,
                    "{what} has {length} bytes, and Linux gives a program at most {} in one; put it in a file",
                    LONGEST_WORD - 1
                )
            }
            LauncherError::Path(path) => write!(f, "{} is not an absolute path", shorten(path)),
        }
    }
}

impl std::error::Error for LauncherError {}

/// A hostile text fit for a log line: escaped and not long.
fn shorten(text: &str) -> String {
    let start: String = text.chars().take(64).collect();
    if start.len() < text.len() { format!("{start:?}…") } else { format!("{start:?}") }
}

/// Where the guest keeps this container's launcher.
pub fn state_directory(container_id: &str) -> String {
    format!("{STATE_ROOT}/{container_id}")
}

/// Where the launcher is to be copied.
pub fn path(state: &str) -> String {
    format!("{state}/launcher")
}

/// The remote command for a verb: `start`, `wait`, `kill TERM`, `kill KILL`.
pub fn verb(state: &str, verb: &str) -> String {
    format!("exec /bin/sh {} {verb}", quote(&path(state)))
}

/// Whether a name can be a user's: `[A-Za-z_][A-Za-z0-9_.-]{0,255}\$?`, which no tool can take for an option, a number or a path.
///
/// # Errors
/// [`LauncherError::User`].
pub fn check_user(name: &str) -> Result<(), LauncherError> {
    let stem = name.strip_suffix('$').unwrap_or(name);
    let mut bytes = stem.bytes();
    let first = bytes.next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_');
    let rest = bytes.all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte));
    if first && rest && stem.len() <= 256 { Ok(()) } else { Err(LauncherError::User(name.to_string())) }
}

/// The text of the launcher.
///
/// # Errors
/// The first value that cannot be handed to a program on Linux.
pub fn script(launcher: &LauncherScript) -> Result<Vec<u8>, LauncherError> {
    if let Some(user) = &launcher.user {
        check_user(user)?;
    }
    for path in [&launcher.state, &launcher.sandbox] {
        check_word("the path", path.len(), path)?;
        if !path.starts_with('/') {
            return Err(LauncherError::Path(path.clone()));
        }
    }
    let mut text =
        String::from("#!/bin/sh\n# Made by mesos-slave: runs one executor's command in its virtual machine.\n");
    text.push_str("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\nexport PATH\n");
    text.push_str(&format!("state={}\n", quote(&launcher.state)));
    text.push_str(&format!("sandbox={}\n", quote(&launcher.sandbox)));
    text.push_str(&format!("user={}\n", quote(launcher.user.as_deref().unwrap_or(""))));
    let hostname = launcher.hostname.as_deref().filter(|name| is_hostname(name)).unwrap_or("");
    text.push_str(&format!("hostname={}\nhosts=/etc/hosts\nvmstat=/proc/vmstat\n\n", quote(hostname)));
    text.push_str("task() {\n    exec setsid /bin/sh -c \"$stub\" \"$boot\" \"$state\" \"$@\" env -i --");
    if launcher.names_address {
        text.push_str(" \\\n        \"LIBPROCESS_IP=$address\"");
    }
    environment(&mut text, &launcher.environment)?;
    program(&mut text, &launcher.program)?;
    text.push_str("\n}\n\n");
    for check in &launcher.checks {
        job(&mut text, check)?;
    }
    text.push_str(include_str!("launcher.sh"));
    Ok(text.into_bytes())
}

/// A function as `task`, which records itself elsewhere.
fn job(text: &mut String, job: &Job) -> Result<(), LauncherError> {
    let name = job.name;
    text.push_str(&format!("{name}_job() {{\n    exec setsid /bin/sh -c \"$mark\" \"$state/{name}\" \"$@\" env -i --"));
    environment(text, &job.environment)?;
    text.push_str(&format!(" \\\n        /bin/sh -c {} {name}", quote(WITH_STDERR)));
    program(text, &job.program)?;
    text.push_str("\n}\n\n");
    Ok(())
}

/// What a check prints goes where the task's own errors go (Mesos: the executor's). The file is opened by the user, who may have put
/// anything in its place; when it cannot be, the output is lost.
const WITH_STDERR: &str = r#"if true 2>/dev/null >>stderr; then exec >>stderr 2>&1; fi; exec "$@""#;

/// Whether `/etc/hosts` can have this name: letters, digits, `.`, `-` and `_`, and not an address.
fn is_hostname(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    !name.is_empty() && name.len() <= 253 && name.bytes().all(fits) && name.parse::<std::net::Ipv4Addr>().is_err()
}

/// The variables that a login would set, for those that the framework does not name; then all that it does.
fn environment(text: &mut String, variables: &[(String, String)]) -> Result<(), LauncherError> {
    for (name, value) in
        [("HOME", "$home"), ("USER", "$user"), ("LOGNAME", "$user"), ("SHELL", "$login_shell"), ("PATH", "$PATH")]
    {
        if !variables.iter().any(|(other, _)| other == name) {
            text.push_str(&format!(" \\\n        \"{name}={value}\""));
        }
    }
    for (name, value) in variables {
        check_variable(name, value)?;
        text.push_str(&format!(" \\\n        {}", quote(&format!("{name}={value}"))));
    }
    Ok(())
}

/// Whether a program can be given this variable.
///
/// # Errors
/// What keeps it from that.
pub fn check_variable(name: &str, value: &str) -> Result<(), LauncherError> {
    if name.is_empty() || name.contains(['=', '\0']) {
        return Err(LauncherError::VariableName(name.to_string()));
    }
    let what = format!("the environment variable {}", shorten(name));
    check_word(&what, name.len() + 1 + value.len(), value)
}

/// The command's own words, the last of `env`'s.
fn program(text: &mut String, program: &Program) -> Result<(), LauncherError> {
    text.push_str(" \\\n        ");
    match program {
        Program::Shell(command) => {
            check_word("the command", command.len(), command)?;
            text.push_str(&format!("/bin/sh -c -- {}", quote(command)));
        }
        Program::Exec { file, arguments } => {
            check_word("the command", file.len(), file)?;
            for argument in arguments {
                check_word("an argument", argument.len(), argument)?;
            }
            let words: Vec<String> = arguments.iter().skip(1).map(|argument| quote(argument)).collect();
            let name = arguments.first().unwrap_or(file);
            if name == file && !file.contains('=') {
                text.push_str(&quote(file)); // env takes the first word without a '=' as the program
            } else {
                text.push_str(&format!("/bin/sh -c {} {} {}", quote(EXEC_AS), quote(file), quote(name)));
            }
            words.iter().for_each(|word| text.push_str(&format!(" {word}")));
        }
    }
    Ok(())
}

/// Executes `$0` with `$1` as its name. POSIX has no way to choose `argv[0]`: bash and newer busybox shells have `exec -a`; where
/// neither is, the program gets its file's name.
const EXEC_AS: &str = r#"name=$1; shift
if [ "$name" = "$0" ]; then exec "$0" "$@"; fi
if (exec -a probe true) 2>/dev/null; then exec -a "$name" "$0" "$@"; fi
if command -v bash >/dev/null 2>&1; then exec bash -c 'name=$1; shift; exec -a "$name" "$0" "$@"' "$0" "$name" "$@"; fi
exec "$0" "$@""#;

fn check_word(what: &str, length: usize, text: &str) -> Result<(), LauncherError> {
    if text.contains('\0') {
        return Err(LauncherError::Nul(what.to_string()));
    }
    if length >= LONGEST_WORD { Err(LauncherError::TooLong(what.to_string(), length)) } else { Ok(()) }
}

/// A command that was started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Started {
    /// Its pid in the guest, and its session.
    pub pid: u32,
    /// The guest's boot: with another one, the command is gone.
    pub boot_id: String,
}

/// A command that has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CommandEnded {
    /// How. A signal is told by the shell's 128 + n: a command that itself exits with 137 looks as if it were killed.
    pub exit: Exit,
    /// The guest's kernel killed a process for want of memory while it ran, and it did not end well.
    pub out_of_memory: bool,
    /// Bytes that it left in `stdout`.
    pub stdout: u64,
    /// Bytes that it left in `stderr`.
    pub stderr: u64,
}

/// What went wrong with a verb, in the guest or on the way there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VerbError {
    /// The guest has no such user: nothing was run.
    NoUser,
    /// Only root can switch users, and ssh's user is not root and has no `sudo` without a password.
    NoRoot,
    /// Nothing was started since the guest was booted: it was booted again, or `start` was never run.
    NotStarted,
    /// The command's supervisor was killed, and its end is not known.
    Lost,
    /// Anything else; ssh's own failures among them, which [`super::ssh::Ssh::failure`] can tell.
    Other(String),
}

impl fmt::Display for VerbError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            VerbError::NoUser => write!(f, "the guest has no such user; make it in the image, or choose another user"),
            VerbError::NoRoot => write!(
                f,
                "the guest's ssh user may not switch to the command's user; use an image whose ssh user is root or has sudo without a password"
            ),
            VerbError::NotStarted => write!(f, "nothing of the command is left in the guest; it was booted again"),
            VerbError::Lost => write!(f, "the command's supervisor in the guest was killed"),
            VerbError::Other(reason) => write!(f, "{reason}"),
        }
    }
}

impl std::error::Error for VerbError {}

/// Reads the end of `start`.
///
/// # Errors
/// [`VerbError`].
pub fn parse_start(end: &JobEnd) -> Result<Started, VerbError> {
    let text = outcome(end)?;
    let pid = value(&text, "pid").and_then(|pid| pid.parse().ok());
    match (pid, value(&text, "boot_id")) {
        (Some(pid), Some(boot_id)) if boot_id.len() <= 64 => Ok(Started { pid, boot_id: boot_id.to_string() }),
        _ => Err(VerbError::Other(format!("the launcher did not say what it started, but {}", shorten(&text)))),
    }
}

/// Reads the end of `wait`.
///
/// # Errors
/// [`VerbError`].
pub fn parse_wait(end: &JobEnd) -> Result<CommandEnded, VerbError> {
    let text = outcome(end)?;
    let number = |key| value(&text, key).and_then(|text| text.trim().parse::<u64>().ok());
    let small = |key| number(key).and_then(|number| i32::try_from(number).ok());
    let exit = small("exit").map(Exit::Status).or_else(|| small("signal").map(Exit::Signal));
    match exit {
        // A size that cannot be read is no reason to lose the exit status: what is there is taken.
        Some(exit) => {
            let number = |key| number(key).unwrap_or(0);
            let out_of_memory = number("oom") > 0;
            Ok(CommandEnded { exit, out_of_memory, stdout: number("stdout"), stderr: number("stderr") })
        }
        None => {
            Err(VerbError::Other(format!("the launcher did not say how the command ended, but {}", shorten(&text))))
        }
    }
}

/// Reads the end of `check`: the command's exit status, or 128 and its number for a signal.
///
/// # Errors
/// [`VerbError`].
pub fn parse_check(end: &JobEnd) -> Result<i32, VerbError> {
    let text = outcome(end)?;
    let status = value(&text, "exit").and_then(|status| status.trim().parse().ok());
    status.ok_or_else(|| VerbError::Other(format!("the launcher did not say how it ended, but {}", shorten(&text))))
}

/// What a verb printed, when it ended well.
fn outcome(end: &JobEnd) -> Result<String, VerbError> {
    let text = String::from_utf8_lossy(&end.stdout).into_owned();
    let said = |word: &str| text.lines().any(|line| line == word);
    match end.exit {
        Some(Exit::Status(0)) => Ok(text),
        Some(Exit::Status(NO_USER)) if said("nouser") => Err(VerbError::NoUser),
        Some(Exit::Status(NO_ROOT)) if said("noroot") => Err(VerbError::NoRoot),
        Some(Exit::Status(NOT_STARTED)) if said("notstarted") => Err(VerbError::NotStarted),
        Some(Exit::Status(LOST)) if said("lost") => Err(VerbError::Lost),
        Some(_) | None => Err(VerbError::Other(end.reason())),
    }
}

fn value<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
}

#[cfg(test)]
#[path = "launcher_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "launcher_check_tests.rs"]
mod check_tests;
