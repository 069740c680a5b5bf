//! Reading `--resources`: Mesos' text, or its JSON.

use crate::messages::mesos::Resource;
use crate::messages::mesos::value::Type;
use crate::messages::{from_v1_json, mesos};

use super::{ResourceError, metadata, validate, values};

/// Longest text, in bytes.
const MAX_TEXT: usize = 256 * 1024;

/// Reads resources as a flag has them: `cpus:2;mem:1024;ports:[31000-32000];cpus(role):1`, or a JSON array of `Resource`
/// objects with their field names. They are not added up, so that `cpus:0` can be told from none named.
///
/// # Errors
/// The part that cannot be read, or the rule that one breaks.
pub fn parse(text: &str) -> Result<Vec<Resource>, ResourceError> {
    if text.len() > MAX_TEXT {
        return Err(problem(&text[..0], "the text is longer than 256KB"));
    }
    let mut list = if text.trim_start().starts_with('[') { parse_json(text)? } else { parse_simple(text)? };
    for resource in &mut list {
        validate::validate(resource)?;
        metadata::upgrade(resource);
    }
    validate::check_flag(&list)?;
    Ok(list)
}

fn problem(part: &str, why: impl Into<String>) -> ResourceError {
    ResourceError::Text { part: part.trim().chars().take(80).collect(), why: why.into() }
}

fn parse_json(text: &str) -> Result<Vec<Resource>, ResourceError> {
    let json = |error: &dyn std::fmt::Display| ResourceError::Json(error.to_string());
    let list: Vec<serde_json::Value> = serde_json::from_str(text).map_err(|error| json(&error))?;
    let read = |value: &serde_json::Value| {
        from_v1_json::<mesos::Resource>("mesos.Resource", value.to_string().as_bytes()).map_err(|error| json(&error))
    };
    list.iter().map(read).collect()
}

fn parse_simple(text: &str) -> Result<Vec<Resource>, ResourceError> {
    text.split(';').filter(|part| !part.trim().is_empty()).map(parse_part).collect()
}

fn parse_part(part: &str) -> Result<Resource, ResourceError> {
    let Some((left, value)) = part.split_once(':') else {
        return Err(problem(part, "a resource is written name:value or name(role):value"));
    };
    let (name, role) = match left.split_once('(') {
        None => (left.trim(), "*"),
        Some((name, role)) => match role.trim_end().strip_suffix(')') {
            Some(role) => (name.trim(), role.trim()),
            None => return Err(problem(part, "')' is missing behind the role")),
        },
    };
    let plain = |c: char| !c.is_control() && !c.is_whitespace() && !"()[]{}:;".contains(c);
    if name.is_empty() || !name.chars().all(plain) {
        return Err(problem(part, "it has no name, or an odd one"));
    }
    let value = values::parse(value).map_err(|why| problem(part, why))?;
    if value.r#type() == Type::Text {
        return Err(problem(part, "the value is neither a number (0 or more) nor [ranges] nor a {set}"));
    }
    Ok(Resource {
        name: name.to_string(),
        r#type: value.r#type,
        scalar: value.scalar,
        ranges: value.ranges,
        set: value.set,
        role: Some(role.to_string()),
        ..Resource::default()
    })
}
