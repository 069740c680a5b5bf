//! A guest's place on a network's bridge, without a guest: for tests.
#![allow(unsafe_code)]

use std::net::Ipv4Addr;
use std::os::fd::AsRawFd;
use std::process::Command;

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

fn ip(args: &[&str]) {
    let status = Command::new("ip").args(args).status().expect("ip: install iproute2");
    assert!(status.success(), "ip {args:?}");
}

/// A veth pair, one end of which is on a network's bridge: what is sent by the other comes in like a guest's.
pub struct Port {
    outer: String,
    index: i32,
}

impl Port {
    pub fn new(number: u8, bridge: &str) -> Port {
        let (outer, inner) = (format!("mt{number}o"), format!("mt{number}i"));
        ip(&["link", "add", &outer, "type", "veth", "peer", "name", &inner]);
        ip(&["link", "set", &inner, "master", bridge, "up"]);
        ip(&["link", "set", &outer, "up"]);
        let index = nix::net::if_::if_nametoindex(outer.as_str()).expect("index") as i32;
        Port { outer, index }
    }

    pub fn send(&self, frame: &[u8]) {
        let socket = socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, None).expect("packet socket");
        // SAFETY: all zeroes is a sockaddr_ll; the pointers are valid for the call with the lengths given.
        let sent = unsafe {
            let mut to: libc::sockaddr_ll = std::mem::zeroed();
            to.sll_family = libc::AF_PACKET as u16;
            to.sll_ifindex = self.index;
            let length = size_of::<libc::sockaddr_ll>() as u32;
            libc::sendto(socket.as_raw_fd(), frame.as_ptr().cast(), frame.len(), 0, (&raw const to).cast(), length)
        };
        assert_eq!(sent, frame.len() as isize, "{}", std::io::Error::last_os_error());
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["link", "del", &self.outer]).status();
    }
}

/// The DHCPREQUEST of a guest that takes the address it was offered, as udhcpc sends it, in an Ethernet frame.
pub fn request(mac: [u8; 6], address: Ipv4Addr, server: Ipv4Addr) -> Vec<u8> {
    let mut dhcp = vec![0u8; 240];
    dhcp[..3].copy_from_slice(&[1, 1, 6]);
    dhcp[4..8].copy_from_slice(&mac[2..6]);
    dhcp[28..34].copy_from_slice(&mac);
    dhcp[236..240].copy_from_slice(&[99, 130, 83, 99]);
    dhcp.extend([53, 1, 3, 50, 4]);
    dhcp.extend(address.octets());
    dhcp.extend([54, 4]);
    dhcp.extend(server.octets());
    // A client id that is not the MAC's: the release has to carry it.
    dhcp.extend([61, 5, 0xff, mac[2], mac[3], mac[4], mac[5], 255]);
    let mut ip = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255];
    ip[2..4].copy_from_slice(&(28 + dhcp.len() as u16).to_be_bytes());
    let sum: u32 = ip.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    ip[10..12].copy_from_slice(&(!((sum >> 16) as u16 + sum as u16)).to_be_bytes());
    let mut frame = vec![255; 6];
    frame.extend(mac);
    frame.extend([8, 0]);
    frame.extend(ip);
    frame.extend([0, 68, 0, 67]);
    frame.extend((8 + dhcp.len() as u16).to_be_bytes());
    frame.extend([0, 0]);
    frame.extend(dhcp);
    frame
}
