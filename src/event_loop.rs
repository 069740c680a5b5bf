//! The slave's shell: one loop around one `poll`. Sockets, signals, children's reports and the next deadline come in as events of the
//! core; the core's actions go out.
//!
//! ```text
//!   signals ─┐                                   ┌─► network     messages to the master
//!   network ─┼─► Event ─► slave.handle ─► Action ─┼─► isolation   launch, kill, acknowledge
//! isolation ─┤                                   └─► files       a sandbox can be read
//!  detector ─┘
//! ```

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, symlink};
use std::path::Path;
use std::time::{Instant, SystemTime};

use nix::sys::signal::Signal;

use crate::api::{self, Files, History, State};
use crate::detector::{Detector, DetectorEvent};
use crate::ids::ContainerId;
use crate::isolation::{ContainerEvent, Ended, Isolation};
use crate::libprocess::{Network, NetworkEvent};
use crate::local::Embedded;
use crate::messages::container::{Fetcher, Spec};
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
    /// TERM, INT, USR1.
    pub signals: Signals,
    /// The embedded master, with `--master=local`.
    pub embedded: Option<Embedded>,
    /// Executors that the core has forgotten, for those who come late.
    pub history: History,
    /// The flags in force, for `/state` and `/flags`.
    pub flags: BTreeMap<String, String>,
    /// When we started, in seconds since 1970.
    pub start_time: f64,
    /// The core said that it is done.
    pub over: bool,
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
    /// What `poll(2)` gives.
    pub fn run(mut self) -> io::Result<()> {
        let mut set = PollSet::new();
        while !self.over {
            set.clear();
            self.register(&mut set);
            set.wait(self.deadline())?;
            self.turn(&set)?;
        }
        Ok(())
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
        let shells = earlier(self.network.deadline(), self.isolation.deadline());
        earlier(earlier(shells, self.detector.deadline(Instant::now())), self.slave.deadline())
    }

    fn turn(&mut self, set: &PollSet) -> io::Result<()> {
        while let Some(signal) = self.signals.next()? {
            self.signal(signal);
        }
        let instant = Instant::now();
        for event in self.network.turn(set, instant) {
            self.network_event(event);
        }
        for event in self.isolation.turn(set, instant) {
            self.container_event(event);
        }
        for event in self.detector.turn(set, instant) {
            self.deliver(match event {
                DetectorEvent::Detected(master) => Event::MasterDetected(master),
                DetectorEvent::Lost => Event::MasterLost,
            });
        }
        if let Some(end) = self.embedded.as_mut().and_then(Embedded::ended) {
            log::error!("the embedded master has ended ({end}); stopping");
            self.embedded = None;
            self.deliver(Event::Stop);
        }
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
            NetworkEvent::Message { from, to, name, body, .. } => {
                let event = if to == self.slave.config().pid.id {
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
            NetworkEvent::Request { connection, request, .. } => {
                let own_name = &self.slave.config().pid.id;
                let response = api::handle(&request, own_name, || self.state(), &self.files);
                self.network.respond(connection, response);
            }
            NetworkEvent::Exited { pid } => self.deliver(Event::Exited(pid)),
            NetworkEvent::Closed { .. }
            | NetworkEvent::Response { .. }
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
            ContainerEvent::Update { container, update } => {
                self.deliver(Event::ContainerStatus { container, status: Box::new(update.status) });
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

    /// Tells the core, and remembers for `/state` what the core forgets: as it was before, and with its last states.
    fn container_gone(&mut self, container: ContainerId, reason: Option<String>) {
        self.remember(&container);
        self.deliver(Event::ContainerGone { container: container.clone(), reason });
        self.remember(&container);
    }

    fn remember(&mut self, container: &ContainerId) {
        for forgotten in self.history.remember(&self.slave, container) {
            self.files.detach(&forgotten.name, &forgotten.directory);
        }
    }

    fn deliver(&mut self, event: Event) {
        for action in self.slave.handle(event, now()) {
            self.act(action);
        }
    }

    fn act(&mut self, action: Action) {
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
            Action::Launch(spec) => self.launch(*spec),
            Action::Kill { container, grace } => self.isolation.kill(&container, grace, instant),
            Action::Acknowledge { container, uuid } => {
                self.isolation.acknowledge(&container, &uuid);
            }
            Action::Exit => {
                self.network.flush();
                self.over = true;
            }
        }
    }

    fn launch(&mut self, mut spec: Spec) {
        spec.fetcher = Some(self.fetcher.clone());
        let Ok(container) = ContainerId::new(spec.container_id.clone()) else {
            return;
        };
        let result = prepare_sandbox(Path::new(&spec.sandbox))
            .map_err(|error| format!("cannot make the sandbox {}: {error}", spec.sandbox))
            .and_then(|()| {
                self.show_sandbox(&spec);
                self.isolation.launch(spec, Instant::now()).map_err(|error| error.to_string())
            });
        if let Err(reason) = result {
            self.container_gone(container, Some(reason));
        }
    }

    /// The executor's newest sandbox gets a name without the container's id, as in Mesos.
    fn show_sandbox(&mut self, spec: &Spec) {
        let ids = (spec.framework.id.as_ref().map(TryInto::try_into), (&spec.executor.executor_id).try_into());
        if let (Some(Ok(framework)), Ok(executor)) = ids {
            let name = slave::virtual_sandbox(&framework, &executor);
            self.files.attach(&name, &spec.sandbox);
        }
    }

    fn state(&self) -> State {
        let (history, flags) = (&self.history, &self.flags);
        State::of(&self.slave, history, flags, self.start_time, now().unix)
    }
}

/// The sandbox and, beside it, the link `latest`. Its parents are passable, it itself is its user's and ours.
fn prepare_sandbox(sandbox: &Path) -> io::Result<()> {
    let Some(runs) = sandbox.parent() else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    fs::DirBuilder::new().recursive(true).mode(0o755).create(runs)?;
    fs::DirBuilder::new().mode(0o750).create(sandbox)?;
    let latest = runs.join("latest");
    let _ = fs::remove_file(&latest);
    if let Err(error) = symlink(sandbox, &latest) {
        log::debug!("no link {}: {error}", latest.display());
    }
    Ok(())
}
