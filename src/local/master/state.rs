//! What the master shows to people and tools: the JSON of `/state` and `/version`, in the form of Mesos' (a part of its fields).

use serde_json::{Map, Value, json};

use super::accounts;
use super::core::Core;
use super::events::is_terminal;
use super::frameworks::Framework;
use super::slaves::{Slave, on};
use crate::ids::{FrameworkId, SlaveId};
use crate::messages::mesos::value::Type;
use crate::messages::mesos::{FrameworkInfo, Resource, Task, TaskStatus};

/// The body of `/version`.
pub(super) fn version() -> Value {
    json!({
        "version": super::VERSION,
        "embedded": format!("mesos-slave {}", env!("CARGO_PKG_VERSION")),
    })
}

impl Core {
    /// The body of `/state`.
    pub fn state(&self) -> Value {
        let info = self.info();
        let pid = info.pid();
        let connected = self.slaves.values().filter(|slave| slave.is_connected()).count();
        json!({
            "version": super::VERSION,
            "embedded": true,
            "id": info.id,
            "pid": pid,
            "hostname": info.hostname(),
            "start_time": self.identity.started_wall,
            "elected_time": self.identity.started_wall,
            "leader": pid,
            "leader_info": { "id": info.id, "pid": pid, "port": info.port, "hostname": info.hostname() },
            "capabilities": ["AGENT_UPDATE"],
            "activated_slaves": connected,
            "deactivated_slaves": self.slaves.len() - connected,
            "unreachable_slaves": self.unreachable_slaves.len(),
            "flags": {},
            "slaves": self.slaves.iter().map(|(id, slave)| self.slave_state(id, slave)).collect::<Vec<_>>(),
            "recovered_slaves": [],
            "frameworks": self.frameworks.iter().map(|(id, one)| self.framework_state(id, one)).collect::<Vec<_>>(),
            "completed_frameworks": self.completed.iter().map(|one| merged(
                description(&one.id, &one.info, one.registered),
                json!({
                    "active": false,
                    "connected": false,
                    "unregistered_time": one.unregistered,
                    "tasks": [],
                    "completed_tasks": one.completed_tasks.iter().map(task).collect::<Vec<_>>(),
                }),
            )).collect::<Vec<_>>(),
            "orphan_tasks": [],
            "unregistered_frameworks": [],
        })
    }

    fn slave_state(&self, id: &SlaveId, slave: &Slave) -> Value {
        let offered = self.offers.values().filter(|offer| offer.slave == *id).map(|offer| &offer.resources);
        let offered = offered.fold(Vec::new(), |all, more| accounts::plus(all, more));
        let executors = self.executors.iter().filter(|((slave, ..), _)| slave == id).map(|(_, one)| &one.resources);
        let tasks =
            self.tasks.values().filter(|one| on(one, id) && !is_terminal(one.state())).map(|one| &one.resources);
        let used = tasks.chain(executors).fold(Vec::new(), |all, more| accounts::plus(all, more));
        json!({
            "id": id.as_str(),
            "hostname": slave.info.hostname,
            "port": slave.pid.address.port(),
            "pid": slave.pid.to_string(),
            "version": slave.version,
            "active": slave.is_connected(),
            "deactivated": !slave.is_connected(),
            "registered_time": slave.registered,
            "attributes": slave.info.attributes.iter().map(|one| (one.name.clone(), attribute(one))).collect::<Map<_, _>>(),
            "resources": resources(&slave.info.resources),
            "used_resources": resources(&used),
            "offered_resources": resources(&offered),
        })
    }

    fn framework_state(&self, id: &FrameworkId, framework: &Framework) -> Value {
        let of_it = |map: &std::collections::BTreeMap<super::core::TaskKey, Task>| -> Vec<Value> {
            map.iter().filter(|((framework, _), _)| framework == id).map(|(_, one)| task(one)).collect()
        };
        let used = self.tasks.iter().filter(|((framework, _), one)| framework == id && !is_terminal(one.state()));
        let executors = self.executors.iter().filter(|((_, of, _), _)| of == id).map(|(_, one)| &one.resources);
        let used = used.map(|(_, one)| &one.resources).chain(executors);
        let used = used.fold(Vec::new(), |all, more| accounts::plus(all, more));
        let offers = self.offers.iter().filter(|(_, offer)| offer.framework == *id);
        let connected = framework.peer().is_some();
        let own = json!({
            "active": connected,
            "connected": connected,
            "recovered": false,
            "used_resources": resources(&used),
            "resources": resources(&used),
            "tasks": of_it(&self.tasks),
            "unreachable_tasks": of_it(&self.unreachable_tasks),
            "completed_tasks": framework.completed_tasks.iter().map(task).collect::<Vec<_>>(),
            "offers": offers.map(|(name, offer)| json!({
                "id": name,
                "framework_id": id.as_str(),
                "slave_id": offer.slave.as_str(),
                "resources": resources(&offer.resources),
            })).collect::<Vec<_>>(),
        });
        merged(description(id, &framework.info, framework.registered), own)
    }
}

fn description(id: &FrameworkId, info: &FrameworkInfo, registered: f64) -> Value {
    json!({
        "id": id.as_str(),
        "name": info.name,
        "user": info.user,
        "hostname": info.hostname(),
        "webui_url": info.webui_url(),
        "failover_timeout": info.failover_timeout(),
        "checkpoint": info.checkpoint(),
        "roles": super::frameworks::roles(info),
        "capabilities": info.capabilities.iter().map(|one| one.r#type().as_str_name()).collect::<Vec<_>>(),
        "registered_time": registered,
    })
}

fn merged(mut one: Value, other: Value) -> Value {
    if let (Value::Object(one), Value::Object(other)) = (&mut one, other) {
        one.extend(other);
    }
    one
}

fn task(task: &Task) -> Value {
    json!({
        "id": task.task_id.value,
        "name": task.name,
        "framework_id": task.framework_id.value,
        "executor_id": task.executor_id.as_ref().map(|id| id.value.as_str()).unwrap_or_default(),
        "slave_id": task.slave_id.value,
        "state": task.state().as_str_name(),
        "resources": resources(&task.resources),
        "statuses": task.statuses.iter().map(status).collect::<Vec<_>>(),
    })
}

fn status(status: &TaskStatus) -> Value {
    let container = status.container_status.as_ref().and_then(|one| one.container_id.as_ref());
    let mut all = json!({ "state": status.state().as_str_name(), "timestamp": status.timestamp() });
    if let Some(container) = container {
        all["container_status"] = json!({ "container_id": { "value": container.value } });
    }
    if status.message.is_some() {
        all["message"] = status.message().into();
    }
    all
}

/// By name, reserved or not: amounts as numbers, ranges and sets as text.
fn resources(resources: &[Resource]) -> Value {
    let mut all = Map::new();
    for name in ["cpus", "mem", "disk", "gpus"] {
        all.insert(name.into(), accounts::total(resources, name).into());
    }
    for resource in resources {
        let value = match resource.r#type() {
            Type::Scalar => accounts::total(resources, &resource.name).into(),
            Type::Ranges | Type::Set | Type::Text => accounts::value_text(resource).into(),
        };
        all.insert(resource.name.clone(), value);
    }
    Value::Object(all)
}

fn attribute(attribute: &crate::messages::mesos::Attribute) -> Value {
    match (&attribute.scalar, &attribute.text) {
        (Some(scalar), _) => scalar.value.into(),
        (None, Some(text)) => text.value.clone().into(),
        (None, None) => Value::Null,
    }
}
