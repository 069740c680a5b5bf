//! The calls that the scheduler makes, as `mesos-execute` of Mesos 1.11 makes them.

use crate::messages::mesos::framework_info::{Capability, capability};
use crate::messages::mesos::scheduler::{Call, call};
use crate::messages::mesos::{
    CommandInfo, Environment, ExecutorInfo, Filters, FrameworkId, FrameworkInfo, Offer, SlaveId, TaskGroupInfo, TaskId,
    TaskInfo, TaskStatus, environment, offer,
};
use crate::resources::Resources;

/// How long an offer that does not fit is refused, in seconds: soon enough for a larger one when another task ends.
const REFUSE_UNFIT: f64 = 1.0;

/// How long offers are refused once the task has its own, in seconds: longer than any task.
const REFUSE_ALL: f64 = 31_536_000.0;

/// A command to be run as a task.
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

impl Task {
    fn info(&self) -> TaskInfo {
        let variable = |(name, value): &(String, String)| environment::Variable {
            name: name.clone(),
            value: Some(value.clone()),
            ..Default::default()
        };
        let environment = Environment { variables: self.env.iter().map(variable).collect() };
        TaskInfo {
            name: self.name.clone(),
            task_id: TaskId { value: self.id.clone() },
            resources: self.resources.as_slice().to_vec(),
            command: Some(CommandInfo {
                environment: (!self.env.is_empty()).then_some(environment),
                shell: Some(true),
                value: Some(self.command.clone()),
                user: self.run_as.clone(),
                ..CommandInfo::default()
            }),
            ..TaskInfo::default()
        }
    }
}

impl From<Task> for Work {
    fn from(task: Task) -> Work {
        Work { tasks: vec![task.info()], name: task.name, user: task.user, executor: None }
    }
}

/// What is to be launched, all of it on one offer.
#[derive(Debug, Clone)]
pub struct Work {
    /// A name for people.
    pub name: String,
    /// Who submits it.
    pub user: String,
    /// One task or, with an executor, those of a group. They name no slave yet.
    pub tasks: Vec<TaskInfo>,
    /// The executor of a group.
    pub executor: Option<ExecutorInfo>,
}

impl Work {
    /// All that is needed of an offer. Resources that are none count for nothing: the master will say so.
    pub fn needed(&self) -> Resources {
        let executor = self.executor.iter().flat_map(|executor| &executor.resources);
        self.tasks.iter().flat_map(|task| &task.resources).chain(executor).cloned().collect()
    }

    /// In a sentence: the task, the tasks.
    pub fn noun(&self) -> &'static str {
        if self.executor.is_some() { "the tasks" } else { "the task" }
    }
}

/// Makes calls; knows the ids that go into them.
#[derive(Debug)]
pub struct Caller {
    work: Work,
    framework: Option<FrameworkId>,
    slave: Option<SlaveId>,
}

impl Caller {
    /// A caller that is not subscribed.
    pub fn new(work: Work) -> Caller {
        Caller { work, framework: None, slave: None }
    }

    /// What is launched.
    pub fn work(&self) -> &Work {
        &self.work
    }

    /// The framework's id, once it has one.
    pub fn framework(&self) -> &str {
        self.framework.as_ref().map_or("", |id| id.value.as_str())
    }

    /// The slave that was launched on.
    pub fn slave(&self) -> Option<&SlaveId> {
        self.slave.as_ref()
    }

    /// The master gave the framework its id.
    pub fn subscribed(&mut self, framework: FrameworkId) {
        self.framework = Some(framework);
    }

    /// Without a time to fail over: when our connection ends, the master ends the task.
    pub fn subscribe(&self) -> Call {
        let capability = |kind: capability::Type| Capability { r#type: Some(kind as i32) };
        let framework_info = FrameworkInfo {
            user: self.work.user.clone(),
            name: format!("mesos-slave execute ({})", self.work.name),
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

    /// Launches all on an offer.
    pub fn accept(&mut self, offer: &Offer) -> Call {
        self.slave = Some(offer.slave_id.clone());
        let on_slave = |task: &TaskInfo| TaskInfo { slave_id: offer.slave_id.clone(), ..task.clone() };
        let task_infos: Vec<TaskInfo> = self.work.tasks.iter().map(on_slave).collect();
        let accept = call::Accept {
            offer_ids: vec![offer.id.clone()],
            operations: vec![self.operation(task_infos)],
            filters: Some(Filters { refuse_seconds: Some(REFUSE_ALL) }),
        };
        Call { accept: Some(accept), ..self.call(call::Type::Accept) }
    }

    fn operation(&self, task_infos: Vec<TaskInfo>) -> offer::Operation {
        match &self.work.executor {
            None => offer::Operation {
                r#type: Some(offer::operation::Type::Launch as i32),
                launch: Some(offer::operation::Launch { task_infos }),
                ..Default::default()
            },
            Some(executor) => {
                let executor = ExecutorInfo { framework_id: self.framework.clone(), ..executor.clone() };
                let task_group = TaskGroupInfo { tasks: task_infos };
                offer::Operation {
                    r#type: Some(offer::operation::Type::LaunchGroup as i32),
                    launch_group: Some(offer::operation::LaunchGroup { executor, task_group }),
                    ..Default::default()
                }
            }
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

    /// Ends a task.
    pub fn kill(&self, task: &str) -> Call {
        let kill = call::Kill {
            task_id: TaskId { value: task.to_string() },
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
