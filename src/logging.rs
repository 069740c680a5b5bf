//! The log: `simple_logger`, with a filter before it. One event is one line, whatever a framework or a guest has put into a
//! name; no line is endless; and a log that cannot be written (a full disk, a terminal that is gone) does not end the process.

use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};

use log::{LevelFilter, Log, Metadata, Record};
use simple_logger::SimpleLogger;

/// Longest text of a line, in bytes; an id has at most 255.
const LINE: usize = 4096;

struct Filter {
    who: &'static str,
    printer: SimpleLogger,
}

/// Logs to stderr, with times in UTC. `who` stands in each line: several processes of ours may share a log.
pub fn to_stderr(who: &'static str, level: LevelFilter) {
    let printer = SimpleLogger::new().with_level(level).with_utc_timestamps();
    // The first logger stays; there is no other.
    if log::set_boxed_logger(Box::new(Filter { who, printer })).is_ok() {
        log::set_max_level(level);
    }
}

/// Prints a text for the operator to stdout. Whoever does not want it all (`| head`) gets as much as he reads.
pub fn print(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

impl Log for Filter {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.printer.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let text = one_line(&record.args().to_string());
        // The printer panics when stderr fails, and nothing else in it does.
        let _ = catch_unwind(AssertUnwindSafe(|| {
            self.printer
                .log(&Record::builder().level(record.level()).target(self.who).args(format_args!("{text}")).build());
        }));
    }

    fn flush(&self) {
        self.printer.flush();
    }
}

/// A text as one line of bounded length, its control characters escaped.
fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len().min(LINE) + 1);
    for character in text.chars() {
        if line.len() >= LINE {
            line.push_str(&format!("… ({} bytes)", text.len()));
            break;
        }
        match character {
            // Escapes of terminals begin with a control character; these others turn a line's direction round.
            '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                line.extend(character.escape_unicode())
            }
            _ if character.is_control() => line.extend(character.escape_default()),
            _ => line.push(character),
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_a_line_break_or_an_escape_stays_on_its_line() {
        assert_eq!(one_line("task a\n\u{1b}[2Jb \u{202e}c ä"), "task a\\n\\u{1b}[2Jb \\u{202e}c ä");
    }

    #[test]
    fn a_megabyte_becomes_a_line_that_can_be_read() {
        let line = one_line(&"x".repeat(1 << 20));
        assert!(line.len() < LINE + 40);
        assert!(line.ends_with("… (1048576 bytes)"), "{}", &line[LINE..]);
    }
}
