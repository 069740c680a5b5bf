//! The shell with a scripted master on loopback.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

use prost::{Message, Name};

use super::*;
use crate::credential::Credential;
use crate::isolation::{self, Kind};
use crate::libprocess::Pid;
use crate::messages::mesos;
use crate::messages::mesos::internal::*;
use crate::random::Random;
use crate::slave::{Authentication, Config};

/// A test that has not come to its end by then fails.
const PATIENCE: Duration = Duration::from_secs(30);

fn listen() -> Network {
    Network::listen(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)).expect("a listener")
}

/// A slave that runs nothing and has a credential.
fn shell(master: Pid) -> EventLoop {
    let network = listen();
    let config = Config {
        pid: Pid { id: "slave(1)".into(), address: network.address() },
        info: mesos::SlaveInfo::default(),
        work_dir: "/nonexistent".into(),
        switch_user: false,
        authentication: Some(Authentication {
            credential: Credential::new("agentp", "agentsecret"),
            timeout_min: PATIENCE,
            timeout_max: PATIENCE,
            backoff: PATIENCE,
        }),
        registration_backoff: Duration::from_millis(1),
        shutdown_grace: Duration::ZERO,
        recovery_timeout: Duration::ZERO,
    };
    EventLoop {
        slave: Slave::new(config, Random::from_seed(1)),
        detector: Detector::fixed(master, Random::from_seed(1)),
        network,
        isolation: isolation::create(Kind::Process, "/nonexistent".into()),
        fetcher: Default::default(),
        files: Files::new(),
        signals: Signals::block(&[]).expect("signals"),
        embedded: None,
        history: History::new(),
        flags: BTreeMap::new(),
        start_time: 0.0,
        over: false,
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
    let mut shell = shell(script.pid("master"));
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
    assert_eq!(
        script.heard,
        [
            "crammd5-authenticatee(1) to master: AuthenticateMessage",
            "crammd5-authenticatee(1) to crammd5-authenticator-session(7): AuthenticationStartMessage",
            "crammd5-authenticatee(1) to crammd5-authenticator-session(7): AuthenticationStepMessage",
            "slave(1) to master: RegisterSlaveMessage",
        ]
    );
}
