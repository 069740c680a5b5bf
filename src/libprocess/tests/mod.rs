//! Scenarios of the whole room: captures of real Mesos, networks that talk over loopback, and peers that misbehave.

mod client;
mod dialects;
mod golden;
mod malformed;
mod messages;
mod server;

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, bind, connect, setsockopt, socket, sockopt};

use super::network::{Network, NetworkEvent};
use super::pid::Pid;
use crate::poll::{Interest, PollSet, earlier};

/// A test that has not come to its end by then fails.
const PATIENCE: Duration = Duration::from_secs(120);
/// How often a test looks again at what no descriptor tells.
const LOOK: Duration = Duration::from_millis(50);

/// What the kernel is to hold of bytes on their way, where a test depends on how much it holds. It may hold twice as much.
const NARROW: usize = 64 * 1024;

fn any_port() -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)
}

fn listen() -> Network {
    Network::listen(any_port()).expect("a listener")
}

fn pid(id: &str, network: &Network) -> Pid {
    Pid { id: id.to_string(), address: network.address() }
}

/// Turns the networks until `step` says that it is done; it gets each network with what happened there.
fn until(networks: &mut [&mut Network], step: impl FnMut(usize, &mut Network, Vec<NetworkEvent>) -> bool) {
    until_with(networks, &[], step);
}

/// The same, woken also by bytes for the plain sockets of the test. What else a test looks at may change unseen: a connection that
/// a listener has got, bytes that the kernel still carries. So no turn waits for long.
fn until_with(
    networks: &mut [&mut Network],
    plain: &[&TcpStream],
    mut step: impl FnMut(usize, &mut Network, Vec<NetworkEvent>) -> bool,
) {
    let end = Instant::now() + PATIENCE;
    let mut set = PollSet::new();
    // The first turn does not wait: what `step` is after may be there already.
    let mut first = Some(Instant::now());
    loop {
        set.clear();
        plain.iter().for_each(|socket| set.add(socket.as_raw_fd(), Interest::Read));
        networks.iter().for_each(|network| network.register(&mut set));
        let deadline = networks
            .iter()
            .map(|network| network.deadline())
            .fold(earlier(first.take(), Some(Instant::now() + LOOK)), earlier);
        set.wait(deadline).expect("poll");
        for (at, network) in networks.iter_mut().enumerate() {
            let events = network.turn(&set, Instant::now());
            if step(at, network, events) {
                return;
            }
        }
        assert!(Instant::now() < end, "the scenario did not come to its end");
    }
}

/// One turn at an invented time, in which no descriptor is ready.
fn turn_at(network: &mut Network, now: Instant) -> Vec<NetworkEvent> {
    network.turn(&PollSet::new(), now)
}

/// A peer without a `Network`: plain bytes.
struct Plain {
    socket: TcpStream,
    seen: Vec<u8>,
    ended: bool,
}

impl Plain {
    fn connect(to: SocketAddrV4) -> Plain {
        Plain::new(TcpStream::connect(to).expect("a connection"))
    }

    /// One for which the kernel holds next to nothing that it has not read.
    fn connect_narrow(to: SocketAddrV4) -> Plain {
        let socket = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).expect("a socket");
        setsockopt(&socket, sockopt::RcvBuf, &NARROW).expect("a small buffer");
        connect(socket.as_raw_fd(), &SockaddrIn::from(to)).expect("connect");
        Plain::new(TcpStream::from(socket))
    }

    /// From another address of loopback's.
    fn connect_from(from: Ipv4Addr, to: SocketAddrV4) -> Plain {
        let socket = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).expect("a socket");
        bind(socket.as_raw_fd(), &SockaddrIn::from(SocketAddrV4::new(from, 0))).expect("bind");
        connect(socket.as_raw_fd(), &SockaddrIn::from(to)).expect("connect");
        Plain::new(TcpStream::from(socket))
    }

    fn new(socket: TcpStream) -> Plain {
        socket.set_nonblocking(true).expect("non-blocking");
        Plain { socket, seen: Vec::new(), ended: false }
    }

    /// For what fits into the kernel's buffers, however small they are.
    fn write(&mut self, bytes: &[u8]) {
        self.socket.write_all(bytes).expect("written");
    }

    /// Takes what is there.
    fn read(&mut self) {
        let mut scratch = vec![0; 64 * 1024];
        loop {
            match self.socket.read(&mut scratch) {
                Ok(0) => self.ended = true,
                Ok(count) => self.seen.extend_from_slice(&scratch[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) => self.ended = true,
            }
            if self.ended || !matches!(self.socket.peek(&mut [0]), Ok(1..)) {
                return;
            }
        }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.seen).into_owned()
    }
}
