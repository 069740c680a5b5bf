//! How often the log tells of what guests are refused: a guest that does nothing else must not fill the host's disk.

use std::time::{Duration, Instant};

/// Lines in a window; the rest are counted.
const LINES: u32 = 10;
/// A window's length.
const WINDOW: Duration = Duration::from_secs(60);

/// Lines of the log that guests cause.
#[derive(Debug, Default)]
pub struct Complaints {
    since: Option<Instant>,
    written: u32,
    dropped: u64,
}

impl Complaints {
    /// Writes a line, unless there have been enough of them.
    pub fn warn(&mut self, now: Instant, line: &str) {
        for line in self.take(now, line) {
            log::warn!("{line}");
        }
    }

    /// The lines to be written now.
    fn take(&mut self, now: Instant, line: &str) -> Vec<String> {
        let mut lines = Vec::new();
        if self.since.is_none_or(|since| now.saturating_duration_since(since) >= WINDOW) {
            if self.dropped > 0 {
                lines.push(format!("guests were refused {} times more", self.dropped));
            }
            *self = Complaints { since: Some(now), ..Default::default() };
        }
        if self.written < LINES {
            self.written += 1;
            lines.push(line.to_string());
        } else {
            self.dropped += 1;
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_that_is_refused_without_end_costs_ten_lines_a_minute_and_a_count() {
        let mut complaints = Complaints::default();
        let begin = Instant::now();
        let first: usize = (0..1000).map(|_| complaints.take(begin, "refused").len()).sum();
        assert_eq!(first, 10);
        let next = complaints.take(begin + WINDOW, "refused");
        assert_eq!(next, ["guests were refused 990 times more", "refused"]);
        assert_eq!(complaints.take(begin + 3 * WINDOW, "refused"), ["refused"]);
    }
}
