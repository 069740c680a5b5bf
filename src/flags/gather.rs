//! Who says what: values as texts from the command line, the environment and the conf file, with their places; one winner for
//! each flag.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use getopts::{Fail, HasArg, Matches, Occur, Options};

use super::error::{FlagError, Origin};
use super::table::{self, Row, Sources};
use super::{CommandKind, suggest};

/// Largest conf file that is read, in bytes; an annotated one has some 5 KiB.
const MAX_CONF_BYTES: u64 = 1 << 20;

/// What a directory given as `--conf` is searched for, as in 2012.
const CONF_NAME: &str = "mesos.conf";

/// A flag's value as text, and who said so.
#[derive(Clone)]
pub(super) struct Given {
    pub row: &'static Row,
    pub value: String,
    pub origin: Origin,
}

/// What the arguments ask for.
pub(super) enum Gathered {
    Help,
    Version,
    /// For each flag that has a value or a default: the values of the place that wins.
    Values(Vec<Given>),
}

/// Gathers the values of all places.
///
/// # Errors
/// Unknown flags, missing values, contradictions within a place, an unreadable conf file.
pub(super) fn gather(
    command: CommandKind,
    args: &[String],
    environment: impl Iterator<Item = (String, String)>,
) -> Result<Gathered, FlagError> {
    let matches = options(command).parse(args).map_err(|fail| explain(command, &fail))?;
    if matches.opt_present("help") {
        return Ok(Gathered::Help);
    }
    if matches.opt_present("version") {
        return Ok(Gathered::Version);
    }
    if let Some(argument) = matches.free.first() {
        return Err(leftover(command, argument));
    }
    let typed = from_command_line(command, &matches);
    let environment = from_environment(command, environment);
    let conf = [&typed, &environment].into_iter().flatten().find(|given| given.row.name == "conf");
    let file = match conf {
        Some(given) => from_file(command, Path::new(&given.value), &given.origin)?,
        None => Vec::new(),
    };
    let places = [typed, environment, file];
    for place in &places {
        no_contradiction(place)?;
    }
    Ok(Gathered::Values(table::of(command).flat_map(|row| winner(row, &places)).collect()))
}

fn options(command: CommandKind) -> Options {
    let mut options = Options::new();
    options.opt("h", "help", "", "", HasArg::No, Occur::Multi);
    options.opt("", "version", "", "", HasArg::No, Occur::Multi);
    for row in table::of(command) {
        let has = if row.is_switch() { HasArg::Maybe } else { HasArg::Yes };
        options.opt(row.short, row.name, "", row.hint, has, Occur::Multi);
        if row.is_switch() {
            options.opt("", &negation(row), "", "", HasArg::No, Occur::Multi);
        }
    }
    options
}

fn negation(row: &Row) -> String {
    format!("no-{}", row.name)
}

fn explain(command: CommandKind, fail: &Fail) -> FlagError {
    let typed =
        |name: &str| Origin::CommandLine(if name.len() == 1 { format!("-{name}") } else { format!("--{name}") });
    match fail {
        Fail::ArgumentMissing(name) => FlagError::NoValue {
            key: name.clone(),
            origin: typed(name),
            allowed: table::of(command)
                .find(|row| row.name == name || row.short == name)
                .map_or("a value", |row| row.allowed),
        },
        Fail::UnexpectedArgument(name) => FlagError::TakesNoValue(typed(name)),
        Fail::UnrecognizedOption(name) | Fail::OptionMissing(name) | Fail::OptionDuplicated(name) => {
            unknown_on_command_line(command, name, typed(name))
        }
    }
}

fn unknown_on_command_line(command: CommandKind, name: &str, origin: Origin) -> FlagError {
    if let Some(other) = table::elsewhere(command, name) {
        let belongs = format!("it is one of '{}', not of '{}'", other.text(), command.text());
        return FlagError::Misplaced { key: name.to_string(), origin, belongs };
    }
    let (prefix, rest) = match name.strip_prefix("no-") {
        Some(rest) => ("no-", rest),
        None => ("", name),
    };
    let rows = table::of(command).filter(|row| prefix.is_empty() || row.is_switch());
    let hint = suggest::nearest(rest, rows.map(|row| row.name)).map(|near| format!("--{prefix}{near}"));
    FlagError::Unknown { key: name.to_string(), origin, hint, help: command.text() }
}

fn leftover(command: CommandKind, argument: &str) -> FlagError {
    let hint = match command {
        CommandKind::Execute => "the command to run is given as --command='...'",
        CommandKind::Slave => "a flag's value is given as --name=value; 'mesos-slave help' lists the commands",
        CommandKind::LocalMaster => "a flag's value is given as --name=value",
    };
    FlagError::Leftover { argument: argument.to_string(), hint }
}

fn from_command_line(command: CommandKind, matches: &Matches) -> Vec<Given> {
    let mut all = Vec::new();
    for row in table::of(command) {
        let mut add = |value: String, flag: String| all.push(Given { row, value, origin: Origin::CommandLine(flag) });
        let flag = format!("--{}", row.name);
        let valued = matches.opt_strs_pos(row.name);
        for position in matches.opt_positions(row.name) {
            match valued.iter().find(|(at, _)| *at == position) {
                Some((_, value)) => add(value.clone(), flag.clone()),
                None => add("true".to_string(), flag.clone()),
            }
        }
        if row.is_switch() && matches.opt_present(&negation(row)) {
            add("false".to_string(), format!("--{}", negation(row)));
        }
    }
    all
}

/// Variables that name no flag are left alone: others use the prefix too (`MESOS_NATIVE_JAVA_LIBRARY`).
fn from_environment(command: CommandKind, environment: impl Iterator<Item = (String, String)>) -> Vec<Given> {
    let mut all = Vec::new();
    for (variable, value) in environment {
        let Some(name) = variable.strip_prefix("MESOS_").map(str::to_lowercase) else {
            continue;
        };
        let row = table::find(command, &name).filter(|row| row.sources != Sources::CommandLine);
        if let Some(row) = row {
            all.push(Given { row, value, origin: Origin::Environment(variable) });
        }
    }
    all
}

fn from_file(command: CommandKind, path: &Path, origin: &Origin) -> Result<Vec<Given>, FlagError> {
    let (path, text) = read(path).map_err(|(path, source)| FlagError::File { path, origin: origin.clone(), source })?;
    let mut all = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let origin = Origin::File { path: path.clone(), line: number + 1 };
        let Some((key, value)) = line.split_once('=') else {
            return Err(FlagError::Line { origin, text: line.chars().take(100).collect() });
        };
        if let Some(row) = row_in_file(command, key.trim(), &origin)? {
            all.push(Given { row, value: value.trim().to_string(), origin });
        }
    }
    Ok(all)
}

fn read(path: &Path) -> Result<(PathBuf, String), (PathBuf, io::Error)> {
    let path = if path.is_dir() { path.join(CONF_NAME) } else { path.to_path_buf() };
    let fail = |error| (path.clone(), error);
    let facts = fs::metadata(&path).map_err(fail)?;
    if !facts.is_file() {
        return Err(fail(io::Error::other("it is no regular file")));
    }
    if facts.len() > MAX_CONF_BYTES {
        return Err(fail(io::Error::other("it is larger than 1MB")));
    }
    let text = fs::read_to_string(&path).map_err(fail)?;
    Ok((path, text))
}

/// The row that a key of the file sets; `None` for another command's: one file serves them all.
fn row_in_file(command: CommandKind, key: &str, origin: &Origin) -> Result<Option<&'static Row>, FlagError> {
    let named = || table::all().filter(|row| row.name == key);
    if named().any(|row| row.sources == Sources::Everywhere) {
        return Ok(named().find(|row| row.sources == Sources::Everywhere && row.commands.contains(&command)));
    }
    let (key, origin) = (key.to_string(), origin.clone());
    if named().next().is_some() {
        let belongs = "it is never taken from a file".to_string();
        return Err(FlagError::Misplaced { key, origin, belongs });
    }
    let switch = key.strip_prefix("no-").and_then(|name| table::all().find(|row| row.is_switch() && row.name == name));
    let names = table::all().filter(|row| row.sources == Sources::Everywhere).map(|row| row.name);
    let hint = match switch {
        Some(row) => Some(format!("{}=false", row.name)),
        None => suggest::nearest(&key, names).map(|near| format!("'{near}'")),
    };
    Err(FlagError::Unknown { key, origin, hint, help: command.text() })
}

/// Within one place nobody says two things of one flag.
fn no_contradiction(place: &[Given]) -> Result<(), FlagError> {
    for (at, second) in place.iter().enumerate() {
        let first = place[..at].iter().find(|first| first.row.name == second.row.name && first.value != second.value);
        let Some(first) = first.filter(|first| !first.row.repeatable) else {
            continue;
        };
        let say = |given: &Given| format!("{}={} ({})", given.row.name, given.value, given.origin);
        return Err(FlagError::Contradiction {
            first: say(first),
            second: say(second),
            advice: "give one of them".to_string(),
        });
    }
    Ok(())
}

fn winner(row: &'static Row, places: &[Vec<Given>]) -> Vec<Given> {
    let said =
        |place: &Vec<Given>| place.iter().filter(|given| given.row.name == row.name).cloned().collect::<Vec<_>>();
    if let Some(mut won) = places.iter().map(said).find(|given| !given.is_empty()) {
        if !row.repeatable {
            won.truncate(1);
        }
        return won;
    }
    let default = |value: &str| Given { row, value: value.to_string(), origin: Origin::Default };
    row.default.map(default).into_iter().collect()
}
