//! Our own stdout and stderr. Bytes wait here until they can be written without blocking, so that a pager that is not read
//! does not keep Ctrl-C from being heard. The descriptors are not made non-blocking: they are shared with the shell we came from.

use std::io::{self, IsTerminal, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::time::Instant;

use super::answer::step;
use crate::messages::mesos::TaskState;
use crate::poll::{Interest, PollSet};

/// As much as a pipe takes in one piece when `poll(2)` says that there is room (`PIPE_BUF`).
const PIECE: usize = 4096;

/// No more is asked of the agent while so much waits to be written.
const HIGH_WATER: usize = 256 * 1024;

/// One of our streams.
#[derive(Debug)]
pub struct Sink<W> {
    stream: W,
    waiting: Vec<u8>,
    written: usize,
    last: u8,
    broken: bool,
}

impl<W: Write + AsRawFd> Sink<W> {
    /// Nothing written yet.
    pub fn new(stream: W) -> Sink<W> {
        Sink { stream, waiting: Vec::new(), written: 0, last: b'\n', broken: false }
    }

    fn fd(&self) -> RawFd {
        self.stream.as_raw_fd()
    }

    /// Takes bytes to be written in their turn.
    pub fn push(&mut self, bytes: &[u8]) {
        if let (false, Some(last)) = (self.broken, bytes.last()) {
            self.last = *last;
            self.waiting.extend_from_slice(bytes);
        }
    }

    /// Takes a line of its own, even after bytes that did not end theirs.
    pub fn push_line(&mut self, line: &str) {
        if self.last != b'\n' {
            self.push(b"\n");
        }
        self.push(line.as_bytes());
        self.push(b"\n");
    }

    /// There is room for more.
    pub fn has_room(&self) -> bool {
        self.waiting.len() - self.written < HIGH_WATER
    }

    /// All is written.
    pub fn is_empty(&self) -> bool {
        self.written == self.waiting.len()
    }

    /// Nobody reads it any more; what is pushed is thrown away.
    pub fn is_broken(&self) -> bool {
        self.broken
    }

    /// Waits for room.
    pub fn register(&self, set: &mut PollSet) {
        if !self.is_empty() {
            set.add(self.fd(), Interest::Write);
        }
    }

    /// Writes a piece, if there is room for it.
    pub fn turn(&mut self, set: &PollSet) {
        if self.is_empty() || !set.is_writable(self.fd()) {
            return;
        }
        let end = self.waiting.len().min(self.written + PIECE);
        match self.stream.write(&self.waiting[self.written..end]) {
            Ok(count) => self.written += count,
            Err(error) if matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock) => {}
            Err(_) => {
                self.broken = true;
                self.written = self.waiting.len();
            }
        }
        if self.is_empty() || self.written >= HIGH_WATER {
            self.waiting.drain(..self.written);
            self.written = 0;
        }
    }
}

/// So much of a line waits for its end before what there is of it is shown as a line.
const LONGEST_LINE: usize = 64 * 1024;

/// Marks a task's output with the task's name, since a group's tasks share our streams: whole lines, each behind the name.
#[derive(Debug)]
pub struct Label {
    /// None: the output is left as it is.
    label: Option<Vec<u8>>,
    line: Vec<u8>,
}

impl Label {
    /// For a task that has the stream for itself.
    pub fn none() -> Label {
        Label { label: None, line: Vec::new() }
    }

    /// Lines begin with `[name] `.
    pub fn new(name: &str) -> Label {
        Label { label: Some(format!("[{}] ", printable(name)).into_bytes()), line: Vec::new() }
    }

    /// What is to be shown, now that these bytes have come. Half a line waits for its rest.
    pub fn on(&mut self, bytes: Vec<u8>) -> Vec<u8> {
        let Some(label) = &self.label else {
            return bytes;
        };
        let mut out = Vec::with_capacity(bytes.len());
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.line.extend_from_slice(piece);
            if self.line.len() >= LONGEST_LINE && !self.line.ends_with(b"\n") {
                self.line.push(b'\n');
            }
            if self.line.ends_with(b"\n") {
                out.extend_from_slice(label);
                out.append(&mut self.line);
            }
        }
        out
    }

    /// The half line that has no rest, as a line.
    pub fn rest(&mut self) -> Vec<u8> {
        match self.line.is_empty() {
            true => Vec::new(),
            false => self.on(b"\n".to_vec()),
        }
    }
}

/// The lines that tell how the task comes on.
#[derive(Debug)]
pub struct Progress {
    start: Instant,
    colour: bool,
    steps: Vec<u8>,
}

impl Progress {
    /// The clock starts now. Colours are for terminals only, and for people who have not set `NO_COLOR`.
    pub fn new(now: Instant) -> Progress {
        let colour = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Progress { start: now, colour, steps: Vec::new() }
    }

    /// `TASK_RUNNING       1.23 s  message`; of a group's task, whose it is comes before the message.
    pub fn state(&self, task: Option<&str>, state: TaskState, message: Option<&str>, now: Instant) -> String {
        let seconds = now.saturating_duration_since(self.start).as_secs_f64();
        let name = format!("{:<14}", state.as_str_name());
        let name = match (self.colour, colour_of(state)) {
            (true, Some(colour)) => format!("\x1b[{colour}m{name}\x1b[0m"),
            (false, _) | (true, None) => name,
        };
        let message = message.map(|message| format!("  {}", printable(message))).unwrap_or_default();
        let task = task.map(|task| format!("  [{}]", printable(task))).unwrap_or_default();
        format!("{name} {seconds:>8.2} s{task}{message}")
    }

    /// The steps in bytes of `vm.log`, `  boot       0.31 s` each. Half a line waits for its rest.
    pub fn steps(&mut self, bytes: &[u8]) -> Vec<String> {
        self.steps.extend_from_slice(bytes);
        let Some(end) = self.steps.iter().rposition(|byte| *byte == b'\n') else {
            // No line of a step is that long: what comes is something else.
            self.steps.truncate(4096);
            return Vec::new();
        };
        let lines: Vec<u8> = self.steps.drain(..=end).collect();
        let text = String::from_utf8_lossy(&lines);
        text.lines().filter_map(step).map(|(name, seconds)| format!("  {name:<12} {seconds:>8.2} s")).collect()
    }
}

fn colour_of(state: TaskState) -> Option<u8> {
    match state {
        TaskState::TaskFinished => Some(32),
        TaskState::TaskStarting | TaskState::TaskRunning => Some(36),
        TaskState::TaskKilling | TaskState::TaskKilled => Some(33),
        TaskState::TaskFailed
        | TaskState::TaskError
        | TaskState::TaskLost
        | TaskState::TaskDropped
        | TaskState::TaskGone
        | TaskState::TaskGoneByOperator
        | TaskState::TaskUnreachable => Some(31),
        TaskState::TaskStaging | TaskState::TaskUnknown => None,
    }
}

/// Text of others' making, without what a terminal would obey.
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' { '?' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::Read;
    use std::time::Duration;

    fn pipe() -> (File, Sink<File>) {
        // Children of other tests are not to hold it.
        let (reader, writer) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).expect("pipe");
        (File::from(reader), Sink::new(File::from(writer)))
    }

    fn turn(sink: &mut Sink<File>) -> bool {
        let mut set = PollSet::new();
        sink.register(&mut set);
        set.wait(Some(Instant::now())).expect("poll");
        let before = sink.waiting.len() - sink.written;
        sink.turn(&set);
        sink.waiting.len() - sink.written != before
    }

    #[test]
    fn a_full_pipe_does_not_block_and_nothing_is_lost() {
        let (mut reader, mut sink) = pipe();
        let bytes: Vec<u8> = (0..400_000u32).map(|number| number as u8).collect();
        sink.push(&bytes);
        assert!(!sink.has_room());
        let mut read = Vec::new();
        while !sink.is_empty() {
            while turn(&mut sink) {}
            let mut buffer = vec![0; 65536];
            let count = reader.read(&mut buffer).expect("read");
            read.extend_from_slice(&buffer[..count]);
        }
        drop(sink);
        reader.read_to_end(&mut read).expect("read");
        assert!(read == bytes);
    }

    #[test]
    fn a_reader_that_is_gone_is_noticed() {
        let (reader, mut sink) = pipe();
        drop(reader);
        let end = Instant::now() + Duration::from_secs(60);
        // A child that another test is just starting may hold the reader until it has become its program.
        while !sink.is_broken() {
            assert!(Instant::now() < end, "nobody reads, and that is not noticed");
            if sink.is_empty() {
                sink.push(b"x");
            }
            turn(&mut sink);
        }
        assert!(sink.is_empty());
    }

    #[test]
    fn a_line_begins_on_a_line_of_its_own() {
        let (mut reader, mut sink) = pipe();
        sink.push(b"half");
        sink.push_line("a");
        sink.push_line("b");
        turn(&mut sink);
        drop(sink);
        let mut text = String::new();
        reader.read_to_string(&mut text).expect("read");
        assert_eq!(text, "half\na\nb\n");
    }

    #[test]
    fn a_labelled_output_is_whole_lines_behind_the_label() {
        let mut label = Label::new("a");
        assert_eq!(label.on(b"one\ntw".to_vec()), b"[a] one\n");
        assert_eq!(label.on(b"o\n\nthr".to_vec()), b"[a] two\n[a] \n");
        assert_eq!((label.rest(), label.rest()), (b"[a] thr\n".to_vec(), Vec::new()));
        let long = label.on(vec![b'x'; LONGEST_LINE]);
        assert_eq!((&long[..5], long.len()), (b"[a] x".as_slice(), LONGEST_LINE + 5));
        let mut none = Label::none();
        assert_eq!((none.on(b"hal\nf".to_vec()), none.rest()), (b"hal\nf".to_vec(), Vec::new()));
    }

    #[test]
    fn progress_is_a_line_per_state_and_per_step() {
        let now = Instant::now();
        let mut progress = Progress { start: now, colour: false, steps: Vec::new() };
        let later = now + Duration::from_millis(1234);
        assert_eq!(progress.state(None, TaskState::TaskRunning, None, later), "TASK_RUNNING       1.23 s");
        let text = progress.state(Some("a"), TaskState::TaskFailed, Some("Command exited\x1b[0m"), later);
        assert_eq!(text, "TASK_FAILED        1.23 s  [a]  Command exited?[0m");
        assert_eq!(
            progress.steps(b"2026-11-24T10:00:00Z overlay 0.05s\n2026-11-24T10:00:01Z bo"),
            ["  overlay          0.05 s"]
        );
        assert_eq!(progress.steps(b"ot 12.5s\nrubbish\n"), ["  boot            12.50 s"]);
    }
}
