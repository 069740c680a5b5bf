//! Short texts from outside: PIDs, ids, the ways to name a master, percent codes. What is read is written and read again alike;
//! an id that is taken is one path component.

#![no_main]

use std::path::{Component, Path};

use libfuzzer_sys::fuzz_target;
use mesos_slave_fuzz::flags::Master;
use mesos_slave_fuzz::ids::{ExecutorId, FrameworkId, MAX_ID_LENGTH};
use mesos_slave_fuzz::libprocess::http::percent_decode;
use mesos_slave_fuzz::libprocess::{Pid, Request};
use mesos_slave_fuzz::memory;
use mesos_slave_fuzz::slave::virtual_sandbox;

fn pid(text: &str) {
    if let Ok(pid) = text.parse::<Pid>() {
        assert_eq!(pid.to_string().parse(), Ok(pid.clone()));
        assert!(pid.address.port() != 0 && text.len() <= 512);
        // It stands in request lines and headers as it is.
        assert!(pid.id.bytes().all(|byte| byte.is_ascii_graphic()));
    }
}

fn id(text: &str) {
    if let Ok(id) = FrameworkId::new(text) {
        let mut components = Path::new(id.as_str()).components();
        assert!(matches!(components.next(), Some(Component::Normal(name)) if name == text));
        assert!(components.next().is_none() && text.len() <= MAX_ID_LENGTH);
        let executor = ExecutorId::new(text).expect("the rule is the same");
        let sandbox = virtual_sandbox(&id, &executor);
        assert!(Path::new(&sandbox).components().all(|part| part != Component::ParentDir), "{sandbox}");
    }
}

fn master(text: &str) {
    match Master::parse(text) {
        Ok(Master::ZooKeeper(zookeeper)) => {
            // The password is not shown, all else is; so without one it reads the same again.
            let shown = zookeeper.to_string();
            match &zookeeper.credentials {
                None => assert_eq!(Master::parse(&shown), Ok(Master::ZooKeeper(zookeeper))),
                Some(_) => assert!(shown.contains("***")),
            }
        }
        Ok(Master::Local | Master::Address { .. } | Master::File(_)) => {}
        Err(why) => assert!(!why.is_empty()),
    }
}

fn percent(text: &str) {
    if let Some(decoded) = percent_decode(text) {
        assert!(decoded.len() <= text.len());
        let codes: String = decoded.bytes().map(|byte| format!("%{byte:02x}")).collect();
        assert_eq!(percent_decode(&codes), Some(decoded));
    }
    let mut request = Request::new("GET", text, Vec::new());
    request.query = Some(text.to_string());
    request.path_segments();
    request.query_param("a");
}

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    memory::within(64 * 1024 + 64 * text.len(), || {
        pid(text);
        id(text);
        master(text);
        percent(text);
    });
});
