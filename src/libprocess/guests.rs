//! Peers that may not take what belongs to all: virtual machines of this host, in a subnet of theirs.
//!
//! Each may hold a few connections, all together no more than half of what there is of connections and of memory for unfinished requests, so
//! that no guest keeps the master, or its neighbours, from being heard.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// Most connections that one guest may hold to us: an executor needs two, its libraries perhaps some more.
pub const CONNECTIONS_EACH: usize = 64;
/// Longest body of a guest's message or request, in bytes: a message of 1 MiB is a large one.
pub const BODY: usize = 16 * 1024 * 1024;

/// An IPv4 subnet of guests, as this host sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Guests {
    /// The host's address in it.
    pub gateway: Ipv4Addr,
    /// Its prefix length.
    pub prefix: u8,
}

impl Guests {
    /// Whether an address is a guest's, as far as its subnet tells.
    pub fn has(&self, address: Ipv4Addr) -> bool {
        let mask = u32::MAX.checked_shl(32 - u32::from(self.prefix.min(32))).unwrap_or(0);
        address != self.gateway && (u32::from(address) ^ u32::from(self.gateway)) & mask == 0
    }

    /// Whether a peer is a guest.
    pub fn has_peer(&self, peer: SocketAddr) -> bool {
        let address = match peer.ip() {
            IpAddr::V4(address) => Some(address),
            IpAddr::V6(address) => address.to_ipv4_mapped(),
        };
        address.is_some_and(|address| self.has(address))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subnets_guests_are_all_its_addresses_but_the_hosts() {
        let guests = Guests { gateway: Ipv4Addr::new(10, 97, 0, 1), prefix: 20 };
        assert!(guests.has(Ipv4Addr::new(10, 97, 15, 254)));
        assert!(!guests.has(Ipv4Addr::new(10, 97, 0, 1)));
        assert!(!guests.has(Ipv4Addr::new(10, 97, 16, 1)));
        let all = Guests { gateway: Ipv4Addr::LOCALHOST, prefix: 0 };
        assert!(all.has(Ipv4Addr::new(1, 2, 3, 4)));
    }
}
