//! The host's routes, from `/proc/net/route`.

use std::net::Ipv4Addr;

/// An IPv4 subnet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Subnet {
    pub address: Ipv4Addr,
    pub prefix: u32,
}

impl Subnet {
    pub fn overlaps(self, other: Subnet) -> bool {
        let prefix = self.prefix.min(other.prefix).min(32);
        let mask = u32::MAX.checked_shl(32 - prefix).unwrap_or(0);
        u32::from(self.address) & mask == u32::from(other.address) & mask
    }

    /// `10.0.0.0/8`.
    pub fn parse(text: &str) -> Option<Subnet> {
        let (address, prefix) = text.split_once('/')?;
        let prefix = prefix.parse().ok().filter(|prefix| *prefix <= 32)?;
        Some(Subnet { address: address.parse().ok()?, prefix })
    }
}

impl std::fmt::Display for Subnet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

/// A route, other than a default one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Route {
    pub interface: String,
    pub subnet: Subnet,
}

/// Reads the kernel's table; its numbers are hexadecimal, in the host's byte order.
pub(super) fn parse(table: &str) -> Vec<Route> {
    table.lines().skip(1).filter_map(route).filter(|route| route.subnet.prefix > 0).collect()
}

fn route(line: &str) -> Option<Route> {
    // Iface Destination Gateway Flags RefCnt Use Metric Mask
    let fields: Vec<_> = line.split_ascii_whitespace().collect();
    let number = |at: usize| u32::from_str_radix(fields.get(at)?, 16).ok();
    let subnet = Subnet { address: Ipv4Addr::from(number(1)?.to_ne_bytes()), prefix: number(7)?.count_ones() };
    Some(Route { interface: fields.first()?.to_string(), subnet })
}
