//! All processes of a session: what a child without a VM leaves behind when it dies.

use std::fs;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Kills every process of the session but its leader, and says how many there were. The leader must not have been reaped:
/// as long as it is there, even as a zombie, no other session can have its number.
pub fn kill_members(leader: Pid) -> usize {
    let members: Vec<Pid> = processes().filter(|pid| *pid != leader && is_member(*pid, leader)).collect();
    for pid in &members {
        // One that ends between the look and the signal is what we want.
        let _ = kill(*pid, Signal::SIGKILL);
    }
    members.len()
}

fn processes() -> impl Iterator<Item = Pid> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| Some(Pid::from_raw(entry.file_name().to_str()?.parse().ok()?)))
}

/// A zombie does not count: it is dead, and its parent's to reap.
fn is_member(pid: Pid, leader: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    parse(&stat).is_some_and(|(state, session)| state != "Z" && session == leader.as_raw())
}

/// State and session of a `/proc/<pid>/stat` line; the name before them may hold anything, a `)` too.
fn parse(stat: &str) -> Option<(&str, i32)> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?;
    Some((state, fields.nth(2)?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::subprocess::Spawn;
    use std::io::Read;
    use std::process::Stdio;

    #[test]
    fn a_name_with_parentheses_does_not_mislead() {
        assert_eq!(parse("7 (a) Z 9 (b) S 1 2 33 0 -1"), Some(("S", 33)));
        assert_eq!(parse("7 (a"), None);
    }

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
