//! Every difference between this slave and Mesos' agent that is meant. One that no recording shows must not be here.

/// How a field may differ.
pub enum How {
    /// Mesos' agent says it, we do not.
    Theirs,
    /// We say it, Mesos' agent does not.
    Ours,
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
    /// Only in an update that the agent made itself, not an executor.
    pub own: bool,
    pub how: How,
    pub reason: &'static str,
}

const FEWER_CAPABILITIES: &str = "a master holds an agent to its capabilities, so only what is implemented is claimed";
const OWN_RESOURCE_VERSION: &str = "the version of the resources is drawn at random by each run of an agent";
const OWN_CONTAINER: &str = "container ids are drawn at random";
const NO_EXECUTOR_PROCESS: &str = "a container here is no process of the host";
const OWN_UUID: &str = "an update that the agent itself makes has a uuid of its own";
const OWN_CLOCK: &str = "an update that the agent itself makes has the time at which it noticed";
const OWN_WORDS: &str =
    "what the agent itself says of a task is text for people; ours says what happened to the container";
const NOTHING_COMPLETED: &str = "frameworks that have nothing here any more are not listed";
const UNTIL_KNOWN: &str = "what 0.9 requires is there until the master is known to be of 1.x";
const NOT_KNOWN_THEN: &str = "0.9 skips the fields that it does not know";
const OWN_PAGE: &str = "the slave's page is at the port of everything else, in 0.9 at one of its own";
const SAID_TWICE: &str = "0.9 names this beside the description, ours also within it, as 1.x does";
const NO_EXECUTOR_NAMED: &str = "0.9 names no executor in an update of its own";
const WRITES_FIRST: &str =
    "Mesos' agent writes updates down before it sends them, and has heard the next one meanwhile";
const NAMED_BY_CALLER: &str =
    "a v1 executor need not name itself in a status, for its call does; ours does it, as libmesos' driver does";
const ALWAYS_DATED: &str =
    "an executor's status without a time gets the time at which it came; Mesos dates the update only";
const COMMAND_EXECUTOR: &str = "a command task's executor has the task's id, as in 1.x; in 0.9 it has a longer one";
/// The id of the slave's process.
pub const OWN_ID: &str = "the slave is called slave(1), as in 1.x; in 0.9 it is called slave";
/// The framing of the first word.
pub const FIRST_WORD: &str =
    "the first word to a master of which nothing is known is framed so that 0.9 and 1.x take it";

const RECOVERED: &str =
    "a recovered agent does not know what it sent last; the slave that the test sets up in its place does";

/// Against Mesos 1.11.
pub const FIELDS_OF_1_11: &[Field] = &[
    field("RegisterSlaveMessage", "agent_capabilities[].type", How::Theirs, FEWER_CAPABILITIES),
    field("ReregisterSlaveMessage", "agent_capabilities[].type", How::Theirs, FEWER_CAPABILITIES),
    field("RegisterSlaveMessage", "slave.webui_hostname", How::Ours, UNTIL_KNOWN),
    field("RegisterSlaveMessage", "slave.webui_port", How::Ours, UNTIL_KNOWN),
    field("ReregisterSlaveMessage", "slave.webui_hostname", How::Ours, UNTIL_KNOWN),
    field("ReregisterSlaveMessage", "slave.webui_port", How::Ours, UNTIL_KNOWN),
    field("ReregisterSlaveMessage", "slave_id.value", How::Ours, UNTIL_KNOWN),
    field("RegisterSlaveMessage", "resource_version_uuid.value", How::Drawn("run"), OWN_RESOURCE_VERSION),
    field("ReregisterSlaveMessage", "resource_version_uuid.value", How::Drawn("run"), OWN_RESOURCE_VERSION),
    field(
        "StatusUpdateMessage",
        "update.status.container_status.container_id.value",
        How::Drawn("container"),
        OWN_CONTAINER,
    ),
    field(
        "ReregisterSlaveMessage",
        "tasks[].statuses[].container_status.container_id.value",
        How::Drawn("container"),
        OWN_CONTAINER,
    ),
    field("StatusUpdateMessage", "update.status.container_status.executor_pid", How::Theirs, NO_EXECUTOR_PROCESS),
    field(
        "ReregisterSlaveMessage",
        "tasks[].statuses[].container_status.executor_pid",
        How::Theirs,
        NO_EXECUTOR_PROCESS,
    ),
    field("ReregisterSlaveMessage", "tasks[].status_update_state", How::Ours, RECOVERED),
    field("ReregisterSlaveMessage", "tasks[].status_update_uuid", How::Ours, RECOVERED),
    own("update.uuid", How::Drawn("uuid"), OWN_UUID),
    own("update.status.uuid", How::Drawn("uuid"), OWN_UUID),
    own("update.timestamp", How::Near(1.0), OWN_CLOCK),
    own("update.status.timestamp", How::Near(1.0), OWN_CLOCK),
    own("update.status.message", How::Differs, OWN_WORDS),
    field("StatusUpdateMessage", "update.latest_state", How::Differs, WRITES_FIRST),
    field("StatusUpdateMessage", "update.executor_id.value", How::Ours, NAMED_BY_CALLER),
    field("StatusUpdateMessage", "update.status.executor_id.value", How::Ours, NAMED_BY_CALLER),
    field("StatusUpdateMessage", "update.status.timestamp", How::Ours, ALWAYS_DATED),
    field("StatusUpdateMessage", "update.timestamp", How::Near(0.1), ALWAYS_DATED),
    field("Event", "subscribed.container_id.value", How::Drawn("container"), OWN_CONTAINER),
    field("ReregisterSlaveMessage", "completed_frameworks[].*", How::Theirs, NOTHING_COMPLETED),
];

/// Against Mesos 0.9.
pub const FIELDS_OF_2012: &[Field] = &[
    field("RegisterSlaveMessage", "version", How::Ours, NOT_KNOWN_THEN),
    field("RegisterSlaveMessage", "agent_capabilities[].type", How::Ours, NOT_KNOWN_THEN),
    field("RegisterSlaveMessage", "resource_version_uuid.value", How::Ours, NOT_KNOWN_THEN),
    field("RegisterSlaveMessage", "slave.port", How::Ours, NOT_KNOWN_THEN),
    field("RegisterSlaveMessage", "slave.webui_port", How::Differs, OWN_PAGE),
    field("RegisterSlaveMessage", "slave.resources[].role", How::Ours, NOT_KNOWN_THEN),
    field("StatusUpdateMessage", "pid", How::Drawn("pid"), OWN_ID),
    field("StatusUpdateMessage", "update.latest_state", How::Ours, NOT_KNOWN_THEN),
    field("StatusUpdateMessage", "update.status.slave_id.value", How::Ours, NOT_KNOWN_THEN),
    field("StatusUpdateMessage", "update.status.executor_id.value", How::Ours, NOT_KNOWN_THEN),
    field("StatusUpdateMessage", "update.status.timestamp", How::Ours, NOT_KNOWN_THEN),
    field("StatusUpdateMessage", "update.status.uuid", How::Ours, NOT_KNOWN_THEN),
    field("StatusUpdateMessage", "update.status.container_status.*", How::Ours, NOT_KNOWN_THEN),
    field("StatusUpdateMessage", "update.executor_id.value", How::Drawn("executor"), COMMAND_EXECUTOR),
    field("ExitedExecutorMessage", "executor_id.value", How::Drawn("executor"), COMMAND_EXECUTOR),
    field("StatusUpdateMessage", "update.status.source", How::Ours, NOT_KNOWN_THEN),
    own("update.status.reason", How::Ours, NOT_KNOWN_THEN),
    own("update.executor_id.value", How::Ours, NO_EXECUTOR_NAMED),
    own("update.status.message", How::Differs, OWN_WORDS),
    own("update.timestamp", How::Near(1.0), OWN_CLOCK),
    own("update.uuid", How::Drawn("uuid"), OWN_UUID),
    field("ExecutorRegisteredMessage", "executor_info.framework_id.value", How::Ours, NOT_KNOWN_THEN),
    field("ExecutorRegisteredMessage", "framework_info.id.value", How::Ours, SAID_TWICE),
    field("ExecutorRegisteredMessage", "slave_info.id.value", How::Ours, SAID_TWICE),
    field("ExecutorRegisteredMessage", "slave_info.port", How::Ours, NOT_KNOWN_THEN),
    field("ExecutorRegisteredMessage", "slave_info.webui_port", How::Differs, OWN_PAGE),
    field("RunTaskMessage", "framework.id.value", How::Ours, SAID_TWICE),
    field("RunTaskMessage", "task.resources[].allocation_info.role", How::Ours, NOT_KNOWN_THEN),
];

const fn field(message: &'static str, path: &'static str, how: How, reason: &'static str) -> Field {
    Field { message, path, own: false, how, reason }
}

const fn own(path: &'static str, how: How, reason: &'static str) -> Field {
    Field { message: "StatusUpdateMessage", path, own: true, how, reason }
}

/// The agent tells its resources and operations again; that is owed only by one that has resource providers.
pub const NO_UPDATE_SLAVE: &str =
    "UpdateSlaveMessage is owed by agents with the capability RESOURCE_PROVIDER, which is not claimed";
/// A master whose connection breaks.
pub const ASKS_AGAIN: &str =
    "a master whose connection breaks is asked again at once, not only when its pings have stayed out";
/// A slave that was frozen, and a master of 2012.
pub const COUNTS_PINGS: &str =
    "a slave of 0.9 does not count its master's pings; ours registers again when they have stayed out";
/// The one recorded task group.
pub const NO_DEFAULT_EXECUTOR: &str = "there is no default executor yet: its tasks are refused";
/// After SIGUSR1, or when the master has sent the slave away.
pub const HAS_LEFT: &str =
    "a slave that has left its master tells it nothing any more, which the master would not heed";
/// A framework is shut down, and one of its tasks still ran.
pub const NOBODY_LISTENS: &str =
    "0.9 tells what becomes of the tasks of a framework that has gone already; nobody is there to hear it";
/// An executor of 0.9 with several tasks died.
pub const EACH_TASK: &str = "0.9 says of one task of a dead executor that it failed, and its master of the others that they are lost; ours says it of each";
/// On SIGTERM.
pub const ENDS_CONTAINERS: &str =
    "an agent that is told to stop leaves the containers of checkpointing frameworks; ours ends them";

impl Field {
    /// The field and why it may differ, for people.
    pub fn describe(&self, of: &str) -> String {
        format!("{of}, {} {}: {}", self.message, self.path, self.reason)
    }
}

/// All differences, in words.
pub fn all() -> impl Iterator<Item = String> {
    let whole = [
        NO_UPDATE_SLAVE,
        ASKS_AGAIN,
        COUNTS_PINGS,
        NO_DEFAULT_EXECUTOR,
        HAS_LEFT,
        NOBODY_LISTENS,
        EACH_TASK,
        ENDS_CONTAINERS,
        OWN_ID,
        FIRST_WORD,
    ];
    let fields = |of, fields: &'static [Field]| fields.iter().map(move |field| field.describe(of));
    let whole = whole.into_iter().map(str::to_string);
    fields("1.11", FIELDS_OF_1_11).chain(fields("0.9", FIELDS_OF_2012)).chain(whole)
}
