//! Guests against each other and against the slave: what one cannot reach, take, or say. Each thing that must fail is seen to work where it
//! may, so that no test passes because a guest lacks a program.

use std::io::Write;
use std::net::TcpStream;
use std::process::Command;

use serde_json::Value;

use super::scheduler::{Scheduler, text};
use super::support::*;

/// A host outside, behind this one: a network namespace that knows no way back to the guests, and so answers only to what comes by NAT.
struct Outside(&'static str);

const OUTSIDE: &str = "198.51.100.2";

impl Outside {
    fn new(name: &'static str) -> Outside {
        run("ip", &["netns", "add", name]);
        let outside = Outside(name);
        run("ip", &["link", "add", "out0", "type", "veth", "peer", "name", "out1", "netns", name]);
        run("ip", &["addr", "add", "198.51.100.1/24", "dev", "out0"]);
        run("ip", &["link", "set", "out0", "up"]);
        run("ip", &["-n", name, "addr", "add", &format!("{OUTSIDE}/24"), "dev", "out1"]);
        run("ip", &["-n", name, "link", "set", "out1", "up"]);
        outside
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        // The pair goes first: a namespace's own may be taken down later.
        let _ = Command::new("ip").args(["link", "del", "out0"]).status();
        let _ = Command::new("ip").args(["netns", "del", self.0]).status();
    }
}

/// A guest that can be worked in.
struct Guest<'a> {
    world: &'a World,
    vm: String,
    address: String,
    mac: String,
    gateway: String,
}

impl<'a> Guest<'a> {
    fn of(world: &'a World, vm: &str) -> Guest<'a> {
        let script = "busybox ip -4 -o addr show eth0 | busybox sed 's|.*inet ||; s|/.*||'; cat /sys/class/net/eth0/address; \
                      busybox ip route | busybox sed -n 's/^default via \\([^ ]*\\).*/\\1/p'";
        let told = eventually("the guest answers", || world.in_guest(vm, script));
        let mut lines = told.lines().map(str::to_string);
        let mut line = || lines.next().expect("address, MAC, gateway");
        Guest { world, vm: vm.to_string(), address: line(), mac: line(), gateway: line() }
    }

    fn run(&self, script: &str) -> String {
        self.world.in_guest(&self.vm, script).unwrap_or_else(|| panic!("in the guest: {script}"))
    }

    fn says_yes(&self, command: &str) -> bool {
        let said = self.run(&format!("{command} >/dev/null 2>&1 && echo yes || echo no"));
        assert!(["yes\n", "no\n"].contains(&said.as_str()), "{said}");
        said == "yes\n"
    }

    fn pings(&self, address: &str) -> bool {
        self.says_yes(&format!("busybox ping -c 2 -W 2 {address}"))
    }

    fn sees_sshd_of(&self, address: &str) -> bool {
        self.run(&format!("busybox timeout 5 busybox nc {address} 22 </dev/null 2>/dev/null | head -c 4; true"))
            == "SSH-"
    }

    fn reaches(&self, other: &Guest) -> [bool; 2] {
        [self.pings(&other.address), self.sees_sshd_of(&other.address)]
    }

    /// The first line of the answer to what is sent to a port of the gateway's.
    fn posts(&self, port: u16, request: &str) -> String {
        let octets: String = request.bytes().map(|byte| format!("\\{byte:03o}")).collect();
        let script = format!(
            "busybox timeout 20 bash -c 'exec 3<>/dev/tcp/{}/{port} && printf \"{octets}\" >&3 && read -r line <&3 && echo \"$line\"' 2>&1; true",
            self.gateway
        );
        self.run(&script).trim_end().to_string()
    }
}

/// Two commands that wait in their guests.
fn two(world: &World) -> ([Running; 2], Vec<String>) {
    let args = ["--resources=cpus:0.5;mem:128", "--command", GATE];
    let both = [world.spawn_execute("one", &args), world.spawn_execute("two", &args)];
    for one in &both {
        one.await_log("TASK_RUNNING");
    }
    (both, world.await_vms(2))
}

fn finish(world: &World, both: [Running; 2], vms: &[String]) {
    vms.iter().for_each(|vm| world.open_gate(vm));
    for mut one in both {
        assert!(one.wait().success(), "{}", one.log());
    }
}

#[test]
fn guests_reach_their_gateway_and_the_world_and_not_each_other_by_any_way() {
    let _outside = Outside::new("outside-apart");
    let world = World::with_slave("apart", &[]);
    let (both, vms) = two(&world);
    let (a, b) = (Guest::of(&world, &vms[0]), Guest::of(&world, &vms[1]));
    assert_ne!(a.address, b.address);
    for (guest, neighbour) in [(&a, &b), (&b, &a)] {
        let works = |what: &str, works: &dyn Fn() -> bool| eventually(what, || works().then_some(()));
        works("the gateway answers", &|| guest.pings(&guest.gateway));
        works("the world answers", &|| guest.pings(OUTSIDE));
        works("dnsmasq's DNS answers", &|| {
            guest.says_yes(&format!("busybox timeout 3 busybox nc {} 53 -e true", guest.gateway))
        });
        assert_eq!(guest.reaches(neighbour), [false, false], "directly");
        guest.run(&format!("busybox arp -s {} {}", neighbour.address, neighbour.mac));
        assert_eq!(guest.reaches(neighbour), [false, false], "directly, its MAC known");
        guest.run(&format!("busybox ip route add {} via {}", neighbour.address, guest.gateway));
        assert_eq!(guest.reaches(neighbour), [false, false], "by the gateway");
    }
    // A third address of the subnet, which nobody has; the host would answer to it.
    a.run(&format!("busybox ip addr add {}.250/32 dev eth0", a.address.rsplit_once('.').expect("an address").0));
    assert!(!a.pings(&format!("-I {}.250 {}", a.address.rsplit_once('.').expect("an address").0, a.gateway)));
    a.run(&format!("busybox ip addr add {}/32 dev eth0", b.address));
    assert!(!a.pings(&format!("-I {} {}", b.address, a.gateway)), "as its neighbour");
    assert!(b.pings(&b.gateway), "whose address is still its own");
    finish(&world, both, &vms);
    world.end();
}

#[test]
fn without_isolation_of_guests_all_of_that_works() {
    let world = World::with_slave("together", &["--vm_guest_isolation=none"]);
    let (both, vms) = two(&world);
    let (a, b) = (Guest::of(&world, &vms[0]), Guest::of(&world, &vms[1]));
    let reaches = |how: &str| eventually(how, || (a.reaches(&b) == [true, true]).then_some(()));
    reaches("it reaches its neighbour directly");
    a.run(&format!("busybox ip route add {} via {}", b.address, a.gateway));
    reaches("it reaches its neighbour by the gateway");
    let third = format!("{}.250", a.address.rsplit_once('.').expect("an address").0);
    a.run(&format!("busybox ip addr add {third}/32 dev eth0"));
    assert!(a.pings(&format!("-I {third} {}", a.gateway)));
    finish(&world, both, &vms);
    world.end();
}

/// What the slave tells of its frameworks.
fn frameworks(world: &World) -> Value {
    world.slave_answers("/slave(1)/state")["frameworks"].clone()
}

/// A libprocess message, as its sender says who it is.
fn message(from: &str, to: &str, name: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "POST /{to}/mesos.internal.{name} HTTP/1.1\r\nUser-Agent: libprocess/{from}\r\nLibprocess-From: {from}\r\nContent-Length: {length}\r\n\r\n{body}"
    )
}

fn call(framework: &str, executor: &str, rest: &str) -> String {
    let body = format!(r#"{{"framework_id":{{"value":"{framework}"}},"executor_id":{{"value":"{executor}"}},{rest}}}"#);
    let media = "Content-Type: application/json\r\nAccept: application/json";
    let length = body.len();
    format!("POST /slave(1)/api/v1/executor HTTP/1.1\r\n{media}\r\nContent-Length: {length}\r\n\r\n{body}")
}

/// A field of a protobuf that is a text.
fn field(number: u8, value: &str) -> String {
    format!("{}{}{value}", char::from(number << 3 | 2), char::from(value.len() as u8))
}

#[test]
fn a_guest_speaks_for_no_other_executor_and_for_no_master() {
    let world = World::with_slave("forger", &["--executor_registration_timeout=10mins"]);
    let port = world.slave_port();

    let mut forger = world.spawn_execute("forger", &["--resources=cpus:0.5;mem:128", "--command", GATE]);
    forger.await_log("TASK_RUNNING");
    let guest = Guest::of(&world, &world.await_vms(1)[0]);
    // The victim: an executor of a framework's own, which never registers.
    let mut scheduler = Scheduler::subscribe(&world.master_address, "root");
    scheduler.launch_executor("victims-task", "victim", "sleep 1000");
    world.slave().await_log("runs; it has to register");
    let before = frameworks(&world);
    let framework =
        before.as_array().expect("frameworks").iter().find(|each| each.to_string().contains("victims-task"));
    let framework = text(&framework.expect("the victim's framework")["id"]);

    let own = format!("executor(1)@{}:4000", guest.address);
    let ids = field(1, &field(1, &framework)) + &field(2, &field(1, "victim"));
    let subscribe = r#""type":"SUBSCRIBE","subscribe":{}"#;
    assert!(guest.posts(port, &call(&framework, "victim", subscribe)).starts_with("HTTP/1.1 403"));
    let data = r#""type":"MESSAGE","message":{"data":"eA=="}"#;
    assert!(guest.posts(port, &call(&framework, "victim", data)).starts_with("HTTP/1.1 403"));
    for path in ["/state", "/slave(1)/state", "/files/browse?path=/", "/flags", "/metrics/snapshot"] {
        assert!(guest.posts(port, &format!("GET {path} HTTP/1.1\r\n\r\n")).starts_with("HTTP/1.1 403"), "{path}");
    }
    let master = format!("master@{}", world.master_address);
    let die = |from: &str| message(from, "slave(1)", "ShutdownMessage", &field(1, "die"));
    for request in [
        message(&own, "slave(1)", "RegisterExecutorMessage", &ids),
        message("executor(1)@127.0.0.1:4000", "slave(1)", "RegisterExecutorMessage", &ids),
        die(&master),
        die(&own),
        message(&master, "slave(1)", "ShutdownFrameworkMessage", &field(1, &field(1, &framework))),
        message(&master, "slave(1)", "PingSlaveMessage", "\x08\x00"),
    ] {
        // libprocess accepts everything, and says nothing of what becomes of it.
        assert!(guest.posts(port, &request).starts_with("HTTP/1.1 202"), "{request}");
    }
    let master_port = world.master_address.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
    let refused = guest.posts(master_port, "GET /health HTTP/1.1\r\n\r\n");
    assert!(refused.contains("Connection refused"), "the embedded master is not there for guests: {refused}");
    assert_eq!(frameworks(&world), before, "nothing has changed");
    // The very same words do what they say where they may be said.
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("the slave");
    let end = message(&master, "slave(1)", "ShutdownFrameworkMessage", &field(1, &field(1, &framework)));
    stream.write_all(end.as_bytes()).expect("write");
    eventually("the victim is gone", || (world.vms().len() == 1).then_some(()));

    world.open_gate(&guest.vm);
    assert!(forger.wait().success(), "{}", forger.log());
    scheduler.teardown();
    world.end();
}
