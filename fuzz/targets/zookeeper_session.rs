//! The session with ZooKeeper, played against servers that say anything: bytes, whole answers, silence, in any order.
//!
//! It never asks to be called again at once (a spin), gives only a few outputs for one input, and connects only to servers that
//! it was given and only when it has no connection.

#![no_main]

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use libfuzzer_sys::arbitrary::{Result, Unstructured};
use libfuzzer_sys::fuzz_target;
use mesos_slave_fuzz::detector::session::{Input, Output, Session};
use mesos_slave_fuzz::flags::ZooKeeper;
use mesos_slave_fuzz::memory;
use mesos_slave_fuzz::random::Random;

/// Most outputs per frame that came, and for the time that has passed.
const OUTPUTS: usize = 8;

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

struct World {
    session: Session,
    now: Instant,
    /// A connection, or the attempt at one.
    connection: bool,
    /// The last request, as far as an answer needs it.
    xid: i32,
}

impl World {
    fn new(seed: u64) -> World {
        let zookeeper = ZooKeeper::parse("me:secret@10.0.0.1:2181,10.0.0.2:2181/mesos").expect("an ensemble");
        let session = Session::new(zookeeper, Random::from_seed(seed), *START);
        World { session, now: *START, connection: false, xid: 0 }
    }

    fn handle(&mut self, input: Input<'_>) {
        let most = match &input {
            Input::Bytes(bytes) => OUTPUTS + OUTPUTS * bytes.len() / 4,
            Input::Resolved | Input::Connected | Input::Failed(_) | Input::Tick => OUTPUTS,
        };
        let outputs = self.session.handle(input, self.now);
        assert!(outputs.len() <= most, "{outputs:?}");
        for output in outputs {
            match output {
                Output::Connect(place) => {
                    assert!(place < self.session.zookeeper().servers.len() && !self.connection);
                    self.connection = true;
                }
                Output::Disconnect => assert!(std::mem::take(&mut self.connection)),
                Output::Send(bytes) => {
                    assert!(self.connection && bytes.len() < 4096);
                    let xid = bytes.get(4..8).and_then(|xid| xid.try_into().ok()).map_or(0, i32::from_be_bytes);
                    self.xid = if xid > 0 { xid } else { self.xid };
                }
                Output::Detected(pid) => assert_ne!(pid.address.port(), 0),
                Output::Lost => {}
            }
        }
        let due = self.session.deadline().expect("a session always has something to do");
        assert!(due > self.now, "called again at once");
    }

    /// A frame that answers what was asked last, with some content.
    fn answer(&mut self, code: i32, body: &[u8]) {
        let mut frame = ((16 + body.len()) as i32).to_be_bytes().to_vec();
        frame.extend(self.xid.to_be_bytes());
        frame.extend(7i64.to_be_bytes());
        frame.extend(code.to_be_bytes());
        frame.extend(body);
        self.handle(Input::Bytes(&frame));
    }

    fn step(&mut self, input: &mut Unstructured<'_>) -> Result<()> {
        match input.int_in_range(0..=9u8)? {
            0 => {
                let due = self.session.deadline().unwrap_or(self.now);
                self.now = self.now.max(due);
                self.handle(Input::Tick);
            }
            1 => {
                self.now += Duration::from_millis(input.arbitrary::<u16>()?.into());
                self.handle(Input::Tick);
            }
            2 if self.connection => {
                let input = if input.arbitrary()? { Input::Resolved } else { Input::Connected };
                self.handle(input);
            }
            3 if self.connection => {
                self.connection = true;
                self.handle(Input::Failed("gone".to_string()));
            }
            4 => {
                self.handle(Input::Bytes(b"\0\0\0\x24\0\0\0\0\0\0\x27\x10\0\0\0\0\0\0\0\x01\0\0\0\x10aaaabbbbccccdddd"))
            }
            5 => self.answer(0, b"\0\0\0\x01\0\0\0\x0ainfo_00001\0\0\0\x0alog_replic"),
            6 => self.answer(0, b"\0\0\0\x16master@10.0.0.2:5051\n "),
            7 => {
                let code = [-101, -102, -112, -118, input.arbitrary()?];
                let code = code[input.choose_index(code.len())?];
                self.answer(code, &[]);
            }
            8 => {
                let length = input.int_in_range(0..=64usize)?.min(input.len());
                let body = input.bytes(length)?.to_vec();
                self.answer(0, &body);
            }
            _ => {
                let length = input.int_in_range(0..=64usize)?.min(input.len());
                let bytes = input.bytes(length)?.to_vec();
                self.handle(Input::Bytes(&bytes));
            }
        }
        Ok(())
    }
}

fuzz_target!(|data: &[u8]| {
    memory::within(64 * 1024 + 64 * data.len(), || {
        let mut input = Unstructured::new(data);
        let mut world = World::new(input.arbitrary().unwrap_or(1));
        while !input.is_empty() {
            if world.step(&mut input).is_err() {
                return;
            }
        }
    });
});
