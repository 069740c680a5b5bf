//! Detection with real ZooKeeper servers, of the distribution's package: leaders come and go, servers stop, die and return, nodes
//! are only for those with a password. The masters are embedded ones, announced by the test as real ones announce themselves.

mod ensemble;
mod three_servers;

use std::fs;
use std::process::Command;
use std::time::Duration;

use crate::support::{BINARY, GATE, Running, World, eventually};
use ensemble::{Client, Ensemble, Kind, Readers};

/// A session that no busy machine brings to its end.
const LONG: Duration = Duration::from_secs(60);

/// How a master announces itself.
enum Form {
    /// 0.24 and later.
    Json,
    /// 0.14 to 0.23.
    Protobuf,
    /// 0.9.
    Pid,
}

/// An embedded master.
struct Announced {
    address: String,
    _process: Running,
}

impl Announced {
    fn start(world: &World, name: &str) -> Announced {
        let mut command = Command::new(BINARY);
        command.args(["local-master", "--ip=127.0.0.1", "--port=0"]);
        let process = Running::start(name, command, world.dir.join(format!("{name}.log")));
        let log = process.await_log("listening on ");
        let address = log.split("listening on ").nth(1).and_then(|rest| rest.split_whitespace().next());
        Announced { address: address.expect("address").to_string(), _process: process }
    }

    fn pid(&self) -> String {
        format!("master@{}", self.address)
    }

    fn port(&self) -> &str {
        self.address.split_once(':').expect("address").1
    }

    /// As a master of 1.11.0 writes it; the number is 127.0.0.1.
    fn json(&self) -> String {
        let (pid, port) = (self.pid(), self.port());
        format!(
            r#"{{"address":{{"hostname":"m","ip":"127.0.0.1","port":{port}}},"capabilities":[],"hostname":"m","id":"x",
            "ip":16777343,"pid":"{pid}","port":{port},"version":"1.11.0"}}"#
        )
    }

    /// MasterInfo: id, ip, port, pid.
    fn protobuf(&self) -> Vec<u8> {
        let port: u16 = self.port().parse().expect("port");
        let varint = [port as u8 | 0x80, (port >> 7) as u8 | 0x80, (port >> 14) as u8];
        let pid = self.pid();
        [b"\x0a\x01x\x10\xff\x80\x80\x08\x18", &varint[..], &[0x22, pid.len() as u8], pid.as_bytes()].concat()
    }

    /// Announces it below `/mesos`; the node's path.
    fn announce(&self, client: &mut Client, form: &Form, kind: Kind) -> String {
        let (prefix, data) = match form {
            Form::Json => ("json.info_", self.json().into_bytes()),
            Form::Protobuf => ("info_", self.protobuf()),
            Form::Pid => ("", self.pid().into_bytes()),
        };
        client.create(&format!("/mesos/{prefix}"), data, kind, Readers::All)
    }
}

/// For tests in which it does not matter how long a slave waits before it registers.
const HASTY: &str = "--registration_backoff_factor=10ms";

/// A slave, and how far its log has been read.
struct Slave {
    process: Running,
    read: usize,
}

impl Slave {
    fn start(world: &World, master: &str, flags: &[&str]) -> Slave {
        let master = format!("--master={master}");
        let command = world.slave_command(&[&[master.as_str()], flags].concat());
        let process = Running::start("slave", command, world.dir.join("slave.log"));
        Slave { process, read: 0 }
    }

    /// One without VMs that does not wait before it registers.
    fn start_hasty(world: &World, master: &str) -> Slave {
        Slave::start(world, master, &["--isolation=process", HASTY])
    }

    /// Waits for a line after those that were waited for before.
    fn says(&mut self, what: &str) {
        self.read = eventually(&format!("the slave says {what:?}"), || {
            let ended = self.process.has_ended();
            let log = self.process.log();
            let found = log.get(self.read..)?.find(what).map(|at| self.read + at + what.len());
            assert!(found.is_some() || !ended, "the slave has ended without saying {what:?}");
            found
        });
    }

    fn registers_with(&mut self, master: &Announced) {
        self.says(&format!("new master detected at {}", master.pid()));
        self.says("registered with the master");
    }

    /// Whether it has said this since it was last waited for.
    fn has_said(&self, what: &str) -> bool {
        self.process.log()[self.read..].contains(what)
    }

    fn end(mut self) {
        self.process.signal("TERM");
        assert!(self.process.wait().success());
    }
}

#[test]
fn a_slave_waits_for_a_leader_and_follows_from_one_to_the_next_whatever_version_announces_itself() {
    let world = World::new("zk-leader");
    let ensemble = Ensemble::start(&world, 1, LONG);
    let (first, second) = (Announced::start(&world, "first"), Announced::start(&world, "second"));
    let mut slave = Slave::start_hasty(&world, &format!("zk://{}/mesos", ensemble.addresses()));
    slave.says("there is no such path yet");
    let mut client = ensemble.client(0);
    client.create("/mesos", "", Kind::Plain, Readers::All);
    client.create("/mesos/log_replicas", "", Kind::Plain, Readers::All);
    client.create("/mesos/lock_", "", Kind::Sequential, Readers::All);
    slave.says("lock_0000000001 is passed over, it names no master: no master of a known version");
    let spoilt = client.create("/mesos/json.info_", "{", Kind::Sequential, Readers::All);
    slave.says(&format!("{spoilt} is passed over, it names no master: it is no JSON"));
    let leader = first.announce(&mut client, &Form::Protobuf, Kind::Sequential);
    slave.registers_with(&first);
    let standby = second.announce(&mut client, &Form::Pid, Kind::Sequential);
    client.delete(&leader);
    slave.registers_with(&second);
    client.delete(&standby);
    slave.says("no master leads any more");
    first.announce(&mut client, &Form::Json, Kind::EphemeralSequential);
    slave.registers_with(&first);
    second.announce(&mut client, &Form::Json, Kind::Sequential);
    client.delete(&spoilt);
    client.close();
    slave.registers_with(&second);
    assert_eq!(slave.process.log().matches(&format!("{spoilt} is passed over")).count(), 1);
    slave.end();
    ensemble.end();
    world.end();
}

#[test]
fn a_server_that_hangs_or_dies_costs_the_leader_after_the_sessions_time_and_brings_it_back_and_a_virtual_machine_runs_on()
 {
    let world = World::new("zk-expiry");
    let mut ensemble = Ensemble::start(&world, 1, Duration::from_secs(4));
    let master = Announced::start(&world, "first");
    let mut client = ensemble.client(0);
    client.create("/mesos", "", Kind::Plain, Readers::All);
    master.announce(&mut client, &Form::Json, Kind::Sequential);
    drop(client);
    let zk = format!("zk://{}/mesos", ensemble.addresses());
    let mut slave = Slave::start(&world, &zk, &[HASTY]);
    slave.registers_with(&master);
    let mut execute = Command::new(BINARY);
    execute.args(["execute", &format!("--master={zk}"), &format!("--command={GATE}; echo found")]);
    let mut execute = Running::start("execute", execute, world.dir.join("execute.log"));
    let vms = world.await_vms(1);
    let server = ensemble.servers[0].as_ref().expect("server");
    server.signal("STOP");
    slave.says("no master leads any more");
    server.signal("CONT");
    slave.registers_with(&master);
    ensemble.kill(0);
    slave.says("no master leads any more");
    ensemble.run(0);
    slave.registers_with(&master);
    world.open_gate(&vms[0]);
    assert!(execute.wait().success(), "{}", execute.log());
    assert!(execute.log().contains("found\n"), "{}", execute.log());
    world.assert_clean();
    slave.end();
    ensemble.end();
    world.end();
}

#[test]
fn nodes_for_those_with_a_password_are_read_with_it_and_without_it_the_slave_says_what_is_missing() {
    let world = World::new("zk-auth");
    let ensemble = Ensemble::start(&world, 1, LONG);
    let master = Announced::start(&world, "first");
    let mut client = ensemble.client(0);
    client.authenticate("mesos:s3cret");
    client.create("/mesos", "", Kind::Plain, Readers::Own);
    client.create("/mesos/json.info_", master.json(), Kind::Sequential, Readers::Own);
    let plain = format!("{}/mesos", ensemble.addresses());
    let mut stranger = Slave::start_hasty(&world, &format!("zk://{plain}"));
    stranger.says("does not let us read it; give --master as zk://user:password@");
    stranger.end();
    let mut wrong = Slave::start_hasty(&world, &format!("zk://mesos:wr0ng@{plain}"));
    wrong.says("the user and password of --master do not have the right");
    assert!(!wrong.process.log().contains("wr0ng"));
    wrong.end();
    let file = world.path("zk");
    let mut slave = Slave::start_hasty(&world, &format!("file://{file}"));
    slave.says("waiting for it to name a master");
    fs::write(&file, format!("zk://mesos:s3cret@{plain}\n")).expect("file");
    slave.registers_with(&master);
    assert!(!slave.process.log().contains("s3cret"));
    slave.end();
    ensemble.end();
    world.end();
}
