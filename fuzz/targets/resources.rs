//! Resources in both forms of the flag. What was read passes the rules, is contained in itself, leaves nothing when it is taken
//! away, and is read again alike from its own JSON.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mesos_slave_fuzz::memory;
use mesos_slave_fuzz::messages::mesos::Resource;
use mesos_slave_fuzz::messages::mesos::resource::ReservationInfo;
use mesos_slave_fuzz::messages::to_v1_json;
use mesos_slave_fuzz::resources::{Resources, downgrade, parse, upgrade};
use prost::Message;

fn bytes(list: &[Resource]) -> Vec<Vec<u8>> {
    list.iter().map(Message::encode_to_vec).collect()
}

fn arithmetic(list: &[Resource]) {
    let sum = Resources::checked(list).expect("what was read keeps the rules");
    assert!(sum.contains(&sum) && sum == sum.clone());
    let mut rest = sum.clone();
    rest.subtract_all(&sum);
    assert!(rest.as_slice().is_empty(), "{rest} is left of {sum}");
    let mut twice = sum.clone();
    twice.add_all(&sum);
    assert!(twice.contains(&sum));
    // The older form of a static reservation has a role and nothing else.
    let has_older = |reservation: &ReservationInfo| reservation.principal.is_none() && reservation.labels.is_none();
    for resource in list.iter().filter(|resource| resource.reservations.iter().all(has_older)) {
        let mut older = resource.clone();
        downgrade(&mut older);
        upgrade(&mut older);
        assert_eq!(older, *resource);
    }
}

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let list = match memory::within(64 * 1024 + 2048 * text.len(), || parse(text)) {
        Ok(list) => list,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    arithmetic(&list);
    let json = |resource| to_v1_json("mesos.Resource", resource).expect("a resource").to_string();
    let json: Vec<String> = list.iter().map(json).collect();
    let again = parse(&format!("[{}]", json.join(","))).expect("our own JSON");
    assert_eq!(bytes(&again), bytes(&list), "{json:?}");
});
