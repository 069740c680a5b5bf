//! The slave's actions, each held against the model; and what must be true between any two events.

use std::time::{Duration, Instant};

use super::world::{CPUS, Container, Key, Question, Stream, Waiting, World};
use super::{Check, ensure};
use crate::ids::ContainerId;
use crate::libprocess::Pid;
use crate::messages::mesos::internal::*;
use crate::messages::mesos::task_status::Source;
use crate::messages::mesos::{Task, TaskState};
use crate::slave::constants::{MASTER_PING_TIMEOUT, UPDATE_RETRY_MAX, UPDATE_RETRY_MIN};
use crate::slave::{Action, Event, Outgoing, is_terminal};

/// An update's uuid, and whose it is.
type Taken = Vec<(ContainerId, Vec<u8>)>;

impl World {
    pub fn event(&mut self, event: Event) -> Check {
        self.event_taken(event).map(drop)
    }

    /// Gives the slave an event, and the updates that it took over from children.
    pub fn event_taken(&mut self, event: Event) -> Result<Taken, String> {
        let actions = self.slave.handle(event, self.now);
        let most = 6 + self.streams.len() + self.containers.len();
        ensure!(actions.len() <= most, "{} actions follow from one event", actions.len());
        let mut taken = Taken::new();
        for action in actions {
            match action {
                Action::Send { to, message } => self.sent(&to, &message)?,
                Action::SendAs { .. } => return Err("it authenticates without a credential".to_string()),
                // It registers again with whom it links, unless it is the answer that came when the link was broken.
                Action::Link(pid) => {
                    ensure!(Some(&pid) == self.master.pid.as_ref(), "a link to {pid}, which does not lead");
                    self.in_touch &= self.slave.registered_master().is_some();
                }
                Action::Launch(spec) => self.launched(&spec)?,
                Action::Kill { container, .. } => self.killed(&container)?,
                Action::ResourcesChanged { .. } | Action::CheckpointResources(_) => {
                    return Err("a command task's resources do not change, and nothing is reserved".to_string());
                }
                Action::ToExecutor { .. } | Action::HangUp(_) => return Err("there is no executor".to_string()),
                Action::Acknowledge { container, uuid } => taken.push((container, uuid)),
                Action::Exit => self.exit()?,
            }
        }
        self.excused.clear();
        if !self.exited {
            self.between()?;
        }
        Ok(taken)
    }

    pub fn advance(&mut self, by: Duration) {
        self.now.instant += by;
        self.now.unix += by.as_secs_f64();
    }

    /// Time passes, and the slave is woken at each of its deadlines.
    pub fn pass(&mut self, millis: u64) -> Check {
        let end = self.now.instant + Duration::from_millis(millis);
        // An update every 10 s, a registration every second at most, a ping's absence.
        let most = 8 + (1 + self.streams.len() as u64) * (millis / 10_000 + 1) + millis / 1000;
        for _ in 0..most {
            match self.slave.deadline().filter(|deadline| *deadline <= end) {
                None => {
                    self.advance(end - self.now.instant);
                    return self.event(Event::Tick);
                }
                Some(deadline) => {
                    self.advance(deadline.saturating_duration_since(self.now.instant));
                    self.event(Event::Tick)?;
                }
            }
            if self.exited {
                return Ok(());
            }
        }
        Err(format!("it woke up more than {most} times in {millis} ms"))
    }

    fn launched(&mut self, spec: &crate::messages::container::Spec) -> Check {
        let id = ContainerId::new(spec.container_id.clone()).map_err(|error| error.to_string())?;
        ensure!(self.position(&id).is_none(), "container id {id} was used twice");
        let task = spec.task.as_ref().map(|task| task.task_id.value.clone()).unwrap_or_default();
        let framework = spec.framework.id.as_ref().map(|id| id.value.clone()).unwrap_or_default();
        ensure!(self.lives(&framework), "a launch for {framework}, which is gone");
        let cpus =
            spec.resources.iter().filter_map(|each| each.scalar).map(|cpus| (cpus.value * 1000.0).round() as u32);
        let container = Container {
            key: (framework, task),
            cpus: cpus.sum(),
            alive: true,
            told: false,
            reported: Vec::new(),
            state: TaskState::TaskStaging,
            ended: false,
            acknowledged: false,
            terminals: 0,
        };
        self.seen.launches += 1;
        self.containers.push((id, container));
        ensure!(self.used() <= CPUS, "more is given away than there is: {} of {CPUS}", self.used());
        Ok(())
    }

    fn killed(&mut self, id: &ContainerId) -> Check {
        let at = self.position(id).ok_or_else(|| format!("container {id} was never launched"))?;
        let container = &mut self.containers[at].1;
        ensure!(container.alive, "container {id} is gone and was killed");
        container.told = true;
        self.seen.kills += 1;
        Ok(())
    }

    fn exit(&mut self) -> Check {
        ensure!(self.stopping, "it ended without being asked to");
        let alive = self.containers.iter().find(|(_, container)| container.alive);
        ensure!(alive.is_none(), "it ended before {alive:?}");
        self.seen.exits += usize::from(!self.exited);
        self.exited = true;
        Ok(())
    }

    fn sent(&mut self, to: &Pid, message: &Outgoing) -> Check {
        if let Some(message) = message.decode::<StatusUpdateMessage>() {
            return self.sent_update(to, message.update);
        }
        if message.decode::<PongSlaveMessage>().is_some() {
            return Ok(());
        }
        ensure!(Some(to) == self.master.pid.as_ref(), "{} was sent to {to}, which does not lead", message.name);
        if message.decode::<ExitedExecutorMessage>().is_some() {
            ensure!(self.in_touch, "an exit is told to a master that it is not registered with");
            return Ok(());
        }
        ensure!(!self.in_touch, "{} was sent, though it is registered", message.name);
        self.seen.registrations += 1;
        let question = match message.decode::<ReregisterSlaveMessage>() {
            Some(message) => {
                self.reregisters(&message)?;
                Question::Again(self.listed(&message))
            }
            None => {
                ensure!(message.decode::<RegisterSlaveMessage>().is_some(), "{} was sent", message.name);
                ensure!(!self.has_id, "it registers as a new slave, but has an id");
                Question::New
            }
        };
        if self.master.up {
            self.master.asked = Some(question);
        }
        Ok(())
    }

    /// The master that a re-registration reaches learns what runs here; the result is what it misses.
    fn listed(&mut self, message: &ReregisterSlaveMessage) -> Vec<Key> {
        if !self.master.up {
            return Vec::new();
        }
        let listed: Vec<Key> = message.tasks.iter().map(key_of).collect();
        let missing = self.master.tasks.iter().filter(|key| !listed.contains(key)).cloned().collect();
        self.master.tasks.extend(listed);
        missing
    }

    /// What a re-registration lists: all tasks of which the last update is not acknowledged, and nothing else.
    fn reregisters(&self, message: &ReregisterSlaveMessage) -> Check {
        ensure!(self.has_id, "it re-registers without an id");
        let here = |container: &Container| self.lives(&container.key.0) && !container.acknowledged;
        let mut expected: Vec<&Container> =
            self.containers.iter().map(|(_, container)| container).filter(|container| here(container)).collect();
        expected.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        let mut tasks: Vec<_> = message.tasks.iter().collect();
        tasks.sort_unstable_by_key(|task| key_of(task));
        let listed: Vec<Key> = tasks.iter().map(|task| key_of(task)).collect();
        let wanted: Vec<Key> = expected.iter().map(|container| container.key.clone()).collect();
        ensure!(listed == wanted, "it lists {listed:?}, and has {wanted:?}");
        for (task, container) in tasks.iter().zip(expected) {
            let fits = match is_terminal(container.state) || !container.ended {
                true => task.state() == container.state,
                // The end is of the slave's own making.
                false => is_terminal(task.state()),
            };
            ensure!(fits, "it lists {:?} as {:?}, and it is {:?}", container.key, task.state(), container.state);
            let framework = message.frameworks.iter().find(|info| info.id.as_ref() == Some(&task.framework_id));
            ensure!(framework.is_some(), "it lists a task of {:?} and not the framework", task.framework_id);
        }
        Ok(())
    }

    fn sent_update(&mut self, to: &Pid, update: StatusUpdate) -> Check {
        let key = (update.framework_id.value.clone(), update.status.task_id.value.clone());
        let (uuid, state) = (update.uuid().to_vec(), update.status.state());
        ensure!(
            self.in_touch && Some(to) == self.master.pid.as_ref(),
            "an update of {key:?} to a master it is not with"
        );
        ensure!(self.lives(&key.0), "an update of {key:?}, whose framework is gone");
        let own = update.status.source() == Source::Slave;
        let excused = self.excused.remove(&key);
        let now = self.now.instant;
        let stream = self.streams.entry(key.clone()).or_default();
        if own && stream.queue.is_empty() {
            ensure!(stream.owed || stream.allowed, "an update of {key:?} that nothing led to");
            ensure!(is_terminal(state), "{state:?} of {key:?} is of the slave's own making");
            stream.owed = false;
            stream.allowed = false;
            stream.queue.push_back(Waiting { uuid: uuid.clone(), terminal: true, sent: None });
        }
        let first = stream.send(&uuid, excused, now).map_err(|why| format!("{key:?}: {why}"))?;
        self.seen.updates += 1;
        self.seen.resent += usize::from(!first);
        let latest = update.latest_state();
        if let Some(container) = self.owner(&key) {
            container.terminals += usize::from(first && is_terminal(state));
            let expected = if container.ended && own { state } else { container.state };
            let fits = latest == expected || container.ended && is_terminal(latest);
            ensure!(fits, "{key:?} is said to be {latest:?} by now, and is {expected:?}");
            ensure!(!own || (state == TaskState::TaskKilled) == container.told, "{key:?} ended as {state:?}");
        }
        if self.master.up {
            self.receive(key, uuid, own);
        }
        Ok(())
    }

    /// The master passes an update on to its scheduler.
    fn receive(&mut self, key: Key, uuid: Vec<u8>, own: bool) {
        let stream = self.streams.entry(key.clone()).or_default();
        if !own && !stream.received.contains(&uuid) {
            stream.received.push(uuid.clone());
        }
        let entry = (key, uuid);
        if !self.inbox.contains(&entry) {
            self.inbox.push(entry);
        }
    }

    /// What is true whenever the slave waits.
    fn between(&self) -> Check {
        let registered = self.slave.registered_master();
        let expected = self.master.pid.as_ref().filter(|_| self.in_touch);
        ensure!(registered == expected, "it is registered with {registered:?}, not with {expected:?}");
        let mut next = self.in_touch.then(|| self.heard_at + MASTER_PING_TIMEOUT);
        for (key, stream) in self.streams.iter().filter(|_| self.in_touch) {
            ensure!(!stream.queue.is_empty() || !stream.owed, "{key:?} is owed an update");
            let Some(front) = stream.queue.front() else { continue };
            let Some((at, wait)) = front.sent else {
                return Err(format!("{key:?}'s next update was not sent"));
            };
            ensure!(at + wait > self.now.instant, "{key:?}'s update is to be sent again");
            next = next.into_iter().chain([at + wait]).min();
        }
        let deadline = self.slave.deadline();
        ensure!(deadline.is_none_or(|deadline| deadline > self.now.instant), "its deadline has passed: it spins");
        ensure!(self.master.pid.is_none() || deadline.is_some(), "it would sleep for ever");
        if self.in_touch && !self.stopping {
            let until = |time: Option<Instant>| time.map(|time| time.saturating_duration_since(self.now.instant));
            let (wakes, due) = (until(deadline), until(next));
            ensure!(deadline == next, "it wakes up in {wakes:?}, and has something to do in {due:?}");
        }
        Ok(())
    }
}

impl Stream {
    /// Notes that an update was sent; true if it was for the first time.
    fn send(&mut self, uuid: &[u8], excused: bool, now: Instant) -> Result<bool, String> {
        let front = self.queue.front_mut().ok_or("an update of which nobody knows")?;
        ensure!(front.uuid == uuid, "an update that is not the outstanding one");
        let wait = match front.sent {
            None => UPDATE_RETRY_MIN,
            Some(_) if excused => UPDATE_RETRY_MIN,
            Some((at, wait)) => {
                ensure!(at + wait <= now, "sent again after {:?} instead of {wait:?}", now - at);
                (wait * 2).min(UPDATE_RETRY_MAX)
            }
        };
        let first = front.sent.replace((now, wait)).is_none();
        Ok(first)
    }
}

fn key_of(task: &Task) -> Key {
    (task.framework_id.value.clone(), task.task_id.value.clone())
}
