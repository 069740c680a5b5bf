//! What was fetched, brought into the guest's sandbox: `tar` of the sandbox on the host into `tar -x` over ssh. The fetcher's words in
//! `stderr` go along: the command's own stand behind them in the guest as on the host, and so the output is followed where it begins.
//!
//! It runs in a process of its own, `mesos-slave vm-bring`, which waits for both: without the one's status, a part would pass for
//! the whole.

use std::ffi::OsString;
use std::io::Read;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use crate::container::text::printable;
use crate::subprocess::{Exit, Spawn, Subprocess};

use super::collect::OUR_FILES;
use super::quote::quote;
use super::ssh::{Ssh, as_root, clean_environment};

/// How much of what the session says is read, in bytes.
const WORDS: u64 = 16 * 1024;

/// Leaves a mark in the guest: the launcher gives the files to the command's user.
pub fn remote_script(state: &str, sandbox: &str) -> String {
    let (state, sandbox) = (quote(state), quote(sandbox));
    format!("umask 022; mkdir -p -m 0750 {state} {sandbox} && cd {sandbox} && tar -xpf - && : >{state}/fetched")
}

/// The job.
pub fn job(ssh: &Ssh, state: &str, sandbox: &Path) -> Spawn {
    let script = remote_script(state, &sandbox.to_string_lossy());
    let script = if ssh.user == "root" { script } else { as_root(&script) };
    Spawn::ourselves("vm-bring").arg(sandbox).with(|command| {
        command.args(ssh.session(&script));
    })
}

/// `mesos-slave vm-bring SANDBOX COMMAND…`: gives the command the archive of the sandbox.
pub fn main(arguments: &[OsString]) -> ExitCode {
    match bring(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("{reason}");
            ExitCode::FAILURE
        }
    }
}

/// tar speaks on our stderr. What the session says is the reason when it fails, in one line.
fn bring(arguments: &[OsString]) -> Result<(), String> {
    let [sandbox, program, words @ ..] = arguments else {
        return Err("usage: mesos-slave vm-bring SANDBOX COMMAND…".to_string());
    };
    let mut tar = start("tar", archive(Path::new(sandbox)))?;
    let output = tar.stdout.take().ok_or("no pipe")?;
    let mut command = Command::new(program);
    clean_environment(&mut command);
    command.args(words).stdin(output).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut session = start("ssh", command)?;
    let mut said = Vec::new();
    if let Some(stderr) = session.stderr.take() {
        stderr.take(WORDS).read_to_end(&mut said).map_err(|error| format!("cannot read from ssh: {error}"))?;
    }
    let wait = |process: &mut Subprocess| process.wait().map_err(|error| format!("poll: {error}"));
    match (wait(&mut session)?, wait(&mut tar)?) {
        (Exit::Status(0), Exit::Status(0)) => Ok(()),
        (Exit::Status(0), exit) => Err(format!("tar on the host: {exit}")),
        (exit, _) => {
            let text = String::from_utf8_lossy(&said);
            let line = text.lines().rev().map(str::trim).find(|line| !line.is_empty());
            let why = line.map_or(exit.to_string(), printable);
            Err(format!("the guest did not take the files: {why}"))
        }
    }
}

fn archive(sandbox: &Path) -> Command {
    let mut command = Command::new("tar");
    clean_environment(&mut command);
    command.arg("-C").arg(sandbox).args(["--format=gnu", "--owner=0", "--group=0", "--numeric-owner"]);
    command.args(OUR_FILES.iter().filter(|name| **name != "stderr").map(|name| format!("--exclude=./{name}")));
    command.args(["-cf", "-", "."]).stdin(Stdio::null()).stdout(Stdio::piped());
    command
}

fn start(name: &str, command: Command) -> Result<Subprocess, String> {
    let started = Spawn::command(command).die_with_parent().spawn();
    started.map_err(|error| format!("cannot run {name}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::scratch::Scratch;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    /// A sandbox of the host's, and a guest: the remote script under this host's shell.
    fn brought(scratch: &Scratch, script: &str) -> Result<(), String> {
        let words = [scratch.path().join("host").into_os_string(), "sh".into(), "-c".into(), script.into()];
        bring(&words)
    }

    #[test]
    fn what_lies_in_the_sandbox_comes_and_the_slaves_own_files_do_not() {
        let scratch = Scratch::new();
        let host = scratch.path().join("host");
        fs::create_dir_all(host.join("d")).expect("directory");
        for name in ["stderr", "vm.log", "launcher.sh", "d/vm.log", "run"] {
            fs::write(host.join(name), name).expect("file");
        }
        fs::set_permissions(host.join("run"), fs::Permissions::from_mode(0o755)).expect("mode");
        symlink("d/vm.log", host.join("link")).expect("link");
        let (state, guest) = (scratch.path().join("the state"), scratch.path().join("it's a guest"));
        let script = remote_script(&state.to_string_lossy(), &guest.to_string_lossy());
        brought(&scratch, &script).expect("brought");
        let mut names: Vec<_> =
            fs::read_dir(&guest).expect("guest").map(|entry| entry.expect("entry").file_name()).collect();
        names.sort();
        assert_eq!(names, ["d", "link", "run", "stderr"]);
        assert_eq!(fs::read_to_string(guest.join("link")).expect("link"), "d/vm.log");
        assert_eq!(fs::metadata(guest.join("run")).expect("run").permissions().mode() & 0o777, 0o755);
        assert!(state.join("fetched").exists());
    }

    #[test]
    fn a_failure_at_either_end_is_one() {
        let scratch = Scratch::new();
        assert!(
            brought(&scratch, "cat >/dev/null").expect_err("no sandbox").starts_with("tar on the host: exit status")
        );
        fs::create_dir(scratch.path().join("host")).expect("directory");
        fs::write(scratch.path().join("host/large"), vec![0; 1_000_000]).expect("file");
        let words = "the guest did not take the files: exit status 3";
        assert_eq!(brought(&scratch, "exit 3").expect_err("guest"), words);
        let words = "the guest did not take the files: tar: no space";
        assert_eq!(brought(&scratch, "echo 'tar: no space' >&2; exit 2").expect_err("guest"), words);
    }
}
