//! Where ZooKeeper is, as `zk://[user:password@]host:port[,host:port...]/path` says it.

use std::fmt;

use super::values;

/// Most servers of an ensemble; real ones have three to seven.
const MAX_SERVERS: usize = 32;
/// Longest path, in bytes.
const MAX_PATH: usize = 1024;
/// Longest `user:password`, in bytes.
const MAX_CREDENTIALS: usize = 1024;

/// An ensemble of servers, and the node below which masters announce themselves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ZooKeeper {
    /// Hosts (names or IPv4 addresses) and ports, in the order in which they were given; never empty.
    pub servers: Vec<(String, u16)>,
    /// Absolute, without a slash at its end, never `/` alone.
    pub path: String,
    /// For ZooKeeper's scheme `digest`.
    pub credentials: Option<Credentials>,
}

/// `user:password`. Neither `Debug` nor anything else but [`Credentials::secret`] shows it.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials(String);

impl Credentials {
    /// The text that is sent.
    pub fn secret(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl ZooKeeper {
    /// Reads what follows `zk://`. As in Mesos the path begins at the first slash and the servers after the last `@`, so a
    /// password may hold `@` but no slash.
    ///
    /// # Errors
    /// Why it is none. The password is not in it.
    pub fn parse(rest: &str) -> Result<ZooKeeper, String> {
        let Some((authority, path)) = rest.split_once('/') else {
            return Err("it has no path (write zk://host:port/mesos)".into());
        };
        let (credentials, servers) = match authority.rsplit_once('@') {
            Some((credentials, servers)) => (Some(credentials), servers),
            None => (None, authority),
        };
        Ok(ZooKeeper {
            servers: parse_servers(servers)?,
            path: parse_path(path)?,
            credentials: credentials.map(parse_credentials).transpose()?,
        })
    }
}

fn parse_credentials(text: &str) -> Result<Credentials, String> {
    match text.split_once(':') {
        Some((user, password)) if !user.is_empty() && !password.is_empty() && text.len() <= MAX_CREDENTIALS => {
            Ok(Credentials(text.to_string()))
        }
        _ => Err("what stands before '@' is not user:password".into()),
    }
}

fn parse_servers(text: &str) -> Result<Vec<(String, u16)>, String> {
    if text.contains(['[', ']']) {
        return Err("IPv6 is not supported".into());
    }
    if text.is_empty() {
        return Err("it names no server (write zk://host:port/mesos)".into());
    }
    let servers: Vec<_> = text.split(',').map(parse_server).collect::<Result<_, _>>()?;
    match servers.len() {
        0..=MAX_SERVERS => Ok(servers),
        count => Err(format!("it names {count} servers, more than {MAX_SERVERS}")),
    }
}

fn parse_server(text: &str) -> Result<(String, u16), String> {
    let Some((host, port)) = text.rsplit_once(':') else {
        return Err(format!("the server '{text}' has no port (ZooKeeper listens on 2181)"));
    };
    let name = values::hostname(host).map_err(|why| format!("'{host}' is {why}"))?;
    let port = values::port(port, 1).map_err(|why| format!("the port '{port}' is {why}"))?;
    Ok((name, port))
}

/// What ZooKeeper takes for a path (`PathUtils.validatePath`), in plain text. Mesos does not take the root either.
fn parse_path(text: &str) -> Result<String, String> {
    let text = text.trim_end_matches('/');
    if text.is_empty() {
        return Err("the path must not be '/' itself (write zk://host:port/mesos)".into());
    }
    if text.len() > MAX_PATH {
        return Err(format!("the path is longer than {MAX_PATH} bytes"));
    }
    if text.chars().any(char::is_control) {
        return Err("the path holds a control character".into());
    }
    match text.split('/').find(|part| matches!(*part, "" | "." | "..")) {
        Some(part) => Err(format!("the path has a part '{part}'")),
        None => Ok(format!("/{text}")),
    }
}

impl fmt::Display for ZooKeeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("zk://")?;
        if self.credentials.is_some() {
            f.write_str("***@")?;
        }
        let servers: Vec<_> = self.servers.iter().map(|(host, port)| format!("{host}:{port}")).collect();
        write!(f, "{}{}", servers.join(","), self.path)
    }
}

/// A value of a flag as it may be shown: what stands between `://` and `@` is left out.
pub(super) fn without_secret(value: &str) -> String {
    let hidden = value.split_once("://").and_then(|(scheme, rest)| {
        let end = rest.find('/').unwrap_or(rest.len());
        let at = rest[..end].rfind('@').or_else(|| rest.rfind('@'))?;
        rest[..at].contains(':').then(|| format!("{scheme}://***{}", &rest[at..]))
    });
    hidden.unwrap_or_else(|| value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ensemble_with_a_password_is_read_and_shown_without_it() {
        let zookeeper = ZooKeeper::parse("me:p@ss:w@10.0.0.1:2181,zk-2.example:2182/prod/mesos/").unwrap();
        assert_eq!(zookeeper.servers, [("10.0.0.1".to_string(), 2181), ("zk-2.example".to_string(), 2182)]);
        assert_eq!(zookeeper.path, "/prod/mesos");
        assert_eq!(zookeeper.credentials.as_ref().map(Credentials::secret), Some("me:p@ss:w"));
        assert_eq!(zookeeper.to_string(), "zk://***@10.0.0.1:2181,zk-2.example:2182/prod/mesos");
        assert!(!format!("{zookeeper:?}").contains("p@ss"));
    }

    #[test]
    fn what_is_no_ensemble_says_why_and_keeps_the_password() {
        for (text, why) in [
            ("a:2181", "no path"),
            ("a:2181/", "'/' itself"),
            ("a:2181//", "'/' itself"),
            ("a/mesos", "'a' has no port"),
            ("/mesos", "it names no server"),
            ("u:p@/mesos", "it names no server"),
            ("a:2181,/mesos", "'' has no port"),
            ("a:0/mesos", "not between 1"),
            ("a_b!:1/mesos", "'a_b!' is not a host's name"),
            ("[::1]:2181/mesos", "IPv6"),
            ("secret@a:2181/mesos", "not user:password"),
            (":secret@a:2181/mesos", "not user:password"),
            ("a:1/x//y", "a part ''"),
            ("a:1/x/../y", "a part '..'"),
            ("a:1/x\n", "control character"),
        ] {
            let error = ZooKeeper::parse(text).unwrap_err();
            assert!(error.contains(why) && !error.contains("secret"), "{text:?}: {error}");
        }
        assert!(ZooKeeper::parse(&format!("{}/mesos", ["a:1"; 33].join(","))).unwrap_err().contains("33 servers"));
    }

    #[test]
    fn a_value_is_shown_without_its_secret() {
        for (value, shown) in [
            ("zk://u:p@a:1/m", "zk://***@a:1/m"),
            ("zk://u:p@ss@a:1/m@n", "zk://***@a:1/m@n"),
            ("zk://u:p/q@a:1/m", "zk://***@a:1/m"),
            ("zk://a:1/m", "zk://a:1/m"),
            ("mesos://master@a:1", "mesos://master@a:1"),
            ("a:1", "a:1"),
        ] {
            assert_eq!(without_secret(value), shown);
        }
    }
}
