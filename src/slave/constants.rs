//! Every time that the slave's core waits, and what it was chosen against. The values are Mesos' (`src/slave/constants.hpp`,
//! `src/master/constants.hpp`), so that both sides of each pair agree. `docs/times.md` has them beside all others of ours.

use std::time::Duration;

/// The version that we register with: masters ignore agents below 1.0.0 and treat one of 1.11.0 as the newest.
/// Our own version is in the log and in `/version`.
pub const MESOS_VERSION: &str = "1.11.0";

/// Longest wait between two registrations (`REGISTER_RETRY_INTERVAL_MAX`).
pub const REGISTER_RETRY_MAX: Duration = Duration::from_secs(60);

/// How long a master that is there may leave registrations unanswered before the log says what may be wrong. A master that is
/// busy answers within a few seconds, one that waits for its registry within its `--registry_fetch_timeout` of a minute.
pub const UNANSWERED_HINT: Duration = Duration::from_secs(60);

/// Longest challenge that is answered, in bytes: Cyrus SASL's own bound for CRAM-MD5; real ones have about 25.
pub const MAX_CHALLENGE: usize = 1024;

/// No ping for this long: the master is taken for lost, until it tells its own figure
/// (`DEFAULT_MASTER_PING_TIMEOUT`: 5 pings, 15 s apart; after that the master takes us for lost, too).
pub const MASTER_PING_TIMEOUT: Duration = Duration::from_secs(75);

/// First wait for the acknowledgement of an update (`STATUS_UPDATE_RETRY_INTERVAL_MIN`); it doubles with each retry.
pub const UPDATE_RETRY_MIN: Duration = Duration::from_secs(10);

/// Longest wait for it (`STATUS_UPDATE_RETRY_INTERVAL_MAX`).
pub const UPDATE_RETRY_MAX: Duration = Duration::from_secs(600);

/// What Mesos' command executor keeps back of its time to shut down: 1 s for reaping, 1 s to send TASK_KILLED before the agent
/// destroys its container (`MAX_REAP_INTERVAL`; `CommandExecutor::shutdown`, `Slave::getExecutorInfo`).
pub const REAP_ALLOWANCE: Duration = Duration::from_secs(2);

/// How long a slave that is asked to stop waits for the last updates to be acknowledged, once its containers are gone.
pub const LINGER: Duration = Duration::from_secs(2);

/// What executors are told as their longest wait between two attempts to come back to a slave that is gone
/// (`EXECUTOR_REREGISTRATION_TIMEOUT`, the default of `--executor_reregistration_timeout`).
pub const REREGISTRATION_TIMEOUT: Duration = Duration::from_secs(2);
