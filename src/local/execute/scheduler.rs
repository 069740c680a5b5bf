//! The scheduler's core: what it knows and decides. No I/O, no clock.
//!
//! ```text
//! Subscribing ─ SUBSCRIBED ─► Waiting ─ an offer fits: ACCEPT ─► Launched ─ first UPDATE ─► Following
//!                                                                    └──── Ctrl-C: KILL ──┴─► Killing
//! terminal UPDATE ─► Draining ─ all output is out ─► ACKNOWLEDGE, TEARDOWN ─► Done
//! ```
//!
//! The terminal update is acknowledged last: until then no slave forgets the task, so its output can still be found.

use std::time::{Duration, Instant};

use super::calls::{Caller, Task};
pub use super::events::{Action, Event, Interrupt, Target};
use super::outcome::{self, Outcome};
use crate::messages::mesos::scheduler::{Call, Event as FromMaster, event};
use crate::messages::mesos::{self, Offer, TaskState, TaskStatus};
use crate::resources::Resources;
use crate::slave::is_terminal;

/// After so long without a fitting offer the user is told what is awaited.
const WAITING_NOTICE: Duration = Duration::from_secs(5);

/// So many heartbeats may be missed before the master is taken for lost (as Mesos' own schedulers do).
const HEARTBEATS: f64 = 5.0;

/// Where the scheduler is.
#[derive(Debug, PartialEq)]
enum State {
    Subscribing,
    Waiting { notice: Option<Instant> },
    Launched { target: Target },
    Following,
    Killing { target: Option<Target>, why: Interrupt },
    Draining { status: Box<TaskStatus>, outcome: Outcome, at: Instant },
    Done,
}

/// The scheduler of one task.
#[derive(Debug)]
pub struct Scheduler {
    caller: Caller,
    state: State,
    heartbeat: Duration,
    last_event: Instant,
    timeout: Option<Duration>,
    kill_at: Option<Instant>,
    last_state: Option<TaskState>,
    last_offer: Option<Resources>,
    actions: Vec<Action>,
}

impl Scheduler {
    /// A scheduler and its first actions. The task is killed when it has run for `timeout`.
    pub fn new(task: Task, timeout: Option<Duration>, now: Instant) -> (Scheduler, Vec<Action>) {
        let caller = Caller::new(task);
        let first = vec![Action::Call(Box::new(caller.subscribe()))];
        let scheduler = Scheduler {
            caller,
            state: State::Subscribing,
            heartbeat: Duration::ZERO,
            last_event: now,
            timeout,
            kill_at: None,
            last_state: None,
            last_offer: None,
            actions: Vec::new(),
        };
        (scheduler, first)
    }

    /// Takes an event in and gives what follows from it, in order.
    pub fn handle(&mut self, event: Event, now: Instant) -> Vec<Action> {
        match event {
            Event::Master(event) => self.master(&event, now),
            Event::Lost(why) => {
                let what = match self.state {
                    State::Subscribing => "cannot subscribe with the master",
                    _ => "lost the master",
                };
                let advice = match why.contains("cannot connect") {
                    true => "; is it running there? --master=local needs none",
                    false => "",
                };
                self.give_up(format!("{what}: {why}{advice}"));
            }
            Event::Interrupt(why) => self.interrupt(why),
            Event::Drained => self.drained(),
            Event::Tick => {}
        }
        self.deadlines(now);
        std::mem::take(&mut self.actions)
    }

    /// When [`Event::Tick`] is due.
    pub fn deadline(&self) -> Option<Instant> {
        let notice = match self.state {
            State::Waiting { notice } => notice,
            _ => None,
        };
        [self.silence_deadline(), self.kill_at].into_iter().fold(notice, crate::poll::earlier)
    }

    fn silence_deadline(&self) -> Option<Instant> {
        (!self.heartbeat.is_zero() && self.state != State::Done).then(|| self.last_event + self.heartbeat)
    }

    fn deadlines(&mut self, now: Instant) {
        if self.silence_deadline().is_some_and(|deadline| now >= deadline) {
            let silent = self.heartbeat.as_secs();
            self.give_up(format!("lost the master: it has been silent for {silent} s"));
        }
        if self.kill_at.is_some_and(|deadline| now >= deadline) {
            self.kill_at = None;
            self.interrupt(Interrupt::Timeout);
        }
        if let State::Waiting { notice } = &mut self.state
            && notice.is_some_and(|deadline| now >= deadline)
        {
            *notice = None;
            self.tell_waiting();
        }
    }

    fn tell_waiting(&mut self) {
        let wanted = &self.caller.task().resources;
        let seen = match &self.last_offer {
            Some(offer) => format!("; the last one had {offer}"),
            None => {
                "; there has been none at all: is a slave registered with the master, and has it anything free?".into()
            }
        };
        self.actions.push(Action::Say(format!("waiting for an offer with {wanted}{seen}")));
    }

    fn master(&mut self, event: &FromMaster, now: Instant) {
        self.last_event = now;
        match event.r#type() {
            event::Type::Subscribed => {
                if let Some(subscribed) = &event.subscribed {
                    self.subscribed(subscribed, now);
                }
            }
            event::Type::Offers => {
                let offers = event.offers.as_ref().map(|offers| offers.offers.as_slice());
                self.offers(offers.unwrap_or_default(), now);
            }
            event::Type::Update => {
                if let Some(update) = &event.update {
                    self.update(&update.status, now);
                }
            }
            event::Type::Failure => {
                if let Some(failure) = &event.failure {
                    self.failure(failure);
                }
            }
            event::Type::Error => {
                let message = event.error.as_ref().map_or("", |error| error.message.as_str());
                self.give_up(format!("the master refuses us: {message}"));
            }
            event::Type::Unknown
            | event::Type::InverseOffers
            | event::Type::Rescind
            | event::Type::RescindInverseOffer
            | event::Type::UpdateOperationStatus
            | event::Type::Message
            | event::Type::Heartbeat => {}
        }
    }

    fn subscribed(&mut self, subscribed: &event::Subscribed, now: Instant) {
        if self.state != State::Subscribing {
            return;
        }
        self.caller.subscribed(subscribed.framework_id.clone());
        let interval = subscribed.heartbeat_interval_seconds.filter(|seconds| (0.1..1e6).contains(seconds));
        self.heartbeat = Duration::from_secs_f64(interval.map_or(0.0, |seconds| seconds * HEARTBEATS));
        self.state = State::Waiting { notice: Some(now + WAITING_NOTICE) };
    }

    fn offers(&mut self, offers: &[Offer], now: Instant) {
        let fitting = match self.state {
            State::Waiting { .. } => offers.iter().find(|offer| fits(offer, &self.caller.task().resources)),
            _ => None,
        };
        let others: Vec<&Offer> =
            offers.iter().filter(|offer| fitting.is_none_or(|chosen| chosen.id != offer.id)).collect();
        if !others.is_empty() {
            self.last_offer = others.last().map(|offer| usable(offer));
            let wanted = fitting.is_none() && matches!(self.state, State::Waiting { .. });
            self.call(self.caller.decline(&others, wanted));
        }
        if let Some(offer) = fitting {
            self.launch(offer, now);
        }
    }

    fn launch(&mut self, offer: &Offer, now: Instant) {
        self.call(self.caller.accept(offer));
        self.actions.push(Action::Say(format!("launching on {}", offer.hostname)));
        self.kill_at = self.timeout.map(|timeout| now + timeout);
        let target = target(offer, self.caller.framework(), &self.caller.task().id);
        self.state = State::Launched { target };
    }

    fn update(&mut self, status: &TaskStatus, now: Instant) {
        if status.task_id.value != self.caller.task().id {
            return;
        }
        let ended = is_terminal(status.state());
        let repeated = self.last_state == Some(status.state());
        self.last_state = Some(status.state());
        if !repeated && !ended {
            self.actions.push(state_of(status, now));
        }
        if matches!(self.state, State::Draining { .. } | State::Done) {
            return;
        }
        self.follow(status);
        match ended {
            true => self.ended(status, now),
            false => self.acknowledge(status),
        }
    }

    /// The first update tells that there is a sandbox, and in most cases its container's id.
    fn follow(&mut self, status: &TaskStatus) {
        let target = match &mut self.state {
            State::Launched { target } => Some(std::mem::take(target)),
            State::Killing { target, .. } => target.take(),
            State::Subscribing | State::Waiting { .. } | State::Following | State::Draining { .. } | State::Done => {
                None
            }
        };
        if matches!(self.state, State::Launched { .. }) {
            self.state = State::Following;
        }
        if let Some(target) = target {
            let container = status.container_status.as_ref().and_then(|status| status.container_id.as_ref());
            let container = container.map(|id| id.value.clone());
            self.actions.push(Action::Follow(Box::new(Target { container, ..target })));
        }
    }

    fn ended(&mut self, status: &TaskStatus, now: Instant) {
        let why = match self.state {
            State::Killing { why, .. } => Some(why),
            _ => None,
        };
        let outcome = outcome::of(status, why);
        self.kill_at = None;
        self.state = State::Draining { status: Box::new(status.clone()), outcome, at: now };
        self.actions.push(Action::Drain);
    }

    fn drained(&mut self) {
        match std::mem::replace(&mut self.state, State::Done) {
            State::Draining { status, outcome, at } => {
                self.actions.push(state_of(&status, at));
                self.acknowledge(&status);
                self.leave(outcome);
            }
            other => self.state = other,
        }
    }

    fn interrupt(&mut self, why: Interrupt) {
        match std::mem::replace(&mut self.state, State::Done) {
            State::Subscribing => self.actions.push(Action::Exit(Outcome::Interrupted(why))),
            State::Waiting { .. } => self.leave(Outcome::Interrupted(why)),
            State::Launched { target } => self.kill(Some(target), why),
            State::Following => self.kill(None, why),
            State::Killing { target, why: first } if why == Interrupt::Timeout => {
                self.state = State::Killing { target, why: first };
            }
            State::Killing { why: first, .. } => {
                self.actions
                    .push(Action::Say(format!("{} again: leaving at once; the master ends the task", why.text())));
                self.leave(Outcome::Interrupted(first));
            }
            State::Draining { status, outcome, at } => {
                self.actions.push(Action::Say(format!("{}: the rest of the output is left out", why.text())));
                self.actions.push(state_of(&status, at));
                self.acknowledge(&status);
                self.leave(outcome);
            }
            State::Done => {}
        }
    }

    fn kill(&mut self, target: Option<Target>, why: Interrupt) {
        let hint = match why {
            Interrupt::CtrlC => " (again to leave at once)",
            Interrupt::Terminate | Interrupt::BrokenPipe | Interrupt::Timeout => "",
        };
        self.actions.push(Action::Say(format!("{}: killing the task{hint}", why.text())));
        self.call(self.caller.kill());
        self.state = State::Killing { target, why };
    }

    fn failure(&mut self, failure: &event::Failure) {
        let ours = failure.slave_id.is_some() && failure.slave_id.as_ref() == self.caller.slave();
        if ours && failure.executor_id.is_none() {
            self.actions.push(Action::Say("the master has lost the slave that the task is on".into()));
        }
    }

    fn acknowledge(&mut self, status: &TaskStatus) {
        if let Some(call) = self.caller.acknowledge(status) {
            self.call(call);
        }
    }

    fn give_up(&mut self, why: String) {
        match std::mem::replace(&mut self.state, State::Done) {
            State::Done => {}
            State::Draining { status, outcome, at } => {
                self.actions.push(state_of(&status, at));
                self.actions.push(Action::Exit(outcome));
            }
            State::Subscribing
            | State::Waiting { .. }
            | State::Launched { .. }
            | State::Following
            | State::Killing { .. } => self.actions.push(Action::Exit(Outcome::Failed(why))),
        }
    }

    fn leave(&mut self, outcome: Outcome) {
        self.state = State::Done;
        self.call(self.caller.teardown());
        self.actions.push(Action::Exit(outcome));
    }

    fn call(&mut self, call: Call) {
        self.caller.sent(&call);
        self.actions.push(Action::Call(Box::new(call)));
    }
}

fn state_of(status: &TaskStatus, at: Instant) -> Action {
    let message = status.message.clone().filter(|message| !message.is_empty());
    Action::State(status.state(), message, at)
}

/// What a plain task may take of an offer: nothing that is reserved or may be revoked.
fn usable(offer: &Offer) -> Resources {
    let plain = |resource: &&mesos::Resource| {
        resource.revocable.is_none()
            && resource.reservations.is_empty()
            && resource.disk.is_none()
            && resource.role.as_deref().is_none_or(|role| role == "*")
    };
    let bare = |resource: &mesos::Resource| mesos::Resource { allocation_info: None, role: None, ..resource.clone() };
    let plain: Vec<mesos::Resource> = offer.resources.iter().filter(plain).map(bare).collect();
    Resources::checked(&plain).unwrap_or_default()
}

fn fits(offer: &Offer, wanted: &Resources) -> bool {
    usable(offer).contains(wanted)
}

fn target(offer: &Offer, framework: &str, task: &str) -> Target {
    let address = offer.url.as_ref().map(|url| &url.address);
    let host = address.and_then(|address| address.ip.clone().or_else(|| address.hostname.clone()));
    let port = address.and_then(|address| u16::try_from(address.port).ok());
    Target {
        host: host.unwrap_or_else(|| offer.hostname.clone()),
        port: port.unwrap_or(5051),
        framework: framework.to_string(),
        task: task.to_string(),
        container: None,
    }
}
