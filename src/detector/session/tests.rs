//! The session against scripted servers: what they send is written here byte by byte, with an invented clock.

mod losing;
mod random;

use super::*;
use crate::flags::Master;

const PATH: &str = "/mesos";
const FIRST: &str = "master@10.0.0.1:5050";
const SECOND: &str = "master@10.0.0.2:5050";
const XID_OF_EVENTS: i32 = -1;
const OLD: SessionId = SessionId { id: 7, password: Vec::new() };

fn record(parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    [&(body.len() as i32).to_be_bytes()[..], &body].concat()
}

fn connected(timeout_ms: i32, id: i64) -> Vec<u8> {
    record(&[&[0; 4], &timeout_ms.to_be_bytes(), &id.to_be_bytes(), &0i32.to_be_bytes()])
}

fn answer(xid: i32, code: i32, body: &[u8]) -> Vec<u8> {
    record(&[&xid.to_be_bytes(), &100i64.to_be_bytes(), &code.to_be_bytes(), body])
}

fn text(text: &str) -> Vec<u8> {
    record(&[text.as_bytes()])
}

fn names(names: &[&str]) -> Vec<u8> {
    let mut body = (names.len() as i32).to_be_bytes().to_vec();
    names.iter().for_each(|name| body.extend(text(name)));
    body
}

/// A watch's event: 4 is a change of the children, 1 a node that was made; 3 is the state "connected".
fn event(kind: i32, path: &str) -> Vec<u8> {
    answer(XID_OF_EVENTS, 0, &[&kind.to_be_bytes()[..], &3i32.to_be_bytes(), &text(path)].concat())
}

fn pong() -> Vec<u8> {
    answer(-2, 0, &[])
}

fn detected(pid: &str) -> Output {
    Output::Detected(pid.parse().expect("pid"))
}

/// A session, its clock, and the requests that a server has to answer.
struct World {
    session: Session,
    now: Instant,
    xid: i32,
}

impl World {
    fn new(master: &str) -> World {
        let Ok(Master::ZooKeeper(zookeeper)) = Master::parse(master) else { panic!("{master}") };
        let now = Instant::now();
        World { session: Session::new(zookeeper, Random::from_seed(3), now), now, xid: 0 }
    }

    fn tick(&mut self) -> Vec<Output> {
        self.session.handle(Input::Tick, self.now)
    }

    /// Time passes to the session's own next deadline.
    fn next(&mut self) -> Vec<Output> {
        self.now = self.session.deadline().expect("deadline").max(self.now);
        self.tick()
    }

    fn hear(&mut self, bytes: &[u8]) -> Vec<Output> {
        self.session.handle(Input::Bytes(bytes), self.now)
    }

    fn fail(&mut self) -> Vec<Output> {
        self.session.handle(Input::Failed("it closed the connection".into()), self.now)
    }

    /// Until the next connection is wanted; what is wanted on the way.
    fn reach_server(&mut self) -> (usize, Vec<Output>) {
        let mut others = Vec::new();
        for _ in 0..100 {
            for output in self.next() {
                match output {
                    Output::Connect(place) => {
                        assert_eq!(self.session.handle(Input::Resolved, self.now), []);
                        return (place, others);
                    }
                    other => others.push(other),
                }
            }
        }
        panic!("no server is tried: {others:?}");
    }

    /// A server takes the session and is asked for the children.
    fn greet(&mut self, resumed: &SessionId, zxid: i64) {
        let first = self.session.handle(Input::Connected, self.now);
        assert_eq!(first, [Output::Send(wire::connect(resumed, zxid, 10_000))]);
        self.xid = 1;
        assert_eq!(self.hear(&connected(10_000, 7)), [Output::Send(wire::get_children(1, PATH))]);
    }

    fn children(&mut self, list: &[&str]) -> Vec<Output> {
        let outputs = self.hear(&answer(self.xid, 0, &names(list)));
        self.xid += 1;
        outputs
    }

    fn data(&mut self, data: &str) -> Vec<Output> {
        self.hear(&answer(self.xid, 0, &text(data)))
    }

    /// A change of the children, which are then asked for.
    fn change(&mut self) {
        self.xid += 1;
        assert_eq!(self.hear(&event(4, PATH)), [Output::Send(wire::get_children(self.xid, PATH))]);
    }

    /// Connected, with the first master as the leader.
    fn led(master: &str) -> World {
        let mut world = World::new(master);
        world.reach_server();
        world.greet(&SessionId::default(), 0);
        let asks = world.children(&["0000000003", "0000000004"]);
        assert_eq!(asks, [Output::Send(wire::get_data(2, "/mesos/0000000003"))]);
        assert_eq!(world.data(FIRST), [detected(FIRST)]);
        world
    }
}

#[test]
fn the_leader_is_found_and_the_next_one_when_it_goes() {
    let mut world = World::led("zk://a:1/mesos");
    world.change();
    let asks = world.children(&["0000000004"]);
    assert_eq!(asks, [Output::Send(wire::get_data(4, "/mesos/0000000004"))]);
    assert_eq!(world.data(SECOND), [detected(SECOND)]);
}

#[test]
fn a_change_that_leaves_the_leader_is_no_news_and_a_return_under_a_new_number_is() {
    let mut world = World::led("zk://a:1/mesos");
    world.change();
    world.children(&["0000000003", "0000000009"]);
    assert_eq!(world.data(FIRST), []);
    world.change();
    world.children(&["0000000010"]);
    assert_eq!(world.data(FIRST), [detected(FIRST)], "a master that was started again has forgotten us");
}

#[test]
fn the_last_master_that_goes_is_a_loss_and_told_once() {
    let mut world = World::led("zk://a:1/mesos");
    world.change();
    assert_eq!(world.children(&["log_replicas"]), [Output::Lost]);
    world.xid -= 1;
    world.change();
    assert_eq!(world.children(&[]), []);
}

#[test]
fn a_leader_that_goes_while_it_is_asked_about_is_passed_over() {
    let mut world = World::new("zk://a:1/mesos");
    world.reach_server();
    world.greet(&SessionId::default(), 0);
    world.children(&["0000000003"]);
    assert_eq!(world.hear(&event(4, PATH)), [], "one question at a time");
    assert_eq!(world.hear(&answer(2, -101, &[])), [Output::Send(wire::get_children(3, PATH))]);
}

#[test]
fn a_change_during_a_question_is_asked_about_after_it() {
    let mut world = World::new("zk://a:1/mesos");
    world.reach_server();
    world.greet(&SessionId::default(), 0);
    world.children(&["0000000003"]);
    assert_eq!(world.hear(&event(4, PATH)), []);
    assert_eq!(world.data(FIRST), [detected(FIRST), Output::Send(wire::get_children(3, PATH))]);
}

#[test]
fn a_path_that_does_not_exist_yet_is_watched() {
    let mut world = World::new("zk://a:1/mesos");
    world.reach_server();
    world.greet(&SessionId::default(), 0);
    assert_eq!(world.hear(&answer(1, -101, &[])), [Output::Send(wire::exists(2, PATH))]);
    assert_eq!(world.hear(&answer(2, -101, &[])), []);
    assert_eq!(world.hear(&event(1, "/mesosphere")), [], "another's node");
    assert_eq!(world.hear(&event(1, PATH)), [Output::Send(wire::get_children(3, PATH))]);
}

#[test]
fn credentials_go_before_the_first_question_and_a_refusal_is_asked_again_later() {
    let mut world = World::new("zk://u:p@a:1/mesos");
    world.reach_server();
    world.session.handle(Input::Connected, world.now);
    let asks = world.hear(&connected(10_000, 7));
    assert_eq!(asks, [Output::Send(wire::auth("u:p")), Output::Send(wire::get_children(1, PATH))]);
    assert_eq!(world.hear(&answer(-4, 0, &[])), []);
    assert_eq!(world.hear(&answer(1, -102, &[])), []);
    let refused = world.now;
    loop {
        let outputs = world.next();
        world.hear(&pong());
        if outputs.contains(&Output::Send(wire::get_children(2, PATH))) {
            break;
        }
        assert_eq!(outputs, [Output::Send(wire::ping())]);
    }
    assert_eq!(world.now, refused + Duration::from_secs(10));
}

#[test]
fn credentials_that_are_refused_end_the_connection() {
    let mut world = World::new("zk://u:p@a:1/mesos");
    world.reach_server();
    world.session.handle(Input::Connected, world.now);
    world.hear(&connected(10_000, 7));
    assert_eq!(world.hear(&answer(-4, -115, &[])), [Output::Disconnect]);
}

#[test]
fn a_leaders_node_that_cannot_be_read_leads_nowhere_until_it_is_mended() {
    let mut world = World::led("zk://a:1/mesos");
    world.change();
    world.children(&["0000000004"]);
    assert_eq!(world.data("nonsense"), [Output::Lost]);
    world.xid += 1;
    assert_eq!(world.hear(&event(3, "/mesos/0000000004")), [Output::Send(wire::get_children(world.xid, PATH))]);
    world.children(&["0000000004"]);
    assert_eq!(world.data(SECOND), [detected(SECOND)]);
}

#[test]
fn a_node_that_names_no_master_is_passed_over_for_the_next() {
    let mut world = World::led("zk://a:1/mesos");
    world.change();
    let next = |node| Output::Send(wire::get_data(4, &format!("/mesos/{node}")));
    assert_eq!(world.children(&["lock_0000000001", "json.info_0000000002", "0000000003"]), [next("lock_0000000001")]);
    assert_eq!(world.data("x"), [Output::Send(wire::get_data(5, "/mesos/json.info_0000000002"))]);
    assert_eq!(world.hear(&answer(5, 0, &text("{}"))), [Output::Send(wire::get_data(6, "/mesos/0000000003"))]);
    assert_eq!(world.hear(&answer(6, 0, &text(FIRST))), [], "the leader has not changed");
}

#[test]
fn nodes_without_end_that_name_no_master_are_not_all_asked_about() {
    let mut world = World::new("zk://a:1/mesos");
    world.reach_server();
    world.greet(&SessionId::default(), 0);
    let nodes: Vec<String> = (0..5000).map(|number| format!("x_{number:010}")).collect();
    let nodes: Vec<&str> = nodes.iter().map(String::as_str).collect();
    let mut outputs = world.children(&nodes);
    let mut asked = 0;
    while !outputs.is_empty() {
        asked += 1;
        outputs = world.data("x");
        world.xid += 1;
    }
    assert_eq!(asked, 8);
}

#[test]
fn nonsense_ends_the_connection_and_nothing_else() {
    let cut_off = [&XID_OF_EVENTS.to_be_bytes()[..], &[0; 12], &[0, 0, 0, 4, 0, 0, 0, 3, 0, 0, 0, 6, b'/']].concat();
    let nonsense: [Vec<u8>; 6] = [
        b"HTTP/1.1 400 Bad Request\r\n".to_vec(),
        vec![0xff; 64],
        record(&[&[0; 3]]),
        record(&[&cut_off]),
        answer(99, 0, &[]),
        answer(2, 0, &names(&[])),
    ];
    for bytes in nonsense {
        let mut world = World::led("zk://a:1/mesos");
        assert_eq!(world.hear(&bytes), [Output::Disconnect], "{bytes:?}");
        assert_eq!(world.reach_server().1, []);
    }
}

#[test]
fn bytes_in_any_pieces_mean_the_same() {
    let mut stream = connected(10_000, 7);
    stream.extend(answer(1, 0, &names(&["json.info_0000000003"])));
    stream.extend(answer(2, 0, &text(r#"{"pid":"master@10.0.0.1:5050"}"#)));
    for piece in 1..stream.len() {
        let mut world = World::new("zk://a:1/mesos");
        world.reach_server();
        world.session.handle(Input::Connected, world.now);
        let outputs: Vec<Output> = stream.chunks(piece).flat_map(|bytes| world.hear(bytes)).collect();
        assert_eq!(outputs.last(), Some(&detected(FIRST)), "in pieces of {piece}");
        assert_eq!(outputs.len(), 3);
    }
}

#[test]
fn random_bytes_do_no_harm() {
    let mut random = Random::from_seed(11);
    for _ in 0..2000 {
        let mut world = World::led("zk://a:1/mesos");
        let length = random.next_u64() % 64;
        let mut bytes: Vec<u8> = (0..length).map(|_| random.next_u64() as u8).collect();
        // Most of them get a length that is right, or they would all end at it.
        if let (Some(head), true) = (bytes.first_chunk_mut::<4>(), !random.next_u64().is_multiple_of(4)) {
            *head = (length as i32 - 4).to_be_bytes();
        }
        let outputs = world.hear(&bytes);
        assert!(outputs.len() <= 2, "{outputs:?}");
        assert!(world.session.deadline() > Some(world.now));
    }
}
