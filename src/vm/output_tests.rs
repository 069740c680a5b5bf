//! Followers of files of this machine: the same scripts as in a guest, without ssh between.

use super::*;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

static NEXT: AtomicU32 = AtomicU32::new(0);

struct Sandbox {
    host: PathBuf,
    guest: PathBuf,
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(self.host.parent().expect("parent"));
    }
}

impl Sandbox {
    fn new() -> Sandbox {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let directory = std::env::temp_dir().join(format!("mesos-output-{}-{number}", std::process::id()));
        let sandbox = Sandbox { host: directory.join("host"), guest: directory.join("the guest's $sandbox") };
        fs::create_dir_all(&sandbox.host).expect("host");
        fs::create_dir_all(&sandbox.guest).expect("guest");
        fs::write(sandbox.guest.join("stdout"), "").expect("stdout");
        sandbox
    }

    fn write(&self, bytes: &[u8]) {
        append(&mut OpenOptions::new().append(true).open(self.guest.join("stdout")).expect("open"), &mut 0, bytes)
            .expect("write");
    }

    fn script(&self, part: Part) -> Spawn {
        let script = remote_script(self.guest.join("stdout").to_str().expect("utf-8"), part);
        Spawn::new("/bin/sh").arg("-c").arg(script)
    }

    fn follower_by(&self, limit: u64, fetch: impl Fn(Part) -> Spawn + 'static) -> Follower {
        Follower::open(&self.host, "stdout", None, limit, fetch, Instant::now()).expect("follower")
    }

    fn follower(&self, limit: u64) -> Follower {
        let this = Sandbox { host: self.host.join("x"), guest: self.guest.clone() };
        let this = std::mem::ManuallyDrop::new(this);
        self.follower_by(limit, move |part| this.script(part))
    }

    fn host(&self) -> Vec<u8> {
        fs::read(self.host.join("stdout")).expect("host's stdout")
    }
}

/// Turns until it has ended or the host's file is that long.
fn turn_until(follower: &mut Follower, length: u64) -> String {
    let (mut set, until) = (PollSet::new(), Instant::now() + Duration::from_secs(60));
    loop {
        if let Some(end) = follower.turn(Instant::now()) {
            return end.to_string();
        }
        if follower.length >= length {
            return String::new();
        }
        assert!(Instant::now() < until, "{} bytes so far", follower.length);
        set.clear();
        follower.register(&mut set);
        set.wait(crate::poll::earlier(follower.deadline(), Some(until))).expect("poll");
    }
}

#[test]
fn output_is_on_the_host_while_the_command_still_runs() {
    let sandbox = Sandbox::new();
    let mut follower = sandbox.follower(1000);
    sandbox.write(b"first\n");
    turn_until(&mut follower, 6);
    assert_eq!(sandbox.host(), b"first\n");
    sandbox.write(b"second\n");
    turn_until(&mut follower, 13);
    assert_eq!(sandbox.host(), b"first\nsecond\n");
}

#[test]
fn fifty_megabytes_arrive_whole_and_in_order() {
    let sandbox = Sandbox::new();
    let content: Vec<u8> = (0..13_000_000u32).flat_map(u32::to_le_bytes).collect();
    let mut follower = sandbox.follower(u64::MAX);
    turn_until(&mut follower, 0);
    let (half, rest) = content.split_at(content.len() / 2);
    sandbox.write(half);
    turn_until(&mut follower, 1000);
    sandbox.write(rest);
    follower.finish(content.len() as u64, Instant::now());
    assert_eq!(turn_until(&mut follower, u64::MAX), "complete");
    assert!(sandbox.host() == content);
}

#[test]
fn a_lost_connection_is_resumed_at_the_host_files_length() {
    let sandbox = Sandbox::new();
    let content: Vec<u8> = (0..200_000u32).flat_map(u32::to_le_bytes).collect();
    sandbox.write(&content);
    let tries = Arc::new(AtomicU32::new(0));
    let (counter, file) = (tries.clone(), sandbox.guest.join("stdout"));
    let mut follower = sandbox.follower_by(u64::MAX, move |part| {
        let script = remote_script(file.to_str().expect("utf-8"), part);
        let broken = counter.fetch_add(1, Ordering::Relaxed) < 3;
        Spawn::new("/bin/sh").arg("-c").arg(if broken {
            format!("({script}) | head -c 100001; exit 255")
        } else {
            script
        })
    });
    turn_until(&mut follower, content.len() as u64);
    assert_eq!(tries.load(Ordering::Relaxed), 4);
    assert!(sandbox.host() == content);
}

#[test]
fn a_child_that_starts_anew_goes_on_where_the_last_one_was() {
    let sandbox = Sandbox::new();
    sandbox.write(b"one two");
    fs::write(sandbox.host.join("stdout"), "one").expect("host");
    let mut follower = sandbox.follower(1000);
    follower.finish(7, Instant::now());
    assert_eq!(turn_until(&mut follower, u64::MAX), "complete");
    assert_eq!(sandbox.host(), b"one two");
}

#[test]
fn the_end_does_not_wait_for_a_tail_that_looks_only_now_and_then() {
    let sandbox = Sandbox::new();
    let file = sandbox.guest.join("stdout");
    let mut follower = sandbox.follower_by(1000, move |part| match part {
        Part::Follow { .. } => Spawn::new("sleep").arg("600"),
        Part::Fetch { .. } => Spawn::new("/bin/sh").arg("-c").arg(remote_script(file.to_str().expect("utf-8"), part)),
    });
    turn_until(&mut follower, 0);
    sandbox.write(b"late");
    follower.finish(4, Instant::now());
    assert_eq!(turn_until(&mut follower, u64::MAX), "complete");
    assert_eq!(sandbox.host(), b"late");
}

#[test]
fn more_than_the_limit_ends_with_a_line_that_says_so_and_only_once() {
    let sandbox = Sandbox::new();
    sandbox.write(&[b'x'; 5000]);
    let expected = format!("{}\n[stdout is longer than 100 bytes; the rest was not kept]\n", "x".repeat(100));
    for _ in 0..2 {
        assert_eq!(turn_until(&mut sandbox.follower(100), u64::MAX), "longer than its limit; the rest was not kept");
        assert_eq!(String::from_utf8_lossy(&sandbox.host()), expected);
    }
}

#[test]
fn a_file_that_the_command_shortened_or_replaced_ends_the_following() {
    let sandbox = Sandbox::new();
    sandbox.write(b"short");
    let mut follower = sandbox.follower(1000);
    turn_until(&mut follower, 5);
    follower.finish(10, Instant::now());
    assert_eq!(turn_until(&mut follower, u64::MAX), "the command shortened or replaced the file while it ran");
}

#[test]
fn a_full_disk_is_an_end_and_no_crash() {
    let sandbox = Sandbox::new();
    sandbox.write(b"something");
    let mut follower = sandbox.follower(1000);
    follower.file = OpenOptions::new().append(true).open("/dev/full").expect("/dev/full");
    assert!(turn_until(&mut follower, u64::MAX).contains("cannot be written on the host: No space left"));
}

#[test]
fn links_are_followed_neither_on_the_host_nor_in_the_guest() {
    let sandbox = Sandbox::new();
    let secret = sandbox.guest.join("secret");
    fs::write(&secret, "secret").expect("secret");
    std::os::unix::fs::symlink(&secret, sandbox.host.join("stdout")).expect("link");
    let open = Follower::open(&sandbox.host, "stdout", None, 10, |_| Spawn::new("true"), Instant::now());
    assert_eq!(open.err().and_then(|error| error.raw_os_error()), Some(libc::ELOOP));

    fs::remove_file(sandbox.guest.join("stdout")).expect("remove");
    std::os::unix::fs::symlink(&secret, sandbox.guest.join("stdout")).expect("link");
    let output = std::process::Command::new("/bin/sh")
        .arg("-c")
        .arg(remote_script(sandbox.guest.join("stdout").to_str().expect("utf-8"), Part::Fetch { from: 0, count: 9 }))
        .output()
        .expect("sh");
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(1), &b""[..]));
}
