//! Servers that die, hang, or know the session no more.

use super::*;

#[test]
fn a_broken_connection_keeps_session_and_leader() {
    let mut world = World::led("zk://a:1,b:2,c:3/mesos");
    assert_eq!(world.fail(), [Output::Disconnect]);
    assert_eq!(world.reach_server().1, []);
    world.greet(&OLD, 100);
    world.children(&["0000000003"]);
    assert_eq!(world.data(FIRST), []);
}

#[test]
fn without_any_server_the_leader_is_lost_when_the_session_is_and_not_before() {
    let mut world = World::led("zk://a:1,b:2,c:3/mesos");
    let start = world.now;
    world.fail();
    let mut tried = [0; 3];
    loop {
        let outputs = world.next();
        for output in &outputs {
            if let Output::Connect(place) = output {
                tried[*place] += 1;
            }
        }
        if outputs.contains(&Output::Lost) {
            break;
        }
        assert!(world.now < start + Duration::from_secs(10));
        world.fail();
    }
    assert_eq!(world.now, start + Duration::from_secs(10));
    assert!(tried.iter().all(|count| (2..20).contains(count)), "{tried:?}");
    world.fail();
    assert_eq!(world.reach_server().1, [], "told once");
    world.greet(&SessionId::default(), 0);
    world.children(&["0000000003"]);
    assert_eq!(world.data(FIRST), [detected(FIRST)]);
}

#[test]
fn servers_that_are_all_gone_are_tried_at_most_every_few_seconds() {
    let mut world = World::new("zk://a:1,b:2/mesos");
    let start = world.now;
    let mut tried = 0;
    while world.now < start + Duration::from_secs(600) {
        world.reach_server();
        world.fail();
        tried += 1;
    }
    assert!((200..500).contains(&tried), "{tried}");
}

#[test]
fn a_session_that_the_server_calls_over_is_a_loss_and_followed_by_a_new_one_at_once() {
    let mut world = World::led("zk://a:1/mesos");
    world.fail();
    world.reach_server();
    world.session.handle(Input::Connected, world.now);
    let outputs = world.hear(&connected(0, 0));
    assert_eq!(outputs, [Output::Disconnect, Output::Lost, Output::Connect(0)]);
    world.session.handle(Input::Resolved, world.now);
    world.greet(&SessionId::default(), 0);
    world.children(&["0000000003"]);
    assert_eq!(world.data(FIRST), [detected(FIRST)]);
}

#[test]
fn a_server_that_gives_no_session_at_all_is_asked_with_back_off() {
    let mut world = World::new("zk://a:1/mesos");
    let start = world.now;
    let mut asked = 0;
    while world.now < start + Duration::from_secs(60) {
        world.reach_server();
        world.session.handle(Input::Connected, world.now);
        assert_eq!(world.hear(&connected(0, 0)), [Output::Disconnect]);
        asked += 1;
    }
    assert!((12..40).contains(&asked), "{asked}");
}

#[test]
fn a_session_that_ran_out_while_a_server_was_asked_to_go_on_with_it_is_followed_by_a_new_one_at_once() {
    let mut world = World::led("zk://a:1/mesos");
    world.fail();
    let lost = world.now + Duration::from_secs(10);
    loop {
        world.reach_server();
        world.session.handle(Input::Connected, world.now);
        if world.session.deadline() == Some(lost) {
            break;
        }
        assert_eq!(world.next(), [Output::Disconnect]);
    }
    assert_eq!(world.next(), [Output::Lost]);
    assert_eq!(world.now, lost);
    assert_eq!(world.hear(&connected(0, 0)), [Output::Disconnect, Output::Connect(0)]);
}

#[test]
fn names_are_looked_up_for_long_when_there_is_no_session_to_lose_and_briefly_else() {
    let wait = |world: &mut World| {
        let begin = loop {
            if matches!(world.next()[..], [Output::Connect(_)]) {
                break world.now;
            }
        };
        assert_eq!(world.next(), [Output::Disconnect]);
        world.now - begin
    };
    assert_eq!(wait(&mut World::new("zk://a:1,b:2/mesos")), Duration::from_secs(20));
    let mut world = World::led("zk://a:1,b:2/mesos");
    world.fail();
    assert_eq!(wait(&mut world), Duration::from_secs(10) / 3);
}

#[test]
fn of_three_silent_servers_each_gets_its_chance_within_the_session() {
    let mut world = World::led("zk://a:1,b:2,c:3/mesos");
    world.fail();
    let (start, mut tried) = (world.now, std::collections::BTreeSet::new());
    while world.now < start + Duration::from_secs(9) {
        let (place, others) = world.reach_server();
        assert_eq!(others.iter().filter(|output| **output == Output::Lost).count(), 0);
        tried.insert(place);
        world.session.handle(Input::Connected, world.now);
        if tried.len() == 3 {
            break;
        }
    }
    assert_eq!(tried.len(), 3);
    assert!(world.now < start + Duration::from_secs(8));
}

#[test]
fn a_silent_server_is_pinged_and_then_left_for_another_before_the_session_ends() {
    let mut world = World::led("zk://a:1,b:2/mesos");
    let start = world.now;
    for _ in 0..3 {
        let ping = world.next();
        assert_eq!(ping, [Output::Send(wire::ping())]);
        world.hear(&pong());
    }
    assert!(world.now >= start + Duration::from_secs(9));
    let (heard, mut outputs) = (world.now, Vec::new());
    while !outputs.contains(&Output::Disconnect) {
        outputs = world.next();
    }
    assert!(world.now < heard + Duration::from_secs(7), "{:?}", world.now - heard);
    assert_eq!(world.reach_server().1, []);
}

#[test]
fn a_server_that_takes_the_connection_and_says_nothing_is_left() {
    let mut world = World::new("zk://a:1,b:2/mesos");
    let (first, _) = world.reach_server();
    world.session.handle(Input::Connected, world.now);
    world.hear(b"\0\0\0");
    assert_eq!(world.next(), [Output::Disconnect]);
    assert_ne!(world.reach_server().0, first);
}

#[test]
fn an_expired_session_in_an_answer_is_not_gone_on_with() {
    let mut world = World::led("zk://a:1/mesos");
    world.change();
    assert_eq!(world.hear(&answer(world.xid, -112, &[])), [Output::Disconnect, Output::Lost]);
    world.reach_server();
    world.greet(&SessionId::default(), 0);
}
