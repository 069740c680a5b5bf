//! The slave's children, one per container, whatever they do inside.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

pub use super::member::Cleanup;
use super::member::Member;
use super::usage::{self, Usages};
use super::{ContainerEvent, Isolation, LaunchError};
use crate::container::directory::RuntimeDirectory;
use crate::ids::ContainerId;
use crate::messages::container::{Spec, ToChild, to_child};
use crate::messages::mesos;
use crate::poll::{PollSet, earlier};
use crate::subprocess::Spawn;

/// All children of one isolation.
#[derive(Debug)]
pub struct Children {
    runtime_dir: PathBuf,
    program: fn(&Path) -> Spawn,
    cleanup: Cleanup,
    members: BTreeMap<ContainerId, Member>,
    destroy_errors: u64,
}

impl Children {
    /// Children that run `program` with their runtime directory, which lies below `runtime_dir`.
    pub fn new(runtime_dir: PathBuf, program: fn(&Path) -> Spawn, cleanup: Cleanup) -> Children {
        Children { runtime_dir, program, cleanup, members: BTreeMap::new(), destroy_errors: 0 }
    }

    fn send(&mut self, container: &ContainerId, message: &ToChild) {
        if let Some(member) = self.members.get_mut(container) {
            member.send(message);
        }
    }
}

impl Isolation for Children {
    fn launch(&mut self, spec: Spec, _now: Instant) -> Result<(), LaunchError> {
        let container = ContainerId::new(spec.container_id.as_str()).map_err(LaunchError::Id)?;
        if self.members.contains_key(&container) {
            return Err(LaunchError::Exists(container));
        }
        let directory = RuntimeDirectory::of(&self.runtime_dir, &container);
        let member = Member::launch(container.clone(), directory, &spec, self.program, self.cleanup)?;
        self.members.insert(container, member);
        Ok(())
    }

    fn kill(&mut self, container: &ContainerId, grace: Duration, now: Instant) {
        if let Some(member) = self.members.get_mut(container) {
            member.kill(grace, now);
        }
    }

    fn resources_changed(&mut self, container: &ContainerId, resources: &[mesos::Resource]) {
        let changed = to_child::ResourcesChanged { resources: resources.to_vec() };
        self.send(container, &ToChild { resources_changed: Some(changed), ..Default::default() });
    }

    fn acknowledge(&mut self, container: &ContainerId, uuid: &[u8]) {
        self.send(container, &ToChild { acknowledge: Some(uuid.to_vec()), ..Default::default() });
    }

    fn usage(&mut self) -> Usages {
        let measured: Vec<_> = self.members.values_mut().map(Member::measured).collect();
        usage::measure(&measured)
    }

    fn destroy_errors(&self) -> u64 {
        self.destroy_errors
    }

    fn register(&self, set: &mut PollSet) {
        self.members.values().for_each(|member| member.register(set));
    }

    fn turn(&mut self, _set: &PollSet, now: Instant) -> Vec<ContainerEvent> {
        let events: Vec<ContainerEvent> = self.members.values_mut().flat_map(|member| member.turn(now)).collect();
        for event in &events {
            if let ContainerEvent::Exited { container, .. } = event {
                let gone = self.members.remove(container);
                self.destroy_errors += u64::from(gone.is_some_and(|member| member.has_left_something()));
            }
        }
        events
    }

    fn deadline(&self) -> Option<Instant> {
        self.members.values().map(Member::deadline).fold(None, earlier)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Ended;
    use super::*;
    use crate::container::scratch::Scratch;
    use crate::container::status::Update;
    use crate::messages::container::Joined;
    use crate::messages::mesos::{TaskState, TaskStatus};

    fn shell(script: &str, directory: &Path) -> Spawn {
        Spawn::new("/bin/sh").arg("-c").arg(script).arg("sh").arg(directory)
    }

    fn id() -> ContainerId {
        ContainerId::new("c").expect("id")
    }

    fn spec() -> Spec {
        Spec { version: 1, container_id: "c".into(), ..Default::default() }
    }

    /// Launches one child and turns until it is gone; gives all events and whether the runtime directory is left.
    fn life(program: fn(&Path) -> Spawn, cleanup: Cleanup, kill: bool) -> (Vec<ContainerEvent>, bool) {
        life_of(spec(), program, cleanup, kill)
    }

    fn life_of(spec: Spec, program: fn(&Path) -> Spawn, cleanup: Cleanup, kill: bool) -> (Vec<ContainerEvent>, bool) {
        let scratch = Scratch::new();
        let mut children = Children::new(scratch.path().to_path_buf(), program, cleanup);
        children.launch(spec, Instant::now()).expect("launch");
        // The clock that the children are given is a day ahead once the kill is to be escalated.
        let mut ahead = Duration::ZERO;
        if kill {
            children.kill(&id(), Duration::ZERO, Instant::now());
            ahead = Duration::from_secs(86400);
        }
        let mut events = Vec::new();
        let mut set = PollSet::new();
        while !children.members.is_empty() {
            set.clear();
            children.register(&mut set);
            let deadline = children.deadline().and_then(|at| at.checked_sub(ahead));
            let limit = Instant::now() + Duration::from_secs(20);
            let wait = deadline.map_or(limit, |at| at.min(limit));
            set.wait(Some(wait)).expect("poll");
            events.extend(children.turn(&set, Instant::now() + ahead));
        }
        (events, scratch.path().join("containers/c").exists())
    }

    fn died(events: &[ContainerEvent]) -> &str {
        match events {
            [ContainerEvent::Exited { ended: Ended::Died { reason }, .. }] => reason,
            other => panic!("expected one death, got {other:?}"),
        }
    }

    fn clean_up(directory: &Path) -> Spawn {
        shell("touch $1/done", directory)
    }

    #[test]
    fn a_child_that_cleaned_up_ended_orderly_and_leaves_no_directory() {
        let (events, left) =
            life(|dir| shell("touch $1/done", dir), Cleanup::Worker(|dir| shell("exit 1", dir)), false);
        let ended = Ended::Orderly;
        assert_eq!(events, [ContainerEvent::Exited { container: id(), ended }]);
        assert!(!left);
    }

    #[test]
    fn a_child_that_died_is_cleaned_up_after_and_its_last_words_are_the_reason() {
        let worker = Cleanup::Worker(|dir| shell("test -f $1/spec", dir));
        let (events, left) = life(|dir| shell("echo no disk space >&2; kill -KILL $$", dir), worker, false);
        assert!(died(&events).contains("signal SIGKILL"), "{events:?}");
        assert!(died(&events).ends_with("no disk space"), "{events:?}");
        assert!(!left);
    }

    #[test]
    fn what_cannot_be_cleaned_up_keeps_its_directory() {
        let (events, left) = life(|dir| shell("exit 3", dir), Cleanup::Worker(|dir| shell("exit 1", dir)), false);
        assert!(died(&events).contains("exit status 3"), "{events:?}");
        assert!(left);
    }

    #[test]
    fn an_outcome_that_was_written_but_not_sent_is_sent_for_the_dead_child() {
        fn program(directory: &Path) -> Spawn {
            let status = TaskStatus { state: TaskState::TaskFinished as i32, ..Default::default() };
            let update = Update { status, wait_status: Some(0) };
            RuntimeDirectory::new(directory).write_outcome(&update).expect("outcome");
            shell("exit 9", directory)
        }
        let (events, _) = life(program, Cleanup::Worker(clean_up), false);
        assert!(
            matches!(&events[0], ContainerEvent::Update { update, .. } if update.status.state() == TaskState::TaskFinished)
        );
        let ended = Ended::Orderly;
        assert_eq!(events[1], ContainerEvent::Exited { container: id(), ended });
    }

    #[test]
    fn what_ran_in_anothers_vm_has_died_unless_its_child_has_cleaned_up_whatever_is_known_of_it() {
        fn program(directory: &Path) -> Spawn {
            let status = TaskStatus { state: TaskState::TaskKilled as i32, ..Default::default() };
            let update = Update { status, wait_status: None };
            RuntimeDirectory::new(directory).write_outcome(&update).expect("outcome");
            shell("exit 0", directory)
        }
        let joins = Some(Joined { container_id: "holder".into(), address: None });
        let (events, left) = life_of(Spec { joins, ..spec() }, program, Cleanup::Worker(clean_up), false);
        let [ContainerEvent::Update { .. }, ContainerEvent::Exited { ended: Ended::Died { reason }, .. }] = &events[..]
        else {
            panic!("expected an update and a death, got {events:?}");
        };
        assert!(reason.contains("may still run"), "{reason}");
        assert!(!left);
        let joins = Some(Joined { container_id: "holder".into(), address: None });
        let (events, _) = life_of(Spec { joins, ..spec() }, clean_up, Cleanup::Worker(clean_up), false);
        assert_eq!(events, [ContainerEvent::Exited { container: id(), ended: Ended::Orderly }]);
    }

    #[test]
    fn a_child_that_ignores_the_kill_is_killed_itself() {
        let (events, _) = life(|dir| shell("trap '' TERM; sleep 600", dir), Cleanup::Worker(clean_up), true);
        assert!(matches!(&events[..], [ContainerEvent::Exited { .. }]), "{events:?}");
    }

    #[test]
    fn without_a_vm_the_whole_session_goes_with_the_child() {
        fn program(directory: &Path) -> Spawn {
            shell("set -m; sleep 600 & echo $! >&2; exit 4", directory)
        }
        let (events, left) = life(program, Cleanup::Session, false);
        let pid: i32 = died(&events).rsplit(' ').next().and_then(|pid| pid.parse().ok()).expect("pid");
        let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        assert!(state.is_empty() || state.contains(") Z "), "{state}");
        assert!(!left);
    }

    #[test]
    fn two_containers_cannot_have_one_id() {
        let scratch = Scratch::new();
        let mut children = Children::new(scratch.path().to_path_buf(), clean_up, Cleanup::Session);
        children.launch(spec(), Instant::now()).expect("launch");
        let error = children.launch(spec(), Instant::now()).expect_err("the second");
        assert!(matches!(error, LaunchError::Exists(_)));
        let bad = Spec { container_id: "../c".into(), ..spec() };
        assert!(matches!(children.launch(bad, Instant::now()), Err(LaunchError::Id(_))));
    }
}
