//! What an earlier slave left, settled before we register: its children are told to end, and what a dead child left is
//! cleaned up. Nothing of an earlier run is ours to go on with, until there is recovery.

use std::fs;
use std::io::Write;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use nix::unistd::Pid;

use super::vm::VmConfig;
use super::{Kind, session};
use crate::container::directory::RuntimeDirectory;
use crate::container::text::printable;
use crate::container::{VERSION, frame, processes};
use crate::messages::container::{Hello, ToChild, to_child};
use crate::poll::{Interest, PollSet};
use crate::subprocess::{Job, Spawn, pidfd_open, pidfd_signal};

/// Between TERM and KILL for what the containers run.
const GRACE: Duration = Duration::from_secs(3);
/// How long all children together may take to end; each has a VM to take down.
const PATIENCE: Duration = Duration::from_secs(45);
/// How often the containers are looked at for their ends.
const LOOK: Duration = Duration::from_millis(100);
/// How long the cleaning up after a dead child may take.
const CLEANUP: Duration = Duration::from_secs(60);

/// Settles all containers below the directory, and what libvirt could not be told of when VMs were cleaned up. It blocks, at most for
/// the deadlines above; what could not be settled is logged and left for the next start.
pub fn settle(runtime_dir: &Path, kind: &Kind) {
    let directories = leftovers(&runtime_dir.join("containers"));
    if !directories.is_empty() {
        settle_containers(&directories);
    }
    if let Kind::Vm(config) = kind
        && let Some(worker) = notes_worker(config)
    {
        log::info!("telling libvirt of virtual machines that were cleaned up without it");
        if let Err(reason) = run(worker) {
            log::warn!("libvirt could not be told: {reason}; the next virtual machine tries again");
        }
    }
}

fn settle_containers(directories: &[RuntimeDirectory]) {
    log::info!("settling {} containers of an earlier slave", directories.len());
    let mut children = running_children(nix::unistd::geteuid().as_raw());
    let deadline = Instant::now() + PATIENCE;
    // A holder's VM is the last to go: the tasks in it have their grace, and their files.
    let (holders, others): (Vec<_>, Vec<_>) = directories.iter().partition(|directory| holds_tasks(directory));
    for directories in [others, holders] {
        let is_here = |child: &Running| directories.iter().any(|directory| directory.path() == child.directory);
        let (these, rest) = children.into_iter().partition(is_here);
        children = rest;
        directories.iter().for_each(|directory| ask_to_end(directory));
        await_ends(these, deadline);
        directories.iter().for_each(|directory| finish(directory));
    }
}

fn holds_tasks(directory: &RuntimeDirectory) -> bool {
    directory.read_spec().is_ok_and(|spec| spec.holds_tasks())
}

/// The worker that tells libvirt, when there is anything to tell.
fn notes_worker(config: &VmConfig) -> Option<Spawn> {
    let mut notes = fs::read_dir(config.vm_dir.join("leftovers")).ok()?;
    notes.next()?.ok()?;
    let worker = Spawn::ourselves("vm-worker").arg("network").arg(&config.uri);
    Some(worker.arg(&config.network).arg(&config.vm_dir))
}

fn run(worker: Spawn) -> Result<(), String> {
    match Job::start(worker, Instant::now() + CLEANUP).and_then(Job::wait) {
        Ok(end) if end.is_success() => Ok(()),
        Ok(end) => Err(printable(&end.reason())),
        Err(error) => Err(error.to_string()),
    }
}

fn leftovers(containers: &Path) -> Vec<RuntimeDirectory> {
    let entries = fs::read_dir(containers).into_iter().flatten().flatten();
    entries.map(|entry| RuntimeDirectory::new(entry.path())).collect()
}

/// A child of a slave's.
#[derive(Debug)]
struct Running {
    pid: Pid,
    pidfd: OwnedFd,
    directory: PathBuf,
}

/// The children of any slave that runs as this user. Others may call a process of theirs what they like.
fn running_children(user: u32) -> Vec<Running> {
    processes::ids().filter_map(|pid| running(pid, user)).collect()
}

fn running(pid: i32, user: u32) -> Option<Running> {
    let pidfd = pidfd_open(Pid::from_raw(pid)).ok()?;
    // From here on the descriptor names one process: what is read below is its.
    let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let directory = child_directory(&line).filter(|_| processes::is_of_user(pid, user))?;
    Some(Running { pid: Pid::from_raw(pid), pidfd, directory })
}

/// `mesos-slave\0vm-container\0DIR\0` → DIR.
fn child_directory(command_line: &[u8]) -> Option<PathBuf> {
    let mut words = command_line.split(|byte| *byte == 0);
    let (program, verb, directory) = (words.next()?, words.next()?, words.next()?);
    let is_child = program == b"mesos-slave" && (verb == b"vm-container" || verb == b"process-container");
    is_child.then(|| PathBuf::from(String::from_utf8_lossy(directory).into_owned()))
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

/// Until all have ended. A child whose container has ended may wait for a slave that takes its last update, for ever if its framework
/// checkpoints: there will be none.
fn await_ends(mut children: Vec<Running>, deadline: Instant) {
    let mut set = PollSet::new();
    loop {
        children.retain(|child| !has_ended(&child.pidfd));
        let now = Instant::now();
        for Running { pid, pidfd, directory } in &children {
            let is_over = is_over(&RuntimeDirectory::new(directory));
            if !is_over && now >= deadline {
                log::warn!("a container's child, pid {pid}, does not end; killing it");
            }
            if is_over || now >= deadline {
                session::kill_members(*pid);
                let _ = pidfd_signal(pidfd, Signal::SIGKILL);
            }
        }
        if children.is_empty() || now >= deadline {
            return;
        }
        set.clear();
        children.iter().for_each(|child| set.add(child.pidfd.as_raw_fd(), Interest::Read));
        if set.wait(Some(deadline.min(now + LOOK))).is_err() {
            return;
        }
    }
}

/// Whether nothing but the last update is left of a container.
fn is_over(directory: &RuntimeDirectory) -> bool {
    matches!(directory.read_outcome(), Ok(Some(_))) && (directory.is_done() || !directory.has_vm())
}

fn has_ended(pidfd: &OwnedFd) -> bool {
    let mut set = PollSet::new();
    set.add(pidfd.as_raw_fd(), Interest::Read);
    set.wait(Some(Instant::now())).is_ok() && set.is_readable(pidfd.as_raw_fd())
}

fn finish(directory: &RuntimeDirectory) {
    let container = name(directory);
    if directory.has_vm() && !directory.is_done() {
        let cleanup = Spawn::ourselves("vm-worker").arg("cleanup").arg(directory.path());
        if let Err(reason) = run(cleanup) {
            return log::error!("container {container} could not be cleaned up: {reason}");
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
    use crate::container::status::Update;
    use crate::messages::container::{Spec, VmState};
    use crate::messages::mesos::TaskStatus;
    use crate::subprocess::{Exit, Subprocess};
    use std::os::unix::process::CommandExt;

    #[test]
    fn a_child_is_known_by_its_command_line() {
        let line = b"mesos-slave\0vm-container\0/run/c/1\0";
        assert_eq!(child_directory(line), Some(PathBuf::from("/run/c/1")));
        assert_eq!(child_directory(b"mesos-slave\0--master=x\0"), None);
        assert_eq!(child_directory(b"vi\0vm-container\0/run/c/1\0"), None);
        assert_eq!(child_directory(b""), None);
    }

    #[test]
    fn a_process_of_another_user_is_not_taken_for_a_child() {
        let scratch = crate::container::scratch::Scratch::new();
        let mut child = pretended_child(scratch.path());
        let ours = nix::unistd::geteuid().as_raw();
        let seen = |user| running_children(user).iter().any(|child| child.directory == scratch.path());
        assert!(seen(ours));
        assert!(!seen(ours + 1));
        let known = running(child.pid().as_raw(), ours).expect("running");
        drop(child.stdin.take());
        await_ends(vec![known], Instant::now() + PATIENCE);
        assert_eq!(child.try_wait(), Some(Exit::Status(1)));
    }

    #[test]
    fn a_child_that_has_but_its_last_update_to_deliver_is_not_waited_for() {
        let scratch = crate::container::scratch::Scratch::new();
        let mut child = pretended_child(scratch.path());
        let update = last_update();
        RuntimeDirectory::new(scratch.path()).write_outcome(&update).expect("outcome");
        let running = running(child.pid().as_raw(), nix::unistd::geteuid().as_raw()).expect("running");
        let began = Instant::now();
        await_ends(vec![running], began + PATIENCE);
        assert!(began.elapsed() < PATIENCE);
        assert_eq!(child.try_wait(), Some(Exit::Signal(9)));
    }

    #[test]
    fn a_container_is_over_when_its_vm_is_gone() {
        let scratch = crate::container::scratch::Scratch::new();
        let directory = RuntimeDirectory::new(scratch.path());
        directory.write_vm(&VmState::default()).expect("vm");
        assert!(!is_over(&directory));
        directory.write_outcome(&last_update()).expect("outcome");
        assert!(!is_over(&directory));
        directory.mark_done().expect("done");
        assert!(is_over(&directory));
    }

    fn last_update() -> Update {
        Update { status: TaskStatus { uuid: Some(vec![1; 16]), ..Default::default() }, wait_status: None }
    }

    /// Has the words of a child's command line; here they start a script that waits for its input's end.
    fn pretended_child(directory: &Path) -> Subprocess {
        fs::write(directory.join("vm-container"), "read line\n").expect("script");
        let script = Spawn::new("/bin/sh").arg("vm-container").arg(directory);
        let script = script.with(|command| {
            command.arg0("mesos-slave").current_dir(directory).stdin(std::process::Stdio::piped());
        });
        script.spawn().expect("spawn")
    }

    #[test]
    fn libvirt_is_told_only_of_what_is_noted() {
        let scratch = crate::container::scratch::Scratch::new();
        let config = VmConfig { vm_dir: scratch.path().to_path_buf(), ..super::super::vm::tests::config() };
        assert!(notes_worker(&config).is_none());
        fs::create_dir(scratch.path().join("leftovers")).expect("directory");
        assert!(notes_worker(&config).is_none());
        fs::write(scratch.path().join("leftovers/mesos-a"), b"").expect("note");
        assert!(notes_worker(&config).is_some());
    }

    #[test]
    fn a_holder_is_known_by_its_spec() {
        let scratch = crate::container::scratch::Scratch::new();
        let directory = RuntimeDirectory::new(scratch.path());
        assert!(!holds_tasks(&directory), "without a spec it is as any other");
        let spec = Spec { version: VERSION, container_id: "c".into(), ..Default::default() };
        directory.write_spec(&spec).expect("spec");
        assert!(!holds_tasks(&directory));
        directory.write_spec(&Spec { holds_tasks: Some(true), ..spec }).expect("spec");
        assert!(holds_tasks(&directory));
    }

    #[test]
    fn a_directory_without_a_child_and_without_a_vm_is_removed() {
        let scratch = crate::container::scratch::Scratch::new();
        let own = scratch.path().join("containers/left");
        fs::create_dir_all(&own).expect("directory");
        fs::write(own.join("spec"), b"x").expect("file");
        settle(scratch.path(), &Kind::Process);
        assert!(!own.exists());
    }
}
