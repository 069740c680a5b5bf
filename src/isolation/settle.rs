//! What an earlier slave left, settled before we register: its children are told to end, and what a dead child left is
//! cleaned up. Nothing of an earlier run is ours to go on with, until there is recovery.

use std::fs;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use nix::unistd::Pid;

use super::session;
use crate::container::directory::RuntimeDirectory;
use crate::container::{VERSION, frame};
use crate::messages::container::{Hello, ToChild, to_child};
use crate::poll::{Interest, PollSet};
use crate::subprocess::{Job, Spawn, pidfd_open, pidfd_signal};

/// Between TERM and KILL for what the containers run.
const GRACE: Duration = Duration::from_secs(3);
/// How long all children together may take to end; each has a VM to take down.
const PATIENCE: Duration = Duration::from_secs(45);
/// How long the cleaning up after a dead child may take.
const CLEANUP: Duration = Duration::from_secs(60);

/// Settles all containers below the directory. It blocks, at most for the deadlines above; what could not be settled
/// is logged and left for the next start.
pub fn settle(runtime_dir: &Path) {
    let directories = leftovers(&runtime_dir.join("containers"));
    if directories.is_empty() {
        return;
    }
    log::info!("settling {} containers of an earlier slave", directories.len());
    let running = running_children();
    let mut children = Vec::new();
    for directory in &directories {
        if let Some((pid, pidfd)) = find(&running, directory.path()) {
            ask_to_end(directory);
            children.push((pid, pidfd));
        }
    }
    await_ends(&children, Instant::now() + PATIENCE);
    for directory in &directories {
        finish(directory);
    }
}

fn leftovers(containers: &Path) -> Vec<RuntimeDirectory> {
    let entries = fs::read_dir(containers).into_iter().flatten().flatten();
    entries.map(|entry| RuntimeDirectory::new(entry.path())).collect()
}

/// Pids of children of any slave, with the directory that each was started with.
fn running_children() -> Vec<(Pid, PathBuf)> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
            let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
            Some((Pid::from_raw(pid), child_directory(&line)?))
        })
        .collect()
}

/// `mesos-slave\0vm-container\0DIR\0` → DIR.
fn child_directory(command_line: &[u8]) -> Option<PathBuf> {
    let mut words = command_line.split(|byte| *byte == 0);
    let (program, verb, directory) = (words.next()?, words.next()?, words.next()?);
    let is_child = program == b"mesos-slave" && (verb == b"vm-container" || verb == b"process-container");
    is_child.then(|| PathBuf::from(String::from_utf8_lossy(directory).into_owned()))
}

fn find(running: &[(Pid, PathBuf)], directory: &Path) -> Option<(Pid, OwnedFd)> {
    let (pid, _) = running.iter().find(|(_, own)| own == directory)?;
    Some((*pid, pidfd_open(*pid).ok()?))
}

/// The way of any slave: connect, and say so. A child that does not listen any more is ending by itself.
fn ask_to_end(directory: &RuntimeDirectory) {
    let container = name(directory);
    let hello =
        ToChild { hello: Some(Hello { version: VERSION, container_id: container.clone() }), ..Default::default() };
    let kill = ToChild { kill: Some(to_child::Kill { grace_ms: GRACE.as_millis() as u64 }), ..Default::default() };
    let sent = directory.connect().map_err(|error| error.to_string()).and_then(|mut stream| {
        let words = [frame::encode(&hello), frame::encode(&kill)].concat();
        stream.write_all(&words).map_err(|error| error.to_string())
    });
    if let Err(error) = sent {
        log::debug!("container {container}: not asked to end: {error}");
    }
}

fn await_ends(children: &[(Pid, OwnedFd)], deadline: Instant) {
    use std::os::fd::AsRawFd;
    let mut set = PollSet::new();
    for (pid, pidfd) in children {
        set.clear();
        set.add(pidfd.as_raw_fd(), Interest::Read);
        let ended = set.wait(Some(deadline)).is_ok() && set.is_readable(pidfd.as_raw_fd());
        if !ended {
            log::warn!("a container's child, pid {pid}, does not end; killing it");
            session::kill_members(*pid);
            let _ = pidfd_signal(pidfd, Signal::SIGKILL);
        }
    }
}

fn finish(directory: &RuntimeDirectory) {
    let container = name(directory);
    if directory.has_vm() && !directory.is_done() {
        let cleanup = Spawn::ourselves("vm-worker").arg("cleanup").arg(directory.path());
        match Job::start(cleanup, Instant::now() + CLEANUP).and_then(Job::wait) {
            Ok(end) if end.is_success() => {}
            Ok(end) => {
                let reason = end.reason();
                return log::error!("container {container} could not be cleaned up: {reason}");
            }
            Err(error) => {
                return log::error!("container {container} could not be cleaned up: {error}");
            }
        }
    }
    match directory.remove() {
        Ok(()) => log::info!("container {container} of an earlier slave is gone"),
        Err(error) => log::error!("{error}"),
    }
}

fn name(directory: &RuntimeDirectory) -> String {
    let name = directory.path().file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_is_known_by_its_command_line() {
        let line = b"mesos-slave\0vm-container\0/run/c/1\0";
        assert_eq!(child_directory(line), Some(PathBuf::from("/run/c/1")));
        assert_eq!(child_directory(b"mesos-slave\0--master=x\0"), None);
        assert_eq!(child_directory(b"vi\0vm-container\0/run/c/1\0"), None);
        assert_eq!(child_directory(b""), None);
    }

    #[test]
    fn a_directory_without_a_child_and_without_a_vm_is_removed() {
        let scratch = crate::container::scratch::Scratch::new();
        let own = scratch.path().join("containers/left");
        fs::create_dir_all(&own).expect("directory");
        fs::write(own.join("spec"), b"x").expect("file");
        settle(scratch.path());
        assert!(!own.exists());
    }
}
