//! TCP sockets that never block: listen, connect, read. All are closed on exec and send small messages at once.

use std::io::{self, ErrorKind, Read};
use std::net::{SocketAddrV4, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrIn, bind, connect, listen, setsockopt, socket, sockopt,
};

/// Most bytes that are read of one peer in one turn, so that a fast one does not starve the others.
const READ_PER_TURN: usize = 256 * 1024;

/// After so long without a byte the kernel asks a peer whether it is there.
const IDLE: Duration = Duration::from_secs(120);
/// So much later it asks again.
const PROBE: Duration = Duration::from_secs(30);
/// After so many questions without an answer it is gone: a guest that only stood still for some minutes is not.
const PROBES: u32 = 10;

/// A listening socket; port 0 means any free one.
///
/// # Errors
/// What `socket`, `bind` and `listen` give.
pub fn listen_on(address: SocketAddrV4) -> io::Result<TcpListener> {
    let fd = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC, None)?;
    setsockopt(&fd, sockopt::ReuseAddr, &true)?;
    bind(fd.as_raw_fd(), &SockaddrIn::from(address))?;
    listen(&fd, Backlog::new(1024)?)?;
    Ok(TcpListener::from(fd))
}

/// Begins a connection. It is made when the socket can be written; see [`finish_connect`].
///
/// # Errors
/// What `socket` and `connect` give at once; most failures come later.
pub fn begin_connect(address: SocketAddrV4) -> io::Result<TcpStream> {
    let fd = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC, None)?;
    match connect(fd.as_raw_fd(), &SockaddrIn::from(address)) {
        Ok(()) | Err(Errno::EINPROGRESS) => {}
        Err(error) => return Err(error.into()),
    }
    let stream = TcpStream::from(fd);
    stream.set_nodelay(true)?;
    notice_silence(&stream)?;
    Ok(stream)
}

/// How long the peer may leave bytes unacknowledged before the connection breaks.
///
/// # Errors
/// What `setsockopt` gives.
pub fn give_up_after(stream: &TcpStream, time: Duration) -> io::Result<()> {
    setsockopt(stream, sockopt::TcpUserTimeout, &(time.as_millis() as u32)).map_err(io::Error::from)
}

/// A peer that is gone without a word, like a virtual machine that was destroyed, is noticed, and its connection breaks.
///
/// # Errors
/// What `setsockopt` gives.
pub fn notice_silence(stream: &TcpStream) -> io::Result<()> {
    setsockopt(stream, sockopt::KeepAlive, &true)?;
    setsockopt(stream, sockopt::TcpKeepIdle, &(IDLE.as_secs() as u32))?;
    setsockopt(stream, sockopt::TcpKeepInterval, &(PROBE.as_secs() as u32))?;
    setsockopt(stream, sockopt::TcpKeepCount, &PROBES).map_err(io::Error::from)
}

/// What became of a connect, once the socket seems writable; false if it is still under way.
///
/// # Errors
/// Why there is no connection. A socket that reached itself, which happens on loopback when nobody listens, has none either.
pub fn finish_connect(stream: &TcpStream) -> io::Result<bool> {
    if let Some(error) = stream.take_error()? {
        return Err(error);
    }
    let peer = match stream.peer_addr() {
        Err(error) if error.kind() == ErrorKind::NotConnected => return Ok(false),
        peer => peer?,
    };
    if stream.local_addr()? == peer {
        return Err(ErrorKind::ConnectionRefused.into());
    }
    Ok(true)
}

/// What a read of everything that is there found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// The peer may send more.
    Open,
    /// The peer sends no more.
    Ended,
}

/// Hands all bytes that are there, up to a limit, to `take`.
///
/// # Errors
/// What the read gives, except that there is nothing to read.
pub fn read_all(mut stream: &TcpStream, scratch: &mut [u8], mut take: impl FnMut(&[u8])) -> io::Result<Reading> {
    let mut total = 0;
    while total < READ_PER_TURN {
        match stream.read(scratch) {
            Ok(0) => return Ok(Reading::Ended),
            Ok(count) => {
                take(&scratch[..count]);
                total += count;
                if count < scratch.len() {
                    return Ok(Reading::Open);
                }
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Reading::Open),
            Err(error) => return Err(error),
        }
    }
    Ok(Reading::Open)
}

/// Whether a connection that nobody reads is still good: open, and without bytes that nobody asked for.
pub fn is_idle(stream: &TcpStream) -> bool {
    matches!(stream.peek(&mut [0]), Err(error) if error.kind() == ErrorKind::WouldBlock)
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::socket::getsockopt;
    use std::net::{Ipv4Addr, SocketAddr};

    #[test]
    fn a_connection_of_ours_to_a_peer_that_is_gone_without_a_word_breaks() {
        let listener = listen_on(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)).expect("a listener");
        let Ok(SocketAddr::V4(address)) = listener.local_addr() else { panic!("an IPv4 address") };
        let stream = begin_connect(address).expect("a connection");
        assert_eq!(getsockopt(&stream, sockopt::KeepAlive), Ok(true));
    }
}
