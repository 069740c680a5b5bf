//! The tasks' output: asked of the agent, shown on our streams; the last state of a task comes behind it.

use std::collections::BTreeMap;
use std::net::SocketAddrV4;
use std::time::Instant;

use super::{ANSWER, HOLD, Shell, resolve};
use crate::libprocess::Response;
use crate::local::execute::follow::{Ask, Follower, Found, Kind};
use crate::local::execute::output::Label;
use crate::local::execute::scheduler::{Event, Target};
use crate::messages::mesos::TaskState;
use crate::poll::earlier;

/// A task whose output is shown.
#[derive(Debug)]
pub(super) struct Following {
    agent: SocketAddrV4,
    follower: Follower,
    drained: bool,
    stdout: Label,
    stderr: Label,
}

/// By the tasks' places; a group's executor comes behind them.
pub(super) type Followings = BTreeMap<usize, Following>;

impl Shell<'_> {
    pub(super) fn start_following(&mut self, task: usize, target: Target, now: Instant) {
        match resolve(&format!("{}:{}", target.host, target.port)) {
            Ok(agent) => {
                let label = || self.labels.get(task).map_or_else(Label::none, |label| Label::new(label));
                let (stdout, stderr) = (label(), label());
                let follower = Follower::new(target, now);
                self.following.insert(task, Following { agent, follower, drained: false, stdout, stderr });
            }
            Err(why) => self.say(&format!("the task's output cannot be shown: {why}")),
        }
    }

    /// The task has ended. Without anything to read of it, the scheduler hears that at once.
    pub(super) fn drain(&mut self, task: usize, now: Instant) -> Option<Event> {
        match self.following.get_mut(&task) {
            Some(following) => {
                following.follower.drain(now);
                None
            }
            None => Some(Event::Drained(task)),
        }
    }

    /// When there is something to ask.
    pub(super) fn follow_deadline(&self) -> Option<Instant> {
        let (stdout, stderr) = (self.stdout.has_room(), self.stderr.has_room());
        let deadlines = self.following.values().map(|each| each.follower.deadline(|kind| room(kind, stdout, stderr)));
        let held = self.held.first().map(|(.., until)| *until);
        deadlines.fold(held, earlier)
    }

    /// Asks the agent for what is due, and tells the scheduler of whom all has been read.
    pub(super) fn follow(&mut self, now: Instant) {
        let (stdout, stderr) = (self.stdout.has_room(), self.stderr.has_room());
        let mut drained = Vec::new();
        for (task, following) in &mut self.following {
            for (ask, request) in following.follower.requests(|kind| room(kind, stdout, stderr), now) {
                let id = self.network.request(following.agent, request, ANSWER, now);
                self.asks.insert(id, (*task, ask));
            }
            if following.follower.is_done() && !following.drained {
                following.drained = true;
                self.stdout.push(&following.stdout.rest());
                self.stderr.push(&following.stderr.rest());
                drained.push(*task);
            }
        }
        drained.into_iter().for_each(|task| self.handle(Event::Drained(task), now));
    }

    pub(super) fn read(&mut self, task: usize, ask: Ask, answer: Result<Response, String>, now: Instant) {
        let Some(following) = self.following.get_mut(&task) else {
            return;
        };
        match following.follower.answered(ask, answer, now) {
            Found::Bytes(Kind::Stdout, bytes) => self.stdout.push(&following.stdout.on(bytes)),
            Found::Bytes(Kind::Stderr, bytes) => self.stderr.push(&following.stderr.on(bytes)),
            Found::Bytes(Kind::VmLog, bytes) => {
                for line in self.progress.steps(&bytes) {
                    self.stderr.push_line(&line);
                }
            }
            Found::Problem(text) => self.say(&text),
            Found::Nothing => {}
        }
    }

    /// Shows a state after the steps of the VM that led to it, which come from another place.
    pub(super) fn show_in_order(
        &mut self,
        task: usize,
        state: TaskState,
        message: Option<&str>,
        at: Instant,
        now: Instant,
    ) {
        if self.held.iter().any(|(held, ..)| *held == task) {
            self.release(true, now);
        }
        let line = self.progress.state(self.labels.get(task).map(String::as_str), state, message, at);
        let reading = self.following.values_mut().filter(|each| !each.drained);
        reading.for_each(|each| each.follower.catch_up(now));
        self.held.push((task, line, now + HOLD));
        self.release(false, now);
    }

    /// Shows the states that were held back, when it is time.
    pub(super) fn release(&mut self, at_once: bool, now: Instant) {
        let caught_up = self.following.values().all(|each| each.drained || each.follower.is_caught_up());
        let due = self.held.first().is_some_and(|(.., until)| now >= *until);
        if at_once || caught_up || due || self.leaving.is_some() {
            for (_, line, _) in std::mem::take(&mut self.held) {
                self.stderr.push_line(&line);
            }
        }
    }
}

fn room(kind: Kind, stdout: bool, stderr: bool) -> bool {
    match kind {
        Kind::Stdout => stdout,
        Kind::Stderr | Kind::VmLog => stderr,
    }
}
