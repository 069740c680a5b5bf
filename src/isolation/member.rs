//! One child of the slave, from its start to the end of the cleaning up after it.
//!
//! ```text
//! Alive ── it exits, `done` is there ──────────────────────────► Orderly
//!       ── it exits without ──► Sweeping (worker or session) ──► Orderly when its outcome is known, else Died
//! ```
//!
//! One that runs in another container's VM has died when there is no `done`, whatever is known of its outcome: no worker can clean up in
//! there, and so it ends with that VM.

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;

use super::usage::{self, Machine, Measured, Processes};
use super::{ContainerEvent, Ended, LaunchError, session};
use crate::container::connection::Connection;
use crate::container::directory::RuntimeDirectory;
use crate::container::server::check_hello;
use crate::container::status::Update;
use crate::container::{CHANNEL_FD, VERSION};
use crate::ids::ContainerId;
use crate::messages::container::{FromChild, Hello, Joined, Spec, ToChild, to_child};
use crate::messages::mesos::{self, TaskState};
use crate::poll::{PollSet, earlier};
use crate::subprocess::{Exit, Job, Spawn, Subprocess};

/// How long after the grace period a child may take to end before it is killed: it destroys its VM in that time.
const KILL_SLACK: Duration = Duration::from_secs(15);

/// How long a child may live on after it has closed its channel; it closes it by ending.
const CLOSED_SLACK: Duration = Duration::from_secs(5);

/// How long `vm-worker cleanup` may take: libvirt's patience and QEMU's death are in it.
const CLEANUP_DEADLINE: Duration = Duration::from_secs(60);

/// How long the processes of a session may take to die, and how often they are looked for.
const SESSION_DEADLINE: Duration = Duration::from_secs(10);
const SESSION_INTERVAL: Duration = Duration::from_millis(50);

/// What is done after a child that died without cleaning up.
#[derive(Debug, Clone, Copy)]
pub enum Cleanup {
    /// This command is run with the runtime directory.
    Worker(fn(&Path) -> Spawn),
    /// Everything in the child's session is killed.
    Session,
}

#[derive(Debug)]
enum Phase {
    Alive { kill_at: Option<Instant> },
    Sweeping(Sweep),
    Gone,
}

#[derive(Debug)]
enum Sweep {
    Worker { job: Job, reason: String },
    Session { until: Instant, next: Instant },
}

/// The child.
#[derive(Debug)]
pub struct Member {
    container: ContainerId,
    directory: RuntimeDirectory,
    checkpoint: bool,
    cleanup: Cleanup,
    /// In the VM of another container, where its command may outlive it.
    joined: bool,
    process: Subprocess,
    connection: Option<Connection>,
    phase: Phase,
    terminal_seen: bool,
    machine: Option<Machine>,
    joins: Option<Joined>,
    /// QEMU, once it is known.
    qemu: Option<Processes>,
    has_left_something: bool,
}

impl Member {
    /// Writes the spec, starts the child and connects to it. On an error nothing is left.
    ///
    /// # Errors
    /// What could not be done.
    pub fn launch(
        container: ContainerId,
        directory: RuntimeDirectory,
        spec: &Spec,
        program: fn(&Path) -> Spawn,
        cleanup: Cleanup,
    ) -> Result<Member, LaunchError> {
        directory.create()?;
        start(&directory, spec, program)
            .map(|(process, connection)| Member {
                container,
                directory: directory.clone(),
                checkpoint: spec.checkpoint(),
                cleanup,
                joined: spec.joins.is_some() && matches!(cleanup, Cleanup::Worker(_)),
                process,
                connection: Some(connection),
                phase: Phase::Alive { kill_at: None },
                terminal_seen: false,
                machine: Machine::of(spec),
                joins: spec.joins.clone(),
                qemu: None,
                has_left_something: false,
            })
            .inspect_err(|_| {
                let _ = directory.remove();
            })
    }

    /// Asks the child to end its container, and sees to it that it does.
    pub fn kill(&mut self, grace: Duration, now: Instant) {
        let grace_ms = grace.as_millis().min(u128::from(u64::MAX)) as u64;
        self.send(&ToChild { kill: Some(to_child::Kill { grace_ms }), ..Default::default() });
        if let Some(at) = now.checked_add(grace).and_then(|at| at.checked_add(KILL_SLACK)) {
            self.kill_by(at);
        }
    }

    /// Sends a message, if the child still listens.
    pub fn send(&mut self, message: &ToChild) {
        if let Some(connection) = &mut self.connection {
            connection.send(message);
        }
    }

    /// Where to look for what it takes of the host. What the child has noted of its VM is read until QEMU is in it.
    pub fn measured(&mut self) -> Measured {
        let in_a_guest = self.joins.as_ref().is_some_and(|joined| joined.address.is_some());
        let processes = match self.machine {
            Some(_) => {
                let noted = || self.directory.read_vm().ok().as_ref().and_then(usage::qemu);
                self.qemu = self.qemu.or_else(noted);
                self.qemu.unwrap_or(Processes::None)
            }
            None if in_a_guest => Processes::None,
            None => Processes::Tree(self.process.pid().as_raw()),
        };
        let joins = self.joins.as_ref().and_then(|joined| ContainerId::new(joined.container_id.as_str()).ok());
        Measured { container: self.container.clone(), machine: self.machine, processes, joins }
    }

    /// It is gone, and not all that it had could be cleaned up.
    pub fn has_left_something(&self) -> bool {
        self.has_left_something
    }

    /// Waits for what the child says, for its end, and for the end of the cleaning up.
    pub fn register(&self, set: &mut PollSet) {
        if let Some(connection) = &self.connection {
            connection.register(set);
        }
        match &self.phase {
            Phase::Alive { .. } => self.process.register(set),
            Phase::Sweeping(Sweep::Worker { job, .. }) => job.register(set),
            Phase::Sweeping(Sweep::Session { .. }) | Phase::Gone => {}
        }
    }

    /// When to call [`Member::turn`] though nothing came.
    pub fn deadline(&self) -> Option<Instant> {
        match &self.phase {
            Phase::Alive { kill_at } => *kill_at,
            Phase::Sweeping(Sweep::Worker { job, .. }) => Some(job.deadline()),
            Phase::Sweeping(Sweep::Session { next, .. }) => Some(*next),
            Phase::Gone => None,
        }
    }

    /// Takes what has come. After an `Exited` the member is to be dropped.
    pub fn turn(&mut self, now: Instant) -> Vec<ContainerEvent> {
        // Looked at first: what the child said before its end is then read before the end is acted upon.
        let exited = has_ended(self.process.pid());
        let mut events = self.read(now);
        match &mut self.phase {
            Phase::Alive { kill_at } => {
                if kill_at.is_some_and(|at| now >= at) {
                    *kill_at = None;
                    log::warn!("container {}: its child does not end; killed", self.container);
                    self.process.signal(Signal::SIGKILL);
                }
                if exited {
                    self.connection = None;
                    events.extend(self.exited(now));
                }
            }
            Phase::Sweeping(_) => events.extend(self.sweep(now)),
            Phase::Gone => {}
        }
        events
    }

    fn read(&mut self, now: Instant) -> Vec<ContainerEvent> {
        let Some(connection) = &mut self.connection else {
            return Vec::new();
        };
        let messages: Vec<FromChild> = connection.turn();
        let ended = connection.ended().map(str::to_string);
        let mut events = Vec::new();
        for message in messages {
            if let Some(Err(reason)) = message.hello.as_ref().map(|hello| check_hello(hello, self.container.as_str())) {
                log::error!("container {}: {reason}; its child is killed", self.container);
                self.kill_by(now);
                return events;
            }
            events.extend(self.understand(message));
        }
        if let Some(reason) = ended {
            log::debug!("container {}: channel ended: {reason}", self.container);
            self.connection = None;
            self.kill_by(now + CLOSED_SLACK);
        }
        events
    }

    fn understand(&mut self, message: FromChild) -> Vec<ContainerEvent> {
        let update = Update::of(&message).map(|update| self.update(update));
        let step = message.step.map(|step| ContainerEvent::Step {
            container: self.container.clone(),
            name: step.name,
            took: Duration::from_millis(step.took_ms),
        });
        let container = || self.container.clone();
        let fetched = message.fetched.map(|succeeded| ContainerEvent::Fetched { container: container(), succeeded });
        let decided = message.decided.and_then(|state| TaskState::try_from(state).ok());
        let decided = decided.map(|state| ContainerEvent::Decided { container: container(), state });
        step.into_iter().chain(fetched).chain(decided).chain(update).collect()
    }

    fn update(&mut self, update: Update) -> ContainerEvent {
        self.terminal_seen |= is_terminal(update.status.state());
        ContainerEvent::Update { container: self.container.clone(), update }
    }

    fn kill_by(&mut self, at: Instant) {
        if let Phase::Alive { kill_at } = &mut self.phase {
            *kill_at = earlier(*kill_at, Some(at));
        }
    }

    /// The process has ended and is not reaped yet.
    fn exited(&mut self, now: Instant) -> Vec<ContainerEvent> {
        if let Cleanup::Session = self.cleanup {
            let until = now + SESSION_DEADLINE;
            self.phase = Phase::Sweeping(Sweep::Session { until, next: now });
            return self.sweep(now);
        }
        let exit = self.process.try_wait();
        if self.directory.is_done() {
            return self.gone(Ok(()), None);
        }
        let mut reason = reason(exit, &self.directory);
        if self.joined {
            reason = format!("what it ran may still run in its executor's virtual machine: {reason}");
        }
        log::warn!("container {}: {reason}; cleaning up after it", self.container);
        self.start_worker(reason, now)
    }

    fn start_worker(&mut self, reason: String, now: Instant) -> Vec<ContainerEvent> {
        let Cleanup::Worker(worker) = self.cleanup else {
            return self.gone(Ok(()), Some(reason));
        };
        match Job::start(worker(self.directory.path()), now + CLEANUP_DEADLINE) {
            Ok(job) => {
                self.phase = Phase::Sweeping(Sweep::Worker { job, reason });
                Vec::new()
            }
            Err(error) => self.gone(Err(error.to_string()), Some(reason)),
        }
    }

    fn sweep(&mut self, now: Instant) -> Vec<ContainerEvent> {
        let Phase::Sweeping(sweep) = &mut self.phase else {
            return Vec::new();
        };
        match sweep {
            Sweep::Worker { job, reason } => {
                let Some(end) = job.turn(now) else {
                    return Vec::new();
                };
                let reason = std::mem::take(reason);
                let cleaned = if end.is_success() { Ok(()) } else { Err(end.reason()) };
                self.gone(cleaned, Some(reason))
            }
            Sweep::Session { until, next } => {
                let left = session::kill_members(self.process.pid());
                if left > 0 && now < *until {
                    *next = now + SESSION_INTERVAL;
                    return Vec::new();
                }
                let exit = self.process.try_wait();
                let cleaned = match left {
                    0 => Ok(()),
                    _ => Err(format!("{left} of its processes do not die")),
                };
                let died = (!self.directory.is_done()).then(|| reason(exit, &self.directory));
                self.gone(cleaned, died)
            }
        }
    }

    /// The last events; `died` says why the child ended without cleaning up by itself. What could not be cleaned up keeps its runtime
    /// directory, for the next start of the slave.
    fn gone(&mut self, cleaned: Result<(), String>, died: Option<String>) -> Vec<ContainerEvent> {
        self.phase = Phase::Gone;
        self.has_left_something = cleaned.is_err();
        let outcome = self.directory.read_outcome().unwrap_or_else(|error| {
            log::warn!("container {}: {error}", self.container);
            None
        });
        let mut events = Vec::new();
        if let (Some(update), false) = (outcome, self.terminal_seen) {
            events.push(self.update(update));
        }
        let is_known = self.terminal_seen && !self.joined;
        let ended = match died.filter(|_| !is_known) {
            Some(reason) => Ended::Died { reason },
            None => Ended::Orderly,
        };
        self.forget(cleaned);
        events.push(ContainerEvent::Exited { container: self.container.clone(), ended });
        events
    }

    fn forget(&self, cleaned: Result<(), String>) {
        match cleaned {
            Err(error) => log::error!(
                "container {}: cannot clean up after its child: {error}; {} is kept",
                self.container,
                self.directory.path().display()
            ),
            Ok(()) if self.checkpoint => {}
            Ok(()) => {
                if let Err(error) = self.directory.remove() {
                    log::warn!("container {}: {error}", self.container);
                }
            }
        }
    }
}

fn start(
    directory: &RuntimeDirectory,
    spec: &Spec,
    program: fn(&Path) -> Spawn,
) -> Result<(Subprocess, Connection), LaunchError> {
    directory.write_spec(spec)?;
    let listener = directory.listen()?;
    let log = directory.open_log()?;
    let stream = directory.connect()?;
    let mut connection = Connection::new(stream).map_err(LaunchError::Spawn)?;
    connection.send(&ToChild {
        hello: Some(Hello { version: VERSION, container_id: spec.container_id.clone() }),
        ..Default::default()
    });
    let process = spawn(program(directory.path()), listener.into(), log).map_err(LaunchError::Spawn)?;
    if let Err(error) = directory.write_pid(process.pid().as_raw()) {
        // Only a later slave would miss it.
        log::warn!("{error}");
    }
    Ok((process, connection))
}

fn spawn(program: Spawn, listener: std::os::fd::OwnedFd, log: std::fs::File) -> io::Result<Subprocess> {
    program
        .session()
        .inherit(listener, CHANNEL_FD)
        .with(|command| {
            command.stderr(log);
        })
        .spawn()
}

fn reason(exit: Option<Exit>, directory: &RuntimeDirectory) -> String {
    let how = match exit {
        Some(exit) => format!("the container's child ended with {exit}"),
        None => "the container's child ended".to_string(),
    };
    match directory.last_log_line() {
        Some(line) => format!("{how}; its log ends with: {line}"),
        None => how,
    }
}

/// Whether a child of ours has ended; it is not reaped by that. The poll set is not asked: a child that was started since the wait may
/// have a descriptor of the number of one that was ready then.
fn has_ended(pid: Pid) -> bool {
    let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    !matches!(waitid(Id::Pid(pid), flags), Ok(WaitStatus::StillAlive) | Err(Errno::EINTR))
}

/// Whether a task in this state stays in it.
fn is_terminal(state: mesos::TaskState) -> bool {
    use mesos::TaskState::*;
    match state {
        TaskStaging | TaskStarting | TaskRunning | TaskKilling | TaskUnreachable | TaskUnknown => false,
        TaskFinished | TaskFailed | TaskKilled | TaskError | TaskLost | TaskDropped | TaskGone | TaskGoneByOperator => {
            true
        }
    }
}
