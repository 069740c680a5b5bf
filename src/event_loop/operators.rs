//! What operators ask for, from what the slave's process owns.

use std::rc::Rc;
use std::time::{Duration, Instant};

use super::{EventLoop, now};
use crate::api::{Counts, Files, Measurement, Source, State};

/// How often the containers' processes are looked at, however often that is asked for (Mesos: `statisticsLimiter`, twice a second; who asks
/// more often waits there, and is given what was last seen here).
const INTERVAL: Duration = Duration::from_millis(500);

/// What was last seen of the containers.
#[derive(Debug, Default)]
pub struct Meter {
    last: Option<(Instant, Rc<Measurement>)>,
}

impl Meter {
    /// What was seen, and what is seen now if that is too long ago.
    fn read(&mut self, now: Instant, look: impl FnOnce() -> Measurement) -> Rc<Measurement> {
        if let Some((at, seen)) = &self.last
            && now.saturating_duration_since(*at) < INTERVAL
        {
            return seen.clone();
        }
        let seen = Rc::new(look());
        self.last = Some((now, seen.clone()));
        seen
    }
}

impl EventLoop {
    /// What a container's command names was fetched, or not.
    pub(super) fn count_fetch(&mut self, succeeded: bool) {
        let (there, missing) = &mut self.fetches;
        *(if succeeded { there } else { missing }) += 1;
    }
}

impl Source for EventLoop {
    fn state(&self) -> State {
        State::of(&self.slave, &self.history, &self.flags, self.start_time, now().unix)
    }

    fn measurement(&mut self) -> Rc<Measurement> {
        let EventLoop { meter, isolation, .. } = self;
        let now = now();
        meter.read(now.instant, || Measurement { at: now.unix, usages: isolation.usage() })
    }

    fn counts(&self) -> Counts {
        Counts {
            slave: self.slave.counts(),
            fetches: self.fetches,
            fetcher_cache: self.fetcher.cache_bytes,
            destroy_errors: self.isolation.destroy_errors(),
            recovery_secs: self.recovery.as_secs_f64(),
        }
    }

    fn files(&self) -> &Files {
        &self.files
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_are_looked_at_twice_a_second_at_most() {
        let (mut meter, start) = (Meter::default(), Instant::now());
        let mut read = |after: u64, at: f64| {
            meter.read(start + Duration::from_millis(after), || Measurement { at, ..Default::default() }).at
        };
        assert_eq!((read(0, 1.0), read(499, 2.0), read(500, 3.0), read(600, 4.0)), (1.0, 1.0, 3.0, 3.0));
    }
}
