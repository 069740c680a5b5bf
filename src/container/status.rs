//! How a container's child makes the status of its command task.

use std::fs::File;
use std::io::{self, Read};
use std::net::Ipv4Addr;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::messages::container::Spec;
use crate::messages::mesos::{self, NetworkInfo, TaskState, TaskStatus, network_info, task_status};

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
}

impl Report {
    /// A state that speaks for itself.
    pub fn plain(state: TaskState) -> Report {
        Report { state, reason: None, message: None }
    }
}

/// The parts that are the same in each status of a container.
#[derive(Debug, Clone)]
pub struct StatusMaker {
    task: mesos::TaskId,
    slave: mesos::SlaveId,
    executor: mesos::ExecutorId,
    container: String,
}

impl StatusMaker {
    /// For the command task of a spec; none without one.
    pub fn new(spec: &Spec) -> Option<StatusMaker> {
        Some(StatusMaker {
            task: spec.task.as_ref()?.task_id.clone(),
            slave: spec.slave_id.clone(),
            executor: spec.executor.executor_id.clone(),
            container: spec.container_id.clone(),
        })
    }

    /// A status with a time and a uuid of its own.
    ///
    /// # Errors
    /// When there are no random bytes.
    pub fn make(&self, report: &Report, address: Option<Ipv4Addr>) -> io::Result<TaskStatus> {
        Ok(self.fill(report, address, now(), random_uuid()?))
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
            container_status: Some(mesos::ContainerStatus {
                container_id: Some(mesos::ContainerId { value: self.container.clone(), ..Default::default() }),
                network_infos: address.map(guest_network).into_iter().collect(),
                ..Default::default()
            }),
            ..Default::default()
        }
    }
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
    let mut end = message.len().min(MESSAGE_LIMIT);
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    message[..end].to_string()
}

/// Seconds since 1970, as Mesos' timestamps are.
fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

/// A version 4 UUID, as Mesos' uuids are.
///
/// # Errors
/// What reading `/dev/urandom` gives.
pub fn random_uuid() -> io::Result<[u8; 16]> {
    let mut uuid = [0u8; 16];
    File::open("/dev/urandom")?.read_exact(&mut uuid)?;
    uuid[6] = uuid[6] & 0x0f | 0x40;
    uuid[8] = uuid[8] & 0x3f | 0x80;
    Ok(uuid)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn maker() -> StatusMaker {
        let spec = Spec {
            container_id: "c".into(),
            task: Some(mesos::TaskInfo { task_id: mesos::TaskId { value: "t".into() }, ..Default::default() }),
            ..Default::default()
        };
        StatusMaker::new(&spec).expect("a spec with a task")
    }

    #[test]
    fn a_status_names_task_container_address_and_source() {
        let report = Report::plain(TaskState::TaskRunning);
        let status = maker().make(&report, Some(Ipv4Addr::new(10, 0, 0, 2))).expect("random bytes");
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
    fn a_long_message_is_cut_at_a_character() {
        let report = Report { message: Some("ä".repeat(MESSAGE_LIMIT)), ..Report::plain(TaskState::TaskFailed) };
        let status = maker().fill(&report, None, 0.0, [0; 16]);
        assert_eq!(status.message().len(), MESSAGE_LIMIT);
    }

    #[test]
    fn two_statuses_have_two_uuids() {
        assert_ne!(random_uuid().expect("bytes"), random_uuid().expect("bytes"));
    }
}
