//! What containers take of the host, as `/proc` says; nothing else is read, so nothing can block.
//!
//! ```text
//! a virtual machine    QEMU: the one process that libvirt has started for the domain
//! a container without  the child, all that descends from it, and all of its session
//! ```

use std::collections::{BTreeMap, HashMap};

use nix::unistd::{SysconfVar, sysconf};

use crate::container::processes::{self, Account};
use crate::ids::ContainerId;
use crate::messages::container::{Spec, VmState};

/// What containers take, by container; of each that is here.
pub type Usages = BTreeMap<ContainerId, Usage>;

/// What is known of a container.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Usage {
    /// The virtual machine that it has.
    pub machine: Option<Machine>,
    /// What it has taken; none while its virtual machine has not been started, and once it is gone.
    pub taken: Option<Taken>,
}

/// The size of a virtual machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Machine {
    /// Its virtual CPUs.
    pub cpus: u32,
    /// The guest's memory in bytes.
    pub memory: u64,
}

/// What processes have taken.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Taken {
    /// The process that all others descend from.
    pub pid: i32,
    /// CPU time in user mode in seconds, a guest's included; of processes that are gone, too.
    pub user_secs: f64,
    /// CPU time in the kernel, likewise.
    pub system_secs: f64,
    /// Memory in RAM now, in bytes.
    pub resident_bytes: u64,
}

/// Which processes are a container's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Processes {
    /// None yet.
    None,
    /// A child of ours that has not been reaped, so that its id is no other's; it leads a session.
    Tree(i32),
    /// One process, if the one of this id has started then.
    One {
        /// The id.
        pid: i32,
        /// As [`processes::Process::start_time`].
        start_time: u64,
    },
}

/// A container whose processes are to be looked at.
#[derive(Debug, Clone)]
pub struct Measured {
    /// Its id.
    pub container: ContainerId,
    /// The virtual machine that it has.
    pub machine: Option<Machine>,
    /// What it consists of.
    pub processes: Processes,
    /// The container that it is a part of: what it takes is that one's, too.
    pub joins: Option<ContainerId>,
}

impl Machine {
    /// That of a container, if it has one of its own.
    pub fn of(spec: &Spec) -> Option<Machine> {
        let vm = spec.vm.as_ref().filter(|_| spec.joins.is_none())?;
        Some(Machine { cpus: vm.vcpus, memory: vm.memory_mb.saturating_mul(1 << 20) })
    }
}

/// The QEMU that a container's child has noted, once it has.
pub fn qemu(state: &VmState) -> Option<Processes> {
    let pid = i32::try_from(state.qemu_pid?).ok()?;
    Some(Processes::One { pid, start_time: state.qemu_start_time? })
}

/// Looks at the processes of all these.
pub fn measure(containers: &[Measured]) -> Usages {
    let units = Units::of_host();
    let looks_at_all = containers.iter().any(|each| matches!(each.processes, Processes::Tree(_)));
    let all = if looks_at_all { processes::ids().filter_map(Account::read).collect() } else { Vec::new() };
    let mut trees = trees(&all, containers, &units);
    let mut usages: Usages = containers
        .iter()
        .map(|each| {
            let taken = match each.processes {
                Processes::None => None,
                Processes::Tree(pid) => trees.remove(&pid),
                Processes::One { pid, start_time } => {
                    Account::read(pid).and_then(|found| units.one(&found, start_time))
                }
            };
            (each.container.clone(), Usage { machine: each.machine, taken })
        })
        .collect();
    for part in containers {
        let taken = usages.get(&part.container).and_then(|usage| usage.taken);
        let whole = part.joins.as_ref().and_then(|joins| usages.get_mut(joins)?.taken.as_mut());
        if let (Some(taken), Some(whole)) = (taken, whole) {
            whole.add(&taken);
        }
    }
    usages
}

/// What is taken by each tree of processes, by the id of its first.
fn trees(all: &[Account], containers: &[Measured], units: &Units) -> HashMap<i32, Taken> {
    let first = |each: &Measured| match each.processes {
        Processes::Tree(pid) => Some((pid, Taken { pid, ..Taken::default() })),
        Processes::None | Processes::One { .. } => None,
    };
    let mut trees: HashMap<i32, Taken> = containers.iter().filter_map(first).collect();
    let by_pid: HashMap<i32, &Account> = all.iter().map(|each| (each.process.pid, each)).collect();
    for account in all {
        let mut next = Some(account);
        // The processes were not looked at all at once: parents may seem to go in a circle.
        for _ in 0..by_pid.len() {
            let Some(process) = next.map(|each| each.process) else { break };
            let root = [process.pid, process.session].into_iter().find(|pid| trees.contains_key(pid));
            if let Some(taken) = root.and_then(|root| trees.get_mut(&root)) {
                taken.add(&units.taken(account));
                break;
            }
            next = by_pid.get(&process.parent).copied();
        }
    }
    trees
}

impl Taken {
    fn add(&mut self, more: &Taken) {
        self.user_secs += more.user_secs;
        self.system_secs += more.system_secs;
        self.resident_bytes = self.resident_bytes.saturating_add(more.resident_bytes);
    }
}

/// What the kernel counts in.
struct Units {
    ticks_per_second: f64,
    page: u64,
}

impl Units {
    fn of_host() -> Units {
        let ask = |name| sysconf(name).ok().flatten().and_then(|value| u64::try_from(value).ok()).filter(|n| *n > 0);
        Units {
            ticks_per_second: ask(SysconfVar::CLK_TCK).unwrap_or(100) as f64,
            page: ask(SysconfVar::PAGE_SIZE).unwrap_or(4096),
        }
    }

    fn taken(&self, account: &Account) -> Taken {
        Taken {
            pid: account.process.pid,
            user_secs: account.user_ticks as f64 / self.ticks_per_second,
            system_secs: account.system_ticks as f64 / self.ticks_per_second,
            resident_bytes: account.resident_pages.saturating_mul(self.page),
        }
    }

    /// Of a process that lives and has not got its id from another.
    fn one(&self, account: &Account, start_time: u64) -> Option<Taken> {
        let is_it = account.process.start_time == start_time && !account.process.zombie;
        is_it.then(|| self.taken(account))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::processes::Process;
    use crate::subprocess::Spawn;

    const UNITS: Units = Units { ticks_per_second: 100.0, page: 4096 };

    fn account(pid: i32, parent: i32, session: i32) -> Account {
        let process = Process { pid, parent, session, zombie: false, start_time: 5 };
        Account { process, user_ticks: 100, system_ticks: 50, resident_pages: 1 }
    }

    fn container(id: &str, processes: Processes) -> Measured {
        let container = ContainerId::new(id).expect("id");
        Measured { container, machine: None, processes, joins: None }
    }

    #[test]
    fn a_container_is_its_child_with_its_descendants_and_its_session() {
        let all = [
            account(1, 0, 1),
            account(10, 1, 10),  // a child
            account(11, 10, 10), // its command
            account(12, 1, 10),  // in its session, though its parent is gone
            account(51, 50, 50), // a grandchild, listed before its parent
            account(50, 11, 50), // in a session of its own
            account(20, 1, 20),  // another child
            account(21, 20, 20),
            account(30, 31, 30), // two that are each other's parents
            account(31, 30, 30),
        ];
        let containers = [container("a", Processes::Tree(10)), container("b", Processes::Tree(20))];
        let found = trees(&all, &containers, &UNITS);
        assert_eq!(found.len(), 2);
        assert_eq!(found[&10], Taken { pid: 10, user_secs: 5.0, system_secs: 2.5, resident_bytes: 5 * 4096 });
        assert_eq!(found[&20], Taken { pid: 20, user_secs: 2.0, system_secs: 1.0, resident_bytes: 2 * 4096 });
    }

    #[test]
    fn a_process_that_has_got_qemus_id_is_not_read_for_it() {
        assert!(UNITS.one(&account(7, 1, 7), 5).is_some());
        assert!(UNITS.one(&account(7, 1, 7), 4).is_none());
        let mut dead = account(7, 1, 7);
        dead.process.zombie = true;
        assert!(UNITS.one(&dead, 5).is_none());
        let state = VmState { qemu_pid: Some(7), qemu_start_time: Some(5), ..Default::default() };
        assert_eq!(qemu(&state), Some(Processes::One { pid: 7, start_time: 5 }));
        assert_eq!(qemu(&VmState { qemu_start_time: None, ..state }), None, "an id alone is nobody's name");
    }

    #[test]
    fn a_part_is_counted_for_itself_and_for_the_whole() {
        let ourselves = Processes::One {
            pid: std::process::id() as i32,
            start_time: Process::read(std::process::id() as i32).expect("stat").start_time,
        };
        let whole = container("whole", ourselves);
        let part = Measured { joins: Some(whole.container.clone()), ..container("part", ourselves) };
        let usages = measure(&[whole.clone(), part.clone()]);
        let resident = |id: &Measured| usages[&id.container].taken.expect("taken").resident_bytes;
        assert!(resident(&part) > 0);
        assert!(resident(&whole) > resident(&part), "{usages:?}");
    }

    #[test]
    fn a_process_that_is_here_is_measured_and_one_that_is_gone_is_not() {
        let mut child = Spawn::new("/bin/sleep").arg("600").session().spawn().expect("spawn");
        let pid = child.pid().as_raw();
        let sleeper = container("c", Processes::Tree(pid));
        let nothing = container("d", Processes::None);
        let usages = measure(&[sleeper.clone(), nothing.clone()]);
        let taken = usages[&sleeper.container].taken.expect("it runs");
        // Not its memory: kernels count that of a small process with an error that may be all of it.
        assert!(taken.pid == pid && taken.user_secs < 60.0, "{taken:?}");
        assert_eq!(usages[&nothing.container], Usage::default());
        let start_time = Process::read(pid).expect("stat").start_time;
        child.signal(nix::sys::signal::Signal::SIGKILL);
        while child.try_wait().is_none() {
            std::thread::yield_now();
        }
        let gone = container("c", Processes::One { pid, start_time });
        assert_eq!(measure(std::slice::from_ref(&gone))[&gone.container].taken, None);
    }
}
