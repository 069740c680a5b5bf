//! What a libvirt network is made of, read from and written as libvirt's XML; and which of its addresses, and which subnet for a
//! network of our own, is free. Pure: text and numbers in, text and numbers out.

use std::collections::HashSet;
use std::fmt;
use std::net::Ipv4Addr;

use super::table;

/// The name space of libvirt's options for dnsmasq (<https://libvirt.org/formatnetwork.html>, "Namespaces").
const DNSMASQ: &str = "http://libvirt.org/schemas/network/dnsmasq/1.0";
/// Longest XML that is read, in bytes: a network of 4096 reservations has 0.4 MiB.
const MAX_XML: usize = 8 * 1024 * 1024;
/// Prefix length of the subnet of a network that we make: 1021 guests, each with a reservation, 0.1 MiB of XML.
const OUR_PREFIX: u32 = 22;

/// A running network that serves IPv4 addresses by DHCP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkFacts {
    /// The bridge's interface name.
    pub bridge: String,
    /// The host's, and so the DHCP server's, address in it.
    pub gateway: Ipv4Addr,
    /// The subnet's prefix length.
    pub prefix: u8,
    /// First and last address of each DHCP range.
    pub ranges: Vec<(Ipv4Addr, Ipv4Addr)>,
    /// Reserved addresses, with the MAC where one is given.
    pub hosts: Vec<(Option<String>, Ipv4Addr)>,
    /// dnsmasq pings an address, for 3 s, before it leases it to a MAC for which it is not reserved.
    pub pings: bool,
}

/// Why a network's XML cannot be used.
#[derive(Debug)]
pub enum NetworkXmlError {
    /// It is no XML.
    Malformed(roxmltree::Error),
    /// It is longer than we read.
    TooLong(usize),
    /// It has no bridge of its own.
    NoBridge,
    /// It serves no IPv4 address.
    NoDhcp,
}

impl fmt::Display for NetworkXmlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NetworkXmlError::Malformed(source) => {
                write!(f, "libvirt's XML of it is malformed: {source}")
            }
            NetworkXmlError::TooLong(length) => {
                write!(f, "libvirt's XML of it has {length} bytes, more than {MAX_XML}")
            }
            NetworkXmlError::NoBridge => write!(f, "it has no bridge"),
            NetworkXmlError::NoDhcp => write!(f, "it serves no IPv4 addresses by DHCP"),
        }
    }
}

impl std::error::Error for NetworkXmlError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            NetworkXmlError::Malformed(source) => Some(source),
            NetworkXmlError::TooLong(_) | NetworkXmlError::NoBridge | NetworkXmlError::NoDhcp => None,
        }
    }
}

impl NetworkFacts {
    /// Reads libvirt's XML of a network.
    ///
    /// # Errors
    /// [`NetworkXmlError`].
    pub fn parse(xml: &str) -> Result<NetworkFacts, NetworkXmlError> {
        if xml.len() > MAX_XML {
            return Err(NetworkXmlError::TooLong(xml.len()));
        }
        let document = roxmltree::Document::parse(xml).map_err(NetworkXmlError::Malformed)?;
        let children = || document.root_element().children().filter(roxmltree::Node::is_element);
        let bridge = children().find(|node| node.has_tag_name("bridge")).and_then(|node| node.attribute("name"));
        let bridge = bridge.ok_or(NetworkXmlError::NoBridge)?.to_string();
        let pings = !document
            .descendants()
            .any(|node| node.has_tag_name((DNSMASQ, "option")) && node.attribute("value") == Some("no-ping"));
        children()
            .filter(|node| node.has_tag_name("ip"))
            .find_map(|ip| NetworkFacts::from_ip(&bridge, pings, ip))
            .ok_or(NetworkXmlError::NoDhcp)
    }

    /// An `<ip>` element; `None` when it is IPv6 or has no DHCP range.
    fn from_ip(bridge: &str, pings: bool, ip: roxmltree::Node<'_, '_>) -> Option<NetworkFacts> {
        let gateway = ip.attribute("address")?.parse().ok()?;
        let dhcp = ip.children().find(|node| node.has_tag_name("dhcp"))?;
        let address = |node: roxmltree::Node<'_, '_>, name: &str| node.attribute(name)?.parse::<Ipv4Addr>().ok();
        let of_name = |name: &'static str| dhcp.children().filter(move |node| node.has_tag_name(name));
        let ranges: Vec<_> =
            of_name("range").filter_map(|node| Some((address(node, "start")?, address(node, "end")?))).collect();
        let hosts = of_name("host")
            .filter_map(|node| Some((node.attribute("mac").map(str::to_ascii_lowercase), address(node, "ip")?)))
            .collect();
        if ranges.is_empty() {
            return None;
        }
        Some(NetworkFacts { bridge: bridge.to_string(), gateway, prefix: prefix(ip, gateway), ranges, hosts, pings })
    }

    /// The subnet's first address, which is the network's own.
    pub fn first_address(&self) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.gateway) & mask(u32::from(self.prefix)))
    }

    /// The addresses that have a MAC of their own from the network's start on (`table`), from the `start`th on and round.
    pub fn table(&self, start: u64) -> impl Iterator<Item = Ipv4Addr> + '_ {
        let of_table = |host: &&(Option<String>, Ipv4Addr)| host.0.as_deref().is_some_and(table::has);
        let addresses: Vec<Ipv4Addr> = self.hosts.iter().filter(of_table).map(|host| host.1).collect();
        let size = addresses.len();
        (0..size).map(move |step| addresses[((start % size as u64) as usize + step) % size])
    }

    /// The address that is reserved for this MAC.
    pub fn reserved(&self, mac: &str) -> Option<Ipv4Addr> {
        let of_mac =
            |host: &&(Option<String>, Ipv4Addr)| host.0.as_deref().is_some_and(|has| has.eq_ignore_ascii_case(mac));
        self.hosts.iter().find(of_mac).map(|host| host.1)
    }

    /// How many addresses the ranges have.
    pub fn size(&self) -> u64 {
        self.ranges.iter().map(|range| range_size(*range)).sum()
    }

    /// The addresses of the ranges that are neither reserved nor in `leased` nor the host's own, from the `start`th on (modulo their
    /// number) and round.
    pub fn free_addresses<'a>(&'a self, leased: &[Ipv4Addr], start: u64) -> impl Iterator<Item = Ipv4Addr> + 'a {
        let taken: HashSet<Ipv4Addr> =
            leased.iter().copied().chain(self.hosts.iter().map(|host| host.1)).chain([self.gateway]).collect();
        let size = self.size();
        (0..size)
            .filter_map(move |step| self.nth((start % size.max(1) + step) % size))
            .filter(move |address| !taken.contains(address))
    }

    /// The `index`th address of the ranges.
    fn nth(&self, mut index: u64) -> Option<Ipv4Addr> {
        for range in &self.ranges {
            let size = range_size(*range);
            if index < size {
                return Some(Ipv4Addr::from(u32::from(range.0).wrapping_add(index as u32)));
            }
            index -= size;
        }
        None
    }
}

fn range_size((first, last): (Ipv4Addr, Ipv4Addr)) -> u64 {
    (u64::from(u32::from(last)) + 1).saturating_sub(u64::from(u32::from(first)))
}

/// The prefix length of an `<ip>`, which may be written as a netmask; where there is neither, libvirt takes that of the address's class
/// (`virSocketAddrGetIPPrefix`).
fn prefix(ip: roxmltree::Node<'_, '_>, address: Ipv4Addr) -> u8 {
    let class = match address.octets()[0] {
        0..=127 => 8,
        128..=191 => 16,
        _ => 24,
    };
    let netmask = || Some(u32::from(ip.attribute("netmask")?.parse::<Ipv4Addr>().ok()?).count_ones() as u8);
    let prefix = ip.attribute("prefix").and_then(|prefix| prefix.parse().ok());
    prefix.or_else(netmask).filter(|prefix| *prefix <= 32).unwrap_or(class)
}

/// A subnet: its first address and its prefix length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subnet {
    /// The network address.
    pub address: Ipv4Addr,
    /// Prefix length, 0 to 32.
    pub prefix: u32,
}

impl Subnet {
    fn overlaps(self, other: Subnet) -> bool {
        let mask = mask(self.prefix.min(other.prefix));
        u32::from(self.address) & mask == u32::from(other.address) & mask
    }

    /// The address of this number in it.
    fn host(self, number: u32) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.address).wrapping_add(number))
    }
}

fn mask(prefix: u32) -> u32 {
    u32::MAX.checked_shl(32 - prefix.min(32)).unwrap_or(0)
}

/// The subnets in `/proc/net/route`, without default routes.
pub fn parse_routes(table: &str) -> Vec<Subnet> {
    let route = |line: &str| {
        let mut fields = line.split_ascii_whitespace();
        let mut field = |index| u32::from_str_radix(fields.nth(index)?, 16).ok();
        // Iface Destination Gateway Flags RefCnt Use Metric Mask
        let (destination, mask) = (field(1)?, field(5)?);
        let prefix = mask.count_ones();
        // The kernel prints an address as if its bytes in memory were one of the host's numbers.
        Some(Subnet { address: Ipv4Addr::from(destination.to_ne_bytes()), prefix })
    };
    table.lines().skip(1).filter_map(route).filter(|subnet| subnet.prefix > 0).collect()
}

/// A subnet for a network of ours that overlaps none of these, out of the private ranges (RFC 1918). The middle of 10/8 comes
/// first: its ends are what people and VPNs take.
pub fn free_subnet(routes: &[Subnet]) -> Option<Subnet> {
    let step = 1usize << (32 - OUR_PREFIX);
    let within = |first: [u8; 4], last: [u8; 4]| {
        (u32::from_be_bytes(first)..=u32::from_be_bytes(last))
            .step_by(step)
            .map(|address| Subnet { address: Ipv4Addr::from(address), prefix: OUR_PREFIX })
    };
    within([10, 97, 0, 0], [10, 249, 255, 255])
        .chain(within([172, 24, 0, 0], [172, 31, 255, 255]))
        .chain(within([192, 168, 128, 0], [192, 168, 255, 255]))
        .find(|subnet| !routes.iter().any(|route| route.overlaps(*subnet)))
}

/// The XML of a network of ours: NAT; no spanning tree, which would hold a guest's first packets back; leases of ten minutes, and no
/// ping before each (3 s), since nothing but our guests is on it; a lease belongs to a MAC, whatever client id the guest sends. Each
/// address is reserved for a MAC (`table`).
pub fn network_xml(name: &str, bridge: &str, subnet: Subnet) -> String {
    let gateway = subnet.host(1);
    let number = (1 << (32 - subnet.prefix)) - 2;
    let last = subnet.host(number);
    let host = |address| format!("      <host mac='{}' ip='{address}'/>\n", table::mac(address));
    let hosts: String = (2..=number).map(|number| host(subnet.host(number))).collect();
    format!(
        "<network xmlns:dnsmasq='{DNSMASQ}'>
  <name>{name}</name>
  <forward mode='nat'/>
  <bridge name='{bridge}' stp='off' delay='0'/>
  <ip address='{gateway}' prefix='{prefix}'>
    <dhcp>
      <range start='{first}' end='{last}'>
        <lease expiry='10' unit='minutes'/>
      </range>
{hosts}    </dhcp>
  </ip>
  <dnsmasq:options>
    <dnsmasq:option value='no-ping'/>
    <dnsmasq:option value='dhcp-ignore-clid'/>
  </dnsmasq:options>
</network>
",
        prefix = subnet.prefix,
        first = subnet.host(2),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEFAULT: &str = "<network connections='1'>
  <name>default</name>
  <uuid>eb09b20a-8cc8-4c99-be30-2209946cafc1</uuid>
  <forward mode='nat'><nat><port start='1024' end='65535'/></nat></forward>
  <bridge name='virbr0' stp='on' delay='0'/>
  <mac address='52:54:00:6d:fc:c0'/>
  <ip family='ipv6' address='fd00::1' prefix='64'><dhcp><range start='fd00::2' end='fd00::9'/></dhcp></ip>
  <ip address='192.168.122.1' netmask='255.255.255.0'>
    <dhcp>
      <range start='192.168.122.2' end='192.168.122.5'><lease expiry='10' unit='minutes'/></range>
      <range start='192.168.122.100' end='192.168.122.101'/>
      <host mac='52:54:00:AA:BB:CC' name='printer' ip='192.168.122.3'/>
      <host name='by-name' ip='192.168.122.100'/>
    </dhcp>
  </ip>
</network>";

    fn facts() -> NetworkFacts {
        NetworkFacts::parse(DEFAULT).expect("the default network")
    }

    fn last_octets(leased: &[u8], start: u64) -> Vec<u8> {
        let leased: Vec<_> = leased.iter().map(|last| Ipv4Addr::new(192, 168, 122, *last)).collect();
        facts().free_addresses(&leased, start).map(|address| address.octets()[3]).collect()
    }

    fn subnet(text: &str, prefix: u32) -> Subnet {
        Subnet { address: text.parse().expect("address"), prefix }
    }

    #[test]
    fn the_default_network_is_read() {
        let facts = facts();
        assert_eq!(facts.bridge, "virbr0");
        assert_eq!(facts.gateway, Ipv4Addr::new(192, 168, 122, 1));
        assert_eq!(facts.size(), 6);
        assert_eq!(facts.hosts.len(), 2);
        assert!(facts.pings);
        assert_eq!(facts.reserved("52:54:00:aa:bb:cc"), Some(Ipv4Addr::new(192, 168, 122, 3)));
        assert_eq!(facts.reserved("52:54:00:aa:bb:cd"), None);
    }

    #[test]
    fn a_network_without_dhcp_or_bridge_or_xml_is_told_apart() {
        let parse = |xml: &str| NetworkFacts::parse(xml).expect_err("no such network");
        assert!(matches!(
            parse("<network><bridge name='b'/><ip address='10.0.0.1'/></network>"),
            NetworkXmlError::NoDhcp
        ));
        assert!(matches!(parse("<network><forward mode='bridge'/></network>"), NetworkXmlError::NoBridge));
        assert!(matches!(parse("<network>"), NetworkXmlError::Malformed(_)));
        assert!(matches!(parse(&" ".repeat(MAX_XML + 1)), NetworkXmlError::TooLong(_)));
    }

    #[test]
    fn addresses_are_chosen_round_from_a_start_and_never_a_taken_one() {
        assert_eq!(last_octets(&[], 0), [2, 4, 5, 101]);
        assert_eq!(last_octets(&[], 3), [5, 101, 2, 4]);
        assert_eq!(last_octets(&[5, 2], u64::MAX), [101, 4], "u64::MAX is 3 modulo 6");
        assert_eq!(last_octets(&[2, 4, 5, 101], 1), [0u8; 0]);
    }

    #[test]
    fn a_range_that_ends_before_it_starts_or_spans_everything_does_no_harm() {
        let mut facts = facts();
        facts.ranges = vec![(Ipv4Addr::new(10, 0, 0, 9), Ipv4Addr::new(10, 0, 0, 2))];
        assert_eq!(facts.free_addresses(&[], 5).count(), 0);
        facts.ranges = vec![(Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST)];
        assert_eq!(facts.free_addresses(&[], u64::from(u32::MAX)).next(), Some(Ipv4Addr::BROADCAST));
    }

    #[test]
    fn routes_are_read_without_the_default_route() {
        let table = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n\
            eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
            eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n\
            tun0\t0000080A\t00000000\t0001\t0\t0\t0\t0000F8FF\t0\t0\t0\nrubbish\n";
        // The table above is one of a little-endian host.
        assert_eq!(parse_routes(table), [subnet("192.0.2.0", 24), subnet("10.8.0.0", 13)]);
    }

    #[test]
    fn our_subnet_overlaps_no_route() {
        assert_eq!(free_subnet(&[]), Some(subnet("10.97.0.0", 22)));
        assert_eq!(free_subnet(&[subnet("10.97.2.0", 24)]), Some(subnet("10.97.4.0", 22)));
        assert_eq!(free_subnet(&[subnet("10.0.0.0", 8)]), Some(subnet("172.24.0.0", 22)));
        assert_eq!(free_subnet(&[subnet("10.0.0.0", 8), subnet("172.16.0.0", 12)]), Some(subnet("192.168.128.0", 22)));
        assert_eq!(free_subnet(&[subnet("0.0.0.0", 1), subnet("128.0.0.0", 1)]), None);
    }

    #[test]
    fn our_network_is_what_we_read_ourselves() {
        let facts =
            NetworkFacts::parse(&network_xml("mesos", "virbr-mesos", subnet("10.97.16.0", 22))).expect("our network");
        assert_eq!(facts.gateway, Ipv4Addr::new(10, 97, 16, 1));
        assert_eq!(facts.first_address(), Ipv4Addr::new(10, 97, 16, 0));
        assert!(!facts.pings);
        let (first, last) = (Ipv4Addr::new(10, 97, 16, 2), Ipv4Addr::new(10, 97, 19, 254));
        assert_eq!(facts.ranges, [(first, last)]);
        let table: Vec<Ipv4Addr> = facts.table(1020).collect();
        assert_eq!((table.len(), table[0], table[1]), (1021, last, first));
        assert!(table.iter().all(|address| facts.reserved(&table::mac(*address)) == Some(*address)));
        assert_eq!(facts.free_addresses(&[], 0).next(), None, "a guest that nobody knows is leased nothing");
    }

    #[test]
    fn a_network_that_is_not_ours_has_no_table() {
        assert_eq!(facts().table(7).next(), None);
        let facts = NetworkFacts { hosts: Vec::new(), ..facts() };
        assert_eq!(facts.table(7).next(), None);
    }

    #[test]
    fn a_subnet_is_told_by_prefix_netmask_or_class() {
        let prefix = |ip: &str| {
            let dhcp = "<dhcp><range start='10.0.0.2' end='10.0.0.3'/></dhcp>";
            let xml = format!("<network><bridge name='b'/><ip {ip}>{dhcp}</ip></network>");
            NetworkFacts::parse(&xml).expect("a network").prefix
        };
        assert_eq!(prefix("address='10.0.0.1' prefix='26'"), 26);
        assert_eq!(prefix("address='10.0.0.1' netmask='255.255.240.0'"), 20);
        assert_eq!((prefix("address='10.0.0.1'"), prefix("address='172.16.0.1'")), (8, 16));
        assert_eq!(prefix("address='192.168.0.1' prefix='99'"), 24);
    }
}
