//! What the host has, and what of it is offered when `--resources` does not say. The shares kept back are those of Mesos' agent
//! (`Containerizer::resources`): 1 GB of memory, 5 GB of disk, or half of a small host's.

use std::fs;
use std::path::Path;

use nix::sys::statvfs::statvfs;
use nix::unistd::{SysconfVar, sysconf};

use crate::messages::mesos::value::{Range, Ranges, Type};
use crate::messages::mesos::{Resource, value};

use super::{Resources, scalar};

const MB: u64 = 1 << 20;
const GB: u64 = 1 << 30;

/// Taken when the host does not say how much it has, as Mesos does.
const UNKNOWN: Host = Host { cpus: 1, memory: 2 * GB, disk: 15 * GB };

/// Ports that a process of the host may be given.
const PORTS: Range = Range { begin: 31000, end: 32000 };

/// What the host has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Host {
    /// CPUs that are online.
    pub cpus: u64,
    /// Memory in bytes.
    pub memory: u64,
    /// Size in bytes of the filesystem that holds the work directory.
    pub disk: u64,
}

impl Host {
    /// Asks the kernel. The work directory need not exist yet: its nearest parent that does is asked.
    pub fn detect(work_dir: &Path) -> Host {
        Host {
            cpus: cpus().unwrap_or(UNKNOWN.cpus),
            memory: fs::read_to_string("/proc/meminfo").ok().and_then(|text| total(&text)).unwrap_or(UNKNOWN.memory),
            disk: disk(work_dir).unwrap_or(UNKNOWN.disk),
        }
    }
}

fn cpus() -> Option<u64> {
    u64::try_from(sysconf(SysconfVar::_NPROCESSORS_ONLN).ok()??).ok().filter(|cpus| *cpus > 0)
}

/// `MemTotal:       16384 kB`.
fn total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

fn disk(work_dir: &Path) -> Option<u64> {
    let facts = work_dir.ancestors().find_map(|path| statvfs(path).ok())?;
    // The types differ between platforms.
    #[allow(clippy::unnecessary_cast)]
    (facts.blocks() as u64).checked_mul(facts.fragment_size() as u64)
}

/// Adds what `named` does not name. A virtual machine has ports of its own, so the host's are offered only `with_ports`.
pub fn complete(named: Vec<Resource>, host: Host, with_ports: bool) -> Resources {
    let missing = |name: &str| !named.iter().any(|resource| resource.name == name);
    let mut added = Vec::new();
    if missing("cpus") {
        added.push(scalar("cpus", host.cpus as f64));
    }
    if missing("mem") {
        added.push(scalar("mem", (keep_back(host.memory, GB, 2 * GB) / MB) as f64));
    }
    if missing("disk") {
        added.push(scalar("disk", (keep_back(host.disk, 5 * GB, 10 * GB) / MB) as f64));
    }
    if missing("ports") && with_ports {
        added.push(ports());
    }
    named.into_iter().chain(added).collect()
}

fn keep_back(total: u64, share: u64, from: u64) -> u64 {
    if total >= from { total - share } else { total / 2 }
}

fn ports() -> Resource {
    Resource {
        name: "ports".to_string(),
        r#type: Type::Ranges as i32,
        ranges: Some(value::Ranges { range: vec![PORTS] } as Ranges),
        ..Resource::default()
    }
}

#[cfg(test)]
mod tests {
    use super::super::parse;
    use super::*;

    const HOST: Host = Host { cpus: 4, memory: 16 * GB, disk: 100 * GB };

    #[test]
    fn a_host_keeps_back_what_mesos_keeps_back() {
        assert_eq!(complete(vec![], HOST, true).to_string(), "cpus:4; mem:15360; disk:97280; ports:[31000-32000]");
        let small = Host { cpus: 1, memory: GB, disk: 8 * GB };
        assert_eq!(complete(vec![], small, false).to_string(), "cpus:1; mem:512; disk:4096");
    }

    #[test]
    fn what_is_named_is_not_detected_even_if_it_is_nothing() {
        let named = parse("cpus:0;mem(role):64;ports:[1-2]").unwrap();
        let text = complete(named, HOST, true).to_string();
        assert_eq!(text, "mem(reservations: [(STATIC,role)]):64; ports:[1-2]; disk:97280");
    }

    #[test]
    fn this_host_has_something_of_everything() {
        let host = Host::detect(Path::new("/tmp/not/there/yet"));
        assert!(host.cpus >= 1 && host.memory > 64 * MB && host.disk > 0, "{host:?}");
        assert_eq!(total("MemFree: 1 kB\nMemTotal:       2048 kB\n"), Some(2 * MB));
        assert_eq!(total("MemTotal: lots"), None);
    }
}
