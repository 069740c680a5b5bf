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
    /// The struct's own decoder refused what the checks before it let pass: text that is not UTF-8, or
    /// a value of another type.
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
    /// JSON that does not fit the field's type.
    Mismatch {
        /// As in "an integer".
        expected: String,
        /// The value, shortened.
        found: String,
    },
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

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DecodeError::UnknownMessage { message } => write!(f, "there is no message {message}"),
            DecodeError::TooLarge { message, size } => {
                write!(f, "{message} is {size} bytes long; {} are allowed", super::MAX_BODY)
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
            Problem::Mismatch { expected, found } => write!(f, "must be {expected}, not {found}"),
        }
    }
}

impl Error for DecodeError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            DecodeError::Protobuf { source, .. } => Some(source),
            DecodeError::Json { source, .. } => Some(source),
            DecodeError::UnknownMessage { .. } | DecodeError::TooLarge { .. } | DecodeError::Field { .. } => None,
        }
    }
}
