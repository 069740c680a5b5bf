//! The slave's shell: one loop around one `poll`. Sockets, signals, children's reports and the next deadline come in as events of the
//! core; the core's actions go out.
//!
//! ```text
//!   signals ─┐                                   ┌─► network     messages to the master
//!   network ─┼─► Event ─► slave.handle ─► Action ─┼─► isolation   launch, kill, acknowledge
//! isolation ─┤                                   └─► files       a sandbox can be read
//!  detector ─┘
//! ```

mod complaints;
mod executors;
#[cfg(test)]
mod group_tests;
#[cfg(test)]
mod guest_tests;
mod operators;
mod sandbox;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io;
use std::time::{Duration, Instant, SystemTime};

use nix::sys::signal::Signal;

pub use self::complaints::Complaints;
pub use self::executors::Streams;
pub use self::operators::Meter;
use crate::api::{self, Files, History};
use crate::checkpoint;
use crate::container::status::Update;
use crate::detector::{Detector, DetectorEvent};
use crate::fetcher;
use crate::ids::ContainerId;
use crate::isolation::{ContainerEvent, Ended, Isolation};
use crate::libprocess::{Guests, Network, NetworkEvent, Response};
use crate::local::Embedded;
use crate::messages::container::{Fetcher, Spec};
use crate::messages::mesos::{self, TaskState};
use crate::poll::{PollSet, Signals, earlier};
use crate::slave::{self, Action, Event, FromAuthenticator, FromMaster, Now, Slave};

/// Everything that the slave's process owns.
pub struct EventLoop {
    /// What decides.
    pub slave: Slave,
    /// Who the master is.
    pub detector: Detector,
    /// The port, and all connections.
    pub network: Network,
    /// What runs containers.
    pub isolation: Box<dyn Isolation>,
    /// What the flags say of fetching, for each container.
    pub fetcher: Fetcher,
    /// What `/files` shows.
    pub files: Files,
    /// The subscriptions of v1 executors.
    pub streams: Streams,
    /// Where guests are, with `--isolation=vm`.
    pub guests: Option<Guests>,
    /// What they are refused.
    pub complaints: Complaints,
    /// TERM, INT, USR1.
    pub signals: Signals,
    /// The embedded master, with `--master=local`.
    pub embedded: Option<Embedded>,
    /// Executors that the core has forgotten, for those who come late.
    pub history: History,
    /// What was last seen of the containers' processes.
    pub meter: Meter,
    /// Containers of whose tasks the files were fetched, and those of whose they were not.
    pub fetches: (u64, u64),
    /// How long it took to settle what an earlier slave had left.
    pub recovery: Duration,
    /// The flags in force, for `/state` and `/flags`.
    pub flags: BTreeMap<String, String>,
    /// When we started, in seconds since 1970.
    pub start_time: f64,
    /// The core said that it is done.
    pub over: bool,
    /// Why it cannot go on.
    pub failure: Option<io::Error>,
}

/// The time, on both clocks.
pub fn now() -> Now {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    Now { instant: Instant::now(), unix: since.unwrap_or_default().as_secs_f64() }
}

impl EventLoop {
    /// Runs until the core is done.
    ///
    /// # Errors
    /// What `poll(2)` gives, or what keeps the slave from writing down what it must not forget.
    pub fn run(mut self) -> io::Result<()> {
        let mut set = PollSet::new();
        while !self.over {
            set.clear();
            self.register(&mut set);
            set.wait(self.deadline())?;
            self.turn(&set)?;
        }
        self.failure.map_or(Ok(()), Err)
    }

    fn register(&self, set: &mut PollSet) {
        set.add(self.signals.fd(), crate::poll::Interest::Read);
        self.network.register(set);
        self.isolation.register(set);
        self.detector.register(set);
        if let Some(embedded) = &self.embedded {
            embedded.register(set);
        }
    }

    fn deadline(&self) -> Option<Instant> {
        let network = earlier(self.network.deadline(), self.streams.deadline());
        let shells = earlier(network, self.isolation.deadline());
        earlier(earlier(shells, self.detector.deadline(Instant::now())), self.slave.deadline())
    }

    fn turn(&mut self, set: &PollSet) -> io::Result<()> {
        while let Some(signal) = self.signals.next()? {
            self.signal(signal);
        }
        let instant = Instant::now();
        // A guest's address is known before its executor's first words are judged, should both come in one turn. An executor's last words
        // are heard before its end.
        let heard = self.network.turn(set, instant);
        let (begun, other): (Vec<_>, Vec<_>) =
            self.isolation.turn(set, instant).into_iter().partition(ContainerEvent::is_beginning);
        for event in begun {
            self.container_event(event);
        }
        for event in heard {
            self.network_event(event);
        }
        for event in other {
            self.container_event(event);
        }
        for event in self.detector.turn(set, instant) {
            match event {
                DetectorEvent::Detected(master) => {
                    let address = master.address;
                    self.deliver(Event::MasterDetected(master));
                    let dialect = self.network.dialect(address);
                    self.deliver(Event::Shown { address, dialect });
                }
                DetectorEvent::Lost => self.deliver(Event::MasterLost),
            }
        }
        if let Some(end) = self.embedded.as_mut().and_then(Embedded::ended) {
            log::error!("the embedded master has ended ({end}); stopping");
            self.embedded = None;
            self.deliver(Event::Stop);
        }
        self.heartbeats(instant);
        self.deliver(Event::Tick);
        Ok(())
    }

    fn signal(&mut self, signal: Signal) {
        match signal {
            Signal::SIGUSR1 => {
                log::info!("got SIGUSR1: leaving the cluster");
                self.deliver(Event::Unregister);
            }
            other => {
                log::info!("got {other}");
                self.deliver(Event::Stop);
            }
        }
    }

    fn network_event(&mut self, event: NetworkEvent) {
        match event {
            NetworkEvent::Message { from, to, name, body, peer } => {
                let for_slave = to == self.slave.config().pid.id || to == slave::SLAVE_OF_2012;
                if for_slave && self.driver_message(&from, &name, &body, peer) {
                    return;
                }
                if self.is_guest(peer) {
                    let line = format!("dropped {name} from the guest {peer}, which says that it is {from}");
                    return self.complaints.warn(Instant::now(), &line);
                }
                let event = if for_slave {
                    FromMaster::decode(&name, &body).map(|message| Event::Message { from: from.clone(), message })
                } else if slave::is_authenticatee(&to) {
                    let message = FromAuthenticator::decode(&name, &body);
                    message.map(|message| Event::Authentication { from: from.clone(), to, message })
                } else {
                    return log::debug!("dropped {name} from {from} to {to}, which is not here");
                };
                match event {
                    Ok(event) => self.deliver(event),
                    Err(error) => log::warn!("dropped a message from {from}: {error}"),
                }
            }
            NetworkEvent::Request { connection, request, peer } => {
                let own_name = &self.slave.config().pid.id;
                if api::is_executor_call(&request, own_name) {
                    return self.executor_request(connection, &request, peer);
                }
                if self.is_guest(peer) {
                    let text = "Guests may use the executor API only";
                    return self.network.respond(connection, Response::text(403, text));
                }
                let own_name = own_name.clone();
                let response = api::handle(&request, &own_name, self);
                self.network.respond(connection, response);
            }
            NetworkEvent::Shown { address, dialect } => self.deliver(Event::Shown { address, dialect }),
            NetworkEvent::Exited { pid } => self.deliver(Event::Exited(pid)),
            NetworkEvent::Closed { connection } => self.streams.closed(connection),
            NetworkEvent::Response { .. }
            | NetworkEvent::StreamHead { .. }
            | NetworkEvent::StreamData { .. }
            | NetworkEvent::RequestEnded { .. } => {}
        }
    }

    fn container_event(&mut self, event: ContainerEvent) {
        match event {
            ContainerEvent::Step { container, name, took } => {
                log::info!("container {container}: {name} took {:.3} s", took.as_secs_f64())
            }
            ContainerEvent::Fetched { container, succeeded } => {
                log::debug!(
                    "container {container}: its files are {}",
                    if succeeded { "there" } else { "not to be had" }
                );
                self.count_fetch(succeeded);
            }
            ContainerEvent::Update { container, update } => {
                self.container_update(container, update);
            }
            ContainerEvent::Exited { container, ended } => {
                let reason = match ended {
                    Ended::Orderly => None,
                    Ended::Died { reason } => Some(reason),
                };
                self.container_gone(container, reason);
            }
        }
    }

    /// Of a command task or, of a task without a name, of the executor itself.
    fn container_update(&mut self, container: ContainerId, update: Update) {
        let Update { status, wait_status } = update;
        if !status.task_id.value.is_empty() {
            return self.deliver(Event::ContainerStatus { container, status: Box::new(status) });
        }
        self.isolation.acknowledge(&container, status.uuid());
        let networks = status.container_status.iter().flat_map(|status| &status.network_infos);
        let address = networks.flat_map(|network| &network.ip_addresses).find_map(|ip| ip.ip_address().parse().ok());
        self.deliver(match status.state() {
            TaskState::TaskStarting => Event::ExecutorStarted { container, address, runs: false },
            TaskState::TaskRunning => Event::ExecutorStarted { container, address, runs: true },
            _ => {
                let reason = status.reason.is_some().then(|| status.reason());
                Event::ExecutorEnded { container, wait_status, reason, message: status.message }
            }
        });
    }

    /// Tells the core, and remembers for `/state` what the core forgets: as it was before, and with its last states.
    fn container_gone(&mut self, container: ContainerId, reason: Option<String>) {
        let executors = self.slave.executor_that_ends_with(&container).cloned();
        if let Some(own) = &executors {
            self.remember(own);
        }
        self.deliver(Event::ContainerGone { container, reason });
        if let Some(own) = &executors {
            self.remember(own);
        }
    }

    fn remember(&mut self, container: &ContainerId) {
        for forgotten in self.history.remember(&self.slave, container) {
            self.files.detach(&forgotten.name, &forgotten.directory);
        }
    }

    fn deliver(&mut self, event: Event) {
        let mut unlaunched = Vec::new();
        for action in self.slave.handle(event, now()) {
            // What follows from something that was to be written down is not done if it was not.
            if self.failure.is_none() {
                unlaunched.extend(self.act(action));
            }
        }
        // What follows from a launch that failed may be about others that were still to be launched a moment ago.
        for (container, reason) in unlaunched {
            self.container_gone(container, Some(reason));
        }
    }

    /// A slave that came back with other reservations than its master has offered would be refused, or worse, not be.
    fn checkpoint_resources(&mut self, resources: &[mesos::Resource]) {
        let path = slave::resources_info(&self.slave.config().work_dir);
        if let Err(error) = checkpoint::write_resources(&path, resources) {
            let text = format!("cannot keep reservations in {}: {error}; see to --work_dir", path.display());
            self.failure = Some(io::Error::new(error.kind(), text));
            self.over = true;
        }
    }

    /// Does what the core wants done; gives the container that could not be launched, and why.
    fn act(&mut self, action: Action) -> Option<(ContainerId, String)> {
        let instant = Instant::now();
        match action {
            Action::Send { to, message } => {
                let from = self.slave.config().pid.clone();
                self.network.send(&from, &to, &message.name, &message.body, instant);
            }
            Action::SendAs { from, to, message } => {
                self.network.send(&from, &to, &message.name, &message.body, instant);
            }
            Action::Link(pid) => self.network.link(&pid, instant),
            Action::Launch(spec) => return self.launch(*spec),
            Action::Kill { container, grace } => self.isolation.kill(&container, grace, instant),
            Action::ResourcesChanged { container, resources } => {
                self.isolation.resources_changed(&container, &resources);
            }
            Action::CheckpointResources(resources) => self.checkpoint_resources(&resources),
            Action::Acknowledge { container, uuid } => {
                self.isolation.acknowledge(&container, &uuid);
            }
            Action::ToExecutor { via, message } => self.tell_executor(&via, &message),
            Action::HangUp(connection) => self.hang_up(connection),
            Action::Exit => {
                self.network.flush();
                self.over = true;
            }
        }
        None
    }

    fn launch(&mut self, mut spec: Spec) -> Option<(ContainerId, String)> {
        spec.fetcher = Some(self.fetcher.clone());
        let container = ContainerId::new(spec.container_id.clone()).ok()?;
        let result = sandbox::prepare(&spec)
            .map_err(|error| format!("cannot make the sandbox {}: {error}", spec.sandbox))
            .and_then(|()| {
                if spec.joins.is_none() {
                    self.show_sandbox(&spec);
                }
                let fetches = fetcher::is_wanted(&spec);
                let result = self.isolation.launch(spec, Instant::now()).map_err(|error| error.to_string());
                if !fetches && result.is_ok() {
                    self.count_fetch(true); // As Mesos counts it: nothing of what it names is missing.
                }
                result
            });
        result.err().map(|reason| (container, reason))
    }

    /// The executor's newest sandbox gets a name without the container's id, as in Mesos.
    fn show_sandbox(&mut self, spec: &Spec) {
        let ids = (spec.framework.id.as_ref().map(TryInto::try_into), (&spec.executor.executor_id).try_into());
        if let (Some(Ok(framework)), Ok(executor)) = ids {
            let name = slave::virtual_sandbox(&framework, &executor);
            self.files.attach(&name, &spec.sandbox);
        }
    }
}
