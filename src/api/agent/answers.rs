//! What operators' calls are answered.

use prost::Message;
use serde_json::{Value, json};

use super::not_implemented;
use crate::api::state::{Executor, State, is_queued};
use crate::api::v1::{Format, Refusal};
use crate::api::{Files, Host, Source, metrics, usage, version};
use crate::libprocess::Response as HttpResponse;
use crate::messages::mesos;
use crate::messages::mesos::agent::response::{self, Type as Kind};
use crate::messages::mesos::agent::{Call, Response, call, call::Type};
use crate::slave::is_terminal;

/// The v1 twin of [`Response`].
const RESPONSE: &str = "mesos.v1.agent.Response";

/// Arrays that Mesos writes in JSON though they are empty: by the message, and their names in it.
const ARRAYS: [(&str, &[&str]); 4] = [
    ("get_tasks", &["pending_tasks", "queued_tasks", "launched_tasks", "terminated_tasks", "completed_tasks"]),
    ("get_executors", &["executors", "completed_executors"]),
    ("get_frameworks", &["frameworks", "completed_frameworks"]),
    ("get_metrics", &["metrics"]),
];

/// Answers a valid call.
pub(super) fn answer(call: &Call, format: Format, source: &mut dyn Source) -> Result<HttpResponse, Refusal> {
    match read(call, source) {
        Ok(Some(response)) => Ok(HttpResponse::ok(format.media_type(), write(&response, format)?)),
        Ok(None) => other(call, source),
        Err(refused) => Ok(refused),
    }
}

/// The answer to a call that reads, or what `/files` says to it; nothing, if it is another.
fn read(call: &Call, source: &mut dyn Source) -> Result<Option<Response>, HttpResponse> {
    let mut to = Response::default();
    let kind = match call.r#type() {
        Type::GetHealth => {
            to.get_health = Some(response::GetHealth { healthy: true });
            Kind::GetHealth
        }
        Type::GetFlags => {
            to.get_flags = Some(flags(&source.state()));
            Kind::GetFlags
        }
        Type::GetVersion => {
            to.get_version = Some(own_version());
            Kind::GetVersion
        }
        Type::GetMetrics => {
            to.get_metrics = Some(metrics_of(&metrics::snapshot(&source.state(), &source.counts(), Host::now())));
            Kind::GetMetrics
        }
        Type::GetLoggingLevel => {
            to.get_logging_level = Some(response::GetLoggingLevel { level: 0 }); // of more than what is always said
            Kind::GetLoggingLevel
        }
        Type::ListFiles | Type::ReadFile => files(call, source.files(), &mut to)?,
        Type::GetState => {
            to.get_state = Some(whole(&source.state()));
            Kind::GetState
        }
        Type::GetContainers => {
            let with_nested = call.get_containers.as_ref().is_some_and(|what| what.show_nested());
            to.get_containers = Some(containers(source, with_nested));
            Kind::GetContainers
        }
        Type::GetFrameworks => {
            to.get_frameworks = Some(frameworks(&source.state()));
            Kind::GetFrameworks
        }
        Type::GetExecutors => {
            to.get_executors = Some(executors(&source.state()));
            Kind::GetExecutors
        }
        Type::GetTasks => {
            to.get_tasks = Some(tasks(&source.state()));
            Kind::GetTasks
        }
        Type::GetAgent => {
            to.get_agent = Some(agent(&source.state()));
            Kind::GetAgent
        }
        Type::GetOperations => {
            to.get_operations = Some(Default::default()); // Nothing is offered that one could be made of.
            Kind::GetOperations
        }
        Type::GetResourceProviders => {
            to.get_resource_providers = Some(Default::default());
            Kind::GetResourceProviders
        }
        _ => return Ok(None),
    };
    to.r#type = Some(kind as i32);
    Ok(Some(to))
}

fn files(call: &Call, files: &Files, to: &mut Response) -> Result<Kind, HttpResponse> {
    if let Some(what) = &call.read_file
        && call.r#type() == Type::ReadFile
    {
        let (size, data) = files.piece(&what.path, what.offset, what.length)?;
        to.read_file = Some(response::ReadFile { size, data });
        return Ok(Kind::ReadFile);
    }
    let path = call.list_files.as_ref().map_or("", |what| what.path.as_str());
    to.list_files = Some(response::ListFiles { file_infos: files.list(path)? });
    Ok(Kind::ListFiles)
}

fn whole(state: &State) -> response::GetState {
    response::GetState {
        get_tasks: Some(tasks(state)),
        get_executors: Some(executors(state)),
        get_frameworks: Some(frameworks(state)),
    }
}

/// What is said to a call that does not only read.
fn other(call: &Call, source: &dyn Source) -> Result<HttpResponse, Refusal> {
    match call.r#type() {
        Type::PruneImages => Ok(HttpResponse::new(200)), // No images are kept here.
        Type::WaitNestedContainer | Type::WaitContainer | Type::AttachContainerOutput => {
            Err(of_container(call, source, |id| format!("Container {id} cannot be found")))
        }
        Type::KillNestedContainer | Type::KillContainer => {
            Err(of_container(call, source, |id| format!("Container '{id}' cannot be found (or is already killed)")))
        }
        _ => Err(not_implemented()),
    }
}

/// A call about one container: not found, as Mesos says it, or not implemented.
fn of_container(call: &Call, source: &dyn Source, not_found: impl Fn(&str) -> String) -> Refusal {
    let all: [&Option<call::OfContainer>; 5] = [
        &call.wait_nested_container,
        &call.wait_container,
        &call.attach_container_output,
        &call.kill_nested_container,
        &call.kill_container,
    ];
    let named = all.into_iter().flatten().next().map_or("", |of| of.container_id.value.as_str());
    // Of a default executor's task, its own.
    let of_status = |status: &mesos::TaskStatus| status.container_status.as_ref()?.container_id.clone();
    let is_tasks = |task: &mesos::Task| task.statuses.iter().filter_map(of_status).any(|id| id.value == named);
    let is_here = source.state().executors().any(|executor| {
        executor.container == named || executor.tasks.iter().any(|task| !is_terminal(task.state()) && is_tasks(task))
    });
    if is_here { not_implemented() } else { (404, not_found(named)) }
}

fn write(response: &Response, format: Format) -> Result<Vec<u8>, Refusal> {
    let failed = |error| (500, format!("Failed to write the answer: {error}"));
    match format {
        Format::Protobuf => format.encode(RESPONSE, response).map_err(failed),
        Format::Json => {
            let mut json = crate::messages::to_v1_json(RESPONSE, response).map_err(failed)?;
            add_arrays(&mut json);
            if let Some(state) = json.get_mut("get_state") {
                add_arrays(state);
            }
            Ok(json.to_string().into_bytes())
        }
    }
}

fn add_arrays(object: &mut Value) {
    for (message, names) in ARRAYS {
        if let Some(Value::Object(message)) = object.get_mut(message) {
            names.iter().for_each(|name| _ = message.entry(*name).or_insert_with(|| json!([])));
        }
    }
}

fn flags(state: &State) -> response::GetFlags {
    let flag = |(name, value): (&String, &String)| mesos::Flag { name: name.clone(), value: Some(value.clone()) };
    response::GetFlags { flags: state.flags.iter().map(flag).collect() }
}

fn own_version() -> response::GetVersion {
    let version = version();
    let text = |name: &str| version[name].as_str().unwrap_or_default().to_string();
    response::GetVersion {
        version_info: mesos::VersionInfo {
            version: text("version"),
            build_date: Some(text("build_date")),
            build_time: version["build_time"].as_f64(),
            build_user: Some(text("build_user")),
            ..Default::default()
        },
    }
}

fn metrics_of(all: &Value) -> response::GetMetrics {
    let metrics = all.as_object().into_iter().flatten();
    let metric = |(name, value): (&String, &Value)| mesos::Metric { name: name.clone(), value: value.as_f64() };
    response::GetMetrics { metrics: metrics.map(metric).collect() }
}

fn frameworks(state: &State) -> response::GetFrameworks {
    let all = |frameworks: &[crate::api::Framework]| {
        let info = |framework: &crate::api::Framework| framework.info.clone();
        frameworks.iter().map(|each| response::get_frameworks::Framework { framework_info: info(each) }).collect()
    };
    response::GetFrameworks {
        frameworks: all(&state.frameworks),
        completed_frameworks: all(&state.completed_frameworks),
    }
}

fn executors(state: &State) -> response::GetExecutors {
    let of = |executor_info| response::get_executors::Executor { executor_info };
    // We have encoded those that are gone ourselves.
    let gone = state.completed_executors().filter_map(|each| mesos::ExecutorInfo::decode(each.info.as_slice()).ok());
    response::GetExecutors {
        executors: state.executors().map(|executor| of(executor.info.clone())).collect(),
        completed_executors: gone.map(of).collect(),
    }
}

/// Nothing is ever pending here: whether a task is launched is decided when it comes.
fn tasks(state: &State) -> response::GetTasks {
    let here = |wanted: fn(&Executor, usize, &mesos::Task) -> bool| -> Vec<mesos::Task> {
        let of = |executor: &Executor| {
            let tasks = executor.tasks.iter().enumerate();
            tasks.filter(|(place, task)| wanted(executor, *place, task)).map(|(_, task)| task.clone()).collect()
        };
        state.executors().flat_map(|executor| -> Vec<mesos::Task> { of(executor) }).collect()
    };
    let gone = state.completed_executors().flat_map(|each| &each.encoded);
    let gone = gone.filter_map(|task| mesos::Task::decode(task.as_slice()).ok());
    response::GetTasks {
        pending_tasks: Vec::new(),
        queued_tasks: here(|_, _, task| is_queued(task)),
        launched_tasks: here(|_, _, task| !is_queued(task) && !is_terminal(task.state())),
        terminated_tasks: here(|executor, place, task| is_terminal(task.state()) && place >= executor.completed),
        completed_tasks: here(|executor, place, _| place < executor.completed).into_iter().chain(gone).collect(),
    }
}

fn agent(state: &State) -> response::GetAgent {
    let id = state.id.clone().map(|value| mesos::SlaveId { value });
    let slave_info = Some(mesos::SlaveInfo { id, ..state.info.clone() });
    response::GetAgent { slave_info, ..Default::default() }
}

fn containers(source: &mut dyn Source, with_nested: bool) -> response::GetContainers {
    let (state, seen) = (source.state(), source.measurement());
    let all = usage::containers(&state, &seen);
    let nested = all.iter().filter(|_| with_nested).flat_map(|each| usage::nested(each, &seen));
    let nested: Vec<_> = nested.map(nested_container).collect();
    let container = |each: usage::Container| response::get_containers::Container {
        framework_id: Some(mesos::FrameworkId { value: each.framework.to_string() }),
        executor_id: Some(each.executor.info.executor_id.clone()),
        executor_name: Some(each.executor.info.name().to_string()),
        container_id: mesos::ContainerId { value: each.executor.container.clone(), ..Default::default() },
        container_status: each.status,
        resource_statistics: each.statistics,
    };
    response::GetContainers { containers: all.into_iter().map(container).chain(nested).collect() }
}

/// Whose it is, Mesos does not say either: its id names its parent.
fn nested_container(nested: usage::NestedContainer) -> response::get_containers::Container {
    response::get_containers::Container {
        container_id: nested.id,
        container_status: nested.status,
        resource_statistics: nested.statistics,
        ..Default::default()
    }
}
