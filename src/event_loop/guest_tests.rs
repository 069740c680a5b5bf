//! What a guest can say to the slave: peers on loopback addresses that stand for guests, over real connections.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::os::fd::AsRawFd;
use std::time::Instant;

use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, bind, connect, socket};
use prost::{Message, Name};

use super::tests::{PATIENCE, shell};
use super::*;
use crate::ids::{ExecutorId, FrameworkId};
use crate::libprocess::Pid;
use crate::messages::mesos::internal::*;
use crate::slave::executor::Standing;
use crate::token::Key;

/// The two guests, of which `OWN` has the executor, and a peer that is none.
const OWN: Ipv4Addr = Ipv4Addr::new(127, 9, 0, 2);
const OTHER: Ipv4Addr = Ipv4Addr::new(127, 9, 0, 3);
const HOST: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 1);

const MASTER: &str = "master@127.0.0.1:1";

/// A registered slave with executor `E` of framework `F`, whose guest has the address `OWN` if that is known.
struct Host {
    shell: EventLoop,
    set: PollSet,
    /// Of the executor that was launched last, and the token in its environment.
    container: Option<String>,
    token: Option<String>,
}

impl Host {
    fn new(known: bool) -> Host {
        Host::with(known, None)
    }

    /// `key`: executors have to show their tokens.
    fn with(known: bool, key: Option<Key>) -> Host {
        let mut shell = shell(MASTER.parse().expect("a pid"), None, key);
        shell.guests = Some(Guests { gateway: Ipv4Addr::new(127, 9, 0, 1), prefix: 24 });
        let mut host = Host { shell, set: PollSet::new(), container: None, token: None };
        host.tell(Event::MasterDetected(MASTER.parse().expect("a pid")));
        let slave_id = mesos::SlaveId { value: "S0".into() };
        host.hear(FromMaster::Registered(Box::new(SlaveRegisteredMessage { slave_id, connection: None })));
        let executor = mesos::ExecutorInfo {
            executor_id: mesos::ExecutorId { value: "E".into() },
            command: Some(mesos::CommandInfo { value: Some("./executor".into()), ..Default::default() }),
            ..Default::default()
        };
        let task = mesos::TaskInfo {
            name: "a".into(),
            task_id: mesos::TaskId { value: "a".into() },
            slave_id: mesos::SlaveId { value: "S0".into() },
            executor: Some(executor),
            ..Default::default()
        };
        let framework = framework();
        let launched =
            host.hear(FromMaster::RunTask(Box::new(RunTaskMessage { framework, task, ..Default::default() })));
        if let (true, Some(container)) = (known, launched) {
            host.tell(Event::ExecutorStarted { container, address: Some(OWN), runs: true });
        }
        host
    }

    /// Straight to the core: nothing is launched.
    fn tell(&mut self, event: Event) -> Option<ContainerId> {
        let actions = self.shell.slave.handle(event, now());
        actions.into_iter().find_map(|action| match action {
            Action::Launch(spec) => {
                let name = "MESOS_EXECUTOR_AUTHENTICATION_TOKEN";
                self.token = spec.environment.iter().find(|each| each.name == name).map(|each| each.value.clone());
                self.container = Some(spec.container_id.clone());
                ContainerId::new(spec.container_id).ok()
            }
            _ => None,
        })
    }

    fn hear(&mut self, message: FromMaster) -> Option<ContainerId> {
        self.tell(Event::Message { from: MASTER.parse().expect("a pid"), message })
    }

    fn standing(&self) -> Standing {
        let ids = (FrameworkId::new("F").expect("id"), ExecutorId::new("E").expect("id"));
        self.shell.slave.standing(&ids.0, &ids.1, OWN)
    }

    /// Sends bytes from an address, and gives the answer's head and body: what comes until there is an end of a head, or the
    /// connection's end.
    fn ask(&mut self, from: Ipv4Addr, request: &[u8]) -> String {
        let mut stream = dial(from, self.shell.network.address());
        stream.write_all(request).expect("write");
        self.read_until(&mut stream, "\r\n\r\n")
    }

    /// What comes on a connection until there is such a text, or the connection's end.
    fn read_until(&mut self, stream: &mut TcpStream, text: &str) -> String {
        stream.set_nonblocking(true).expect("non-blocking");
        let (end, mut heard) = (Instant::now() + PATIENCE, Vec::new());
        while !String::from_utf8_lossy(&heard).contains(text) {
            let mut bytes = [0; 4096];
            match stream.read(&mut bytes) {
                Ok(0) => break,
                Ok(count) => {
                    heard.extend_from_slice(&bytes[..count]);
                    continue;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => panic!("{error}"),
            }
            assert!(Instant::now() < end, "no answer: {}", String::from_utf8_lossy(&heard));
            self.set.clear();
            self.shell.register(&mut self.set);
            self.set.add(stream.as_raw_fd(), crate::poll::Interest::Read);
            self.set.wait(earlier(self.shell.deadline(), Some(end))).expect("poll");
            self.shell.turn(&self.set).expect("a turn");
        }
        String::from_utf8_lossy(&heard).into_owned()
    }

    /// Posts a libprocess message as somebody; it is always answered in the same way.
    fn post<M: Message + Name>(&mut self, from: Ipv4Addr, pid: &str, to: &str, message: &M) {
        let (sender, to): (Pid, Pid) =
            (pid.parse().expect("a pid"), format!("{to}@127.0.0.1:1").parse().expect("a pid"));
        let bytes = crate::libprocess::encode_message(
            Default::default(),
            &sender,
            &to,
            &M::full_name(),
            &message.encode_to_vec(),
        );
        assert!(self.ask(from, &bytes).starts_with("HTTP/1.1 202 "), "libprocess accepts all");
    }

    fn call(&mut self, from: Ipv4Addr, rest: &str) -> String {
        let answer = self.call_with(from, "", rest);
        answer.split_ascii_whitespace().nth(1).unwrap_or_default().to_string()
    }

    fn call_with(&mut self, from: Ipv4Addr, headers: &str, rest: &str) -> String {
        self.ask(from, request(headers, rest).as_bytes())
    }

    /// What the slave has, of which nothing is to change: frameworks, executors, tasks.
    fn state(&self) -> String {
        let state = crate::api::State::of(&self.shell.slave, &self.shell.history, &self.shell.flags, 0.0, 0.0);
        let text = format!("{state:?}");
        text.split_once(" frameworks: ").expect("frameworks").1.to_string()
    }
}

/// A call of executor `E`.
fn request(headers: &str, rest: &str) -> String {
    let body = format!(r#"{{"framework_id":{{"value":"F"}},"executor_id":{{"value":"E"}},{rest}}}"#);
    format!(
        "POST /api/v1/executor HTTP/1.1\r\n{headers}Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn framework() -> mesos::FrameworkInfo {
    let id = Some(mesos::FrameworkId { value: "F".into() });
    mesos::FrameworkInfo { user: "root".into(), name: "f".into(), id, ..Default::default() }
}

/// A connection from an address of loopback's.
fn dial(from: Ipv4Addr, to: SocketAddrV4) -> TcpStream {
    let socket = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).expect("a socket");
    bind(socket.as_raw_fd(), &SockaddrIn::from(SocketAddrV4::new(from, 0))).expect("bind");
    connect(socket.as_raw_fd(), &SockaddrIn::from(SocketAddrV4::new(HOST, to.port()))).expect("connect");
    TcpStream::from(socket)
}

fn register(executor: &str) -> RegisterExecutorMessage {
    RegisterExecutorMessage {
        framework_id: mesos::FrameworkId { value: "F".into() },
        executor_id: mesos::ExecutorId { value: executor.into() },
    }
}

const SUBSCRIBE: &str = r#""type":"SUBSCRIBE","subscribe":{}"#;
const MESSAGE: &str = r#""type":"MESSAGE","message":{"data":"eA=="}"#;

#[test]
fn a_guests_own_executor_registers_by_either_api() {
    let mut host = Host::new(true);
    host.post(OWN, "executor(1)@127.9.0.2:4000", "slave(1)", &register("E"));
    assert_eq!(host.standing(), Standing::Registered);
    assert_eq!(host.call(OWN, MESSAGE), "202");
    assert_eq!(Host::new(true).call(OWN, SUBSCRIBE), "200");
}

#[test]
fn a_neighbour_gets_403_or_is_not_heard_and_changes_nothing() {
    for known in [true, false] {
        let mut host = Host::new(known);
        let before = host.state();
        assert_eq!(host.call(OTHER, SUBSCRIBE), "403");
        assert_eq!(host.call(OTHER, MESSAGE), "403");
        host.post(OTHER, "executor(1)@127.9.0.3:4000", "slave(1)", &register("E"));
        host.post(OTHER, "executor(1)@127.9.0.2:4000", "slave(1)", &register("E"));
        assert_ne!(host.standing(), Standing::Registered);
        assert_eq!(host.state(), before);
    }
}

#[test]
fn before_a_guests_address_is_known_nobody_speaks_for_it_from_anywhere() {
    let mut host = Host::new(false);
    for peer in [OWN, OTHER, HOST] {
        assert_eq!(host.call(peer, SUBSCRIBE), "403");
        host.post(peer, &format!("executor(1)@{peer}:4000"), "slave(1)", &register("E"));
    }
    assert_eq!(host.standing(), Standing::Elsewhere);
}

#[test]
fn an_executor_has_the_slave_answer_to_no_other_address_than_its_own() {
    let mut host = Host::new(true);
    for liar in ["executor(1)@127.9.0.3:4000", "master@127.0.0.1:1", "executor(1)@127.0.0.1:4000"] {
        host.post(OWN, liar, "slave(1)", &register("E"));
        assert_eq!(host.standing(), Standing::Unregistered, "{liar}");
    }
}

#[test]
fn a_guest_is_no_master_whatever_it_calls_itself() {
    let mut host = Host::new(true);
    let before = host.state();
    let task = mesos::TaskInfo {
        name: "evil".into(),
        task_id: mesos::TaskId { value: "evil".into() },
        slave_id: mesos::SlaveId { value: "S0".into() },
        command: Some(mesos::CommandInfo { value: Some("touch /tmp/x".into()), ..Default::default() }),
        ..Default::default()
    };
    let run = RunTaskMessage { framework: framework(), task, launch_executor: Some(true), ..Default::default() };
    let framework_id = mesos::FrameworkId { value: "F".into() };
    for master in [MASTER, "master@127.9.0.2:5050"] {
        host.post(OWN, master, "slave(1)", &run);
        host.post(OWN, master, "slave(1)", &ShutdownMessage { message: Some("die".into()) });
        host.post(OWN, master, "slave(1)", &ShutdownFrameworkMessage { framework_id: framework_id.clone() });
        host.post(OWN, master, "slave(1)", &PingSlaveMessage { connected: false });
        host.post(OWN, master, "crammd5-authenticatee(1)", &AuthenticationCompletedMessage {});
        host.post(OWN, master, "nobody", &PingSlaveMessage { connected: false });
    }
    assert_eq!(host.state(), before);
    // The very same is heard from the master's side of the host.
    host.post(HOST, MASTER, "slave(1)", &ShutdownFrameworkMessage { framework_id });
    assert_ne!(host.state(), before);
}

#[test]
fn with_authentication_a_call_needs_the_token_of_that_executor_in_that_container() {
    let key = Key::new(b"secret");
    let mut host = Host::with(true, Some(key.clone()));
    let container = host.container.clone().expect("a container");
    let bearer = |token: &str| format!("Authorization: Bearer {token}\r\n");
    let heartbeat = r#""type":"HEARTBEAT""#;
    for rest in [SUBSCRIBE, MESSAGE, heartbeat] {
        let answer = host.call_with(OWN, "", rest);
        assert!(answer.starts_with("HTTP/1.1 401 Unauthorized\r\n"), "{answer}");
        let lines: Vec<&str> = answer.lines().collect();
        assert!(lines.contains(&r#"WWW-Authenticate: Bearer realm="mesos-agent-executor""#), "{answer}");
    }
    let forged = bearer(&Key::new(b"guessed").issue("F", "E", &container));
    assert!(host.call_with(OWN, &forged, SUBSCRIBE).contains("Token signature does not match"));
    for (framework, executor, container) in [("G", "E", &*container), ("F", "X", &*container), ("F", "E", "another")] {
        let token = bearer(&key.issue(framework, executor, container));
        assert!(host.call_with(OWN, &token, SUBSCRIBE).starts_with("HTTP/1.1 403 "));
    }
    let own = bearer(&key.issue("F", "E", &container));
    assert!(host.call_with(OTHER, &own, SUBSCRIBE).starts_with("HTTP/1.1 403 "), "a stolen token");
    assert_eq!(host.token.as_deref(), Some(key.issue("F", "E", &container).as_str()), "what the executor is given");
    assert!(host.call_with(OWN, &own, heartbeat).starts_with("HTTP/1.1 202 "));
    assert!(host.call_with(OWN, &own, SUBSCRIBE).starts_with("HTTP/1.1 200 "));
}

#[test]
fn an_old_driver_has_no_token_and_registers_without_one() {
    let mut host = Host::with(true, Some(Key::new(b"secret")));
    host.post(OWN, "executor(1)@127.9.0.2:4000", "slave(1)", &register("E"));
    assert_eq!(host.standing(), Standing::Registered);
}

#[test]
fn a_guest_sees_nothing_of_what_the_slave_shows_to_others() {
    let mut host = Host::new(true);
    let paths =
        ["/state", "/slave(1)/state", "/flags", "/files/browse?path=/", "/metrics/snapshot", "/health", "//state"];
    let more =
        ["/monitor/statistics", "/slave(1)/containers", "/api/v1", "/slave(1)/api/v1", "/help", "/system/stats.json"];
    for path in paths.into_iter().chain(more) {
        let request = format!("GET {path} HTTP/1.1\r\n\r\n");
        assert!(host.ask(OWN, request.as_bytes()).starts_with("HTTP/1.1 403 "), "{path}");
    }
    assert!(host.ask(HOST, b"GET /health HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 200 "));
}

#[test]
fn a_guest_says_nothing_of_tasks_that_the_slave_runs_itself() {
    let mut host = Host::new(true);
    let slave_id = mesos::SlaveId { value: "S0".into() };
    let task = |name: &str| mesos::TaskInfo {
        name: name.into(),
        task_id: mesos::TaskId { value: name.into() },
        slave_id: slave_id.clone(),
        command: Some(mesos::CommandInfo { value: Some("true".into()), ..Default::default() }),
        ..Default::default()
    };
    let command = RunTaskMessage { framework: framework(), task: task("command"), ..Default::default() };
    host.hear(FromMaster::RunTask(Box::new(command)));
    let group = RunTaskGroupMessage {
        framework: framework(),
        executor: mesos::ExecutorInfo {
            r#type: Some(mesos::executor_info::Type::Default as i32),
            executor_id: mesos::ExecutorId { value: "pod".into() },
            ..Default::default()
        },
        task_group: mesos::TaskGroupInfo { tasks: vec![task("member")] },
        ..Default::default()
    };
    let holder = host.hear(FromMaster::RunTaskGroup(Box::new(group))).expect("a container");
    host.tell(Event::ExecutorStarted { container: holder, address: Some(OTHER), runs: true });
    let before = host.state();
    for (peer, executor, task) in [(OWN, "command", "command"), (OTHER, "pod", "member"), (OTHER, "pod", "command")] {
        let status = mesos::TaskStatus {
            task_id: mesos::TaskId { value: task.into() },
            state: TaskState::TaskFailed as i32,
            ..Default::default()
        };
        let update = StatusUpdate {
            framework_id: mesos::FrameworkId { value: "F".into() },
            executor_id: Some(mesos::ExecutorId { value: executor.into() }),
            slave_id: Some(slave_id.clone()),
            status,
            uuid: Some(vec![1; 16]),
            ..Default::default()
        };
        let driver = format!("executor(1)@{peer}:4000");
        host.post(peer, &driver, "slave(1)", &StatusUpdateMessage { update, pid: None });
        host.post(peer, &driver, "slave(1)", &register(executor));
    }
    assert_eq!(host.state(), before);
}

#[test]
fn a_subscription_hears_subscribed_first_and_a_heartbeat_every_half_hour() {
    let mut host = Host::new(true);
    let mut stream = dial(OWN, host.shell.network.address());
    stream.write_all(request("", SUBSCRIBE).as_bytes()).expect("write");
    let begin = Instant::now();
    let heard = host.read_until(&mut stream, "LAUNCH");
    assert!(heard.find("SUBSCRIBED") < heard.find("LAUNCH") && heard.contains("SUBSCRIBED"), "{heard}");
    let half_an_hour = std::time::Duration::from_secs(30 * 60);
    let due = host.shell.streams.deadline().expect("a heartbeat");
    assert!((begin + half_an_hour..=Instant::now() + half_an_hour).contains(&due));
    for now in [due, due + half_an_hour] {
        host.shell.heartbeats(now);
        assert!(host.read_until(&mut stream, "HEARTBEAT").ends_with("20\n{\"type\":\"HEARTBEAT\"}\r\n"));
        assert_eq!(host.shell.streams.deadline(), Some(now + half_an_hour));
    }
}

#[test]
fn a_call_that_says_nothing_is_refused_like_any_other_before_it_is_looked_at() {
    let mut host = Host::new(true);
    assert_eq!(host.call(OWN, r#""type":"UNKNOWN""#), "403");
    assert_eq!(host.call(OWN, SUBSCRIBE), "200");
    assert_eq!(host.call(OWN, r#""type":"UNKNOWN""#), "501");
    let get = host.ask(OWN, b"GET /api/v1/executor HTTP/1.1\r\n\r\n");
    assert!(get.starts_with("HTTP/1.1 405 ") && get.contains("\r\nAllow: POST\r\n"), "{get}");
}
