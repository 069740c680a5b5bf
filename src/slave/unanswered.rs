//! A master that is there and does not answer: when to say so, and what may be wrong.

use std::time::Instant;

use super::constants::UNANSWERED_HINT;
use crate::libprocess::Pid;

/// Registrations that a master took and did not answer.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Unanswered {
    count: u32,
    since: Option<Instant>,
    /// What the cause may be has been said.
    hinted: bool,
}

impl Unanswered {
    /// Another registration goes out.
    pub fn one_more(&mut self, now: Instant) {
        self.count += 1;
        self.since.get_or_insert(now);
    }

    /// When there is something to say.
    pub fn deadline(&self) -> Option<Instant> {
        self.since.filter(|_| !self.hinted).map(|since| since + UNANSWERED_HINT)
    }

    /// Says once what may be wrong, when it has gone on for too long: a master refuses most slaves in silence, and tells why
    /// only in its own log.
    pub fn hint(&mut self, master: &Pid, authenticates: bool, now: Instant) {
        if self.deadline().is_none_or(|deadline| deadline > now) {
            return;
        }
        self.hinted = true;
        let credential = if authenticates { "" } else { "it may want slaves to authenticate (--credential); " };
        log::warn!(
            "master {master} is there, but has not answered {} registrations in {} s: {credential}it may not be the leading one \
             of several masters; or it refuses this slave's version or domain, of which its own log tells",
            self.count,
            UNANSWERED_HINT.as_secs()
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_master_that_leaves_registrations_unanswered_for_a_minute_is_told_of_once() {
        let (mut unanswered, start) = (Unanswered::default(), Instant::now());
        let master = "master@127.0.0.1:5050".parse().expect("pid");
        assert_eq!(unanswered.deadline(), None, "nothing was asked");
        for at in [0, 1, 4, 59] {
            unanswered.one_more(start + Duration::from_secs(at));
            unanswered.hint(&master, false, start + Duration::from_secs(at));
            assert_eq!(unanswered.deadline(), Some(start + Duration::from_secs(60)));
        }
        unanswered.hint(&master, false, start + Duration::from_secs(60));
        unanswered.one_more(start + Duration::from_secs(90));
        assert_eq!(unanswered.deadline(), None, "it has been said");
    }
}
