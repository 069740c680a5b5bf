//! Mesos' default executor (`src/launcher/default_executor.cpp`), which runs groups of tasks, each task in a container of its own inside
//! the executor's. In Mesos it is a program that asks its agent for these containers; here the slave plays it itself. This file is what it
//! decides, without I/O and without the slave's other cares; `playing` is what the slave does with that.
//!
//! ```text
//!  group ──► launch ──► members ──┬─ ended FAILED or KILLED ──► the others of its group are killed, with 3 s of grace
//!                                 ├─ ended FINISHED ──────────► nothing: the others run on
//!                                 └─ gone ────────────────────► the last one's: the executor is done, its container ends
//!  kill ──► one member              shutdown ──► all members, with 3 s of grace
//! ```

mod playing;

use std::time::Duration;

use crate::container::kill_policy::KILL_GRACE;
use crate::ids::{ContainerId, TaskId};
use crate::messages::mesos::TaskState;

/// What is known of one default executor's tasks.
#[derive(Debug, Default)]
pub struct DefaultExecutor {
    /// Those whose containers are not gone, in the order of their launch.
    members: Vec<Member>,
    /// Groups that it was given so far.
    groups: u64,
    /// Whether the executor's own container is there, in which the members' are.
    holder: Holder,
}

/// A task and its container. When it has ended, and that is acknowledged, there may be a new task of its name before its container is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Member {
    pub task: TaskId,
    container: ContainerId,
    group: u64,
    /// It was told to end.
    pub killing: bool,
    /// It has had its terminal state; what is left is its container.
    pub ended: bool,
}

/// The executor's own container.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Holder {
    /// It is there.
    #[default]
    There,
    /// It was told to end.
    Ending,
    /// It is gone.
    Gone,
}

/// A container that is to end.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Kill {
    pub container: ContainerId,
    pub grace: Duration,
}

impl Member {
    /// Tells it to end, once: a second kill changes nothing, its grace included (`DefaultExecutor::killTask`).
    fn kill(&mut self, grace: Duration) -> Option<Kill> {
        if self.killing || self.ended {
            return None;
        }
        self.killing = true;
        Some(Kill { container: self.container.clone(), grace })
    }
}

impl DefaultExecutor {
    /// Tasks to run together, each in this container.
    pub(super) fn launch(&mut self, tasks: impl IntoIterator<Item = (TaskId, ContainerId)>) {
        self.groups += 1;
        let group = self.groups;
        let member = |(task, container)| Member { task, container, group, killing: false, ended: false };
        self.members.extend(tasks.into_iter().map(member));
    }

    /// Whose container it is.
    pub(super) fn member_in(&self, container: &ContainerId) -> Option<&Member> {
        self.members.iter().find(|member| member.container == *container)
    }

    /// Its tasks' containers, in the order of their launch.
    pub fn containers(&self) -> impl Iterator<Item = (&TaskId, &ContainerId)> {
        self.members.iter().map(|member| (&member.task, &member.container))
    }

    /// A task is to be killed.
    pub(super) fn kill(&mut self, task: &TaskId, grace: Duration) -> Option<Kill> {
        self.members.iter_mut().find(|member| member.task == *task && !member.ended)?.kill(grace)
    }

    /// A task was told to end and has not.
    pub(super) fn is_killing(&self, task: &TaskId) -> bool {
        self.members.iter().any(|member| member.task == *task && member.killing && !member.ended)
    }

    /// A task will have this terminal state: unless it finishes, the rest of its group ends with it (`DefaultExecutor::waited`).
    pub(super) fn decided(&mut self, container: &ContainerId, state: TaskState) -> Vec<Kill> {
        let mut members = self.members.iter();
        let decided = members.find(|member| member.container == *container && !member.ended);
        let Some(group) = decided.filter(|_| state != TaskState::TaskFinished).map(|member| member.group) else {
            return Vec::new();
        };
        let others = self.members.iter_mut().filter(|other| other.group == group && other.container != *container);
        others.filter_map(|other| other.kill(KILL_GRACE)).collect()
    }

    /// A task has a terminal state.
    pub(super) fn ended(&mut self, container: &ContainerId, state: TaskState) -> Vec<Kill> {
        let kills = self.decided(container, state);
        let ended = self.members.iter_mut().find(|member| member.container == *container);
        if let Some(member) = ended {
            member.ended = true;
        }
        kills
    }

    /// A task's container is gone.
    pub(super) fn gone(&mut self, container: &ContainerId) {
        self.members.retain(|member| member.container != *container);
    }

    /// It is to end: all tasks that are not being killed are, as by the executor itself (`DefaultExecutor::shutdown`).
    pub(super) fn shut_down(&mut self) -> Vec<Kill> {
        self.members.iter_mut().filter_map(|member| member.kill(KILL_GRACE)).collect()
    }

    /// Its container ends under its tasks, or has ended: whatever is left of them has no time any more.
    pub(super) fn kill_all(&mut self) -> Vec<Kill> {
        let kill = |member: &mut Member| {
            member.killing = true;
            Kill { container: member.container.clone(), grace: Duration::ZERO }
        };
        self.members.iter_mut().map(kill).collect()
    }

    /// No task has a container any more.
    pub(super) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// The executor's own container is to end now; false if it was told so, or is gone.
    pub(super) fn end_holder(&mut self) -> bool {
        match self.holder {
            Holder::There => {
                self.holder = Holder::Ending;
                true
            }
            Holder::Ending | Holder::Gone => false,
        }
    }

    /// The executor's own container is there, be it ending.
    pub(super) fn has_holder(&self) -> bool {
        self.holder != Holder::Gone
    }

    /// The executor's own container is gone, and with it have its tasks ended.
    pub(super) fn holder_gone(&mut self) {
        self.holder = Holder::Gone;
        self.members.iter_mut().for_each(|member| member.ended = true);
    }

    /// Neither its own container nor any of its tasks' is there.
    pub(super) fn is_over(&self) -> bool {
        !self.has_holder() && self.members.is_empty()
    }

    /// This container of its, be it its own or a task's, is the last of them.
    pub(super) fn ends_with(&self, container: &ContainerId) -> bool {
        match self.members.as_slice() {
            [] => true,
            [last] => !self.has_holder() && last.container == *container,
            [_, _, ..] => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    fn task(name: &str) -> TaskId {
        TaskId::new(name).expect("id")
    }

    fn container(name: &str) -> ContainerId {
        ContainerId::new(format!("c-{name}")).expect("id")
    }

    /// With these groups, a letter for each task.
    fn with(groups: &[&str]) -> DefaultExecutor {
        let mut executor = DefaultExecutor::default();
        for group in groups {
            let names: Vec<String> = group.chars().map(String::from).collect();
            executor.launch(names.iter().map(|name| (task(name), container(name))));
        }
        executor
    }

    fn killed(kills: impl IntoIterator<Item = Kill>) -> Vec<(String, u64)> {
        kills.into_iter().map(|kill| (kill.container.to_string(), kill.grace.as_secs())).collect()
    }

    fn three(name: &str) -> (String, u64) {
        (format!("c-{name}"), 3)
    }

    #[test]
    fn a_failed_task_takes_its_group_along_and_no_other() {
        let mut executor = with(&["abc", "d"]);
        assert_eq!(killed(executor.ended(&container("b"), TaskState::TaskFailed)), [three("a"), three("c")]);
        assert_eq!(killed(executor.ended(&container("a"), TaskState::TaskKilled)), [], "the group is ending already");
    }

    #[test]
    fn a_group_ends_as_soon_as_the_end_of_one_is_decided() {
        let mut executor = with(&["abc", "d"]);
        assert_eq!(killed(executor.decided(&container("b"), TaskState::TaskFailed)), [three("a"), three("c")]);
        assert_eq!(killed(executor.ended(&container("b"), TaskState::TaskFailed)), [], "once is enough");
        assert_eq!(killed(executor.decided(&container("d"), TaskState::TaskFinished)), []);
    }

    #[test]
    fn a_finished_task_leaves_its_group_alone() {
        let mut executor = with(&["ab"]);
        assert_eq!(killed(executor.ended(&container("a"), TaskState::TaskFinished)), []);
        executor.gone(&container("a"));
        assert!(!executor.is_empty());
    }

    #[test]
    fn a_task_is_killed_once_with_its_own_grace_and_one_that_ended_not_at_all() {
        let mut executor = with(&["ab"]);
        assert_eq!(killed(executor.kill(&task("a"), LONG)), [("c-a".to_string(), 60)]);
        assert_eq!(executor.kill(&task("a"), Duration::ZERO), None);
        assert_eq!(killed(executor.shut_down()), [three("b")]);
        executor.ended(&container("b"), TaskState::TaskKilled);
        assert_eq!(executor.kill(&task("b"), LONG), None);
        assert_eq!(executor.kill(&task("stranger"), LONG), None);
    }

    #[test]
    fn a_new_task_of_an_old_ones_name_is_not_taken_for_it() {
        let mut executor = with(&["a"]);
        executor.ended(&container("a"), TaskState::TaskFinished);
        executor.launch([(task("a"), container("new"))]);
        assert_eq!(killed(executor.kill(&task("a"), LONG)), [("c-new".to_string(), 60)]);
        executor.gone(&container("a"));
        assert!(executor.is_killing(&task("a")));
    }

    #[test]
    fn it_is_over_when_its_own_container_and_all_others_are_gone_in_whatever_order() {
        let mut executor = with(&["ab"]);
        assert!(executor.end_holder() && !executor.end_holder());
        executor.holder_gone();
        assert!(!executor.is_over() && !executor.ends_with(&container("a")));
        executor.gone(&container("a"));
        assert!(executor.ends_with(&container("b")) && !executor.ends_with(&container("holder")));
        executor.gone(&container("b"));
        assert!(executor.is_over());
        assert!(DefaultExecutor::default().ends_with(&container("holder")));
    }
}
