//! The shell around the scheduler and the follower: sockets, signals, deadlines, our streams.

mod stream;

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io;
use std::net::{SocketAddr, SocketAddrV4, ToSocketAddrs};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::follow::{Ask, Follower, Found, Kind};
use super::local::Cluster;
use super::outcome::Outcome;
use super::output::{Progress, Sink, printable};
use super::scheduler::{Action, Event, Interrupt, Scheduler, Target};
use crate::libprocess::{Network, Request, RequestId, Response};
use crate::messages::mesos::scheduler::Call;
use crate::messages::mesos::scheduler::call;
use crate::messages::to_v1_json;
use crate::poll::{PollSet, Signals, earlier};
use stream::Stream;

/// The v1 scheduler API.
const API: &str = "/api/v1/scheduler";

/// How long the answer to a call or to a read may take.
const ANSWER: Duration = Duration::from_secs(20);

/// How long the last calls may take when we leave.
const FAREWELL: Duration = Duration::from_secs(5);

/// Where output goes.
#[derive(Debug)]
pub struct Streams {
    /// The task's standard output.
    pub stdout: File,
    /// The task's standard error, and the progress.
    pub stderr: File,
}

impl Streams {
    /// Our own.
    ///
    /// # Errors
    /// What `fcntl(2)` gives.
    pub fn own() -> io::Result<Streams> {
        let stdout = io::stdout().as_fd().try_clone_to_owned()?;
        let stderr = io::stderr().as_fd().try_clone_to_owned()?;
        Ok(Streams { stdout: stdout.into(), stderr: stderr.into() })
    }
}

/// How long a state may wait for the steps before it.
const HOLD: Duration = Duration::from_secs(1);

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
    stdout: Sink<File>,
    stderr: Sink<File>,
    progress: Progress,
    /// A state that is shown once the steps before it have been, or at this time.
    held: Option<(String, Instant)>,
    leaving: Option<(Outcome, Instant)>,
}

impl<'a> Shell<'a> {
    /// Nothing under way.
    pub fn new(
        master: SocketAddrV4,
        scheduler: Scheduler,
        signals: &'a mut Signals,
        cluster: Option<&'a mut Cluster>,
        streams: Streams,
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
            stdout: Sink::new(streams.stdout),
            stderr: Sink::new(streams.stderr),
            progress: Progress::new(now),
            held: None,
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
        let follower = self.follower.as_ref().and_then(|follower| follower.deadline(|kind| room(kind, stdout, stderr)));
        let held = self.held.as_ref().map(|(_, until)| *until);
        let leaving = self.leaving.as_ref().map(|(_, deadline)| *deadline);
        [self.network.deadline(), self.scheduler.deadline(), leaving, held].into_iter().fold(follower, earlier)
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
        self.release(false, now);
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
                Action::State(state, message, at) => {
                    let line = self.progress.state(state, message.as_deref(), at);
                    self.show_in_order(line, now);
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

    /// Shows a state after the steps of the VM that led to it, which come from another place.
    fn show_in_order(&mut self, line: String, now: Instant) {
        self.release(true, now);
        match &mut self.follower {
            Some(follower) if !self.drained => {
                follower.catch_up(now);
                self.held = Some((line, now + HOLD));
            }
            _ => self.stderr.push_line(&line),
        }
    }

    /// Shows the state that was held back, when it is time.
    fn release(&mut self, at_once: bool, now: Instant) {
        let caught_up = self.follower.as_ref().is_none_or(Follower::is_caught_up);
        if let Some((line, until)) = self.held.take() {
            match at_once || caught_up || now >= until || self.leaving.is_some() {
                true => self.stderr.push_line(&line),
                false => self.held = Some((line, until)),
            }
        }
    }

    fn say(&mut self, text: &str) {
        self.release(true, Instant::now());
        self.stderr.push_line(&printable(text));
    }

    fn call(&mut self, call: &Call, now: Instant) -> Result<(), String> {
        let json = to_v1_json("mesos.v1.scheduler.Call", call).map_err(|error| error.to_string())?;
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
            Ok(response) => format!("{} {}", response.status, String::from_utf8_lossy(&response.body).trim()),
            Err(why) => why,
        };
        let name = kind.as_str_name();
        match kind {
            call::Type::Accept | call::Type::Kill => self.handle(Event::Lost(format!("{name}: {why}")), now),
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
    Request::new("POST", API, body).with("Content-Type", "application/json").with("Accept", "application/json")
}

/// The first IPv4 address of `host:port`.
pub fn resolve(address: &str) -> Result<SocketAddrV4, String> {
    let mut addresses = address.to_socket_addrs().map_err(|error| format!("{address}: {error}"))?;
    let ipv4 = addresses.find_map(|address| match address {
        SocketAddr::V4(address) => Some(address),
        SocketAddr::V6(_) => None,
    });
    ipv4.ok_or_else(|| format!("{address} has no IPv4 address"))
}
