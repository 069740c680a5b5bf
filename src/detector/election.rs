//! Who leads: masters announce themselves by ephemeral, sequential nodes below one path, and the one with the lowest sequence
//! number leads.
//!
//! | node | content | written by |
//! |---|---|---|
//! | `json.info_0000000012` | MasterInfo as JSON | 0.24 and later |
//! | `info_0000000012` | MasterInfo as protobuf | 0.14 to 0.23 |
//! | `0000000012` | the PID as text | 0.9 to 0.13 |
//!
//! All forms share one sequence, since ZooKeeper counts per parent: in a cluster that is being upgraded the lowest number leads
//! whatever its form (`GroupProcess::cache` and `LeaderDetectorProcess::watched` in `src/zookeeper`). Beside them lie nodes that
//! are no masters, such as `log_replicas`.

use std::cmp::Reverse;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::str::FromStr;

use serde_json::Value;

use crate::libprocess::Pid;
use crate::messages::{self, DecodeError, mesos::MasterInfo};

/// A master's name in PIDs, where its node does not tell.
const MASTER: &str = "master";
/// Longest announcement that is looked at; a MasterInfo has some hundred bytes.
const MAX_DATA: usize = 64 * 1024;

/// Why a leader's node does not say where it is.
#[derive(Debug)]
pub enum LeaderError {
    /// A label that no version of Mesos writes.
    Label(String),
    /// More than any master writes.
    Size(usize),
    /// Text that is not text.
    NotUtf8,
    /// No PID.
    Pid(<Pid as FromStr>::Err),
    /// No JSON.
    Json(serde_json::Error),
    /// No MasterInfo.
    Protobuf(DecodeError),
    /// A MasterInfo with neither a PID nor an IPv4 address and a port.
    NoAddress,
}

impl fmt::Display for LeaderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LeaderError::Label(label) => {
                write!(f, "no master of a known version writes nodes with the label {label:?}")
            }
            LeaderError::Size(size) => write!(f, "it holds {size} bytes, more than {MAX_DATA}"),
            LeaderError::NotUtf8 => f.write_str("it is not UTF-8"),
            LeaderError::Pid(source) => source.fmt(f),
            LeaderError::Json(source) => write!(f, "it is no JSON: {source}"),
            LeaderError::Protobuf(source) => write!(f, "it is no MasterInfo: {source}"),
            LeaderError::NoAddress => f.write_str("its MasterInfo has no IPv4 address"),
        }
    }
}

impl std::error::Error for LeaderError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            LeaderError::Pid(source) => Some(source),
            LeaderError::Json(source) => Some(source),
            LeaderError::Protobuf(source) => Some(source),
            LeaderError::Label(_) | LeaderError::Size(_) | LeaderError::NotUtf8 | LeaderError::NoAddress => None,
        }
    }
}

/// The nodes that may be masters', the one that leads first. Of two forms with one number, which ZooKeeper does not give, the newer
/// counts.
pub fn candidates<'a>(nodes: &[&'a str]) -> Vec<&'a str> {
    let mut all: Vec<_> = nodes.iter().filter_map(|node| Some((sequence(node)?, Reverse(*node)))).collect();
    all.sort_unstable();
    all.into_iter().map(|(_, Reverse(node))| node).collect()
}

/// Ten digits; past 2^31 ZooKeeper counts on from the most negative number, as Mesos reads it.
fn sequence(node: &str) -> Option<i32> {
    let (_, number) = split(node);
    let digits = number.strip_prefix('-').unwrap_or(number);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) || node.contains('/') {
        return None;
    }
    number.parse().ok()
}

/// Label and number.
fn split(node: &str) -> (Option<&str>, &str) {
    match node.rsplit_once('_') {
        Some((label, number)) => (Some(label), number),
        None => (None, node),
    }
}

/// Where the leader is, by its node's name and content.
///
/// # Errors
/// Content that does not say so in the form that the name promises.
pub fn address(node: &str, data: &[u8]) -> Result<Pid, LeaderError> {
    if data.len() > MAX_DATA {
        return Err(LeaderError::Size(data.len()));
    }
    match split(node).0 {
        None => text(data)?.trim().parse().map_err(LeaderError::Pid),
        Some("info") => from_protobuf(data),
        Some("json.info") => from_json(data),
        Some(label) => Err(LeaderError::Label(label.to_string())),
    }
}

fn text(data: &[u8]) -> Result<&str, LeaderError> {
    std::str::from_utf8(data).map_err(|_| LeaderError::NotUtf8)
}

fn from_protobuf(data: &[u8]) -> Result<Pid, LeaderError> {
    let info: MasterInfo = messages::decode(data).map_err(LeaderError::Protobuf)?;
    let address = info.address.and_then(|address| Some((address.ip?, address.port)));
    one_of(info.pid.as_deref(), address, info.ip, info.port.into())
}

/// Only what is needed is looked at: a newer master may write more.
fn from_json(data: &[u8]) -> Result<Pid, LeaderError> {
    let info: Value = serde_json::from_str(text(data)?).map_err(LeaderError::Json)?;
    let number = |value: &Value| value.as_i64();
    let address = info.get("address").and_then(|address| {
        let ip = address.get("ip")?.as_str()?.to_string();
        Some((ip, i32::try_from(number(address.get("port")?)?).ok()?))
    });
    let ip = info.get("ip").and_then(number).and_then(|ip| u32::try_from(ip).ok()).unwrap_or_default();
    let port = info.get("port").and_then(number).unwrap_or_default();
    one_of(info.get("pid").and_then(Value::as_str), address, ip, port)
}

/// The PID if there is one, as Mesos' agent does; else the newer form of the address, else the older. `ip` holds the address's
/// bytes in network order in a number of the writer's order, which is little-endian wherever Mesos runs.
fn one_of(pid: Option<&str>, address: Option<(String, i32)>, ip: u32, port: i64) -> Result<Pid, LeaderError> {
    if let Some(pid) = pid.filter(|pid| !pid.is_empty()) {
        return pid.parse().map_err(LeaderError::Pid);
    }
    let newer = address.and_then(|(ip, port)| Some((ip.parse::<Ipv4Addr>().ok()?, i64::from(port))));
    let older = (Ipv4Addr::from(ip.to_le_bytes()), port);
    let (ip, port) = newer.unwrap_or(older);
    match u16::try_from(port) {
        Ok(port) if port != 0 && !ip.is_unspecified() => {
            Ok(Pid { id: MASTER.to_string(), address: SocketAddrV4::new(ip, port) })
        }
        _ => Err(LeaderError::NoAddress),
    }
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;
    use crate::messages::mesos;

    fn info() -> MasterInfo {
        MasterInfo {
            id: "b5e8".into(),
            ip: u32::from_le_bytes([10, 0, 0, 1]),
            port: 5050,
            pid: Some("master@10.0.0.2:5051".into()),
            ..Default::default()
        }
    }

    fn pid(text: &str) -> Pid {
        text.parse().expect("pid")
    }

    fn leader<'a>(nodes: &[&'a str]) -> Option<&'a str> {
        candidates(nodes).first().copied()
    }

    #[test]
    fn the_lowest_sequence_leads_whatever_its_form() {
        assert_eq!(leader(&["json.info_0000000012", "info_0000000013"]), Some("json.info_0000000012"));
        assert_eq!(leader(&["json.info_0000000012", "info_0000000011", "0000000013"]), Some("info_0000000011"));
        assert_eq!(leader(&["0000000010", "json.info_0000000012", "0000000009"]), Some("0000000009"));
        assert_eq!(leader(&["json.info_0000000002", "json.info_-2147483647"]), Some("json.info_-2147483647"));
        assert_eq!(leader(&["0000000001", "info_0000000001", "json.info_0000000001"]), Some("json.info_0000000001"));
    }

    #[test]
    fn what_is_no_masters_node_does_not_count() {
        assert_eq!(leader(&[]), None);
        let none = ["log_replicas", "", "_", "json.info_", "json.info_+1", "json.info_0x1", "info_99999999999", "a/_1"];
        assert_eq!(leader(&none), None);
        assert_eq!(
            candidates(&["log_replicas", "json.info_0000000003", "0000000002"]),
            ["0000000002", "json.info_0000000003"]
        );
    }

    #[test]
    fn each_form_says_where_the_leader_is() {
        assert_eq!(address("0000000001", b"master@10.0.0.2:5051").unwrap(), pid("master@10.0.0.2:5051"));
        assert_eq!(address("info_0000000001", &info().encode_to_vec()).unwrap(), pid("master@10.0.0.2:5051"));
        // As a master of 1.11.0 writes it.
        let json =
            br#"{"address":{"hostname":"m","ip":"10.0.0.2","port":5051},"capabilities":[{"type":"AGENT_UPDATE"}],
            "hostname":"m","id":"b5e8","ip":33554442,"pid":"master@10.0.0.2:5051","port":5051,"version":"1.11.0"}"#;
        assert_eq!(address("json.info_0000000001", json).unwrap(), pid("master@10.0.0.2:5051"));
    }

    #[test]
    fn without_a_pid_the_newer_address_counts_before_the_older() {
        let older = MasterInfo { pid: None, ..info() };
        assert_eq!(address("info_1", &older.encode_to_vec()).unwrap(), pid("master@10.0.0.1:5050"));
        let address_field = mesos::Address { ip: Some("10.0.0.3".into()), port: 5053, ..Default::default() };
        let newer = MasterInfo { address: Some(address_field), ..older };
        assert_eq!(address("info_1", &newer.encode_to_vec()).unwrap(), pid("master@10.0.0.3:5053"));
        assert_eq!(address("json.info_1", br#"{"ip":16777226,"port":5050}"#).unwrap(), pid("master@10.0.0.1:5050"));
        let json = br#"{"address":{"ip":"10.0.0.3","port":5053},"ip":16777226,"port":5050}"#;
        assert_eq!(address("json.info_1", json).unwrap(), pid("master@10.0.0.3:5053"));
    }

    #[test]
    fn a_node_that_does_not_say_where_is_refused_with_the_reason() {
        let cases: [(&str, &[u8], &str); 9] = [
            ("0000000001", b"master", "no pid"),
            ("0000000001", b"\xff", "not UTF-8"),
            ("json.info_1", b"{", "no JSON"),
            ("json.info_1", b"[]", "no IPv4 address"),
            ("json.info_1", br#"{"ip":1,"port":65536}"#, "no IPv4 address"),
            ("json.info_1", br#"{"pid":"master@host:5050"}"#, "no IPv4 address, a pid needs"),
            ("info_1", b"\x0a", "no MasterInfo"),
            ("info_1", b"", "no MasterInfo"),
            ("other_1", b"x", "label \"other\""),
        ];
        for (node, data, why) in cases {
            let error = address(node, data).unwrap_err().to_string();
            assert!(error.contains(why), "{node}: {error}");
        }
        assert!(address("1", &[b' '; MAX_DATA + 1]).unwrap_err().to_string().contains("more than"));
    }
}
