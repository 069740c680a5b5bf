//! Starts the command: its user, sandbox, output files, environment and words. What it is checked for is the same as for a guest.
#![allow(unsafe_code)]

use std::ffi::CString;
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown, lchown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::sys::stat::{Mode, umask};
use nix::unistd::{Gid, Uid, User, geteuid, getgrouplist, setgid, setgroups, setuid};

use crate::messages::container::Spec;
use crate::messages::mesos::CommandInfo;
use crate::subprocess::{Spawn, Subprocess};
use crate::vm::launcher::{LauncherError, check_user, check_variable};

/// What a command finds when its framework names no `PATH`.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Why a command cannot be started.
#[derive(Debug)]
pub enum StartError {
    /// The spec has no command.
    NoCommand,
    /// A value that no program can be given.
    Value(LauncherError),
    /// The host has no such user.
    NoUser(String),
    /// The slave is not root and the user is another one than its own.
    NotRoot(String),
    /// The user cannot be looked up.
    Lookup(String, io::Error),
    /// The sandbox or a file in it cannot be made.
    Sandbox(String, io::Error),
    /// The program cannot be executed.
    Execute(String, io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::NoCommand => write!(f, "there is no command to run"),
            StartError::Value(error) => write!(f, "{error}"),
            StartError::NoUser(user) => {
                write!(
                    f,
                    "this host has no user '{user}'; add it, name another one, or start the slave with --no-switch_user"
                )
            }
            StartError::NotRoot(user) => {
                write!(f, "only root can run a command as '{user}'; run the slave as root, or with --no-switch_user")
            }
            StartError::Lookup(user, error) => {
                write!(f, "cannot look up the user '{user}': {error}")
            }
            StartError::Sandbox(path, error) => write!(f, "cannot prepare {path}: {error}"),
            StartError::Execute(program, error) => write!(f, "cannot execute {program:?}: {error}"),
        }
    }
}

impl std::error::Error for StartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            StartError::Value(error) => Some(error),
            StartError::Lookup(_, error) | StartError::Sandbox(_, error) | StartError::Execute(_, error) => Some(error),
            StartError::NoCommand | StartError::NoUser(_) | StartError::NotRoot(_) => None,
        }
    }
}

/// Starts the command of a spec's task or, without one, of its executor. It stays in our session and dies with us; its input is empty, its output is in the sandbox.
///
/// # Errors
/// [`StartError`]; nothing of it runs then.
pub fn start(spec: &Spec) -> Result<Subprocess, StartError> {
    let info = spec.command().ok_or(StartError::NoCommand)?;
    let user = find_user(spec.user.as_deref())?;
    let (stdout, stderr) = prepare(Path::new(&spec.sandbox), &user)?;
    let mut command = words(info)?;
    environment(&mut command, spec, &user)?;
    command.current_dir(&spec.sandbox).stdin(Stdio::null()).stdout(stdout).stderr(stderr);
    // A group of its own: a driver's last act is to kill its whole group, which is to be the executor's, not ours.
    command.process_group(0);
    become_user(&mut command, &user)?;
    // Executors' drivers kill their process group when they are to end and do not (`ShutdownProcess` in Mesos' `exec.cpp`): it is not ours.
    command.process_group(0);
    let program = command.get_program().to_string_lossy().into_owned();
    let spawned = Spawn::command(command).die_with_parent().spawn();
    spawned.map_err(|error| StartError::Execute(program, error))
}

/// The host's user of this name; without a name, the one that we are.
///
/// # Errors
/// When there is none, or we may not become it.
pub fn find_user(name: Option<&str>) -> Result<User, StartError> {
    let lookup = |name: &str, error: nix::Error| StartError::Lookup(name.to_string(), error.into());
    let Some(name) = name else {
        let uid = geteuid();
        let user = User::from_uid(uid).map_err(|error| lookup(&uid.to_string(), error))?;
        return user.ok_or_else(|| StartError::NoUser(uid.to_string()));
    };
    check_user(name).map_err(StartError::Value)?;
    let user = User::from_name(name).map_err(|error| lookup(name, error))?;
    let user = user.ok_or_else(|| StartError::NoUser(name.to_string()))?;
    if user.uid != geteuid() && !geteuid().is_root() {
        return Err(StartError::NotRoot(name.to_string()));
    }
    Ok(user)
}

/// The sandbox, which is the user's, and the two files in it.
fn prepare(sandbox: &Path, user: &User) -> Result<(File, File), StartError> {
    let failed = |path: &Path| {
        let path = path.display().to_string();
        move |error| StartError::Sandbox(path, error)
    };
    let (uid, gid) = (Some(user.uid.as_raw()), Some(user.gid.as_raw()));
    fs::create_dir_all(sandbox).map_err(failed(sandbox))?;
    let open = |name: &str| {
        let path = sandbox.join(name);
        let mut options = OpenOptions::new();
        options.append(true).create(true).mode(0o644).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
        let file = options.open(&path).map_err(failed(&path))?;
        let metadata = file.metadata().map_err(failed(&path))?;
        // Given to the user, a hard link would be a gift of whatever it leads to.
        if !metadata.is_file() || metadata.nlink() != 1 {
            return Err(failed(&path)(io::Error::other("it is there already, and no file of its own")));
        }
        fchown(&file, uid, gid).map_err(failed(&path))?;
        Ok(file)
    };
    let outputs = (open("stdout")?, open("stderr")?);
    // Last: as long as the directory is root's, nobody can put anything under these names.
    lchown(sandbox, uid, gid).map_err(failed(sandbox))?;
    Ok(outputs)
}

/// The program and its arguments, as Mesos' `CommandInfo` has them: a text for the shell, or a file and its whole `argv`.
pub(super) fn words(info: &CommandInfo) -> Result<Command, StartError> {
    let value = info.value.as_deref().ok_or(StartError::NoCommand)?;
    if info.shell() {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "--", value]);
        return Ok(command);
    }
    let mut command = Command::new(value);
    if let Some((name, rest)) = info.arguments.split_first() {
        command.arg0(name).args(rest);
    }
    Ok(command)
}

/// What a login would set and the framework does not name; then all that the spec has.
pub(super) fn environment(command: &mut Command, spec: &Spec, user: &User) -> Result<(), StartError> {
    command.env_clear().env("PATH", PATH).env("HOME", &user.dir).env("USER", &user.name).env("LOGNAME", &user.name);
    command.env("SHELL", &user.shell);
    for variable in &spec.environment {
        check_variable(&variable.name, &variable.value).map_err(StartError::Value)?;
        command.env(&variable.name, &variable.value);
    }
    Ok(())
}

/// Has the command switch to its user just before it is executed, when it is in its sandbox already.
///
/// # Errors
/// When the user's groups cannot be looked up.
pub fn become_user(command: &mut Command, user: &User) -> Result<(), StartError> {
    let switch: Option<(Vec<Gid>, Gid, Uid)> = if user.uid == geteuid() {
        None
    } else {
        let name = CString::new(user.name.as_str()).map_err(|_| StartError::NoUser(user.name.clone()))?;
        let groups =
            getgrouplist(&name, user.gid).map_err(|error| StartError::Lookup(user.name.clone(), error.into()))?;
        Some((groups, user.gid, user.uid))
    };
    let switch = move || {
        umask(Mode::from_bits_truncate(0o022));
        if let Some((groups, gid, uid)) = &switch {
            setgroups(groups)?;
            setgid(*gid)?;
            setuid(*uid)?;
        }
        Ok(())
    };
    // SAFETY: between fork and exec only system calls are made, and nothing is allocated: setgroups takes the slice as it is.
    unsafe {
        command.pre_exec(switch);
    }
    Ok(())
}
