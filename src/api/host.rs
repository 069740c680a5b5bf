//! `/system/stats.json`, and the metrics `system/*`: how busy the host is (libprocess' `system.hpp`).

use nix::sys::sysinfo::sysinfo;
use nix::unistd::{SysconfVar, sysconf};
use serde_json::{Map, Value, json};

/// What the kernel says of the host.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Host {
    /// CPUs that are online.
    pub cpus: f64,
    /// The load's averages over 1, 5 and 15 minutes.
    pub loads: (f64, f64, f64),
    /// All memory, in bytes.
    pub memory: u64,
    /// What of it is used for nothing, be it a cache, in bytes.
    pub free: u64,
}

impl Host {
    /// Asks the kernel; it does not have to look at any disk for this.
    pub fn now() -> Option<Host> {
        let info = sysinfo().ok()?;
        let cpus = sysconf(SysconfVar::_NPROCESSORS_ONLN).ok()??;
        Some(Host { cpus: cpus as f64, loads: info.load_average(), memory: info.ram_total(), free: info.ram_unused() })
    }

    /// The answer to `/system/stats.json`.
    pub(super) fn to_json(self) -> Value {
        let (one, five, fifteen) = self.loads;
        json!({
            "avg_load_1min": one,
            "avg_load_5min": five,
            "avg_load_15min": fifteen,
            "cpus_total": self.cpus as u64,
            "mem_total_bytes": self.memory,
            "mem_free_bytes": self.free,
        })
    }

    /// As metrics.
    pub(super) fn add_to(self, metrics: &mut Map<String, Value>) {
        let mut put = |name: &str, value: f64| metrics.insert(format!("system/{name}"), json!(value));
        let (one, five, fifteen) = self.loads;
        put("cpus_total", self.cpus);
        put("load_1min", one);
        put("load_5min", five);
        put("load_15min", fifteen);
        put("mem_total_bytes", self.memory as f64);
        put("mem_free_bytes", self.free as f64);
    }
}
