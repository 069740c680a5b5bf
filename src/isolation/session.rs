//! All processes of a session: what a child without a VM leaves behind when it dies.

use nix::sys::signal::Signal;
use nix::unistd::Pid;

use crate::container::processes;

/// Kills every process of the session but its leader, and says how many there were. The leader must not have been reaped:
/// as long as it is there, even as a zombie, no other session can have its number.
pub fn kill_members(leader: Pid) -> usize {
    let leader = leader.as_raw();
    // A zombie does not count: it is dead, and its parent's to reap.
    let is_member =
        |process: &processes::Process| process.session == leader && process.pid != leader && !process.zombie;
    let members: Vec<processes::Process> = processes::all().into_iter().filter(is_member).collect();
    for process in &members {
        // One that ends between the look and the signal is what we want.
        let _ = process.signal(Signal::SIGKILL);
    }
    members.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::subprocess::Spawn;
    use std::io::Read;
    use std::process::Stdio;

    #[test]
    fn what_a_dead_leader_left_in_its_session_is_killed_even_in_another_group() {
        let script = "set -m; sleep 600 & echo started; exit 0";
        let mut child = Spawn::new("/bin/sh")
            .arg("-c")
            .arg(script)
            .session()
            .with(|command| {
                command.stdout(Stdio::piped());
            })
            .spawn()
            .expect("spawn");
        let mut output = child.stdout.take().expect("pipe");
        let mut line = [0u8; 8];
        output.read_exact(&mut line).expect("the shell's line");
        assert_eq!(kill_members(child.pid()), 1);
        // The end of the pipe: nobody holds it any more.
        output.read_to_end(&mut Vec::new()).expect("end");
        while child.try_wait().is_none() {
            std::thread::yield_now();
        }
    }
}
