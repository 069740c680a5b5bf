//! The processes of the command: all of the child's session but the child, and whatever descends from the child. The child is
//! their reaper, so even what has left the session and lost its parents is a child of its.

use std::collections::HashSet;

use nix::sys::signal::Signal;
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};
use nix::unistd::{Pid, getpid};

use crate::container::processes::{self, Process};

/// Signals all of them; how many there were.
pub fn signal(signal: Signal) -> usize {
    let members = members(&processes::all(), getpid().as_raw());
    for process in &members {
        // One that ends between the look and the signal is gone, which is as well.
        let _ = process.signal(signal);
    }
    members.len()
}

/// Signals all that has begun in a process or in the session that it leads, and not itself. They are stopped first: what dies may
/// leave a child to us, and what runs may make another.
pub fn kill_below(leader: Pid) {
    let mut stopped = 0;
    let members = loop {
        let members = below(&processes::all(), leader.as_raw());
        if members.len() <= stopped {
            break members;
        }
        stopped = members.len();
        members.iter().for_each(|process| _ = process.signal(Signal::SIGSTOP));
    };
    members.iter().for_each(|process| _ = process.signal(Signal::SIGKILL));
}

/// Reaps what the command left and has ended, but for `others`, who are reaped elsewhere.
pub fn reap_orphans(others: &[Pid]) {
    let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    // The kernel shows the oldest first: until one of the others is reaped, what ended after it may have to wait.
    while let Ok(WaitStatus::Exited(pid, _) | WaitStatus::Signaled(pid, ..)) = waitid(Id::All, flags) {
        if others.contains(&pid) {
            return;
        }
        let _ = waitpid(pid, Some(WaitPidFlag::WNOHANG));
    }
}

/// The members among the processes: those that live.
fn members(processes: &[Process], ours: i32) -> Vec<Process> {
    let session = processes.iter().find(|process| process.pid == ours).map(|process| process.session);
    // Only a session that we lead holds nobody else's processes.
    let session = session.filter(|session| *session == ours);
    family(processes, ours, session)
}

/// The descendants of a process, and the session that it leads with all of theirs.
fn below(processes: &[Process], leader: i32) -> Vec<Process> {
    family(processes, leader, Some(leader))
}

/// The living members of a session, with the descendants of `ours` and of all these.
fn family(processes: &[Process], ours: i32, session: Option<i32>) -> Vec<Process> {
    let mut family = HashSet::from([ours]);
    loop {
        let before = family.len();
        for process in processes {
            if family.contains(&process.parent) || Some(process.session) == session {
                family.insert(process.pid);
            }
        }
        if family.len() == before {
            break;
        }
    }
    let alive = processes.iter().filter(|process| !process.zombie && process.pid != ours);
    alive.filter(|process| family.contains(&process.pid)).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(pid: i32, parent: i32, session: i32) -> Process {
        Process { pid, parent, session, zombie: false, start_time: 0 }
    }

    #[test]
    fn descendants_and_the_session_are_members_and_nobody_else() {
        let all = [
            process(1, 0, 1),
            process(100, 50, 100),
            process(50, 10, 50), // a child of the child's, in a session of its own, listed after its own child
            process(10, 1, 10),  // the child
            process(11, 10, 10),
            process(12, 1, 10), // in the session, though reparented
            process(99, 1, 99),
            Process { zombie: true, ..process(13, 10, 10) },
        ];
        let mut found: Vec<i32> = members(&all, 10).iter().map(|process| process.pid).collect();
        found.sort();
        assert_eq!(found, [11, 12, 50, 100]);
    }

    #[test]
    fn a_session_that_another_process_leads_is_not_ours_to_kill() {
        assert_eq!(members(&[process(10, 9, 9), process(9, 1, 9), process(8, 9, 9)], 10), []);
    }
}
