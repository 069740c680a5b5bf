//! Following the files of a sandbox that an agent shows: what to ask next, and what came of it. No I/O, no clock.
//!
//! ```text
//! Finding ─ /state names the sandbox ─► Reading: stdout, stderr, vm.log, each at an offset of its own
//!                                       drain(): read on until each has been found to have no more
//! ```

use std::time::{Duration, Instant};

use super::answer;
use super::scheduler::{Shown, Target};
use crate::libprocess::{Request, Response};
use crate::poll::{Backoff, earlier};

/// First and longest wait between two looks at a file that does not grow.
const LOOK_AGAIN: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// So often in a row an answer may fail once the task has ended, before its output is given up.
const TRIES: u32 = 6;

/// Which request of the follower's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    /// `/state`.
    State,
    /// A piece of a file.
    File(Kind),
}

/// Which file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The task's standard output.
    Stdout,
    /// The task's standard error.
    Stderr,
    /// The steps of the VM's life; not there without a VM.
    VmLog,
}

impl Kind {
    fn file(self) -> &'static str {
        match self {
            Kind::Stdout => "stdout",
            Kind::Stderr => "stderr",
            Kind::VmLog => "vm.log",
        }
    }
}

/// What came of an answer.
#[derive(Debug, PartialEq, Eq)]
pub enum Found {
    /// These bytes were written.
    Bytes(Kind, Vec<u8>),
    /// The user should know.
    Problem(String),
    /// Nothing new.
    Nothing,
}

#[derive(Debug)]
struct File {
    kind: Kind,
    offset: u64,
    pace: Pace,
    /// The request under way was made when the task had ended.
    asked_at_end: bool,
    /// It was made after [`Follower::catch_up`].
    asked_to_catch_up: bool,
    done: bool,
}

/// When to ask again.
#[derive(Debug)]
struct Pace {
    due: Instant,
    wait: Backoff,
    asking: bool,
    failures: u32,
}

impl Pace {
    fn new(now: Instant) -> Pace {
        Pace { due: now, wait: Backoff::new(LOOK_AGAIN.0, LOOK_AGAIN.1), asking: false, failures: 0 }
    }

    fn reset(&mut self, now: Instant) {
        let failures = self.failures;
        *self = Pace { failures, asking: self.asking, ..Pace::new(now) };
    }

    fn later(&mut self, now: Instant) {
        self.due = now + self.wait.next_wait();
    }
}

/// Follows one task's output.
#[derive(Debug)]
pub struct Follower {
    target: Target,
    sandbox: Option<String>,
    state: Pace,
    files: Vec<File>,
    draining: bool,
    /// `vm.log` is to be read up to now before something else is shown.
    catching_up: bool,
    gave_up: bool,
    told: bool,
}

impl Follower {
    /// Knows only where to ask.
    pub fn new(target: Target, now: Instant) -> Follower {
        Follower {
            target,
            sandbox: None,
            state: Pace::new(now),
            files: Vec::new(),
            draining: false,
            catching_up: false,
            gave_up: false,
            told: false,
        }
    }

    /// The task has ended: what is there now is all there will be.
    pub fn drain(&mut self, now: Instant) {
        self.draining = true;
        self.state.reset(now);
        self.files.iter_mut().for_each(|file| file.pace.reset(now));
    }

    /// Something happened after what `vm.log` tells of: it is to be read first.
    pub fn catch_up(&mut self, now: Instant) {
        self.catching_up = true;
        let logs = self.files.iter_mut().filter(|file| file.kind == Kind::VmLog);
        logs.for_each(|file| file.pace.reset(now));
    }

    /// `vm.log` has been read to its end since [`Follower::catch_up`], or cannot be.
    pub fn is_caught_up(&self) -> bool {
        !self.catching_up || self.gave_up || matches!(self.target.shown, Shown::Output(_))
    }

    /// All has been read, or given up.
    pub fn is_done(&self) -> bool {
        let all_read = self.sandbox.is_some() && self.files.iter().all(|file| file.done);
        self.draining && (self.gave_up || all_read)
    }

    /// When [`Follower::requests`] has something to ask.
    pub fn deadline(&self, room: impl Fn(Kind) -> bool) -> Option<Instant> {
        if self.gave_up {
            return None;
        }
        if self.sandbox.is_none() {
            return (!self.state.asking).then_some(self.state.due);
        }
        let waiting = self.files.iter().filter(|file| !file.done && !file.pace.asking && room(file.kind));
        waiting.fold(None, |first, file| earlier(first, Some(file.pace.due)))
    }

    /// What to ask the agent now. `room`: whether there is room for more of a file's bytes.
    pub fn requests(&mut self, room: impl Fn(Kind) -> bool, now: Instant) -> Vec<(Ask, Request)> {
        if self.gave_up {
            return Vec::new();
        }
        let Some(sandbox) = &self.sandbox else {
            if self.state.asking || now < self.state.due {
                return Vec::new();
            }
            self.state.asking = true;
            return vec![(Ask::State, Request::new("GET", "/state", Vec::new()))];
        };
        let mut requests = Vec::new();
        for file in &mut self.files {
            if !file.done && !file.pace.asking && now >= file.pace.due && room(file.kind) {
                file.pace.asking = true;
                file.asked_at_end = self.draining;
                file.asked_to_catch_up = self.catching_up;
                requests.push((Ask::File(file.kind), read_request(sandbox, &self.target.shown, file)));
            }
        }
        requests
    }

    /// Takes an answer in, or why there is none.
    pub fn answered(&mut self, ask: Ask, answer: Result<Response, String>, now: Instant) -> Found {
        match ask {
            Ask::State => self.found(answer, now),
            Ask::File(kind) => self.read(kind, answer, now),
        }
    }

    fn found(&mut self, answer: Result<Response, String>, now: Instant) -> Found {
        self.state.asking = false;
        let sandbox = answer.and_then(|response| self.sandbox_in(&response));
        match sandbox {
            Ok(Some(sandbox)) => {
                self.sandbox = Some(sandbox);
                let kinds: &[Kind] = match self.target.shown {
                    Shown::All => &[Kind::VmLog, Kind::Stdout, Kind::Stderr],
                    Shown::Steps => &[Kind::VmLog],
                    Shown::Output(_) => &[Kind::Stdout, Kind::Stderr],
                };
                self.files = kinds.iter().map(|kind| File::new(*kind, now)).collect();
                Found::Nothing
            }
            Ok(None) => {
                self.state.later(now);
                self.failed("the agent does not know the task's container".to_string())
            }
            Err(why) => {
                self.state.later(now);
                let told = std::mem::replace(&mut self.told, true);
                match (self.failed(why.clone()), told) {
                    (Found::Nothing, false) => Found::Problem(format!("cannot read the task's output yet: {why}")),
                    (found, _) => found,
                }
            }
        }
    }

    fn sandbox_in(&self, response: &Response) -> Result<Option<String>, String> {
        if response.status != 200 {
            return Err(format!("{} answers {} to /state", self.agent(), response.status));
        }
        let state =
            serde_json::from_slice(&response.body).map_err(|error| format!("/state of {}: {error}", self.agent()))?;
        Ok(answer::sandbox(&state, &self.target))
    }

    fn agent(&self) -> String {
        format!("the agent at {}:{}", self.target.host, self.target.port)
    }

    /// Counts what fails after the task's end; before it, there is time.
    fn failed(&mut self, why: String) -> Found {
        if !self.draining {
            return Found::Nothing;
        }
        self.state.failures += 1;
        if self.state.failures < TRIES {
            return Found::Nothing;
        }
        self.gave_up = true;
        Found::Problem(format!("the task's output may be incomplete: {why}"))
    }

    fn read(&mut self, kind: Kind, answer: Result<Response, String>, now: Instant) -> Found {
        let Some(index) = self.files.iter().position(|file| file.kind == kind) else {
            return Found::Nothing;
        };
        let file = &mut self.files[index];
        file.pace.asking = false;
        let outcome = answer.and_then(|response| match response.status {
            200 => {
                answer::data(&response.body).map(Some).ok_or_else(|| "an answer that is no file's piece".to_string())
            }
            404 => Ok(None),
            status => Err(format!("{status} {}", String::from_utf8_lossy(&response.body).trim())),
        });
        let came = matches!(&outcome, Ok(Some(bytes)) if !bytes.is_empty());
        if kind == Kind::VmLog && file.asked_to_catch_up && !came {
            self.catching_up = false;
        }
        match outcome {
            Ok(Some(bytes)) if came => {
                file.offset += bytes.len() as u64;
                file.pace.reset(now);
                self.state.failures = 0;
                Found::Bytes(kind, bytes)
            }
            Ok(_) => {
                file.done = file.asked_at_end;
                file.pace.later(now);
                Found::Nothing
            }
            Err(why) => {
                file.pace.later(now);
                self.failed(format!("{}: {why}", kind.file()))
            }
        }
    }
}

impl File {
    fn new(kind: Kind, now: Instant) -> File {
        File { kind, offset: 0, pace: Pace::new(now), asked_at_end: false, asked_to_catch_up: false, done: false }
    }
}

fn read_request(sandbox: &str, shown: &Shown, file: &File) -> Request {
    let path = match shown {
        Shown::Output(below) => format!("{sandbox}/{below}/{}", file.kind.file()),
        Shown::All | Shown::Steps => format!("{sandbox}/{}", file.kind.file()),
    };
    let path = percent_encode(&path);
    let query = format!("path={path}&offset={}&length=65536", file.offset);
    Request { query: Some(query), ..Request::new("GET", "/files/read", Vec::new()) }
}

/// All but what needs no escape in a query.
fn percent_encode(text: &str) -> String {
    let encode = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b'/' => (byte as char).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(encode).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Test {
        follower: Follower,
        now: Instant,
    }

    impl Test {
        /// A follower that has found its sandbox.
        fn new() -> Test {
            Test::of(Target::default())
        }

        fn of(target: Target) -> Test {
            let target = Target { framework: "F".to_string(), container: Some("c".to_string()), ..target };
            let now = Instant::now();
            let mut test = Test { follower: Follower::new(target, now), now };
            assert_eq!(test.asked(), [Ask::State]);
            let state = r#"{"frameworks":[{"id":"F","executors":[{"container":"c","directory":"/w/a b&c"}]}]}"#;
            test.answer(Ask::State, 200, state);
            test
        }

        fn requests(&mut self) -> Vec<(Ask, Request)> {
            self.follower.requests(|_| true, self.now)
        }

        fn asked(&mut self) -> Vec<Ask> {
            self.requests().into_iter().map(|(ask, _)| ask).collect()
        }

        fn answer(&mut self, ask: Ask, status: u16, body: &str) -> Found {
            let response = Response { body: body.into(), ..Response::new(status) };
            self.follower.answered(ask, Ok(response), self.now)
        }

        fn data(&mut self, kind: Kind, data: &str) -> Found {
            self.answer(Ask::File(kind), 200, &format!("{{\"data\":\"{data}\",\"offset\":0}}"))
        }

        fn wait(&mut self) {
            self.now = self.follower.deadline(|_| true).expect("something is due");
        }
    }

    #[test]
    fn a_state_waits_until_the_vms_log_before_it_has_been_read() {
        let mut test = Test::new();
        test.asked();
        test.follower.catch_up(test.now);
        assert!(!test.follower.is_caught_up());
        // That was asked before, so it may not have all.
        test.data(Kind::VmLog, "");
        assert!(!test.follower.is_caught_up());
        test.wait();
        assert_eq!(test.asked(), [Ask::File(Kind::VmLog)]);
        test.data(Kind::VmLog, "step");
        assert!(!test.follower.is_caught_up());
        assert_eq!(test.asked(), [Ask::File(Kind::VmLog)]);
        test.answer(Ask::File(Kind::VmLog), 404, "");
        assert!(test.follower.is_caught_up());
    }

    const ALL: [Kind; 3] = [Kind::VmLog, Kind::Stdout, Kind::Stderr];

    #[test]
    fn each_file_is_read_on_from_where_it_was() {
        let mut test = Test::new();
        let queries: Vec<String> = test.requests().into_iter().filter_map(|(_, request)| request.query).collect();
        assert_eq!(queries[1], "path=/w/a%20b%26c/stdout&offset=0&length=65536");
        assert_eq!(test.data(Kind::Stdout, "hello"), Found::Bytes(Kind::Stdout, b"hello".to_vec()));
        let next = test.requests();
        assert_eq!(next.len(), 1, "the others are still asked for");
        assert_eq!(next[0].1.query.as_deref(), Some("path=/w/a%20b%26c/stdout&offset=5&length=65536"));
    }

    #[test]
    fn a_groups_task_has_its_files_below_its_executors_which_has_the_vms_log() {
        let paths = |shown: Shown| -> Vec<String> {
            let mut test = Test::of(Target { shown, ..Target::default() });
            let queries = test.requests().into_iter().filter_map(|(_, request)| request.query);
            queries.map(|query| query.split('&').next().unwrap_or_default().to_string()).collect()
        };
        let streams = ["path=/w/a%20b%26c/containers/n/stdout", "path=/w/a%20b%26c/containers/n/stderr"];
        assert_eq!(paths(Shown::Output("containers/n".to_string())), streams);
        assert_eq!(paths(Shown::Steps), ["path=/w/a%20b%26c/vm.log"]);
    }

    #[test]
    fn a_silent_file_is_looked_at_less_and_less_often() {
        let mut test = Test::new();
        test.asked();
        let mut waits = Vec::new();
        for _ in 0..7 {
            let before = test.now;
            for kind in ALL {
                test.answer(Ask::File(kind), 404, "");
            }
            test.wait();
            waits.push((test.now - before).as_millis());
            assert_eq!(test.asked().len(), 3);
        }
        assert_eq!(waits, [50, 100, 200, 400, 800, 1000, 1000]);
        test.data(Kind::Stdout, "x");
        assert_eq!(test.asked(), [Ask::File(Kind::Stdout)], "at once");
    }

    #[test]
    fn an_answer_asked_for_before_the_end_does_not_end_the_output() {
        let mut test = Test::new();
        test.asked();
        test.follower.drain(test.now);
        for kind in ALL {
            test.data(kind, "");
        }
        assert!(!test.follower.is_done());
        test.wait();
        assert_eq!(test.asked().len(), 3);
        test.data(Kind::Stdout, "last words");
        test.data(Kind::Stderr, "");
        test.answer(Ask::File(Kind::VmLog), 404, "");
        assert!(!test.follower.is_done());
        assert_eq!(test.asked(), [Ask::File(Kind::Stdout)]);
        test.data(Kind::Stdout, "");
        assert!(test.follower.is_done());
        assert_eq!(test.follower.deadline(|_| true), None);
    }

    #[test]
    fn an_agent_that_is_gone_is_given_up_after_the_end_only() {
        let target = Target { host: "a".to_string(), port: 1, ..Target::default() };
        let mut test = Test { follower: Follower::new(target, Instant::now()), now: Instant::now() };
        let mut problems = Vec::new();
        for round in 0..20 {
            if round == 10 {
                test.follower.drain(test.now);
            }
            if let Some(due) = test.follower.deadline(|_| true) {
                test.now = due;
            }
            for ask in test.asked() {
                if let Found::Problem(text) = test.follower.answered(ask, Err("refused".to_string()), test.now) {
                    problems.push((round, text));
                }
            }
        }
        assert!(test.follower.is_done());
        let expected = [
            (0, "cannot read the task's output yet: refused".to_string()),
            (15, "the task's output may be incomplete: refused".to_string()),
        ];
        assert_eq!(problems, expected);
    }

    #[test]
    fn nothing_is_asked_for_while_there_is_no_room() {
        let mut test = Test::new();
        let now = test.now;
        let asked = test.follower.requests(|kind| kind != Kind::Stdout, now);
        assert_eq!(asked.len(), 2);
        assert_eq!(test.asked(), [Ask::File(Kind::Stdout)]);
    }
}
