//! `/state`: all that the slave knows, in the fields and JSON types of Mesos' agent.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::rc::Rc;

use prost::Message;
use serde_json::{Map, Value, json};

use super::{History, resources, version};
use crate::ids::{ContainerId, TaskId};
use crate::libprocess::Pid;
use crate::messages::{mesos, to_v1_json};
use crate::slave::{self, ExecutorState, Slave, capabilities, is_terminal};

/// A snapshot of the slave, made for one answer.
#[derive(Debug, Clone)]
pub struct State {
    /// Our own PID.
    pub pid: Pid,
    /// The id that the master gave us.
    pub id: Option<String>,
    /// Hostname, resources, attributes.
    pub info: mesos::SlaveInfo,
    /// The master that we are registered with.
    pub master: Option<Pid>,
    /// When the slave was started, seconds since 1970.
    pub start_time: f64,
    /// Now, in the same seconds.
    pub now: f64,
    /// The flags in force, by name without the dashes.
    pub flags: BTreeMap<String, String>,
    /// Frameworks that have an executor here.
    pub frameworks: Vec<Framework>,
    /// Frameworks that had one.
    pub completed_frameworks: Vec<Framework>,
    /// Tasks of executors that are forgotten, by state.
    pub forgotten: BTreeMap<mesos::TaskState, u64>,
    /// Executors that are forgotten.
    pub forgotten_executors: u64,
}

/// A framework in a snapshot.
#[derive(Debug, Clone)]
pub struct Framework {
    /// As the master described it, with its id.
    pub info: mesos::FrameworkInfo,
    /// Those that are here.
    pub executors: Vec<Executor>,
    /// Those that were.
    pub completed_executors: Vec<Rc<Completed>>,
}

/// An executor that was here, as it is shown: hundreds of these are kept, and as messages each would take 40 KiB.
#[derive(Debug)]
pub struct Completed {
    /// Its object in `/state`.
    pub json: String,
    /// The last states of its tasks.
    pub tasks: Vec<mesos::TaskState>,
    /// Its `mesos.ExecutorInfo`, encoded.
    pub info: Vec<u8>,
    /// Its tasks, each an encoded `mesos.Task`.
    pub encoded: Vec<Vec<u8>>,
}

impl Completed {
    /// Nothing of it will change.
    pub fn of(executor: &Executor) -> Completed {
        let tasks = executor.tasks.iter().map(mesos::Task::state).collect();
        let encoded = executor.tasks.iter().map(mesos::Task::encode_to_vec).collect();
        Completed { json: executor.to_json().to_string(), tasks, info: executor.info.encode_to_vec(), encoded }
    }

    /// What it takes, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.json.len() + self.info.len() + self.encoded.iter().map(Vec::len).sum::<usize>()
    }
}

/// An executor in a snapshot.
#[derive(Debug, Clone)]
pub struct Executor {
    /// As it was launched.
    pub info: mesos::ExecutorInfo,
    /// Its container's id.
    pub container: String,
    /// Its tasks' own containers, if it is the default executor.
    pub nested: Vec<Nested>,
    /// Its sandbox on the host, which is also its virtual path in `/files`.
    pub directory: String,
    /// Where it is in its life.
    pub state: ExecutorState,
    /// Where its container can be reached, of its own word or of its tasks'.
    pub networks: Vec<mesos::NetworkInfo>,
    /// Its tasks in any state, first those that have ended and whose end is acknowledged.
    pub tasks: Vec<mesos::Task>,
    /// How many those are.
    pub completed: usize,
}

/// A container inside an executor's, which one of its tasks has.
#[derive(Debug, Clone)]
pub struct Nested {
    /// Its id.
    pub container: ContainerId,
    /// The task's resources.
    pub resources: Vec<mesos::Resource>,
}

fn nested(executor: &slave::Executor) -> Vec<Nested> {
    let members = executor.played.iter().flat_map(slave::DefaultExecutor::containers);
    let nested = |(task, container): (&TaskId, &ContainerId)| Nested {
        container: container.clone(),
        resources: executor.tasks.get(task).map(|task| task.info.resources.clone()).unwrap_or_default(),
    };
    members.map(nested).collect()
}

impl Executor {
    pub(super) fn of(
        framework: &crate::ids::FrameworkId,
        id: &crate::ids::ExecutorId,
        executor: &slave::Executor,
    ) -> Executor {
        let named = (!executor.is_command).then_some(id); // as the master is told
        Executor {
            info: executor.info.clone(),
            container: executor.container.to_string(),
            directory: executor.sandbox.to_string_lossy().into_owned(),
            state: executor.state,
            networks: executor.networks(),
            nested: nested(executor),
            completed: executor.completed.len(),
            tasks: executor
                .completed
                .iter()
                .chain(executor.tasks.values())
                .map(|task| task.to_proto(framework, named))
                .collect(),
        }
    }

    /// What it and its tasks that have not ended hold.
    pub(super) fn resources(&self) -> impl Iterator<Item = &mesos::Resource> + Clone {
        let tasks = self.tasks.iter().filter(|task| !is_terminal(task.state()));
        self.info.resources.iter().chain(tasks.flat_map(|task| &task.resources))
    }

    fn to_json(&self) -> Value {
        let by = |wanted: fn(&mesos::Task) -> bool| -> Vec<Value> {
            self.tasks.iter().filter(|task| wanted(task)).map(task).collect()
        };
        let mut object = json!({
            "id": self.info.executor_id.value,
            "name": self.info.name(),
            "source": self.info.source(),
            "container": self.container,
            "directory": self.directory,
            "resources": resources::model(self.resources()),
            "tasks": by(|task| !is_terminal(task.state()) && !is_queued(task)),
            "queued_tasks": by(is_queued),
            "completed_tasks": by(|task| is_terminal(task.state())),
        });
        if let (Value::Object(object), Some(_)) = (&mut object, self.info.r#type) {
            // By it Mesos' web interface knows whether a task has a sandbox of its own.
            object.insert("type".to_string(), json!(self.info.r#type().as_str_name()));
        }
        if let (Value::Object(object), Some(labels)) = (&mut object, &self.info.labels) {
            object.insert("labels".to_string(), labels.labels.iter().map(label).collect());
        }
        let tasks = self.tasks.iter().flat_map(|task| &task.resources);
        if let (Value::Object(object), Some(first)) = (&mut object, self.info.resources.iter().chain(tasks).next()) {
            object.insert("role".to_string(), json!(role(first)));
        }
        object
    }
}

/// It has not reached its executor, as far as anybody has heard.
pub(super) fn is_queued(task: &mesos::Task) -> bool {
    task.state() == mesos::TaskState::TaskStaging
}

fn role(resource: &mesos::Resource) -> &str {
    resource.allocation_info.as_ref().and_then(|info| info.role.as_deref()).unwrap_or("*")
}

fn task(task: &mesos::Task) -> Value {
    let mut object = Map::new();
    let mut put = |name: &str, value: Value| object.insert(name.to_string(), value);
    put("id", json!(task.task_id.value));
    put("name", json!(task.name));
    put("framework_id", json!(task.framework_id.value));
    put("executor_id", json!(task.executor_id.as_ref().map_or("", |id| id.value.as_str())));
    put("slave_id", json!(task.slave_id.value));
    put("state", json!(task.state().as_str_name()));
    put("resources", resources::model(&task.resources));
    put("role", json!(task.resources.first().map_or("*", role)));
    put("statuses", task.statuses.iter().map(status).collect());
    if let Some(user) = &task.user {
        put("user", json!(user));
    }
    if let Some(labels) = &task.labels {
        put("labels", labels.labels.iter().map(label).collect());
    }
    Value::Object(object)
}

fn label(label: &mesos::Label) -> Value {
    match &label.value {
        Some(value) => json!({ "key": label.key, "value": value }),
        None => json!({ "key": label.key }),
    }
}

fn status(status: &mesos::TaskStatus) -> Value {
    let mut object = Map::new();
    object.insert("state".to_string(), json!(status.state().as_str_name()));
    object.insert("timestamp".to_string(), json!(status.timestamp()));
    if let Some(container) = &status.container_status {
        let value = to_v1_json("mesos.v1.ContainerStatus", container).unwrap_or_default();
        object.insert("container_status".to_string(), value);
    }
    if let Some(healthy) = status.healthy {
        object.insert("healthy".to_string(), json!(healthy));
    }
    Value::Object(object)
}

/// An object of JSON as text, and arrays of more in it: all in one tree of values would take ten times the room.
fn with_arrays(object: Value, arrays: &[(&str, Vec<Cow<str>>)]) -> String {
    let mut text = object.to_string();
    text.pop();
    for (name, items) in arrays {
        text.push_str(&format!(",\"{name}\":["));
        for (place, item) in items.iter().enumerate() {
            text.push_str(if place > 0 { "," } else { "" });
            text.push_str(item);
        }
        text.push(']');
    }
    text.push('}');
    text
}

impl Framework {
    fn to_json(&self) -> String {
        let info = &self.info;
        let mut object = json!({
            "id": info.id.as_ref().map_or("", |id| id.value.as_str()),
            "name": info.name,
            "user": info.user,
            "failover_timeout": info.failover_timeout(),
            "checkpoint": info.checkpoint(),
            "hostname": info.hostname(),
        });
        if let Value::Object(object) = &mut object {
            let multi_role = mesos::framework_info::capability::Type::MultiRole;
            match info.capabilities.iter().any(|each| each.r#type == Some(multi_role as i32)) {
                true => object.insert("roles".to_string(), json!(info.roles)),
                false => object.insert("role".to_string(), json!(info.role())),
            };
            if let Some(principal) = &info.principal {
                object.insert("principal".to_string(), json!(principal));
            }
        }
        let executors = self.executors.iter().map(|each| Cow::from(each.to_json().to_string()));
        let completed = self.completed_executors.iter().map(|each| Cow::from(each.json.as_str()));
        with_arrays(object, &[("executors", executors.collect()), ("completed_executors", completed.collect())])
    }
}

impl State {
    /// The slave as it is now, together with what it has forgotten.
    pub fn of(slave: &Slave, history: &History, flags: &BTreeMap<String, String>, start_time: f64, now: f64) -> State {
        let config = slave.config();
        let mut state = State {
            pid: config.pid.clone(),
            id: slave.id().map(ToString::to_string),
            // With what masters have reserved of it.
            info: mesos::SlaveInfo { resources: slave.total_resources().into_vec(), ..config.info.clone() },
            master: slave.registered_master().cloned(),
            start_time,
            now,
            flags: flags.clone(),
            frameworks: slave.frameworks().iter().map(|(id, framework)| framework_of(id, framework)).collect(),
            completed_frameworks: Vec::new(),
            forgotten: history.forgotten().clone(),
            forgotten_executors: history.forgotten_executors(),
        };
        history.add_to(&mut state.frameworks, &mut state.completed_frameworks);
        state
    }

    /// The executors that are here.
    pub(super) fn executors(&self) -> impl Iterator<Item = &Executor> {
        self.frameworks.iter().flat_map(|framework| &framework.executors)
    }

    /// Those that were.
    pub(super) fn completed_executors(&self) -> impl Iterator<Item = &Completed> {
        let frameworks = self.frameworks.iter().chain(&self.completed_frameworks);
        frameworks.flat_map(|framework| &framework.completed_executors).map(Rc::as_ref)
    }

    /// What the executors that are here hold.
    pub(super) fn allocated(&self) -> Vec<mesos::Resource> {
        self.executors()
            .filter(|each| each.state != ExecutorState::Gone)
            .flat_map(Executor::resources)
            .cloned()
            .collect()
    }

    /// The answer to `/state`.
    pub(super) fn to_json(&self) -> String {
        let mut object = version();
        if let Value::Object(object) = &mut object {
            object.extend(self.about_itself());
            object.extend(self.about_resources());
        }
        let texts = |frameworks: &[Framework]| frameworks.iter().map(|each| Cow::from(each.to_json())).collect();
        let (here, gone) = (texts(&self.frameworks), texts(&self.completed_frameworks));
        with_arrays(object, &[("frameworks", here), ("completed_frameworks", gone)])
    }

    fn about_itself(&self) -> Map<String, Value> {
        let mut object = Map::new();
        let mut put = |name: &str, value: Value| object.insert(name.to_string(), value);
        put("start_time", json!(self.start_time));
        put("id", json!(self.id.as_deref().unwrap_or_default()));
        put("pid", json!(self.pid.to_string()));
        put("hostname", json!(self.info.hostname));
        put("attributes", resources::attributes(&self.info.attributes));
        put("flags", json!(self.flags));
        let capabilities = capabilities();
        put("capabilities", capabilities.iter().map(|each| json!(each.r#type().as_str_name())).collect());
        put("resource_providers", json!([]));
        if let Some(master) = &self.master {
            put("master_hostname", json!(master.address.ip().to_string()));
        }
        if let Some(directory) = self.flags.get("log_dir") {
            put("log_dir", json!(directory));
        }
        object
    }

    fn about_resources(&self) -> Map<String, Value> {
        let (total, allocated) = (&self.info.resources, self.allocated());
        let by_role = |all: &[mesos::Resource]| -> Value {
            let roles = resources::reserved(all).into_iter();
            Value::Object(roles.map(|(role, each)| (role.to_string(), resources::model(each))).collect())
        };
        let full_by_role = resources::reserved(total)
            .into_iter()
            .map(|(role, each)| (role.to_string(), each.into_iter().map(resources::full).collect::<Value>()));
        let mut object = Map::new();
        let mut put = |name: &str, value: Value| object.insert(name.to_string(), value);
        put("resources", resources::model(total));
        put("reserved_resources", by_role(total));
        put("reserved_resources_full", Value::Object(full_by_role.collect()));
        put("reserved_resources_allocated", by_role(&allocated));
        put("unreserved_resources", resources::model(unreserved(total)));
        put("unreserved_resources_full", unreserved(total).map(resources::full).collect());
        put("unreserved_resources_allocated", resources::model(unreserved(&allocated)));
        object
    }
}

fn unreserved(all: &[mesos::Resource]) -> impl Iterator<Item = &mesos::Resource> {
    all.iter().filter(|each| resources::reserved_for(each).is_none())
}

fn framework_of(id: &crate::ids::FrameworkId, framework: &slave::Framework) -> Framework {
    let mut info = framework.info.clone();
    info.id.get_or_insert_with(|| id.to_proto());
    let executors = framework.executors.iter().map(|(executor_id, executor)| Executor::of(id, executor_id, executor));
    Framework { info, executors: executors.collect(), completed_executors: Vec::new() }
}
