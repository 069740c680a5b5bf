//! What goes into a VM's life and what comes out of it.

use std::fmt;
use std::net::Ipv4Addr;
use std::time::Duration;

use crate::checks::{Outcome, Watch, Which};
use crate::container::status::Report;
use crate::subprocess::Exit;

/// What kind of container it is: what its life begins with, what it does in a guest that is reached, and what is to be undone at its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// A VM of its own, for one command.
    Command,
    /// A VM of its own, in which nothing is run but what joins it.
    Holder,
    /// A command in the VM of a holder, which has this address.
    Joined(Ipv4Addr),
}

/// What a life has to know beforehand.
#[derive(Debug, Clone)]
pub struct Settings {
    /// What kind of container it is.
    pub shape: Shape,
    /// From `start`, or from the life's beginning in a VM that is there, to a working ssh connection.
    pub boot_timeout: Duration,
    /// Keys are made for this VM, and the image takes them.
    pub makes_keys: bool,
    /// libvirt's address, for what the operator is told to do.
    pub uri: String,
    /// The network's name, for the same.
    pub network: String,
    /// The image's directory, for the same.
    pub image: String,
    /// Who runs the command.
    pub user: String,
    /// The VM's MAC.
    pub mac: String,
    /// Files are fetched for the command. (A holder has none.)
    pub fetches: bool,
    /// The framework wants to hear that its task is being killed.
    pub tells_of_killing: bool,
    /// What is watched of the task.
    pub watch: Watch,
    /// What runs is an executor of a framework's own, which will speak to the slave from the guest's address.
    pub is_executor: bool,
}

/// What is done in a process of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum JobKind {
    /// The launcher is written, to be there before the connection is. It takes no process.
    Launcher,
    /// `qemu-img create` of the overlay.
    Overlay,
    /// `ssh-keygen` of the key that we log in with.
    ClientKey,
    /// `ssh-keygen` of the key by which we know the guest.
    HostKey,
    /// `mesos-slave fetch`: what the command names, into the sandbox on the host.
    Fetch,
    /// `vm-worker start`.
    Start,
    /// `vm-worker lease`.
    Lease,
    /// What was fetched goes into the guest.
    Bring,
    /// The launcher goes into the guest and starts the command, when files had to come first.
    Launch,
    /// The launcher waits for the command's end.
    Wait,
    /// The launcher sends the command TERM.
    Term,
    /// The launcher sends the command KILL.
    Kill,
    /// The sandbox's files come back.
    Collect,
    /// `vm-worker destroy`.
    Destroy,
}

/// A step that the operator and `execute` see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Overlay and keys.
    Overlay,
    /// libvirt has started the domain.
    Start,
    /// The guest has its address.
    Address,
    /// The ssh connection is there.
    Ssh,
    /// What was fetched is in the guest.
    Files,
    /// The command has been started.
    Run,
    /// Output and files are back.
    Collect,
    /// Domain, lease and files are gone.
    Destroy,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Step::Overlay => "overlay",
            Step::Start => "boot",
            Step::Address => "address",
            Step::Ssh => "ssh",
            Step::Files => "files",
            Step::Run => "run",
            Step::Collect => "collect",
            Step::Destroy => "destroy",
        })
    }
}

/// What a job that ended well found out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// Nothing to tell.
    Nothing,
    /// The guest's address: reserved (`Start`) or leased (`Lease`).
    Address(Ipv4Addr),
    /// How the command ended (`Wait`).
    CommandEnded(Exit),
    /// How it ended in a guest that had not enough memory (`Wait`).
    OutOfMemory(Exit),
}

/// What kind of failure, as far as it matters what to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The deadline came first.
    Deadline,
    /// The guest refused our key; it may not have it yet.
    KeyRefused,
    /// Trying again is of no use.
    Fatal,
    /// The guest has no such user.
    NoUser,
    /// The guest was booted again.
    Rebooted,
    /// The command's supervisor in the guest is gone.
    Supervisor,
    /// Anything else.
    Other,
}

/// A failure, in an operator's words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// What kind.
    pub cause: Cause,
    /// What happened and, if it is known there, what to do.
    pub text: String,
}

impl Failure {
    /// A failure of no special kind.
    pub fn other(text: impl Into<String>) -> Failure {
        Failure { cause: Cause::Other, text: text.into() }
    }

    /// The deadline came first.
    pub fn deadline() -> Failure {
        Failure { cause: Cause::Deadline, text: "no answer by its deadline".to_string() }
    }
}

/// What happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A job has ended. One that was cancelled is not heard of again.
    Ended {
        /// Which.
        job: JobKind,
        /// How.
        result: Result<Found, Failure>,
    },
    /// An sshd has greeted at the probed address.
    BannerSeen,
    /// The ssh connection works.
    Connected {
        /// Of the guest's kernel.
        boot_id: String,
    },
    /// The launcher has started the command, or has not.
    Launched(Result<(), Failure>),
    /// How the last look for sshd's greeting failed; comes before a [`Event::Tick`].
    Unanswered(String),
    /// The ssh connection has ended, or could not be made.
    ConnectionEnded(Failure),
    /// All of the command's output is on the host, or as much as will ever come.
    OutputDone,
    /// QEMU has ended.
    QemuGone {
        /// The guest kernel's last words on the console, if it panicked.
        panic: Option<String>,
    },
    /// A check has ended.
    Checked {
        /// Which.
        which: Which,
        /// How.
        outcome: Outcome,
    },
    /// The slave wants the container ended.
    Kill {
        /// From TERM to KILL.
        grace: Duration,
    },
    /// The slave is gone, and no other will come.
    ParentGone,
    /// All updates are acknowledged.
    Settled,
    /// [`super::Life::deadline`] has come.
    Tick,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Start a job, and kill it at the deadline.
    Start {
        /// Which.
        job: JobKind,
        /// Its deadline.
        deadline: std::time::Instant,
    },
    /// Kill a job; its end is of no interest.
    Cancel(JobKind),
    /// Kill all jobs, and stop probing.
    CancelAll,
    /// Look for sshd's greeting at this address, and no other.
    Probe(Ipv4Addr),
    /// Make the ssh connection.
    Connect {
        /// With the launcher in its first session, which starts the command: each session costs an emulated guest half a second.
        launch: bool,
    },
    /// End it.
    Disconnect,
    /// Bring the command's output while it is written.
    Follow,
    /// The command has ended: bring the rest of its output.
    FinishOutput,
    /// Bring no more output.
    StopOutput,
    /// Tell the slave, the log and `vm.log` of a step.
    Step {
        /// Which.
        step: Step,
        /// How long it took.
        took: Duration,
    },
    /// Run a check.
    Check {
        /// Which.
        which: Which,
        /// When it has to be over.
        by: Option<std::time::Instant>,
    },
    /// End the checks; their results are of no interest.
    StopChecks,
    /// Tell log and `vm.log`.
    Note(String),
    /// Make the task's terminal status of this and write it to the runtime directory.
    WriteOutcome(Report),
    /// Send a status; a terminal one is that of `WriteOutcome`.
    Report(Report),
    /// Bring the end of the guest's console into the sandbox.
    KeepConsole,
    /// Kill QEMU without libvirt.
    KillQemu,
    /// Remove the VM's directory.
    RemoveFiles,
    /// Everything is cleaned up, in the guest too.
    MarkDone,
    /// End the process.
    Exit,
}
