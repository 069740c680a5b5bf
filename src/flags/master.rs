//! What `--master` may say: where the master is, in the notations of 2012 and of today.

use std::fmt;

use super::values;

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
}

impl Master {
    /// Reads `local`, `host:port`, `master@host:port` or `mesos://[id@]host:port` (the notation of 2012; the id was
    /// always `master`).
    ///
    /// # Errors
    /// Why the text is none of these.
    pub fn parse(text: &str) -> Result<Master, String> {
        if text == "local" {
            return Ok(Master::Local);
        }
        let rest = match text.split_once("://") {
            None => text,
            Some(("mesos", rest)) => rest,
            Some(("zk" | "zoo", _)) => {
                return Err(
                    "detection of the master by ZooKeeper is not built yet: name the leading master itself".into()
                );
            }
            Some(("file", _)) => {
                return Err("a master's address in a file belongs to detection by ZooKeeper, which is not built yet: \
                            name the leading master itself"
                    .into());
            }
            Some((scheme, _)) => return Err(format!("'{scheme}://' is no notation for a master")),
        };
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

impl fmt::Display for Master {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Master::Local => write!(f, "local"),
            Master::Address { host, port } => write!(f, "{host}:{port}"),
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
    fn what_is_no_master_says_why() {
        for (text, why) in [
            ("zk://a:2181/mesos", "ZooKeeper is not built yet"),
            ("file:///etc/mesos/zk", "not built yet"),
            ("http://a:5050", "'http://' is no notation"),
            ("a", "no port"),
            ("a:0", "not between 1"),
            ("a:x", "not a whole number"),
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
