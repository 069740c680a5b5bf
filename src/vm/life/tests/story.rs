//! A life as it is told: events go in, and what it led to is kept.

use std::time::Duration;

use super::super::*;
use crate::messages::mesos::task_status::Reason;
use crate::subprocess::Exit;

pub(super) const ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 168, 122, 9);
pub(super) const BOOT: Duration = Duration::from_secs(60);

pub(super) struct Story {
    pub(super) life: Life,
    pub(super) now: Instant,
    /// What the last event led to.
    pub(super) last: Vec<Action>,
    pub(super) all: Vec<Action>,
}

pub(super) fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

impl Story {
    pub(super) fn begin() -> Story {
        Story::with(false)
    }

    pub(super) fn with(fetches: bool) -> Story {
        Story::of(fetches, Watch::default())
    }

    pub(super) fn watching(watch: Watch) -> Story {
        Story::of(false, watch)
    }

    pub(super) fn of(fetches: bool, watch: Watch) -> Story {
        Story::shaped(Shape::Command, fetches, watch)
    }

    pub(super) fn shaped(shape: Shape, fetches: bool, watch: Watch) -> Story {
        let settings = Settings {
            shape,
            boot_timeout: BOOT,
            makes_keys: true,
            uri: "qemu:///system".into(),
            network: "mesos".into(),
            image: "/images/default".into(),
            user: "alice".into(),
            mac: "52:54:00:00:00:01".into(),
            fetches,
            tells_of_killing: true,
            watch,
            is_executor: false,
        };
        let now = Instant::now();
        let (life, actions) = Life::begin(settings, now);
        Story { life, now, last: actions.clone(), all: actions }
    }

    pub(super) fn event(mut self, event: Event) -> Story {
        self.now += ms(10);
        self.last = self.life.handle(event, self.now);
        self.all.extend(self.last.clone());
        self
    }

    pub(super) fn ok(self, job: JobKind) -> Story {
        self.found(job, Found::Nothing)
    }

    pub(super) fn found(self, job: JobKind, found: Found) -> Story {
        assert!(self.started(job), "{job:?} was not started");
        self.event(Event::Ended { job, result: Ok(found) })
    }

    pub(super) fn fails(self, job: JobKind, cause: Cause, text: &str) -> Story {
        assert!(self.started(job), "{job:?} was not started");
        let failure = Failure { cause, text: text.into() };
        self.event(Event::Ended { job, result: Err(failure) })
    }

    pub(super) fn not_launched(self, cause: Cause, text: &str) -> Story {
        self.event(Event::Launched(Err(Failure { cause, text: text.into() })))
    }

    pub(super) fn wait(mut self, time: Duration) -> Story {
        let until = self.now + time;
        while let Some(at) = self.life.deadline().filter(|at| *at <= until) {
            self.now = self.now.max(at);
            self.last = self.life.handle(Event::Tick, self.now);
            self.all.extend(self.last.clone());
            assert_ne!(self.life.deadline(), Some(at), "a tick that changes nothing would spin");
        }
        self.now = until;
        self
    }

    pub(super) fn kill(self, grace: Duration) -> Story {
        self.event(Event::Kill { grace })
    }

    pub(super) fn prepared(self) -> Story {
        self.ok(JobKind::Launcher).ok(JobKind::ClientKey).ok(JobKind::Overlay).ok(JobKind::HostKey)
    }

    pub(super) fn booting() -> Story {
        Story::begin().booted()
    }

    pub(super) fn booted(self) -> Story {
        self.prepared().found(JobKind::Start, Found::Address(ADDRESS))
    }

    pub(super) fn greeted() -> Story {
        Story::booting().event(Event::BannerSeen)
    }

    pub(super) fn connected(self, boot_id: &str) -> Story {
        self.event(Event::Connected { boot_id: boot_id.into() })
    }

    pub(super) fn running() -> Story {
        Story::booting().runs()
    }

    pub(super) fn runs(self) -> Story {
        self.event(Event::BannerSeen).connected("boot-1").event(Event::Launched(Ok(())))
    }

    pub(super) fn exits(self, exit: Exit) -> Story {
        self.found(JobKind::Wait, Found::CommandEnded(exit))
    }

    pub(super) fn breaks(self, text: &str) -> Story {
        self.event(Event::ConnectionEnded(Failure::other(text)))
    }

    pub(super) fn collected(self) -> Story {
        self.event(Event::OutputDone).ok(JobKind::Collect)
    }

    pub(super) fn started(&self, job: JobKind) -> bool {
        self.count(job) > 0
    }

    pub(super) fn count(&self, job: JobKind) -> usize {
        self.all.iter().filter(|action| matches!(action, Action::Start { job: other, .. } if *other == job)).count()
    }

    pub(super) fn did(&self, action: &Action) -> bool {
        self.all.contains(action)
    }

    pub(super) fn reports(&self) -> Vec<&Report> {
        let reports = self.all.iter().filter_map(|action| match action {
            Action::Report(report) => Some(report),
            _ => None,
        });
        reports.collect()
    }

    /// Through `destroy` to the end: checks what must hold of every end, and gives the terminal report.
    pub(super) fn end(self) -> Report {
        assert!(self.reports().iter().all(|report| !is_end(report.state)), "told before the VM was gone");
        let story = self.ok(JobKind::Destroy);
        assert!(story.did(&Action::MarkDone));
        story.settle()
    }

    pub(super) fn settle(self) -> Report {
        let report = self.reports().last().map(|report| (*report).clone()).expect("a report");
        assert!(is_end(report.state), "{report:?}");
        let written = self.all.iter().rposition(|action| *action == Action::WriteOutcome(report.clone()));
        let sent = self.all.iter().position(|action| *action == Action::Report(report.clone()));
        assert!(written < sent, "an outcome is written before it is sent");
        assert_eq!(self.reports().iter().filter(|report| is_end(report.state)).count(), 1);
        let story = self.event(Event::Settled);
        assert_eq!(story.last, [Action::Exit]);
        report
    }
}

pub(super) fn is_end(state: TaskState) -> bool {
    matches!(state, TaskState::TaskFinished | TaskState::TaskFailed | TaskState::TaskKilled)
}

pub(super) fn assert_report(report: &Report, state: TaskState, reason: Option<Reason>, words: &[&str]) {
    assert_eq!((report.state, report.reason), (state, reason), "{report:?}");
    let message = report.message.as_deref().unwrap_or_default();
    for word in words {
        assert!(message.contains(word), "{word:?} is not in {message:?}");
    }
}

pub(super) fn assert_not_launched(report: &Report, words: &[&str]) {
    assert_report(report, TaskState::TaskFailed, Some(Reason::ContainerLaunchFailed), words);
}
