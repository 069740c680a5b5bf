//! Reading `--attributes`.

use crate::messages::mesos::Attribute;
use crate::messages::mesos::value::Type;

use super::{ResourceError, values};

/// Longest text, in bytes.
const MAX_TEXT: usize = 256 * 1024;

/// Reads attributes: `rack:r1;level:3.5;units:[1-3]`, with types guessed as Mesos does: a number is a scalar, `[..]` are
/// ranges, all else is text.
///
/// # Errors
/// The part that cannot be read. A set is refused: Mesos' own agent has none, and its master ends itself when it has to
/// compare one (`Attributes::contains`).
pub fn parse_attributes(text: &str) -> Result<Vec<Attribute>, ResourceError> {
    if text.len() > MAX_TEXT {
        return Err(ResourceError::Text { part: String::new(), why: "the text is longer than 256KB".into() });
    }
    text.split([';', '\n']).filter(|part| !part.trim().is_empty()).map(attribute).collect()
}

fn attribute(part: &str) -> Result<Attribute, ResourceError> {
    let problem = |why: String| ResourceError::Text { part: part.trim().chars().take(80).collect(), why };
    let (name, value) = match part.split_once(':') {
        Some((name, value)) if !name.trim().is_empty() => (name.trim(), value),
        Some(_) | None => return Err(problem("an attribute is written name:value".into())),
    };
    let value = values::parse(value).map_err(problem)?;
    if value.r#type() == Type::Set {
        return Err(problem("Mesos has no sets as attributes; give text, a number or [ranges]".into()));
    }
    Ok(Attribute {
        name: name.to_string(),
        r#type: value.r#type,
        scalar: value.scalar,
        ranges: value.ranges,
        text: value.text,
        ..Attribute::default()
    })
}
