//! Peers of 1.x and of 2012 on the same port, and what is sent to each.

use std::net::TcpListener;

use super::*;
use crate::libprocess::Dialect;

/// A peer that is a plain listener: what is sent to it is seen byte for byte.
struct Peer {
    listener: TcpListener,
    pid: Pid,
    taken: Option<Plain>,
}

impl Peer {
    fn new(id: &str) -> Peer {
        let listener = TcpListener::bind(any_port()).expect("a listener");
        listener.set_nonblocking(true).expect("non-blocking");
        let std::net::SocketAddr::V4(address) = listener.local_addr().expect("address") else { panic!("IPv4") };
        Peer { listener, pid: Pid { id: id.to_string(), address }, taken: None }
    }

    /// Turns until that many messages have come on the peer's connection; gives the events of meanwhile.
    fn receive(&mut self, network: &mut Network, end: &str) -> Vec<NetworkEvent> {
        let mut seen = Vec::new();
        until(&mut [network], |_, network, events| {
            seen.extend(events);
            network.flush();
            if self.taken.is_none() {
                self.taken = self.listener.accept().ok().map(|(socket, _)| Plain::new(socket));
            }
            self.taken.as_mut().is_some_and(|peer| {
                peer.read();
                peer.text().ends_with(end)
            })
        });
        seen
    }

    fn text(&self) -> String {
        self.taken.as_ref().map(Plain::text).unwrap_or_default()
    }

    fn answer(&mut self, bytes: &[u8]) {
        self.taken.as_mut().expect("a connection").write(bytes);
    }
}

/// A message's bytes as a peer of 2012 writes them, or one of 1.x.
fn old(from: &Pid, name: &str) -> Vec<u8> {
    format!("POST /slave/{name} HTTP/1.0\r\nUser-Agent: libprocess/{from}\r\nConnection: Keep-Alive\r\n\r\n")
        .into_bytes()
}

fn new(from: &Pid, name: &str) -> Vec<u8> {
    format!("POST /slave/{name} HTTP/1.1\r\nUser-Agent: libprocess/{from}\r\nLibprocess-From: {from}\r\nHost: \r\n\r\n")
        .into_bytes()
}

/// What comes of bytes that somebody sends from loopback.
fn hear(network: &mut Network, bytes: &[u8]) -> Vec<NetworkEvent> {
    let mut sender = Plain::connect(network.address());
    sender.write(bytes);
    let mut seen = Vec::new();
    until(&mut [network], |_, _, events| {
        seen.extend(events);
        seen.iter().any(|event| matches!(event, NetworkEvent::Message { .. }))
    });
    seen
}

fn shown(events: &[NetworkEvent]) -> Vec<Dialect> {
    let taken = events.iter().filter_map(|event| match event {
        NetworkEvent::Shown { dialect, .. } => Some(*dialect),
        _ => None,
    });
    taken.collect()
}

#[test]
fn a_peer_of_2012_shows_itself_with_its_first_message_and_is_answered_in_its_own_form() {
    let (mut network, mut peer) = (listen(), Peer::new("2"));
    let events = hear(&mut network, &old(&peer.pid, "PING"));
    assert_eq!(events[0], NetworkEvent::Shown { address: peer.pid.address, dialect: Dialect::V2012 });
    assert!(matches!(&events[1], NetworkEvent::Message { name, .. } if name == "PING"), "the message follows");
    assert_eq!(shown(&hear(&mut network, &old(&peer.pid, "PING"))), [], "told once");
    let from = pid("slave(1)", &network);
    network.send(&from, &peer.pid, "PONG", b"", Instant::now());
    network.send(&from, &peer.pid, "x.Y", b"body", Instant::now());
    peer.receive(&mut network, "0\r\n\r\n");
    let head =
        |name: &str| format!("POST /2/{name} HTTP/1.0\r\nUser-Agent: libprocess/{from}\r\nConnection: Keep-Alive\r\n");
    let expected =
        format!("{}\r\n{}Transfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n", head("PONG"), head("x.Y"));
    assert_eq!(peer.text(), expected);
}

#[test]
fn a_peer_that_answers_with_202_is_of_1_x_and_that_is_told_once() {
    let (mut a, mut b) = (listen(), listen());
    let (from, to) = (pid("a", &a), pid("b", &b));
    let (mut seen, mut arrived) = (Vec::new(), 0);
    for _ in 0..3 {
        a.send(&from, &to, "Ping", b"", Instant::now());
    }
    until(&mut [&mut a, &mut b], |at, _, events| {
        arrived += events.iter().filter(|event| matches!(event, NetworkEvent::Message { .. })).count();
        if at == 0 {
            seen.extend(shown(&events));
        }
        arrived == 3 && !seen.is_empty()
    });
    assert_eq!(turn_at(&mut a, Instant::now()), []);
    assert_eq!((seen.as_slice(), a.dialect(to.address)), (&[Dialect::V1][..], Dialect::V1));
    assert_eq!(b.dialect(from.address), Dialect::V1, "and its peer by what it sent");
}

#[test]
fn nobody_at_another_address_changes_how_a_peer_is_spoken_to() {
    let mut network = listen();
    let master: Pid = "master@127.0.0.2:5050".parse().expect("pid");
    assert_eq!(shown(&hear(&mut network, &old(&master, "PING"))), []);
    assert_eq!(shown(&hear(&mut network, &new(&master, "PING"))), []);
    assert_eq!(network.dialect(master.address), Dialect::Unknown);
}

#[test]
fn what_a_peer_answers_on_our_own_connection_counts_more_than_what_is_said_in_its_name() {
    let (mut network, mut peer) = (listen(), Peer::new("master"));
    let from = pid("slave(1)", &network);
    network.send(&from, &peer.pid, "First", b"", Instant::now());
    peer.receive(&mut network, "\r\n\r\n");
    assert!(peer.text().starts_with("POST /master/First HTTP/1.1\r\nUser-Agent: libprocess/"), "{}", peer.text());
    peer.answer(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n");
    until(&mut [&mut network], |_, _, events| shown(&events) == [Dialect::V1]);
    assert_eq!(shown(&hear(&mut network, &old(&peer.pid, "PING"))), []);
    assert_eq!(network.dialect(peer.pid.address), Dialect::V1);
}

#[test]
fn a_program_that_comes_back_at_the_same_address_is_not_known_yet() {
    let (mut network, mut peer) = (listen(), Peer::new("2"));
    hear(&mut network, &old(&peer.pid, "PING"));
    network.link(&peer.pid, Instant::now());
    let from = pid("slave(1)", &network);
    network.send(&from, &peer.pid, "Old", b"", Instant::now());
    peer.receive(&mut network, "\r\n\r\n");
    peer.taken = None;
    let mut exited = false;
    until(&mut [&mut network], |_, _, events| {
        exited |= events.contains(&NetworkEvent::Exited { pid: peer.pid.clone() });
        exited
    });
    assert_eq!(network.dialect(peer.pid.address), Dialect::Unknown);
    network.send(&from, &peer.pid, "Either", b"", Instant::now());
    peer.receive(&mut network, "\r\n\r\n");
    assert!(peer.text().starts_with("POST /2/Either HTTP/1.1\r\nUser-Agent: "), "{}", peer.text());
}

#[test]
fn a_peer_that_never_answers_costs_nothing_and_its_link_stays() {
    let (mut network, mut peer) = (listen(), Peer::new("2"));
    hear(&mut network, &old(&peer.pid, "PING"));
    network.link(&peer.pid, Instant::now());
    let from = pid("slave(1)", &network);
    (0..100).for_each(|_| network.send(&from, &peer.pid, "PONG", b"", Instant::now()));
    network.send(&from, &peer.pid, "Last", b"x", Instant::now());
    peer.receive(&mut network, "0\r\n\r\n");
    assert_eq!(peer.text().matches(" HTTP/1.0\r\n").count(), 101);
    assert_eq!((network.deadline(), network.waiting().0), (None, 0));
    let week = Instant::now() + Duration::from_secs(7 * 24 * 3600);
    assert_eq!(turn_at(&mut network, week), []);
    assert_eq!(network.deadline(), None);
}

#[test]
fn many_peers_of_2012_that_connect_send_and_close_at_once_are_all_heard() {
    let mut network = listen();
    for number in 0..50 {
        let from: Pid = format!("1@127.0.0.1:{}", 20_000 + number).parse().expect("pid");
        let mut sender = Plain::connect(network.address());
        sender.write(&old(&from, "One"));
        sender.write(&old(&from, "Two"));
    }
    let (mut names, mut senders) = (Vec::new(), std::collections::BTreeSet::new());
    until(&mut [&mut network], |_, network, events| {
        for event in events {
            if let NetworkEvent::Message { from, name, .. } = event {
                senders.insert(from);
                names.push(name);
            }
        }
        names.len() == 100 && network.counts().0 == 0
    });
    assert_eq!(senders.len(), 50);
    assert_eq!(names.iter().filter(|name| *name == "One").count(), 50);
}

#[test]
fn a_sender_in_http_1_0_that_does_not_keep_its_connection_is_heard_and_let_go_without_a_word() {
    let mut network = listen();
    let mut sender = Plain::connect(network.address());
    sender.write(b"POST /slave/PING HTTP/1.0\r\nUser-Agent: libprocess/2@127.0.0.1:5060\r\nX: y\r\n\r\n");
    let socket = sender.socket.try_clone().expect("clone");
    let mut heard = 0;
    until_with(&mut [&mut network], &[&socket], |_, _, events| {
        heard += events.iter().filter(|event| matches!(event, NetworkEvent::Message { .. })).count();
        sender.read();
        sender.ended
    });
    assert_eq!((heard, sender.text().as_str()), (1, ""));
}

#[test]
fn connections_between_messages_have_no_deadline_on_either_side() {
    let (mut a, mut b) = (listen(), listen());
    let (from, to) = (pid("a", &a), pid("b", &b));
    a.link(&to, Instant::now());
    a.send(&from, &to, "Ping", b"body", Instant::now());
    until(&mut [&mut a, &mut b], |at, _, events| at == 0 && shown(&events) == [Dialect::V1]);
    let week = Instant::now() + Duration::from_secs(7 * 24 * 3600);
    for network in [&mut a, &mut b] {
        assert_eq!(network.deadline(), None);
        assert_eq!(turn_at(network, week), []);
    }
    assert_eq!(b.counts().0, 1);
}

#[test]
fn half_a_message_keeps_nobody_else_waiting() {
    let mut network = listen();
    let from: Pid = "1@127.0.0.1:20000".parse().expect("pid");
    let whole = old(&from, "PING");
    let halves: Vec<Plain> = (1..whole.len())
        .map(|length| {
            let mut half = Plain::connect(network.address());
            half.write(&whole[..length]);
            half
        })
        .collect();
    until(&mut [&mut network], |_, network, events| {
        assert_eq!(events, []);
        network.counts().0 == halves.len() && network.held() > 0
    });
    assert_eq!(hear(&mut network, &whole).len(), 2);
}

#[test]
fn peers_that_never_read_take_no_more_than_a_bound_together_and_the_fattest_goes_first() {
    let mut network = listen();
    network.set_max_waiting(8 * 1024 * 1024);
    let peers: Vec<Peer> = (0..5).map(|_| Peer::new("deaf")).collect();
    let from = pid("slave(1)", &network);
    peers.iter().for_each(|peer| network.link(&peer.pid, Instant::now()));
    let mut exited = Vec::new();
    // What the kernel takes of each is not ours any more, so nothing is turned in between.
    for (at, peer) in peers.iter().enumerate() {
        network.send(&from, &peer.pid, "Lost", &vec![0; 2 * 1024 * 1024 + at], Instant::now());
        assert!(network.waiting().0 <= 8 * 1024 * 1024, "{:?}", network.waiting());
    }
    until(&mut [&mut network], |_, _, events| {
        exited.extend(events);
        !exited.is_empty()
    });
    assert_eq!(exited[0], NetworkEvent::Exited { pid: peers[3].pid.clone() });
}

#[test]
fn clients_that_never_read_their_answers_take_no_more_than_a_bound_together() {
    let mut network = listen();
    network.set_max_waiting(8 * 1024 * 1024);
    let mut clients: Vec<Plain> = (0..5).map(|_| Plain::connect(network.address())).collect();
    clients.iter_mut().for_each(|client| client.write(b"GET /x HTTP/1.1\r\n\r\n"));
    let mut asked = Vec::new();
    until(&mut [&mut network], |_, _, events| {
        asked.extend(events.into_iter().filter_map(|event| match event {
            NetworkEvent::Request { connection, .. } => Some(connection),
            _ => None,
        }));
        asked.len() == clients.len()
    });
    for connection in asked {
        network.respond(connection, crate::libprocess::Response::text(200, "x".repeat(3 * 1024 * 1024)));
        assert!(network.waiting().1 <= 8 * 1024 * 1024, "{:?}", network.waiting());
    }
    assert_eq!(network.counts().0, 2);
}
