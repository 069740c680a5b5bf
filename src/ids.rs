//! Mesos' ids as types of their own, so that one cannot be passed for another, and the rule which of them may be used
//! at all: an id names directories of the slave, so it must be fit to be a path component.

use std::fmt;

use crate::messages::mesos;

/// Longest id, in bytes: a path component on Linux (`NAME_MAX`; Mesos has the same limit, `common/validation.cpp`).
pub const MAX_ID_LENGTH: usize = 255;

/// Why an id cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IdError {
    /// No byte at all.
    Empty,
    /// Longer than [`MAX_ID_LENGTH`].
    TooLong(usize),
    /// `.` or `..`.
    Dots,
    /// A slash, a backslash or a control character.
    Character(char),
}

impl fmt::Display for IdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            IdError::Empty => write!(f, "an id must not be empty"),
            IdError::TooLong(length) => {
                write!(f, "an id must not be longer than {MAX_ID_LENGTH} bytes, this one has {length}")
            }
            IdError::Dots => write!(f, "an id must not be '.' or '..'"),
            IdError::Character(character) => write!(f, "an id must not contain {character:?}"),
        }
    }
}

impl std::error::Error for IdError {}

/// Checks an id as Mesos' master does (`validateID` in `common/validation.cpp`).
///
/// # Errors
/// The first rule that it breaks.
pub fn validate(id: &str) -> Result<(), IdError> {
    if id.is_empty() {
        return Err(IdError::Empty);
    }
    if id.len() > MAX_ID_LENGTH {
        return Err(IdError::TooLong(id.len()));
    }
    if id == "." || id == ".." {
        return Err(IdError::Dots);
    }
    match id.chars().find(|c| c.is_control() || *c == '/' || *c == '\\') {
        Some(character) => Err(IdError::Character(character)),
        None => Ok(()),
    }
}

macro_rules! id {
    ($name:ident, $proto:ident, $doc:literal) => {
        #[doc = $doc]
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(String);

        impl $name {
            /// Takes a text that passes [`validate`].
            ///
            /// # Errors
            /// The rule that it breaks.
            pub fn new(id: impl Into<String>) -> Result<$name, IdError> {
                let id = id.into();
                validate(&id)?;
                Ok($name(id))
            }

            /// The id's text.
            #[allow(dead_code)] // not every id needs every way out
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// The id as Mesos' message.
            #[allow(dead_code, clippy::needless_update)] // a container's id has a parent beside its value
            pub fn to_proto(&self) -> mesos::$proto {
                mesos::$proto { value: self.0.clone(), ..Default::default() }
            }
        }

        impl TryFrom<&mesos::$proto> for $name {
            type Error = IdError;
            fn try_from(id: &mesos::$proto) -> Result<$name, IdError> {
                $name::new(id.value.clone())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

id!(SlaveId, SlaveId, "The id that the master gave this slave.");
id!(FrameworkId, FrameworkId, "The id that the master gave a framework.");
id!(ExecutorId, ExecutorId, "An executor's id, chosen by its framework; for a command task it is the task's id.");
id!(TaskId, TaskId, "A task's id, chosen by its framework.");
id!(ContainerId, ContainerId, "A container's id: a random UUID of the slave's own.");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_dollars_and_spaces_are_fine_in_an_id() {
        assert!(TaskId::new("a 'b' \"c\" $d;e`f`").is_ok());
    }

    #[test]
    fn what_would_leave_the_directory_is_refused() {
        assert_eq!(TaskId::new("../x"), Err(IdError::Character('/')));
        assert_eq!(TaskId::new(".."), Err(IdError::Dots));
        assert_eq!(TaskId::new(""), Err(IdError::Empty));
        assert_eq!(TaskId::new("a\nb"), Err(IdError::Character('\n')));
        assert_eq!(TaskId::new("x".repeat(256)), Err(IdError::TooLong(256)));
    }
}
