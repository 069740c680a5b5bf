//! Staying in touch: masters that come late, come back, or are there and do not answer.

use super::*;

/// Ten minutes, second by second, with a master that cannot be connected: how often it was linked, and asked.
fn ten_minutes_without_a_listener(world: &mut World) -> (usize, usize) {
    let (mut linked, mut asked) = (0, 0);
    for _ in 0..600 {
        let wanted = world.later(Duration::from_secs(1));
        linked += wanted.linked.len();
        asked += wanted.messages::<RegisterSlaveMessage>().len() + wanted.messages::<ReregisterSlaveMessage>().len();
        if !wanted.linked.is_empty() {
            let refused = world.event(Event::Exited(pid(MASTER)));
            assert!(refused.linked.is_empty() && refused.sent.is_empty(), "a refused connection is not tried at once");
        }
    }
    (linked, asked)
}

#[test]
fn a_master_that_starts_after_the_slave_is_linked_by_every_registration_and_no_more_often() {
    let mut world = World::new();
    world.event(Event::MasterDetected(pid(MASTER)));
    world.event(Event::Exited(pid(MASTER)));
    let (linked, asked) = ten_minutes_without_a_listener(&mut world);
    assert_eq!(linked, asked);
    assert!((10..=24).contains(&asked), "{asked} attempts in ten minutes");
}

#[test]
fn a_registered_master_that_is_gone_is_linked_again_with_the_same_back_off() {
    let mut world = World::registered();
    assert_eq!(world.event(Event::Exited(pid(MASTER))).linked, [pid(MASTER)]);
    world.event(Event::Exited(pid(MASTER)));
    let (linked, asked) = ten_minutes_without_a_listener(&mut world);
    assert_eq!(linked, asked);
    assert!((10..=24).contains(&asked), "{asked} attempts in ten minutes");
}

#[test]
fn a_master_that_restarts_while_we_register_is_asked_again_over_a_new_link() {
    let mut world = World::new();
    world.event(Event::MasterDetected(pid(MASTER)));
    world.later(Duration::from_secs(1)).only::<RegisterSlaveMessage>();
    world.shows(Dialect::V1);
    world.event(Event::Exited(pid(MASTER)));
    let wanted = world.later(Duration::from_secs(2));
    assert_eq!(wanted.linked, [pid(MASTER)]);
    let first: RegisterSlaveMessage = wanted.only();
    assert_eq!(first.slave.webui_hostname(), "host", "who is there now may be of 2012");
}

#[test]
fn a_registration_that_is_answered_after_the_link_broke_links_again() {
    let mut world = World::new();
    world.event(Event::MasterDetected(pid(MASTER)));
    world.later(Duration::from_secs(1));
    world.event(Event::Exited(pid(MASTER)));
    let wanted = world.hear(FromMaster::Registered(Box::new(SlaveRegisteredMessage {
        slave_id: mesos::SlaveId { value: "S0".into() },
        connection: None,
    })));
    assert_eq!(wanted.linked, [pid(MASTER)]);
}

#[test]
fn a_slave_wakes_up_to_say_that_its_registrations_stay_unanswered() {
    let mut world = World::new();
    world.event(Event::MasterDetected(pid(MASTER)));
    let start = world.now.instant;
    let mut woken = Vec::new();
    while world.now.instant < start + Duration::from_secs(120) {
        let next = world.slave.deadline().expect("a deadline");
        assert!(next > world.now.instant, "a deadline that has passed is a spin");
        let sent = world.later(next - world.now.instant).sent.len();
        woken.push((next - start, sent));
    }
    let silent: Vec<&(Duration, usize)> = woken.iter().filter(|(_, sent)| *sent == 0).collect();
    assert_eq!(silent.len(), 1, "{woken:?}");
    assert_eq!(silent[0].0, woken[0].0 + Duration::from_secs(60), "a minute after the first");
}

#[test]
fn the_same_master_found_again_is_known_still_and_another_is_not() {
    let mut world = World::registered();
    world.shows(Dialect::V1);
    world.event(Event::MasterDetected(pid(MASTER)));
    let again: ReregisterSlaveMessage = world.later(Duration::from_secs(1)).only();
    assert_eq!(again.slave_id, None);
    let other = pid("master@127.0.0.1:6666");
    world.event(Event::MasterDetected(other));
    let again: ReregisterSlaveMessage = world.later(Duration::from_secs(1)).only();
    assert_eq!(again.slave_id, again.slave.id);
}
