//! A master that is there and does not answer: when to say so, and what may be wrong.

use std::time::{Duration, Instant};

use super::constants::UNANSWERED_HINT;
use crate::libprocess::Pid;

/// Registrations that a master took and did not answer.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Unanswered {
    count: u32,
    since: Option<Instant>,
    waited: Duration,
    /// What the cause may be has been said.
    hinted: bool,
}

impl Unanswered {
    /// Another registration is about to go out. True once, when those before have gone without an answer for too long.
    pub fn one_more(&mut self, now: Instant) -> bool {
        let since = *self.since.get_or_insert(now);
        self.waited = now.saturating_duration_since(since);
        self.count += 1;
        self.waited >= UNANSWERED_HINT && !std::mem::replace(&mut self.hinted, true)
    }

    /// Says what may be wrong: a master refuses most slaves in silence, and tells why only in its own log.
    pub fn hint(&self, master: &Pid, authenticates: bool) {
        let credential = if authenticates { "" } else { "it may want slaves to authenticate (--credential); " };
        log::warn!(
            "master {master} is there, but has not answered {} registrations in {} s: {credential}it may not be the leading one \
             of several masters; or it refuses this slave's version or domain, of which its own log tells",
            self.count - 1,
            self.waited.as_secs()
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_master_that_leaves_registrations_unanswered_for_a_minute_is_told_of_once() {
        let (mut unanswered, start) = (Unanswered::default(), Instant::now());
        let hints = [0, 1, 4, 30, 59, 60, 61, 600].map(|at| unanswered.one_more(start + Duration::from_secs(at)));
        assert_eq!(hints, [false, false, false, false, false, true, false, false]);
    }
}
