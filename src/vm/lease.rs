//! DHCP leases: which lease is a VM's, and giving it back.
//!
//! dnsmasq keeps a lease until it expires (an hour on libvirt's `default` network), also when its VM is long gone, and a network
//! of 253 addresses would be exhausted by as many launches. So at the end of a VM we send the DHCPRELEASE that its guest would have
//! sent (RFC 2131, 4.4.6), from the host to the server's own address:
//!
//! ```text
//!  0     1     2     3
//! op=1 htype=1 hlen=6 hops=0 | xid | secs flags | ciaddr: the lease | yiaddr siaddr giaddr = 0
//! chaddr (16) | sname (64) file (128) | 63 82 53 63 | 53: RELEASE | 54: server | 61: client id, if the lease has one | 255
//! ```
//!
//! The socket is bound to the network's bridge, which makes Linux deliver the packet, though it goes over loopback, as having come
//! in by the bridge; dnsmasq takes a release only from the interface that it serves.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::AsRawFd;

use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, SockaddrIn, sendto, setsockopt, socket, sockopt};

/// Length of a DHCP message up to its options (RFC 2131, figure 1), with the magic cookie.
const HEADER: usize = 240;
/// BOOTP relays and servers may drop shorter messages (RFC 1542, 2.1).
const SHORTEST: usize = 300;
const COOKIE: [u8; 4] = [99, 130, 83, 99];
const SERVER_PORT: u16 = 67;
const OPTION_PAD: u8 = 0;
const OPTION_MESSAGE_TYPE: u8 = 53;
const OPTION_SERVER: u8 = 54;
const OPTION_CLIENT_ID: u8 = 61;
const OPTION_END: u8 = 255;
const RELEASE: u8 = 7;
/// Longest client id of which we send a release; an option's length is one byte.
const MAX_CLIENT_ID: usize = 255;

/// A lease that the network's DHCP server has given, as libvirt lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The client's MAC, as `52:54:00:12:34:56`.
    pub mac: String,
    /// The leased address.
    pub address: Ipv4Addr,
    /// When it ends, in seconds since the epoch; 0: never.
    pub expiry: i64,
    /// The client's id, in hexadecimal with colons; absent or `*`: it sent none.
    pub client_id: Option<String>,
}

/// The lease of exactly this MAC that lasts longest. A lease without an end lasts longest of all.
pub fn newest<'a>(leases: &'a [Lease], mac: &str) -> Option<&'a Lease> {
    leases
        .iter()
        .filter(|lease| lease.mac.eq_ignore_ascii_case(mac))
        .max_by_key(|lease| if lease.expiry == 0 { i64::MAX } else { lease.expiry })
}

/// Why a lease cannot be given back.
#[derive(Debug)]
pub enum ReleaseError {
    /// Its MAC or client id is no hexadecimal with colons.
    Malformed(String),
    /// The packet could not be sent.
    Send {
        /// The network's bridge.
        bridge: String,
        /// The system's reason.
        source: io::Error,
    },
}

impl fmt::Display for ReleaseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReleaseError::Malformed(text) => write!(f, "cannot give back a lease of {text:?}: no bytes in hexadecimal"),
            ReleaseError::Send { bridge, source } => {
                write!(f, "cannot send a DHCP release by {bridge}: {source}")
            }
        }
    }
}

impl std::error::Error for ReleaseError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            ReleaseError::Malformed(_) => None,
            ReleaseError::Send { source, .. } => Some(source),
        }
    }
}

/// The bytes of a DHCPRELEASE.
///
/// # Errors
/// [`ReleaseError::Malformed`].
pub fn release_packet(lease: &Lease, server: Ipv4Addr, xid: u32) -> Result<Vec<u8>, ReleaseError> {
    let mac = parse_hex(&lease.mac).filter(|mac| mac.len() == 6);
    let mac = mac.ok_or_else(|| ReleaseError::Malformed(lease.mac.clone()))?;
    let mut packet = vec![0; HEADER];
    packet[..3].copy_from_slice(&[1, 1, 6]);
    packet[4..8].copy_from_slice(&xid.to_be_bytes());
    packet[12..16].copy_from_slice(&lease.address.octets());
    packet[28..34].copy_from_slice(&mac);
    packet[236..].copy_from_slice(&COOKIE);
    packet.extend([OPTION_MESSAGE_TYPE, 1, RELEASE, OPTION_SERVER, 4]);
    packet.extend(server.octets());
    if let Some(id) = lease.client_id.as_deref().filter(|id| !id.is_empty() && *id != "*") {
        let bytes = parse_hex(id).filter(|bytes| bytes.len() <= MAX_CLIENT_ID);
        let bytes = bytes.ok_or_else(|| ReleaseError::Malformed(id.to_string()))?;
        packet.extend([OPTION_CLIENT_ID, bytes.len() as u8]);
        packet.extend(bytes);
    }
    packet.push(OPTION_END);
    if packet.len() < SHORTEST {
        packet.resize(SHORTEST, OPTION_PAD);
    }
    Ok(packet)
}

/// Sends a DHCPRELEASE for the lease to the server that gave it. There is no answer to a release.
///
/// # Errors
/// [`ReleaseError`].
pub fn release(lease: &Lease, server: Ipv4Addr, bridge: &str) -> Result<(), ReleaseError> {
    let packet = release_packet(lease, server, std::process::id())?;
    send(&packet, server, bridge).map_err(|source| ReleaseError::Send { bridge: bridge.to_string(), source })
}

fn send(packet: &[u8], server: Ipv4Addr, bridge: &str) -> io::Result<()> {
    let socket = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    setsockopt(&socket, sockopt::BindToDevice, &bridge.into())?;
    let to = SockaddrIn::from(SocketAddrV4::new(server, SERVER_PORT));
    sendto(socket.as_raw_fd(), packet, &to, MsgFlags::empty())?;
    Ok(())
}

/// The bytes of `01:52:54`.
fn parse_hex(text: &str) -> Option<Vec<u8>> {
    let byte = |pair: &str| {
        let digits = pair.len() == 2 && pair.bytes().all(|digit| digit.is_ascii_hexdigit());
        if digits { u8::from_str_radix(pair, 16).ok() } else { None }
    };
    text.split(':').map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: &str = "52:54:00:12:34:56";

    fn lease(mac: &str, last: u8, expiry: i64) -> Lease {
        Lease { mac: mac.to_string(), address: Ipv4Addr::new(192, 168, 122, last), expiry, client_id: None }
    }

    /// Options of a DHCP message, in order; reads as a server would.
    fn options(packet: &[u8]) -> Vec<(u8, &[u8])> {
        let (mut rest, mut options) = (&packet[HEADER..], Vec::new());
        while rest[0] != OPTION_END {
            let length = usize::from(rest[1]);
            options.push((rest[0], &rest[2..2 + length]));
            rest = &rest[2 + length..];
        }
        assert!(rest[1..].iter().all(|byte| *byte == OPTION_PAD));
        options
    }

    #[test]
    fn the_lease_is_the_one_of_exactly_that_mac_with_the_newest_expiry() {
        let leases = [lease(MAC, 2, 100), lease("52:54:00:12:34:57", 3, 900), lease(MAC, 4, 300), lease(MAC, 5, 200)];
        assert_eq!(newest(&leases, "52:54:00:12:34:56").map(|lease| lease.address.octets()[3]), Some(4));
        assert_eq!(newest(&leases, "52:54:00:12:34:5"), None);
    }

    #[test]
    fn a_lease_without_an_end_is_newer_than_any_other() {
        let leases = [lease(MAC, 2, i64::MAX - 1), lease(MAC, 3, 0), lease(MAC, 4, 5)];
        assert_eq!(newest(&leases, MAC).map(|lease| lease.address.octets()[3]), Some(3));
    }

    #[test]
    fn a_mac_is_found_in_either_case() {
        let leases = [lease("52:54:00:AB:CD:EF", 2, 1)];
        assert!(newest(&leases, "52:54:00:ab:cd:ef").is_some());
    }

    #[test]
    fn a_release_is_laid_out_as_rfc_2131_has_it() {
        let packet = release_packet(&lease(MAC, 77, 1), Ipv4Addr::new(192, 168, 122, 1), 0x0102_0304).expect("packet");
        assert_eq!(packet.len(), 300);
        assert_eq!(packet[..12], [1, 1, 6, 0, 1, 2, 3, 4, 0, 0, 0, 0]);
        assert_eq!(packet[12..16], [192, 168, 122, 77]);
        assert_eq!(packet[16..28], [0; 12]);
        assert_eq!(packet[28..34], [0x52, 0x54, 0, 0x12, 0x34, 0x56]);
        assert!(packet[34..236].iter().all(|byte| *byte == 0));
        assert_eq!(packet[236..240], [0x63, 0x82, 0x53, 0x63]);
        assert_eq!(options(&packet), [(53, &[7][..]), (54, &[192, 168, 122, 1][..])]);
    }

    #[test]
    fn a_release_carries_the_client_id_of_the_lease() {
        let mut with_id = lease(MAC, 77, 1);
        with_id.client_id = Some("ff:56:50:4d:98:00:02:00:00:ab:11".to_string());
        let packet = release_packet(&with_id, Ipv4Addr::new(192, 168, 122, 1), 1).expect("packet");
        assert_eq!(options(&packet)[2], (61, &[0xff, 0x56, 0x50, 0x4d, 0x98, 0, 2, 0, 0, 0xab, 0x11][..]));
        with_id.client_id = Some("*".to_string());
        assert_eq!(options(&release_packet(&with_id, Ipv4Addr::LOCALHOST, 1).expect("packet")).len(), 2);
    }

    #[test]
    fn a_release_of_the_longest_client_id_is_whole() {
        let mut with_id = lease(MAC, 77, 1);
        with_id.client_id = Some(vec!["ab"; 255].join(":"));
        let packet = release_packet(&with_id, Ipv4Addr::LOCALHOST, 1).expect("packet");
        assert_eq!(options(&packet)[2].1.len(), 255);
        with_id.client_id = Some(vec!["ab"; 256].join(":"));
        assert!(release_packet(&with_id, Ipv4Addr::LOCALHOST, 1).is_err());
    }

    #[test]
    fn what_is_no_mac_is_refused() {
        for mac in ["", "52:54:00", "52:54:00:12:34:5g", "52:54:00:12:34:+5", "52:54:00:12:34:56:78"] {
            assert!(
                matches!(release_packet(&lease(mac, 2, 1), Ipv4Addr::LOCALHOST, 1), Err(ReleaseError::Malformed(_))),
                "{mac}"
            );
        }
    }
}
