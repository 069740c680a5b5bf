//! How long a task may take to end when it is killed.

use std::time::Duration;

use crate::messages::mesos::KillPolicy;

/// When nobody says otherwise (`CommandExecutor::kill` in Mesos).
pub const KILL_GRACE: Duration = Duration::from_secs(3);

/// A policy's grace period, if it has one.
pub fn own_grace(policy: Option<&KillPolicy>) -> Option<Duration> {
    let period = policy?.grace_period.as_ref()?;
    Some(Duration::from_nanos(period.nanoseconds.max(0).unsigned_abs()))
}

/// The grace period of a kill: the kill's, or else the task's, or else Mesos' default.
pub fn grace_of(kill: Option<&KillPolicy>, task: Option<&KillPolicy>) -> Duration {
    own_grace(kill).or(own_grace(task)).unwrap_or(KILL_GRACE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::messages::mesos::DurationInfo;

    #[test]
    fn the_kills_own_grace_comes_before_the_tasks() {
        let policy = |seconds| KillPolicy { grace_period: Some(Duration::from_secs(seconds).into()) };
        let (long, short) = (policy(20), policy(5));
        assert_eq!(grace_of(Some(&short), Some(&long)), Duration::from_secs(5));
        assert_eq!(grace_of(Some(&KillPolicy::default()), Some(&long)), Duration::from_secs(20));
        assert_eq!(grace_of(None, None), Duration::from_secs(3));
        let negative = KillPolicy { grace_period: Some(DurationInfo { nanoseconds: -1 }) };
        assert_eq!(grace_of(Some(&negative), None), Duration::ZERO);
    }
}
