//! The scheduler's core: what it knows and decides. No I/O, no clock.
//!
//! ```text
//! Subscribing ─ SUBSCRIBED ─► Waiting ─ an offer fits: ACCEPT ─► Launched ──── Ctrl-C: KILL ───► Killing
//!                                                                    └────────────┬────────────────┘
//!                                              the last task has ended: TEARDOWN ─┴─► Done
//! ```
//!
//! What becomes of each task is in [`Launched`]. A terminal update is acknowledged last, when all output is out: until then no slave
//! forgets the task, so its output can still be found.

use std::time::{Duration, Instant};

use super::calls::{Caller, Work};
pub use super::events::{Action, Event, Interrupt, Shown, Target};
use super::launched::{Launched, Stage};
use super::outcome::{self, Outcome};
use crate::messages::mesos::scheduler::{Call, Event as FromMaster, event};
use crate::messages::mesos::{self, Offer, TaskStatus};
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
    Launched,
    Killing { why: Interrupt },
    Done,
}

/// The scheduler of one task, or of one group.
#[derive(Debug)]
pub struct Scheduler {
    caller: Caller,
    state: State,
    tasks: Vec<Launched>,
    /// What the first task came to that ended otherwise than well.
    failed: Option<Outcome>,
    heartbeat: Duration,
    last_event: Instant,
    timeout: Option<Duration>,
    kill_at: Option<Instant>,
    last_offer: Option<Resources>,
    actions: Vec<Action>,
}

impl Scheduler {
    /// A scheduler and its first actions. What is launched is killed when it has run for `timeout`.
    pub fn new(work: Work, timeout: Option<Duration>, now: Instant) -> (Scheduler, Vec<Action>) {
        let caller = Caller::new(work);
        let first = vec![Action::Call(Box::new(caller.subscribe()))];
        let scheduler = Scheduler {
            caller,
            state: State::Subscribing,
            tasks: Vec::new(),
            failed: None,
            heartbeat: Duration::ZERO,
            last_event: now,
            timeout,
            kill_at: None,
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
            Event::Drained(task) => self.drained(task),
            Event::Tick => {}
        }
        self.deadlines(now);
        std::mem::take(&mut self.actions)
    }

    /// What the tasks of a group are called; a task that is alone needs no name.
    pub fn labels(&self) -> Vec<String> {
        let work = self.caller.work();
        let grouped = work.tasks.iter().filter(|_| work.executor.is_some());
        grouped.map(|task| task.task_id.value.clone()).collect()
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
        let wanted = self.caller.work().needed();
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
        let needed = self.caller.work().needed();
        let fitting = match self.state {
            State::Waiting { .. } => offers.iter().find(|offer| usable(offer).contains(&needed)),
            State::Subscribing | State::Launched | State::Killing { .. } | State::Done => None,
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
        let call = self.caller.accept(offer);
        self.call(call);
        self.actions.push(Action::Say(format!("launching on {}", offer.hostname)));
        self.kill_at = self.timeout.map(|timeout| now + timeout);
        let ids = self.caller.work().tasks.iter().map(|task| task.task_id.value.clone());
        let launched = |id: String| {
            let target = target(offer, self.caller.framework(), &id);
            Launched::new(id, target)
        };
        self.tasks = ids.map(launched).collect();
        self.follow_executor(offer);
        self.state = State::Launched;
    }

    /// A group's tasks start when their VM is there: its steps are shown from the beginning, and once.
    fn follow_executor(&mut self, offer: &Offer) {
        let Some(first) = self.tasks.first().filter(|_| self.caller.work().executor.is_some()) else {
            return;
        };
        let target = Target { shown: Shown::Steps, ..target(offer, self.caller.framework(), &first.id) };
        self.actions.push(Action::Follow(self.tasks.len(), Box::new(target)));
    }

    fn update(&mut self, status: &TaskStatus, now: Instant) {
        let Some(index) = self.tasks.iter().position(|task| task.id == status.task_id.value) else {
            return;
        };
        let ended = is_terminal(status.state());
        let is_new = self.tasks[index].is_new(status.state());
        if is_new && !ended {
            self.actions.push(state_of(index, status, now));
        }
        if self.tasks[index].has_ended() || self.state == State::Done {
            return;
        }
        self.follow(index, status);
        match ended {
            true => self.ended(index, status, now),
            false => self.acknowledge(status),
        }
    }

    fn follow(&mut self, index: usize, status: &TaskStatus) {
        let grouped = self.caller.work().executor.is_some();
        if let Some(target) = self.tasks[index].follow(status, grouped) {
            self.actions.push(Action::Follow(index, Box::new(target)));
        }
    }

    fn ended(&mut self, index: usize, status: &TaskStatus, now: Instant) {
        let killed = match self.state {
            State::Killing { why } => Some(why),
            State::Subscribing | State::Waiting { .. } | State::Launched | State::Done => None,
        };
        let task = &mut self.tasks[index];
        let whose = match self.caller.work().executor {
            Some(_) => format!("task {}", task.id),
            None => "the task".to_string(),
        };
        let outcome = outcome::of(status, killed, &whose);
        if outcome != Outcome::Command(0) {
            self.failed.get_or_insert_with(|| outcome.clone());
        }
        task.outcome = Some(outcome);
        task.stage = Stage::Draining { status: Box::new(status.clone()), at: now };
        if self.tasks.iter().all(Launched::has_ended) {
            self.kill_at = None;
        }
        self.actions.push(Action::Drain(index));
    }

    fn drained(&mut self, index: usize) {
        if self.state == State::Done || index >= self.tasks.len() {
            return;
        }
        self.settle(index, true);
        if self.tasks.iter().all(|task| task.stage == Stage::Ended) {
            self.leave(self.outcome());
        }
    }

    /// Shows a task's last state and, if the master is there to hear it, acknowledges it.
    fn settle(&mut self, index: usize, acknowledge: bool) {
        let stage = &mut self.tasks[index].stage;
        match std::mem::replace(stage, Stage::Ended) {
            Stage::Draining { status, at } => {
                self.actions.push(state_of(index, &status, at));
                if acknowledge {
                    self.acknowledge(&status);
                }
            }
            other @ (Stage::Launched(_) | Stage::Following | Stage::Ended) => *stage = other,
        }
    }

    fn settle_all(&mut self, acknowledge: bool) {
        (0..self.tasks.len()).for_each(|index| self.settle(index, acknowledge));
    }

    /// What it all came to: the first that did not go well.
    fn outcome(&self) -> Outcome {
        self.failed.clone().unwrap_or(Outcome::Command(0))
    }

    /// Everything has ended, though not all output is out.
    fn is_over(&self) -> bool {
        !self.tasks.is_empty() && self.tasks.iter().all(Launched::has_ended)
    }

    fn interrupt(&mut self, why: Interrupt) {
        match self.state {
            State::Subscribing => {
                self.state = State::Done;
                self.actions.push(Action::Exit(Outcome::Interrupted(why)));
            }
            State::Waiting { .. } => self.leave(Outcome::Interrupted(why)),
            State::Launched | State::Killing { .. } if self.is_over() => {
                self.actions.push(Action::Say(format!("{}: the rest of the output is left out", why.text())));
                self.settle_all(true);
                self.leave(self.outcome());
            }
            State::Launched => self.kill(why),
            State::Killing { .. } if why == Interrupt::Timeout => {}
            State::Killing { why: first } => {
                let what = self.caller.work().noun();
                self.actions
                    .push(Action::Say(format!("{} again: leaving at once; the master ends {what}", why.text())));
                self.leave(Outcome::Interrupted(first));
            }
            State::Done => {}
        }
    }

    fn kill(&mut self, why: Interrupt) {
        let hint = match why {
            Interrupt::CtrlC => " (again to leave at once)",
            Interrupt::Terminate | Interrupt::BrokenPipe | Interrupt::Timeout => "",
        };
        let what = self.caller.work().noun();
        self.actions.push(Action::Say(format!("{}: killing {what}{hint}", why.text())));
        let running = self.tasks.iter().filter(|task| !task.has_ended());
        let kills: Vec<Call> = running.map(|task| self.caller.kill(&task.id)).collect();
        kills.into_iter().for_each(|kill| self.call(kill));
        self.state = State::Killing { why };
    }

    fn failure(&mut self, failure: &event::Failure) {
        let ours = failure.slave_id.is_some() && failure.slave_id.as_ref() == self.caller.slave();
        if ours && failure.executor_id.is_none() {
            let what = match self.caller.work().executor {
                Some(_) => "the tasks are",
                None => "the task is",
            };
            self.actions.push(Action::Say(format!("the master has lost the slave that {what} on")));
        }
    }

    fn acknowledge(&mut self, status: &TaskStatus) {
        if let Some(call) = self.caller.acknowledge(status) {
            self.call(call);
        }
    }

    fn give_up(&mut self, why: String) {
        if self.state == State::Done {
            return;
        }
        let outcome = match self.is_over() {
            true => self.outcome(),
            false => Outcome::Failed(why),
        };
        self.settle_all(false);
        self.state = State::Done;
        self.actions.push(Action::Exit(outcome));
    }

    fn leave(&mut self, outcome: Outcome) {
        self.state = State::Done;
        self.call(self.caller.teardown());
        self.actions.push(Action::Exit(outcome));
    }

    fn call(&mut self, call: Call) {
        self.actions.push(Action::Call(Box::new(call)));
    }
}

fn state_of(task: usize, status: &TaskStatus, at: Instant) -> Action {
    let message = status.message.clone().filter(|message| !message.is_empty());
    Action::State(task, status.state(), message, at)
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

fn target(offer: &Offer, framework: &str, task: &str) -> Target {
    let address = offer.url.as_ref().map(|url| &url.address);
    let host = address.and_then(|address| address.ip.clone().or_else(|| address.hostname.clone()));
    let port = address.and_then(|address| u16::try_from(address.port).ok());
    Target {
        host: host.unwrap_or_else(|| offer.hostname.clone()),
        port: port.unwrap_or(5051),
        framework: framework.to_string(),
        task: task.to_string(),
        ..Target::default()
    }
}
