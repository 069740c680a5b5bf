//! The shell around the scheduler and the follower: sockets, signals, deadlines, our streams.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, Stderr, Stdout};
use std::net::{SocketAddr, SocketAddrV4, ToSocketAddrs};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::follow::{Ask, Follower, Found, Kind};
use super::local::Cluster;
use super::outcome::Outcome;
use super::output::{Progress, Sink, printable};
use super::scheduler::{Action, Event, Interrupt, Scheduler, Target};
use crate::libprocess::recordio::Decoder;
use crate::libprocess::{Network, NetworkEvent, Request, RequestId, Response};
use crate::messages::mesos::scheduler::Call;
use crate::messages::mesos::scheduler::call;
use crate::messages::{from_v1_json, to_v1_json};
use crate::poll::{PollSet, Signals, earlier};

/// The v1 scheduler API.
const API: &str = "/api/v1/scheduler";

/// How long the answer to a call or to a read may take.
const ANSWER: Duration = Duration::from_secs(20);

/// How long the last calls may take when we leave.
const FAREWELL: Duration = Duration::from_secs(5);

/// So many masters may send us on to another before there is an end to it.
const REDIRECTS: u32 = 5;

/// The connection to the master.
#[derive(Debug)]
struct Stream {
    request: RequestId,
    body: Vec<u8>,
    status: u16,
    text: Vec<u8>,
    records: Decoder,
    id: Option<String>,
    redirects: u32,
}

/// All there is at run time.
pub struct Shell<'a> {
    network: Network,
    signals: &'a mut Signals,
    cluster: Option<&'a mut Cluster>,
    master: SocketAddrV4,
    scheduler: Scheduler,
    stream: Option<Stream>,
    calls: BTreeMap<RequestId, call::Type>,
    agent: Option<SocketAddrV4>,
    follower: Option<Follower>,
    asks: BTreeMap<RequestId, Ask>,
    drained: bool,
    told_broken: bool,
    stdout: Sink<Stdout>,
    stderr: Sink<Stderr>,
    progress: Progress,
    leaving: Option<(Outcome, Instant)>,
}

impl<'a> Shell<'a> {
    /// Nothing under way.
    pub fn new(
        master: SocketAddrV4,
        scheduler: Scheduler,
        signals: &'a mut Signals,
        cluster: Option<&'a mut Cluster>,
        now: Instant,
    ) -> Shell<'a> {
        Shell {
            network: Network::client(),
            signals,
            cluster,
            master,
            scheduler,
            stream: None,
            calls: BTreeMap::new(),
            agent: None,
            follower: None,
            asks: BTreeMap::new(),
            drained: false,
            told_broken: false,
            stdout: Sink::new(io::stdout()),
            stderr: Sink::new(io::stderr()),
            progress: Progress::new(now),
            leaving: None,
        }
    }

    /// Runs to the end.
    ///
    /// # Errors
    /// What `poll(2)` and the signals' descriptor give.
    pub fn run(mut self, first: Vec<Action>) -> io::Result<Outcome> {
        let mut set = PollSet::new();
        self.perform(first, Instant::now());
        loop {
            set.clear();
            self.register(&mut set);
            set.wait(self.deadline())?;
            self.turn(&set, Instant::now())?;
            if let Some(outcome) = self.finished(Instant::now()) {
                return Ok(outcome);
            }
        }
    }

    fn register(&self, set: &mut PollSet) {
        set.add(self.signals.fd(), crate::poll::Interest::Read);
        self.network.register(set);
        self.stdout.register(set);
        self.stderr.register(set);
        if let Some(cluster) = &self.cluster {
            cluster.register(set);
        }
    }

    fn deadline(&self) -> Option<Instant> {
        let (stdout, stderr) = (self.stdout.has_room(), self.stderr.has_room());
        let follower = self
            .follower
            .as_ref()
            .and_then(|follower| follower.deadline(|kind| room(kind, stdout, stderr)));
        let leaving = self.leaving.as_ref().map(|(_, deadline)| *deadline);
        [self.network.deadline(), self.scheduler.deadline(), leaving]
            .into_iter()
            .fold(follower, earlier)
    }

    fn turn(&mut self, set: &PollSet, now: Instant) -> io::Result<()> {
        self.stdout.turn(set);
        self.stderr.turn(set);
        while let Some(signal) = self.signals.next()? {
            self.signal(signal, now);
        }
        for event in self.network.turn(set, now) {
            self.network_event(event, now);
        }
        self.watch_cluster(now);
        if self.stdout.is_broken() && !self.told_broken {
            self.told_broken = true;
            self.handle(Event::Interrupt(Interrupt::BrokenPipe), now);
        }
        self.handle(Event::Tick, now);
        self.follow(now);
        Ok(())
    }

    /// The outcome, once we want to leave and all that was to be sent and written has been, or time is up.
    fn finished(&self, now: Instant) -> Option<Outcome> {
        let (outcome, deadline) = self.leaving.as_ref()?;
        let all_out = self.calls.is_empty() && self.stdout.is_empty() && self.stderr.is_empty();
        (all_out || now >= *deadline).then(|| outcome.clone())
    }

    fn signal(&mut self, signal: Signal, now: Instant) {
        let why = match signal {
            Signal::SIGINT => Interrupt::CtrlC,
            Signal::SIGTERM | Signal::SIGHUP => Interrupt::Terminate,
            _ => return,
        };
        match &mut self.leaving {
            // Asked once more while output waits for a reader: it is left out.
            Some((_, deadline)) => *deadline = now,
            None => self.handle(Event::Interrupt(why), now),
        }
    }

    fn watch_cluster(&mut self, now: Instant) {
        let ended = self.cluster.as_mut().and_then(|cluster| cluster.ended());
        if let (Some(text), None) = (ended, &self.leaving) {
            self.leaving = Some((Outcome::Failed(text), now + FAREWELL));
        }
    }

    fn handle(&mut self, event: Event, now: Instant) {
        let actions = self.scheduler.handle(event, now);
        self.perform(actions, now);
    }

    fn perform(&mut self, actions: Vec<Action>, now: Instant) {
        let mut actions = VecDeque::from(actions);
        while let Some(action) = actions.pop_front() {
            match action {
                Action::Call(call) => match self.call(&call, now) {
                    Ok(()) => {}
                    Err(why) => actions.extend(self.scheduler.handle(Event::Lost(why), now)),
                },
                Action::State(state, message) => {
                    let line = self.progress.state(state, message.as_deref(), now);
                    self.stderr.push_line(&line);
                }
                Action::Say(text) => self.say(&text),
                Action::Follow(target) => self.start_following(*target, now),
                Action::Drain => match &mut self.follower {
                    Some(follower) => follower.drain(now),
                    None => actions.extend(self.scheduler.handle(Event::Drained, now)),
                },
                Action::Exit(outcome) => {
                    if self.leaving.is_none() {
                        self.leaving = Some((outcome, now + FAREWELL));
                    }
                }
            }
        }
    }

    fn say(&mut self, text: &str) {
        self.stderr.push_line(&printable(text));
    }

    fn call(&mut self, call: &Call, now: Instant) -> Result<(), String> {
        let json =
            to_v1_json("mesos.v1.scheduler.Call", call).map_err(|error| error.to_string())?;
        let body = json.to_string().into_bytes();
        if call.r#type() == call::Type::Subscribe {
            self.subscribe(body, 0, now);
            return Ok(());
        }
        let mut request = api_request(body);
        if let Some(id) = self.stream.as_ref().and_then(|stream| stream.id.as_deref()) {
            request = request.with("Mesos-Stream-Id", id);
        }
        let id = self.network.request(self.master, request, ANSWER, now);
        self.calls.insert(id, call.r#type());
        Ok(())
    }

    fn subscribe(&mut self, body: Vec<u8>, redirects: u32, now: Instant) {
        let request = self
            .network
            .request_stream(self.master, api_request(body.clone()), now);
        self.stream = Some(Stream {
            request,
            body,
            status: 0,
            text: Vec::new(),
            records: Decoder::new(),
            id: None,
            redirects,
        });
    }

    fn network_event(&mut self, event: NetworkEvent, now: Instant) {
        match event {
            NetworkEvent::StreamHead {
                request,
                status,
                headers,
            } => {
                let Some(stream) = self
                    .stream
                    .as_mut()
                    .filter(|stream| stream.request == request)
                else {
                    return;
                };
                stream.status = status;
                stream.id = headers.get("Mesos-Stream-Id").map(str::to_string);
                if let (301..=308, Some(location)) = (status, headers.get("Location")) {
                    self.redirected(location.to_string(), now);
                }
            }
            NetworkEvent::StreamData { request, bytes } => {
                if self
                    .stream
                    .as_ref()
                    .is_some_and(|stream| stream.request == request)
                {
                    self.stream_data(&bytes, now);
                }
            }
            NetworkEvent::Response { request, response } => {
                self.answered(request, Ok(response), now)
            }
            NetworkEvent::RequestEnded { request, error } => {
                if self
                    .stream
                    .as_ref()
                    .is_some_and(|stream| stream.request == request)
                {
                    self.stream_ended(error, now);
                } else {
                    let why = error.unwrap_or_else(|| "no answer".to_string());
                    self.answered(request, Err(why), now);
                }
            }
            NetworkEvent::Message { .. }
            | NetworkEvent::Request { .. }
            | NetworkEvent::Closed { .. }
            | NetworkEvent::Exited { .. } => {}
        }
    }

    /// A master that does not lead names the one that does: `Location: //host:port/path`.
    fn redirected(&mut self, location: String, now: Instant) {
        let Some(stream) = self.stream.take() else {
            return;
        };
        self.network.cancel(stream.request);
        let text = location.trim_start_matches("http:").trim_start_matches('/');
        let host = text.split('/').next().unwrap_or_default();
        let leader = resolve(host);
        match leader {
            Ok(leader) if stream.redirects < REDIRECTS => {
                self.master = leader;
                self.subscribe(stream.body, stream.redirects + 1, now);
            }
            Ok(_) => self.handle(
                Event::Lost("each master names another as the leader".to_string()),
                now,
            ),
            Err(why) => self.handle(
                Event::Lost(format!("it names a leader that cannot be found: {why}")),
                now,
            ),
        }
    }

    fn stream_data(&mut self, bytes: &[u8], now: Instant) {
        let Some(stream) = &mut self.stream else {
            return;
        };
        if stream.status != 200 {
            let room = 1024usize.saturating_sub(stream.text.len());
            stream
                .text
                .extend_from_slice(&bytes[..bytes.len().min(room)]);
            return;
        }
        stream.records.push(bytes);
        loop {
            let record = self.stream.as_mut().map(|stream| stream.records.next());
            let event = match record {
                None | Some(Ok(None)) => return,
                Some(Ok(Some(record))) => from_v1_json("mesos.v1.scheduler.Event", &record)
                    .map_err(|error| error.to_string()),
                Some(Err(error)) => Err(error.to_string()),
            };
            match event {
                Ok(event) => self.handle(Event::Master(Box::new(event)), now),
                Err(why) => {
                    self.drop_stream();
                    return self
                        .handle(Event::Lost(format!("it sent what is no event: {why}")), now);
                }
            }
        }
    }

    fn drop_stream(&mut self) {
        if let Some(stream) = self.stream.take() {
            self.network.cancel(stream.request);
        }
    }

    fn stream_ended(&mut self, error: Option<String>, now: Instant) {
        let Some(stream) = self.stream.take() else {
            return;
        };
        let text = String::from_utf8_lossy(&stream.text).trim().to_string();
        let why = match (stream.status, error) {
            (0, Some(error)) => format!("{}: {error}", self.master),
            (0, None) => format!("{} closed the connection", self.master),
            (200, Some(error)) => error,
            (200, None) => "it closed the connection".to_string(),
            (status, _) => format!("{} answers {status} {text}", self.master),
        };
        self.handle(Event::Lost(why), now);
    }

    fn answered(&mut self, request: RequestId, answer: Result<Response, String>, now: Instant) {
        if let Some(kind) = self.calls.remove(&request) {
            return self.call_answered(kind, answer, now);
        }
        let Some(ask) = self.asks.remove(&request) else {
            return;
        };
        let Some(follower) = &mut self.follower else {
            return;
        };
        match follower.answered(ask, answer, now) {
            Found::Bytes(Kind::Stdout, bytes) => self.stdout.push(&bytes),
            Found::Bytes(Kind::Stderr, bytes) => self.stderr.push(&bytes),
            Found::Bytes(Kind::VmLog, bytes) => {
                for line in self.progress.steps(&bytes) {
                    self.stderr.push_line(&line);
                }
            }
            Found::Problem(text) => self.say(&text),
            Found::Nothing => {}
        }
    }

    fn call_answered(&mut self, kind: call::Type, answer: Result<Response, String>, now: Instant) {
        let why = match answer {
            Ok(response) if response.status < 300 => return,
            Ok(response) => format!(
                "{} {}",
                response.status,
                String::from_utf8_lossy(&response.body).trim()
            ),
            Err(why) => why,
        };
        let name = kind.as_str_name();
        match kind {
            call::Type::Accept | call::Type::Kill => {
                self.handle(Event::Lost(format!("{name}: {why}")), now)
            }
            _ => log::debug!("{name}: {why}"),
        }
    }

    fn start_following(&mut self, target: Target, now: Instant) {
        let agent = format!("{}:{}", target.host, target.port);
        match resolve(&agent) {
            Ok(address) => {
                self.agent = Some(address);
                self.follower = Some(Follower::new(target, now));
            }
            Err(why) => self.say(&format!("the task's output cannot be shown: {why}")),
        }
    }

    /// Asks the agent for what is due, and tells the scheduler when all has been read.
    fn follow(&mut self, now: Instant) {
        let (Some(agent), Some(follower)) = (self.agent, &mut self.follower) else {
            return;
        };
        let (stdout, stderr) = (self.stdout.has_room(), self.stderr.has_room());
        for (ask, request) in follower.requests(|kind| room(kind, stdout, stderr), now) {
            let id = self.network.request(agent, request, ANSWER, now);
            self.asks.insert(id, ask);
        }
        if follower.is_done() && !self.drained {
            self.drained = true;
            self.handle(Event::Drained, now);
        }
    }
}

fn room(kind: Kind, stdout: bool, stderr: bool) -> bool {
    match kind {
        Kind::Stdout => stdout,
        Kind::Stderr | Kind::VmLog => stderr,
    }
}

fn api_request(body: Vec<u8>) -> Request {
    Request::new("POST", API, body)
        .with("Content-Type", "application/json")
        .with("Accept", "application/json")
}

/// The first IPv4 address of `host:port`.
pub fn resolve(address: &str) -> Result<SocketAddrV4, String> {
    let mut addresses = address
        .to_socket_addrs()
        .map_err(|error| format!("{address}: {error}"))?;
    let ipv4 = addresses.find_map(|address| match address {
        SocketAddr::V4(address) => Some(address),
        SocketAddr::V6(_) => None,
    });
    ipv4.ok_or_else(|| format!("{address} has no IPv4 address"))
}
