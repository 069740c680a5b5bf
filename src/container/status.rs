//! How a container's child makes the statuses of what it runs: a command task, or an executor, which is a task without a name here.

use std::io;
use std::net::Ipv4Addr;
use std::time::{SystemTime, UNIX_EPOCH};

use super::text::printable;
use crate::messages::container::{FromChild, Spec};
use crate::messages::mesos::{
    self, CheckStatusInfo, NetworkInfo, TaskState, TaskStatus, check_info, check_status_info, framework_info,
    network_info, task_status,
};
use crate::random::Random;
use crate::subprocess::Exit;

/// The longest message of a status, in bytes; what is beyond is cut off.
const MESSAGE_LIMIT: usize = 4096;

/// What a child has to say about its task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The task's state.
    pub state: TaskState,
    /// Why, in Mesos' terms; none where Mesos gives none.
    pub reason: Option<task_status::Reason>,
    /// What happened and what to do about it.
    pub message: Option<String>,
    /// How the command ended, when it had begun.
    pub exit: Option<Exit>,
    /// What the task's health check says.
    pub healthy: Option<bool>,
    /// What the task's check has answered last.
    pub answer: Option<Answer>,
}

/// The answer of a check that was performed (`CheckStatusInfo`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// The command's exit status; 128 and its number for a signal.
    Exit(i32),
    /// The server's status code.
    Http(u32),
    /// Whether there was a connection.
    Tcp(bool),
}

impl Report {
    /// A state that speaks for itself.
    pub fn plain(state: TaskState) -> Report {
        Report { state, reason: None, message: None, exit: None, healthy: None, answer: None }
    }

    /// It says what a check of the running task has found.
    pub fn is_of_check(&self) -> bool {
        use task_status::Reason::{TaskCheckStatusUpdated, TaskHealthCheckStatusUpdated};
        matches!(self.reason, Some(TaskCheckStatusUpdated | TaskHealthCheckStatusUpdated))
    }
}

/// A status on its way to the slave.
#[derive(Debug, Clone, PartialEq)]
pub struct Update {
    /// The status, with its uuid.
    pub status: TaskStatus,
    /// With a terminal one: how the command ended, as wait(2) gives it.
    pub wait_status: Option<i32>,
}

impl Update {
    /// As it goes over the channel, and into the runtime directory.
    pub fn to_message(&self) -> FromChild {
        FromChild { update: Some(self.status.clone()), wait_status: self.wait_status, ..Default::default() }
    }

    /// The update in a message, if there is one.
    pub fn of(message: &FromChild) -> Option<Update> {
        Some(Update { status: message.update.clone()?, wait_status: message.wait_status })
    }
}

/// Whether a command task's framework wants to hear that the task is being killed, before it hears that it is dead.
pub fn tells_of_killing(spec: &Spec) -> bool {
    let wanted = Some(framework_info::capability::Type::TaskKillingState as i32);
    spec.task.is_some() && spec.framework.capabilities.iter().any(|each| each.r#type == wanted)
}

/// The parts that are the same in each status of a container.
#[derive(Debug, Clone)]
pub struct StatusMaker {
    task: mesos::TaskId,
    slave: mesos::SlaveId,
    executor: mesos::ExecutorId,
    container: mesos::ContainerId,
    in_guest: bool,
    check: Option<check_info::Type>,
}

impl StatusMaker {
    /// For the command task of a spec or, without one, for its executor.
    pub fn new(spec: &Spec) -> StatusMaker {
        StatusMaker {
            task: spec.task.as_ref().map(|task| task.task_id.clone()).unwrap_or_default(),
            slave: spec.slave_id.clone(),
            executor: spec.executor.executor_id.clone(),
            container: container_id(spec),
            in_guest: spec.vm.is_some(),
            check: spec.task.as_ref().and_then(|task| Some(task.check.as_ref()?.r#type())),
        }
    }

    /// A status with a time and a uuid of its own.
    ///
    /// # Errors
    /// When there are no random bytes.
    pub fn make(&self, report: &Report, address: Option<Ipv4Addr>) -> io::Result<Update> {
        let status = self.fill(report, address, now(), Random::from_system()?.uuid());
        Ok(Update { status, wait_status: report.exit.map(Exit::wait_status) })
    }

    fn fill(&self, report: &Report, address: Option<Ipv4Addr>, timestamp: f64, uuid: [u8; 16]) -> TaskStatus {
        TaskStatus {
            task_id: self.task.clone(),
            state: report.state as i32,
            message: report.message.as_deref().map(bounded),
            source: Some(task_status::Source::Executor as i32),
            reason: report.reason.map(|reason| reason as i32),
            slave_id: Some(self.slave.clone()),
            executor_id: Some(self.executor.clone()),
            timestamp: Some(timestamp),
            uuid: Some(uuid.to_vec()),
            healthy: report.healthy,
            check_status: self.check.map(|kind| check_status(kind, report.answer)),
            container_status: Some(mesos::ContainerStatus {
                container_id: Some(self.container.clone()),
                network_infos: self.networks(address),
                ..Default::default()
            }),
            ..Default::default()
        }
    }
}

/// A task of the default executor is in a nested container.
fn container_id(spec: &Spec) -> mesos::ContainerId {
    let plain = |value: &String| mesos::ContainerId { value: value.clone(), ..Default::default() };
    let parent = spec.joins.as_ref().map(|joins| Box::new(plain(&joins.container_id)));
    mesos::ContainerId { parent, ..plain(&spec.container_id) }
}

impl StatusMaker {
    /// A guest that has no address yet has a network without one: with no network at all the slave would give its own address.
    fn networks(&self, address: Option<Ipv4Addr>) -> Vec<NetworkInfo> {
        match address {
            Some(address) => vec![guest_network(address)],
            None if self.in_guest => vec![NetworkInfo::default()],
            None => Vec::new(),
        }
    }
}

/// A task with a check has this in each of its statuses, if there is an answer or not (`CommandExecutor::createTaskStatus` in Mesos).
fn check_status(kind: check_info::Type, answer: Option<Answer>) -> CheckStatusInfo {
    use check_status_info::{Command, Http, Tcp};
    let mut status = CheckStatusInfo { r#type: Some(kind as i32), ..Default::default() };
    match kind {
        check_info::Type::Command => status.command = Some(Command::default()),
        check_info::Type::Http => status.http = Some(Http::default()),
        check_info::Type::Tcp => status.tcp = Some(Tcp::default()),
        check_info::Type::Unknown => {}
    }
    match answer {
        Some(Answer::Exit(exit_code)) => status.command = Some(Command { exit_code: Some(exit_code) }),
        Some(Answer::Http(status_code)) => status.http = Some(Http { status_code: Some(status_code) }),
        Some(Answer::Tcp(succeeded)) => status.tcp = Some(Tcp { succeeded: Some(succeeded) }),
        None => {}
    }
    status
}

fn guest_network(address: Ipv4Addr) -> NetworkInfo {
    NetworkInfo {
        ip_addresses: vec![network_info::IpAddress {
            ip_address: Some(address.to_string()),
            protocol: Some(network_info::Protocol::IPv4 as i32),
        }],
        ..Default::default()
    }
}

fn bounded(message: &str) -> String {
    let message = printable(message);
    let mut end = message.len().min(MESSAGE_LIMIT);
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    message[..end].to_string()
}

/// How a command ended, in the words of Mesos' command executor (`WSTRINGIFY`): with the C library's names of the signals.
pub fn command_ended(exit: Exit) -> String {
    match exit {
        Exit::Status(status) => format!("Command exited with status {status}"),
        Exit::Signal(signal) => format!("Command terminated with signal {}", signal_words(signal)),
    }
}

/// `strsignal(3)` in the C locale, for the signals that end processes.
fn signal_words(signal: i32) -> String {
    let words = match signal {
        1 => "Hangup",
        2 => "Interrupt",
        3 => "Quit",
        4 => "Illegal instruction",
        5 => "Trace/breakpoint trap",
        6 => "Aborted",
        7 => "Bus error",
        8 => "Floating point exception",
        9 => "Killed",
        10 => "User defined signal 1",
        11 => "Segmentation fault",
        12 => "User defined signal 2",
        13 => "Broken pipe",
        14 => "Alarm clock",
        15 => "Terminated",
        24 => "CPU time limit exceeded",
        25 => "File size limit exceeded",
        _ => return signal.to_string(),
    };
    words.to_string()
}

/// Seconds since 1970, as Mesos' timestamps are.
fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::messages::container::Joined;

    fn maker() -> StatusMaker {
        let spec = Spec {
            container_id: "c".into(),
            task: Some(mesos::TaskInfo { task_id: mesos::TaskId { value: "t".into() }, ..Default::default() }),
            ..Default::default()
        };
        StatusMaker::new(&spec)
    }

    #[test]
    fn a_status_names_task_container_address_and_source() {
        let report = Report::plain(TaskState::TaskRunning);
        let update = maker().make(&report, Some(Ipv4Addr::new(10, 0, 0, 2))).expect("random bytes");
        assert_eq!(update.wait_status, None);
        let status = update.status;
        assert_eq!(status.task_id.value, "t");
        assert_eq!(status.state(), TaskState::TaskRunning);
        assert_eq!(status.source(), task_status::Source::Executor);
        assert_eq!(status.reason, None);
        assert_eq!(status.uuid.as_ref().map(Vec::len), Some(16));
        let container = status.container_status.expect("container status");
        assert_eq!(container.container_id.expect("id").value, "c");
        assert_eq!(container.network_infos[0].ip_addresses[0].ip_address(), "10.0.0.2");
    }

    #[test]
    fn a_task_in_another_container_names_that_as_its_parent() {
        let joins = Some(Joined { container_id: "holder".into(), address: None });
        let maker = StatusMaker::new(&Spec { container_id: "c".into(), joins, ..Default::default() });
        let status = maker.fill(&Report::plain(TaskState::TaskRunning), None, 0.0, [0; 16]);
        let id = status.container_status.and_then(|status| status.container_id).expect("id");
        assert_eq!((id.value.as_str(), id.parent.expect("parent").value.as_str()), ("c", "holder"));
    }

    #[test]
    fn a_guest_without_an_address_has_a_network_all_the_same() {
        let networks = |maker: &StatusMaker| {
            let status = maker.fill(&Report::plain(TaskState::TaskStarting), None, 0.0, [0; 16]);
            status.container_status.expect("container status").network_infos.len()
        };
        assert_eq!(networks(&maker()), 0);
        assert_eq!(networks(&StatusMaker { in_guest: true, ..maker() }), 1);
    }

    #[test]
    fn only_a_framework_that_knows_of_killing_hears_of_it() {
        let capability =
            |kind: framework_info::capability::Type| framework_info::Capability { r#type: Some(kind as i32) };
        let mut spec = Spec { task: Some(Default::default()), ..Default::default() };
        spec.framework.capabilities = vec![capability(framework_info::capability::Type::PartitionAware)];
        assert!(!tells_of_killing(&spec));
        spec.framework.capabilities.push(capability(framework_info::capability::Type::TaskKillingState));
        assert!(tells_of_killing(&spec));
        assert!(!tells_of_killing(&Spec { task: None, ..spec }), "an executor tells of its tasks itself");
    }

    #[test]
    fn a_guests_words_in_a_message_command_no_terminal() {
        let hostile = Report { message: Some("\x1b[2J\nno".into()), ..Report::plain(TaskState::TaskFailed) };
        assert_eq!(maker().fill(&hostile, None, 0.0, [0; 16]).message(), "\\u{1b}[2J\\nno");
    }

    #[test]
    fn an_executors_end_has_no_task_and_what_wait_gives() {
        let maker = StatusMaker::new(&Spec::default());
        let ended = |exit| Report { exit: Some(exit), ..Report::plain(TaskState::TaskFailed) };
        let update = maker.make(&ended(Exit::Status(3)), None).expect("random bytes");
        assert_eq!((update.status.task_id.value.as_str(), update.wait_status), ("", Some(3 << 8)));
        assert_eq!(maker.make(&ended(Exit::Signal(9)), None).expect("random bytes").wait_status, Some(9));
        assert_eq!(Update::of(&update.to_message()), Some(update));
    }

    #[test]
    fn each_status_of_a_task_with_a_check_has_what_is_known_of_the_check() {
        let maker = StatusMaker { check: Some(check_info::Type::Http), ..maker() };
        let status = |answer| {
            let report = Report { answer, healthy: Some(true), ..Report::plain(TaskState::TaskRunning) };
            maker.fill(&report, None, 0.0, [0; 16])
        };
        let http = |status_code| CheckStatusInfo {
            r#type: Some(check_info::Type::Http as i32),
            http: Some(check_status_info::Http { status_code }),
            ..Default::default()
        };
        assert_eq!(status(None).check_status, Some(http(None)));
        assert_eq!(status(Some(Answer::Http(404))).check_status, Some(http(Some(404))));
        assert_eq!(status(None).healthy, Some(true));
        let plain = self::maker().fill(&Report::plain(TaskState::TaskRunning), None, 0.0, [0; 16]);
        assert_eq!((plain.check_status, plain.healthy), (None, None));
    }

    #[test]
    fn a_long_message_is_cut_at_a_character() {
        let report = Report { message: Some("ä".repeat(MESSAGE_LIMIT)), ..Report::plain(TaskState::TaskFailed) };
        let status = maker().fill(&report, None, 0.0, [0; 16]);
        assert_eq!(status.message().len(), MESSAGE_LIMIT);
    }
}
