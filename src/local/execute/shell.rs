//! The shell around the scheduler and the follower: sockets, signals, deadlines, our streams.

mod following;
mod stream;

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io;
use std::net::{SocketAddr, SocketAddrV4, ToSocketAddrs};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::follow::Ask;
use super::local::Cluster;
use super::outcome::Outcome;
use super::output::{Progress, Sink, printable};
use super::scheduler::{Action, Event, Interrupt, Scheduler};
use crate::libprocess::{Network, Request, RequestId, Response};
use crate::messages::mesos::scheduler::Call;
use crate::messages::mesos::scheduler::call;
use crate::messages::to_v1_json;
use crate::poll::{PollSet, Signals, earlier};
use following::Followings;
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
    /// What the tasks of a group are called in what is shown of them; empty for a task that is alone.
    labels: Vec<String>,
    following: Followings,
    asks: BTreeMap<RequestId, (usize, Ask)>,
    told_broken: bool,
    stdout: Sink<File>,
    stderr: Sink<File>,
    progress: Progress,
    /// States of tasks that are shown once the steps before them have been, or at this time.
    held: Vec<(usize, String, Instant)>,
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
        let labels = scheduler.labels();
        Shell {
            network: Network::client(),
            signals,
            cluster,
            master,
            scheduler,
            stream: None,
            calls: BTreeMap::new(),
            labels,
            following: Followings::new(),
            asks: BTreeMap::new(),
            told_broken: false,
            stdout: Sink::new(streams.stdout),
            stderr: Sink::new(streams.stderr),
            progress: Progress::new(now),
            held: Vec::new(),
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
        let leaving = self.leaving.as_ref().map(|(_, deadline)| *deadline);
        let others = [self.network.deadline(), self.scheduler.deadline(), leaving];
        others.into_iter().fold(self.follow_deadline(), earlier)
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
                Action::State(task, state, message, at) => {
                    self.show_in_order(task, state, message.as_deref(), at, now);
                }
                Action::Say(text) => self.say(&text),
                Action::Follow(task, target) => self.start_following(task, *target, now),
                Action::Drain(task) => {
                    if let Some(event) = self.drain(task, now) {
                        actions.extend(self.scheduler.handle(event, now));
                    }
                }
                Action::Exit(outcome) => {
                    if self.leaving.is_none() {
                        self.leaving = Some((outcome, now + FAREWELL));
                    }
                }
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
        if let Some((task, ask)) = self.asks.remove(&request) {
            self.read(task, ask, answer, now);
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
