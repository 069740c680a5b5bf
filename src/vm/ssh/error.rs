//! What ssh's failures mean for an operator.

use std::fmt;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use super::{LONGEST_CONTROL_PATH, NO_MASTER, Ssh};
use crate::subprocess::{Exit, JobEnd};
use crate::vm::launcher::LauncherError;

/// The exit status by which `ssh` says that it failed itself; all others are the remote command's.
const SSH_FAILED: i32 = 255;

/// Why ssh cannot be used as asked, or what it failed with.
#[derive(Debug)]
pub enum SshError {
    /// The user's name cannot be one.
    User(LauncherError),
    /// A path that ssh would take apart, or expand.
    Path(PathBuf),
    /// The control socket's path does not fit into a socket address.
    ControlPathTooLong(PathBuf),
    /// The guest took none of our keys.
    KeyRefused(PathBuf),
    /// The private key cannot be used: ssh's own words.
    KeyUnusable(PathBuf, String),
    /// The guest has another host key than the one that we know.
    HostKey(PathBuf),
    /// Nobody listens at the guest's port.
    Refused(Ipv4Addr),
    /// The guest did not answer.
    NoAnswer(Ipv4Addr),
    /// The connection was there and is no more.
    Lost(String),
    /// Our deadline came first.
    Deadline,
    /// ssh failed otherwise, or the remote command did: its last line.
    Other(String),
}

impl fmt::Display for SshError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SshError::User(error) => write!(f, "{error}"),
            SshError::Path(path) => write!(
                f,
                "ssh cannot use the path {path:?}: only letters, digits and '/._+,:@=-' may be in it; choose another directory or key"
            ),
            SshError::ControlPathTooLong(path) => write!(
                f,
                "the path {} is too long for a socket: {} bytes of at most {LONGEST_CONTROL_PATH}; choose a shorter --vm_dir",
                path.display(),
                path.as_os_str().len()
            ),
            SshError::KeyRefused(key) => {
                write!(
                    f,
                    "the guest refused the key {}; check --vm_ssh_user and --vm_ssh_key, or the image's provisioning",
                    key.display()
                )
            }
            SshError::KeyUnusable(key, line) => {
                write!(
                    f,
                    "ssh cannot use the key {} ({line}); it must be a private key without passphrase, with mode 0600",
                    key.display()
                )
            }
            SshError::HostKey(known_hosts) => write!(
                f,
                "the guest's host key is not the one in {}; another machine answers at its address, or the image ignored the key it was given",
                known_hosts.display()
            ),
            SshError::Refused(address) => {
                write!(f, "the guest at {address} refuses ssh connections; does its sshd run?")
            }
            SshError::NoAnswer(address) => write!(f, "the guest at {address} does not answer to ssh; see console.log"),
            SshError::Lost(line) => write!(f, "the ssh connection to the guest was lost ({line})"),
            SshError::Deadline => write!(f, "the guest did not answer over ssh by the deadline"),
            SshError::Other(line) => write!(f, "{line}"),
        }
    }
}

impl std::error::Error for SshError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            SshError::User(error) => Some(error),
            _ => None,
        }
    }
}

impl Ssh {
    /// Whether it was the remote command that ended like this, and not ssh.
    pub fn is_remote_end(&self, end: &JobEnd) -> bool {
        end.exit.is_some_and(|exit| !matches!(exit, Exit::Status(SSH_FAILED) | Exit::Signal(_)))
    }

    /// What a failed ssh means for an operator.
    pub fn failure(&self, end: &JobEnd) -> SshError {
        match end.exit {
            None => SshError::Deadline,
            Some(Exit::Status(SSH_FAILED)) => self.classify(&String::from_utf8_lossy(&end.stderr), end.reason()),
            Some(_) => SshError::Other(end.reason()),
        }
    }

    /// What ssh's own words mean. They are the same from OpenSSH 8.9 to 10; unknown ones are passed on.
    pub fn classify(&self, stderr: &str, last_line: String) -> SshError {
        let has = |words: &[&str]| words.iter().any(|word| stderr.contains(word));
        if has(&["UNPROTECTED PRIVATE KEY", "Load key", "invalid format", "no such identity", "not accessible"]) {
            let line =
                stderr.lines().find(|line| line.contains("key") || line.contains("dentity")).unwrap_or("").trim();
            SshError::KeyUnusable(self.key.clone(), line.to_string())
        } else if has(&["Host key verification failed", "HOST IDENTIFICATION HAS CHANGED", "host key is known"]) {
            SshError::HostKey(self.known_hosts.clone())
        } else if has(&["Permission denied (", "Too many authentication failures"]) {
            SshError::KeyRefused(self.key.clone())
        } else if has(&[NO_MASTER, "UNKNOWN port"]) {
            SshError::Lost("its master has ended".to_string())
        } else if has(&["kex_exchange"]) {
            SshError::NoAnswer(self.address)
        } else if has(&["mux_client", "Broken pipe", "Timeout, server", "closed by remote host", "not responding"]) {
            SshError::Lost(last_line)
        } else if has(&["Connection refused"]) {
            SshError::Refused(self.address)
        } else if has(&["timed out", "No route to host", "unreachable", "Connection closed", "Connection reset"]) {
            SshError::NoAnswer(self.address)
        } else {
            SshError::Other(last_line)
        }
    }
}
