//! What a task's checks do: plain values out of Mesos' messages.

use std::fmt;

use super::http;
use crate::messages::mesos::{CommandInfo, TaskInfo, check_info, health_check, network_info};

/// Which of a task's checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// `TaskInfo.check`.
    Check,
    /// `TaskInfo.health_check`.
    Health,
}

impl Which {
    /// Both.
    pub const ALL: [Which; 2] = [Which::Check, Which::Health];
}

impl fmt::Display for Which {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Which::Check => "check",
            Which::Health => "health check",
        })
    }
}

/// What a check does, the same for both kinds of checks.
#[derive(Debug, Clone, PartialEq)]
pub enum Probe {
    /// It runs a command.
    Command(CommandInfo),
    /// It makes a connection.
    Tcp(Target),
    /// It asks an HTTP server, for a path that a request may have.
    Http(Target, String),
    /// It asks an HTTPS server, whose certificate is not looked at.
    Https(Target, String),
}

/// Where a probe goes: a port of the loopback of whoever runs the task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target {
    /// The port.
    pub port: u16,
    /// `[::1]`, not `127.0.0.1`.
    pub is_ipv6: bool,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", if self.is_ipv6 { "[::1]" } else { "127.0.0.1" }, self.port)
    }
}

impl Target {
    fn new(port: u32, protocol: Option<i32>) -> Option<Target> {
        let is_ipv6 = protocol == Some(network_info::Protocol::IPv6 as i32);
        u16::try_from(port).ok().map(|port| Target { port, is_ipv6 })
    }
}

/// The probe of one of a task's checks; `None` when it has none, or one that [`validate::task`] refuses.
pub fn probe(task: &TaskInfo, which: Which) -> Option<Probe> {
    match which {
        Which::Check => {
            let check = task.check.as_ref()?;
            match check.r#type() {
                check_info::Type::Command => Some(Probe::Command(check.command.as_ref()?.command.clone())),
                check_info::Type::Http => {
                    let http = check.http.as_ref()?;
                    Some(Probe::Http(Target::new(http.port, None)?, http::path(http.path())))
                }
                check_info::Type::Tcp => Some(Probe::Tcp(Target::new(check.tcp.as_ref()?.port, None)?)),
                check_info::Type::Unknown => None,
            }
        }
        Which::Health => {
            let check = task.health_check.as_ref()?;
            match check.r#type() {
                health_check::Type::Command => Some(Probe::Command(check.command.clone()?)),
                health_check::Type::Http => {
                    let http = check.http.as_ref()?;
                    let is_https = http.scheme() == "https";
                    let (target, path) = (Target::new(http.port, http.protocol)?, http::path(http.path()));
                    Some(if is_https { Probe::Https(target, path) } else { Probe::Http(target, path) })
                }
                health_check::Type::Tcp => {
                    let tcp = check.tcp.as_ref()?;
                    Some(Probe::Tcp(Target::new(tcp.port, tcp.protocol)?))
                }
                health_check::Type::Unknown => None,
            }
        }
    }
}

/// The words of curl for an HTTPS server, as Mesos has them but for `-q` (no configuration file) and `-m`: one in a guest is not ours to kill.
/// Prints `status=200`.
pub fn curl(target: Target, path: &str, seconds: Option<f64>) -> Vec<String> {
    let words = ["curl", "-q", "-s", "-S", "-L", "-k", "-w", "status=%{http_code}\\n", "-o", "/dev/null", "-g"];
    let limit = seconds.map(|seconds| ["-m".to_string(), format!("{seconds:.3}")]);
    let url = format!("https://{target}{path}");
    words.map(String::from).into_iter().chain(limit.into_iter().flatten()).chain(["--".to_string(), url]).collect()
}

/// How long a check may take, in seconds; `None`: as long as it likes.
pub fn timeout(task: &TaskInfo, which: Which) -> Option<f64> {
    let seconds = match which {
        Which::Check => task.check.as_ref()?.timeout_seconds(),
        Which::Health => task.health_check.as_ref()?.timeout_seconds(),
    };
    (seconds > 0.0).then_some(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::messages::mesos::HealthCheck;

    #[test]
    fn curl_is_given_one_url_and_no_option_of_a_framework_s() {
        let http = health_check::HttpCheckInfo {
            port: 8443,
            scheme: Some("https".into()),
            path: Some("/a b?-K /etc/x#y".into()),
            protocol: Some(network_info::Protocol::IPv6 as i32),
            ..Default::default()
        };
        let kind = Some(health_check::Type::Http as i32);
        let check = HealthCheck { r#type: kind, http: Some(http), timeout_seconds: Some(1.5), ..Default::default() };
        let task = TaskInfo { health_check: Some(check), ..Default::default() };
        let Some(Probe::Https(target, path)) = probe(&task, Which::Health) else { panic!("https") };
        let words = curl(target, &path, timeout(&task, Which::Health));
        assert_eq!(words[words.len() - 4..], ["-m", "1.500", "--", "https://[::1]:8443/a%20b?-K%20/etc/x"]);
        assert_eq!(probe(&task, Which::Check), None);
    }
}
