//! The embedded master's shell: sockets, signals and the clock become events of the core, its actions become messages.
//!
//! ```text
//!   GET  /health /version /state / ──► answered here, from the core's state
//!   POST /api/v1/scheduler ──► calls::parse ──► Core ──► answer, or a stream of RecordIO records
//!   libprocess messages    ───────────────────► Core ──► libprocess messages
//! ```

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, Write};
use std::net::SocketAddrV4;
use std::os::fd::AsRawFd;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use nix::sys::signal::Signal;
use serde_json::json;

use super::calls::{self, Format, Parsed, Posted};
use super::core::{Action, Core, Event, Identity, Peer};
use super::{Options, state};
use crate::libprocess::pid::Pid;
use crate::libprocess::{ConnectionId, Headers, Network, NetworkEvent, Request, Response, recordio};
use crate::poll::{Interest, PollSet, Signals, earlier};
use crate::random::Random;

/// Longest body of a call or a message, in bytes.
const MAX_BODY: usize = 8 * 1024 * 1024;
/// Most connections at a time: a slave or two, and the schedulers of one machine.
const MAX_CONNECTIONS: usize = 1024;

const ABOUT: &str = "This is the embedded master of mesos-slave.\n\
It is for one machine and for tests: no high availability, no authentication, no fair sharing.\n\n\
  GET  /health           whether it lives\n\
  GET  /version          whose protocol it speaks\n\
  GET  /state            its slaves, frameworks and tasks\n\
  GET  /slaves, /frameworks\n\
                         parts of it\n\
  GET  /redirect         to the master that leads: to itself\n\
  POST /api/v1/scheduler the scheduler API of Mesos, version 1\n";

/// The master as a process.
pub(super) struct Shell {
    network: Network,
    signals: Signals,
    random: Random,
    core: Core,
    /// Schedulers' streams and the form of their events.
    streams: BTreeMap<Peer, Format>,
    exit_with_parent: bool,
}

impl Shell {
    /// Blocks the signals and listens.
    pub(super) fn new(options: &Options) -> io::Result<Shell> {
        let signals = Signals::block(&[Signal::SIGTERM, Signal::SIGINT])?;
        let mut network = listen(options.address)?;
        network.set_max_body(MAX_BODY);
        network.set_max_connections(MAX_CONNECTIONS);
        let mut random = Random::from_system()?;
        let address = network.address();
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let identity = Identity {
            id: random.uuid_text(),
            address,
            hostname: hostname(address),
            started: Instant::now(),
            started_wall: wall.as_secs_f64(),
        };
        log::info!(
            "the embedded master {} listens on {address}, speaking the protocol of Mesos {}",
            identity.id,
            super::VERSION
        );
        log::info!("the embedded master is for one machine: no high availability, no authentication, no fair sharing");
        let core = Core::new(identity);
        Ok(Shell {
            network,
            signals,
            random,
            core,
            streams: BTreeMap::new(),
            exit_with_parent: options.exit_with_parent,
        })
    }

    /// Says on standard output where it listens, for whoever started it.
    pub(super) fn announce(&self) -> io::Result<()> {
        let mut stdout = io::stdout().lock();
        writeln!(stdout, "listening on {}", self.network.address())?;
        stdout.flush()
    }

    /// Serves until a signal, or until standard input ends if that is wanted.
    pub(super) fn run(&mut self) -> io::Result<()> {
        let mut set = PollSet::new();
        while self.step(&mut set)? {}
        self.network.flush();
        Ok(())
    }

    /// Waits and does what is to be done then; false if it was told to end.
    fn step(&mut self, set: &mut PollSet) -> io::Result<bool> {
        let stdin = io::stdin().as_raw_fd();
        set.clear();
        set.add(self.signals.fd(), Interest::Read);
        if self.exit_with_parent {
            set.add(stdin, Interest::Read);
        }
        self.network.register(set);
        set.wait(earlier(self.core.deadline(), self.network.deadline()))?;
        if let Some(signal) = self.signals.next()? {
            log::info!("ending on {signal}");
            return Ok(false);
        }
        if self.exit_with_parent && set.is_readable(stdin) && stdin_has_ended() {
            log::info!("ending, since standard input has: whoever started this master is gone");
            return Ok(false);
        }
        self.turn(set);
        Ok(true)
    }

    fn turn(&mut self, set: &PollSet) {
        let now = Instant::now();
        for event in self.network.turn(set, now) {
            self.take(event, now);
        }
        if self.core.deadline().is_some_and(|deadline| deadline <= now) {
            self.give(Event::Tick, now);
        }
    }

    fn take(&mut self, event: NetworkEvent, now: Instant) {
        match event {
            NetworkEvent::Message { from, to, name, body, .. } => {
                self.give(Event::Message { from, to, name, body }, now)
            }
            NetworkEvent::Exited { pid } => self.give(Event::Exited { pid }, now),
            NetworkEvent::Request { connection, request, .. } => self.request(connection, &request, now),
            NetworkEvent::Closed { connection } => {
                let peer = Peer(connection.0);
                self.streams.remove(&peer);
                self.give(Event::Closed { peer }, now);
            }
            // This master asks nobody for anything, and speaks as 1.x does.
            NetworkEvent::Shown { .. }
            | NetworkEvent::Response { .. }
            | NetworkEvent::StreamHead { .. }
            | NetworkEvent::StreamData { .. }
            | NetworkEvent::RequestEnded { .. } => {}
        }
    }

    fn request(&mut self, connection: ConnectionId, request: &Request, now: Instant) {
        let path = request.path.strip_prefix("/master").unwrap_or(&request.path);
        if path == "/api/v1/scheduler" {
            return self.scheduler_call(connection, request, now);
        }
        let response = match (request.method.as_str(), path.strip_suffix(".json").unwrap_or(path)) {
            ("GET", "/health") => Response::new(200),
            ("GET", "/version") => Response::ok_json(state::version().to_string()),
            ("GET", "/state") => Response::ok_json(self.core.state().to_string()),
            ("GET" | "HEAD", "/redirect") => redirect(self.network.address()),
            ("GET", "/slaves") => Response::ok_json(json!({ "slaves": self.core.state()["slaves"] }).to_string()),
            ("GET", "/frameworks") => {
                let state = self.core.state();
                let [frameworks, completed] = ["frameworks", "completed_frameworks"].map(|key| &state[key]);
                Response::ok_json(json!({ "frameworks": frameworks, "completed_frameworks": completed }).to_string())
            }
            ("GET", "" | "/") => Response::text(200, ABOUT),
            ("GET", _) => {
                Response::text(404, format!("The embedded master does not have {path}; see / for what it has.\n"))
            }
            _ => not_allowed("GET", &request.method),
        };
        self.network.respond(connection, response);
    }

    fn scheduler_call(&mut self, connection: ConnectionId, request: &Request, now: Instant) {
        let peer = Peer(connection.0);
        let stream_id = request.headers.get("Mesos-Stream-Id");
        match calls::parse(&Posted::of(request)) {
            Ok(Parsed::Subscribe(subscribe, format)) => {
                self.streams.insert(peer, format);
                let stream_id = self.random.uuid_text();
                self.give(Event::Subscribe { peer, subscribe, stream_id }, now);
            }
            Ok(Parsed::Call(call)) => {
                let stream_id = stream_id.map(str::to_owned);
                self.give(Event::Call { peer, stream_id, call }, now);
            }
            Err(refusal) => self.network.respond(connection, calls::refuse(refusal)),
        }
    }

    /// Gives the core an event, and what follows from carrying out its actions.
    fn give(&mut self, event: Event, now: Instant) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            for action in self.core.handle(event, now) {
                events.extend(self.carry_out(action, now));
            }
        }
    }

    fn carry_out(&mut self, action: Action, now: Instant) -> Option<Event> {
        match action {
            Action::Send { from, to, name, body } => {
                let from = Pid { id: from, address: self.network.address() };
                self.network.send(&from, &to, &name, &body, now);
            }
            Action::Link { to } => self.network.link(&to, now),
            Action::Unlink { to } => self.network.unlink(&to),
            Action::Answer { peer, status: 202, .. } => self.network.respond(ConnectionId(peer.0), Response::new(202)),
            Action::Answer { peer, status, text } => {
                self.network.respond(ConnectionId(peer.0), Response::text(status, text))
            }
            Action::Open { peer, stream_id } => {
                let format = self.streams.get(&peer)?;
                let headers =
                    Headers::new().with("Content-Type", format.media_type()).with("Mesos-Stream-Id", stream_id);
                self.network.open_stream(ConnectionId(peer.0), 200, headers);
            }
            Action::Event { peer, event } => return self.write(peer, &event),
            Action::Close { peer } => {
                self.streams.remove(&peer);
                self.network.close_stream(ConnectionId(peer.0));
            }
        }
        None
    }

    /// Writes an event to a stream; a stream that cannot be written to is closed.
    fn write(&mut self, peer: Peer, event: &crate::messages::mesos::scheduler::Event) -> Option<Event> {
        let record = match self.streams.get(&peer)?.encode(calls::EVENT, event) {
            Ok(record) => record,
            Err(error) => {
                log::error!("cannot write an event to a scheduler: {error}");
                return None;
            }
        };
        if self.network.write_stream(ConnectionId(peer.0), &recordio::encode(&record)) {
            return None;
        }
        self.streams.remove(&peer);
        Some(Event::Closed { peer })
    }
}

/// Listens where it is wanted, or on a free port if that one is taken.
fn listen(wanted: SocketAddrV4) -> io::Result<Network> {
    match Network::listen(wanted) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            log::warn!("port {} is taken: listening on a free one", wanted.port());
            Network::listen(SocketAddrV4::new(*wanted.ip(), 0))
        }
        result => result,
    }
}

fn hostname(address: SocketAddrV4) -> String {
    if address.ip().is_loopback() {
        return "localhost".into();
    }
    let name = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
    name.unwrap_or_else(|| address.ip().to_string())
}

/// Whether the other end of standard input is gone; what is written to it is thrown away.
fn stdin_has_ended() -> bool {
    let mut buffer = [0u8; 512];
    !matches!(
        nix::unistd::read(io::stdin(), &mut buffer),
        Ok(1..) | Err(nix::errno::Errno::EINTR | nix::errno::Errno::EAGAIN)
    )
}

/// To the leader, as any master of Mesos answers: a URL without a scheme. This one leads always.
fn redirect(address: SocketAddrV4) -> Response {
    Response::new(307).with("Location", format!("//{address}"))
}

fn not_allowed(allowed: &str, method: &str) -> Response {
    Response::text(405, format!("Expecting one of {{ '{allowed}' }}, but received '{method}'")).with("Allow", allowed)
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::{Ipv4Addr, TcpStream};

    use super::*;
    use crate::messages::mesos::scheduler::{Call, call, event};
    use crate::messages::{self, mesos};

    /// A test that has not come to its end by then fails.
    const PATIENCE: std::time::Duration = std::time::Duration::from_secs(120);

    /// A master on a free port of loopback; the test is its loop.
    fn shell() -> Shell {
        let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0);
        Shell::new(&Options { address, exit_with_parent: false }).expect("a port")
    }

    fn ask(shell: &Shell, method: &str, path: &str, headers: &str, body: &str) -> TcpStream {
        let mut stream = TcpStream::connect(shell.network.address()).expect("connect");
        stream.set_nonblocking(true).expect("non-blocking");
        let length = body.len();
        let request = format!("{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n{headers}\r\n{body}");
        stream.write_all(request.as_bytes()).expect("write");
        stream
    }

    /// As [`Shell::step`], woken by what comes for the test as well: the kernel may still carry it when the master has nothing to do.
    fn step(shell: &mut Shell, set: &mut PollSet, ours: Option<&TcpStream>, end: Instant) {
        assert!(Instant::now() < end, "what was to come has not");
        set.clear();
        shell.network.register(set);
        ours.into_iter().for_each(|stream| set.add(stream.as_raw_fd(), Interest::Read));
        let deadline = earlier(shell.core.deadline(), shell.network.deadline());
        set.wait(earlier(deadline, Some(end))).expect("poll");
        shell.turn(set);
    }

    /// Runs the master until what has come contains a text.
    fn await_text(shell: &mut Shell, stream: &mut TcpStream, wanted: &str) -> String {
        let (mut text, mut buffer, mut set) = (String::new(), [0u8; 4096], PollSet::new());
        let end = Instant::now() + PATIENCE;
        while !text.contains(wanted) {
            step(shell, &mut set, Some(stream), end);
            shell.network.flush();
            match stream.read(&mut buffer) {
                Ok(0) => panic!("closed after {text:?}"),
                Ok(length) => text.push_str(&String::from_utf8_lossy(&buffer[..length])),
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
            }
        }
        text
    }

    #[test]
    fn people_can_ask_what_it_is_and_what_it_has() {
        let mut shell = shell();
        for (path, wanted) in [
            ("/", "no high availability"),
            ("/health", "200 OK"),
            ("/version", r#""version":"1.11.0""#),
            ("/master/state", r#""frameworks":[]"#),
            ("/state.json", r#""slaves":[]"#),
            ("/master/redirect", "Location: //127.0.0.1:"),
            ("/slaves", r#"{"slaves":[]}"#),
            ("/master/frameworks", r#""completed_frameworks":[]"#),
            ("/nothing", "404 Not Found"),
        ] {
            let mut stream = ask(&shell, "GET", path, "", "");
            await_text(&mut shell, &mut stream, wanted);
        }
        let mut stream = ask(&shell, "POST", "/state", "", "");
        await_text(&mut shell, &mut stream, "405 Method Not Allowed");
    }

    #[test]
    fn a_scheduler_subscribes_calls_and_is_forgotten_when_it_hangs_up() {
        let mut shell = shell();
        let json = "Content-Type: application/json\r\nAccept: application/json\r\n";
        let subscribe = r#"{"type":"SUBSCRIBE","subscribe":{"framework_info":{"user":"root","name":"f"}}}"#;
        let mut stream = ask(&shell, "POST", "/master/api/v1/scheduler", json, subscribe);
        let head = await_text(&mut shell, &mut stream, r#"{"type":"HEARTBEAT"}"#);
        assert!(head.starts_with("HTTP/1.1 200 OK"));
        let stream_id =
            head.lines().find_map(|line| line.strip_prefix("Mesos-Stream-Id: ")).expect("stream id").to_owned();
        let id = shell.core.frameworks.keys().next().cloned().expect("a framework");
        let call = format!(r#"{{"type":"REVIVE","framework_id":{{"value":"{id}"}}}}"#);
        let mut answer = ask(&shell, "POST", "/api/v1/scheduler", json, &call);
        await_text(&mut shell, &mut answer, "400 Bad Request");
        let mut answer =
            ask(&shell, "POST", "/api/v1/scheduler", &format!("{json}Mesos-Stream-Id: {stream_id}\r\n"), &call);
        await_text(&mut shell, &mut answer, "202 Accepted");
        drop(stream);
        let (mut set, end) = (PollSet::new(), Instant::now() + PATIENCE);
        while !shell.core.frameworks.is_empty() {
            step(&mut shell, &mut set, None, end);
        }
    }

    #[test]
    fn a_scheduler_may_speak_protobuf_and_hear_json() {
        let mut shell = shell();
        let info = mesos::FrameworkInfo { user: "root".into(), name: "f".into(), ..Default::default() };
        let subscribe = Call {
            r#type: Some(call::Type::Subscribe as i32),
            subscribe: Some(call::Subscribe { framework_info: info, ..Default::default() }),
            ..Default::default()
        };
        let body = messages::to_v1_bytes("mesos.v1.scheduler.Call", &subscribe).expect("a call");
        let body = String::from_utf8(body).expect("small numbers and letters");
        // A heartbeat's record: two bytes, the number of its one field and its type.
        let heartbeat = format!("2\n\u{8}{}", char::from(event::Type::Heartbeat as u8));
        let media = "Content-Type: application/x-protobuf\r\n";
        for (accept, wanted) in [("x-protobuf", &*heartbeat), ("json", r#"{"type":"HEARTBEAT"}"#)] {
            let headers = format!("{media}Accept: application/{accept}\r\n");
            let mut stream = ask(&shell, "POST", "/api/v1/scheduler", &headers, &body);
            let text = await_text(&mut shell, &mut stream, wanted);
            assert!(text.contains(&format!("Content-Type: application/{accept}\r\n")), "{text}");
        }
    }

    #[test]
    fn a_taken_port_is_no_obstacle() {
        let one = shell();
        let two =
            Shell::new(&Options { address: one.network.address(), exit_with_parent: false }).expect("another port");
        assert_ne!(one.network.address(), two.network.address());
    }
}
