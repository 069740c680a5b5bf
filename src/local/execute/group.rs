//! `--task_group`: a group of tasks as JSON, with the executor that `mesos-execute` of Mesos 1.11 gives it.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use serde_json::{Value, json};

use super::calls::Work;
use crate::messages::from_v1_json;
use crate::messages::mesos::{ExecutorId, ExecutorInfo, TaskGroupInfo, executor_info};
use crate::resources;

/// The executor's name and its share, besides its tasks'.
const EXECUTOR: &str = "default-executor";
const EXECUTOR_RESOURCES: &str = "cpus:0.1;mem:32;disk:32";

/// No description of a group is that long, in bytes.
const LIMIT: u64 = 1 << 20;

/// Reads the flag's value: the JSON itself, or a path of a file that holds it, which may be a `file://` URL.
///
/// # Errors
/// What is wrong with it, for the user.
pub fn read(value: &str, user: String) -> Result<Work, String> {
    let group = match value.trim_start().starts_with('{') {
        true => parse(value, user),
        false => read_file(Path::new(value.strip_prefix("file://").unwrap_or(value)), user),
    };
    group.map_err(|error| format!("--task_group: {error}"))
}

fn read_file(path: &Path, user: String) -> Result<Work, String> {
    let text = text_of(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    parse(&text, user).map_err(|error| format!("{}: {error}", path.display()))
}

fn text_of(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(LIMIT + 1).read_to_string(&mut text)?;
    match text.len() as u64 > LIMIT {
        true => Err(io::Error::other(format!("it has more than {LIMIT} bytes"))),
        false => Ok(text),
    }
}

fn parse(text: &str, user: String) -> Result<Work, String> {
    let mut json: Value = serde_json::from_str(text).map_err(|error| format!("it is no JSON: {error}"))?;
    // The message requires it; whoever writes the file does not know it.
    let tasks = json.get_mut("tasks").and_then(Value::as_array_mut);
    for task in tasks.into_iter().flatten().filter_map(Value::as_object_mut) {
        task.entry("agent_id").or_insert_with(|| json!({ "value": "" }));
    }
    let group: TaskGroupInfo = from_v1_json("mesos.v1.TaskGroupInfo", json.to_string().as_bytes())
        .map_err(|error| format!("it is no TaskGroupInfo: {error}"))?;
    if group.tasks.is_empty() {
        return Err("it has no tasks".to_string());
    }
    let mut ids = BTreeSet::new();
    if let Some(twice) = group.tasks.iter().find(|task| !ids.insert(&task.task_id.value)) {
        return Err(format!("it has two tasks with the id '{}'", twice.task_id.value));
    }
    let executor = ExecutorInfo {
        r#type: Some(executor_info::Type::Default as i32),
        executor_id: ExecutorId { value: EXECUTOR.to_string() },
        resources: resources::parse(EXECUTOR_RESOURCES).map_err(|error| error.to_string())?,
        ..ExecutorInfo::default()
    };
    Ok(Work { name: "task group".to_string(), user, tasks: group.tasks, executor: Some(executor) })
}
