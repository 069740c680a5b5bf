//! What a master of 2012 (0.9.0) is told otherwise than one of 1.x, and what it tells us otherwise. Everything else is one slave.
//!
//! ```text
//! the master is    registration                   a task's state           updates are acknowledged by    and sent again after
//! of 1.x           as 1.x has it                  as it is                 the master                     10 s to 10 min
//! of 2012          with what 0.9 requires         one that 0.9 knows       the scheduler, directly        10 s; all at once
//! not known yet    the same: 1.x takes it, too    as for the last master   either                         10 s to 10 min
//! ```
//!
//! The network says which it is ([`Dialect`]), at the latest with the master's first answer, and forgets it when the connection
//! breaks: another program may come back at that address. 0.9 drops a whole message for one required field that is missing or
//! one state that it does not know, and says nothing. So what it requires is added until the master is known to be of 1.x.
//! A master that loses and regains us is as good as always of the same kind, so the states stay what they were for the last.
//!
//! Executors are told what their driver can read in the same way: it shows itself when it registers. Those of 2012 know no
//! acknowledgements.
//!
//! A slave of 0.9 asks every second to be registered. Ours keeps its back-off with both: a master of 2012 needs no haste, for it
//! counts a slave's silence only once it has taken it in. And a slave of 0.9 waits for ZooKeeper when its master is gone, and
//! for ever at a plain address, where ours registers again: `ReregisterSlaveMessage` is answered in either case.

use std::collections::BTreeMap;
use std::net::SocketAddrV4;
use std::time::Duration;

use super::constants::{UPDATE_RETRY_MAX, UPDATE_RETRY_MIN};
use super::decision::Wish;
use super::message::Outgoing;
use super::{FromMaster, Slave, scheduler_pid};
use crate::ids::{FrameworkId, SlaveId};
use crate::libprocess::{Dialect, Pid};
use crate::messages::mesos;
use crate::messages::mesos::TaskState;
use crate::messages::mesos::internal::{
    ExecutorRegisteredMessage, ReregisterSlaveMessage, RunTaskMessage, StatusUpdate, UpdateFrameworkMessage,
};

/// The id under which 0.9 knows every slave.
pub const SLAVE_OF_2012: &str = "slave";
/// The name of 0.9's answer to a `PING`.
const PONG: &str = "PONG";
/// Schedulers of which the addresses are kept for frameworks that have nothing here but an unacknowledged update.
const MAX_SCHEDULERS: usize = 1024;

/// What the master at hand has shown, and what the one before it had.
#[derive(Debug, Default)]
pub(super) struct Spoken {
    now: Dialect,
    last: Dialect,
}

impl Spoken {
    /// What the master at hand has shown.
    pub fn now(&self) -> Dialect {
        self.now
    }

    /// Whoever is the master now has not shown itself.
    pub fn forget(&mut self) {
        self.now = Dialect::Unknown;
    }

    fn learn(&mut self, dialect: Dialect) {
        (self.now, self.last) = (dialect, dialect);
    }

    /// The master's answer to a registration: every one of 1.x tells its ping timeout in it. That is no proof of who it is, but
    /// tells which states it knows, should it have shown nothing else (its messages may come from another address than its own).
    pub fn answered(&mut self, with_connection: bool) {
        if self.now == Dialect::Unknown {
            self.last = if with_connection { Dialect::V1 } else { self.last };
        }
    }

    /// What 0.9 demands is to be there.
    fn with_what_0_9_requires(&self) -> bool {
        self.now != Dialect::V1
    }

    /// States that 0.9 does not know are understood.
    fn with_states_of_1_x(&self) -> bool {
        match self.now {
            Dialect::V1 => true,
            Dialect::V2012 => false,
            Dialect::Unknown => self.last == Dialect::V1,
        }
    }
}

/// The schedulers' own addresses, from which those of 2012 acknowledge: also of frameworks that have no executor here, since
/// the refusal of a task is acknowledged, too.
#[derive(Debug, Default)]
pub(super) struct Schedulers(BTreeMap<FrameworkId, Pid>);

/// The answer to a bare `PING`.
pub(super) fn pong() -> Outgoing {
    Outgoing { name: PONG.to_string(), body: Vec::new() }
}

/// A task's state in the words of 0.9, which had seven.
fn state_of_2012(state: TaskState) -> TaskState {
    match state {
        TaskState::TaskStaging
        | TaskState::TaskStarting
        | TaskState::TaskRunning
        | TaskState::TaskFinished
        | TaskState::TaskFailed
        | TaskState::TaskKilled
        | TaskState::TaskLost => state,
        // It runs until it has been killed.
        TaskState::TaskKilling => TaskState::TaskRunning,
        TaskState::TaskError => TaskState::TaskFailed,
        TaskState::TaskUnreachable
        | TaskState::TaskDropped
        | TaskState::TaskGone
        | TaskState::TaskGoneByOperator
        | TaskState::TaskUnknown => TaskState::TaskLost,
    }
}

/// The same for a state that came as a number.
fn number_of_2012(state: i32) -> i32 {
    state_of_2012(TaskState::try_from(state).unwrap_or(TaskState::TaskUnknown)) as i32
}

/// 0.9 wants a command of every executor and a value of every command and variable.
fn complete_executor(executor: &mut mesos::ExecutorInfo) {
    let command = executor.command.get_or_insert_default();
    command.value.get_or_insert_default();
    for variable in command.environment.iter_mut().flat_map(|environment| &mut environment.variables) {
        variable.value.get_or_insert_default();
    }
}

/// 0.9 wants to know where a slave's page is; here that is our own port.
fn complete_slave(info: &mut mesos::SlaveInfo) {
    info.webui_hostname = Some(info.hostname.clone());
    info.webui_port = info.port;
}

/// What an executor is told when it has registered, with what a driver of 0.9 requires unless it is known to be of 1.x.
pub(super) fn registered_for(dialect: Dialect, mut message: ExecutorRegisteredMessage) -> ExecutorRegisteredMessage {
    if dialect != Dialect::V1 {
        complete_executor(&mut message.executor_info);
        complete_slave(&mut message.slave_info);
    }
    message
}

/// 0.9 names the framework beside its description, and not always within it.
pub(super) fn with_framework_id(mut message: RunTaskMessage) -> RunTaskMessage {
    if message.framework.id.is_none() {
        message.framework.id = message.framework_id.clone();
    }
    message
}

impl Slave {
    /// A program has shown which libprocess it is.
    pub(super) fn shown(&mut self, address: SocketAddrV4, dialect: Dialect) {
        let Some(master) = self.registration.master().filter(|master| master.address == address) else {
            return;
        };
        let kind = match dialect {
            Dialect::Unknown => return,
            Dialect::V2012 => "of 2012 (Mesos 0.9)",
            Dialect::V1 => "of Mesos 1.x",
        };
        log::info!("master {master} speaks the libprocess {kind}");
        self.registration.spoken.learn(dialect);
    }

    /// What we are, as the master is told: until it is known to be of 1.x with the fields that 0.9 requires.
    pub(super) fn announced_info(&self) -> mesos::SlaveInfo {
        let mut info = self.config.info.clone();
        if self.registration.spoken.with_what_0_9_requires() {
            complete_slave(&mut info);
        }
        info
    }

    /// Makes a re-registration one that 0.9 can read, unless the master is known to be of 1.x.
    pub(super) fn complete_reregistration(&self, message: &mut ReregisterSlaveMessage, id: &SlaveId) {
        if self.registration.spoken.with_what_0_9_requires() {
            message.slave_id = Some(id.to_proto());
        }
        if self.registration.spoken.with_states_of_1_x() {
            return;
        }
        message.tasks.iter_mut().for_each(|task| task.state = number_of_2012(task.state));
        message.executor_infos.iter_mut().for_each(complete_executor);
    }

    /// An update as the master can read it. (The time and, from every child and executor, the uuid are there in any case.)
    pub(super) fn update_for_master(&self, mut update: StatusUpdate) -> StatusUpdate {
        if !self.registration.spoken.with_states_of_1_x() {
            update.status.state = number_of_2012(update.status.state);
            update.latest_state = update.latest_state.map(number_of_2012);
        }
        update
    }

    /// Whether anybody will acknowledge an update of this framework. To a master of 2012 we may have to speak of a task whose
    /// scheduler we never heard of; it is told once and without an address for the acknowledgement, as 0.9's slave does.
    pub(super) fn will_be_acknowledged(&self, framework: &mesos::FrameworkId) -> bool {
        let known =
            || FrameworkId::try_from(framework).is_ok_and(|framework| self.schedulers.0.contains_key(&framework));
        self.registration.spoken.now() != Dialect::V2012 || known()
    }

    /// Whether an update is sent while an earlier one of its task is not acknowledged.
    pub(super) fn updates_go_out_at_once(&self) -> bool {
        self.registration.spoken.now() == Dialect::V2012
    }

    /// How long an update waits for its acknowledgement at most. In 2012 nothing but the next copy makes good for one that was
    /// lost on its way through master and scheduler, or for a lost acknowledgement, and its slave never waits longer.
    pub(super) fn longest_update_retry(&self) -> Duration {
        match self.registration.spoken.now() {
            Dialect::V2012 => UPDATE_RETRY_MIN,
            Dialect::V1 | Dialect::Unknown => UPDATE_RETRY_MAX,
        }
    }

    /// Remembers where a task's scheduler is.
    pub(super) fn note_scheduler(&mut self, message: &RunTaskMessage) {
        let id = message.framework.id.as_ref().and_then(|id| FrameworkId::try_from(id).ok());
        let (Some(id), Some(pid)) = (id, scheduler_pid(message.pid.as_deref())) else {
            return;
        };
        if self.schedulers.0.len() >= MAX_SCHEDULERS {
            let (frameworks, waiting) = (&self.frameworks, self.updates.frameworks());
            self.schedulers.0.retain(|id, _| frameworks.contains_key(id) || waiting.contains(id));
        }
        self.schedulers.0.insert(id, pid);
    }

    /// A framework's scheduler is elsewhere now, or is reached through the master.
    pub(super) fn move_scheduler(&mut self, message: &UpdateFrameworkMessage) {
        let Ok(id) = FrameworkId::try_from(&message.framework_id) else {
            return;
        };
        match (scheduler_pid(message.pid.as_deref()), self.schedulers.0.get_mut(&id)) {
            (Some(pid), Some(known)) => *known = pid,
            (Some(pid), None) if self.frameworks.contains_key(&id) || self.updates.frameworks().contains(&id) => {
                self.schedulers.0.insert(id, pid);
            }
            (Some(_), None) => {}
            (None, _) => {
                self.schedulers.0.remove(&id);
            }
        }
    }

    /// Whether a message comes from somebody other than the master who may send it: a scheduler that acknowledges an update
    /// of its own framework.
    pub(super) fn is_from_its_scheduler(&self, from: &Pid, message: &FromMaster) -> bool {
        let FromMaster::Acknowledge(message) = message else {
            return false;
        };
        let framework = FrameworkId::try_from(&message.framework_id);
        framework.is_ok_and(|framework| self.schedulers.0.get(&framework) == Some(from))
    }

    /// What the master wants of an executor.
    pub(super) fn wish_of_master(&self, launch_executor: Option<bool>) -> Wish {
        match (launch_executor, self.registration.spoken.now()) {
            (None, Dialect::V2012) => Wish::Counted,
            (said, _) => said.into(),
        }
    }

    /// Whether the master wants to hear of the ends of command tasks' executors. One of 1.x never knew of them; one of 2012 is told
    /// of each.
    pub(super) fn counts_command_executors(&self) -> bool {
        self.registration.spoken.now() == Dialect::V2012
    }
}
