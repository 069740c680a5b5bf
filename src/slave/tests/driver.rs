//! The talk of Mesos' agent with the driver of its test executor (`tests/wire/mesos-1.11/fw`): what the driver and the master said goes in,
//! and what the driver is told has to be what it was told then.

use super::*;
use crate::libprocess::Dialect;
use crate::slave::executor::{FromExecutor, ToExecutor, Via};

const EXECUTOR: &str = "executor(1)@127.0.0.1:34735";
const AGENT: &str = "slave(1)@127.0.0.1:5051";

/// The recorded messages: where each went, its name and body, in the order of the recording.
fn recording() -> Vec<(String, String, Vec<u8>)> {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/wire/mesos-1.11/fw");
    let mut files: Vec<_> =
        std::fs::read_dir(directory).expect("a recording").flatten().map(|one| one.path()).collect();
    files.sort();
    let told = files.iter().filter_map(|path| {
        let (_, request) = path.file_name()?.to_str()?.split_once("_req_")?;
        let (to, name) = request.strip_suffix(".pb")?.split_once("_mesos.internal.")?;
        Some((to.to_string(), format!("mesos.internal.{name}"), std::fs::read(path).expect("a message")))
    });
    told.collect()
}

fn decoded<M: Message + Default>(body: &[u8]) -> M {
    M::decode(body).expect("a recorded message")
}

/// The slave as the recorded agent was.
fn agent() -> World {
    let recording = recording();
    let of = |name: &str| &recording.iter().find(|(_, each, _)| each == name).expect("it is there").2;
    let told: ExecutorRegisteredMessage = decoded(of("mesos.internal.ExecutorRegisteredMessage"));
    let config = Config { info: mesos::SlaveInfo { id: None, ..told.slave_info }, ..Config::of_tests(pid(AGENT)) };
    let now = Now { instant: Instant::now(), unix: 1_795_513_215.0 };
    let mut world = World { slave: Slave::new(config, Random::from_seed(1)), now };
    world.event(Event::MasterDetected(pid(MASTER)));
    world.later(Duration::from_secs(1));
    world.hear(
        FromMaster::decode("mesos.internal.SlaveRegisteredMessage", of("mesos.internal.SlaveRegisteredMessage"))
            .expect("a recorded message"),
    );
    world
}

/// What was said to the driver: name and body.
fn told(wanted: &Wanted) -> Vec<(String, Vec<u8>)> {
    let driver = Via::Driver(pid(EXECUTOR));
    assert!(wanted.told.iter().all(|(via, _)| *via == driver));
    let outgoing = wanted.told.iter().filter_map(|(_, message)| ToExecutor::to_driver(message, Dialect::V1));
    outgoing.map(|message| (message.name, message.body)).collect()
}

/// A message of the recorded master, but for the versions of the agent's resources: ours are others.
fn from_master(name: &str, body: &[u8]) -> FromMaster {
    let mut message = FromMaster::decode(name, body).expect("a recorded message");
    if let FromMaster::RunTask(run) = &mut message {
        run.resource_version_uuids.clear();
    }
    message
}

#[test]
fn a_driver_is_told_what_mesos_agent_told_it() {
    let mut world = agent();
    let (mut expected, mut said) = (Vec::new(), Vec::new());
    let mut is_over = false;
    for (to, name, body) in recording() {
        if to == "executor(1)" {
            expected.push((name, body));
            continue;
        }
        if is_over || to != "slave(1)" || name.contains("SlaveMessage") || name.contains("SlaveRegistered") {
            continue;
        }
        let wanted = match FromExecutor::of_driver(&pid(EXECUTOR), &name, &body) {
            Ok(Some((speaker, message))) => world.event(Event::Executor { speaker, message }),
            Ok(None) => world.hear(from_master(&name, &body)),
            Err(error) => panic!("{name}: {error}"),
        };
        for spec in &wanted.launched {
            let container = ContainerId::new(spec.container_id.clone()).expect("id");
            world.event(Event::ExecutorStarted { container, address: None, runs: true });
        }
        said.extend(told(&wanted));
        // The frameworks after this one had executors without drivers.
        is_over = name.contains("ShutdownFramework");
    }
    expected.retain(|(name, body)| name != ACKNOWLEDGEMENT || is_answer(body));
    // The agent's acknowledgements came when it got to it; everything else has an order.
    for (name, body) in &expected {
        assert!(said.contains(&(name.clone(), body.clone())), "{name} was not said as it was: {}", shown(name, &said));
    }
    let order = |all: &[(String, Vec<u8>)]| -> Vec<String> {
        all.iter().map(|(name, _)| name.clone()).filter(|name| name != ACKNOWLEDGEMENT).collect()
    };
    assert_eq!(order(&said), order(&expected));
    assert_eq!(expected.iter().filter(|(name, _)| name == ACKNOWLEDGEMENT).count(), 7);
}

const ACKNOWLEDGEMENT: &str = "mesos.internal.StatusUpdateAcknowledgementMessage";

/// The recording lacks some of the updates: what answers one that is not there cannot be asked for.
fn is_answer(body: &[u8]) -> bool {
    let acknowledgement: StatusUpdateAcknowledgementMessage = decoded(body);
    recording().iter().any(|(to, name, body)| {
        to == "slave(1)"
            && name == "mesos.internal.StatusUpdateMessage"
            && decoded::<StatusUpdateMessage>(body).update.uuid() == acknowledgement.uuid
    })
}

/// What was said under this name, for who has to find the difference.
fn shown(name: &str, said: &[(String, Vec<u8>)]) -> String {
    let bodies = said.iter().filter(|(each, _)| each == name).map(|(_, body)| match name {
        "mesos.internal.ExecutorRegisteredMessage" => format!("{:?}", decoded::<ExecutorRegisteredMessage>(body)),
        "mesos.internal.RunTaskMessage" => format!("{:?}", decoded::<RunTaskMessage>(body)),
        _ => format!("{body:?}"),
    });
    bodies.collect::<Vec<_>>().join("\n")
}
