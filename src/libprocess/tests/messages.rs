//! Networks that send each other messages, and peers that break.

use std::net::TcpListener;

use super::*;
use crate::loopback::Nobody;

/// The messages among events, as sender, name and body's length.
fn messages(events: &[NetworkEvent]) -> Vec<(String, String, usize)> {
    let taken = events.iter().filter_map(|event| match event {
        NetworkEvent::Message { from, name, body, .. } => Some((from.id.clone(), name.clone(), body.len())),
        _ => None,
    });
    taken.collect()
}

#[test]
fn two_programs_send_each_other_messages() {
    let (mut slave, mut master) = (listen(), listen());
    let (slave_pid, master_pid) = (pid("slave(1)", &slave), pid("master", &master));
    slave.link(&master_pid, Instant::now());
    slave.send(&slave_pid, &master_pid, "Hello", b"from the slave", Instant::now());
    let mut answered = None;
    until(&mut [&mut slave, &mut master], |at, network, events| {
        for event in events {
            let (from, to, name, body) = match event {
                NetworkEvent::Message { from, to, name, body, .. } => (from, to, name, body),
                NetworkEvent::Shown { .. } => continue,
                other => panic!("{other:?}"),
            };
            if at == 1 {
                assert_eq!(
                    (&from, to.as_str(), name.as_str(), body.as_slice()),
                    (&slave_pid, "master", "Hello", &b"from the slave"[..])
                );
                network.send(&master_pid, &from, "Answer", b"", Instant::now());
            } else {
                answered = Some((to, name, body));
            }
        }
        answered.is_some()
    });
    assert_eq!(answered, Some(("slave(1)".to_string(), "Answer".to_string(), Vec::new())));
}

#[test]
fn large_messages_arrive_whole_and_leave_no_memory() {
    let (mut a, mut b) = (listen(), listen());
    let (from, to) = (pid("a", &a), pid("b", &b));
    for size in [1024 * 1024, 10 * 1024 * 1024] {
        let body: Vec<u8> = (0..size).map(|at| (at % 251) as u8).collect();
        a.send(&from, &to, "Large", &body, Instant::now());
        let mut received = None;
        until(&mut [&mut a, &mut b], |_, _, events| {
            received = events.into_iter().find_map(|event| match event {
                NetworkEvent::Message { body, .. } => Some(body),
                _ => None,
            });
            received.is_some()
        });
        assert!(received == Some(body), "{size} bytes came out different");
    }
    b.flush();
    assert_eq!(b.held(), 0);
}

#[test]
fn a_thousand_messages_arrive_in_order() {
    let (mut a, mut b) = (listen(), listen());
    let (from, to) = (pid("a", &a), pid("b", &b));
    for number in 0..1000 {
        let length = if number % 100 == 0 { 50_000 } else { number % 7 };
        a.send(&from, &to, &format!("m{number}"), &vec![1; length], Instant::now());
    }
    let mut names = Vec::new();
    until(&mut [&mut a, &mut b], |_, _, events| {
        names.extend(messages(&events).into_iter().map(|(_, name, _)| name));
        names.len() >= 1000
    });
    assert_eq!(names, (0..1000).map(|number| format!("m{number}")).collect::<Vec<_>>());
    assert_eq!(b.counts().0, 1, "all messages share one connection");
}

#[test]
fn a_message_after_a_broken_connection_opens_a_new_one() {
    let (mut a, listener) = (listen(), TcpListener::bind(any_port()).expect("a listener"));
    let std::net::SocketAddr::V4(address) = listener.local_addr().expect("address") else { panic!("IPv4") };
    let (from, to) = (pid("a", &a), Pid { id: "b".to_string(), address });
    listener.set_nonblocking(true).expect("non-blocking");
    for name in ["First", "Second"] {
        a.link(&to, Instant::now());
        a.send(&from, &to, name, b"x", Instant::now());
        let mut peer = None;
        until(&mut [&mut a], |_, _, events| {
            assert_eq!(events, []);
            peer = listener.accept().ok();
            peer.is_some()
        });
        let mut peer = Plain::new(peer.expect("a connection").0);
        let socket = peer.socket.try_clone().expect("clone");
        until_with(&mut [&mut a], &[&socket], |_, _, _| {
            peer.read();
            peer.seen.ends_with(b"0\r\n\r\n")
        });
        assert!(peer.text().starts_with(&format!("POST /b/{name} HTTP/1.1\r\n")));
        drop((peer, socket));
        let mut exited = Vec::new();
        until(&mut [&mut a], |_, _, events| {
            exited.extend(events);
            !exited.is_empty()
        });
        assert_eq!(exited, [NetworkEvent::Exited { pid: to.clone() }]);
    }
}

#[test]
fn a_link_to_nobody_ends_at_once_and_an_unlinked_one_in_silence() {
    let unheard = Nobody::new();
    let nobody = Pid { id: "master".to_string(), address: unheard.address() };
    let mut network = Network::client();
    network.link(&nobody, Instant::now());
    let mut exited = Vec::new();
    until(&mut [&mut network], |_, _, events| {
        exited.extend(events);
        !exited.is_empty()
    });
    assert_eq!(exited, [NetworkEvent::Exited { pid: nobody.clone() }]);

    network.link(&nobody, Instant::now());
    network.unlink(&nobody);
    until(&mut [&mut network], |_, network, events| {
        assert_eq!(events, []);
        network.deadline().is_none()
    });
}

#[test]
fn all_processes_of_a_program_that_ends_are_said_to_have_exited() {
    let (mut a, mut b) = (listen(), listen());
    let linked = [pid("one", &b), pid("two", &b)];
    linked.iter().for_each(|pid| a.link(pid, Instant::now()));
    until(&mut [&mut a, &mut b], |_, network, _| network.counts().0 == 1);
    drop(b);
    let mut exited = Vec::new();
    until(&mut [&mut a], |_, _, events| {
        exited.extend(events);
        exited.len() == 2
    });
    assert_eq!(exited, linked.map(|pid| NetworkEvent::Exited { pid }));
}

#[test]
fn a_peer_that_never_reads_is_dropped_at_its_limit_and_the_others_go_on() {
    let deaf = TcpListener::bind(any_port()).expect("a listener");
    let std::net::SocketAddr::V4(address) = deaf.local_addr().expect("address") else { panic!("IPv4") };
    let deaf_pid = Pid { id: "deaf".to_string(), address };
    let (mut a, mut b) = (listen(), listen());
    let (from, to) = (pid("a", &a), pid("b", &b));
    a.link(&deaf_pid, Instant::now());
    let body = vec![0; 16 * 1024 * 1024];
    let (mut exited, mut sent) = (false, 0);
    // What the kernel takes of it comes on top of our own limit, and is as much as the machine's owner has said.
    while !exited {
        assert!(sent < 64, "the deaf peer's link must break when its buffer is full");
        sent += 1;
        a.send(&from, &deaf_pid, "Lost", &body, Instant::now());
        a.send(&from, &to, "Ping", b"", Instant::now());
        let mut arrived = false;
        until(&mut [&mut a, &mut b], |_, _, events| {
            exited |= events.contains(&NetworkEvent::Exited { pid: deaf_pid.clone() });
            arrived |= !messages(&events).is_empty();
            arrived
        });
        assert!(a.waiting().0 <= 5 * body.len(), "{:?}", a.waiting());
    }
}

#[test]
fn a_connect_that_is_not_answered_ends_at_its_deadline() {
    // A backlog that is full leaves further connects unanswered.
    let full = nix::sys::socket::socket(
        nix::sys::socket::AddressFamily::Inet,
        nix::sys::socket::SockType::Stream,
        nix::sys::socket::SockFlag::SOCK_CLOEXEC,
        None,
    )
    .expect("socket");
    nix::sys::socket::bind(full.as_raw_fd(), &nix::sys::socket::SockaddrIn::from(any_port())).expect("bind");
    nix::sys::socket::listen(&full, nix::sys::socket::Backlog::new(0).expect("backlog")).expect("listen");
    let listener = TcpListener::from(full);
    let std::net::SocketAddr::V4(address) = listener.local_addr().expect("address") else { panic!("IPv4") };
    let _filling = TcpStream::connect(address).expect("the one that fits");
    let silent = Pid { id: "silent".to_string(), address };
    let mut network = Network::client();
    let now = Instant::now();
    network.link(&silent, now);
    let (early, late) = (now + Duration::from_millis(4900), now + Duration::from_millis(5100));
    assert_eq!(turn_at(&mut network, early), []);
    assert_eq!(network.deadline(), Some(now + Duration::from_secs(5)));
    assert_eq!(turn_at(&mut network, late), [NetworkEvent::Exited { pid: silent }]);
}

#[test]
fn messages_of_2012_get_no_reply_and_those_of_today_do() {
    let mut network = listen();
    let mut old = Plain::connect(network.address());
    golden::MESOS_0_9.iter().for_each(|(bytes, ..)| old.write(bytes));
    let mut seen = Vec::new();
    until(&mut [&mut network], |_, _, events| {
        seen.extend(messages(&events).into_iter().map(|(_, name, _)| name));
        seen.len() == golden::MESOS_0_9.len()
    });
    assert_eq!(seen, golden::MESOS_0_9.map(|(_, _, _, name, _)| name));
    old.write(b"POST /a/New HTTP/1.1\r\nLibprocess-From: b@127.0.0.1:5\r\n\r\n");
    let socket = old.socket.try_clone().expect("clone");
    until_with(&mut [&mut network], &[&socket], |_, _, _| {
        old.read();
        !old.seen.is_empty()
    });
    assert_eq!(old.text(), "HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n");
}

#[test]
fn a_sender_that_closes_right_after_its_message_is_heard() {
    let mut network = listen();
    let mut sender = Plain::connect(network.address());
    sender.write(golden::MESOS_0_9[0].0);
    drop(sender);
    let mut names = Vec::new();
    until(&mut [&mut network], |_, network, events| {
        names.extend(messages(&events).into_iter().map(|(_, name, _)| name));
        !names.is_empty() && network.counts().0 == 0
    });
    assert_eq!(names, ["mesos.internal.RegisterSlaveMessage"]);
}
