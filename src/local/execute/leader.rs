//! Waiting for the leading master, before anything else is done: with `--master=zk://...` or `file://...`.

use std::io;
use std::net::SocketAddrV4;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::events::Interrupt;
use crate::detector::{Detector, DetectorEvent};
use crate::poll::{PollSet, Signals, earlier};

/// The leading master's address, or what ended the wait for one.
///
/// # Errors
/// What `poll(2)` gives.
pub(super) fn find(
    detector: &mut Detector,
    signals: &mut Signals,
    timeout: Option<Duration>,
) -> io::Result<Result<SocketAddrV4, Interrupt>> {
    let end = timeout.map(|timeout| Instant::now() + timeout);
    let mut set = PollSet::new();
    loop {
        let now = Instant::now();
        if let Some(signal) = signals.next()? {
            let ctrl_c = signal == Signal::SIGINT;
            return Ok(Err(if ctrl_c { Interrupt::CtrlC } else { Interrupt::Terminate }));
        }
        if end.is_some_and(|end| end <= now) {
            return Ok(Err(Interrupt::Timeout));
        }
        if let Some(DetectorEvent::Detected(pid)) = detector.turn(&set, now).pop() {
            return Ok(Ok(pid.address));
        }
        set.clear();
        set.add(signals.fd(), crate::poll::Interest::Read);
        detector.register(&mut set);
        set.wait(earlier(end, detector.deadline(now)))?;
    }
}
