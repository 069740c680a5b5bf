//! Every difference between this slave and Mesos' agent that is meant. One that no recording shows must not be here.

/// How a field may differ.
pub enum How {
    /// Mesos' agent says it, we do not.
    Theirs,
    /// Each draws its own; the same one of theirs must always be the same one of ours.
    Drawn(&'static str),
    /// Both are times, and so many seconds apart at most.
    Near(f64),
    /// The values differ.
    Differs,
}

/// A field that may differ.
pub struct Field {
    /// The message's name without its package.
    pub message: &'static str,
    /// The field's path with `[]` for any index; `.*` at its end stands for all that is within.
    pub path: &'static str,
    pub how: How,
    pub reason: &'static str,
}

const FEWER_CAPABILITIES: &str = "a master holds an agent to its capabilities, so only what is implemented is claimed";
const OWN_RESOURCE_VERSION: &str = "the version of the resources is drawn at random by each run of an agent";
const OWN_CONTAINER: &str = "container ids are drawn at random";
const NO_EXECUTOR_PROCESS: &str = "a container here is no process of the host";
const OWN_UUID: &str = "an update that the agent itself makes has a uuid of its own";
const OWN_CLOCK: &str = "an update that the agent itself makes has the time at which it noticed";
const OWN_WORDS: &str = "what the agent itself says of a task is text for people; ours says what happened to the container";
const NOTHING_COMPLETED: &str = "frameworks that have nothing here any more are not listed";
const TASK_LEFT_OUT: &str = "the latest state is that of the moment at which an update is sent, and ours goes out at once";

pub const FIELDS: &[Field] = &[
    field("RegisterSlaveMessage", "agent_capabilities[].type", How::Theirs, FEWER_CAPABILITIES),
    field("ReregisterSlaveMessage", "agent_capabilities[].type", How::Theirs, FEWER_CAPABILITIES),
    field("RegisterSlaveMessage", "resource_version_uuid.value", How::Drawn("run"), OWN_RESOURCE_VERSION),
    field("ReregisterSlaveMessage", "resource_version_uuid.value", How::Drawn("run"), OWN_RESOURCE_VERSION),
    field("StatusUpdateMessage", "update.status.container_status.container_id.value", How::Drawn("container"), OWN_CONTAINER),
    field("ReregisterSlaveMessage", "tasks[].statuses[].container_status.container_id.value", How::Drawn("container"), OWN_CONTAINER),
    field("StatusUpdateMessage", "update.status.container_status.executor_pid", How::Theirs, NO_EXECUTOR_PROCESS),
    field("ReregisterSlaveMessage", "tasks[].statuses[].container_status.executor_pid", How::Theirs, NO_EXECUTOR_PROCESS),
    field("ReregisterSlaveMessage", "completed_frameworks[].*", How::Theirs, NOTHING_COMPLETED),
];

const fn field(message: &'static str, path: &'static str, how: How, reason: &'static str) -> Field {
    Field { message, path, how, reason }
}

/// The agent tells its resources and operations again; that is owed only by one that has resource providers.
pub const NO_UPDATE_SLAVE: &str = "UpdateSlaveMessage is owed by agents with the capability RESOURCE_PROVIDER, which is not claimed";
/// Both wait for a random time before they register.
pub const OWN_JITTER: &str = "the wait before a registration is random; ours may end up to one back-off later";
/// A master whose connection breaks.
pub const ASKS_AGAIN: &str = "a master whose connection breaks is asked again at once, not only when its pings have stayed out";
/// The recorded custom executors' tasks.
pub const CUSTOM_EXECUTORS: &str = "custom executors: the agent ran the task";
/// What we say of them.
pub const CUSTOM_EXECUTORS_REFUSED: &str = "custom executors: the task is refused";

/// All reasons.
pub fn reasons() -> impl Iterator<Item = &'static str> {
    let whole = [NO_UPDATE_SLAVE, OWN_JITTER, ASKS_AGAIN, CUSTOM_EXECUTORS, CUSTOM_EXECUTORS_REFUSED];
    FIELDS.iter().map(|field| field.reason).chain(whole)
}
