//! A master that is away for an hour. The slave is woken at each of its deadlines, as its event loop would.

use super::*;
use crate::messages::mesos::TaskState::{TaskFailed, TaskFinished, TaskKilled, TaskRunning, TaskStarting};

const OTHER_MASTER: &str = "master@127.0.0.2:5050";
const HOUR: Duration = Duration::from_secs(3600);

/// The updates of each task, by state and uuid, in the order in which they came.
type Came = BTreeMap<String, Vec<(TaskState, u8)>>;

/// A master's view: what it has received, task by task, and when anything was sent to it at all.
struct Absence {
    world: World,
    master: Pid,
    sent: Vec<(Duration, Outgoing)>,
    began: Instant,
}

impl Absence {
    /// Three tasks run: `stays` will, `ends` will not, `waits` has two updates that nobody has acknowledged.
    fn begin() -> (Absence, [ContainerId; 3]) {
        let mut world = World::registered();
        let stays = world.running("stays");
        let ends = world.running("ends");
        let spec = world.run(task("waits")).launched.remove(0);
        let waits = ContainerId::new(spec.container_id).expect("id");
        world.status(&waits, "waits", TaskStarting, 31);
        world.status(&waits, "waits", TaskRunning, 32);
        let began = world.now.instant;
        (Absence { world, master: pid(MASTER), sent: Vec::new(), began }, [stays, ends, waits])
    }

    fn event(&mut self, event: Event) {
        let wanted = self.world.event(event);
        let at = self.world.now.instant - self.began;
        for (to, message) in wanted.sent {
            assert_eq!(to.address, self.master.address);
            self.sent.push((at, message));
        }
    }

    /// Time passes; `away`: whatever is sent finds nobody, and a try to connect fails at once.
    fn pass(&mut self, time: Duration, away: bool) {
        let end = self.world.now.instant + time;
        while let Some(deadline) = self.world.slave.deadline().filter(|deadline| *deadline <= end) {
            assert!(deadline > self.world.now.instant, "it spins");
            self.world.now.instant = deadline;
            let before = self.sent.len();
            self.event(Event::Tick);
            if away && self.sent.len() > before {
                self.event(Event::Exited(self.master.clone()));
            }
        }
        self.world.now.instant = end;
        self.event(Event::Tick);
    }

    fn status(&mut self, container: &ContainerId, task: &str, state: TaskState, uuid: u8) {
        let status = Box::new(self.world.a_status(task, state, uuid));
        self.event(Event::ContainerStatus { container: container.clone(), status });
    }

    fn hear(&mut self, message: FromMaster) {
        self.event(Event::Message { from: self.master.clone(), message });
    }

    fn gone(&mut self, container: &ContainerId, reason: Option<&str>) {
        self.event(Event::ContainerGone { container: container.clone(), reason: reason.map(str::to_string) });
    }

    /// What happens during the hour: half of it passes before, half after.
    fn hour_in_which_tasks_end(&mut self, [stays, ends, waits]: &[ContainerId; 3]) {
        self.pass(HOUR / 2, true);
        self.status(ends, "ends", TaskFinished, 22);
        self.gone(ends, None);
        self.status(stays, "stays", TaskRunning, 12);
        self.gone(waits, Some("exit status 1"));
        self.pass(HOUR / 2, true);
    }

    /// The registrations of the hour: each a little later than the one before, at most a minute.
    fn was_patient(&self) {
        let times: Vec<Duration> = self.sent.iter().map(|(at, _)| *at).collect();
        assert!((60..=140).contains(&times.len()), "{} messages in an hour", times.len());
        let waits: Vec<Duration> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(
            waits.iter().all(|wait| (Duration::from_secs(1)..=Duration::from_secs(60)).contains(wait)),
            "{waits:?}"
        );
        assert!(self.sent.iter().all(|(_, message)| message.decode::<ReregisterSlaveMessage>().is_some()));
    }

    /// The master is back: it takes the slave in, and acknowledges all that comes. What came of each task, and what was listed.
    fn back(&mut self) -> (Vec<mesos::Task>, Came) {
        self.sent.clear();
        self.pass(Duration::from_secs(61), false);
        let (_, question) = self.sent.last().expect("it asked within a minute");
        let listed = question.decode::<ReregisterSlaveMessage>().expect("a re-registration").tasks;
        self.sent.clear();
        self.hear(FromMaster::Reregistered(Box::new(SlaveReregisteredMessage {
            slave_id: mesos::SlaveId { value: "S0".into() },
            ..Default::default()
        })));
        let mut came = Came::new();
        while let Some((_, message)) = self.sent.pop() {
            let update = message.decode::<StatusUpdateMessage>().expect("nothing but updates").update;
            let status = &update.status;
            let task = status.task_id.value.clone();
            came.entry(task).or_default().push((status.state(), status.uuid()[0]));
            self.hear(FromMaster::Acknowledge(Box::new(StatusUpdateAcknowledgementMessage {
                slave_id: mesos::SlaveId { value: "S0".into() },
                framework_id: update.framework_id.clone(),
                task_id: status.task_id.clone(),
                uuid: status.uuid().to_vec(),
            })));
        }
        (listed, came)
    }

    /// All that was missed, each task's in order; and the tasks are those that the slave has.
    fn finds_everything(&mut self) {
        let (listed, came) = self.back();
        let states: Vec<_> = listed.iter().map(|task| (task.task_id.value.as_str(), task.state())).collect();
        assert_eq!(states, [("ends", TaskFinished), ("stays", TaskRunning), ("waits", TaskFailed)]);
        assert_eq!(came["ends"], [(TaskFinished, 22)]);
        assert_eq!(came["stays"], [(TaskRunning, 12)]);
        let waits = &came["waits"];
        assert_eq!(waits[..2], [(TaskStarting, 31), (TaskRunning, 32)]);
        assert_eq!((waits.len(), waits[2].0), (3, TaskFailed));
        let (framework, ..) = self.world.slave.frameworks().iter().next().expect("one task runs on");
        assert_eq!(framework.as_str(), "F");
        assert_eq!(self.world.slave.running_tasks(), 1);
        self.sent.clear();
        self.pass(Duration::from_secs(70), false);
        assert!(self.sent.is_empty(), "all is acknowledged");
    }
}

#[test]
fn a_master_that_comes_back_after_an_hour_finds_all_tasks_and_every_update_in_order() {
    let (mut absence, containers) = Absence::begin();
    absence.event(Event::Exited(pid(MASTER)));
    absence.hour_in_which_tasks_end(&containers);
    absence.was_patient();
    absence.finds_everything();
}

#[test]
fn another_master_that_leads_after_an_hour_without_any_finds_the_same() {
    let (mut absence, containers) = Absence::begin();
    absence.event(Event::MasterLost);
    absence.hour_in_which_tasks_end(&containers);
    assert!(absence.sent.is_empty(), "there was nobody to send to");
    absence.master = pid(OTHER_MASTER);
    absence.event(Event::MasterDetected(pid(OTHER_MASTER)));
    absence.finds_everything();
}

#[test]
fn another_master_that_takes_over_after_an_hour_of_the_first_s_absence_finds_the_same() {
    let (mut absence, containers) = Absence::begin();
    absence.event(Event::Exited(pid(MASTER)));
    absence.hour_in_which_tasks_end(&containers);
    absence.was_patient();
    absence.master = pid(OTHER_MASTER);
    absence.event(Event::MasterDetected(pid(OTHER_MASTER)));
    absence.finds_everything();
}

#[test]
fn a_master_that_falls_silent_for_an_hour_is_given_up_after_its_ping_timeout_and_then_waited_for() {
    let (mut absence, containers) = Absence::begin();
    absence.pass(Duration::from_secs(77), true);
    assert!(absence.world.slave.registered_master().is_none(), "five pings are missing");
    absence.sent.clear();
    absence.began = absence.world.now.instant;
    absence.hour_in_which_tasks_end(&containers);
    absence.was_patient();
    absence.finds_everything();
}

#[test]
fn a_framework_that_failed_over_during_the_hour_gets_what_is_outstanding_at_once() {
    let (mut absence, [stays, ends, _]) = Absence::begin();
    absence.event(Event::MasterLost);
    absence.pass(HOUR, true);
    absence.status(&ends, "ends", TaskKilled, 22);
    absence.status(&stays, "stays", TaskRunning, 12);
    absence.master = pid(OTHER_MASTER);
    absence.event(Event::MasterDetected(pid(OTHER_MASTER)));
    absence.pass(Duration::from_secs(1), false);
    absence.hear(FromMaster::Reregistered(Box::new(SlaveReregisteredMessage {
        slave_id: mesos::SlaveId { value: "S0".into() },
        ..Default::default()
    })));
    absence.sent.clear();
    // Its scheduler is elsewhere now: the master has dropped what came before it was back.
    absence.hear(FromMaster::UpdateFramework(Box::new(UpdateFrameworkMessage {
        framework_id: mesos::FrameworkId { value: "F".into() },
        pid: Some("scheduler-2@127.0.0.3:7777".into()),
        framework_info: Some(mesos::FrameworkInfo { hostname: Some("elsewhere".into()), ..framework() }),
    })));
    let again = absence.sent.iter().filter_map(|(_, message)| message.decode::<StatusUpdateMessage>());
    let again: Vec<(String, TaskState)> =
        again.map(|message| (message.update.status.task_id.value.clone(), message.update.status.state())).collect();
    let expected = [("ends", TaskKilled), ("stays", TaskRunning), ("waits", TaskStarting)];
    assert_eq!(again, expected.map(|(task, state)| (task.to_string(), state)));
    let known = absence.world.slave.frameworks().values().next().expect("framework");
    assert_eq!(known.info.hostname(), "elsewhere");
    assert_eq!(known.pid, Some(pid("scheduler-2@127.0.0.3:7777")));
    // The next master is as well served.
    absence.event(Event::Exited(pid(OTHER_MASTER)));
    let (listed, came) = absence.back();
    assert_eq!(listed.len(), 3);
    assert_eq!(came["waits"], [(TaskStarting, 31), (TaskRunning, 32)]);
    assert_eq!(came["ends"], [(TaskKilled, 22)]);
}

#[test]
fn a_framework_that_was_gone_before_the_master_came_back_is_forgotten_with_its_updates() {
    let (mut absence, containers) = Absence::begin();
    absence.event(Event::Exited(pid(MASTER)));
    absence.hour_in_which_tasks_end(&containers);
    absence.pass(Duration::from_secs(61), false);
    absence.hear(FromMaster::Reregistered(Box::new(SlaveReregisteredMessage {
        slave_id: mesos::SlaveId { value: "S0".into() },
        ..Default::default()
    })));
    absence.sent.clear();
    absence.hear(FromMaster::ShutdownFramework(Box::new(ShutdownFrameworkMessage {
        framework_id: mesos::FrameworkId { value: "F".into() },
    })));
    let [stays, ..] = &containers;
    absence.status(stays, "stays", TaskKilled, 13);
    absence.gone(stays, None);
    absence.pass(Duration::from_secs(60), false);
    assert!(absence.sent.is_empty(), "nobody would acknowledge it");
    assert!(absence.world.slave.frameworks().is_empty());
}
