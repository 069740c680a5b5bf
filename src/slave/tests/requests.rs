//! Calls for more than this slave can do, and words to executors: none is left without an answer or a line in the log.

use super::*;
use crate::messages::mesos::OperationState;

fn uuid(value: u8) -> mesos::Uuid {
    mesos::Uuid { value: vec![value; 16] }
}

#[test]
fn an_operation_is_dropped_and_the_master_told() {
    let mut world = World::registered();
    let message = ApplyOperationMessage {
        framework_id: Some(mesos::FrameworkId { value: "F".into() }),
        operation_info: mesos::offer::Operation {
            id: Some(mesos::OperationId { value: "o".into() }),
            ..Default::default()
        },
        operation_uuid: uuid(1),
        ..Default::default()
    };
    let told: UpdateOperationStatusMessage = world.hear(FromMaster::ApplyOperation(Box::new(message))).only();
    assert_eq!(told.status.state(), OperationState::OperationDropped);
    assert_eq!(told.status.operation_id.expect("id").value, "o");
    assert_eq!(told.framework_id.expect("framework").value, "F");
    assert_eq!((told.operation_uuid, told.slave_id.expect("slave").value.as_str()), (Some(uuid(1)), "S0"));
    assert_eq!(told.status.uuid, None, "nobody is to acknowledge it");
}

#[test]
fn operations_that_nobody_here_knows_are_dropped_for_the_master_and_unknown_to_a_framework() {
    use reconcile_operations_message::Operation;
    let mut world = World::registered();
    let own = Operation { operation_uuid: Some(uuid(1)), ..Default::default() };
    let provider = Some(mesos::ResourceProviderId { value: "p".into() });
    let provided = Operation { resource_provider_id: provider, ..own.clone() };
    let mut ask = |operations: Vec<Operation>, framework: Option<&str>| -> Vec<OperationState> {
        let framework_id = framework.map(|id| mesos::FrameworkId { value: id.into() });
        let message = ReconcileOperationsMessage { operations, framework_id };
        let wanted = world.hear(FromMaster::ReconcileOperations(Box::new(message)));
        let told = wanted.messages::<UpdateOperationStatusMessage>();
        told.into_iter().map(|message| message.status.state()).collect()
    };
    let (dropped, unknown) = (OperationState::OperationDropped, OperationState::OperationUnknown);
    assert_eq!(ask(vec![own.clone(), provided], None), [dropped, unknown]);
    assert_eq!(ask(vec![own], Some("F")), [unknown]);
}

#[test]
fn what_needs_no_answer_changes_nothing() {
    let mut world = World::registered();
    world.running("t");
    let messages = [
        FromMaster::AcknowledgeOperation(Default::default()),
        FromMaster::Drain(Default::default()),
        FromMaster::FrameworkToExecutor(Box::new(FrameworkToExecutorMessage {
            framework_id: mesos::FrameworkId { value: "F".into() },
            executor_id: mesos::ExecutorId { value: "t".into() },
            ..Default::default()
        })),
    ];
    for message in messages {
        let name = message.name();
        let wanted = world.hear(message);
        assert!(wanted.sent.is_empty() && wanted.killed.is_empty(), "{name}");
    }
    assert_eq!(world.slave.running_tasks(), 1);
}

#[test]
fn every_call_of_a_master_is_decoded_with_its_required_fields() {
    for name in [
        "mesos.internal.FrameworkToExecutorMessage",
        "mesos.internal.ApplyOperationMessage",
        "mesos.internal.AcknowledgeOperationStatusMessage",
        "mesos.internal.DrainSlaveMessage",
        "mesos.internal.RunTaskGroupMessage",
    ] {
        let error = FromMaster::decode(name, b"").expect_err(name).to_string();
        assert!(error.contains("required") || error.contains("missing"), "{name}: {error}");
    }
    assert!(FromMaster::decode("mesos.internal.ReconcileOperationsMessage", b"").is_ok());
}

#[test]
fn a_task_group_without_tasks_and_a_second_shutdown_are_no_more_than_noted() {
    let mut world = World::registered();
    let container = world.running("t");
    let empty = RunTaskGroupMessage { framework: framework(), launch_executor: Some(true), ..Default::default() };
    assert!(world.hear(FromMaster::RunTaskGroup(Box::new(empty))).sent.is_empty());
    let shutdown = |executor: &str| {
        FromMaster::ShutdownExecutor(Box::new(ShutdownExecutorMessage {
            framework_id: Some(mesos::FrameworkId { value: "F".into() }),
            executor_id: Some(mesos::ExecutorId { value: executor.into() }),
        }))
    };
    assert_eq!(world.hear(shutdown("t")).killed, [(container.clone(), Duration::from_secs(3))]);
    assert!(world.hear(shutdown("nosuch")).killed.is_empty());
    world.gone(&container, None);
    assert!(world.hear(shutdown("t")).killed.is_empty());
}

#[test]
fn a_process_has_our_address_and_a_guest_its_own_or_none_yet() {
    let mut world = World::registered();
    let spec = world.run(task("t")).launched.remove(0);
    let container = ContainerId::new(spec.container_id).expect("id");
    let mut told = |uuid: u8, networks: Option<Vec<mesos::NetworkInfo>>| -> Vec<String> {
        let container_status =
            networks.map(|network_infos| mesos::ContainerStatus { network_infos, ..Default::default() });
        let status = mesos::TaskStatus {
            task_id: mesos::TaskId { value: "t".into() },
            state: TaskState::TaskRunning as i32,
            uuid: Some(vec![uuid; 16]),
            container_status,
            ..Default::default()
        };
        let event = Event::ContainerStatus { container: container.clone(), status: Box::new(status) };
        let status = world.event(event).statuses().remove(0);
        world.acknowledge("t", uuid);
        let container_status = status.container_status.expect("container status");
        assert_eq!(container_status.container_id.expect("id").value, container.to_string());
        let networks = container_status.network_infos.into_iter();
        networks.map(|network| network.ip_addresses[0].ip_address().to_string()).collect()
    };
    assert_eq!(told(1, None), ["127.0.0.1"]);
    assert!(told(2, Some(vec![mesos::NetworkInfo::default()])).is_empty());
    let address = mesos::network_info::IpAddress { ip_address: Some("10.0.0.2".into()), ..Default::default() };
    let guest = mesos::NetworkInfo { ip_addresses: vec![address], ..Default::default() };
    assert_eq!(told(3, Some(vec![guest])), ["10.0.0.2"]);
}
