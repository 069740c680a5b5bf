//! Status updates: a stream per task, in order, one outstanding, sent again until it is acknowledged
//! (Mesos' `status_update_manager`). To a master of 2012 each goes out at once, as its slave does it: the end of a task must not
//! wait there for an earlier acknowledgement, for when its executor exits the master says of all tasks that have not ended that
//! they are lost.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use prost::Message as _;

use super::constants::{UPDATE_RETRY_MAX, UPDATE_RETRY_MIN};
use super::framework::{ExecutorState, is_terminal};
use super::{Action, Now, Slave};
use crate::ids::{ContainerId, ExecutorId, FrameworkId, TaskId};
use crate::messages::mesos;
use crate::messages::mesos::TaskState;
use crate::messages::mesos::internal::{StatusUpdate, StatusUpdateAcknowledgementMessage, StatusUpdateMessage};
use crate::messages::mesos::task_status::{Reason, Source};
use crate::poll::Backoff;

/// Updates of one task that a container may have waiting; a task has a handful of states, so more is a child gone mad.
const STREAM_LIMIT: usize = 1024;

/// Streams of one framework that may wait, and their bytes. An executor may speak of tasks that nobody knows, so this many is one
/// gone mad; it spoils its own framework's streams and nobody else's. What comes on top is sent once and not again; a task's end
/// stays, without its data.
const FRAMEWORK_LIMIT: Load = Load { streams: 10_000, bytes: 64 << 20 };

/// Streams of all frameworks. More is a master gone mad.
const STREAMS_LIMIT: usize = 100_000;

type Key = (FrameworkId, TaskId);

#[derive(Debug)]
struct Stream {
    pending: VecDeque<StatusUpdate>,
    resend_at: Instant,
    backoff: Backoff,
}

/// What became of an update that was to be queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Queued {
    /// It is the stream's first: nothing is outstanding before it.
    First,
    /// Others are before it.
    Behind,
    /// It was not queued: it is known, or nothing more can follow.
    Not,
}

/// What waits for one framework's acknowledgements.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Load {
    streams: usize,
    bytes: usize,
}

/// All streams that have something unacknowledged.
#[derive(Debug, Default)]
pub(super) struct Updates {
    streams: BTreeMap<Key, Stream>,
    /// How much each framework has waiting.
    loads: BTreeMap<FrameworkId, Load>,
    /// Each stream's `resend_at`, so that the next one is found without a look at all of them.
    deadlines: BTreeSet<(Instant, Key)>,
}

impl Updates {
    pub fn is_empty(&self) -> bool {
        self.streams.is_empty()
    }

    pub fn has(&self, framework: &FrameworkId, task: &TaskId) -> bool {
        self.streams.contains_key(&(framework.clone(), task.clone()))
    }

    /// The frameworks for whose acknowledgements something waits.
    pub fn frameworks(&self) -> BTreeSet<&FrameworkId> {
        self.streams.keys().map(|(framework, _)| framework).collect()
    }

    pub fn deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    pub fn forget_framework(&mut self, framework: &FrameworkId) {
        self.streams.retain(|(id, _), _| id != framework);
        self.deadlines.retain(|(_, (id, _))| id != framework);
        self.loads.remove(framework);
    }

    fn remove(&mut self, key: &Key) {
        if let Some(stream) = self.streams.remove(key) {
            self.deadlines.remove(&(stream.resend_at, key.clone()));
            self.unload(&key.0, 1, stream.pending.iter().map(StatusUpdate::encoded_len).sum());
        }
    }

    fn unload(&mut self, framework: &FrameworkId, streams: usize, bytes: usize) {
        if let Some(load) = self.loads.get_mut(framework) {
            load.streams = load.streams.saturating_sub(streams);
            load.bytes = load.bytes.saturating_sub(bytes);
            if *load == Load::default() {
                self.loads.remove(framework);
            }
        }
    }

    /// The streams that are to be sent again by now.
    fn due(&self, now: Instant) -> Vec<Key> {
        self.deadlines.iter().take_while(|(at, _)| *at <= now).map(|(_, key)| key.clone()).collect()
    }

    /// The stream's first update, which is being sent; its next time is set.
    fn take_front(&mut self, key: &Key, now: Instant, longest: Duration) -> Option<StatusUpdate> {
        let stream = self.streams.get_mut(key)?;
        let update = stream.pending.front().cloned()?;
        let before = std::mem::replace(&mut stream.resend_at, now + stream.backoff.next_wait().min(longest));
        self.deadlines.remove(&(before, key.clone()));
        self.deadlines.insert((stream.resend_at, key.clone()));
        Some(update)
    }

    /// There is no room for one more stream.
    fn is_full(&self, key: &Key) -> bool {
        let load = self.loads.get(&key.0).copied().unwrap_or_default();
        let full = self.streams.len() >= STREAMS_LIMIT || load.streams >= FRAMEWORK_LIMIT.streams;
        full && !self.streams.contains_key(key)
    }

    /// Makes an update fit into the room that there is: a task's end without its data if need be. False if it does not.
    fn fit(&self, key: &Key, update: &mut StatusUpdate) -> bool {
        let load = self.loads.get(&key.0).copied().unwrap_or_default();
        if load.bytes + update.encoded_len() <= FRAMEWORK_LIMIT.bytes {
            return true;
        }
        if !is_terminal(update.status.state()) {
            return false;
        }
        log::warn!("framework {} acknowledges too little: the end of task {} is kept without its data", key.0, key.1);
        update.status.data = None;
        update.status.message = Some("the task's last update was too large to be kept".into());
        update.status.labels = None;
        update.status.check_status = None;
        true
    }

    /// Those that wait behind the stream's first.
    fn behind(&self, key: &Key) -> Vec<StatusUpdate> {
        self.streams.get(key).map(|stream| stream.pending.iter().skip(1).cloned().collect()).unwrap_or_default()
    }

    /// Queues an update.
    fn push(&mut self, key: Key, update: StatusUpdate, now: Instant) -> Queued {
        let deadlines = &mut self.deadlines;
        let load = self.loads.entry(key.0.clone()).or_default();
        let stream = self.streams.entry(key.clone()).or_insert_with(|| {
            load.streams += 1;
            deadlines.insert((now, key));
            let backoff = Backoff::new(UPDATE_RETRY_MIN, UPDATE_RETRY_MAX);
            Stream { pending: VecDeque::new(), resend_at: now, backoff }
        });
        let known = stream.pending.iter().any(|each| each.uuid == update.uuid);
        let ended = stream.pending.back().is_some_and(|last| is_terminal(last.status.state()));
        // For the task's end there is always room, since nothing follows it.
        let full = stream.pending.len() >= STREAM_LIMIT && !is_terminal(update.status.state());
        if known || ended || full {
            return Queued::Not;
        }
        load.bytes += update.encoded_len();
        stream.pending.push_back(update);
        if stream.pending.len() == 1 { Queued::First } else { Queued::Behind }
    }

    /// An outstanding update is acknowledged, if there is one with this uuid; gives it. Outstanding is the first, or `all`. A
    /// terminal one is the stream's last.
    fn acknowledge(&mut self, key: &Key, uuid: &[u8], all: bool) -> Option<StatusUpdate> {
        let stream = self.streams.get_mut(key)?;
        let outstanding = if all { stream.pending.len() } else { 1 };
        let place = stream.pending.iter().take(outstanding).position(|update| update.uuid() == uuid)?;
        let update = stream.pending.remove(place)?;
        stream.backoff = Backoff::new(UPDATE_RETRY_MIN, UPDATE_RETRY_MAX);
        let is_over = stream.pending.is_empty() || is_terminal(update.status.state());
        self.unload(&key.0, 0, update.encoded_len());
        if is_over {
            self.remove(key);
        }
        Some(update)
    }
}

/// A status that the slave itself gives, for want of anybody who could.
#[derive(Debug, Clone)]
pub(super) struct SlaveStatus {
    pub state: TaskState,
    pub reason: Reason,
    pub message: String,
}

impl Slave {
    /// A status from a container's child.
    pub(super) fn container_status(&mut self, container: &ContainerId, mut status: mesos::TaskStatus, now: Now) {
        let uuid = status.uuid().to_vec();
        let member = self.find_member(container);
        let own = || self.find_container(container);
        let owner = member.as_ref().map(|own| (own.framework.clone(), own.executor.clone())).or_else(own);
        let Some((framework_id, executor_id)) = owner else {
            self.counts.invalid_status_updates += 1;
            return log::warn!("dropped a status of container {container}, which nobody here owns");
        };
        self.actions.push(Action::Acknowledge { container: container.clone(), uuid });
        let own = self.frameworks.get(&framework_id).and_then(|framework| framework.executors.get(&executor_id));
        let Some(own) = own else { return };
        let has = |id: &TaskId| match (&member, &own.played) {
            (Some(member), _) => member.task() == id && !member.has_ended(),
            (None, Some(_)) => false,
            (None, None) => own.tasks.contains_key(id),
        };
        let Some(task_id) = TaskId::try_from(&status.task_id).ok().filter(has) else {
            self.counts.invalid_status_updates += 1;
            return log::warn!(
                "dropped a status of container {container} for a task that it does not have, or has no more"
            );
        };
        log::info!(
            "task {task_id} of framework {framework_id} is {}{}",
            status.state().as_str_name(),
            status.message.as_ref().map(|text| format!(": {text}")).unwrap_or_default()
        );
        status.slave_id = self.registration.id().map(|id| id.to_proto());
        status.executor_id = Some(executor_id.to_proto());
        status.timestamp.get_or_insert(now.unix);
        let state = status.state();
        match &member {
            Some(_) => self.fill_members_status(&mut status, &framework_id, &executor_id, container),
            None => self.fill_container_status(&mut status, container),
        }
        self.enqueue(&framework_id, Some(&executor_id), task_id, status, now);
        if let Some(member) = member.filter(|_| is_terminal(state)) {
            self.member_ended(&member, state);
        }
    }

    /// The container's id and, for a process of this host, our own address. The child of a guest gives the guest's, or a network
    /// without any while it has none.
    pub(super) fn fill_container_status(&self, status: &mut mesos::TaskStatus, container: &ContainerId) {
        let known = status.container_status.get_or_insert_default();
        known.container_id.get_or_insert_with(|| container.to_proto());
        if known.network_infos.is_empty() {
            known.network_infos.push(mesos::NetworkInfo {
                ip_addresses: vec![mesos::network_info::IpAddress {
                    ip_address: Some(self.config.pid.address.ip().to_string()),
                    ..Default::default()
                }],
                ..Default::default()
            });
        }
        known.network_infos.retain(|network| !network.ip_addresses.is_empty());
    }

    /// A status of the slave's own.
    pub(super) fn report(
        &mut self,
        framework_id: &mesos::FrameworkId,
        executor_id: Option<&ExecutorId>,
        task_id: &mesos::TaskId,
        status: SlaveStatus,
        now: Now,
    ) {
        let status = mesos::TaskStatus {
            task_id: task_id.clone(),
            state: status.state as i32,
            message: Some(status.message),
            source: Some(Source::Slave as i32),
            reason: Some(status.reason as i32),
            slave_id: self.registration.id().map(|id| id.to_proto()),
            executor_id: executor_id.map(|id| id.to_proto()),
            timestamp: Some(now.unix),
            uuid: Some(self.random.uuid().to_vec()),
            ..Default::default()
        };
        match (FrameworkId::try_from(framework_id), TaskId::try_from(task_id)) {
            (Ok(framework), Ok(task)) => self.enqueue(&framework, executor_id, task, status, now),
            // An id that names no stream can be answered, but not retried.
            _ => {
                let update = make_update(framework_id, executor_id, status);
                self.forward(update);
            }
        }
    }

    pub(super) fn enqueue(
        &mut self,
        framework_id: &FrameworkId,
        executor_id: Option<&ExecutorId>,
        task_id: TaskId,
        status: mesos::TaskStatus,
        now: Now,
    ) {
        let framework = self.frameworks.get_mut(framework_id);
        let terminating = framework.as_ref().is_some_and(|framework| framework.terminating);
        match terminating {
            true => self.counts.invalid_status_updates += 1,
            false => self.counts.valid_status_updates += 1,
        }
        let is_done = framework.as_ref().is_some_and(|framework| framework.has_completed(&task_id));
        if is_done && status.source() == Source::Executor {
            // Only its own executor speaks of it, which repeats what it thinks we have not heard.
            return log::debug!("task {task_id} of framework {framework_id} has ended, and that is acknowledged");
        }
        let mut ended = None;
        if let Some(executor) = framework.and_then(|each| each.executor_of(&task_id)) {
            if executor.state == ExecutorState::Launching && executor.conversation.is_none() {
                executor.state = ExecutorState::Running;
            }
            if let Some(task) = executor.tasks.get_mut(&task_id) {
                if is_terminal(task.state) {
                    return log::debug!("task {task_id} of framework {framework_id} has ended already");
                }
                // An older state must not come back by a repetition.
                if task.has_seen(status.uuid()) {
                    return;
                }
                task.record(&status);
                ended = is_terminal(status.state()).then(|| executor.info.executor_id.clone());
            }
        }
        if let Some(Ok(executor)) = ended.as_ref().map(ExecutorId::try_from) {
            self.resources_changed(framework_id, &executor);
        }
        if terminating {
            return;
        }
        let mut update = make_update(&framework_id.to_proto(), executor_id, status);
        let key = (framework_id.clone(), task_id);
        let keeps = !self.updates.is_full(&key) && self.will_be_acknowledged(&update.framework_id);
        if !keeps || !self.updates.fit(&key, &mut update) {
            return self.forward(update);
        }
        match self.updates.push(key.clone(), update.clone(), now.instant) {
            Queued::First => self.send_outstanding(&key, now),
            Queued::Behind if self.updates_go_out_at_once() => self.send_update(&key, update),
            Queued::Behind | Queued::Not => {}
        }
    }

    /// Sends what is outstanding in a stream and sets its next time.
    fn send_outstanding(&mut self, key: &Key, now: Now) {
        let at_most = self.longest_update_retry();
        let Some(update) = self.updates.take_front(key, now.instant, at_most) else {
            return;
        };
        self.send_update(key, update);
        if self.updates_go_out_at_once() {
            self.updates.behind(key).into_iter().for_each(|update| self.send_update(key, update));
        }
    }

    fn send_update(&mut self, key: &Key, mut update: StatusUpdate) {
        let task = self
            .frameworks
            .get_mut(&key.0)
            .and_then(|framework| framework.executor_of(&key.1).and_then(|executor| executor.tasks.get_mut(&key.1)));
        update.latest_state = Some(update.status.state);
        if let Some(task) = task {
            update.latest_state = Some(task.state as i32);
            task.outstanding = Some((update.status.state(), update.uuid().to_vec()));
        }
        self.forward(update);
    }

    fn forward(&mut self, update: StatusUpdate) {
        let Some(master) = self.registration.registered_master().cloned() else {
            return;
        };
        let acknowledged = self.will_be_acknowledged(&update.framework_id);
        let update = self.update_for_master(update);
        let message = StatusUpdateMessage { update, pid: acknowledged.then(|| self.config.pid.to_string()) };
        self.send(&master, &message);
    }

    /// Sends what is outstanding at once: to a new master, or after a framework has moved.
    pub(super) fn resend_updates(&mut self, framework: Option<&FrameworkId>, now: Now) {
        let keys: Vec<Key> = self
            .updates
            .streams
            .keys()
            .filter(|(id, _)| framework.is_none_or(|framework| framework == id))
            .cloned()
            .collect();
        for key in keys {
            if let Some(stream) = self.updates.streams.get_mut(&key) {
                stream.backoff = Backoff::new(UPDATE_RETRY_MIN, UPDATE_RETRY_MAX);
            }
            self.send_outstanding(&key, now);
        }
    }

    pub(super) fn update_deadlines(&mut self, now: Now) {
        if self.registration.registered_master().is_none() {
            return;
        }
        for key in self.updates.due(now.instant) {
            self.send_outstanding(&key, now);
        }
    }

    pub(super) fn acknowledged(&mut self, message: &StatusUpdateAcknowledgementMessage, now: Now) {
        let (Ok(framework), Ok(task)) =
            (FrameworkId::try_from(&message.framework_id), TaskId::try_from(&message.task_id))
        else {
            return;
        };
        let key = (framework, task);
        let all = self.updates_go_out_at_once();
        let Some(update) = self.updates.acknowledge(&key, &message.uuid, all) else {
            return log::debug!("an acknowledgement for task {} of framework {} that is not outstanding", key.1, key.0);
        };
        let executor = self.frameworks.get_mut(&key.0).and_then(|framework| framework.executor_of(&key.1));
        if let Some(executor) = executor.filter(|_| is_terminal(update.status.state())) {
            executor.complete(&key.1);
        }
        if self.updates.has(&key.0, &key.1) && !all {
            self.send_outstanding(&key, now);
        }
        self.remove_what_is_done();
    }
}

fn make_update(
    framework_id: &mesos::FrameworkId,
    executor_id: Option<&ExecutorId>,
    status: mesos::TaskStatus,
) -> StatusUpdate {
    StatusUpdate {
        framework_id: framework_id.clone(),
        executor_id: executor_id.map(|id| id.to_proto()),
        slave_id: status.slave_id.clone(),
        timestamp: status.timestamp.unwrap_or_default(),
        uuid: status.uuid.clone(),
        status,
        latest_state: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(framework: &str, task: &str) -> Key {
        (FrameworkId::new(framework).expect("id"), TaskId::new(task).expect("id"))
    }

    fn update(state: TaskState, uuid: u8, data: usize) -> StatusUpdate {
        let status = mesos::TaskStatus { state: state as i32, data: Some(vec![0; data]), ..Default::default() };
        StatusUpdate { status, uuid: Some(vec![uuid]), ..Default::default() }
    }

    #[test]
    fn a_framework_that_fills_its_streams_leaves_room_for_the_others() {
        let (mut updates, now) = (Updates::default(), Instant::now());
        for number in 0..FRAMEWORK_LIMIT.streams {
            updates.push(key("mad", &number.to_string()), update(TaskState::TaskRunning, 1, 0), now);
        }
        assert!(updates.is_full(&key("mad", "one more")) && !updates.is_full(&key("mad", "1")));
        assert!(!updates.is_full(&key("other", "t")));
        updates.forget_framework(&FrameworkId::new("mad").expect("id"));
        assert!(!updates.is_full(&key("mad", "one more")) && updates.loads.is_empty());
    }

    #[test]
    fn what_waits_is_bounded_in_bytes_and_a_tasks_end_stays_without_its_data() {
        let (mut updates, now) = (Updates::default(), Instant::now());
        let large = FRAMEWORK_LIMIT.bytes / 2;
        let t = key("mad", "t");
        let mut first = update(TaskState::TaskRunning, 1, large);
        assert!(updates.fit(&t, &mut first));
        updates.push(t.clone(), first, now);
        assert!(!updates.fit(&t, &mut update(TaskState::TaskRunning, 2, large)));
        assert!(updates.fit(&key("other", "t"), &mut update(TaskState::TaskRunning, 2, large)));
        let mut end = update(TaskState::TaskFinished, 3, large);
        assert!(updates.fit(&t, &mut end));
        assert_eq!((end.status.state(), end.status.data.as_ref()), (TaskState::TaskFinished, None));
        updates.push(t.clone(), end, now);
        assert!(updates.acknowledge(&t, &[1], false).is_some() && updates.acknowledge(&t, &[3], false).is_some());
        assert!(updates.loads.is_empty() && updates.is_empty());
    }
}
