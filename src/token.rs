//! The tokens by which v1 executors show who they are: JSON Web Tokens (RFC 7519) that the slave issues and later reads itself.
//!
//! ```text
//! base64url({"alg":"HS256","typ":"JWT"}) . base64url({"cid":"...","eid":"...","fid":"..."}) . base64url(HMAC-SHA256 of both)
//! ```
//!
//! The key is a file's bytes, all of them. It never leaves this module: not in `Debug`, not in an error. Rules and texts are those of Mesos'
//! `JWT::parse` and `JWTAuthenticator` (`3rdparty/libprocess/src/jwt.cpp`, `jwt_authenticator.cpp`).

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Map, Value};
use sha2::Sha256;

use crate::messages::base64;
use crate::secret_file::{self, MAX_FILE, SecretFileError};

/// Longest token that is read, in bytes: three ids of at most 255 have a tenth of that.
const MAX_TOKEN: usize = 16 * 1024;
/// The realm of the executor API (`EXECUTOR_HTTP_AUTHENTICATION_REALM` in Mesos' `src/slave/constants.hpp`).
const REALM: &str = "mesos-agent-executor";
/// The header of every token of ours.
const HEADER: &str = r#"{"alg":"HS256","typ":"JWT"}"#;

/// What tokens are signed with.
#[derive(Clone, PartialEq, Eq)]
pub struct Key(Vec<u8>);

/// What a token says of its bearer.
pub type Claims = BTreeMap<String, String>;

/// Why a file gives no key.
#[derive(Debug)]
pub enum KeyError {
    /// It cannot be read.
    Read(PathBuf, io::Error),
    /// It is a directory, a pipe, or a device.
    NoFile(PathBuf),
    /// It is empty, or too large to be a key.
    Size(PathBuf),
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeyError::Read(path, source) => {
                write!(f, "cannot read the key {}: {source}; see --jwt_secret_key", path.display())
            }
            KeyError::NoFile(path) => {
                write!(f, "{} is no ordinary file; name the key's file with --jwt_secret_key", path.display())
            }
            KeyError::Size(path) => {
                write!(
                    f,
                    "the key {} is empty or larger than {} KiB; write random bytes into it",
                    path.display(),
                    MAX_FILE / 1024
                )
            }
        }
    }
}

impl std::error::Error for KeyError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            KeyError::Read(_, source) => Some(source),
            KeyError::NoFile(_) | KeyError::Size(_) => None,
        }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(hidden)")
    }
}

impl Key {
    /// Reads a key's file, and warns when others could read it, too.
    ///
    /// # Errors
    /// Why it gives no key.
    pub fn load(path: &Path) -> Result<Key, KeyError> {
        let place = path.to_path_buf();
        let bytes = match secret_file::read(path, "key") {
            Ok(bytes) => bytes,
            Err(SecretFileError::Read(source)) => return Err(KeyError::Read(place, source)),
            Err(SecretFileError::NoFile) => return Err(KeyError::NoFile(place)),
            Err(SecretFileError::TooLarge) => return Err(KeyError::Size(place)),
        };
        if bytes.is_empty() {
            return Err(KeyError::Size(place));
        }
        Ok(Key(bytes))
    }

    /// One without a file: for tests.
    #[cfg(test)]
    pub fn new(bytes: &[u8]) -> Key {
        Key(bytes.to_vec())
    }

    /// The token of an executor in its container.
    pub fn issue(&self, framework: &str, executor: &str, container: &str) -> String {
        let claims = [("fid", framework), ("eid", executor), ("cid", container)];
        let claims: Map<String, Value> =
            claims.into_iter().map(|(name, value)| (name.to_string(), Value::from(value))).collect();
        let signed = format!("{}.{}", encode(HEADER.as_bytes()), encode(Value::Object(claims).to_string().as_bytes()));
        let signature = self.sign(&signed).map(|mac| encode(&mac.finalize().into_bytes())).unwrap_or_default();
        format!("{signed}.{signature}")
    }

    /// An HMAC takes a key of any length: there is always one.
    fn sign(&self, signed: &str) -> Option<Hmac<Sha256>> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).ok()?;
        mac.update(signed.as_bytes());
        Some(mac)
    }

    /// Who sends a request, by its `Authorization`; `now` in seconds since 1970.
    ///
    /// # Errors
    /// The value of `WWW-Authenticate` in the refusal.
    pub fn authenticate(&self, authorization: Option<&str>, now: f64) -> Result<Claims, String> {
        let challenge = format!("Bearer realm=\"{REALM}\"");
        // Who shows nothing is told of no error (RFC 6750, section 3.1).
        let Some(authorization) = authorization else { return Err(challenge) };
        let refused = |why: String| format!("{challenge}, error=\"invalid_token\", error_description=\"{why}\"");
        let [scheme, token] = authorization.split(' ').collect::<Vec<_>>()[..] else {
            return Err(refused("Malformed 'Authorization' header".into()));
        };
        if scheme != "Bearer" {
            let scheme: String = scheme.chars().filter(char::is_ascii_alphanumeric).take(32).collect();
            return Err(refused(format!("Scheme '{scheme}' unsupported")));
        }
        let claims = self.read(token, now).map_err(|why| refused(format!("Invalid JWT: {why}")))?;
        if claims.is_empty() {
            return Err(refused("JWT claims missing".into()));
        }
        Ok(claims)
    }

    /// What a token says, if it is one of ours. Nothing of a token goes into the texts.
    fn read(&self, token: &str, now: f64) -> Result<Claims, String> {
        let parts: Vec<&str> = token.split('.').collect();
        let [header, payload, signature] = parts[..] else {
            return Err(format!("Expected 3 components in token, got {}", parts.len()));
        };
        if token.len() > MAX_TOKEN {
            return Err("Token is too long".into());
        }
        check_header(&object(header).map_err(|why| format!("Failed to decode token header: {why}"))?)?;
        let payload_json = object(payload).map_err(|why| format!("Failed to decode token payload: {why}"))?;
        check_expiry(&payload_json, now)?;
        let signature = decode(signature)
            .ok_or("Failed to base64url-decode token signature: Invalid character in base64 string")?;
        let mac = self.sign(&format!("{header}.{payload}")).ok_or("Failed to generate HMAC signature")?;
        // In constant time.
        mac.verify_slice(&signature).map_err(|_| "Token signature does not match")?;
        let text = |value: Value| match value {
            Value::String(text) => text,
            other => other.to_string(),
        };
        Ok(payload_json.into_iter().map(|(name, value)| (name, text(value))).collect())
    }
}

fn check_header(header: &Map<String, Value>) -> Result<(), String> {
    if header.get("typ").is_some_and(|typ| !typ.is_string()) {
        return Err("Token 'typ' is not a string".into());
    }
    let algorithm = header.get("alg").ok_or("Failed to locate 'alg' in token JSON header")?;
    match algorithm.as_str().ok_or("Token 'alg' field is not a string")? {
        "HS256" if header.contains_key("crit") => Err("Token 'crit' field is unsupported".into()),
        "HS256" => Ok(()),
        name @ ("none" | "RS256") => {
            Err(format!("Token 'alg' value \\\"{name}\\\" does not match, expected \\\"HS256\\\""))
        }
        _ => Err("Unsupported token algorithm".into()),
    }
}

fn check_expiry(payload: &Map<String, Value>, now: f64) -> Result<(), String> {
    match payload.get("exp") {
        None => Ok(()),
        Some(expiry) => match expiry.as_f64() {
            None => Err("JSON payload 'exp' field is not a number".into()),
            Some(expiry) if expiry.trunc() < now.trunc() => Err("Token has expired".into()),
            Some(_) => Ok(()),
        },
    }
}

fn object(part: &str) -> Result<Map<String, Value>, &'static str> {
    let bytes = decode(part).ok_or("Failed to base64url-decode: Invalid character in base64 string")?;
    match serde_json::from_slice(&bytes) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) | Err(_) => Err("Failed to parse into JSON"),
    }
}

/// RFC 4648, section 5, without padding.
fn encode(bytes: &[u8]) -> String {
    base64::encode(bytes).trim_end_matches('=').replace('+', "-").replace('/', "_")
}

fn decode(text: &str) -> Option<Vec<u8>> {
    let strange = text.contains(['+', '/', '=']);
    (!strange).then(|| base64::decode(&text.replace('-', "+").replace('_', "/"))).flatten()
}

/// Why a token is not that of the executor that a call names (`verifyExecutorClaims` in Mesos' `src/slave/http.cpp`).
pub fn contradiction(claims: &Claims, framework: &str, executor: &str, container: &str) -> Option<String> {
    let is = |name: &str, value: &str| claims.get(name).is_some_and(|claim| claim == value);
    let principal = || serde_json::json!({ "claims": claims });
    if !is("fid", framework) {
        return Some(format!(
            "Authenticated principal '{}' does not contain an 'fid' claim with the framework ID {framework}, which is set in the call",
            principal()
        ));
    }
    if !is("eid", executor) {
        return Some(format!(
            "Authenticated principal '{}' does not contain an 'eid' claim with the executor ID {executor}, which is set in the call",
            principal()
        ));
    }
    (!is("cid", container)).then(|| {
        format!(
            "Authenticated principal '{}' does not contain a 'cid' claim with the correct active ContainerID",
            principal()
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::scratch::Scratch;
    use std::fs;

    /// By Python's hmac and base64, of key `secret`.
    const TOKEN: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJjaWQiOiJDLTEiLCJlaWQiOiJFIMOpIiwiZmlkIjoiRi0wMDAwIn0.HHvMeZXvvKsY4nxOgyRqTE5yfo6uQV4YH3PXB45zha0";

    fn key() -> Key {
        Key::new(b"secret")
    }

    fn refused(authorization: Option<&str>) -> String {
        key().authenticate(authorization, 100.0).expect_err("refused")
    }

    fn signed(header: &str, payload: &str) -> String {
        let signed = format!("{}.{}", encode(header.as_bytes()), encode(payload.as_bytes()));
        let signature = key().sign(&signed).expect("an HMAC").finalize().into_bytes();
        format!("Bearer {signed}.{}", encode(&signature))
    }

    #[test]
    fn a_token_is_what_others_would_issue_and_read() {
        assert_eq!(key().issue("F-0000", "E é", "C-1"), TOKEN);
        let claims = key().authenticate(Some(&format!("Bearer {TOKEN}")), 0.0).expect("claims");
        let expected = [("cid", "C-1"), ("eid", "E é"), ("fid", "F-0000")];
        assert_eq!(claims, expected.map(|(name, value)| (name.to_string(), value.to_string())).into());
    }

    #[test]
    fn each_refusal_is_the_challenge_with_what_is_wrong() {
        assert_eq!(refused(None), r#"Bearer realm="mesos-agent-executor""#);
        let says = |authorization: &str, why: &str| {
            let expected =
                format!(r#"Bearer realm="mesos-agent-executor", error="invalid_token", error_description="{why}""#);
            assert_eq!(refused(Some(authorization)), expected, "{authorization}");
        };
        says("Bearer", "Malformed 'Authorization' header");
        says("Basic eDp5", "Scheme 'Basic' unsupported");
        says("Bearer a.b", "Invalid JWT: Expected 3 components in token, got 2");
        says(&format!("Bearer {TOKEN}x"), "Invalid JWT: Token signature does not match");
        says(&signed(r#"{"alg":"HS256"}"#, "{}"), "JWT claims missing");
        says(&signed(r#"{"alg":"HS256"}"#, r#"{"fid":"f","exp":99}"#), "Invalid JWT: Token has expired");
        says(&signed(r#"{"alg":"HS256","crit":[]}"#, "{}"), "Invalid JWT: Token 'crit' field is unsupported");
        assert!(key().authenticate(Some(&signed(r#"{"alg":"HS256"}"#, r#"{"fid":"f","exp":100}"#)), 100.9).is_ok());
    }

    #[test]
    fn no_token_without_our_signature_is_believed() {
        let unsigned = format!("Bearer {}.{}.", encode(br#"{"alg":"none"}"#), encode(br#"{"fid":"f"}"#));
        assert!(refused(Some(&unsigned)).contains("does not match, expected"));
        let other = Key::new(b"other").issue("f", "e", "c");
        assert!(refused(Some(&format!("Bearer {other}"))).contains("signature does not match"));
        let mut parts: Vec<&str> = TOKEN.split('.').collect();
        let forged = encode(br#"{"cid":"C-1","eid":"E","fid":"F-0001"}"#);
        parts[1] = &forged;
        assert!(refused(Some(&format!("Bearer {}", parts.join(".")))).contains("signature does not match"));
        for strange in ["..", "a.a.a", "\"><.x.y", &"x".repeat(MAX_TOKEN)] {
            let text = refused(Some(&format!("Bearer {strange}")));
            assert!(text.is_ascii() && text.len() < 250 && !text.contains("><"), "{text}");
        }
    }

    #[test]
    fn a_token_is_good_for_one_executor_in_one_container() {
        let claims = key().authenticate(Some(&format!("Bearer {TOKEN}")), 0.0).expect("claims");
        assert_eq!(contradiction(&claims, "F-0000", "E é", "C-1"), None);
        let why =
            |framework, executor, container| contradiction(&claims, framework, executor, container).expect("a reason");
        assert!(why("F-0001", "E é", "C-1").contains("'fid' claim with the framework ID F-0001"));
        assert!(why("F-0000", "other", "C-1").contains("'eid' claim with the executor ID other"));
        assert!(why("F-0000", "E é", "C-2").contains("'cid' claim with the correct active ContainerID"));
    }

    #[test]
    fn a_keys_file_is_taken_whole_and_shown_to_nobody() {
        let scratch = Scratch::new();
        let path = scratch.path().join("key");
        fs::write(&path, "secret\n").expect("a file");
        let key = Key::load(&path).expect("a key");
        assert_eq!(key, Key::new(b"secret\n"), "a line's end counts, as in Mesos");
        assert_eq!(format!("{key:?}"), "Key(hidden)");
        fs::write(&path, "").expect("a file");
        assert!(matches!(Key::load(&path), Err(KeyError::Size(_))));
        assert!(matches!(Key::load(scratch.path()), Err(KeyError::NoFile(_))));
        assert!(matches!(Key::load(&scratch.path().join("none")), Err(KeyError::Read(..))));
    }
}
