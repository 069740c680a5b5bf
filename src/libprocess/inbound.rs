//! Connections that others made to us: libprocess peers that send messages, and HTTP clients.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::net::{SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use super::connection::{Connection, Fate, Phase};
use super::guests::{self, Guests};
use super::http::{End, Headers, Response, encode_chunk, encode_head, encode_response};
use super::network::{ConnectionId, NetworkEvent};
use super::socket;
use crate::poll::{Interest, PollSet, earlier};

/// How long no connection is accepted when there are no descriptors or no memory for one.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);
/// Most connections accepted in one turn and listener.
const ACCEPT_PER_TURN: usize = 64;
/// A body from which on the total of [`Limits::held`] is looked at.
const LARGE: usize = 1024 * 1024;
/// An answer from which on the total of [`Limits::waiting`] is looked at; with the most connections smaller ones add up to as much.
const LARGE_ANSWER: usize = 64 * 1024;

/// What strangers may take of us.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Most connections at a time.
    pub connections: usize,
    /// Longest body of a message or request, in bytes.
    pub body: usize,
    /// Most bytes of unfinished requests in all connections together.
    pub held: usize,
    /// Most bytes that wait to be written on all connections together.
    pub waiting: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        let all = 256 * 1024 * 1024;
        Limits { connections: 4096, body: 64 * 1024 * 1024, held: all, waiting: all }
    }
}

/// All connections that others made to us, and the sockets on which they do.
#[derive(Debug, Default)]
pub struct Inbound {
    listeners: Vec<TcpListener>,
    connections: BTreeMap<ConnectionId, Connection>,
    /// Connections whose waiting bytes are to be looked at without more of them coming.
    resumed: BTreeSet<ConnectionId>,
    /// Events between two turns.
    pending: Vec<NetworkEvent>,
    paused: Option<Instant>,
    full: bool,
    next: u64,
    pub limits: Limits,
    /// Peers that may take a share only.
    pub guests: Option<Guests>,
}

impl Inbound {
    /// Listens on one more address.
    ///
    /// # Errors
    /// The address cannot be listened on.
    pub fn add_listener(&mut self, address: SocketAddrV4) -> std::io::Result<()> {
        self.listeners.push(socket::listen_on(address)?);
        Ok(())
    }

    /// The first listener's address.
    pub fn address(&self) -> Option<SocketAddrV4> {
        match self.listeners.first()?.local_addr() {
            Ok(SocketAddr::V4(address)) => Some(address),
            Ok(SocketAddr::V6(_)) | Err(_) => None,
        }
    }

    /// Answers the connection's request.
    pub fn respond(&mut self, id: ConnectionId, response: &Response, now: Instant) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        let Phase::Answering { asked, .. } = connection.phase else {
            log::warn!("an answer for {} that it did not ask for is dropped", connection.peer);
            return;
        };
        connection.phase = Connection::after_answer(asked.keep);
        let bytes = encode_response(response, asked.keep, asked.head_only);
        if connection.push(bytes, now) == Fate::Gone {
            self.remove(id);
        }
        self.shed(id);
        self.resumed.insert(id);
    }

    /// Begins an answer without a known end.
    pub fn open_stream(&mut self, id: ConnectionId, status: u16, headers: &Headers, now: Instant) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        let Phase::Answering { asked, left } = connection.phase else {
            return;
        };
        let (chunked, keep) = (asked.version_1_1, asked.version_1_1 && asked.keep);
        connection.phase = Phase::Streaming { chunked, keep };
        let end = if chunked { End::Chunks } else { End::Close };
        let pushed = connection.push(encode_head(status, headers, end, keep), now);
        // Its end was told before; once is enough.
        if pushed == Fate::Gone || left.is_some() {
            self.connections.remove(&id);
        }
    }

    /// Adds to an open stream; false when it is gone.
    pub fn write_stream(&mut self, id: ConnectionId, bytes: &[u8], now: Instant) -> bool {
        let Some(connection) = self.connections.get_mut(&id) else {
            return false;
        };
        let Phase::Streaming { chunked, .. } = connection.phase else {
            return false;
        };
        if bytes.is_empty() {
            return true;
        }
        let framed = if chunked { encode_chunk(bytes) } else { bytes.to_vec() };
        if connection.push(framed, now) == Fate::Gone {
            self.remove(id);
            return false;
        }
        self.shed(id);
        self.connections.contains_key(&id)
    }

    /// After something was added for one: when too much waits for all together, the one for whom most does goes.
    fn shed(&mut self, id: ConnectionId) {
        let large = self.connections.get(&id).is_some_and(|connection| connection.output.len() > LARGE_ANSWER);
        if !large || self.waiting() <= self.limits.waiting {
            return;
        }
        let most = self.connections.iter().max_by_key(|(_, connection)| connection.output.len());
        if let Some((id, peer)) = most.map(|(id, connection)| (*id, connection.peer)) {
            log::warn!("connection from {peer} dropped: too much waits for those who do not read what they asked for");
            self.remove(id);
        }
    }

    /// How many bytes wait to be written.
    pub fn waiting(&self) -> usize {
        self.connections.values().map(|connection| connection.output.len()).sum()
    }

    /// Ends an open stream.
    pub fn close_stream(&mut self, id: ConnectionId, now: Instant) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        let Phase::Streaming { chunked, keep } = connection.phase else {
            return;
        };
        connection.phase = Connection::after_answer(keep);
        if chunked && connection.push(b"0\r\n\r\n".to_vec(), now) == Fate::Gone {
            self.remove(id);
        }
        self.resumed.insert(id);
    }

    /// Drops a connection; who owes it an answer hears of it.
    fn remove(&mut self, id: ConnectionId) {
        if self.connections.remove(&id).is_some_and(|connection| connection.owes_an_answer()) {
            self.pending.push(NetworkEvent::Closed { connection: id });
        }
    }

    /// Adds all descriptors.
    pub fn register(&self, set: &mut PollSet) {
        if self.paused.is_none() {
            self.listeners.iter().for_each(|listener| set.add(listener.as_raw_fd(), Interest::Read));
        }
        for connection in self.connections.values() {
            if let Some(interest) = connection.interest() {
                set.add(connection.stream.as_raw_fd(), interest);
            }
        }
    }

    /// Whether something is to be done that no descriptor will tell.
    pub fn is_restless(&self) -> bool {
        !self.resumed.is_empty() || !self.pending.is_empty()
    }

    /// The next time at which a connection is dropped, or connections are accepted again.
    pub fn deadline(&self) -> Option<Instant> {
        self.connections.values().map(Connection::deadline).fold(self.paused, earlier)
    }

    /// Writes what can be written now.
    pub fn flush(&mut self, now: Instant) {
        let waiting = self.connections.iter().filter(|(_, connection)| !connection.output.is_empty());
        let ids: Vec<ConnectionId> = waiting.map(|(id, _)| *id).collect();
        for id in ids {
            let Some(connection) = self.connections.get_mut(&id) else {
                continue;
            };
            if connection.flush(now) == Fate::Gone {
                self.remove(id);
            }
            self.resumed.insert(id);
        }
    }

    /// Reads and writes what can be, takes new connections last: their descriptors may be ones that the set knows as others'.
    pub fn turn(&mut self, set: &PollSet, now: Instant, scratch: &mut [u8], events: &mut Vec<NetworkEvent>) {
        events.append(&mut self.pending);
        let resumed = std::mem::take(&mut self.resumed);
        let ids: Vec<ConnectionId> = self.connections.keys().copied().collect();
        for id in ids {
            if self.turn_one(id, resumed.contains(&id), set, now, scratch, events) == Fate::Gone {
                self.remove(id);
            }
        }
        events.append(&mut self.pending);
        self.accept(set, now);
    }

    fn turn_one(
        &mut self,
        id: ConnectionId,
        resumed: bool,
        set: &PollSet,
        now: Instant,
        scratch: &mut [u8],
        events: &mut Vec<NetworkEvent>,
    ) -> Fate {
        let Some(connection) = self.connections.get_mut(&id) else {
            return Fate::Stays;
        };
        let fd = connection.stream.as_raw_fd();
        let writable = !connection.output.is_empty() && set.is_writable(fd);
        let readable = connection.wants_read() && set.is_readable(fd);
        if writable || readable || resumed {
            let written = if writable { connection.flush(now) } else { Fate::Stays };
            let read = if readable { connection.read(scratch) } else { Fate::Stays };
            // What came before the connection broke counts.
            let parsed = connection.parse(id, now, events);
            if [written, read, parsed, connection.settle(id, now, events)].contains(&Fate::Gone) {
                return Fate::Gone;
            }
        }
        if connection.deadline().is_some_and(|deadline| deadline <= now) {
            log::debug!("connection from {} dropped: out of time", connection.peer);
            return Fate::Gone;
        }
        let (large, peer) = (connection.parser.held() > LARGE, connection.peer);
        if large && self.is_over_limit(peer) {
            return self.refuse_large(id, now);
        }
        Fate::Stays
    }

    fn is_guest(&self, peer: SocketAddr) -> bool {
        self.guests.is_some_and(|guests| guests.has_peer(peer))
    }

    /// Bytes of the unfinished requests of some peers.
    fn held_by(&self, whose: impl Fn(SocketAddr) -> bool) -> usize {
        self.connections.values().filter(|other| whose(other.peer)).map(|other| other.parser.held()).sum()
    }

    /// Too many bytes are held for all together or, by a guest, for all guests.
    fn is_over_limit(&self, peer: SocketAddr) -> bool {
        let guests = || self.held_by(|peer| self.is_guest(peer));
        self.held_by(|_| true) > self.limits.held || self.is_guest(peer) && guests() > self.limits.held / 2
    }

    /// Why a guest gets no further connection.
    fn exhausted(&self, peer: SocketAddr) -> Option<&'static str> {
        let count = |whose: &dyn Fn(SocketAddr) -> bool| {
            self.connections.values().filter(|connection| whose(connection.peer)).count()
        };
        if count(&|other| other.ip() == peer.ip()) >= guests::CONNECTIONS_EACH {
            return Some("it has its share of connections");
        }
        let full = count(&|other| self.is_guest(other)) >= self.limits.connections / 2;
        full.then_some("guests have their share of connections")
    }

    /// Too much is under way already: this one goes.
    fn refuse_large(&mut self, id: ConnectionId, now: Instant) -> Fate {
        let Some(connection) = self.connections.get_mut(&id) else {
            return Fate::Stays;
        };
        log::warn!(
            "request from {} refused: {} bytes of unfinished requests are the limit",
            connection.peer,
            self.limits.held
        );
        connection.dismiss(&Response::text(503, "too many large requests at a time, try again later\n"), now)
    }

    fn accept(&mut self, set: &PollSet, now: Instant) {
        if self.paused.is_some_and(|until| now >= until) {
            self.paused = None;
        }
        for at in 0..self.listeners.len() {
            if self.paused.is_none() && set.is_readable(self.listeners[at].as_raw_fd()) {
                self.accept_from(at, now);
            }
        }
    }

    fn accept_from(&mut self, at: usize, now: Instant) {
        for _ in 0..ACCEPT_PER_TURN {
            match self.listeners[at].accept() {
                Ok((stream, peer)) => self.admit(stream, peer, now),
                Err(error) if matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::Interrupted) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => {
                    log::warn!("no connection can be accepted, trying again in {ACCEPT_PAUSE:?}: {error}");
                    self.paused = Some(now + ACCEPT_PAUSE);
                    return;
                }
            }
        }
    }

    fn admit(&mut self, stream: TcpStream, peer: SocketAddr, now: Instant) {
        if self.connections.len() >= self.limits.connections {
            if !std::mem::replace(&mut self.full, true) {
                log::warn!(
                    "connection from {peer} closed: {} connections are open, which is the limit",
                    self.limits.connections
                );
            }
            return;
        }
        self.full = false;
        let is_guest = self.is_guest(peer);
        if let Some(why) = is_guest.then(|| self.exhausted(peer)).flatten() {
            return log::debug!("connection from the guest {peer} closed: {why}");
        }
        let body = if is_guest { self.limits.body.min(guests::BODY) } else { self.limits.body };
        let set_up = stream.set_nonblocking(true).and_then(|()| stream.set_nodelay(true));
        if set_up.and_then(|()| socket::notice_silence(&stream)).is_err() {
            return;
        }
        self.next += 1;
        self.connections.insert(ConnectionId(self.next), Connection::new(stream, peer, body, now));
    }

    /// How much the kernel holds of what is written, for connections to come: they take it from their listener.
    #[cfg(test)]
    pub fn set_kernel_buffer(&self, bytes: usize) {
        use nix::sys::socket::{setsockopt, sockopt::SndBuf};
        self.listeners.iter().for_each(|listener| setsockopt(listener, SndBuf, &bytes).expect("a buffer's size"));
    }

    /// Bytes of unfinished requests, of all peers.
    #[cfg(test)]
    pub fn unfinished(&self) -> usize {
        self.held_by(|_| true)
    }

    /// Memory of unfinished requests and of what waits to be written.
    #[cfg(test)]
    pub fn held(&self) -> usize {
        self.connections.values().map(|connection| connection.parser.capacity() + connection.output.len()).sum()
    }

    #[cfg(test)]
    pub fn idle_size() -> usize {
        size_of::<Connection>()
    }

    /// How many connections are open.
    #[cfg(test)]
    pub fn count(&self) -> usize {
        self.connections.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::socket::{getsockopt, sockopt};
    use std::net::Ipv4Addr;

    #[test]
    fn a_peer_that_is_gone_without_a_word_is_noticed() {
        let mut inbound = Inbound::default();
        inbound.add_listener(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)).expect("a listener");
        let _peer = TcpStream::connect(inbound.address().expect("an address")).expect("a connection");
        let mut set = PollSet::new();
        while inbound.count() == 0 {
            set.clear();
            inbound.register(&mut set);
            set.wait(None).expect("poll");
            inbound.turn(&set, Instant::now(), &mut [0; 1], &mut Vec::new());
        }
        let connection = inbound.connections.values().next().expect("a connection");
        assert_eq!(getsockopt(&connection.stream, sockopt::KeepAlive), Ok(true));
        assert_eq!(getsockopt(&connection.stream, sockopt::TcpKeepIdle), Ok(120));
    }
}
