//! The calls that the scheduler makes, as `mesos-execute` of Mesos 1.11 makes them.

use crate::messages::mesos::framework_info::{Capability, capability};
use crate::messages::mesos::scheduler::{Call, call};
use crate::messages::mesos::{
    CommandInfo, Environment, Filters, FrameworkId, FrameworkInfo, Offer, SlaveId, TaskId, TaskInfo, TaskStatus,
    environment, offer,
};
use crate::resources::Resources;

/// How long an offer that does not fit is refused, in seconds: soon enough for a larger one when another task ends.
const REFUSE_UNFIT: f64 = 1.0;

/// How long offers are refused once the task has its own, in seconds: longer than any task.
const REFUSE_ALL: f64 = 31_536_000.0;

/// The task to be run.
#[derive(Debug, Clone)]
pub struct Task {
    /// Its id, of our own making.
    pub id: String,
    /// Its name, for people.
    pub name: String,
    /// Read by `/bin/sh`.
    pub command: String,
    /// Variables of its environment.
    pub env: Vec<(String, String)>,
    /// What it needs.
    pub resources: Resources,
    /// Who submits it, and so whom it runs as unless `run_as` says otherwise.
    pub user: String,
    /// Whom it runs as.
    pub run_as: Option<String>,
}

/// Makes calls; knows the ids that go into them.
#[derive(Debug)]
pub struct Caller {
    task: Task,
    framework: Option<FrameworkId>,
    slave: Option<SlaveId>,
}

impl Caller {
    /// A caller that is not subscribed.
    pub fn new(task: Task) -> Caller {
        Caller { task, framework: None, slave: None }
    }

    /// The task.
    pub fn task(&self) -> &Task {
        &self.task
    }

    /// The framework's id, once it has one.
    pub fn framework(&self) -> &str {
        self.framework.as_ref().map_or("", |id| id.value.as_str())
    }

    /// The slave that the task was launched on.
    pub fn slave(&self) -> Option<&SlaveId> {
        self.slave.as_ref()
    }

    /// The master gave the framework its id.
    pub fn subscribed(&mut self, framework: FrameworkId) {
        self.framework = Some(framework);
    }

    /// Takes note of the slave that a call launches the task on.
    pub fn sent(&mut self, call: &Call) {
        let launch =
            call.accept.as_ref().and_then(|accept| accept.operations.first()).and_then(|each| each.launch.as_ref());
        if let Some(task) = launch.and_then(|launch| launch.task_infos.first()) {
            self.slave = Some(task.slave_id.clone());
        }
    }

    /// Without a time to fail over: when our connection ends, the master ends the task.
    pub fn subscribe(&self) -> Call {
        let capability = |kind: capability::Type| Capability { r#type: Some(kind as i32) };
        let framework_info = FrameworkInfo {
            user: self.task.user.clone(),
            name: format!("mesos-slave execute ({})", self.task.name),
            failover_timeout: Some(0.0),
            checkpoint: Some(false),
            role: Some("*".to_string()),
            capabilities: vec![
                capability(capability::Type::ReservationRefinement),
                capability(capability::Type::TaskKillingState),
            ],
            ..FrameworkInfo::default()
        };
        Call {
            r#type: Some(call::Type::Subscribe as i32),
            subscribe: Some(call::Subscribe { framework_info, ..Default::default() }),
            ..Call::default()
        }
    }

    fn call(&self, kind: call::Type) -> Call {
        Call { framework_id: self.framework.clone(), r#type: Some(kind as i32), ..Call::default() }
    }

    /// Launches the task on an offer.
    pub fn accept(&self, offer: &Offer) -> Call {
        let launch = offer::Operation {
            r#type: Some(offer::operation::Type::Launch as i32),
            launch: Some(offer::operation::Launch { task_infos: vec![self.task_info(&offer.slave_id)] }),
            ..Default::default()
        };
        let accept = call::Accept {
            offer_ids: vec![offer.id.clone()],
            operations: vec![launch],
            filters: Some(Filters { refuse_seconds: Some(REFUSE_ALL) }),
        };
        Call { accept: Some(accept), ..self.call(call::Type::Accept) }
    }

    fn task_info(&self, slave: &SlaveId) -> TaskInfo {
        let task = &self.task;
        let variable = |(name, value): &(String, String)| environment::Variable {
            name: name.clone(),
            value: Some(value.clone()),
            ..Default::default()
        };
        let environment = Environment { variables: task.env.iter().map(variable).collect() };
        TaskInfo {
            name: task.name.clone(),
            task_id: TaskId { value: task.id.clone() },
            slave_id: slave.clone(),
            resources: task.resources.as_slice().to_vec(),
            command: Some(CommandInfo {
                environment: (!task.env.is_empty()).then_some(environment),
                shell: Some(true),
                value: Some(task.command.clone()),
                user: task.run_as.clone(),
                ..CommandInfo::default()
            }),
            ..TaskInfo::default()
        }
    }

    /// Gives offers back; `again`: larger ones are welcome soon.
    pub fn decline(&self, offers: &[&Offer], again: bool) -> Call {
        let decline = call::Decline {
            offer_ids: offers.iter().map(|offer| offer.id.clone()).collect(),
            filters: Some(Filters { refuse_seconds: Some(if again { REFUSE_UNFIT } else { REFUSE_ALL }) }),
        };
        Call { decline: Some(decline), ..self.call(call::Type::Decline) }
    }

    /// Ends the task.
    pub fn kill(&self) -> Call {
        let kill = call::Kill {
            task_id: TaskId { value: self.task.id.clone() },
            slave_id: self.slave.clone(),
            ..Default::default()
        };
        Call { kill: Some(kill), ..self.call(call::Type::Kill) }
    }

    /// Confirms an update, if it wants that: one that the master made up has no uuid.
    pub fn acknowledge(&self, status: &TaskStatus) -> Option<Call> {
        let acknowledge = call::Acknowledge {
            slave_id: status.slave_id.clone()?,
            task_id: status.task_id.clone(),
            uuid: status.uuid.clone().filter(|uuid| !uuid.is_empty())?,
        };
        Some(Call { acknowledge: Some(acknowledge), ..self.call(call::Type::Acknowledge) })
    }

    /// Ends the framework and all that it has.
    pub fn teardown(&self) -> Call {
        self.call(call::Type::Teardown)
    }
}
