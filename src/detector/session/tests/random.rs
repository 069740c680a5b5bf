//! Servers that do anything at all, at any time: whatever they do, the session asks for one thing at a time, never spins, and tells
//! of leaders and losses in turn.

use super::*;

/// What the shell would have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Link {
    Down,
    Looking,
    Connecting,
    Up,
}

/// A session and the shell around it, held to what it may ask for.
struct Held {
    world: World,
    link: Link,
    leads: bool,
    connects: u64,
    /// Connections that were wanted while no time has passed.
    at_once: u64,
    /// The requests that wait for an answer: xid and opcode.
    asked: Vec<(i32, i32)>,
    random: Random,
}

impl Held {
    fn new(seed: u64) -> Held {
        let master = ["zk://a:1/mesos", "zk://u:p@a:1,b:2/mesos", "zk://a:1,b:2,c:3/mesos"][seed as usize % 3];
        let (world, random) = (World::new(master), Random::from_seed(seed));
        Held { world, link: Link::Down, leads: false, connects: 0, at_once: 0, asked: Vec::new(), random }
    }

    fn dice(&mut self, sides: u64) -> u64 {
        self.random.next_u64() % sides
    }

    fn handle(&mut self, input: Input) {
        if matches!(input, Input::Failed(_)) {
            self.link = Link::Down;
        }
        for output in self.world.session.handle(input, self.world.now) {
            self.check(output);
        }
        assert!(self.world.session.deadline() > Some(self.world.now), "it would spin");
    }

    fn check(&mut self, output: Output) {
        match output {
            Output::Connect(_) => {
                assert_eq!(self.link, Link::Down);
                self.link = Link::Looking;
                self.connects += 1;
                self.at_once += 1;
                assert!(self.at_once <= 2, "one for a session that is over, one for a new one, and then it waits");
                self.asked.clear();
            }
            Output::Send(bytes) => {
                assert_eq!(self.link, Link::Up);
                let int = |at: usize| bytes.get(at..at + 4).map(|four| i32::from_be_bytes(four.try_into().unwrap()));
                self.asked.extend(int(4).zip(int(8)).filter(|(xid, _)| *xid > 0));
                assert!(self.asked.len() <= 1, "more than one question");
            }
            Output::Disconnect => self.link = Link::Down,
            Output::Detected(_) => self.leads = true,
            Output::Lost => assert!(std::mem::replace(&mut self.leads, false), "lost before it was found"),
        }
    }

    /// Something that may happen now.
    fn step(&mut self) {
        match (self.link, self.dice(16)) {
            (_, 0) => self.pass(),
            (Link::Down, _) => self.pass(),
            (_, 1) => self.handle(Input::Failed("it broke".into())),
            (Link::Looking, _) => {
                self.link = Link::Connecting;
                self.handle(Input::Resolved);
            }
            (Link::Connecting, _) => {
                self.link = Link::Up;
                self.handle(Input::Connected);
            }
            (Link::Up, _) => {
                let bytes = self.says();
                self.handle(Input::Bytes(&bytes));
            }
        }
    }

    /// Time passes, mostly to the deadline.
    fn pass(&mut self) {
        let due = self.world.session.deadline().expect("deadline");
        let later = match self.dice(4) {
            0 => self.random.duration_up_to(Duration::from_secs(20)),
            _ => Duration::ZERO,
        };
        self.world.now = due + later;
        self.at_once = 0;
        self.handle(Input::Tick);
    }

    /// What a server says: mostly what it was asked for.
    fn says(&mut self) -> Vec<u8> {
        let greets = matches!(self.world.session.state, State::Greeting { .. });
        match self.dice(20) {
            0 => event(self.random.next_u64() as i32 % 5, ["/mesos", "/mesos/x", "/other", ""][self.dice(4) as usize]),
            1 => pong(),
            2 => {
                let xid = self.dice(9) as i32 - 4;
                self.asked.retain(|(asked, _)| *asked != xid);
                answer(xid, -(self.dice(120) as i32), &[])
            }
            3 => (0..self.dice(40)).map(|_| self.random.next_u64() as u8).collect(),
            _ if greets => connected([0, 1, 4000, 10_000, i32::MAX][self.dice(5) as usize], self.dice(8) as i64),
            _ => match self.asked.pop() {
                None => pong(),
                Some((xid, opcode)) => self.answers(xid, opcode),
            },
        }
    }

    fn answers(&mut self, xid: i32, opcode: i32) -> Vec<u8> {
        let code = [0, 0, 0, 0, 0, 0, 0, 0, -101, -102, -112, -118][self.dice(12) as usize];
        let (is_children, is_data) = (opcode == 8, opcode == 4);
        let body = match self.dice(3) {
            _ if code != 0 => Vec::new(),
            0 if is_children => names(&[]),
            1 if is_children => names(&["json.info_0000000001", "0000000002", "log_replicas"]),
            _ if is_children => names(&["x_1", "0000000007"]),
            0 if is_data => text("{}"),
            _ if is_data => text(if self.dice(2) == 0 { FIRST } else { SECOND }),
            _ => Vec::new(),
        };
        answer(xid, code, &body)
    }
}

#[test]
fn whatever_servers_do_the_session_asks_for_one_thing_at_a_time_and_does_not_spin() {
    let (mut connects, mut found, mut lost) = (0, 0, 0);
    for seed in 0..2000 {
        let mut held = Held::new(seed);
        for _ in 0..200 {
            let led = held.leads;
            held.step();
            found += u32::from(!led && held.leads);
            lost += u32::from(led && !held.leads);
        }
        connects += held.connects;
    }
    assert!(connects > 10_000 && found > 1000 && lost > 500, "too little happens: {connects} {found} {lost}");
}
