//! PIDs: the address of a libprocess process, `<id>@<IPv4 address>:<port>`.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::str::FromStr;

/// Longest id, in bytes.
const MAX_ID: usize = 255;

/// Longest text of a PID: the id, `@`, and the longest IPv4 address with a port.
const MAX_TEXT: usize = MAX_ID + 1 + 21;

/// The name of a process and where it listens.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pid {
    /// The name within its program, for example `slave(1)`.
    pub id: String,
    /// Where the program listens.
    pub address: SocketAddrV4,
}

/// Why a text is no PID.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PidError {
    /// Longer than any PID.
    TooLong(usize),
    /// No `@` between id and address.
    NoAt(String),
    /// An id that is empty, too long, or has a character that a request's path cannot hold.
    Id(String),
    /// A host that is no IPv4 address.
    Host(String),
    /// A port that is no number from 1 to 65535.
    Port(String),
}

impl fmt::Display for PidError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PidError::TooLong(length) => {
                write!(f, "a pid must not be longer than {MAX_TEXT} bytes, this one has {length}")
            }
            PidError::NoAt(text) => write!(f, "{text:?} is no pid, write it as id@address:port"),
            PidError::Id(id) => {
                write!(
                    f,
                    "{id:?} cannot be the id of a pid, use 1 to {MAX_ID} printable ASCII characters without / ? # % @"
                )
            }
            PidError::Host(host) => write!(f, "{host:?} is no IPv4 address, a pid needs the number, not a host name"),
            PidError::Port(port) => write!(f, "{port:?} is no port of a pid, use a number from 1 to 65535"),
        }
    }
}

impl std::error::Error for PidError {}

impl fmt::Display for Pid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.id, self.address)
    }
}

impl FromStr for Pid {
    type Err = PidError;

    fn from_str(text: &str) -> Result<Pid, PidError> {
        if text.len() > MAX_TEXT {
            return Err(PidError::TooLong(text.len()));
        }
        let Some((id, address)) = text.split_once('@') else {
            return Err(PidError::NoAt(text.to_string()));
        };
        if !is_id(id) {
            return Err(PidError::Id(id.to_string()));
        }
        let Some((host, port)) = address.split_once(':') else {
            return Err(PidError::Port(String::new()));
        };
        let host = Ipv4Addr::from_str(host).map_err(|_| PidError::Host(host.to_string()))?;
        Ok(Pid { id: id.to_string(), address: SocketAddrV4::new(host, parse_port(port)?) })
    }
}

/// Decimal digits only: `u16`'s own parser would take a sign.
fn parse_port(text: &str) -> Result<u16, PidError> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse::<u16>() {
        Ok(port) if digits && port != 0 => Ok(port),
        _ => Err(PidError::Port(text.to_string())),
    }
}

/// Whether a text can be an id: it stands unescaped in a request's path and in a header.
pub fn is_id(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_graphic() && !b"/?#%@".contains(&byte);
    !text.is_empty() && text.len() <= MAX_ID && text.bytes().all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pid_is_read_and_written_alike() {
        for text in ["slave(1)@127.0.0.1:5051", "master@10.0.0.1:5050", "2@1.2.3.4:1", "scheduler-5e1f@127.0.0.1:65535"]
        {
            assert_eq!(text.parse::<Pid>().map(|pid| pid.to_string()), Ok(text.to_string()));
        }
    }

    #[test]
    fn a_host_name_is_refused_by_name() {
        let error = "master@localhost:5050".parse::<Pid>().unwrap_err();
        assert_eq!(error, PidError::Host("localhost".to_string()));
        assert!(error.to_string().contains("not a host name"));
    }

    #[test]
    fn what_is_no_pid_is_refused() {
        let long = format!("{}@1.2.3.4:5", "x".repeat(256));
        for text in [
            "",
            "@",
            "master",
            "@1.2.3.4:5",
            "a@1.2.3.4",
            "a@1.2.3.4:",
            "a@1.2.3.4:0",
            "a@1.2.3.4:65536",
            "a@1.2.3.4:+5",
        ] {
            assert!(text.parse::<Pid>().is_err(), "{text:?}");
        }
        for text in
            ["a b@1.2.3.4:5", "a/b@1.2.3.4:5", "a\r\n@1.2.3.4:5", "a%41@1.2.3.4:5", "a@b@1.2.3.4:5", "a@[::1]:5", &long]
        {
            assert!(text.parse::<Pid>().is_err(), "{text:?}");
        }
    }
}
