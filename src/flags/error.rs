//! What can be wrong with flags, told so that whoever typed them knows where to look and what would do.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The command line, with the flag as it was typed (`--port`, `-m`, `--no-switch_user`).
    CommandLine(String),
    /// An environment variable, by name.
    Environment(String),
    /// A line of the configuration file.
    File {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
    },
    /// The table itself.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::CommandLine(flag) => write!(f, "{flag} on the command line"),
            Origin::Environment(variable) => write!(f, "environment variable {variable}"),
            Origin::File { path, line } => write!(f, "{}:{line}", path.display()),
            Origin::Default => write!(f, "the default"),
        }
    }
}

/// Why the flags cannot be used.
#[derive(Debug)]
pub enum FlagError {
    /// No such flag.
    Unknown {
        /// As typed, without dashes.
        key: String,
        /// Where.
        origin: Origin,
        /// What may have been meant, and how to write it there.
        hint: Option<String>,
        /// The command whose help lists them.
        help: &'static str,
    },
    /// The flag exists but not there.
    Misplaced {
        /// The flag.
        key: String,
        /// Where it was found.
        origin: Origin,
        /// Where it belongs.
        belongs: String,
    },
    /// A flag without its value.
    NoValue {
        /// The flag.
        key: String,
        /// Where.
        origin: Origin,
        /// What is allowed.
        allowed: &'static str,
    },
    /// A flag with a value that takes none.
    TakesNoValue(Origin),
    /// A value that will not do.
    BadValue {
        /// The flag.
        key: &'static str,
        /// The value, as given.
        value: String,
        /// Where.
        origin: Origin,
        /// What is wrong with it.
        why: String,
        /// What is allowed.
        allowed: &'static str,
    },
    /// Two statements that exclude each other.
    Contradiction {
        /// The one.
        first: String,
        /// The other.
        second: String,
        /// What to do.
        advice: String,
    },
    /// A flag that must be given is not.
    Missing {
        /// The flag.
        key: &'static str,
        /// What is allowed.
        allowed: &'static str,
        /// The command whose help lists them.
        help: &'static str,
    },
    /// An argument that is no flag.
    Leftover {
        /// The argument.
        argument: String,
        /// What may have been meant.
        hint: &'static str,
    },
    /// An argument that is not UTF-8; Mesos' messages could not carry it.
    NotUtf8(String),
    /// The configuration file cannot be read.
    File {
        /// The file.
        path: PathBuf,
        /// Who named it.
        origin: Origin,
        /// Why not.
        source: io::Error,
    },
    /// A line of the file is no `key=value`.
    Line {
        /// The line's place.
        origin: Origin,
        /// The line.
        text: String,
    },
}

impl fmt::Display for FlagError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FlagError::Unknown { key, origin, hint, help } => {
                write!(f, "unknown flag '{key}' ({origin})")?;
                match hint {
                    Some(hint) => write!(f, "; did you mean {hint}?"),
                    None => write!(f, "; '{help} --help' lists the flags there are"),
                }
            }
            FlagError::Misplaced { key, origin, belongs } => {
                write!(f, "flag '{key}' cannot be given here ({origin}): {belongs}")
            }
            FlagError::NoValue { key, origin, allowed } => {
                write!(f, "flag '{key}' has no value ({origin}); allowed: {allowed}")
            }
            FlagError::TakesNoValue(origin) => write!(f, "{origin} takes no value"),
            FlagError::BadValue { key, value, origin, why, allowed } => {
                write!(f, "bad value '{value}' for '{key}' ({origin}): {why}; allowed: {allowed}")
            }
            FlagError::Contradiction { first, second, advice } => {
                write!(f, "{first} contradicts {second}: {advice}")
            }
            FlagError::Missing { key, allowed, help } => {
                write!(f, "--{key} is missing; allowed: {allowed}; '{help} --help' explains all flags")
            }
            FlagError::Leftover { argument, hint } => {
                write!(f, "'{argument}' is no command and no flag (command line); {hint}")
            }
            FlagError::NotUtf8(argument) => {
                write!(f, "argument '{argument}' (command line) is not UTF-8, and Mesos' messages carry nothing else")
            }
            FlagError::File { path, origin, source } => {
                write!(f, "cannot read the configuration file {} ({origin}): {source}", path.display())
            }
            FlagError::Line { origin, text } => {
                write!(f, "'{text}' ({origin}) is no key=value; a comment is a line that begins with '#'")
            }
        }
    }
}

impl std::error::Error for FlagError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            FlagError::File { source, .. } => Some(source),
            FlagError::Unknown { .. }
            | FlagError::Misplaced { .. }
            | FlagError::NoValue { .. }
            | FlagError::TakesNoValue(_)
            | FlagError::BadValue { .. }
            | FlagError::Contradiction { .. }
            | FlagError::Missing { .. }
            | FlagError::Leftover { .. }
            | FlagError::NotUtf8(_)
            | FlagError::Line { .. } => None,
        }
    }
}
