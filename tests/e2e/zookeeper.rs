//! Detection with real ZooKeeper servers, of the distribution's package: leaders come and go, servers stop, die and return, nodes
//! are only for those with a password. The masters are embedded ones, announced by the test as real ones announce themselves.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::time::Duration;

use serde_json::json;

use crate::scheduler::Scheduler;
use crate::support::{BINARY, Running, World, eventually, processes, stderr, stdout};

/// Where Debian and Ubuntu have it; the jar names the others that it needs.
const JAR: &str = "/usr/share/java/zookeeper.jar";
/// With a tick of 200 ms a session lives 4 s at most, however long the slave would have it.
const CONFIG: &str = "tickTime=200\ninitLimit=100\nsyncLimit=50\nadmin.enableServer=false\nstandaloneEnabled=true\n\
    4lw.commands.whitelist=*\n";

/// Servers of one ensemble.
struct Ensemble {
    servers: Vec<Option<Running>>,
    ports: Vec<u16>,
    dir: String,
}

impl Ensemble {
    /// Starts so many servers and waits until they serve.
    fn start(world: &World, count: usize) -> Ensemble {
        let ports = free_ports(count);
        let peers = free_ports(count * 2);
        let mut ensemble = Ensemble { servers: Vec::new(), ports, dir: world.path("zookeeper") };
        for place in 0..count {
            let data = format!("{}/{place}", ensemble.dir);
            fs::create_dir_all(&data).expect("data directory");
            let mut config = format!("{CONFIG}dataDir={data}\nclientPort={}\n", ensemble.ports[place]);
            config.push_str("clientPortAddress=127.0.0.1\n");
            if count > 1 {
                for (id, pair) in peers.chunks(2).enumerate() {
                    config.push_str(&format!("server.{}=127.0.0.1:{}:{}\n", id + 1, pair[0], pair[1]));
                }
                fs::write(format!("{data}/myid"), (place + 1).to_string()).expect("myid");
            }
            fs::write(format!("{data}/zoo.cfg"), config).expect("configuration");
            ensemble.servers.push(None);
            ensemble.run(place);
        }
        (0..count).for_each(|place| ensemble.await_serving(place));
        ensemble
    }

    fn run(&mut self, place: usize) {
        let data = format!("{}/{place}", self.dir);
        let mut command = Command::new("java");
        command.args(["-Xmx64m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData"]);
        // The JVM asks the cgroups how large its container is, and trips over those of a private libvirt host.
        command.args(["-XX:-UseContainerSupport", "-cp"]);
        command.arg(format!("{JAR}:/usr/share/java/slf4j-simple.jar"));
        command.args(["org.apache.zookeeper.server.quorum.QuorumPeerMain", &format!("{data}/zoo.cfg")]);
        let log = format!("{data}/log");
        self.servers[place] = Some(Running::start("zookeeper", command, log.into()));
    }

    fn await_serving(&self, place: usize) {
        eventually("ZooKeeper serves", || Writer::connect(self.ports[place]));
    }

    /// Kills servers as a power cut would.
    fn kill(&mut self, place: usize) {
        let mut server = self.servers[place].take().expect("running");
        server.signal("KILL");
        server.wait();
    }

    /// Before the world asks whether all has ended.
    fn end(mut self) {
        for place in 0..self.servers.len() {
            if self.servers[place].is_some() {
                self.kill(place);
            }
        }
    }

    /// `host:port,host:port`
    fn addresses(&self) -> String {
        let all: Vec<_> = self.ports.iter().map(|port| format!("localhost:{port}")).collect();
        all.join(",")
    }
}

/// Ports that nobody has now.
fn free_ports(count: usize) -> Vec<u16> {
    let listeners: Vec<_> = (0..count).map(|_| TcpListener::bind("127.0.0.1:0").expect("port")).collect();
    listeners.iter().map(|listener| listener.local_addr().expect("port").port()).collect()
}

/// A ZooKeeper client that can make and delete nodes, and shares no code with what is tested.
struct Writer {
    stream: TcpStream,
    xid: i32,
}

fn text(text: &str) -> Vec<u8> {
    [&(text.len() as i32).to_be_bytes()[..], text.as_bytes()].concat()
}

impl Writer {
    fn connect(port: u16) -> Option<Writer> {
        let stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(20))).ok()?;
        let mut writer = Writer { stream, xid: 0 };
        let mut hello = vec![0; 12];
        hello.extend(60_000i32.to_be_bytes());
        hello.extend([0; 8]);
        hello.extend(16i32.to_be_bytes());
        hello.extend([0; 16]);
        writer.send(&hello)?;
        writer.receive()?;
        Some(writer)
    }

    fn send(&mut self, body: &[u8]) -> Option<()> {
        self.stream.write_all(&[&(body.len() as i32).to_be_bytes()[..], body].concat()).ok()
    }

    fn receive(&mut self) -> Option<Vec<u8>> {
        let mut length = [0; 4];
        self.stream.read_exact(&mut length).ok()?;
        let mut body = vec![0; i32::from_be_bytes(length) as usize];
        self.stream.read_exact(&mut body).ok()?;
        Some(body)
    }

    /// Error code and answer.
    fn call(&mut self, xid: i32, opcode: i32, body: &[u8]) -> (i32, Vec<u8>) {
        self.send(&[&xid.to_be_bytes()[..], &opcode.to_be_bytes(), body].concat()).expect("send");
        let answer = self.receive().expect("answer");
        assert_eq!(answer[..4], xid.to_be_bytes());
        (i32::from_be_bytes(answer[12..16].try_into().expect("code")), answer[16..].to_vec())
    }

    fn request(&mut self, opcode: i32, body: &[u8]) -> (i32, Vec<u8>) {
        self.xid += 1;
        self.call(self.xid, opcode, body)
    }

    fn authenticate(&mut self, credentials: &str) {
        let (code, _) = self.call(-4, 100, &[vec![0; 4], text("digest"), text(credentials)].concat());
        assert_eq!(code, 0);
    }

    /// Makes a node; its path, which for a sequential one (`flags` 2) is longer than what was asked for. The scheme `auth` leaves it
    /// to those who can authenticate as we did.
    fn create(&mut self, path: &str, data: &str, flags: i32, scheme: &str) -> String {
        let who = if scheme == "world" { "anyone" } else { "" };
        let acl = [1i32.to_be_bytes().to_vec(), 31i32.to_be_bytes().to_vec(), text(scheme), text(who)].concat();
        let (code, body) = self.request(1, &[text(path), text(data), acl, flags.to_be_bytes().to_vec()].concat());
        assert_eq!(code, 0, "create {path}");
        String::from_utf8(body[4..].to_vec()).expect("path")
    }

    fn delete(&mut self, path: &str) {
        let (code, _) = self.request(2, &[text(path), (-1i32).to_be_bytes().to_vec()].concat());
        assert_eq!(code, 0, "delete {path}");
    }

    fn announce(&mut self, master: &Announced, form: Form) -> String {
        let (prefix, data) = match form {
            Form::Json => ("json.info_", master.json()),
            Form::Pid => ("", master.pid()),
        };
        self.create(&format!("/mesos/{prefix}"), &data, 2, "world")
    }
}

/// How a master announces itself.
enum Form {
    /// 0.24 and later.
    Json,
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

    fn json(&self) -> String {
        let (ip, port) = self.address.split_once(':').expect("address");
        format!(
            r#"{{"address":{{"hostname":"m","ip":"{ip}","port":{port}}},"capabilities":[],"hostname":"m","id":"x",
            "ip":16777343,"pid":"{}","port":{port},"version":"1.11.0"}}"#,
            self.pid()
        )
    }
}

/// A slave, and how far its log has been read.
struct Slave {
    process: Running,
    read: usize,
}

impl Slave {
    fn start(world: &World, master: &str) -> Slave {
        let flags = [&format!("--master={master}"), "--isolation=process", "--registration_backoff_factor=10ms"];
        let process = Running::start("slave", world.slave_command(&flags), world.dir.join("slave.log"));
        Slave { process, read: 0 }
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

/// Starts a task that runs until it is ended, and gives the words by which its process is known.
fn start_task(master: &Announced) -> (Scheduler, String) {
    let words = format!("sleep {}", 1_000_000 + std::process::id());
    let mut scheduler = Scheduler::subscribe(&master.address, "root");
    scheduler.launch("stays", json!({ "value": format!("exec {words}") }));
    while scheduler.await_status()["state"] != "TASK_RUNNING" {}
    (scheduler, words)
}

#[test]
fn a_slave_waits_for_a_leader_and_follows_from_one_to_the_next_with_its_tasks() {
    let world = World::new("zk-leader");
    let ensemble = Ensemble::start(&world, 1);
    let (first, second) = (Announced::start(&world, "first"), Announced::start(&world, "second"));
    let mut slave = Slave::start(&world, &format!("zk://{}/mesos", ensemble.addresses()));
    slave.says("there is no such path yet");
    let mut writer = Writer::connect(ensemble.ports[0]).expect("ZooKeeper");
    writer.create("/mesos", "", 0, "world");
    writer.create("/mesos/log_replicas", "", 0, "world");
    let leader = writer.announce(&first, Form::Json);
    slave.registers_with(&first);
    let (_scheduler, task) = start_task(&first);
    let line = |found: String| found.ends_with(&format!(": {task}")).then_some(found);
    let running = || processes(&task).into_iter().find_map(|found| line(found.trim_end().to_string()));
    let process = eventually("the shell has become its command", running);
    let standby = writer.announce(&second, Form::Pid);
    writer.delete(&leader);
    slave.registers_with(&second);
    writer.delete(&standby);
    slave.says("no master leads any more");
    writer.announce(&first, Form::Json);
    slave.registers_with(&first);
    assert_eq!(running(), Some(process), "the same process all the time");
    slave.end();
    assert_eq!(processes(&task), Vec::<String>::new());
    ensemble.end();
    world.end();
}

#[test]
fn a_server_that_hangs_or_dies_costs_the_leader_after_the_sessions_time_and_brings_it_back_for_slave_and_execute() {
    let world = World::new("zk-expiry");
    let mut ensemble = Ensemble::start(&world, 1);
    let master = Announced::start(&world, "first");
    let mut writer = Writer::connect(ensemble.ports[0]).expect("ZooKeeper");
    writer.create("/mesos", "", 0, "world");
    writer.announce(&master, Form::Json);
    let mut slave = Slave::start(&world, &format!("zk://{}/mesos", ensemble.addresses()));
    slave.registers_with(&master);
    let server = ensemble.servers[0].as_ref().expect("server");
    server.signal("STOP");
    slave.says("no master leads any more");
    server.signal("CONT");
    slave.registers_with(&master);
    ensemble.kill(0);
    slave.says("no master leads any more");
    ensemble.run(0);
    slave.registers_with(&master);
    let zk = format!("--master=zk://{}/mesos", ensemble.addresses());
    let output = Command::new(BINARY).args(["execute", &zk, "--command=echo found"]).output().expect("execute");
    assert_eq!(stdout(&output), "found\n", "{}", stderr(&output));
    slave.end();
    ensemble.end();
    world.end();
}

#[test]
fn nodes_for_those_with_a_password_are_read_with_it_and_without_it_the_slave_says_what_is_missing() {
    let world = World::new("zk-auth");
    let ensemble = Ensemble::start(&world, 1);
    let master = Announced::start(&world, "first");
    let mut writer = Writer::connect(ensemble.ports[0]).expect("ZooKeeper");
    writer.authenticate("mesos:s3cret");
    writer.create("/mesos", "", 0, "auth");
    writer.create("/mesos/json.info_", &master.json(), 2, "auth");
    let plain = format!("{}/mesos", ensemble.addresses());
    let mut stranger = Slave::start(&world, &format!("zk://{plain}"));
    stranger.says("does not let us read it; give --master as zk://user:password@");
    stranger.end();
    let mut wrong = Slave::start(&world, &format!("zk://mesos:wr0ng@{plain}"));
    wrong.says("the user and password of --master do not have the right");
    assert!(!wrong.process.log().contains("wr0ng"));
    wrong.end();
    let file = world.path("zk");
    let mut slave = Slave::start(&world, &format!("file://{file}"));
    slave.says("waiting for it to name a master");
    fs::write(&file, format!("zk://mesos:s3cret@{plain}\n")).expect("file");
    slave.registers_with(&master);
    assert!(!slave.process.log().contains("s3cret"));
    slave.end();
    ensemble.end();
    world.end();
}

#[test]
fn of_three_servers_one_may_go_unnoticed_and_two_may_not() {
    let world = World::new("zk-ensemble");
    let mut ensemble = Ensemble::start(&world, 3);
    let (first, second) = (Announced::start(&world, "first"), Announced::start(&world, "second"));
    let mut writer = Writer::connect(ensemble.ports[0]).expect("ZooKeeper");
    writer.create("/mesos", "", 0, "world");
    let leader = writer.announce(&first, Form::Json);
    let mut slave = Slave::start(&world, &format!("zk://{}/mesos", ensemble.addresses()));
    slave.registers_with(&first);
    let log = slave.process.log();
    let place = ensemble.ports.iter().position(|port| log.contains(&format!("localhost:{port} answers")));
    let place = place.expect("its server");
    ensemble.kill(place);
    slave.says(" answers, session");
    // The ensemble elects anew before it takes a change.
    let port = ensemble.ports[(place + 1) % 3];
    let mut writer = eventually("the ensemble serves", || Writer::connect(port));
    assert!(!slave.has_said("no master leads any more"));
    writer.announce(&second, Form::Json);
    writer.delete(&leader);
    slave.registers_with(&second);
    ensemble.kill((place + 1) % 3);
    slave.says("no master leads any more");
    ensemble.run(place);
    slave.registers_with(&second);
    slave.end();
    ensemble.end();
    world.end();
}
