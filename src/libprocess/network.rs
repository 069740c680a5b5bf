//! All connections of a program under one poll: [`Network::register`], wait, [`Network::turn`], and what happened comes as
//! events. Nothing here blocks, and no peer can make the others wait.
//!
//! ```text
//! loop {
//!     set.clear(); network.register(&mut set);
//!     set.wait(network.deadline())?;
//!     for event in network.turn(&set, Instant::now()) { ... }
//! }
//! ```

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::{Duration, Instant};

use super::client::Client;
use super::dialect::Dialect;
use super::guests::Guests;
use super::http::{Headers, Request, Response};
use super::inbound::Inbound;
use super::link::Links;
use super::pid::Pid;
use crate::poll::{PollSet, earlier};

/// How long a connect may take.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Bytes that are read at once.
const SCRATCH: usize = 64 * 1024;

/// A connection that somebody made to us. Never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(pub u64);

/// A request that we made. Never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(pub u64);

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NetworkEvent {
    /// A peer's program has shown which libprocess it is. Comes before the message that showed it, and only when it is news;
    /// an [`NetworkEvent::Exited`] makes it unknown again.
    Shown {
        /// Where the program listens.
        address: SocketAddrV4,
        /// What it is; never [`Dialect::Unknown`].
        dialect: Dialect,
    },
    /// A libprocess message. It is answered already.
    Message {
        /// The sender as it calls itself; nothing proves it but `peer`'s address.
        from: Pid,
        /// The receiver's id, for example `slave(1)`.
        to: String,
        /// The message's name, for example `mesos.internal.RunTaskMessage`.
        name: String,
        /// The message.
        body: Vec<u8>,
        /// The other end of the connection.
        peer: SocketAddr,
    },
    /// Any other HTTP request. It wants [`Network::respond`] or [`Network::open_stream`]; the connection's next request comes after that.
    Request {
        /// Where the answer goes.
        connection: ConnectionId,
        /// The request.
        request: Request,
        /// The other end of the connection.
        peer: SocketAddr,
    },
    /// A connection with an unanswered request or an open stream has ended.
    Closed {
        /// Which.
        connection: ConnectionId,
    },
    /// The connection of a linked peer broke or could not be made. The link is gone with it.
    Exited {
        /// The peer.
        pid: Pid,
    },
    /// The whole answer to [`Network::request`]. Nothing more comes for it.
    Response {
        /// Which.
        request: RequestId,
        /// The answer.
        response: Response,
    },
    /// The beginning of the answer to [`Network::request_stream`].
    StreamHead {
        /// Which.
        request: RequestId,
        /// The status code.
        status: u16,
        /// The header fields.
        headers: Headers,
    },
    /// A piece of that answer's body, without chunk framing.
    StreamData {
        /// Which.
        request: RequestId,
        /// The piece; its bounds mean nothing.
        bytes: Vec<u8>,
    },
    /// A stream ended, or a request of either kind failed. Nothing more comes for it.
    RequestEnded {
        /// Which.
        request: RequestId,
        /// What went wrong, for people; none if the answer is complete.
        error: Option<String>,
    },
}

/// All connections.
#[derive(Debug)]
pub struct Network {
    inbound: Inbound,
    links: Links,
    client: Client,
    scratch: Box<[u8]>,
    now: Instant,
}

impl Network {
    /// Listens on an address; port 0 means any free one.
    ///
    /// # Errors
    /// The address cannot be listened on.
    pub fn listen(address: SocketAddrV4) -> io::Result<Network> {
        let mut network = Network::client();
        network.add_listener(address)?;
        Ok(network)
    }

    /// Listens on one more address.
    ///
    /// # Errors
    /// The address cannot be listened on.
    pub fn add_listener(&mut self, address: SocketAddrV4) -> io::Result<()> {
        self.inbound.add_listener(address)
    }

    /// Listens nowhere: for a program that only asks.
    pub fn client() -> Network {
        let (inbound, links, client) = (Inbound::default(), Links::default(), Client::default());
        Network { inbound, links, client, scratch: vec![0; SCRATCH].into_boxed_slice(), now: Instant::now() }
    }

    /// The first listener's address; `0.0.0.0:0` without one.
    pub fn address(&self) -> SocketAddrV4 {
        self.inbound.address().unwrap_or(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0))
    }

    /// Longest body of a message or request that is taken, in bytes (64 MiB unless set); holds for connections made from now on.
    pub fn set_max_body(&mut self, bytes: usize) {
        self.inbound.limits.body = bytes;
    }

    /// Most connections that others may hold to us at a time (4096 unless set).
    pub fn set_max_connections(&mut self, count: usize) {
        self.inbound.limits.connections = count;
    }

    /// Peers that may take a share only, of which no one keeps the others out.
    pub fn set_guests(&mut self, guests: Option<Guests>) {
        self.inbound.guests = guests;
    }

    /// Sends a message, in order with all others to that peer's address and in its dialect. What waits on a connection that
    /// breaks is lost. It is written in the next turn, or by [`Network::flush`].
    pub fn send(&mut self, from: &Pid, to: &Pid, name: &str, body: &[u8], now: Instant) {
        self.links.send(from, to, name, body, now);
    }

    /// Watches a peer, over a connection that is made if there is none: [`NetworkEvent::Exited`] comes once, when it breaks or cannot
    /// be made; then the peer can be linked again.
    pub fn link(&mut self, to: &Pid, now: Instant) {
        self.links.link(to, now);
    }

    /// Which libprocess the program at that address has shown to be.
    pub fn dialect(&self, address: SocketAddrV4) -> Dialect {
        self.links.dialects.of(address)
    }

    /// Watches a peer no longer. Its connection stays.
    pub fn unlink(&mut self, to: &Pid) {
        self.links.unlink(to);
    }

    /// Answers the connection's request. An answer for a connection that is gone is dropped.
    pub fn respond(&mut self, connection: ConnectionId, response: Response) {
        self.inbound.respond(connection, &response, self.now);
    }

    /// Begins an answer without a known end. It never idles out.
    pub fn open_stream(&mut self, connection: ConnectionId, status: u16, headers: Headers) {
        self.inbound.open_stream(connection, status, &headers, self.now);
    }

    /// Sends bytes on an open stream, as one chunk; false when the connection is gone, or goes since the peer does not read.
    pub fn write_stream(&mut self, connection: ConnectionId, bytes: &[u8]) -> bool {
        self.inbound.write_stream(connection, bytes, self.now)
    }

    /// Ends an open stream.
    pub fn close_stream(&mut self, connection: ConnectionId) {
        self.inbound.close_stream(connection, self.now);
    }

    /// Asks for a whole answer: [`NetworkEvent::Response`] or, on failure, [`NetworkEvent::RequestEnded`] comes, exactly one of them.
    pub fn request(&mut self, to: SocketAddrV4, request: Request, timeout: Duration, now: Instant) -> RequestId {
        self.client.request(to, &request, timeout, now)
    }

    /// Asks for an answer as it comes, over a connection of its own and without a time limit once it is connected.
    pub fn request_stream(&mut self, to: SocketAddrV4, request: Request, now: Instant) -> RequestId {
        self.client.request_stream(to, &request, now)
    }

    /// Forgets a request: its connection is closed and nothing more comes for it.
    pub fn cancel(&mut self, request: RequestId) {
        self.client.cancel(request);
    }

    /// Writes what can be written without waiting. Optional before a wait, where it saves a turn; wanted before a program exits.
    pub fn flush(&mut self) {
        self.inbound.flush(self.now);
        self.links.flush();
    }

    /// Adds all descriptors.
    pub fn register(&self, set: &mut PollSet) {
        self.inbound.register(set);
        self.links.register(set);
        self.client.register(set);
    }

    /// Reads and writes what can be, and says what happened, in order for each connection.
    pub fn turn(&mut self, set: &PollSet, now: Instant) -> Vec<NetworkEvent> {
        self.now = now;
        let mut events = Vec::new();
        self.links.turn(set, now, &mut self.scratch, &mut events);
        self.client.turn(set, now, &mut self.scratch, &mut events);
        let mut heard = Vec::new();
        self.inbound.turn(set, now, &mut self.scratch, &mut heard);
        let links = &mut self.links;
        heard.retain(|event| match event {
            NetworkEvent::Shown { address, dialect } => links.learn(*address, *dialect),
            _ => true,
        });
        events.append(&mut heard);
        events
    }

    /// When [`Network::turn`] is due even if no descriptor is ready; a time that has passed if it is due at once.
    pub fn deadline(&self) -> Option<Instant> {
        let restless = self.inbound.is_restless() || self.links.is_restless() || self.client.is_restless();
        let at_once = restless.then_some(self.now);
        [self.inbound.deadline(), self.links.deadline(), self.client.deadline()].into_iter().fold(at_once, earlier)
    }

    /// Most bytes of unfinished requests in all connections together (256 MiB unless set).
    #[cfg(test)]
    pub fn set_max_held(&mut self, bytes: usize) {
        self.inbound.limits.held = bytes;
    }

    /// Most bytes that may wait to be written, for all links together and for all answers together (256 MiB each unless set).
    #[cfg(test)]
    pub fn set_max_waiting(&mut self, bytes: usize) {
        self.links.max_waiting = bytes;
        self.inbound.limits.waiting = bytes;
    }

    /// How many bytes wait to be written, on links and as answers.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> (usize, usize) {
        (self.links.waiting(), self.inbound.waiting())
    }

    /// How much the kernel holds, in bytes, of what is on its way to those who connect from now on.
    #[cfg(test)]
    pub(super) fn set_kernel_buffer(&self, bytes: usize) {
        self.inbound.set_kernel_buffer(bytes);
    }

    /// How many bytes of unfinished requests have come.
    #[cfg(test)]
    pub(super) fn unfinished(&self) -> usize {
        self.inbound.unfinished()
    }

    /// How much memory is taken by unfinished requests and answers that wait, in bytes.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.inbound.held()
    }

    /// What a connection between two requests takes, in bytes.
    #[cfg(test)]
    pub(super) fn idle_size() -> usize {
        Inbound::idle_size()
    }

    /// How many connections others hold to us, and how many of ours wait for another request.
    #[cfg(test)]
    pub(super) fn counts(&self) -> (usize, usize) {
        (self.inbound.count(), self.client.idle_count())
    }
}
