//! `docs/times.md` against the sources: every constant of time and every flag with a time is there, with its value.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Where it is, and its name.
type Name = (String, String);
/// Name and value, in milliseconds: one, or two for a range.
type Times = BTreeMap<Name, Vec<u64>>;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All source files that are no tests.
fn sources() -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut directories = vec![root().join("src")];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).expect("a directory of ours") {
            let path = entry.expect("an entry").path();
            let name = path.file_stem().and_then(|name| name.to_str()).expect("a name").to_string();
            match (path.is_dir(), name.ends_with("tests")) {
                (_, true) => {}
                (true, false) => directories.push(path),
                (false, false) => files.push(path),
            }
        }
    }
    files
}

fn number(text: &str) -> u64 {
    let factors = text.split('*').map(|factor| factor.trim().replace('_', ""));
    factors.map(|factor| factor.parse::<u64>().unwrap_or_else(|_| panic!("{text} is no number"))).product()
}

/// The value of `Duration::from_secs(5)`, or of a pair, or of such a time less another.
fn value(expression: &str) -> Vec<u64> {
    let units = [("Duration::from_secs(", 1000), ("Duration::from_millis(", 1)];
    let mut found: Vec<(usize, u64)> = Vec::new();
    for (call, factor) in units {
        for (at, _) in expression.match_indices(call) {
            let rest = &expression[at + call.len()..];
            found.push((at, factor * number(&rest[..rest.find(')').expect("a closing bracket")])));
        }
    }
    found.sort_unstable();
    found.into_iter().map(|(_, time)| time).collect()
}

/// `const NAME: Duration = …;` at the top of a file. `flags/` has bounds of flags only.
fn constants() -> Times {
    let mut times = Times::new();
    for path in sources() {
        let place = path.strip_prefix(root().join("src")).expect("ours").to_string_lossy().into_owned();
        if place.starts_with("flags/") {
            continue;
        }
        for line in fs::read_to_string(&path).expect("a source").lines() {
            let Some((before, rest)) = line.split_once("const ").filter(|(before, _)| !before.starts_with([' ', '/']))
            else {
                continue;
            };
            let Some((name, rest)) = rest.split_once(": ").filter(|(_, rest)| rest.contains("Duration")) else {
                continue;
            };
            let Some((_, expression)) = rest.split_once(" = ") else { continue };
            assert!(before.is_empty() || before.starts_with("pub"), "{line}");
            // A time that is counted from another is not read.
            let counted = !(expression.starts_with("Duration::") || expression.starts_with("(Duration::"));
            let value = if counted { Vec::new() } else { value(expression) };
            times.insert((place.clone(), name.to_string()), value);
        }
    }
    times
}

/// Flags whose value is a duration and that have a default.
fn flags() -> Times {
    let mut times = Times::new();
    for path in sources().into_iter().filter(|path| path.parent().is_some_and(|parent| parent.ends_with("flags"))) {
        let text = fs::read_to_string(&path).expect("a source");
        for row in text.split("Row {").skip(1).filter(|row| row.contains("values::duration(")) {
            let quoted = |key: &str| Some(row.split_once(key)?.1.split('"').nth(1)?.to_string());
            let (Some(name), Some(default)) = (quoted("name: "), quoted("default: ")) else { continue };
            let default = default.replace("mins", " min").replace("secs", " s");
            times.insert(("flag".to_string(), name), vec![said(&default)]);
        }
    }
    times
}

/// `5 s`, as the document has it.
fn said(text: &str) -> u64 {
    let (count, unit) = text.trim().split_once(' ').unwrap_or_else(|| panic!("{text} is no time"));
    let factor = match unit {
        "ms" => 1,
        "s" => 1000,
        "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => panic!("{unit} is no unit of times"),
    };
    factor * number(count)
}

fn document() -> Times {
    let text = fs::read_to_string(root().join("docs/times.md")).expect("docs/times.md");
    let mut times = Times::new();
    for row in text.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| where |")) {
        let cells: Vec<&str> = row.split('|').map(|cell| cell.trim().trim_matches('`')).collect();
        let [_, place, name, value, ..] = cells[..] else { panic!("{row} is too short") };
        let before = times.insert((place.into(), name.into()), value.split(" to ").map(said).collect());
        assert_eq!(before, None, "{row} is there twice");
    }
    times
}

#[test]
fn the_table_of_times_has_every_time_and_no_other() {
    let (mut code, document) = (constants(), document());
    assert!(code.len() > 50, "the sources are read");
    code.extend(flags());
    let right =
        |name: &Name, value: &Vec<u64>| document.get(name).is_some_and(|said| value.is_empty() || said == value);
    let wanted: Vec<_> = code.iter().filter(|(name, value)| !right(name, value)).collect();
    let rows: Vec<_> =
        wanted.iter().map(|((place, name), value)| format!("| `{place}` | `{name}` | {value:?} ms |")).collect();
    assert!(rows.is_empty(), "docs/times.md needs these rows:\n{}", rows.join("\n"));
    let gone: Vec<_> = document.keys().filter(|name| !code.contains_key(name)).collect();
    assert!(gone.is_empty(), "docs/times.md has {gone:?}, which the sources have no more");
}

#[test]
fn the_slave_s_own_times_are_those_of_mesos() {
    use crate::container::kill_policy::KILL_GRACE;
    use crate::slave::constants::*;
    let mesos = [
        (REGISTER_RETRY_MAX, 60),
        (MASTER_PING_TIMEOUT, 5 * 15),
        (UPDATE_RETRY_MIN, 10),
        (UPDATE_RETRY_MAX, 10 * 60),
        (KILL_GRACE, 3),
    ];
    assert!(mesos.iter().all(|(own, theirs)| own.as_secs() == *theirs));
}
