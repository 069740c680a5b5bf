//! The checks and the JSON, case by case; `captures.rs` has what real programs sent.

use super::mesos::{
    ContainerId, FrameworkInfo, Labels, SlaveInfo, TaskInfo, TaskStatus, executor, internal, scheduler,
};
use super::wire::{self, Value as Wire};
use super::*;
use serde_json::json;

const CALL: &str = "mesos.v1.scheduler.Call";

fn call(value: serde_json::Value) -> Result<scheduler::Call, DecodeError> {
    from_v1_json(CALL, value.to_string().as_bytes())
}

fn refusal<T: std::fmt::Debug>(result: Result<T, DecodeError>) -> String {
    result.expect_err("this must be refused").to_string()
}

/// A container within a container, so often that there are `depth` of them around the innermost.
fn nested_containers(depth: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    wire::write(&mut bytes, 1, Wire::Bytes(b"x"));
    for _ in 0..depth {
        let inner = std::mem::take(&mut bytes);
        wire::write(&mut bytes, 1, Wire::Bytes(b"x"));
        wire::write(&mut bytes, 2, Wire::Bytes(&inner));
    }
    bytes
}

#[test]
fn the_missing_field_is_named_with_the_message_and_the_way_to_it() {
    let ping = refusal(decode::<internal::PingSlaveMessage>(b""));
    assert_eq!(ping, "mesos.internal.PingSlaveMessage: field connected is required");
    let message =
        internal::UpdateSlaveMessage { slave_id: mesos::SlaveId { value: "S0".into() }, ..Default::default() };
    let mut bytes = message.encode_to_vec();
    wire::write(&mut bytes, 2, Wire::Bytes(b"\x0a\x04cpus\x10\x00"));
    assert!(decode::<internal::UpdateSlaveMessage>(&bytes).is_ok());
    wire::write(&mut bytes, 2, Wire::Bytes(b"\x10\x00"));
    assert_eq!(
        refusal(decode::<internal::UpdateSlaveMessage>(&bytes)),
        "mesos.internal.UpdateSlaveMessage: field oversubscribed_resources[1].name is required"
    );
}

#[test]
fn a_required_field_within_a_map_is_missed() {
    let mut task = TaskInfo::default().encode_to_vec();
    assert!(decode::<TaskInfo>(&task).is_ok());
    wire::write(&mut task, 15, Wire::Bytes(b"\x0a\x04cpus\x12\x00"));
    assert_eq!(refusal(decode::<TaskInfo>(&task)), "mesos.TaskInfo: field limits[0].value.value is required");
}

#[test]
fn a_required_enum_with_a_value_unknown_to_us_counts_as_not_set() {
    let status = |state| TaskStatus { state, ..Default::default() }.encode_to_vec();
    assert!(decode::<TaskStatus>(&status(mesos::TaskState::TaskRunning.into())).is_ok());
    assert_eq!(refusal(decode::<TaskStatus>(&status(99))), "mesos.TaskStatus: field state is required");
}

#[test]
fn a_known_value_before_an_unknown_one_does_not_set_a_required_enum() {
    let status = |states: [u64; 2]| {
        let mut bytes = Vec::new();
        wire::write(&mut bytes, 1, Wire::Bytes(b"\x0a\x01t"));
        states.into_iter().for_each(|state| wire::write(&mut bytes, 2, Wire::Varint(state)));
        decode::<TaskStatus>(&bytes)
    };
    assert_eq!(refusal(status([1, 4000])), "mesos.TaskStatus: field state is required");
    assert_eq!(status([4000, 1]).expect("a status").state, 1);
}

#[test]
fn messages_nested_too_deep_are_refused_and_not_followed() {
    let deepest = decode::<ContainerId>(&nested_containers(MAX_DEPTH)).expect("the limit itself is allowed");
    assert!(deepest.parent.is_some());
    assert!(
        refusal(decode::<ContainerId>(&nested_containers(MAX_DEPTH + 1))).ends_with("nested deeper than 100 messages")
    );
    assert!(decode::<ContainerId>(&nested_containers(5_000)).is_err());
}

#[test]
fn a_message_with_too_many_others_in_it_is_refused_before_they_take_memory() {
    let labels = |count: usize| [0x0a, 0x03, 0x0a, 0x01, b'k'].repeat(count);
    assert!(decode::<Labels>(&labels(MAX_NESTED - 1)).is_ok());
    assert_eq!(
        refusal(decode::<Labels>(&labels(MAX_NESTED))),
        "mesos.Labels: field labels[65535] has more than 65536 messages in it"
    );
}

#[test]
fn bytes_that_are_no_message_are_refused() {
    assert_eq!(
        refusal(decode::<internal::PingSlaveMessage>(b"\x08")),
        "mesos.internal.PingSlaveMessage is cut short or not protobuf"
    );
    let mut bytes = Vec::new();
    wire::write(&mut bytes, 1, Wire::Varint(7));
    assert!(refusal(decode::<internal::ShutdownMessage>(&bytes)).contains("ShutdownMessage.message"));
    assert_eq!(refusal(check_required("mesos.Nothing", b"")), "there is no message mesos.Nothing");
}

#[test]
fn fields_that_only_mesos_0_9_demands_are_kept() {
    let slave = SlaveInfo { webui_hostname: Some("h".into()), webui_port: Some(8081), ..Default::default() };
    let again: SlaveInfo = decode(&slave.encode_to_vec()).expect("it is complete");
    assert_eq!(again, slave);
}

#[test]
fn a_v1_subscribe_call_means_the_same_in_json_in_bytes_and_unversioned() {
    let text = json!({
        "type": "SUBSCRIBE",
        "subscribe": {
            "framework_info": { "user": "root", "name": "f" },
            "suppressed_roles": ["a", "b"],
            "offer_constraints": { "role_constraints": { "r": { "groups": [] } } },
        },
    });
    let from_json = call(text).expect("it is complete");
    let subscribe = from_json.subscribe.as_ref().expect("it was given");
    assert_eq!(subscribe.suppressed_roles, ["a", "b"]);
    let constraints = subscribe.offer_constraints.as_ref().expect("they were given");
    assert!(constraints.role_constraints.contains_key("r"));

    let v1 = to_v1_bytes(CALL, &from_json).expect("the type is right");
    assert!(check_required(CALL, &v1).is_ok());
    // 2 is `suppressed_roles` in v1, but a bool, `force`, in the unversioned message.
    assert!(scheduler::Call::decode(v1.as_slice()).is_err());
    assert_eq!(from_v1_bytes::<scheduler::Call>(CALL, &v1).expect("it is complete"), from_json);
}

#[test]
fn what_v1_has_no_name_for_is_not_in_the_json() {
    let call = scheduler::Call {
        r#type: Some(scheduler::call::Type::Subscribe.into()),
        subscribe: Some(scheduler::call::Subscribe {
            framework_info: FrameworkInfo { user: "u".into(), name: "n".into(), ..Default::default() },
            force: Some(true),
            ..Default::default()
        }),
        ..Default::default()
    };
    let json = to_v1_json(CALL, &call).expect("the type is right");
    // And what nobody set has its default.
    let framework = json!({ "user": "u", "name": "n", "checkpoint": false, "failover_timeout": 0.0 });
    let expected = json!({ "type": "SUBSCRIBE", "subscribe": { "framework_info": framework } });
    assert_eq!(json, expected);
}

#[test]
fn json_is_taken_as_generously_as_mesos_takes_it() {
    let text = json!({
        "type": "ACCEPT",
        "not_a_field": { "at": ["all"] },
        "framework_id": { "value": "F" },
        "kill": null,
        "accept": {
            "offer_ids": { "value": "O1" },
            "filters": { "refuse_seconds": "1.5" },
            "operations": [{
                "type": "LAUNCH",
                "launch": { "task_infos": [{
                    "name": "t", "task_id": { "value": "t" }, "agent_id": { "value": "S" },
                    "data": "AP8=",
                    "kill_policy": { "grace_period": { "nanoseconds": "9223372036854775807" } },
                    "limits": { "cpus": { "value": "Infinity" }, "mem": { "value": 32 } },
                    "container": { "type": "MESOS", "docker": { "image": "i", "privileged": "true", "network": "NEWER" } },
                }] },
            }],
        },
    });
    let accept = call(text).expect("Mesos takes all of it").accept.expect("it was given");
    assert_eq!(accept.offer_ids.len(), 1);
    assert_eq!(accept.filters.expect("they were given").refuse_seconds(), 1.5);
    let task = &accept.operations[0].launch.as_ref().expect("it was given").task_infos[0];
    assert_eq!(task.slave_id.value, "S");
    assert_eq!(task.data(), [0, 0xff]);
    assert_eq!(
        task.kill_policy.as_ref().map(|policy| policy.grace_period.map(|d| d.nanoseconds)),
        Some(Some(i64::MAX))
    );
    assert_eq!(task.limits["cpus"].value, f64::INFINITY);
    assert_eq!(task.limits["mem"].value, 32.0);
    let docker = task.container.as_ref().and_then(|container| container.docker.as_ref()).expect("it was given");
    assert!(docker.privileged());
    assert_eq!(docker.network, None);
}

#[test]
fn a_number_with_a_fraction_is_read_to_its_last_bit() {
    let status = r#"{"task_id": {"value": "t"}, "state": "TASK_RUNNING", "timestamp": 1795513623.0473437}"#;
    let status: TaskStatus = from_v1_json("mesos.v1.TaskStatus", status.as_bytes()).expect("a status");
    assert_eq!(status.timestamp.map(f64::to_bits), Some(1_795_513_623.047_343_7f64.to_bits()));
}

#[test]
fn wrong_json_is_refused_with_the_field_and_the_value() {
    let cases = [
        (json!([]), "mesos.v1.scheduler.Call: Expecting a JSON object"),
        (
            json!({ "subscribe": { "framework_info": { "user": "u" } } }),
            "mesos.v1.scheduler.Call: field subscribe.framework_info.name is required",
        ),
        (
            json!({ "kill": { "task_id": { "value": "t" }, "agent_id": {} } }),
            "mesos.v1.scheduler.Call: field kill.agent_id.value is required",
        ),
        (
            json!({ "framework_id": { "value": 7 } }),
            "mesos.v1.scheduler.Call: Not expecting a JSON number for field 'value'",
        ),
        (
            json!({ "framework_id": [{ "value": "F" }] }),
            "mesos.v1.scheduler.Call: Not expecting a JSON array for field 'framework_id'",
        ),
        (
            json!({ "acknowledge": { "uuid": "not%base64" } }),
            "mesos.v1.scheduler.Call: Failed to base64 decode bytes field 'uuid': Invalid character '%'",
        ),
        (
            json!({ "accept": { "offer_ids": [{ "value": "O" }, { "value": {} }] } }),
            "mesos.v1.scheduler.Call: Not expecting a JSON object for field 'value'",
        ),
        (
            json!({ "decline": { "offer_ids": [], "filters": { "refuse_seconds": "NaN" } } }),
            "mesos.v1.scheduler.Call: Failed to parse 'NaN' as a JSON number for field 'refuse_seconds': syntax error at line 1 near: NaN",
        ),
        (json!({ "type": 3 }), "mesos.v1.scheduler.Call: Not expecting a JSON number for field 'type'"),
    ];
    for (value, expected) in cases {
        assert_eq!(refusal(call(value)), expected);
    }
    assert!(
        refusal(from_v1_json::<scheduler::Call>(CALL, b"{\"a\":"))
            .starts_with("mesos.v1.scheduler.Call is not valid JSON: ")
    );
}

#[test]
fn integers_that_do_not_fit_their_field_are_refused() {
    let port = |port: &str| {
        let info = format!(r#"{{"hostname":"h","port":{port}}}"#);
        from_v1_json::<SlaveInfo>("mesos.v1.AgentInfo", info.as_bytes())
    };
    for good in ["5051", "\"5051\"", "5051.0"] {
        assert_eq!(port(good).expect("it fits").port(), 5051, "{good}");
    }
    for bad in ["2147483648", "-2147483649", "1.5", "1e300", "\"5051 \"", "\"\"", "true", "18446744073709551615"] {
        assert!(port(bad).is_err(), "{bad}");
    }
}

#[test]
fn a_long_wrong_value_is_shortened_in_the_error() {
    let error = refusal(call(json!({ "decline": { "filters": { "refuse_seconds": "x".repeat(100_000) } } })));
    assert!(error.len() < 300 && error.ends_with("..."), "{error}");
}

#[test]
fn a_v1_name_is_taken_for_its_own_struct_only() {
    let event = executor::Event::default();
    assert!(to_v1_json("mesos.v1.executor.Event", &event).is_ok());
    assert!(to_v1_json("mesos.v1.scheduler.Event", &event).is_err());
    assert!(to_v1_json("mesos.v1.executor.Nothing", &event).is_err());
}

#[test]
fn text_that_is_not_utf_8_costs_its_bytes_and_not_the_message() {
    let mut bytes = Vec::new();
    wire::write(&mut bytes, 1, Wire::Bytes(b"\x0a\x02t\xe9"));
    wire::write(&mut bytes, 2, Wire::Varint(1));
    wire::write(&mut bytes, 3, Wire::Bytes(b"\xff\xfe"));
    wire::write(&mut bytes, 4, Wire::Bytes(b"caf\xe9"));
    let old: TaskStatus = decode(&bytes).expect("a status");
    let new: TaskStatus = from_v1_bytes("mesos.v1.TaskStatus", &bytes).expect("a status");
    let json =
        b"{\"task_id\":{\"value\":\"t\xe9\"},\"state\":\"TASK_RUNNING\",\"data\":\"//4=\",\"message\":\"caf\xe9\"}";
    let json: TaskStatus = from_v1_json("mesos.v1.TaskStatus", json).expect("a status");
    for status in [old, new, json] {
        assert_eq!((status.task_id.value.as_str(), status.message()), ("t\u{fffd}", "caf\u{fffd}"));
        assert_eq!(status.data(), [0xff, 0xfe], "data is bytes and stays what it is");
    }
}
