//! What is wrong with a message that came from outside.

use std::error::Error;
use std::fmt;

/// Why a message was refused. The text names the message and the field, for whoever wrote the sender.
#[derive(Debug)]
pub enum DecodeError {
    /// No message of this name is known.
    UnknownMessage {
        /// The full name that was asked for.
        message: String,
    },
    /// The body is larger than [`super::MAX_BODY`].
    TooLarge {
        /// The message's full name.
        message: String,
        /// Its size in bytes.
        size: usize,
    },
    /// A field is missing or wrong.
    Field {
        /// The message's full name.
        message: String,
        /// The way to the field from there, as in `tasks[2].slave_id`; empty for the message itself.
        path: String,
        /// What it is.
        problem: Problem,
    },
    /// Fields that are required are not set in JSON (or set to an enum value that is not known).
    Missing {
        /// The message's full name.
        message: String,
        /// The way to each, as above.
        paths: Vec<String>,
    },
    /// The struct's own decoder refused what the checks before it let pass: a value of another type.
    Protobuf {
        /// The message's full name.
        message: String,
        /// Names the field.
        source: prost::DecodeError,
    },
    /// Not JSON at all.
    Json {
        /// The message's full name.
        message: String,
        /// Says where.
        source: serde_json::Error,
    },
}

/// What is wrong with a field.
#[derive(Clone, Debug, PartialEq)]
pub enum Problem {
    /// It is required but not set (or set to an enum value that is not known).
    Required,
    /// The bytes of this message are cut short or no protobuf.
    Malformed,
    /// Messages within messages, more than [`super::MAX_DEPTH`] of them.
    TooDeep,
    /// More than [`super::MAX_NESTED`] messages within the message.
    TooMany,
    /// JSON that does not fit the field's type; in Mesos' words, which name the field.
    Unfit(String),
}

/// A problem on its way up to where the message's name is known.
#[derive(Debug)]
pub(super) struct Fault {
    path: String,
    problem: Problem,
}

impl Fault {
    pub fn new(problem: Problem) -> Fault {
        Fault { path: String::new(), problem }
    }

    /// Of a field of the message at hand.
    pub fn at(field: &str, problem: Problem) -> Fault {
        Fault::new(problem).within(field, None)
    }

    /// The same, seen from the message that has the faulty one in `field`.
    pub fn within(self, field: &str, index: Option<usize>) -> Fault {
        let index = index.map_or(String::new(), |index| format!("[{index}]"));
        let dot = if self.path.is_empty() { "" } else { "." };
        Fault { path: format!("{field}{index}{dot}{}", self.path), problem: self.problem }
    }

    pub fn of(self, message: &str) -> DecodeError {
        DecodeError::Field { message: message.to_owned(), path: self.path, problem: self.problem }
    }
}

/// Most of a body that is shown to whoever sent it, in bytes.
const SHOWN: usize = 1024;

impl DecodeError {
    /// What Mesos says of a body that is no JSON (picojson's words, and `JSON::parse` of stout); nothing of one that is.
    pub fn json_fault(&self, body: &[u8]) -> Option<String> {
        let DecodeError::Json { source, .. } = self else { return None };
        let mut lines = body.split(|byte| *byte == b'\n').skip(source.line().saturating_sub(1));
        let line = lines.next().unwrap_or_default();
        let from = if source.is_eof() { line.len() } else { source.column().saturating_sub(1).min(line.len()) };
        let rest = &line[from..line.len().min(from + SHOWN)];
        let shown: String = String::from_utf8_lossy(rest).chars().filter(|c| !c.is_control()).collect();
        Some(match source.to_string().starts_with("trailing characters") {
            true => format!("Parsed JSON included non-whitespace trailing characters: {}", shown.trim_end()),
            false => format!("syntax error at line {} near: {shown}", source.line()),
        })
    }

    /// What Mesos says of JSON that is not the message it should be (`protobuf::parse` of stout).
    pub fn in_short(&self) -> String {
        match self {
            DecodeError::Field { problem: Problem::Unfit(text), .. } => text.clone(),
            DecodeError::Missing { paths, .. } => format!("Missing required fields: {}", paths.join(", ")),
            other => other.to_string(),
        }
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DecodeError::UnknownMessage { message } => write!(f, "there is no message {message}"),
            DecodeError::TooLarge { message, size } => {
                write!(f, "{message} is {size} bytes long; {} are allowed", super::MAX_BODY)
            }
            DecodeError::Field { message, problem: Problem::Unfit(text), .. } => write!(f, "{message}: {text}"),
            DecodeError::Missing { message, paths } => {
                let (are, s) = if paths.len() == 1 { ("is", "") } else { ("are", "s") };
                write!(f, "{message}: field{s} {} {are} required", paths.join(", "))
            }
            DecodeError::Field { message, path, problem } if path.is_empty() => write!(f, "{message} {problem}"),
            DecodeError::Field { message, path, problem } => write!(f, "{message}: field {path} {problem}"),
            DecodeError::Protobuf { message, source } => {
                write!(f, "{message} cannot be decoded: {source}")
            }
            DecodeError::Json { message, source } => {
                write!(f, "{message} is not valid JSON: {source}")
            }
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Problem::Required => write!(f, "is required"),
            Problem::Malformed => write!(f, "is cut short or not protobuf"),
            Problem::TooDeep => write!(f, "is nested deeper than {} messages", super::MAX_DEPTH),
            Problem::TooMany => write!(f, "has more than {} messages in it", super::MAX_NESTED),
            Problem::Unfit(text) => f.write_str(text),
        }
    }
}

impl Error for DecodeError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            DecodeError::Protobuf { source, .. } => Some(source),
            DecodeError::Json { source, .. } => Some(source),
            DecodeError::UnknownMessage { .. }
            | DecodeError::TooLarge { .. }
            | DecodeError::Field { .. }
            | DecodeError::Missing { .. } => None,
        }
    }
}
