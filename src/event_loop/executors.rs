//! The executors' side of the shell: their calls over HTTP and their drivers' messages come in, events and messages go out. What comes from
//! a guest is taken only as its own executor's word.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use crate::api::executor::{self, Parsed};
use crate::api::v1::{self, Format, Posted, Refusal};
use crate::libprocess::{ConnectionId, Headers, Pid, Request, Response, recordio};
use crate::messages::mesos::executor::Call;
use crate::slave::executor::{FromExecutor, Speaker, Standing, ToExecutor, Via};
use crate::slave::{Event, Slave};
use crate::token::{self, Claims};

use super::EventLoop;

/// How often a subscription is sent a heartbeat (`DEFAULT_EXECUTOR_HEARTBEAT_INTERVAL` in Mesos' `src/slave/constants.hpp`).
const HEARTBEAT: Duration = Duration::from_secs(30 * 60);

/// The subscriptions of v1 executors.
#[derive(Debug, Default)]
pub struct Streams {
    open: BTreeMap<ConnectionId, Stream>,
}

#[derive(Debug)]
struct Stream {
    format: Format,
    heartbeat_at: Instant,
}

impl Streams {
    /// When a heartbeat is due.
    pub fn deadline(&self) -> Option<Instant> {
        self.open.values().map(|stream| stream.heartbeat_at).min()
    }

    /// A connection has ended.
    pub fn closed(&mut self, connection: ConnectionId) {
        self.open.remove(&connection);
    }
}

/// The IPv4 address of a peer.
fn ipv4(peer: SocketAddr) -> Option<Ipv4Addr> {
    match peer.ip() {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(address) => address.to_ipv4_mapped(),
    }
}

/// Whether an executor that speaks from there may do what it wants to.
fn admitted(
    slave: &Slave,
    call: &Call,
    peer: Ipv4Addr,
    claims: Option<&Claims>,
    subscribes: bool,
) -> Result<Speaker, Refusal> {
    let (framework, executor) = executor::caller(call, |framework| slave.has_framework(framework))?;
    if let (Some(claims), Some(container)) = (claims, slave.container_of(&framework, &executor)) {
        let (framework, executor, container) = (framework.to_string(), executor.to_string(), container.to_string());
        if let Some(why) = token::contradiction(claims, &framework, &executor, &container) {
            return Err((403, why));
        }
    }
    match slave.standing(&framework, &executor, peer) {
        Standing::NoFramework => Err(executor::no_framework()),
        Standing::NoExecutor => Err(executor::no_executor()),
        Standing::Elsewhere => Err(executor::another()),
        Standing::Unregistered if !subscribes => Err(executor::not_subscribed()),
        Standing::Unregistered | Standing::Registered => Ok(Speaker { framework, executor, via: Via::Http(None) }),
    }
}

impl EventLoop {
    /// Whether a peer is a guest of ours, which may speak for its own executor and for nobody else.
    pub(super) fn is_guest(&self, peer: SocketAddr) -> bool {
        let Some(address) = ipv4(peer) else { return false };
        self.guests.is_some_and(|guests| guests.has(address)) || self.slave.is_guest(address)
    }

    /// A request to the executor API.
    pub(super) fn executor_request(&mut self, connection: ConnectionId, request: &Request, peer: SocketAddr) {
        let claims = match self.authenticated(request) {
            Ok(claims) => claims,
            Err(challenge) => {
                log::debug!("a call to the executor API from {peer} is refused: {challenge}");
                let refusal = Response::text(401, "401 Unauthorized.").with("WWW-Authenticate", &challenge);
                return self.network.respond(connection, refusal);
            }
        };
        if let Err(refusal) = self.executor_call(connection, request, peer, claims.as_ref()) {
            log::debug!("a call to the executor API from {peer} is refused: {}", refusal.1);
            self.network.respond(connection, v1::refuse(refusal));
        }
    }

    /// What a request's token says, where one is needed. It is asked for before anything else of the request is looked at, as in Mesos.
    fn authenticated(&self, request: &Request) -> Result<Option<Claims>, String> {
        let config = self.slave.config();
        match &config.token_key {
            Some(key) if config.authenticate_executors => {
                key.authenticate(request.headers.get("Authorization"), super::now().unix).map(Some)
            }
            _ => Ok(None),
        }
    }

    fn executor_call(
        &mut self,
        connection: ConnectionId,
        request: &Request,
        peer: SocketAddr,
        claims: Option<&Claims>,
    ) -> Result<(), Refusal> {
        let peer = ipv4(peer).unwrap_or(Ipv4Addr::UNSPECIFIED);
        let accepted = || Response::new(202);
        match executor::parse(&Posted::of(request))? {
            Parsed::Heartbeat => self.network.respond(connection, accepted()),
            Parsed::Call(call) => {
                let speaker = admitted(&self.slave, &call, peer, claims, false)?;
                let message = FromExecutor::of_call(*call).ok_or_else(executor::unknown)?;
                self.network.respond(connection, accepted());
                self.deliver(Event::Executor { speaker, message });
            }
            Parsed::Subscribe(call, format) => {
                let speaker = admitted(&self.slave, &call, peer, claims, true)?;
                let headers = Headers::new().with("Content-Type", format.media_type());
                self.network.open_stream(connection, 200, headers);
                let heartbeat_at = Instant::now() + HEARTBEAT;
                self.streams.open.insert(connection, Stream { format, heartbeat_at });
                if let Some(message) = FromExecutor::of_call(*call) {
                    let speaker = Speaker { via: Via::Http(Some(connection)), ..speaker };
                    self.deliver(Event::Executor { speaker, message });
                }
            }
        }
        Ok(())
    }

    /// A message of an executor's driver; false if its name is no driver's.
    pub(super) fn driver_message(&mut self, from: &Pid, name: &str, body: &[u8], peer: SocketAddr) -> bool {
        let (speaker, message) = match FromExecutor::of_driver(from, name, body) {
            Ok(None) => return false,
            Ok(Some(said)) => said,
            Err(error) => {
                self.complaints.warn(Instant::now(), &format!("dropped {name} from {from}: {error}"));
                return true;
            }
        };
        let address = ipv4(peer).unwrap_or(Ipv4Addr::UNSPECIFIED);
        // A guest that names somebody else's address as its own would have us speak to them.
        let lies = self.is_guest(peer) && *from.address.ip() != address;
        let is_elsewhere = match self.slave.standing(&speaker.framework, &speaker.executor, address) {
            Standing::Elsewhere => true,
            // One that registers, and is nobody here, is told to end. Of nobody a guest has nothing else to say.
            Standing::NoFramework | Standing::NoExecutor => self.is_guest(peer) && !message.is_greeting(),
            Standing::Unregistered | Standing::Registered => false,
        };
        if lies || is_elsewhere {
            let line = format!("dropped {name} from {peer}, which speaks as {from}: it is not that executor's address");
            self.complaints.warn(Instant::now(), &line);
            return true;
        }
        self.deliver(Event::Executor { speaker, message });
        true
    }

    /// Says something to an executor.
    pub(super) fn tell_executor(&mut self, via: &Via, message: &ToExecutor) {
        match via {
            Via::Driver(pid) => {
                let Some(outgoing) = message.to_driver(self.network.dialect(pid.address)) else { return };
                let from = self.slave.config().executor_pid.clone();
                self.network.send(&from, pid, &outgoing.name, &outgoing.body, Instant::now());
            }
            Via::Http(Some(connection)) => {
                if let Some(event) = message.to_event() {
                    self.write_event(*connection, &event);
                }
            }
            Via::Http(None) | Via::Default => {}
        }
    }

    fn write_event(&mut self, connection: ConnectionId, event: &crate::messages::mesos::executor::Event) {
        let Some(stream) = self.streams.open.get(&connection) else {
            let line = "dropped an event for an executor: its subscription has ended, and it has not subscribed again";
            return self.complaints.warn(Instant::now(), line);
        };
        match executor::encode(stream.format, event) {
            Ok(record) => {
                if !self.network.write_stream(connection, &recordio::encode(&record)) {
                    self.streams.closed(connection);
                }
            }
            Err(error) => log::error!("cannot put an event into its v1 form: {error}"),
        }
    }

    /// Ends a subscription.
    pub(super) fn hang_up(&mut self, connection: ConnectionId) {
        self.streams.closed(connection);
        self.network.close_stream(connection);
    }

    /// Sends the heartbeats that are due.
    pub(super) fn heartbeats(&mut self, now: Instant) {
        let due: Vec<ConnectionId> =
            self.streams.open.iter().filter(|(_, stream)| stream.heartbeat_at <= now).map(|(id, _)| *id).collect();
        for connection in due {
            if let Some(stream) = self.streams.open.get_mut(&connection) {
                stream.heartbeat_at = now + HEARTBEAT;
            }
            self.write_event(connection, &executor::heartbeat());
        }
    }
}
