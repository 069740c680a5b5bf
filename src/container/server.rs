//! The child's side of the channel.
//!
//! One slave is connected at a time; a newer connection replaces the older. Updates are kept, in order, until a slave has
//! acknowledged them, and repeated to each new connection.
#![allow(unsafe_code)]

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::socket::{getsockopt, sockopt};

use super::connection::Connection;
use super::status::Update;
use super::{CHANNEL_FD, VERSION};
use crate::messages::container::{FromChild, Hello, ToChild, from_child};
use crate::messages::mesos::{Resource, TaskState};
use crate::poll::{Interest, PollSet};

/// How long a child waits for its first connection; the slave connects as soon as it has started the child.
const FIRST_CONNECTION: Duration = Duration::from_secs(10);

/// How many updates wait, each by itself, for a slave that acknowledges them.
const WAITING: usize = 1024;

/// Why there is no channel.
#[derive(Debug)]
pub enum ChannelError {
    /// Descriptor 3 is not a listening socket: the command was not started by a slave.
    NotInherited(io::Error),
    /// What a system call gave.
    Io(io::Error),
}

impl fmt::Display for ChannelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ChannelError::NotInherited(source) => write!(
                f,
                "descriptor {CHANNEL_FD} is no listening socket ({source}); this command is for the slave to start, not for you"
            ),
            ChannelError::Io(source) => write!(f, "cannot use the channel's socket: {source}"),
        }
    }
}

impl std::error::Error for ChannelError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            ChannelError::NotInherited(source) | ChannelError::Io(source) => Some(source),
        }
    }
}

/// What comes from the slave.
#[derive(Debug, Clone, PartialEq)]
pub enum FromParent {
    /// End the container: TERM, and KILL after the grace period.
    Kill {
        /// The grace period.
        grace: Duration,
    },
    /// These are the executor's resources now.
    ResourcesChanged(Vec<Resource>),
    /// The slave is gone, and nobody is to take its place: end the container. Comes once.
    Gone,
}

/// The channel.
#[derive(Debug)]
pub struct Channel {
    listener: UnixListener,
    container: String,
    checkpoint: bool,
    connection: Option<Connection>,
    updates: VecDeque<Update>,
    expected_by: Option<Instant>,
    gone: bool,
}

impl Channel {
    /// Takes over the listening socket that the slave left us as descriptor 3.
    ///
    /// # Errors
    /// When there is none.
    pub fn inherited(container: &str, checkpoint: bool, now: Instant) -> Result<Channel, ChannelError> {
        // Looked at before it is owned: closing a descriptor that is not ours would be an error of its own.
        // SAFETY: the borrow ends with the statement, and fcntl on a closed descriptor is an error, not undefined.
        let probe = unsafe { std::os::fd::BorrowedFd::borrow_raw(CHANNEL_FD) };
        let listening =
            getsockopt(&probe, sockopt::AcceptConn).map_err(|error| ChannelError::NotInherited(error.into()))?;
        if !listening {
            return Err(ChannelError::NotInherited(io::ErrorKind::InvalidInput.into()));
        }
        // SAFETY: the slave gave us this descriptor for this one purpose, and nothing else in this process owns it.
        let fd = unsafe { OwnedFd::from_raw_fd(CHANNEL_FD) };
        // Our own children have no business with it.
        fcntl(&fd, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).map_err(|error| ChannelError::Io(error.into()))?;
        Channel::new(UnixListener::from(fd), container, checkpoint, now)
    }

    /// A channel over a listening socket.
    ///
    /// # Errors
    /// What `fcntl(2)` gives.
    pub fn new(
        listener: UnixListener,
        container: &str,
        checkpoint: bool,
        now: Instant,
    ) -> Result<Channel, ChannelError> {
        listener.set_nonblocking(true).map_err(ChannelError::Io)?;
        Ok(Channel {
            listener,
            container: container.to_string(),
            checkpoint,
            connection: None,
            updates: VecDeque::new(),
            expected_by: Some(now + FIRST_CONNECTION),
            gone: false,
        })
    }

    /// Waits for connections and what comes over the one there is.
    pub fn register(&self, set: &mut PollSet) {
        set.add(self.listener.as_raw_fd(), Interest::Read);
        if let Some(connection) = &self.connection {
            connection.register(set);
        }
    }

    /// When to call [`Channel::turn`] though nothing came.
    pub fn deadline(&self) -> Option<Instant> {
        self.expected_by
    }

    /// Takes what has come.
    pub fn turn(&mut self, now: Instant) -> Vec<FromParent> {
        self.accept();
        let mut events = self.read();
        if self.connection.is_none() {
            self.accept();
            events.extend(self.read());
        }
        let overdue = self.expected_by.is_some_and(|by| now >= by);
        if overdue {
            self.expected_by = None;
        }
        let had_one = self.expected_by.is_none();
        if self.connection.is_none() && had_one && !self.checkpoint && !self.gone {
            self.gone = true;
            events.push(FromParent::Gone);
        }
        events
    }

    /// A step of the container's life is done. Only the slave of the moment hears of it.
    pub fn send_step(&mut self, name: &str, took: Duration) {
        let step =
            from_child::Step { name: name.to_string(), took_ms: took.as_millis().min(u128::from(u64::MAX)) as u64 };
        self.send(&FromChild { step: Some(step), ..Default::default() });
    }

    /// The command's URIs have been fetched, or not. Only the slave of the moment hears of it.
    pub fn send_fetched(&mut self, succeeded: bool) {
        self.send(&FromChild { fetched: Some(succeeded), ..Default::default() });
    }

    /// An update that is repeated until it is acknowledged.
    pub fn send_update(&mut self, update: Update) {
        self.send(&update.to_message());
        // A check may change its mind for days while no slave is there.
        let many = self.updates.len() >= WAITING;
        match self.updates.back_mut().filter(|last| many && is_superseded(last, &update)) {
            Some(last) => *last = update,
            None => self.updates.push_back(update),
        }
    }

    /// Whether every update has been acknowledged.
    pub fn is_settled(&self) -> bool {
        self.updates.is_empty()
    }

    fn send(&mut self, message: &FromChild) {
        if let Some(connection) = &mut self.connection {
            connection.send(message);
        }
    }

    fn accept(&mut self) {
        loop {
            match self.listener.accept() {
                Ok((stream, _)) => self.take(stream),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) => {
                    log::warn!("cannot take a connection from the slave: {error}");
                    return;
                }
            }
        }
    }

    fn take(&mut self, stream: UnixStream) {
        if let Err(reason) = check_peer(&stream) {
            log::warn!("refused a connection: {reason}");
            return;
        }
        match Connection::new(stream) {
            Ok(mut connection) => {
                connection.send(&FromChild {
                    hello: Some(Hello { version: VERSION, container_id: self.container.clone() }),
                    ..Default::default()
                });
                for update in &self.updates {
                    connection.send(&update.to_message());
                }
                self.connection = Some(connection);
                self.expected_by = None;
            }
            Err(error) => log::warn!("cannot use a connection from the slave: {error}"),
        }
    }

    fn read(&mut self) -> Vec<FromParent> {
        let Some(connection) = &mut self.connection else {
            return Vec::new();
        };
        let messages: Vec<ToChild> = connection.turn();
        let mut ended = connection.ended().map(str::to_string);
        let mut events = Vec::new();
        for message in messages {
            match self.understand(message) {
                Ok(some) => events.extend(some),
                Err(reason) => {
                    ended = Some(reason);
                    break;
                }
            }
        }
        if let Some(reason) = ended {
            log::info!("the slave's connection ended: {reason}");
            self.connection = None;
        }
        events
    }

    fn understand(&mut self, message: ToChild) -> Result<Vec<FromParent>, String> {
        if let Some(hello) = message.hello {
            check_hello(&hello, &self.container)?;
        }
        if let Some(uuid) = message.acknowledge {
            self.updates.retain(|update| update.status.uuid.as_ref() != Some(&uuid));
        }
        let kill = message.kill.map(|kill| FromParent::Kill { grace: Duration::from_millis(kill.grace_ms) });
        let changed = message.resources_changed.map(|changed| FromParent::ResourcesChanged(changed.resources));
        Ok(kill.into_iter().chain(changed).collect())
    }
}

/// The one says nothing that the other, which is later, does not say as well.
fn is_superseded(one: &Update, other: &Update) -> bool {
    let runs = |update: &Update| update.status.state() == TaskState::TaskRunning;
    runs(one) && runs(other)
}

/// Whether the other side is of our version and means this container.
///
/// # Errors
/// What was expected and what came.
pub fn check_hello(hello: &Hello, container: &str) -> Result<(), String> {
    if hello.version != VERSION {
        return Err(format!("expected version {VERSION} of the channel, got {}", hello.version));
    }
    if hello.container_id != container {
        return Err(format!("expected container {container}, got {:?}", hello.container_id));
    }
    Ok(())
}

/// Root and we ourselves may speak here. The directory's mode says the same; this holds where somebody widened it.
fn check_peer(stream: &UnixStream) -> Result<(), String> {
    let peer = getsockopt(stream, sockopt::PeerCredentials).map_err(|error| error.to_string())?;
    let ours = nix::unistd::geteuid().as_raw();
    if peer.uid() == 0 || peer.uid() == ours {
        return Ok(());
    }
    Err(format!("its user is {}, not root and not {ours}", peer.uid()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::directory::RuntimeDirectory;
    use crate::container::scratch::Scratch;
    use crate::messages::container::to_child;
    use crate::messages::mesos::{TaskId, TaskStatus};

    struct Pair {
        directory: RuntimeDirectory,
        channel: Channel,
        start: Instant,
        _scratch: Scratch,
    }

    fn pair(checkpoint: bool) -> Pair {
        let scratch = Scratch::new();
        let directory = RuntimeDirectory::new(scratch.path());
        let start = Instant::now();
        let listener = directory.listen().expect("listen");
        let channel = Channel::new(listener, "c", checkpoint, start).expect("channel");
        Pair { directory, channel, start, _scratch: scratch }
    }

    impl Pair {
        fn connect(&self) -> Connection {
            let stream = self.directory.connect().expect("connect");
            Connection::new(stream).expect("connection")
        }
    }

    fn status(uuid: u8) -> Update {
        let status = TaskStatus {
            task_id: TaskId { value: "t".into() },
            state: TaskState::TaskRunning as i32,
            uuid: Some(vec![uuid; 16]),
            ..Default::default()
        };
        Update { status, wait_status: None }
    }

    fn uuids(connection: &mut Connection) -> Vec<u8> {
        let messages: Vec<FromChild> = connection.turn();
        let updates = messages.into_iter().filter_map(|message| message.update);
        updates.filter_map(|status| status.uuid.and_then(|uuid| uuid.first().copied())).collect()
    }

    /// Turns until something is told, or holds: a child that another test is just starting may hold a connection that was dropped
    /// until it has become its program.
    fn until<T>(mut look: impl FnMut() -> Option<T>) -> T {
        let end = Instant::now() + Duration::from_secs(60);
        loop {
            match look() {
                Some(found) => return found,
                None => assert!(Instant::now() < end, "the end of a connection is not noticed"),
            }
        }
    }

    fn kill() -> ToChild {
        ToChild { kill: Some(to_child::Kill { grace_ms: 5000 }), ..Default::default() }
    }

    #[test]
    fn what_a_slave_says_before_the_child_listens_is_not_lost() {
        let mut pair = pair(false);
        let mut slave = pair.connect();
        slave.send(&kill());
        let grace = Duration::from_secs(5);
        assert_eq!(pair.channel.turn(pair.start), [FromParent::Kill { grace }]);
    }

    #[test]
    fn what_a_check_says_while_no_slave_is_there_has_a_bound_and_its_last_word_and_the_end_are_kept() {
        let mut channel = pair(true).channel;
        (0..WAITING + 100).for_each(|count| channel.send_update(status((count % 251) as u8)));
        channel.send_update(status(252));
        let mut end = status(253);
        end.status.state = TaskState::TaskFinished as i32;
        channel.send_update(end);
        assert_eq!(channel.updates.len(), WAITING + 1);
        let last = channel.updates.iter().rev().take(3).map(|update| update.status.uuid.clone().expect("uuid")[0]);
        assert_eq!(last.collect::<Vec<_>>(), [253, 252, ((WAITING - 2) % 251) as u8]);
    }

    #[test]
    fn updates_are_repeated_in_order_to_a_new_slave_until_it_acknowledges_them() {
        let mut pair = pair(true);
        let mut first = pair.connect();
        pair.channel.turn(pair.start);
        pair.channel.send_update(status(1));
        pair.channel.send_update(status(2));
        assert_eq!(uuids(&mut first), [1, 2]);
        drop(first);
        let mut second = pair.connect();
        assert_eq!(pair.channel.turn(pair.start), []);
        assert_eq!(uuids(&mut second), [1, 2]);
        second.send(&ToChild { acknowledge: Some(vec![1; 16]), ..Default::default() });
        pair.channel.turn(pair.start);
        assert!(!pair.channel.is_settled());
        second.send(&ToChild { acknowledge: Some(vec![2; 16]), ..Default::default() });
        pair.channel.turn(pair.start);
        assert!(pair.channel.is_settled());
    }

    #[test]
    fn a_newer_connection_replaces_the_older() {
        let mut pair = pair(false);
        let mut older = pair.connect();
        pair.channel.turn(pair.start);
        let mut newer = pair.connect();
        assert_eq!(pair.channel.turn(pair.start), []);
        until(|| {
            let _: Vec<FromChild> = older.turn();
            older.ended().map(drop)
        });
        newer.send(&kill());
        assert_eq!(pair.channel.turn(pair.start).len(), 1);
    }

    #[test]
    fn without_checkpointing_a_slave_that_ended_is_gone_once() {
        let mut pair = pair(false);
        drop(pair.connect());
        let told = until(|| Some(pair.channel.turn(pair.start)).filter(|told| !told.is_empty()));
        assert_eq!(told, [FromParent::Gone]);
        assert_eq!(pair.channel.turn(pair.start), []);
    }

    #[test]
    fn with_checkpointing_the_child_waits_for_the_next_slave() {
        let mut pair = pair(true);
        drop(pair.connect());
        assert_eq!(pair.channel.turn(pair.start), []);
    }

    #[test]
    fn a_slave_that_never_connects_is_gone_by_the_deadline() {
        let mut pair = pair(false);
        assert_eq!(pair.channel.turn(pair.start), []);
        let deadline = pair.channel.deadline().expect("deadline");
        assert_eq!(pair.channel.turn(deadline), [FromParent::Gone]);
    }

    #[test]
    fn another_version_or_container_ends_the_connection() {
        for (version, container) in [(VERSION + 1, "c"), (VERSION, "d")] {
            let mut pair = pair(false);
            let mut slave = pair.connect();
            let hello = Hello { version, container_id: container.into() };
            slave.send(&ToChild { hello: Some(hello), ..kill() });
            assert_eq!(pair.channel.turn(pair.start), [FromParent::Gone]);
        }
    }
}
