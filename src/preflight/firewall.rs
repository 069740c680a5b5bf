//! Firewalls of the host that may stand between guests and the slave.

use std::fs;
use std::path::Path;

use super::facts::FirewallFacts;

pub(super) fn look() -> FirewallFacts {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let ufw = ufw_is_enabled(&read("/etc/ufw/ufw.conf"));
    let zone = ["/etc/firewalld/zones/libvirt.xml", "/usr/lib/firewalld/zones/libvirt.xml"];
    FirewallFacts {
        ufw: ufw.then(|| read("/etc/ufw/user.rules")),
        firewalld: firewalld_runs().then(|| zone.iter().any(|path| Path::new(path).exists())),
    }
}

pub(super) fn ufw_is_enabled(conf: &str) -> bool {
    let value = conf.lines().rev().find_map(|line| line.trim().strip_prefix("ENABLED="));
    value.is_some_and(|value| value.trim_matches(['"', '\'', ' ']).eq_ignore_ascii_case("yes"))
}

/// By the processes: firewalld keeps no pid file under systemd.
fn firewalld_runs() -> bool {
    let Ok(processes) = fs::read_dir("/proc") else {
        return false;
    };
    processes.flatten().any(|process| {
        let numbered = process.file_name().to_string_lossy().bytes().all(|b| b.is_ascii_digit());
        numbered && fs::read_to_string(process.path().join("comm")).is_ok_and(|comm| comm.trim() == "firewalld")
    })
}
