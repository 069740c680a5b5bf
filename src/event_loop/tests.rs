//! The shell with a scripted master on loopback.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use prost::{Message, Name};

use super::*;
use crate::credential::Credential;
use crate::isolation::{self, Kind};
use crate::libprocess::Pid;
use crate::messages::mesos::internal::*;
use crate::random::Random;
use crate::slave::{Authentication, Config};
use crate::token::Key;

/// A test that has not come to its end by then fails.
pub(super) const PATIENCE: Duration = Duration::from_secs(120);

fn listen() -> Network {
    Network::listen(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)).expect("a listener")
}

fn authentication() -> Authentication {
    let credential = Credential::new("agentp", "agentsecret");
    Authentication { credential, timeout_min: PATIENCE, timeout_max: PATIENCE, backoff: PATIENCE }
}

/// A slave that runs nothing; in guests if it has no credential.
pub(super) fn shell(master: Pid, authentication: Option<Authentication>, key: Option<Key>) -> EventLoop {
    shell_in(master, "/nonexistent".into(), authentication, key)
}

pub(super) fn shell_in(
    master: Pid,
    work_dir: std::path::PathBuf,
    authentication: Option<Authentication>,
    key: Option<Key>,
) -> EventLoop {
    let network = listen();
    let config = Config {
        work_dir,
        switch_user: false,
        guests: authentication.is_none(),
        authenticate_executors: key.is_some(),
        token_key: key,
        authentication,
        registration_backoff: Duration::from_millis(1),
        shutdown_grace: Duration::ZERO,
        ..Config::of_tests(Pid { id: "slave(1)".into(), address: network.address() })
    };
    EventLoop {
        slave: Slave::new(config, Random::from_seed(1)),
        detector: Detector::fixed(master, Random::from_seed(1)),
        network,
        isolation: isolation::create(Kind::Process, "/nonexistent".into()),
        fetcher: Default::default(),
        files: Files::new(),
        streams: Streams::default(),
        guests: None,
        complaints: Complaints::default(),
        signals: Signals::block(&[]).expect("signals"),
        embedded: None,
        history: History::new(),
        meter: Default::default(),
        recovery: Duration::ZERO,
        fetches: Default::default(),
        flags: BTreeMap::new(),
        start_time: 0.0,
        over: false,
        failure: None,
    }
}

/// A master that answers each message with the next line of its part.
struct Script {
    network: Network,
    heard: Vec<String>,
}

impl Script {
    fn pid(&self, id: &str) -> Pid {
        Pid { id: id.into(), address: self.network.address() }
    }

    fn say<M: Message + Name>(&mut self, from: &str, to: &Pid, message: &M) {
        let from = self.pid(from);
        self.network.send(&from, to, &M::full_name(), &message.encode_to_vec(), Instant::now());
    }

    fn hear(&mut self, event: NetworkEvent) {
        let NetworkEvent::Message { from, to, name, body, .. } = event else { return };
        let name = name.trim_start_matches("mesos.internal.");
        self.heard.push(format!("{} to {to}: {name}", from.id));
        let session = "crammd5-authenticator-session(7)";
        match name {
            "AuthenticateMessage" => {
                let mechanisms = vec!["CRAM-MD5".to_string()];
                self.say(session, &from, &AuthenticationMechanismsMessage { mechanisms });
            }
            "AuthenticationStartMessage" => {
                let data = b"<3306376485.351271@vm>".to_vec();
                self.say(session, &from, &AuthenticationStepMessage { data });
            }
            "AuthenticationStepMessage" => {
                let step = AuthenticationStepMessage::decode(body.as_slice()).expect("a step");
                assert_eq!(String::from_utf8_lossy(&step.data), "agentp aa9cd4474624a02e26da687833053711");
                self.say(session, &from, &AuthenticationCompletedMessage {});
            }
            _ => {}
        }
    }
}

#[test]
fn the_exchange_of_authentication_finds_its_way_through_the_shell_and_registration_follows() {
    let mut script = Script { network: listen(), heard: Vec::new() };
    let mut shell = shell(script.pid("master"), Some(authentication()), None);
    let end = Instant::now() + PATIENCE;
    let mut set = PollSet::new();
    while script.heard.len() < 4 {
        assert!(Instant::now() < end, "heard only {:?}", script.heard);
        set.clear();
        shell.register(&mut set);
        script.network.register(&mut set);
        let deadline = earlier(earlier(shell.deadline(), script.network.deadline()), Some(end));
        set.wait(deadline).expect("poll");
        shell.turn(&set).expect("a turn");
        for event in script.network.turn(&set, Instant::now()) {
            script.hear(event);
        }
    }
    // On a slow machine it has asked again already: the back-off is a millisecond.
    assert_eq!(
        script.heard[..4],
        [
            "crammd5-authenticatee(1) to master: AuthenticateMessage",
            "crammd5-authenticatee(1) to crammd5-authenticator-session(7): AuthenticationStartMessage",
            "crammd5-authenticatee(1) to crammd5-authenticator-session(7): AuthenticationStepMessage",
            "slave(1) to master: RegisterSlaveMessage",
        ]
    );
}

/// A message of a process of 2012, with a body or without.
fn of_2012(from: &str, name: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("POST /slave/{name} HTTP/1.0\r\nUser-Agent: libprocess/{from}\r\nConnection: Keep-Alive\r\n");
    let mut bytes = head.into_bytes();
    if !body.is_empty() {
        bytes.extend_from_slice(format!("Transfer-Encoding: chunked\r\n\r\n{:x}\r\n", body.len()).as_bytes());
        bytes.extend_from_slice(body);
        bytes.extend_from_slice(b"\r\n0\r\n");
    }
    bytes.extend_from_slice(b"\r\n");
    bytes
}

#[test]
fn a_master_of_2012_finds_its_way_through_the_shell_and_is_answered_in_its_own_form() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a listener");
    listener.set_nonblocking(true).expect("non-blocking");
    let Ok(SocketAddr::V4(address)) = listener.local_addr() else { panic!("IPv4") };
    let mut shell = shell_in(Pid { id: "master".into(), address }, "/nonexistent".into(), None, None);
    let (mut seen, mut ours, mut theirs) = (String::new(), None::<TcpStream>, None::<TcpStream>);
    let (end, mut set) = (Instant::now() + PATIENCE, PollSet::new());
    while !seen.contains("/2/PONG") {
        assert!(Instant::now() < end, "the slave said only {seen:?}");
        set.clear();
        shell.register(&mut set);
        set.add(std::os::fd::AsRawFd::as_raw_fd(&listener), crate::poll::Interest::Read);
        ours.iter().for_each(|socket| set.add(std::os::fd::AsRawFd::as_raw_fd(socket), crate::poll::Interest::Read));
        set.wait(earlier(shell.deadline(), Some(end))).expect("poll");
        shell.turn(&set).expect("a turn");
        if let Ok((socket, _)) = listener.accept() {
            socket.set_nonblocking(true).expect("non-blocking");
            ours = Some(socket);
        }
        let mut bytes = [0; 4096];
        if let Some(Ok(count)) = ours.as_mut().map(|socket| socket.read(&mut bytes)) {
            seen.push_str(&String::from_utf8_lossy(&bytes[..count]));
        }
        if theirs.is_none() && seen.ends_with("0\r\n\r\n") {
            let mut socket = TcpStream::connect(shell.network.address()).expect("a connection");
            let registered =
                SlaveRegisteredMessage { slave_id: mesos::SlaveId { value: "S-0".into() }, connection: None };
            let name = SlaveRegisteredMessage::full_name();
            let bytes = of_2012(&format!("master@{address}"), &name, &registered.encode_to_vec());
            socket.write_all(&bytes).expect("written");
            socket.write_all(&of_2012(&format!("2@{address}"), "PING", b"")).expect("written");
            theirs = Some(socket);
        }
    }
    assert!(
        seen.starts_with(
            "POST /master/mesos.internal.RegisterSlaveMessage HTTP/1.1\r\nUser-Agent: libprocess/slave(1)@"
        )
    );
    assert!(seen.contains("POST /2/PONG HTTP/1.0\r\nUser-Agent: libprocess/slave(1)@"), "{seen}");
    assert_eq!(shell.slave.registered_master().map(|master| master.address), Some(address));
}

#[test]
fn reservations_that_cannot_be_written_down_end_the_slave() {
    let scratch = crate::container::scratch::Scratch::new();
    let master = Pid { id: "master".into(), address: listen().address() };
    let reserved = vec![crate::resources::scalar("cpus", 1.0)];
    let mut good = shell_in(master.clone(), scratch.path().into(), None, None);
    good.act(Action::CheckpointResources(reserved.clone()));
    assert!(!good.over);
    let kept = checkpoint::read_resources(&slave::resources_info(scratch.path())).expect("written");
    assert_eq!(kept, reserved);

    let file = scratch.path().join("no directory");
    fs::write(&file, "").expect("a file");
    let mut bad = shell_in(master, file, None, None);
    bad.act(Action::CheckpointResources(reserved));
    let error = bad.run().expect_err("not written").to_string();
    assert!(error.contains("cannot keep reservations in") && error.contains("resources.info"), "{error}");
}
