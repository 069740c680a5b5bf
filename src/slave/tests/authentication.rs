//! Scenarios of authentication, with invented time; and the conversation of a real agent with a real master, byte for byte.

use std::time::{Duration, Instant};

use prost::{Message, Name};

use super::super::*;
use crate::credential::Credential;
use crate::libprocess::{self, Dialect};
use crate::messages::mesos::internal::*;
use crate::random::Random;

const MASTER: &str = "master@127.0.0.1:5050";
const SESSION: &str = "crammd5-authenticator-session(1)@127.0.0.1:5050";
const SECOND: Duration = Duration::from_secs(1);

/// What the agent of the capture was told with `--credential`.
fn captured_credential() -> Credential {
    Credential::new("agentp", "agentsecret")
}

macro_rules! capture {
    ($path:literal) => {
        include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/wire/mesos-1.11/auth/", $path)).as_slice()
    };
}

fn pid(text: &str) -> Pid {
    text.parse().expect("pid")
}

struct World {
    slave: Slave,
    now: Now,
}

/// What the slave sent, and from which process.
#[derive(Debug)]
struct Sent {
    from: Pid,
    to: Pid,
    message: Outgoing,
}

impl Sent {
    fn is<M: Message + Name>(&self) -> bool {
        self.message.name == M::full_name()
    }

    fn request(&self) -> Vec<u8> {
        libprocess::encode_message(Dialect::Unknown, &self.from, &self.to, &self.message.name, &self.message.body)
    }
}

/// The only message that was sent.
fn only<M: Message + Name + Default>(sent: &[Sent]) -> M {
    let [one] = sent else { panic!("one {} in {sent:?}", M::full_name()) };
    one.message.decode().unwrap_or_else(|| panic!("{} in {sent:?}", M::full_name()))
}

impl World {
    fn new() -> World {
        let config = Config {
            info: mesos::SlaveInfo { hostname: "localhost".into(), port: Some(5051), ..Default::default() },
            authentication: Some(Authentication {
                credential: captured_credential(),
                timeout_min: 5 * SECOND,
                timeout_max: 60 * SECOND,
                backoff: SECOND,
            }),
            ..Config::of_tests(pid("slave(1)@127.0.0.1:5051"))
        };
        let now = Now { instant: Instant::now(), unix: 1_795_513_276.5 };
        World { slave: Slave::new(config, Random::from_seed(1)), now }
    }

    /// The master has been asked for its mechanisms.
    fn asked() -> World {
        let mut world = World::new();
        assert!(world.event(Event::MasterDetected(pid(MASTER))).is_empty());
        only::<AuthenticateMessage>(&world.later(SECOND));
        world
    }

    /// Our answer to the challenge is with the session.
    fn answered() -> World {
        let mut world = World::asked();
        world.converse(1, SESSION);
        world
    }

    fn event(&mut self, event: Event) -> Vec<Sent> {
        let own = self.slave.config().pid.clone();
        let sent = self.slave.handle(event, self.now).into_iter().filter_map(|action| match action {
            Action::Send { to, message } => Some(Sent { from: own.clone(), to, message }),
            Action::SendAs { from, to, message } => Some(Sent { from, to, message }),
            _ => None,
        });
        sent.collect()
    }

    fn later(&mut self, by: Duration) -> Vec<Sent> {
        self.now.instant += by;
        self.event(Event::Tick)
    }

    /// A message of an authenticator's for the n-th attempt.
    fn hear<M: Message + Name>(&mut self, from: &str, number: u64, message: &M) -> Vec<Sent> {
        let message = FromAuthenticator::decode(&M::full_name(), &message.encode_to_vec()).expect("a message");
        self.event(Event::Authentication { from: pid(from), to: format!("crammd5-authenticatee({number})"), message })
    }

    /// An attempt as far as our answer to the challenge.
    fn converse(&mut self, number: u64, session: &str) {
        let start: AuthenticationStartMessage = only(&self.hear(session, number, &mechanisms("CRAM-MD5")));
        assert_eq!(start.mechanism, "CRAM-MD5");
        only::<AuthenticationStepMessage>(&self.hear(session, number, &step("<1.2@vm>")));
    }

    /// The master takes us in.
    fn register(&mut self) {
        let id = mesos::SlaveId { value: "S0".into() };
        self.event(Event::Message {
            from: pid(MASTER),
            message: FromMaster::Registered(Box::new(SlaveRegisteredMessage { slave_id: id, connection: None })),
        });
        assert_eq!(self.slave.registered_master(), Some(&pid(MASTER)));
    }

    /// Waits for the next attempt and tells how long that took; nothing else is sent before.
    fn until_next_attempt(&mut self) -> (Duration, Sent) {
        let deadline = self.slave.deadline().expect("an attempt to come");
        let wait = deadline - self.now.instant;
        let mut sent = self.later(wait);
        assert!(sent.len() == 1 && sent[0].is::<AuthenticateMessage>(), "{sent:?}");
        (wait, sent.remove(0))
    }
}

fn mechanisms(name: &str) -> AuthenticationMechanismsMessage {
    AuthenticationMechanismsMessage { mechanisms: vec![name.into()] }
}

fn step(challenge: &str) -> AuthenticationStepMessage {
    AuthenticationStepMessage { data: challenge.into() }
}

/// Sender, receiver's id, name and body of a captured request.
fn parse(request: &[u8]) -> (Pid, String, String, Vec<u8>) {
    let end = request.windows(4).position(|four| four == b"\r\n\r\n").expect("a whole head");
    let head = std::str::from_utf8(&request[..end]).expect("ASCII");
    let target = head.split_whitespace().nth(1).expect("a target");
    let (to, name) = target[1..].split_once('/').expect("receiver and name");
    let from = head.lines().find_map(|line| line.strip_prefix("Libprocess-From: ")).expect("a sender");
    let mut body = &request[end + 4..];
    if let Some(line) = body.windows(2).position(|two| two == b"\r\n") {
        let size = std::str::from_utf8(&body[..line]).expect("ASCII");
        body = &body[line + 2..][..usize::from_str_radix(size, 16).expect("a chunk's size")];
    }
    (pid(from), to.to_string(), name.to_string(), body.to_vec())
}

#[test]
fn the_captured_conversation_is_spoken_byte_for_byte() {
    let conversation = [
        (None, capture!("0000_00000.000_36768-5050_req_master_mesos.internal.AuthenticateMessage.http")),
        (
            Some(capture!(
                "0002_00000.006_47162-5051_req_crammd5-authenticatee(1)_mesos.internal.AuthenticationMechanismsMessage.http"
            )),
            capture!(
                "0004_00000.008_36768-5050_req_crammd5-authenticator-session(1)_mesos.internal.AuthenticationStartMessage.http"
            ),
        ),
        (
            Some(capture!(
                "0006_00000.009_47162-5051_req_crammd5-authenticatee(1)_mesos.internal.AuthenticationStepMessage.http"
            )),
            capture!(
                "0007_00000.009_36768-5050_req_crammd5-authenticator-session(1)_mesos.internal.AuthenticationStepMessage.http"
            ),
        ),
    ];
    let mut world = World::new();
    world.event(Event::MasterDetected(pid(MASTER)));
    for (heard, expected) in conversation {
        let sent = match heard {
            None => world.later(SECOND),
            Some(request) => world.play(request),
        };
        assert_eq!(sent.len(), 1);
        assert_eq!(String::from_utf8_lossy(&sent[0].request()), String::from_utf8_lossy(expected));
    }
    let completed = capture!(
        "0009_00000.010_47162-5051_req_crammd5-authenticatee(1)_mesos.internal.AuthenticationCompletedMessage.http"
    );
    let sent = world.play(completed);
    let (from, to, name, body) =
        parse(capture!("0012_00000.013_36768-5050_req_master_mesos.internal.RegisterSlaveMessage.http"));
    let theirs = RegisterSlaveMessage::decode(body.as_slice()).expect("a registration");
    let ours: RegisterSlaveMessage = only(&sent);
    assert_eq!((&sent[0].from, &sent[0].to.id, &sent[0].message.name), (&from, &to, &name));
    assert_eq!((ours.version, ours.slave.port), (theirs.version, theirs.slave.port));
}

impl World {
    /// A captured request, as the event loop hands it on.
    fn play(&mut self, request: &[u8]) -> Vec<Sent> {
        let (from, to, name, body) = parse(request);
        assert!(is_authenticatee(&to), "{to}");
        let message = FromAuthenticator::decode(&name, &body).expect("a message");
        self.event(Event::Authentication { from, to, message })
    }
}

#[test]
fn nothing_is_registered_before_the_master_knows_us_and_at_once_when_it_does() {
    let mut world = World::answered();
    assert!(world.later(4 * SECOND).is_empty());
    only::<RegisterSlaveMessage>(&world.hear(SESSION, 1, &AuthenticationCompletedMessage {}));
    let mut sent = 0;
    for _ in 0..120 {
        let more = world.later(SECOND);
        assert!(more.iter().all(Sent::is::<RegisterSlaveMessage>), "{more:?}");
        sent += more.len();
    }
    assert!((4..=12).contains(&sent), "{sent} registrations in two minutes");
}

#[test]
fn a_silent_master_is_asked_again_in_a_range_of_times_that_doubles_to_a_minute() {
    let mut world = World::asked();
    let (mut limit, mut longest) = (7 * SECOND, Duration::ZERO);
    for number in 2..30 {
        let (wait, sent) = world.until_next_attempt();
        assert!((5 * SECOND..=limit).contains(&wait), "attempt {number}: {wait:?} of {limit:?}");
        assert_eq!(sent.from.id, format!("crammd5-authenticatee({number})"));
        longest = longest.max(wait);
        limit = (5 * SECOND + (limit - 5 * SECOND) * 2).min(60 * SECOND);
    }
    assert!(longest > 40 * SECOND, "{longest:?}");
}

#[test]
fn a_refused_secret_is_tried_again_with_back_off_and_a_mended_one_gets_in() {
    let mut world = World::answered();
    assert!(world.hear(SESSION, 1, &AuthenticationFailedMessage {}).is_empty());
    assert!(world.hear(SESSION, 1, &AuthenticationCompletedMessage {}).is_empty());
    let (wait, _) = world.until_next_attempt();
    assert!(wait >= 4 * SECOND, "{wait:?}");
    let session = "crammd5-authenticator-session(2)@127.0.0.1:5050";
    world.converse(2, session);
    only::<RegisterSlaveMessage>(&world.hear(session, 2, &AuthenticationCompletedMessage {}));
}

#[test]
fn a_master_that_takes_no_authentication_says_so_and_is_not_registered_with() {
    let mut world = World::asked();
    let error = AuthenticationErrorMessage { error: Some("No authenticator loaded".into()) };
    assert!(world.hear(MASTER, 1, &error).is_empty());
    let (wait, _) = world.until_next_attempt();
    assert!(wait >= 4 * SECOND, "no spin: {wait:?}");
}

#[test]
fn what_the_mechanism_does_not_have_ends_the_attempt() {
    type Talk = fn(&mut World) -> Vec<Sent>;
    let talks: [(&str, Talk); 6] = [
        ("another mechanism", |world| world.hear(SESSION, 1, &mechanisms("GSSAPI"))),
        ("a challenge before the mechanisms", |world| world.hear(SESSION, 1, &step("<1.2@vm>"))),
        ("success before the challenge", |world| {
            world.hear(SESSION, 1, &mechanisms("CRAM-MD5"));
            world.hear(SESSION, 1, &AuthenticationCompletedMessage {})
        }),
        ("an empty challenge", |world| {
            world.hear(SESSION, 1, &mechanisms("CRAM-MD5"));
            world.hear(SESSION, 1, &step(""))
        }),
        ("an endless challenge", |world| {
            world.hear(SESSION, 1, &mechanisms("CRAM-MD5"));
            world.hear(SESSION, 1, &step(&"x".repeat(1025)))
        }),
        ("a second challenge", |world| {
            world.converse(1, SESSION);
            world.hear(SESSION, 1, &step("<3.4@vm>"))
        }),
    ];
    for (what, talk) in talks {
        let mut world = World::asked();
        assert!(talk(&mut world).is_empty(), "{what}");
        assert!(world.hear(SESSION, 1, &AuthenticationCompletedMessage {}).is_empty(), "{what}");
        world.until_next_attempt();
    }
}

#[test]
fn messages_from_somebody_else_than_the_session_are_dropped() {
    let mut world = World::asked();
    let elsewhere = "crammd5-authenticator-session(1)@127.0.0.1:6666";
    assert!(world.hear(elsewhere, 1, &mechanisms("CRAM-MD5")).is_empty());
    only::<AuthenticationStartMessage>(&world.hear(SESSION, 1, &mechanisms("CRAM-MD5")));
    for other in [elsewhere, MASTER, "crammd5-authenticator-session(9)@127.0.0.1:5050"] {
        assert!(world.hear(other, 1, &step("<1.2@vm>")).is_empty());
        assert!(world.hear(other, 1, &AuthenticationFailedMessage {}).is_empty());
    }
    only::<AuthenticationStepMessage>(&world.hear(SESSION, 1, &step("<1.2@vm>")));
    assert!(world.hear(elsewhere, 1, &AuthenticationCompletedMessage {}).is_empty());
    only::<RegisterSlaveMessage>(&world.hear(SESSION, 1, &AuthenticationCompletedMessage {}));
}

#[test]
fn what_an_earlier_attempt_still_hears_does_not_reach_the_next() {
    let mut world = World::answered();
    world.until_next_attempt();
    assert!(world.hear(SESSION, 1, &AuthenticationCompletedMessage {}).is_empty());
    assert!(world.hear(SESSION, 1, &mechanisms("CRAM-MD5")).is_empty());
    world.converse(2, "crammd5-authenticator-session(2)@127.0.0.1:5050");
}

#[test]
fn a_new_master_amid_an_authentication_is_authenticated_with_afresh() {
    let mut world = World::answered();
    let (master, session) = ("master@127.0.0.2:5050", "crammd5-authenticator-session(1)@127.0.0.2:5050");
    world.event(Event::MasterDetected(pid(master)));
    assert!(world.hear(SESSION, 1, &AuthenticationCompletedMessage {}).is_empty());
    let (_, sent) = world.until_next_attempt();
    assert_eq!((sent.to, sent.from.id.as_str()), (pid(master), "crammd5-authenticatee(2)"));
    world.converse(2, session);
    let sent = world.hear(session, 2, &AuthenticationCompletedMessage {});
    only::<RegisterSlaveMessage>(&sent);
    assert_eq!(sent[0].to, pid(master));
}

#[test]
fn a_slave_that_lost_touch_authenticates_before_it_registers_again() {
    let broken = Event::Exited(pid(MASTER));
    let told = Event::Message {
        from: pid("slave-observer(1)@127.0.0.1:5050"),
        message: FromMaster::Ping(Box::new(PingSlaveMessage { connected: false })),
    };
    for loss in [broken, told] {
        let mut world = World::answered();
        world.hear(SESSION, 1, &AuthenticationCompletedMessage {});
        world.register();
        world.event(loss);
        assert_eq!(world.slave.registered_master(), None);
        let (wait, _) = world.until_next_attempt();
        assert!(wait <= SECOND, "{wait:?}");
        let session = "crammd5-authenticator-session(2)@127.0.0.1:5050";
        world.converse(2, session);
        let again: ReregisterSlaveMessage = only(&world.hear(session, 2, &AuthenticationCompletedMessage {}));
        assert_eq!(again.slave.id.map(|id| id.value), Some("S0".into()));
    }
}

#[test]
fn a_master_that_was_replaced_before_it_took_us_in_is_authenticated_with_again() {
    let mut world = World::answered();
    world.hear(SESSION, 1, &AuthenticationCompletedMessage {});
    world.event(Event::Exited(pid(MASTER)));
    let (_, sent) = world.until_next_attempt();
    assert_eq!(sent.from.id, "crammd5-authenticatee(2)");
}

#[test]
fn a_master_that_is_away_does_not_hurry_the_attempts() {
    let mut world = World::asked();
    assert!(world.event(Event::Exited(pid(MASTER))).is_empty());
    let (wait, _) = world.until_next_attempt();
    assert!(wait >= 4 * SECOND, "{wait:?}");
}

#[test]
fn no_debug_output_of_the_slave_shows_the_secret() {
    let world = World::answered();
    let shown = format!("{:?}", world.slave);
    assert!(shown.contains("agentp") && !shown.contains("agentsecret"), "{shown}");
}
