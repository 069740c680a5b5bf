//! Whether a guest's sshd answers yet: a TCP connection and the first bytes of its greeting, tried again and again for next to
//! nothing, before a whole ssh handshake is spent on it. The greeting is only looked at: ssh gets the connection (see `handover`).
//!
//! ```text
//! Pausing ──▶ Connecting ──▶ Reading ──▶ Answered
//!    ▲            │ refused,     │ closed,
//!    └────────────┴ too slow ────┘ too slow
//! ```

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, connect, socket};

use crate::poll::{Interest, PollSet};

/// Between two tries. A guest boots in seconds; a twentieth of one is not noticed, and costs one packet.
const PAUSE: Duration = Duration::from_millis(50);
/// A connect that takes longer has lost its packet to an interface that was coming up: a new one sends a new packet at once,
/// where the kernel would wait a second.
const CONNECT: Duration = Duration::from_millis(250);
/// An emulated guest needs a second or two to start the sshd that greets.
const GREETING: Duration = Duration::from_secs(10);

/// Tries until sshd greets. What it still lacks for being usable, ssh will find out.
#[derive(Debug)]
pub struct BannerProbe {
    address: SocketAddrV4,
    state: State,
    last: String,
}

#[derive(Debug)]
enum State {
    Pausing { until: Instant },
    Connecting { stream: TcpStream, until: Instant },
    Reading { stream: TcpStream, until: Instant },
    Answered { stream: TcpStream },
    Spent,
}

impl BannerProbe {
    /// Tries at once.
    pub fn new(address: Ipv4Addr, port: u16, now: Instant) -> BannerProbe {
        let address = SocketAddrV4::new(address, port);
        BannerProbe { address, state: State::Pausing { until: now }, last: "no answer".to_string() }
    }

    /// Waits in the set for what comes next.
    pub fn register(&self, set: &mut PollSet) {
        match &self.state {
            State::Connecting { stream, .. } => set.add(stream.as_raw_fd(), Interest::Write),
            State::Reading { stream, .. } => set.add(stream.as_raw_fd(), Interest::Read),
            State::Pausing { .. } | State::Answered { .. } | State::Spent => {}
        }
    }

    /// When [`BannerProbe::turn`] must be called even if nothing happens.
    pub fn deadline(&self) -> Option<Instant> {
        match &self.state {
            State::Pausing { until } | State::Connecting { until, .. } | State::Reading { until, .. } => Some(*until),
            State::Answered { .. } | State::Spent => None,
        }
    }

    /// How the last try ended, for the message when the boot's deadline comes.
    pub fn last_failure(&self) -> &str {
        &self.last
    }

    /// Goes on; true when sshd has greeted.
    pub fn turn(&mut self, set: &PollSet, now: Instant) -> bool {
        self.state = match std::mem::replace(&mut self.state, State::Spent) {
            answered @ (State::Answered { .. } | State::Spent) => answered,
            State::Pausing { until } if now < until => State::Pausing { until },
            State::Pausing { .. } => match begin(self.address) {
                Ok(stream) => State::Connecting { stream, until: now + CONNECT },
                Err(error) => self.pause(error.to_string(), now),
            },
            State::Connecting { stream, until } if set.is_writable(stream.as_raw_fd()) => match stream.take_error() {
                Ok(None) => State::Reading { stream, until: now + GREETING.max(until.saturating_duration_since(now)) },
                Ok(Some(error)) | Err(error) => self.pause(error.to_string(), now),
            },
            State::Reading { stream, until } if set.is_readable(stream.as_raw_fd()) => match greeting(&stream) {
                Ok(true) => State::Answered { stream },
                Ok(false) => State::Reading { stream, until },
                Err(error) => self.pause(error.to_string(), now),
            },
            State::Connecting { until, .. } if now >= until => self.pause("no answer".to_string(), now),
            State::Reading { until, .. } if now >= until => {
                self.pause("connected, but no ssh greeting came".to_string(), now)
            }
            waiting @ (State::Connecting { .. } | State::Reading { .. }) => waiting,
        };
        matches!(self.state, State::Answered { .. })
    }

    /// The connection that sshd has greeted on; the greeting is still to be read.
    pub fn into_connection(self) -> Option<TcpStream> {
        match self.state {
            State::Answered { stream } => Some(stream),
            State::Pausing { .. } | State::Connecting { .. } | State::Reading { .. } | State::Spent => None,
        }
    }

    fn pause(&mut self, failure: String, now: Instant) -> State {
        self.last = failure;
        State::Pausing { until: now + PAUSE }
    }
}

/// A connect that has begun.
fn begin(address: SocketAddrV4) -> io::Result<TcpStream> {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let fd: OwnedFd = socket(AddressFamily::Inet, SockType::Stream, flags, None)?;
    match connect(fd.as_raw_fd(), &SockaddrIn::from(address)) {
        Ok(()) | Err(Errno::EINPROGRESS) => Ok(TcpStream::from(fd)),
        Err(error) => Err(error.into()),
    }
}

/// Whether the greeting has begun; an error when it is none, or the peer closed before.
fn greeting(stream: &TcpStream) -> io::Result<bool> {
    let mut bytes = [0u8; 4];
    match stream.peek(&mut bytes) {
        Ok(0) => Err(io::Error::other("connected, but closed without an ssh greeting")),
        // sshd writes its greeting at once, and four bytes never come in parts; a peer that says anything else is no sshd.
        Ok(count) if b"SSH-".starts_with(&bytes[..count]) => Ok(true),
        Ok(_) => Err(io::Error::other("something else than an sshd listens there")),
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loopback::Nobody;
    use std::io::Write;
    use std::net::TcpListener;

    /// Turns until it answers or has failed `failures` times.
    fn probe_of(port: u16, failures: usize) -> Result<(), Vec<String>> {
        let mut probe = BannerProbe::new(Ipv4Addr::LOCALHOST, port, Instant::now());
        let (mut set, mut seen) = (PollSet::new(), vec![]);
        while seen.len() < failures {
            let before = matches!(probe.state, State::Pausing { .. });
            if probe.turn(&set, Instant::now()) {
                return Ok(());
            }
            if !before && matches!(probe.state, State::Pausing { .. }) {
                seen.push(probe.last_failure().to_string());
            }
            set.clear();
            probe.register(&mut set);
            set.wait(probe.deadline()).expect("poll");
        }
        Err(seen)
    }

    /// Answers with the next of these, and with the last from then on: a slow machine may have given up a connection.
    fn serve(answers: &'static [&'static [u8]]) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").expect("listen");
        let port = listener.local_addr().expect("address").port();
        std::thread::spawn(move || {
            let last = answers.iter().cycle().skip(answers.len() - 1).step_by(answers.len());
            for (answer, peer) in answers.iter().chain(last).zip(listener.incoming()) {
                let _ = peer.expect("accept").write_all(answer);
            }
        });
        port
    }

    #[test]
    fn a_greeting_is_an_answer_after_peers_that_close_or_are_no_sshd() {
        assert_eq!(probe_of(serve(&[b"", b"HTTP/1.0 400\r\n", b"SSH-2.0-OpenSSH_9.2\r\n"]), 100), Ok(()));
    }

    #[test]
    fn a_refused_connection_is_tried_again_and_named() {
        let nobody = Nobody::new();
        let failures = probe_of(nobody.port(), 2).expect_err("nobody listens");
        assert!(failures.iter().all(|failure| failure.contains("refused")), "{failures:?}");
    }

    #[test]
    fn a_peer_that_says_nothing_is_left_at_its_deadline() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("listen");
        let start = Instant::now();
        let mut probe = BannerProbe::new(Ipv4Addr::LOCALHOST, listener.local_addr().expect("address").port(), start);
        let mut set = PollSet::new();
        while !matches!(probe.state, State::Reading { .. }) {
            assert!(!probe.turn(&set, start));
            set.clear();
            probe.register(&mut set);
            set.wait(Some(Instant::now() + Duration::from_secs(5))).expect("poll");
        }
        set.clear();
        assert!(!probe.turn(&set, start + GREETING + CONNECT));
        assert_eq!(probe.last_failure(), "connected, but no ssh greeting came");
    }
}
