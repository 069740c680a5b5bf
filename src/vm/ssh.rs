//! The system's `ssh`, towards one guest: its command lines, and what its failures mean.
//!
//! One connection per VM, the master, is made in the foreground by [`Ssh::master`]; its life is the connection's life. All else
//! ([`Ssh::run`]) is a session in it, through the control socket: 0.07 s instead of a handshake's 0.7 s. A session
//! never makes a connection of its own: without the master it fails at once.
//!
//! Nothing of the host's configuration, agent or environment takes part.

mod error;

use std::ffi::{OsStr, OsString};
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::process::Stdio;

pub use self::error::SshError;
use crate::subprocess::Spawn;

use super::handover;
use super::launcher::check_user;
use super::quote::quote;

/// Longest path of the control socket: `sun_path` has 108 bytes, and ssh first binds to the path with 17 more and then renames.
pub const LONGEST_CONTROL_PATH: usize = 90;

/// What a session says when its master is gone: ssh's own words for a proxy that ends at once vary with the timing.
const NO_MASTER: &str = "no-master-connection";

/// The word of [`Ssh::forward`] that is to be replaced by the port's address.
pub const FORWARD_TARGET: &str = "@target@";

/// What a forwarding ssh says, under `-v`, when the guest has made the connection (`mux_client_request_stdio_fwd`, OpenSSH 5.4 to 10).
pub const FORWARDED: &str = "master session id: ";

/// What it says when the guest has not.
pub const NOT_FORWARDED: &str = "forwarding request failed";

/// What every ssh of ours is told. Cheap key exchange first: the post-quantum one that OpenSSH prefers costs a second in a guest that
/// is emulated; `^` keeps the others behind it.
const OPTIONS: [&str; 23] = [
    "BatchMode=yes",
    "IdentitiesOnly=yes",
    "IdentityAgent=none",
    "PreferredAuthentications=publickey",
    "PasswordAuthentication=no",
    "GlobalKnownHostsFile=/dev/null",
    "CheckHostIP=no",
    "UpdateHostKeys=no",
    "HashKnownHosts=no",
    "KexAlgorithms=^curve25519-sha256,curve25519-sha256@libssh.org",
    "AddressFamily=inet",
    "ConnectTimeout=10",
    "ConnectionAttempts=1",
    "ServerAliveInterval=5",
    "ServerAliveCountMax=6",
    "ForwardAgent=no",
    "ForwardX11=no",
    "ClearAllForwardings=yes",
    "PermitLocalCommand=no",
    "Compression=no",
    "EscapeChar=none",
    "ControlPersist=no",
    "LogLevel=ERROR",
];

/// How to reach one guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ssh {
    /// The guest's address.
    pub address: Ipv4Addr,
    /// Its port; 22 but in tests.
    pub port: u16,
    /// Who logs in.
    pub user: String,
    /// The private key.
    pub key: PathBuf,
    /// This VM's own known_hosts file.
    pub known_hosts: PathBuf,
    /// The name under which the guest's key is in it, whatever its address.
    pub alias: String,
    /// The master's socket.
    pub control_path: PathBuf,
    /// The guest's host key is known beforehand. Otherwise the first one that comes is taken, and must stay.
    pub strict: bool,
}

impl Ssh {
    /// Checks what ssh would otherwise refuse in words that help nobody, or take for something else.
    ///
    /// # Errors
    /// [`SshError::User`], [`SshError::Path`], [`SshError::ControlPathTooLong`].
    pub fn check(&self) -> Result<(), SshError> {
        check_user(&self.user).map_err(SshError::User)?;
        for path in [&self.key, &self.known_hosts, &self.control_path] {
            let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"/._+,:@=-".contains(byte);
            if !path.is_absolute() || !path.as_os_str().as_bytes().iter().all(plain) {
                return Err(SshError::Path(path.clone()));
            }
        }
        if self.control_path.as_os_str().len() > LONGEST_CONTROL_PATH {
            return Err(SshError::ControlPathTooLong(self.control_path.clone()));
        }
        Ok(())
    }

    /// The connection: a foreground `ssh -M`. It prints `ready <boot_id>` when the guest can be used (see [`parse_ready`]), and ends when the
    /// connection does, or when its input is closed. Input, output and errors are pipes. With a script, its session runs that next;
    /// what it prints and `ended <status>` follow. With a connection to the guest's sshd, it uses that one.
    pub fn master(&self, script: Option<&str>, connection: Option<&TcpStream>) -> Spawn {
        let script = script.map(|script| format!("({script}); echo \"ended $?\"; ")).unwrap_or_default();
        let remote =
            format!("read -r boot </proc/sys/kernel/random/boot_id; echo \"ready $boot\"; {script}exec cat >/dev/null");
        let mut master = vec![OsString::from("-o"), OsString::from("ControlMaster=yes")];
        if let Some(connection) = connection {
            master.extend(handover::options(connection, self.address, self.port));
        }
        let stdio = |command: &mut std::process::Command| {
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        };
        spawn(&self.arguments(&master, Some(&posix(&remote)))).with(stdio)
    }

    /// A session in the master's connection that runs a script under the guest's `/bin/sh`.
    pub fn run(&self, script: &str) -> Spawn {
        spawn(&self.session(script))
    }

    /// The same as root: as it is when ssh's user is root, else by `sudo`, which must not ask for a password. Input stays the script's.
    pub fn run_as_root(&self, script: &str) -> Spawn {
        self.run(&as_root(script))
    }

    /// The words of a session, `ssh` first, for who starts it elsewhere.
    pub fn session(&self, script: &str) -> Vec<OsString> {
        self.arguments(&Ssh::through_master(), Some(&posix(script)))
    }

    /// The words of an ssh whose input and output are a connection, made in the guest through the master's connection, to [`FORWARD_TARGET`].
    pub fn forward(&self) -> Vec<OsString> {
        let forward = [OsString::from("-W"), OsString::from(FORWARD_TARGET)];
        self.arguments(&[Ssh::through_master().as_slice(), &forward].concat(), None)
    }

    /// A session that finds no master would connect by itself; a proxy that only says so keeps it from that.
    fn through_master() -> [OsString; 4] {
        let proxy = format!("ProxyCommand=sh -c 'echo {NO_MASTER} >&2'");
        ["-o", "ControlMaster=no", "-o", &proxy].map(OsString::from)
    }

    fn arguments(&self, extra: &[OsString], remote: Option<&str>) -> Vec<OsString> {
        let mut words: Vec<OsString> = ["ssh", "-F", "/dev/null", "-T", "-a", "-x"].map(OsString::from).to_vec();
        let option = |name: &str, value: &OsStr| {
            let mut text = OsString::from(format!("{name}="));
            text.push(value);
            [OsString::from("-o"), text]
        };
        words.extend(OPTIONS.iter().flat_map(|option| [OsString::from("-o"), OsString::from(option)]));
        words.extend(option("StrictHostKeyChecking", OsStr::new(if self.strict { "yes" } else { "accept-new" })));
        words.extend(option("HostKeyAlias", OsStr::new(&self.alias)));
        words.extend(option("UserKnownHostsFile", self.known_hosts.as_os_str()));
        words.extend(option("ControlPath", self.control_path.as_os_str()));
        words.extend_from_slice(extra);
        words.extend([OsString::from("-i"), self.key.clone().into_os_string()]);
        words.extend(
            ["-p", &self.port.to_string(), "-l", &self.user, "--", &self.address.to_string()].map(OsString::from),
        );
        words.extend(remote.map(OsString::from));
        words
    }
}

/// A program with ssh's environment: nothing of ours but `PATH`. What is not said otherwise is neither input nor output.
fn spawn(words: &[OsString]) -> Spawn {
    let (program, arguments) =
        words.split_first().map_or((OsStr::new("ssh"), words), |(first, rest)| (first.as_os_str(), rest));
    Spawn::new(program).with(|command| {
        clean_environment(command);
        command.args(arguments);
    })
}

/// Leaves a command no environment but `PATH`, a home that does not exist, and plain English for [`Ssh::classify`].
pub fn clean_environment(command: &mut std::process::Command) {
    let path = std::env::var_os("PATH").unwrap_or(OsString::from("/usr/sbin:/usr/bin:/sbin:/bin"));
    command.env_clear().env("PATH", path).env("HOME", "/nonexistent").env("LC_ALL", "C").current_dir("/");
}

/// A script that runs another one as root. Input and output are the other one's.
pub fn as_root(script: &str) -> String {
    let word = quote(script);
    format!("if [ \"$(id -u)\" = 0 ]; then exec /bin/sh -c {word}; else exec sudo -n /bin/sh -c {word}; fi")
}

/// sshd hands the command to the user's login shell, whichever that is: it is only to start `/bin/sh`.
fn posix(script: &str) -> String {
    format!("exec /bin/sh -c {}", quote(script))
}

/// The boot id in the master's first line.
pub fn parse_ready(line: &str) -> Option<&str> {
    let boot_id = line.trim_end().strip_prefix("ready ")?;
    let is_id = |byte: u8| byte.is_ascii_hexdigit() || byte == b'-';
    (boot_id.len() <= 64 && !boot_id.is_empty() && boot_id.bytes().all(is_id)).then_some(boot_id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::subprocess::{Exit, JobEnd};

    fn guest() -> Ssh {
        Ssh {
            address: Ipv4Addr::new(192, 168, 122, 7),
            port: 22,
            user: "root".into(),
            key: "/var/lib/mesos-slave/vms/c/key".into(),
            known_hosts: "/var/lib/mesos-slave/vms/c/known_hosts".into(),
            alias: "mesos-c".into(),
            control_path: "/var/lib/mesos-slave/vms/c/ssh".into(),
            strict: true,
        }
    }

    fn failed(stderr: &str) -> String {
        let end = JobEnd { exit: Some(Exit::Status(255)), stdout: vec![], stderr: stderr.as_bytes().to_vec() };
        guest().failure(&end).to_string()
    }

    #[test]
    fn a_session_takes_nothing_from_the_host_and_makes_no_connection() {
        let words: Vec<String> =
            guest().session("echo 'a b'").into_iter().map(|word| word.into_string().expect("utf-8")).collect();
        assert_eq!(words[..3], ["ssh", "-F", "/dev/null"]);
        for option in [
            "IdentityAgent=none",
            "StrictHostKeyChecking=yes",
            "HostKeyAlias=mesos-c",
            "ProxyCommand=sh -c 'echo no-master-connection >&2'",
            "LogLevel=ERROR",
        ] {
            assert!(words.windows(2).any(|pair| pair == ["-o", option]), "{option} is missing in {words:?}");
        }
        let tail = ["-l", "root", "--", "192.168.122.7", "exec /bin/sh -c 'echo '\\''a b'\\'''"];
        assert_eq!(words[words.len() - 5..], tail);
    }

    #[test]
    fn an_unknown_host_key_is_taken_once_and_never_changed() {
        let words = Ssh { strict: false, ..guest() }.session("true");
        assert!(words.contains(&OsString::from("StrictHostKeyChecking=accept-new")));
    }

    #[test]
    fn a_path_that_does_not_fit_or_that_ssh_would_expand_is_refused() {
        assert!(guest().check().is_ok());
        let long = Ssh { control_path: format!("/{}", "x".repeat(90)).into(), ..guest() };
        assert!(matches!(long.check(), Err(SshError::ControlPathTooLong(_))));
        for bad in ["/a b", "/%h", "/${HOME}", "/~x", "relative", "/a\"b"] {
            assert!(matches!(Ssh { key: bad.into(), ..guest() }.check(), Err(SshError::Path(_))), "{bad}");
        }
        assert!(matches!(Ssh { user: "-oProxyCommand=x".into(), ..guest() }.check(), Err(SshError::User(_))));
    }

    #[test]
    fn what_ssh_says_is_told_in_an_operators_words() {
        assert!(
            failed("root@192.168.122.7: Permission denied (publickey).\r\n")
                .starts_with("the guest refused the key /var/lib")
        );
        assert!(failed("No ED25519 host key is known for mesos-c and you have requested strict checking.\r\nHost key verification failed.\r\n").contains("host key is not the one"));
        assert!(
            failed("ssh: connect to host 192.168.122.7 port 22: Connection refused\r\n")
                .contains("refuses ssh connections")
        );
        assert!(
            failed("ssh: connect to host 192.168.122.7 port 22: Connection timed out\r\n").contains("does not answer")
        );
        assert!(
            failed(
                "kex_exchange_identification: Connection closed by remote host\r\nConnection closed by 192.168.122.7 port 22\r\n"
            )
            .contains("does not answer")
        );
        assert!(failed("Connection closed by UNKNOWN port 65535\r\n").contains("was lost"));
        assert!(failed("Timeout, server 192.168.122.7 not responding.\r\n").contains("was lost"));
        assert!(
            failed("Load key \"/k\": error in libcrypto\r\nroot@192.168.122.7: Permission denied (publickey).")
                .contains("error in libcrypto")
        );
        assert_eq!(failed("something new\n"), "something new");
        let end = JobEnd {
            exit: Some(Exit::Status(1)),
            stdout: vec![],
            stderr: b"Permission denied (said the command)\n".to_vec(),
        };
        assert!(matches!(guest().failure(&end), SshError::Other(_)), "the remote command's words are not ssh's");
    }

    #[test]
    fn only_a_ready_line_is_one() {
        assert_eq!(parse_ready("ready 0b1c\n"), Some("0b1c"));
        assert_eq!(parse_ready("Welcome\n"), None);
        assert_eq!(parse_ready("ready \n"), None);
        assert_eq!(parse_ready("ready \x1b[2J\n"), None);
    }
}

#[cfg(test)]
#[path = "ssh_tests.rs"]
mod real;
