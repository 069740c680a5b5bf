//! Nodes by which masters announce themselves. The first line has their names, with blanks between; the rest is one's content.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mesos_slave_fuzz::detector::election::{address, candidates};
use mesos_slave_fuzz::{check, memory};

fuzz_target!(|data: &[u8]| {
    let (line, content) = check::lines(data);
    let nodes: Vec<&str> = line.split(' ').collect();
    let masters = candidates(&nodes);
    let mut turned = nodes.clone();
    turned.reverse();
    assert_eq!(masters, candidates(&turned), "the order of the names must not matter");
    assert!(masters.iter().all(|node| nodes.contains(node) && !node.contains('/')));
    let Some(node) = masters.first() else {
        return;
    };
    // A JSON value of two bytes is a Value of 32, in a list that doubles.
    match memory::within(16 * 1024 + 128 * content.len(), || address(node, content)) {
        Ok(pid) => assert_eq!(pid.to_string().parse(), Ok(pid)),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
