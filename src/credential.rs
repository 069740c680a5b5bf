//! Who we are to a master: a principal and a secret out of a file, and what the secret is used for.
//!
//! ```text
//! {"principal": "agent", "secret": "..."}      JSON, the form of today
//! agent ...                                    text: the two words on one line
//! ```
//!
//! The secret never leaves this module: not in `Debug`, not in an error, only in the digest that CRAM-MD5 makes with it.
//! Facts: `src/credentials/credentials.hpp` in Mesos.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use hmac::{Hmac, KeyInit, Mac};
use md5::Md5;
use serde_json::Value;

use crate::secret_file::{self, MAX_FILE, SecretFileError};

/// Longest principal, in bytes.
const MAX_PRINCIPAL: usize = 256;

/// A principal and its secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Credential {
    principal: String,
    secret: Vec<u8>,
}

/// Why a file gives no credential. None of the texts holds a part of the file.
#[derive(Debug)]
pub enum CredentialError {
    /// It cannot be read.
    Read(PathBuf, io::Error),
    /// It is a directory, a pipe, or a device.
    NoFile(PathBuf),
    /// It is too large to be a credential.
    TooLarge(PathBuf),
    /// It has neither of the two forms.
    Form(PathBuf, &'static str),
    /// It begins as JSON does and is none.
    Json(PathBuf, serde_json::Error),
}

impl fmt::Display for CredentialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let form = "write {\"principal\": \"...\", \"secret\": \"...\"} or a line of the two words into it";
        match self {
            CredentialError::Read(path, source) => {
                write!(f, "cannot read the credential file {}: {source}; see --credential", path.display())
            }
            CredentialError::NoFile(path) => {
                write!(f, "{} is no ordinary file; name the credential's file with --credential", path.display())
            }
            CredentialError::TooLarge(path) => write!(
                f,
                "the credential file {} is larger than {} KiB; name the credential's file with --credential",
                path.display(),
                MAX_FILE / 1024
            ),
            CredentialError::Form(path, why) => write!(f, "the credential file {} {why}; {form}", path.display()),
            CredentialError::Json(path, source) => {
                write!(f, "the credential file {} is no JSON ({source}); {form}", path.display())
            }
        }
    }
}

impl std::error::Error for CredentialError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            CredentialError::Read(_, source) => Some(source),
            CredentialError::Json(_, source) => Some(source),
            CredentialError::NoFile(_) | CredentialError::TooLarge(_) | CredentialError::Form(..) => None,
        }
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credential {{ principal: {:?}, secret: (hidden) }}", self.principal)
    }
}

impl Credential {
    /// Reads a credential's file, and warns when others could read it, too.
    ///
    /// # Errors
    /// Why it gives no credential.
    pub fn load(path: &Path) -> Result<Credential, CredentialError> {
        let place = path.to_path_buf();
        let bytes = secret_file::read(path, "credential file").map_err(|error| match error {
            SecretFileError::Read(source) => CredentialError::Read(place, source),
            SecretFileError::NoFile => CredentialError::NoFile(place),
            SecretFileError::TooLarge => CredentialError::TooLarge(place),
        })?;
        Credential::parse(&bytes, path)
    }

    fn parse(bytes: &[u8], path: &Path) -> Result<Credential, CredentialError> {
        let bad = |why| CredentialError::Form(path.to_path_buf(), why);
        let bytes = bytes.trim_ascii();
        let (principal, secret) = match bytes.first() {
            None => return Err(bad("is empty")),
            Some(b'{' | b'[') => {
                let json = serde_json::from_slice(bytes);
                from_json(&json.map_err(|error| CredentialError::Json(path.to_path_buf(), error))?).map_err(bad)?
            }
            Some(_) => from_text(bytes).map_err(bad)?,
        };
        if principal.is_empty() || principal.len() > MAX_PRINCIPAL || principal.chars().any(char::is_control) {
            return Err(bad("has a principal that is empty, longer than 256 bytes, or has control characters"));
        }
        if secret.is_empty() {
            return Err(bad("has an empty secret"));
        }
        Ok(Credential { principal, secret })
    }

    /// The name, which is no secret.
    pub fn principal(&self) -> &str {
        &self.principal
    }

    /// The answer to a challenge (RFC 2195): the principal, and the challenge's keyed MD5 in hexadecimal.
    pub fn cram_md5(&self, challenge: &[u8]) -> Vec<u8> {
        let mut answer = format!("{} ", self.principal);
        // An HMAC takes a key of any length: there is no error to speak of.
        if let Ok(mut mac) = Hmac::<Md5>::new_from_slice(&self.secret) {
            mac.update(challenge);
            let digest = mac.finalize().into_bytes();
            answer.extend(digest.iter().map(|byte| format!("{byte:02x}")));
        }
        answer.into_bytes()
    }

    /// One without a file: for tests, and for those below fuzz/.
    #[cfg_attr(not(test), allow(dead_code))]
    pub fn new(principal: &str, secret: &str) -> Credential {
        Credential { principal: principal.into(), secret: secret.into() }
    }
}

/// Other keys are left alone, as Mesos leaves them.
fn from_json(json: &Value) -> Result<(String, Vec<u8>), &'static str> {
    if json.is_array() || json.get("credentials").is_some() {
        return Err("has a list of credentials, as masters need it, and a slave has one");
    }
    let text = |name| json.get(name).and_then(Value::as_str);
    let principal = text("principal").ok_or("has no \"principal\" that is a string")?;
    let secret = text("secret").ok_or("has no \"secret\" that is a string")?;
    Ok((principal.to_string(), secret.as_bytes().to_vec()))
}

/// The secret need not be UTF-8; it cannot have blanks.
fn from_text(bytes: &[u8]) -> Result<(String, Vec<u8>), &'static str> {
    if bytes.contains(&b'\n') {
        return Err("has more than one line");
    }
    let mut words = bytes.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    let (Some(principal), Some(secret), None) = (words.next(), words.next(), words.next()) else {
        return Err("is neither JSON nor a line of principal and secret");
    };
    let principal = std::str::from_utf8(principal).map_err(|_| "has a principal that is not UTF-8")?;
    Ok((principal.to_string(), secret.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn parse(bytes: &[u8]) -> Result<Credential, String> {
        Credential::parse(bytes, Path::new("/etc/credential")).map_err(|error| error.to_string())
    }

    #[test]
    fn both_forms_of_a_file_give_the_same_credential() {
        let expected = Credential::new("agent", "s3cr3t");
        for text in [
            "{\"principal\": \"agent\", \"secret\": \"s3cr3t\"}",
            "\n { \"secret\": \"s3cr3t\", \"principal\": \"agent\", \"comment\": 1 }\n",
            "agent s3cr3t",
            "agent\ts3cr3t \r\n",
        ] {
            assert_eq!(parse(text.as_bytes()), Ok(expected.clone()), "{text}");
        }
    }

    #[test]
    fn a_secret_is_bytes_and_a_principal_in_json_may_have_blanks() {
        assert_eq!(parse(b"agent \xff\x80").expect("text").secret, [0xff, 0x80]);
        let json = "{\"principal\": \"my agent\", \"secret\": \"\u{1f511} \\u0000\"}".as_bytes();
        let credential = parse(json).expect("JSON");
        assert_eq!(credential.principal(), "my agent");
        assert_eq!(credential.secret, "\u{1f511} \0".as_bytes());
    }

    #[test]
    fn what_is_no_credential_is_refused_without_a_word_of_its_contents() {
        for (text, why) in [
            ("", "is empty"),
            ("hunter2", "neither JSON"),
            ("agent hunter2 hunter2", "neither JSON"),
            ("agent hunter2\nother hunter2", "more than one line"),
            ("{\"principal\": \"hunter2\"}", "no \"secret\""),
            ("{\"secret\": \"hunter2\"}", "no \"principal\""),
            ("{\"principal\": \"agent\", \"secret\": [\"hunter2\"]}", "no \"secret\""),
            ("{\"principal\": \"agent\", \"secret\": \"\"}", "empty secret"),
            ("{\"principal\": \"\", \"secret\": \"hunter2\"}", "a principal that is empty"),
            ("{\"principal\": \"a\\u0000b\", \"secret\": \"hunter2\"}", "control characters"),
            ("{\"principal\": \"agent\", \"secret\": hunter2}", "is no JSON"),
            ("{\"credentials\": [{\"principal\": \"agent\", \"secret\": \"hunter2\"}]}", "a slave has one"),
        ] {
            let error = parse(text.as_bytes()).expect_err(text);
            assert!(error.contains(why), "{text}: {error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn a_secret_is_not_shown() {
        let shown = format!("{:?}", Credential::new("agent", "hunter2"));
        assert!(shown.contains("agent") && !shown.contains("hunter2"), "{shown}");
    }

    /// The example of RFC 2195.
    #[test]
    fn a_challenge_is_answered_as_the_rfc_does() {
        let answer = Credential::new("tim", "tanstaaftanstaaf").cram_md5(b"<1896.697170952@postoffice.reston.mci.net>");
        assert_eq!(String::from_utf8_lossy(&answer), "tim b913a602c7eda7a495b4e6e7334d3890");
    }

    #[test]
    fn a_file_is_read_within_its_bounds() {
        let path = std::env::temp_dir().join(format!("mesos-slave-credential-{}", std::process::id()));
        fs::write(&path, "agent s3cr3t\n").expect("temporary file");
        let read = Credential::load(&path);
        fs::write(&path, vec![b'x'; MAX_FILE as usize + 1]).expect("temporary file");
        let large = Credential::load(&path);
        fs::remove_file(&path).expect("temporary file");
        assert_eq!(read.expect("a credential"), Credential::new("agent", "s3cr3t"));
        assert!(matches!(large, Err(CredentialError::TooLarge(_))), "{large:?}");
        assert!(matches!(Credential::load(&path), Err(CredentialError::Read(..))));
        assert!(matches!(Credential::load(Path::new("/dev/zero")), Err(CredentialError::NoFile(_))));
    }
}
