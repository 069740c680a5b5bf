//! What the sandbox keeps of its VM: `vm.log`, a line per step of its life, and the end of the guest's console.
//!
//! ```text
//! 2026-01-31T12:00:00.123Z start 0.412s
//! 2026-01-31T12:00:07.000Z note the guest's kernel panicked
//! ```

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::container::text::printable;

/// How much of the console's end is kept, in bytes.
const CONSOLE_KEPT: u64 = 1 << 20;

/// How much of the console's end is searched for a panic, in bytes; a panic's trace is a few KiB.
const CONSOLE_SEARCHED: u64 = 64 << 10;

/// Longest line of a panic that is passed on, in characters.
const PANIC_LENGTH: usize = 200;

/// The sandbox, as far as it is ours to write.
#[derive(Debug)]
pub struct Record {
    sandbox: PathBuf,
    owner: (u32, u32),
    log: Option<File>,
}

impl Record {
    /// Opens `vm.log` in the sandbox. A sandbox that cannot be written is told of in the log, and costs no task its life.
    pub fn open(sandbox: &Path) -> Record {
        let owner = std::fs::metadata(sandbox).map_or((0, 0), |metadata| (metadata.uid(), metadata.gid()));
        let log = create(&sandbox.join("vm.log"), owner).inspect_err(|error| {
            log::warn!("cannot write vm.log in {}: {error}", sandbox.display());
        });
        Record { sandbox: sandbox.to_path_buf(), owner, log: log.ok() }
    }

    /// Whose the sandbox is: user and group id.
    pub fn owner(&self) -> (u32, u32) {
        self.owner
    }

    /// A step is done.
    pub fn step(&mut self, name: &str, took: Duration) {
        self.line(&format!("{name} {:.3}s", took.as_secs_f64()));
    }

    /// Something else that the task's owner may want to know.
    pub fn note(&mut self, text: &str) {
        self.line(&format!("note {}", printable(text)));
    }

    fn line(&mut self, text: &str) {
        if let Some(log) = &mut self.log {
            // A full disk is the task's own trouble.
            let _ = writeln!(log, "{} {text}", timestamp(SystemTime::now()));
        }
    }

    /// Copies the end of the console's log to `console.log`.
    ///
    /// # Errors
    /// When either file cannot be used.
    pub fn keep_console(&self, console: &Path) -> io::Result<()> {
        let end = console_end(console, CONSOLE_KEPT)?;
        create(&self.sandbox.join("console.log"), self.owner)?.write_all(&end)
    }
}

/// Appends to a file of ours; a link that lies there in its place is not followed.
fn create(path: &Path, (uid, gid): (u32, u32)) -> io::Result<File> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let file = OpenOptions::new().create(true).append(true).mode(0o644).custom_flags(flags).open(path)?;
    std::os::unix::fs::fchown(&file, Some(uid), Some(gid))?;
    Ok(file)
}

/// The end of the console. libvirt's virtlogd begins a new file every 2 MiB and keeps three old ones, `console.log.0` the youngest: a
/// guest that writes without end fills no disk, and its last words may be in two files.
fn console_end(console: &Path, length: u64) -> io::Result<Vec<u8>> {
    let newest = tail(console, length)?;
    let mut older = console.as_os_str().to_os_string();
    older.push(".0");
    let mut end = tail(Path::new(&older), length - newest.len() as u64).unwrap_or_default();
    end.extend(newest);
    Ok(end)
}

fn tail(path: &Path, length: u64) -> io::Result<Vec<u8>> {
    let mut file = OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path)?;
    let size = file.metadata()?.len();
    file.seek(SeekFrom::Start(size.saturating_sub(length)))?;
    let mut bytes = Vec::new();
    file.take(length).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The line in which the guest's kernel says on the console that it panicked.
pub fn find_panic(console: &Path) -> Option<String> {
    let bytes = console_end(console, CONSOLE_SEARCHED).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    let line = text.lines().rev().find_map(|line| Some(&line[line.find("Kernel panic")?..]))?;
    Some(line.chars().filter(|c| !c.is_control()).take(PANIC_LENGTH).collect())
}

/// RFC 3339 in UTC, to the millisecond.
fn timestamp(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (seconds, millis) = (since.as_secs(), since.subsec_millis());
    let (year, month, day) = civil(seconds / 86400);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
}

/// The date of a day counted from 1970-01-01: counted in eras of 400 years that begin in March, so that the leap day is the last.
pub fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::scratch::Scratch;
    use std::fs;

    #[test]
    fn times_read_as_dates() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00.007Z"),
            (951_782_400, "2000-02-29T00:00:00.007Z"),
            (1_735_689_599, "2024-12-31T23:59:59.007Z"),
            (4_107_542_400, "2100-03-01T00:00:00.007Z"),
        ] {
            assert_eq!(timestamp(UNIX_EPOCH + Duration::from_secs(seconds) + Duration::from_millis(7)), text);
        }
    }

    #[test]
    fn a_step_is_a_line_and_a_note_cannot_make_another() {
        let scratch = Scratch::new();
        let mut record = Record::open(scratch.path());
        record.step("start", Duration::from_millis(1234));
        record.note("a\nb");
        let text = fs::read_to_string(scratch.path().join("vm.log")).expect("vm.log");
        let lines: Vec<&str> = text.lines().filter_map(|line| line.split_once(' ')).map(|(_, rest)| rest).collect();
        assert_eq!(lines, ["start 1.234s", "note a\\nb"]);
    }

    #[test]
    fn the_end_of_a_long_console_is_kept_and_its_panic_found() {
        let scratch = Scratch::new();
        let console = scratch.path().join("raw");
        let mut text = vec![b'x'; 2 << 20];
        text.extend_from_slice(b"\n[ 1.0] Kernel panic - not syncing: sysrq\r\n[ 1.1] ---[ end\n");
        fs::write(&console, &text).expect("write");
        assert_eq!(find_panic(&console).as_deref(), Some("Kernel panic - not syncing: sysrq"));
        Record::open(scratch.path()).keep_console(&console).expect("keep");
        let kept = fs::read(scratch.path().join("console.log")).expect("console.log");
        assert_eq!(kept, text[text.len() - (1 << 20)..]);
    }

    #[test]
    fn last_words_are_found_where_virtlogd_has_just_begun_a_new_file() {
        let scratch = Scratch::new();
        let console = scratch.path().join("raw");
        fs::write(scratch.path().join("raw.0"), "x\n[ 1.0] Kernel panic - not sync").expect("write");
        fs::write(&console, "ing: sysrq\r\n[ 1.1] ---[ end\n").expect("write");
        assert_eq!(find_panic(&console).as_deref(), Some("Kernel panic - not syncing: sysrq"));
    }

    #[test]
    fn a_link_in_the_place_of_a_file_of_ours_is_not_followed() {
        let scratch = Scratch::new();
        let target = scratch.path().join("target");
        std::os::unix::fs::symlink(&target, scratch.path().join("vm.log")).expect("link");
        Record::open(scratch.path()).note("x");
        assert!(!target.exists());
    }
}
