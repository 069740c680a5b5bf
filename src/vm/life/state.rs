//! Where a VM's life is, and what it has to know there.

use std::time::{Duration, Instant};

use super::deadlines::{KILL, RECONNECT, REFUSED};
use super::types::{Cause, Failure, JobKind};
use crate::container::status::Report;
use crate::poll::{Backoff, earlier};

#[derive(Debug)]
pub(super) enum State {
    Preparing {
        left: Vec<JobKind>,
    },
    Starting {
        doomed: Option<(Report, Instant)>,
    },
    AwaitingAddress {
        by: Instant,
    },
    AwaitingSsh(Handshake),
    /// A holder's guest is reached.
    Holding {
        link: Link,
        /// With the slave gone.
        until: Option<Instant>,
    },
    /// Connected; what is fetched is awaited, or on its way.
    Bringing,
    Launching {
        by: Instant,
        /// It is to end as soon as it is known to have begun.
        killed: Option<Kill>,
    },
    Running {
        link: Link,
    },
    Stopping {
        kill: Kill,
        give_up_at: Option<Instant>,
    },
    Collecting {
        output: bool,
        files: bool,
        until: Instant,
    },
    Destroying,
    Reporting {
        until: Instant,
    },
    Ended,
}

/// The way from TERM to KILL.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kill {
    began: Instant,
    /// Until KILL is sent.
    pub(super) at: Option<Instant>,
}

/// What the command has to find in its sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Files {
    /// Nothing.
    None,
    /// It is being fetched.
    Fetching,
    /// It lies in the sandbox on the host.
    Fetched,
}

/// From sshd's greeting to a connection that works.
#[derive(Debug)]
pub(super) struct Handshake {
    pub(super) by: Instant,
    pub(super) retry_at: Option<Instant>,
    pub(super) backoff: Backoff,
    pub(super) refused_until: Option<Instant>,
    pub(super) last: Option<String>,
    /// The connection that is being made begins the command: whoever cuts it off does not know whether it has.
    pub(super) begins: bool,
    /// It is to end as soon as it is known to have begun.
    pub(super) killed: Option<Kill>,
}

/// The connection while the command runs.
#[derive(Debug)]
pub(super) enum Link {
    Up,
    Lost { until: Instant, retry_at: Option<Instant>, backoff: Backoff, why: String },
}

impl Kill {
    pub(super) fn new(grace: Duration, now: Instant) -> Kill {
        Kill { began: now, at: now.checked_add(grace) }
    }

    /// Tells what may be beginning to end, and until when, at the latest, it has to be known whether it has begun.
    pub(super) fn ahead(killed: &mut Option<Kill>, by: &mut Instant, grace: Duration, now: Instant) {
        let kill = killed.get_or_insert(Kill::new(grace, now));
        kill.hasten(grace);
        *by = kill.known_by(*by);
    }

    pub(super) fn known_by(&self, by: Instant) -> Instant {
        self.at.and_then(|at| at.checked_add(KILL)).map_or(by, |known_by| known_by.min(by))
    }

    /// A later kill can only hasten the end: its grace period counts from the first (`CommandExecutor::kill` in Mesos).
    pub(super) fn hasten(&mut self, grace: Duration) {
        if let Some(at) = &mut self.at {
            *at = self.began.checked_add(grace).map_or(*at, |sooner| sooner.min(*at));
        }
    }
}

impl Handshake {
    pub(super) fn new(by: Instant) -> Handshake {
        Handshake {
            by,
            retry_at: None,
            backoff: Backoff::new(Duration::from_millis(100), Duration::from_secs(1)),
            refused_until: None,
            last: None,
            begins: false,
            killed: None,
        }
    }

    /// Whether there is any use in another try.
    pub(super) fn retry(&mut self, failure: &Failure, now: Instant) -> bool {
        let hopeless = match failure.cause {
            Cause::Fatal => true,
            Cause::KeyRefused => now >= *self.refused_until.get_or_insert((now + REFUSED).min(self.by)),
            Cause::Deadline | Cause::NoUser | Cause::Rebooted | Cause::Supervisor | Cause::Other => false,
        };
        self.begins = false;
        self.last = Some(failure.text.clone());
        self.retry_at = Some(now + self.backoff.next_wait());
        !hopeless
    }
}

impl Link {
    /// When something is to be done about it.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match self {
            Link::Up => None,
            Link::Lost { until, retry_at, .. } => earlier(Some(*until), *retry_at),
        }
    }

    pub(super) fn lose(&mut self, reason: String, now: Instant) {
        match self {
            Link::Up => {
                *self = Link::Lost {
                    until: now + RECONNECT,
                    retry_at: Some(now),
                    backoff: Backoff::new(Duration::from_millis(200), Duration::from_secs(10)),
                    why: reason,
                };
            }
            Link::Lost { retry_at, backoff, why, .. } => {
                *retry_at = Some(now + backoff.next_wait());
                *why = reason;
            }
        }
    }
}
