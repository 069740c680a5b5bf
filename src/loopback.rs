//! Ports of loopback for tests. A port that was bound and let go is anybody's: another test, or any program of the machine, may
//! have got it before it is used.
// Each of the programs that take this file in uses a part of it.
#![allow(dead_code)]

use std::collections::BTreeSet;
use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicU16, Ordering};

use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, bind, getsockname, socket};

/// An address where nobody listens, and nobody will as long as this lives: it is bound, so a connection to it is refused.
#[derive(Debug)]
pub struct Nobody(OwnedFd);

impl Nobody {
    pub fn new() -> Nobody {
        let fd = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).expect("a socket");
        bind(fd.as_raw_fd(), &SockaddrIn::from(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0))).expect("bind");
        Nobody(fd)
    }

    pub fn address(&self) -> SocketAddrV4 {
        getsockname::<SockaddrIn>(self.0.as_raw_fd()).expect("its address").into()
    }

    pub fn port(&self) -> u16 {
        self.address().port()
    }
}

/// A port for a server that is another program, or that comes again: none of those that the kernel gives to whoever asks for any,
/// listeners and connections alike, and not asked for twice by this program.
pub fn port_for_a_server() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let given: Vec<u16> = range.split_whitespace().filter_map(|port| port.parse().ok()).collect();
    let (low, high) = (given.first().copied().unwrap_or(32768), given.get(1).copied().unwrap_or(60999));
    let others: Vec<u16> = (5000..=65000).filter(|port| !(low..=high).contains(port)).collect();
    assert!(!others.is_empty(), "the kernel gives all ports to whoever asks for any: {low} to {high}");
    // Looked up and not tried: a child that another test is just starting would hold what was tried for a moment.
    let taken = taken();
    // Other programs' tests begin elsewhere.
    let start = std::process::id() as usize * 97;
    for _ in 0..others.len() {
        let at = start + usize::from(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = others[at % others.len()];
        if !taken.contains(&port) {
            return port;
        }
    }
    panic!("no port is free outside of {low} to {high}");
}

/// The ports that sockets of this host have, whatever they do with them: the second column of `/proc/net/tcp`, `ADDRESS:PORT` in hexadecimal.
fn taken() -> BTreeSet<u16> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|table| fs::read_to_string(table).unwrap_or_default());
    let lines = tables.iter().flat_map(|table| table.lines().skip(1));
    lines.filter_map(|line| u16::from_str_radix(line.split_whitespace().nth(1)?.rsplit(':').next()?, 16).ok()).collect()
}
