//! What this master says equals what Mesos' own said, message by message (`tests/wire/master`, see its README).

use std::path::PathBuf;

use serde_json::Value;

use super::super::calls::{EVENT, Format, Parsed, Posted, parse};
use super::*;
use crate::ids::{FrameworkId, SlaveId};

fn captured(name: &str) -> Vec<u8> {
    let path: PathBuf = [env!("CARGO_MANIFEST_DIR"), "tests/wire/master", name].iter().collect();
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn captured_message<M: Message + Default>(name: &str) -> M {
    M::decode(captured(name).as_slice()).expect("captured message")
}

fn captured_json(name: &str) -> Value {
    serde_json::from_slice(&captured(name)).expect("captured JSON")
}

/// Resources of an offer have no order; Mesos also writes what a field is when it is not set, for one field here.
fn sorted(mut event: Value) -> Value {
    if let Some(address) = event.pointer_mut("/update/status/container_status/network_infos/0/ip_addresses/0") {
        address.as_object_mut().expect("address").remove("protocol").inspect(|protocol| assert_eq!(protocol, "IPv4"));
    }
    if let Some(resources) = event.pointer_mut("/offers/offers/0/resources").and_then(Value::as_array_mut) {
        resources.sort_by_key(|resource| resource["name"].to_string());
    }
    event
}

fn json_events(world: &mut World, peer: Peer) -> Vec<Value> {
    let events = world.taken(|action| match action {
        Action::Event { peer: whom, event } if *whom == peer => {
            Some(Format::Json.encode(EVENT, &**event).expect("JSON"))
        }
        _ => None,
    });
    events.iter().map(|event| sorted(serde_json::from_slice(event).expect("JSON"))).collect()
}

fn post(world: &mut World, name: &str, stream: Peer) -> Peer {
    let body = captured(name);
    let media = Some("application/json");
    let posted = Posted { method: "POST", content_type: media, accept: media, stream_id: None, body: &body };
    let peer = world.peer();
    match parse(&posted).expect("a valid call") {
        Parsed::Subscribe(subscribe, format) => {
            assert_eq!(format, Format::Json);
            world.handle(Event::Subscribe { peer, subscribe, stream_id: stream_id(peer) });
        }
        Parsed::Call(call) => {
            world.handle(Event::Call { peer, stream_id: Some(stream_id(stream)), call });
            assert_eq!(world.answers(), [(202, String::new())]);
        }
    }
    peer
}

fn raw(world: &mut World, message: &str, body: &str) {
    let name = format!("mesos.internal.{message}");
    world.handle(Event::Message { from: slave_pid(5051), to: "master".into(), name, body: captured(body) });
}

fn only<M: Message + Name + Default>(world: &mut World) -> M {
    let mut all = world.sent::<M>(&slave_pid(5051));
    assert_eq!(all.len(), 1, "{}", M::full_name());
    all.remove(0)
}

/// The master and its slave at the time of the capture: four frameworks and five offers had been before.
fn registered() -> World {
    let mut world = World::new();
    world.core.next_framework = 4;
    world.core.next_offer = 5;
    raw(&mut world, "RegisterSlaveMessage", "register.pb");
    assert_eq!(only::<PingSlaveMessage>(&mut world), captured_message("ping.pb"));
    assert_eq!(only::<SlaveRegisteredMessage>(&mut world), captured_message("registered.pb"));
    raw(&mut world, "UpdateSlaveMessage", "update-slave.pb");
    world
}

#[test]
fn a_command_task_goes_the_way_it_went_under_mesos() {
    let mut world = registered();
    let stream = post(&mut world, "subscribe.json", Peer(0));
    let mut events = json_events(&mut world, stream);
    assert_eq!(events.len(), 3);
    // Mesos' master can more than this one, which does not claim it.
    let mut subscribed = captured_json("event-0.json");
    let capabilities = "/subscribed/master_info/capabilities";
    *subscribed.pointer_mut(capabilities).expect("capabilities") =
        events[0].pointer(capabilities).expect("capabilities").clone();
    assert_eq!(events.remove(0), subscribed);
    assert_eq!(events.remove(0), captured_json("event-1.json"));
    assert_eq!(events.remove(0), sorted(captured_json("event-2.json")));

    post(&mut world, "accept.json", stream);
    assert_eq!(only::<RunTaskMessage>(&mut world), captured_message("run-task.pb"));
    for step in 1..=3 {
        raw(&mut world, "StatusUpdateMessage", &format!("update-{step}.pb"));
        assert_eq!(json_events(&mut world, stream)[0], sorted(captured_json(&format!("event-{}.json", step + 2))));
        if step < 3 {
            post(&mut world, &format!("acknowledge-{step}.json"), stream);
            let acknowledgement: StatusUpdateAcknowledgementMessage = only(&mut world);
            assert_eq!(acknowledgement, captured_message(&format!("acknowledgement-{step}.pb")));
        }
    }
    world.handle(Event::Closed { peer: stream });
    assert_eq!(only::<ShutdownFrameworkMessage>(&mut world), captured_message("shutdown-framework.pb"));
}

#[test]
fn a_kill_is_told_to_the_slave_as_mesos_tells_it() {
    let (mut world, slave, scheduler, _) = World::with_running_task();
    let kill = call::Kill { task_id: mesos::TaskId { value: "t".into() }, ..Default::default() };
    world.call(&scheduler, Call { kill: Some(kill), ..of(call::Type::Kill) });
    let captured = KillTaskMessage {
        framework_id: scheduler.id.clone(),
        task_id: mesos::TaskId { value: "t".into() },
        ..captured_message("kill-task.pb")
    };
    assert_eq!(world.sent::<KillTaskMessage>(&slave), [captured]);
}

/// The bytes differ in the order of fields at most: compared as messages, times aside.
fn v1_event(name: &str) -> scheduler::Event {
    let event = crate::messages::from_v1_bytes("mesos.v1.scheduler.Event", &captured(name)).expect("captured event");
    timeless(event)
}

fn timeless(mut event: scheduler::Event) -> scheduler::Event {
    if let Some(update) = &mut event.update {
        update.status.timestamp = None;
        update.status.unreachable_time = update.status.unreachable_time.take().map(|_| Default::default());
    }
    event
}

#[test]
fn a_slave_that_is_lost_and_comes_back_is_reported_as_mesos_reports_it() {
    let reregister: ReregisterSlaveMessage = captured_message("reregister.pb");
    let info = reregister.frameworks[0].clone();
    let id = FrameworkId::try_from(info.id.as_ref().expect("id")).expect("id");
    let slave_id = SlaveId::try_from(reregister.slave.id.as_ref().expect("id")).expect("id");
    let mut world = World::new();
    let scheduler = world.subscribe(info);
    assert_eq!(scheduler.id, id.to_proto());
    // This master is younger than the slave; it takes it on, loses it, and has it back.
    raw(&mut world, "ReregisterSlaveMessage", "reregister.pb");
    let unknown = world.updates(&scheduler);
    assert_eq!(unknown[0].message(), "Unknown agent reregistered");
    world.actions.clear();

    world.pass(Duration::from_secs(75));
    let lost: Vec<_> =
        world.events(&scheduler).into_iter().filter(|event| event.rescind.is_none()).map(timeless).collect();
    assert_eq!(lost, [v1_event("lost-event-1.pb"), v1_event("lost-event-2.pb")]);
    assert!(world.core.unreachable_slaves.contains_key(&slave_id));
    world.actions.clear();

    raw(&mut world, "ReregisterSlaveMessage", "reregister.pb");
    assert_eq!(timeless(world.events(&scheduler).remove(0)), v1_event("back-event.pb"));
    assert_eq!(only::<SlaveReregisteredMessage>(&mut world), captured_message("reregistered.pb"));
    assert_eq!(only::<UpdateFrameworkMessage>(&mut world), captured_message("update-framework.pb"));
}

#[test]
fn a_scheduler_that_speaks_protobuf_is_offered_what_mesos_offered_it() {
    let body = captured("subscribe.pb");
    let media = Some("application/x-protobuf");
    let posted = Posted { method: "POST", content_type: media, accept: media, stream_id: None, body: &body };
    let Ok(Parsed::Subscribe(subscribe, Format::Protobuf)) = parse(&posted) else {
        panic!("a subscription");
    };
    let mut world = World::new();
    raw(&mut world, "RegisterSlaveMessage", "register.pb");
    let scheduler = world.subscribe(subscribe.framework_info);
    let event = world.events(&scheduler).into_iter().find(|event| event.offers.is_some()).expect("offers");
    let bytes = Format::Protobuf.encode(EVENT, &event).expect("protobuf");
    let mine = crate::messages::from_v1_bytes("mesos.v1.scheduler.Event", &bytes).expect("our own event");
    assert_eq!(by_name(mine), by_name(v1_event("offers-event.pb")));
}

fn by_name(mut event: scheduler::Event) -> scheduler::Event {
    for offer in event.offers.iter_mut().flat_map(|offers| &mut offers.offers) {
        offer.resources.sort_by(|a, b| a.name.cmp(&b.name));
    }
    event
}
