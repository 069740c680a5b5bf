//! What is to be fetched: from where, and under which name. Nothing is done yet, and all URIs are looked at before the first is
//! fetched, as in Mesos (`validateUris`, `Fetcher::basename`, `Fetcher::uriToLocalPath` in `src/slave/containerizer/fetcher.cpp`).

use std::fmt;

use crate::archive::place::components;
use crate::messages::mesos::command_info::Uri;

/// Most URIs of one container.
const MOST: usize = 1000;
/// Longest URI, in bytes.
const LONGEST: usize = 8192;

/// What Mesos takes for an archive (`extract` in `src/launcher/fetcher.cpp`).
const ARCHIVES: [&str; 8] = [".tar", ".tgz", ".tar.gz", ".tbz2", ".tar.bz2", ".txz", ".tar.xz", ".zip"];

/// Why a URI cannot be fetched, before anything is done. The first three are Mesos' words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PlanError {
    /// A backslash, a quote, or what no terminal should see.
    IllegalCharacters,
    /// Nothing behind the host.
    MissingPath,
    /// A relative path, and nothing that it is relative to.
    NoFrameworksHome,
    /// `file://` and a relative path.
    RelativeFile,
    /// FTP.
    Ftp,
    /// What stands before `://` is no scheme.
    Scheme,
    /// The last part of the URI cannot name a file.
    Name,
    /// `output_file` is empty.
    EmptyOutput,
    /// `output_file` leads out of the sandbox.
    OutputOutside,
    /// A file of the slave's has that name.
    Reserved(String),
    /// The URI is too long.
    TooLong,
    /// Too many URIs.
    TooMany,
}

impl fmt::Display for PlanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PlanError::IllegalCharacters => write!(f, "Illegal characters in URI"),
            PlanError::MissingPath => write!(f, "Malformed URI (missing path)"),
            PlanError::NoFrameworksHome => write!(
                f,
                "A relative path was passed for the resource but the Mesos framework home was not specified; start the slave with \
                 --frameworks_home, or avoid using a relative path"
            ),
            PlanError::RelativeFile => write!(f, "File URI only supports absolute paths"),
            PlanError::Ftp => write!(f, "this slave does not fetch by FTP; serve the file by http, https or hdfs"),
            PlanError::Scheme => write!(f, "what stands before :// is no scheme"),
            PlanError::Name => write!(f, "the URI's last part cannot name a file; name it with output_file"),
            PlanError::EmptyOutput => write!(f, "URI output file path is empty"),
            PlanError::OutputOutside => write!(f, "URI output file must be within the sandbox directory"),
            PlanError::Reserved(name) => {
                write!(f, "{name} is a file of the slave's in the sandbox; use another name (output_file)")
            }
            PlanError::TooLong => write!(f, "the URI or its output_file is longer than {LONGEST} bytes"),
            PlanError::TooMany => write!(f, "there are more than {MOST} URIs; put the files into an archive"),
        }
    }
}

impl std::error::Error for PlanError {}

/// Where a file comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A path of this host.
    Local(String),
    /// HTTP or HTTPS.
    Net(String),
    /// Whatever the hadoop client has been told of: hdfs, s3a, ...
    Hadoop(String),
}

/// What becomes of a fetched file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finish {
    /// It stays as it is. With true: though it was to be unpacked, which its name does not allow.
    Keep(bool),
    /// It can be executed.
    Executable,
    /// It is unpacked into the sandbox.
    Unpack,
    /// It is decompressed into a file of this name.
    Gunzip(String),
}

/// One URI.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// As the framework has it.
    pub uri: String,
    /// Where the file comes from.
    pub source: Source,
    /// Its path in the sandbox: relative, without `..`.
    pub output: String,
    /// What becomes of it.
    pub finish: Finish,
    /// By way of the cache.
    pub cache: bool,
}

/// The plan for some URIs, or the first that cannot be fetched. `reserved` are files at the top of the sandbox that are not to be touched.
///
/// # Errors
/// The URI and what is wrong with it.
pub fn plan(uris: &[Uri], home: Option<&str>, reserved: &[&str]) -> Result<Vec<Item>, (String, PlanError)> {
    if let Some(first) = uris.get(MOST) {
        return Err((first.value.clone(), PlanError::TooMany));
    }
    uris.iter().map(|uri| item(uri, home, reserved).map_err(|error| (uri.value.clone(), error))).collect()
}

fn item(uri: &Uri, home: Option<&str>, reserved: &[&str]) -> Result<Item, PlanError> {
    let value = uri.value.trim_start();
    if value.len() > LONGEST {
        return Err(PlanError::TooLong);
    }
    let name = basename(value)?;
    let output = match &uri.output_file {
        Some(output) => output_file(output)?,
        None => name.ok_or(PlanError::Name)?.to_string(),
    };
    let path = components(output.as_bytes()).filter(|path| !path.is_empty());
    let path = path.ok_or(if uri.output_file.is_some() { PlanError::OutputOutside } else { PlanError::Name })?;
    if output.ends_with('/') {
        return Err(PlanError::Name);
    }
    if let Some(name) = reserved.iter().find(|name| name.as_bytes() == path[0]) {
        return Err(PlanError::Reserved((*name).to_string()));
    }
    // With the cache, Mesos goes by the cached file's name, which ends as the URI does; its documentation goes by output_file.
    let mut names = vec![output.as_str()];
    names.extend(name.filter(|_| uri.cache()));
    let finish = match (uri.executable(), uri.extract()) {
        (true, _) => Finish::Executable,
        (false, false) => Finish::Keep(false),
        (false, true) => names.iter().find_map(|name| unpacking(name)).unwrap_or(Finish::Keep(true)),
    };
    if let Finish::Gunzip(into) = &finish
        && reserved.contains(&into.as_str())
    {
        return Err(PlanError::Reserved(into.clone()));
    }
    Ok(Item { source: source(value, home)?, uri: uri.value.clone(), output, finish, cache: uri.cache() })
}

/// What follows the last slash, query and all. A URI without a path is refused; one that ends in a slash has no name.
fn basename(uri: &str) -> Result<Option<&str>, PlanError> {
    if uri.contains(['\\', '\'']) || uri.contains(char::is_control) {
        return Err(PlanError::IllegalCharacters);
    }
    let path = match uri.split_once("://") {
        Some((scheme, rest)) if scheme.len() > 1 => match rest.split_once('/') {
            Some((_, path)) if !path.is_empty() => path,
            _ => return Err(PlanError::MissingPath),
        },
        _ => uri.trim_end_matches('/'),
    };
    Ok(path.rsplit('/').next().filter(|name| !name.is_empty()))
}

fn output_file(output: &str) -> Result<String, PlanError> {
    match output {
        "" => Err(PlanError::EmptyOutput),
        _ if output.starts_with('/') => Err(PlanError::OutputOutside),
        _ if output.contains(char::is_control) => Err(PlanError::IllegalCharacters),
        _ if output.len() > LONGEST => Err(PlanError::TooLong),
        _ => Ok(output.to_string()),
    }
}

fn source(uri: &str, home: Option<&str>) -> Result<Source, PlanError> {
    let Some((scheme, rest)) = uri.split_once("://") else {
        let path = uri.strip_prefix("localhost").unwrap_or(uri);
        return match (path.starts_with('/'), home) {
            (true, _) => Ok(Source::Local(path.to_string())),
            (false, Some(home)) => Ok(Source::Local(format!("{}/{path}", home.trim_end_matches('/')))),
            (false, None) => Err(PlanError::NoFrameworksHome),
        };
    };
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"+.-".contains(&byte);
    match scheme {
        "file" => {
            let path = rest.strip_prefix("localhost").unwrap_or(rest);
            if path.starts_with('/') { Ok(Source::Local(path.to_string())) } else { Err(PlanError::RelativeFile) }
        }
        "http" | "https" => Ok(Source::Net(uri.to_string())),
        "ftp" | "ftps" => Err(PlanError::Ftp),
        _ if !scheme.starts_with(|first: char| first.is_ascii_alphabetic()) || !scheme.bytes().all(plain) => {
            Err(PlanError::Scheme)
        }
        _ => Ok(Source::Hadoop(uri.to_string())),
    }
}

fn unpacking(name: &str) -> Option<Finish> {
    if ARCHIVES.iter().any(|suffix| name.ends_with(suffix)) {
        return Some(Finish::Unpack);
    }
    let stem = name.strip_suffix(".gz")?.rsplit('/').next()?;
    let usable = !matches!(stem, "" | "." | "..");
    usable.then(|| Finish::Gunzip(stem.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RESERVED: [&str; 2] = ["stdout", "stderr"];

    fn uri(value: &str) -> Uri {
        Uri { value: value.into(), ..Default::default() }
    }

    fn one(uri: Uri) -> Result<Item, PlanError> {
        plan(&[uri], Some("/home/frameworks/"), &RESERVED).map(|mut items| items.remove(0)).map_err(|(_, error)| error)
    }

    #[test]
    fn each_kind_of_uri_has_its_source_and_its_name() {
        let net = |uri: &str| Source::Net(uri.into());
        let local = |path: &str| Source::Local(path.into());
        for (value, source, output) in [
            ("http://h/a/b.jar", net("http://h/a/b.jar"), "b.jar"),
            (" https://h:1/b?x=1&y", net("https://h:1/b?x=1&y"), "b?x=1&y"),
            ("/a/b", local("/a/b"), "b"),
            ("/a/b/", local("/a/b/"), "b"),
            ("b/c", local("/home/frameworks/b/c"), "c"),
            ("file:///a/b", local("/a/b"), "b"),
            ("file://localhost/a/b", local("/a/b"), "b"),
            ("hdfs://h:9000/a", Source::Hadoop("hdfs://h:9000/a".into()), "a"),
            ("s3a://bucket/a", Source::Hadoop("s3a://bucket/a".into()), "a"),
            ("hdfs:///a", Source::Hadoop("hdfs:///a".into()), "a"),
        ] {
            let item = one(uri(value)).unwrap_or_else(|error| panic!("{value}: {error}"));
            assert_eq!((item.source, item.output.as_str()), (source, output), "{value}");
        }
    }

    #[test]
    fn what_cannot_be_fetched_is_told_before_anything_is() {
        for (value, error) in [
            ("http://h/it's", PlanError::IllegalCharacters),
            ("http://h/a\\b", PlanError::IllegalCharacters),
            ("http://h/a\0b", PlanError::IllegalCharacters),
            ("http://h/a\nb", PlanError::IllegalCharacters),
            ("http://h", PlanError::MissingPath),
            ("http://h/", PlanError::MissingPath),
            ("http://h/a/", PlanError::Name),
            ("http://h/..", PlanError::Name),
            ("/", PlanError::Name),
            ("", PlanError::Name),
            ("file://a/b", PlanError::RelativeFile),
            ("ftp://h/a", PlanError::Ftp),
            ("a b://h/a", PlanError::Scheme),
            ("-x://h/a", PlanError::Scheme),
            ("http://h/stdout", PlanError::Reserved("stdout".into())),
            ("http://h/stderr.gz", PlanError::Reserved("stderr".into())),
        ] {
            assert_eq!(one(uri(value)), Err(error), "{value:?}");
        }
        assert_eq!(one(uri(&format!("/{}", "x".repeat(9000)))), Err(PlanError::TooLong));
        let relative = plan(&[uri("/a"), uri("b")], None, &RESERVED);
        assert_eq!(relative, Err(("b".into(), PlanError::NoFrameworksHome)));
        let many = vec![uri("/a"); 1001];
        assert!(matches!(plan(&many, None, &RESERVED), Err((_, PlanError::TooMany))));
    }

    #[test]
    fn an_output_file_stays_in_the_sandbox() {
        let named = |output: &str| one(Uri { output_file: Some(output.into()), ..uri("http://h/a/") });
        assert_eq!(named("d/e/./f").expect("inside").output, "d/e/./f");
        for (output, error) in [
            ("", PlanError::EmptyOutput),
            ("/a", PlanError::OutputOutside),
            ("../a", PlanError::OutputOutside),
            ("d/../../a", PlanError::OutputOutside),
            ("./", PlanError::OutputOutside),
            ("d/", PlanError::Name),
            ("a\nb", PlanError::IllegalCharacters),
            ("./stderr", PlanError::Reserved("stderr".into())),
            ("stdout/x", PlanError::Reserved("stdout".into())),
        ] {
            assert_eq!(named(output), Err(error), "{output:?}");
        }
    }

    #[test]
    fn the_name_says_whether_a_file_is_unpacked() {
        let finish = |value: &str| one(uri(value)).expect("plan").finish;
        for suffix in ARCHIVES {
            assert_eq!(finish(&format!("http://h/a{suffix}")), Finish::Unpack, "{suffix}");
        }
        assert_eq!(finish("http://h/a.json.gz"), Finish::Gunzip("a.json".into()));
        assert_eq!(finish("http://h/a.tgz?token=1"), Finish::Keep(true));
        assert_eq!(finish("http://h/a.jar"), Finish::Keep(true));
        let tgz = || uri("http://h/a.tgz");
        let change = |uri: Uri| one(uri).expect("plan").finish;
        assert_eq!(change(Uri { extract: Some(false), ..tgz() }), Finish::Keep(false));
        assert_eq!(change(Uri { executable: Some(true), ..tgz() }), Finish::Executable);
        assert_eq!(change(Uri { output_file: Some("d/b.gz".into()), ..tgz() }), Finish::Gunzip("b".into()));
        let renamed = Uri { output_file: Some("b".into()), ..tgz() };
        assert_eq!(change(renamed.clone()), Finish::Keep(true));
        assert_eq!(change(Uri { cache: Some(true), ..renamed }), Finish::Unpack, "as Mesos' cache has it");
    }
}
