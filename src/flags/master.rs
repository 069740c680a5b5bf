//! What `--master` may say: where the master is, in the notations of 2012 and of today.

use std::fmt;
use std::path::PathBuf;

use super::values;
use super::zookeeper::ZooKeeper;

/// Where the master is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Master {
    /// The embedded master, for one machine: it is started with the slave.
    #[default]
    Local,
    /// A master at an address. The host may be a name; nothing has been resolved yet.
    Address {
        /// A name or an IPv4 address.
        host: String,
        /// 1 to 65535.
        port: u16,
    },
    /// The master that leads, as ZooKeeper knows.
    ZooKeeper(ZooKeeper),
    /// A file that holds one of the above, except `local`.
    File(PathBuf),
}

impl Master {
    /// Reads `local`, `host:port`, `master@host:port`, `mesos://[id@]host:port` (the notation of 2012; the id was
    /// always `master`), `zk://...` (see [`ZooKeeper`]; `zoo://` in 2011) or `file:///path`.
    ///
    /// # Errors
    /// Why the text is none of these. A password is not in it.
    pub fn parse(text: &str) -> Result<Master, String> {
        if text == "local" {
            return Ok(Master::Local);
        }
        let rest = match text.split_once("://") {
            None => text,
            Some(("mesos", rest)) => rest,
            Some(("zk" | "zoo", rest)) => return ZooKeeper::parse(rest).map(Master::ZooKeeper),
            Some(("file", path)) => return values::path(path).map(Master::File),
            Some((scheme, _)) => return Err(format!("'{scheme}://' is no notation for a master")),
        };
        Master::parse_address(rest)
    }

    fn parse_address(rest: &str) -> Result<Master, String> {
        if rest.contains('/') {
            return Err("a '/' has no place in host:port (ZooKeeper is written zk://..., a file file:///...)".into());
        }
        if rest.contains(',') {
            return Err("it names several masters; the one that leads is found by zk://host:port,.../path".into());
        }
        let address = match rest.split_once('@') {
            Some((id, address)) => {
                values::name(id).map_err(|_| format!("'{id}' before '@' is no name"))?;
                address
            }
            None => rest,
        };
        let Some((host, port)) = address.rsplit_once(':') else {
            return Err("it has no port (a Mesos master listens on 5050)".into());
        };
        if host.contains(['[', ':']) {
            return Err("IPv6 is not supported".into());
        }
        let host = values::hostname(host)?;
        let port = values::port(port, 1).map_err(|why| format!("the port '{port}' is {why}"))?;
        Ok(Master::Address { host, port })
    }
}

impl Master {
    /// Reads what a `file://` holds: one line, any notation that says where a master is that somebody else started.
    ///
    /// # Errors
    /// Why it is none of them.
    pub fn parse_file(content: &str) -> Result<Master, String> {
        let content = content.trim();
        if content.lines().count() > 1 {
            return Err("it has several lines; it should hold one".into());
        }
        match Master::parse(content)? {
            Master::Local => Err("'local' cannot be told by a file, only by --master=local itself".into()),
            Master::File(_) => Err("a file cannot name another file".into()),
            master @ (Master::Address { .. } | Master::ZooKeeper(_)) => Ok(master),
        }
    }
}

impl fmt::Display for Master {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Master::Local => write!(f, "local"),
            Master::Address { host, port } => write!(f, "{host}:{port}"),
            Master::ZooKeeper(zookeeper) => zookeeper.fmt(f),
            Master::File(path) => write!(f, "file://{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_notations_of_2012_and_of_today_mean_the_same() {
        let master = Master::Address { host: "10.0.0.1".into(), port: 5050 };
        for text in ["10.0.0.1:5050", "mesos://10.0.0.1:5050", "mesos://master@10.0.0.1:5050", "master@10.0.0.1:5050"] {
            assert_eq!(Master::parse(text), Ok(master.clone()), "{text}");
        }
        assert_eq!(Master::parse("local"), Ok(Master::Local));
        assert_eq!(master.to_string(), "10.0.0.1:5050");
    }

    #[test]
    fn a_file_holds_what_the_flag_could_say_but_no_local_and_no_other_file() {
        let file = Master::parse("file:///etc/mesos/zk").unwrap();
        assert_eq!(file, Master::File("/etc/mesos/zk".into()));
        assert_eq!(file.to_string(), "file:///etc/mesos/zk");
        for text in ["zk://a:2181/mesos", "zoo://a:2181/mesos", "a:5050", "mesos://master@a:5050"] {
            assert_eq!(Master::parse_file(&format!("{text}\n")), Master::parse(text), "{text}");
        }
        assert!(Master::parse_file("local").unwrap_err().contains("cannot be told by a file"));
        assert!(Master::parse_file("file:///x").unwrap_err().contains("another file"));
        assert!(Master::parse_file("a:1\nb:1").unwrap_err().contains("several lines"));
        assert_eq!(Master::parse_file("a:1\r\n"), Master::parse("a:1"));
    }

    #[test]
    fn what_is_no_master_says_why() {
        for (text, why) in [
            ("zk://a:2181", "no path"),
            ("file://etc/mesos/zk", "not absolute"),
            ("file:///", "'/' itself"),
            ("http://a:5050", "'http://' is no notation"),
            ("a", "no port"),
            ("a:0", "not between 1"),
            ("a:x", "not a whole number"),
            ("a:65536", "the port '65536' is not between 1 and 65535"),
            ("a:5050 ", "the port '5050 ' is not a whole number"),
            ("a:5050/mesos", "a '/' has no place"),
            ("a:5050,b:5050", "several masters"),
            ("zk:a:2181/mesos", "zk://..."),
            ("file:/etc/mesos/zk", "file:///..."),
            ("file://", "not absolute"),
            ("file:///etc/../x", "'..'"),
            ("mesos://", "no port"),
            ("mesos://master@a", "no port"),
            ("mesos://@a:5050", "'' before '@' is no name"),
            ("mesos://x@y@a:5050", "not a host's name"),
            ("MESOS://a:5050", "'MESOS://' is no notation"),
            ("[::1]:5050", "IPv6"),
            (":5050", "not a host's name"),
            ("", "no port"),
            ("a b:5050", "not a host's name"),
        ] {
            let error = Master::parse(text).unwrap_err();
            assert!(error.contains(why), "{text:?}: {error}");
        }
    }
}
