//! A slave with tasks, and three servers: its leader changes, its session runs out while it is stopped, one server dies, then a second
//! and with it the quorum, and one returns. No task is lost, no update is, and the slave is with each new leader within one
//! registration back-off.

use std::collections::BTreeSet;
use std::fs;
use std::time::{Duration, Instant};

use serde_json::json;

use super::ensemble::{Ensemble, Kind, Readers};
use super::{Announced, Form, Slave};
use crate::scheduler::{Scheduler, text};
use crate::support::{World, eventually, processes};

/// Mesos' own default, and the slave's.
const BACKOFF: Duration = Duration::from_secs(1);
/// For a machine that has other things to do: between the node's change and what of it is seen in the slave's log.
const SLACK: Duration = Duration::from_secs(60);
/// Longest wait between two rounds over servers that are all gone.
const ROUND: Duration = Duration::from_secs(5);

/// The tasks of one framework: one that stays until it is killed, and some that end when they are let.
struct Tasks<'a> {
    world: &'a World,
    scheduler: Scheduler,
    stays: String,
    /// What the framework has been told of which task.
    told: BTreeSet<(String, String)>,
}

impl<'a> Tasks<'a> {
    fn start(world: &'a World, master: &Announced, ends: &[&str]) -> Tasks<'a> {
        let stays = format!("sleep {}", 1_000_000 + std::process::id());
        let scheduler = Scheduler::subscribe_to_stay(&master.address, "root");
        let mut tasks = Tasks { world, scheduler, stays, told: BTreeSet::new() };
        tasks.launch("stays", format!("exec {}", tasks.stays));
        for name in ends {
            tasks.launch(name, format!("until [ -e {} ]; do sleep 0.1; done", world.path(name)));
        }
        tasks
    }

    fn launch(&mut self, name: &str, command: String) {
        self.scheduler.launch(name, json!({ "value": command }));
        self.expect(name, "TASK_STARTING");
        self.expect(name, "TASK_RUNNING");
    }

    /// Lets a task end.
    fn let_end(&self, name: &str) {
        fs::write(self.world.path(name), "").expect("gate");
    }

    /// The scheduler goes to another master, and hears of these tasks only.
    fn follow(&mut self, master: &Announced) {
        self.scheduler = self.scheduler.follow(&master.address);
    }

    /// The next update says that this task has come to this. What has been told before may be told again: by a master that has just
    /// met the task, and by a slave that has just met the master.
    fn expect(&mut self, name: &str, state: &str) {
        let expected = (name.to_string(), state.to_string());
        loop {
            let status = self.scheduler.await_status();
            let told = (text(&status["task_id"]["value"]), text(&status["state"]));
            if self.told.contains(&told) {
                continue;
            }
            assert_eq!(told, expected, "{status}");
            self.told.insert(told);
            return;
        }
    }

    /// The process of the task that stays.
    fn process(&self) -> String {
        let line = |found: &String| found.trim_end().ends_with(&format!(": {}", self.stays));
        eventually("the shell has become its command", || processes(&self.stays).into_iter().find(line))
    }
}

/// What the slave has cost so far.
#[derive(Debug)]
struct Cost {
    /// CPU time, its children's too.
    cpu: Duration,
    lines: usize,
}

impl Cost {
    fn of(slave: &Slave) -> Cost {
        let stat = fs::read_to_string(format!("/proc/{}/stat", slave.process.pid())).expect("stat");
        // After the name in brackets: state is the first, the four times are 12 to 15, in hundredths of a second.
        let fields = stat.rsplit_once(')').expect("name").1.split_whitespace();
        let ticks = fields.skip(11).take(4).map(|ticks| ticks.parse::<u64>().expect("ticks")).sum::<u64>();
        Cost { cpu: Duration::from_millis(ticks * 10), lines: slave.process.log().lines().count() }
    }

    fn since(&self, before: &Cost) -> Cost {
        Cost { cpu: self.cpu - before.cpu, lines: self.lines - before.lines }
    }
}

impl Slave {
    /// The server and the session that it was last given.
    fn server_and_session(&self) -> (u16, String) {
        let log = self.process.log();
        let (before, after) = log.rsplit_once(" answers, session ").expect("a session");
        let port = before.rsplit_once(':').expect("port").1.parse().expect("port");
        (port, after.lines().next().expect("session").to_string())
    }

    /// It is with this master; how long after the moment given.
    fn is_with(&mut self, master: &Announced, since: Instant, limit: Duration, why: &str) {
        self.registers_with(master);
        let took = since.elapsed();
        println!("{why}: registered again after {} ms", took.as_millis());
        assert!(took <= limit, "{why}: registered after {took:?}, more than {limit:?}");
    }
}

#[test]
fn tasks_live_through_a_change_of_leader_an_expired_session_and_the_loss_of_one_and_of_two_of_three_servers() {
    let world = World::new("zk-three");
    let mut ensemble = Ensemble::start(&world, 3, Duration::from_secs(10));
    let [first, second, third] = ["first", "second", "third"].map(|name| Announced::start(&world, name));
    let mut client = ensemble.client(0);
    client.create("/mesos", "", Kind::Plain, Readers::All);
    let mut leader = ensemble.client(1);
    first.announce(&mut leader, &Form::Json, Kind::EphemeralSequential);
    let standby = second.announce(&mut client, &Form::Json, Kind::Sequential);
    third.announce(&mut client, &Form::Json, Kind::Sequential);
    drop(client);
    let zk = format!("zk://{}/mesos", ensemble.addresses());
    let mut slave = Slave::start(&world, &zk, &["--isolation=process", "--resources=cpus:8;mem:4096"]);
    slave.registers_with(&first);
    let mut tasks = Tasks::start(&world, &first, &["one", "two", "three", "four"]);
    let process = tasks.process();

    // The leader's session ends, as when a master does.
    let changed = Instant::now();
    leader.close();
    slave.is_with(&second, changed, BACKOFF + SLACK, "change of leader");
    tasks.follow(&second);
    tasks.let_end("one");
    tasks.expect("one", "TASK_FINISHED");

    // The slave is stopped until its session is over.
    let (_, session) = slave.server_and_session();
    assert!(ensemble.has_connection(&session), "{session}");
    slave.process.signal("STOP");
    tasks.let_end("two");
    eventually("the session is over", || (!ensemble.has_connection(&session)).then_some(()));
    let woken = Instant::now();
    slave.process.signal("CONT");
    slave.says("no master leads any more");
    slave.is_with(&second, woken, BACKOFF + SLACK, "expiry of the session");
    tasks.expect("two", "TASK_FINISHED");
    let (port, after) = slave.server_and_session();
    assert_ne!(after, session);

    // Its server dies, and no more than that happens. The next leader is then seen through another one.
    let lost = ensemble.place(port);
    ensemble.kill(lost);
    slave.says(&format!(" answers, session {after}"));
    let mut client = ensemble.client((lost + 1) % 3);
    assert!(!slave.has_said("no master leads any more") && !slave.has_said("registered"));
    let changed = Instant::now();
    client.delete(&standby);
    slave.is_with(&third, changed, BACKOFF + SLACK, "change of leader with two servers");
    tasks.follow(&third);
    tasks.let_end("three");
    tasks.expect("three", "TASK_FINISHED");
    drop(client);

    // A second one dies, and the last serves nobody until one returns.
    let (before, outage) = (Cost::of(&slave), Instant::now());
    ensemble.kill((lost + 1) % 3);
    slave.says("no master leads any more");
    tasks.let_end("four");
    ensemble.run(lost);
    drop(ensemble.client(lost));
    let (cost, returned, outage) = (Cost::of(&slave).since(&before), Instant::now(), outage.elapsed());
    println!("an outage of {} ms cost {cost:?}", outage.as_millis());
    slave.is_with(&third, returned, ROUND + BACKOFF + SLACK, "return of a server");
    tasks.expect("four", "TASK_FINISHED");
    // A slow machine takes longer for all of it.
    assert!(cost.cpu < Duration::from_millis(500).max(outage / 20) && cost.lines <= 10, "{cost:?}");

    assert_eq!(tasks.process(), process, "the same process all the time");
    tasks.scheduler.kill("stays");
    tasks.expect("stays", "TASK_KILLED");
    assert_eq!(processes(&tasks.stays), Vec::<String>::new());
    slave.end();
    ensemble.end();
    world.end();
}
