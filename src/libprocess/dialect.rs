//! Which libprocess a peer speaks, as it shows itself. Both are taken on the same port; what we send follows what was shown.
//!
//! ```text
//! what we saw                                              the peer's program is
//! a message in HTTP/1.0 from it                            of 2012 (0.9.0): HTTP/1.0, no reply ever, ids `slave`, `2`
//! a message in HTTP/1.1 with Libprocess-From from it       of 1.x: HTTP/1.1, every message answered with 202
//! a 202 on the connection that we made to it               of 1.x, whatever anybody says while that connection lives
//! nothing yet                                              of either kind: 1.x framing with User-Agent first, which both take
//! ```
//!
//! A sender's name is a claim. It counts as a sign only when the message comes from the very IP address that it names, so that
//! nobody at another address, a guest for example, can change how we speak to the master. A connection that breaks ends what
//! is known: another program may come back at its address.

use std::collections::BTreeMap;
use std::net::{SocketAddr, SocketAddrV4};

use super::parse::RequestHead;
use super::pid::Pid;

/// Most addresses that are remembered; what is forgotten is spoken to in the form that all take.
const MAX_REMEMBERED: usize = 4096;

/// The libprocess of a peer's program.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Dialect {
    /// It has shown neither.
    #[default]
    Unknown,
    /// That of Mesos 0.9.0 and its time.
    V2012,
    /// That of Mesos 1.x.
    V1,
}

/// What a message says about the program that it names as its sender.
pub fn shown_by(head: &RequestHead, from: &Pid, peer: SocketAddr) -> Dialect {
    if peer.ip() != *from.address.ip() {
        return Dialect::Unknown;
    }
    match (head.version_1_1, head.headers.get("Libprocess-From").is_some()) {
        (false, _) => Dialect::V2012,
        (true, true) => Dialect::V1,
        (true, false) => Dialect::Unknown,
    }
}

/// What is known about the programs that we have to do with, by where they listen.
#[derive(Debug, Default)]
pub struct Dialects {
    known: BTreeMap<SocketAddrV4, (Dialect, u64)>,
    count: u64,
}

impl Dialects {
    /// What the program at that address has shown.
    pub fn of(&self, address: SocketAddrV4) -> Dialect {
        self.known.get(&address).map_or(Dialect::Unknown, |(dialect, _)| *dialect)
    }

    /// Remembers what it shows; true if that is news.
    pub fn learn(&mut self, address: SocketAddrV4, dialect: Dialect) -> bool {
        if dialect == Dialect::Unknown || self.of(address) == dialect {
            return false;
        }
        let oldest = || self.known.iter().min_by_key(|(_, (_, at))| *at).map(|(address, _)| *address);
        if let Some(oldest) = (self.known.len() >= MAX_REMEMBERED).then(oldest).flatten() {
            self.known.remove(&oldest);
        }
        self.count += 1;
        self.known.insert(address, (dialect, self.count));
        true
    }

    /// Whoever is there now has not shown itself yet.
    pub fn forget(&mut self, address: SocketAddrV4) {
        self.known.remove(&address);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::libprocess::http::Headers;

    fn head(version_1_1: bool, field: &str) -> RequestHead {
        let headers = Headers::new().with(field, "libprocess/a@1.2.3.4:5");
        RequestHead { method: "POST".into(), target: "/slave/PING".into(), version_1_1, headers }
    }

    fn shown(version_1_1: bool, field: &str, peer: &str) -> Dialect {
        let from = "a@1.2.3.4:5".parse().expect("pid");
        shown_by(&head(version_1_1, field), &from, peer.parse().expect("address"))
    }

    #[test]
    fn a_peer_shows_its_dialect_by_how_it_sends() {
        assert_eq!(shown(false, "User-Agent", "1.2.3.4:9"), Dialect::V2012);
        assert_eq!(shown(true, "Libprocess-From", "1.2.3.4:9"), Dialect::V1);
        assert_eq!(shown(true, "User-Agent", "1.2.3.4:9"), Dialect::Unknown);
    }

    #[test]
    fn nobody_at_another_address_can_show_it_for_a_peer() {
        for (version_1_1, field) in [(false, "User-Agent"), (true, "Libprocess-From")] {
            assert_eq!(shown(version_1_1, field, "1.2.3.5:5"), Dialect::Unknown);
        }
    }

    #[test]
    fn only_news_are_told_and_a_new_program_begins_anew() {
        let (mut dialects, address) = (Dialects::default(), SocketAddrV4::new([1, 2, 3, 4].into(), 5));
        assert!(!dialects.learn(address, Dialect::Unknown));
        assert!(dialects.learn(address, Dialect::V2012));
        assert!(!dialects.learn(address, Dialect::V2012));
        assert!(dialects.learn(address, Dialect::V1));
        dialects.forget(address);
        assert_eq!(dialects.of(address), Dialect::Unknown);
    }

    #[test]
    fn more_peers_than_are_remembered_push_out_the_oldest_alone() {
        let mut dialects = Dialects::default();
        let address = |number: usize| SocketAddrV4::new([10, 0, 0, 1].into(), 1 + number as u16);
        (0..=MAX_REMEMBERED).for_each(|number| assert!(dialects.learn(address(number), Dialect::V1)));
        assert_eq!(dialects.known.len(), MAX_REMEMBERED);
        assert_eq!((dialects.of(address(0)), dialects.of(address(1))), (Dialect::Unknown, Dialect::V1));
    }
}
