//! A host's name to its address without waiting for it: the resolver blocks, so `getent`, which asks it as this host is
//! configured to, does so in a child. Names are looked up for each connection: a server that moved is found again.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

use crate::poll::PollSet;
use crate::subprocess::{Job, JobEnd, Spawn};

/// A killed child is gone at once, but for a moment; if not, it is not waited for.
const MOMENT: Duration = Duration::from_millis(100);

/// A name that is being looked up. Dropping it ends the child.
#[derive(Debug)]
pub struct Lookup {
    job: Job,
    host: String,
    port: u16,
}

/// What to do about a name.
#[derive(Debug)]
pub enum Begun {
    /// It was an address already.
    Known(SocketAddrV4),
    /// It is being looked up.
    Running(Lookup),
    /// There is no child to do it.
    Failed(String),
}

impl Lookup {
    /// Begins; the host has been checked to be a name or an IPv4 address.
    pub fn begin(host: &str, port: u16, deadline: Instant) -> Begun {
        if let Ok(ip) = host.parse::<Ipv4Addr>() {
            return Begun::Known(SocketAddrV4::new(ip, port));
        }
        match Job::start(Spawn::new("getent").arg("ahostsv4").arg("--").arg(host), deadline) {
            Ok(job) => Begun::Running(Lookup { job, host: host.to_string(), port }),
            Err(error) => Begun::Failed(format!("cannot run getent to look {host} up: {error}")),
        }
    }

    /// Waits for its end in the set.
    pub fn register(&self, set: &mut PollSet) {
        self.job.register(set);
    }

    /// When it is given up.
    pub fn deadline(&self) -> Instant {
        self.job.deadline()
    }

    /// The address, or why there is none, once it has ended.
    pub fn turn(&mut self, now: Instant) -> Option<Result<SocketAddrV4, String>> {
        let end = self.job.turn(now)?;
        Some(match first_address(&end) {
            Some(ip) => Ok(SocketAddrV4::new(ip, self.port)),
            None if end.exit.is_none() => Err(format!("{} could not be looked up in time", self.host)),
            None => Err(format!("{} has no IPv4 address", self.host)),
        })
    }
}

impl Drop for Lookup {
    fn drop(&mut self) {
        self.job.cancel();
        let deadline = Instant::now() + MOMENT;
        let mut set = PollSet::new();
        while self.job.turn(Instant::now()).is_none() && Instant::now() < deadline {
            set.clear();
            self.job.register(&mut set);
            if set.wait(Some(deadline)).is_err() {
                return;
            }
        }
    }
}

/// `getent ahostsv4` prints lines of an address, a socket type and, on the first, a name.
fn first_address(end: &JobEnd) -> Option<Ipv4Addr> {
    let text = std::str::from_utf8(&end.stdout).ok()?;
    text.lines().filter_map(|line| line.split_whitespace().next()).find_map(|word| word.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look_up(host: &str) -> Result<SocketAddrV4, String> {
        let deadline = Instant::now() + Duration::from_secs(120);
        let mut lookup = match Lookup::begin(host, 2181, deadline) {
            Begun::Known(address) => return Ok(address),
            Begun::Failed(why) => return Err(why),
            Begun::Running(lookup) => lookup,
        };
        let mut set = PollSet::new();
        loop {
            if let Some(end) = lookup.turn(Instant::now()) {
                return end;
            }
            set.clear();
            lookup.register(&mut set);
            set.wait(Some(lookup.deadline())).expect("poll");
        }
    }

    #[test]
    fn a_name_is_looked_up_in_a_child_and_an_address_is_not() {
        let found = if has_address() { Ok("127.0.0.1:2181".parse().unwrap()) } else { none("localhost") };
        assert_eq!(look_up("localhost"), found);
        assert_eq!(look_up("10.0.0.1"), Ok("10.0.0.1:2181".parse().unwrap()));
        // No name server is asked for such a name: one that does not answer would cost its time.
        assert_eq!(look_up("no..such..host"), none("no..such..host"));
    }

    fn none(host: &str) -> Result<SocketAddrV4, String> {
        Err(format!("{host} has no IPv4 address"))
    }

    /// Whether this machine has an IPv4 address besides loopback's. Without one the C library gives none of IPv4 away.
    fn has_address() -> bool {
        let all = nix::ifaddrs::getifaddrs().expect("interfaces");
        let ipv4 = |address: nix::sys::socket::SockaddrStorage| address.as_sockaddr_in().map(|address| address.ip());
        all.filter_map(|interface| interface.address.and_then(ipv4)).any(|ip| !ip.is_loopback())
    }
}
