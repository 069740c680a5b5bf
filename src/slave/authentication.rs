//! Showing a master that we are who we say: CRAM-MD5, before every registration and re-registration, since a master forgets
//! who was authenticated when it loses touch.
//!
//! ```text
//! crammd5-authenticatee(N), here        master                 its session, crammd5-authenticator-session(M)
//!    ──── Authenticate(our pid) ──────────►
//!    ◄──── Mechanisms ───────────────────────────────────────────────
//!    ──── Start(CRAM-MD5) ───────────────────────────────────────────►
//!    ◄──── Step(challenge) ──────────────────────────────────────────
//!    ──── Step(principal, keyed digest of the challenge) ────────────►
//!    ◄──── Completed | Failed | Error ────────────────────────────────
//! ```
//!
//! Each attempt is a process of its own, `N` counts them: what an earlier session still says goes to an earlier name and is
//! dropped. An attempt that fails leaves the rest of its time to wait, so that there is no spin: the time is a random part of
//! a range that doubles. (Mesos ends the agent when its secret is refused; a container costs more than a try a minute.)
//!
//! Facts: `src/authentication/cram_md5/authenticatee.cpp`; `authenticate` and `_authenticate` in `src/slave/slave.cpp`.

use std::time::{Duration, Instant};

use super::constants::MAX_CHALLENGE;
use super::message::{FromAuthenticator, Outgoing};
use super::{Action, Now, Slave};
use crate::credential::Credential;
use crate::libprocess::Pid;
use crate::messages::mesos::internal::{
    AuthenticateMessage, AuthenticationMechanismsMessage, AuthenticationStartMessage, AuthenticationStepMessage,
};

/// The one mechanism that Mesos has.
const CRAM_MD5: &str = "CRAM-MD5";
/// How the names of our attempts' processes begin.
const AUTHENTICATEE: &str = "crammd5-authenticatee(";
/// Most characters of a master's own words in the log.
const MAX_QUOTE: usize = 200;

/// What a slave that authenticates needs to know.
#[derive(Debug, Clone)]
pub struct Authentication {
    /// `--credential`'s contents.
    pub credential: Credential,
    /// `--authentication_timeout_min`: every attempt has this long.
    pub timeout_min: Duration,
    /// `--authentication_timeout_max`: no attempt has longer.
    pub timeout_max: Duration,
    /// `--authentication_backoff_factor`: half of what the first attempt may have beyond the least.
    pub backoff: Duration,
}

/// Whether a message's receiver is, or was, one of our attempts.
pub fn is_authenticatee(id: &str) -> bool {
    id.starts_with(AUTHENTICATEE)
}

/// How far an attempt has come.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// None runs.
    Idle,
    /// The master was asked; its session is to name its mechanisms.
    Asked,
    /// The session is to send its challenge.
    Started { session: Pid },
    /// The session is to judge our answer.
    Answered { session: Pid },
}

/// The attempts to authenticate with one master.
#[derive(Debug)]
pub(super) struct Exchange {
    step: Step,
    /// The name of the attempt's process.
    id: String,
    /// When the attempt that runs is given up and the next begins.
    next_at: Instant,
    /// Longest time of the next attempt.
    limit: Duration,
}

/// What follows from a message.
#[derive(Debug, PartialEq, Eq)]
enum Heard {
    /// Nothing: it is none of this attempt's.
    Stray,
    /// This is to be sent to the session.
    Reply(Pid, Outgoing),
    /// The master knows us now.
    Completed,
    /// The secret is not the one that the master has, or it does not know the principal.
    Refused,
    /// The attempt cannot go on.
    Broken(String),
}

impl Exchange {
    /// The first attempt begins at a time.
    pub fn new(settings: &Authentication, first_at: Instant) -> Exchange {
        let limit = (settings.timeout_min + settings.backoff * 2).min(settings.timeout_max);
        Exchange { step: Step::Idle, id: String::new(), next_at: first_at, limit }
    }

    /// When the next attempt begins.
    pub fn deadline(&self) -> Instant {
        self.next_at
    }

    /// Begins an attempt and doubles the range of the next one's time.
    fn begin(&mut self, settings: &Authentication, number: u64, random: &mut crate::random::Random, now: Instant) {
        let least = settings.timeout_min.min(self.limit);
        self.id = format!("{AUTHENTICATEE}{number})");
        self.step = Step::Asked;
        self.next_at = now + least + random.duration_up_to(self.limit - least);
        self.limit = (least + (self.limit - least) * 2).min(settings.timeout_max);
    }

    fn hear(&mut self, heard: Message<'_>, credential: &Credential) -> Heard {
        let Message { master, from, to, message } = heard;
        let expected = match &self.step {
            Step::Idle => false,
            // The session's name comes with its first message; a master without authentication answers itself.
            Step::Asked => from.address == master.address,
            Step::Started { session } | Step::Answered { session } => from == session,
        };
        if to != self.id || !expected {
            return Heard::Stray;
        }
        let heard = match (&self.step, message) {
            (Step::Asked, FromAuthenticator::Mechanisms(message)) => self.start(from, &message),
            (Step::Started { .. }, FromAuthenticator::Step(message)) => self.answer(from, &message.data, credential),
            (Step::Answered { .. }, FromAuthenticator::Completed(_)) => Heard::Completed,
            (_, FromAuthenticator::Failed(_)) => Heard::Refused,
            (Step::Asked, FromAuthenticator::Error(message)) => {
                let says = quote(message.error());
                Heard::Broken(format!("it says {says}; if it takes no authentication, leave --credential out"))
            }
            (_, FromAuthenticator::Error(message)) => Heard::Broken(format!("it says {}", quote(message.error()))),
            (_, other) => Heard::Broken(format!("{} came out of turn", other.name())),
        };
        if !matches!(heard, Heard::Reply(..)) {
            self.step = Step::Idle;
        }
        heard
    }

    fn start(&mut self, session: &Pid, message: &AuthenticationMechanismsMessage) -> Heard {
        if !message.mechanisms.iter().any(|mechanism| mechanism == CRAM_MD5) {
            let offered = quote(&message.mechanisms.join(", "));
            return Heard::Broken(format!("it wants one of {offered}, and we have {CRAM_MD5} only"));
        }
        self.step = Step::Started { session: session.clone() };
        let start = AuthenticationStartMessage { mechanism: CRAM_MD5.to_string(), data: Some(Vec::new()) };
        Heard::Reply(session.clone(), Outgoing::new(&start))
    }

    fn answer(&mut self, session: &Pid, challenge: &[u8], credential: &Credential) -> Heard {
        if challenge.is_empty() || challenge.len() > MAX_CHALLENGE {
            return Heard::Broken(format!("its challenge has {} bytes", challenge.len()));
        }
        self.step = Step::Answered { session: session.clone() };
        let answer = AuthenticationStepMessage { data: credential.cram_md5(challenge) };
        Heard::Reply(session.clone(), Outgoing::new(&answer))
    }

    /// What an attempt whose time is over was waiting for.
    fn unanswered(&self) -> Option<&'static str> {
        match self.step {
            Step::Idle => None,
            Step::Asked => Some("did not answer; if it takes no authentication, leave --credential out"),
            Step::Started { .. } => Some("sent no challenge"),
            Step::Answered { .. } => Some("did not judge our answer"),
        }
    }
}

/// A message and where it belongs.
struct Message<'a> {
    master: &'a Pid,
    from: &'a Pid,
    to: &'a str,
    message: FromAuthenticator,
}

/// A master's words, as the log may show them.
fn quote(text: &str) -> String {
    format!("{:?}", text.chars().take(MAX_QUOTE).collect::<String>())
}

impl Slave {
    /// Begins the next attempt, if it is time.
    pub(super) fn authentication_deadline(&mut self, now: Now) {
        let (Some(settings), Some((master, exchange, attempts))) =
            (&self.config.authentication, self.registration.exchange())
        else {
            return;
        };
        if exchange.next_at > now.instant {
            return;
        }
        if let Some(why) = exchange.unanswered() {
            log::warn!("authentication timed out: master {master} {why}; trying again");
        }
        *attempts += 1;
        exchange.begin(settings, *attempts, &mut self.random, now.instant);
        log::info!("authenticating with master {master} as '{}'", settings.credential.principal());
        let from = Pid { id: exchange.id.clone(), address: self.config.pid.address };
        let message = Outgoing::new(&AuthenticateMessage { pid: self.config.pid.to_string() });
        self.actions.push(Action::Link(master.clone()));
        self.actions.push(Action::SendAs { from, to: master.clone(), message });
    }

    /// A message for one of our attempts.
    pub(super) fn authentication_message(&mut self, from: &Pid, to: &str, message: FromAuthenticator, now: Now) {
        let (Some(settings), Some((master, exchange, _))) = (&self.config.authentication, self.registration.exchange())
        else {
            return log::debug!("dropped {} from {from}: no authentication is under way", message.name());
        };
        let name = message.name();
        let heard = exchange.hear(Message { master, from, to, message }, &settings.credential);
        let (principal, wait) =
            (settings.credential.principal(), exchange.next_at.saturating_duration_since(now.instant));
        match heard {
            Heard::Stray => log::warn!("dropped {name} from {from} to {to}: it is not of this attempt to authenticate"),
            Heard::Reply(to, message) => {
                let from = Pid { id: exchange.id.clone(), address: self.config.pid.address };
                self.actions.push(Action::SendAs { from, to, message });
            }
            Heard::Completed => {
                log::info!("authenticated with master {master} as '{principal}'");
                self.begin_asking(now);
            }
            Heard::Refused => log::error!(
                "master {master} refuses principal '{principal}': the secret that --credential names must be the one in the \
                 master's --credentials; put the two right and, if ours was wrong, start this slave again; trying again in {} s",
                wait.as_secs()
            ),
            Heard::Broken(why) => log::error!(
                "cannot authenticate with master {master} as '{principal}': {why}; trying again in {} s",
                wait.as_secs()
            ),
        }
    }
}
