//! Rows of the slave, but for its virtual machines.

use std::net::Ipv4Addr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use super::CommandKind::{Execute, Slave};
use super::mappings::HOME_HINT;
use super::table::{Group, Row, Sources, put, put_some};
use super::{Isolation, Master, mappings, values};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);
const WEEK: Duration = Duration::from_secs(7 * 86_400);

/// Of the waits of authentication.
const AUTHENTICATION_BOUNDS: RangeInclusive<Duration> = Duration::from_millis(100)..=HOUR;

const AUTHENTICATION: Row = Row { group: Group::Authentication, hint: "DURATION", ..Row::PLAIN };
const NETWORK: Row = Row { group: Group::Network, ..Row::PLAIN };
/// Rows that `execute --master=local` hands on.
const LOCAL: Row = Row { commands: &[Slave, Execute], for_local_slave: true, ..Row::PLAIN };
const DIRECTORY: Row = Row { group: Group::Directories, hint: "DIR", ..LOCAL };
const EXECUTOR: Row = Row { group: Group::Executors, ..Row::PLAIN };
/// What executors of 2012 look for in their environment.
const HOME: Row = Row {
    hint: HOME_HINT,
    allowed: "an absolute path without '..', or two, DIR:GUEST",
    doc: "With DIR:GUEST, executors in a guest are told GUEST, and the two are a mapping, as one of --vm_path_map.",
    ..EXECUTOR
};

pub(super) static ROWS: &[Row] = &[
    Row {
        name: "master",
        short: "m",
        hint: "MASTER",
        commands: &[Slave, Execute],
        allowed: "host:port, mesos://master@host:port, zk://[user:password@]host:port,.../path, file:///path or local",
        help: "The master: host:port, zk://host:port,.../path, or 'local' for one of its own. Needed.",
        doc: "The notation of 2012, mesos://master@host:port, means the same as host:port. With zk://host:port,host:port/path \
              the master that leads is found by ZooKeeper, and followed; zk://user:password@host:port/path authenticates \
              (scheme digest). file:///path names a file that holds any of these, which keeps a password off the command \
              line. 'local' starts the embedded master beside the slave: it is for one machine and for tests.",
        set: |s, v| put_some(&mut s.master, Master::parse(v)),
        ..Row::PLAIN
    },
    Row {
        name: "conf",
        hint: "FILE",
        commands: &[Slave, Execute],
        sources: Sources::NotFile,
        allowed: "a file of key=value lines, or a directory that holds mesos.conf",
        help: "Read flags from FILE (key=value lines), or from FILE/mesos.conf.",
        ..Row::PLAIN
    },
    Row {
        name: "isolation",
        short: "i",
        hint: "KIND",
        default: Some("process"),
        allowed: "process or vm",
        help: "What keeps executors apart: 'process', or 'vm' for a virtual machine each.",
        doc: "With vm, what the VMs need (root, libvirt, a network, an image, ssh) is checked at start.",
        set: |s, v| put(&mut s.slave.isolation, isolation(v)),
        ..LOCAL
    },
    Row {
        name: "ip",
        hint: "IP",
        allowed: "an IPv4 address of this host",
        help: "The address to listen on.",
        doc: "If it is not given, the address that leads to the master is taken (127.0.0.1 with --master=local).",
        set: |s, v| put_some(&mut s.slave.ip, values::ip(v)),
        ..NETWORK
    },
    Row {
        name: "port",
        short: "p",
        hint: "PORT",
        default: Some("5051"),
        allowed: "a number from 0 to 65535; 0 takes any free port",
        help: "The port to listen on; 0: any free one.",
        set: |s, v| put(&mut s.slave.port, values::port(v, 0)),
        ..NETWORK
    },
    Row {
        name: "advertise_ip",
        hint: "IP",
        allowed: "an IPv4 address other than 0.0.0.0",
        help: "The address that master and executors are told, if not --ip.",
        doc: "For a slave behind a NAT, or one that listens on 0.0.0.0.",
        set: |s, v| put_some(&mut s.slave.advertise_ip, advertised(v)),
        ..NETWORK
    },
    Row {
        name: "advertise_port",
        hint: "PORT",
        allowed: "a number from 1 to 65535",
        help: "The port that master and executors are told, if not --port.",
        set: |s, v| put_some(&mut s.slave.advertise_port, values::port(v, 1)),
        ..NETWORK
    },
    Row {
        name: "hostname",
        hint: "NAME",
        allowed: "a host's name or IPv4 address: labels of letters, digits and hyphens with dots between",
        help: "The name that frameworks are told, if not the host's own.",
        set: |s, v| put_some(&mut s.slave.hostname, values::hostname(v)),
        ..NETWORK
    },
    Row {
        name: "webui_port",
        short: "w",
        hint: "PORT",
        default: Some("8081"),
        allowed: "a number from 1 to 65535",
        help: "The port of the web page (kept for it; there is no page yet).",
        set: |s, v| put(&mut s.slave.webui_port, values::port(v, 1)),
        ..NETWORK
    },
    Row {
        name: "credential",
        hint: "FILE",
        allowed: "an absolute path without '..', or file:// and such a path",
        help: "Authenticate to the master as the principal in FILE.",
        doc: "FILE holds {\"principal\": \"...\", \"secret\": \"...\"}, or the two words on one line; it should be readable by \
              the slave's user alone. The master needs the same in its --credentials. The mechanism is CRAM-MD5.",
        set: |s, v| put_some(&mut s.slave.credential, credential(v)),
        ..AUTHENTICATION
    },
    Row {
        name: "jwt_secret_key",
        hint: "FILE",
        allowed: "an absolute path without '..', or file:// and such a path",
        help: "Give executors tokens that are signed with the key in FILE.",
        doc: "All bytes of FILE are the key; it should be readable by the slave's user alone. An executor finds its token in \
              MESOS_EXECUTOR_AUTHENTICATION_TOKEN, a JSON Web Token (HS256) as Mesos' agent issues it.",
        set: |s, v| put_some(&mut s.slave.jwt_secret_key, credential(v)),
        ..AUTHENTICATION
    },
    Row {
        name: "authenticate_http_executors",
        hint: "BOOL",
        default: Some("false"),
        allowed: "true or false",
        help: "Take calls to the executor API (v1) with the executor's token only.",
        doc: "It needs --jwt_secret_key. The messages of old drivers carry no token, and are taken as before, as by Mesos' agent.",
        set: |s, v| put(&mut s.slave.authenticate_http_executors, values::switch(v)),
        ..AUTHENTICATION
    },
    Row {
        name: "authentication_timeout_min",
        default: Some("5secs"),
        allowed: "a duration from 100ms to 1hrs",
        help: "How long an attempt to authenticate may take at least.",
        set: |s, v| put(&mut s.slave.authentication_timeout_min, values::duration(v, AUTHENTICATION_BOUNDS)),
        ..AUTHENTICATION
    },
    Row {
        name: "authentication_timeout_max",
        default: Some("1mins"),
        allowed: "a duration from 100ms to 1hrs",
        help: "How long an attempt to authenticate may take at most.",
        set: |s, v| put(&mut s.slave.authentication_timeout_max, values::duration(v, AUTHENTICATION_BOUNDS)),
        ..AUTHENTICATION
    },
    Row {
        name: "authentication_backoff_factor",
        default: Some("1secs"),
        allowed: "a duration from 100ms to 1hrs",
        help: "How much longer later attempts to authenticate may take.",
        doc: "The n-th attempt has a random time between the least and the least plus this factor times 2^n, but never more than \
              the most. One that fails early leaves the rest of its time to wait.",
        set: |s, v| put(&mut s.slave.authentication_backoff_factor, values::duration(v, AUTHENTICATION_BOUNDS)),
        ..AUTHENTICATION
    },
    Row {
        name: "work_dir",
        default: Some("/var/lib/mesos"),
        allowed: "an absolute path without '..'",
        help: "Where sandboxes are.",
        set: |s, v| put(&mut s.slave.work_dir, values::path(v)),
        ..DIRECTORY
    },
    Row {
        name: "runtime_dir",
        default: Some("/var/run/mesos"),
        allowed: "an absolute path without '..'",
        help: "Where the state of running containers is; need not survive a reboot.",
        set: |s, v| put(&mut s.slave.runtime_dir, values::path(v)),
        ..DIRECTORY
    },
    Row {
        name: "resources",
        hint: "RESOURCES",
        group: Group::Resources,
        allowed: "name:value pairs as in cpus:2;mem:1024;ports:[31000-32000], or a JSON array of Resource objects",
        help: "What is offered to frameworks; what is not named is detected.",
        doc: "For example cpus:2;mem:1024;disk:4096;ports:[31000-32000]. mem and disk are in megabytes; a role goes behind the \
              name, cpus(role):2. cpus, mem and disk are detected unless named; ports are offered without being named only with \
              --isolation=process. A JSON array of Resource objects is taken as well.",
        set: |s, v| put_some(&mut s.slave.resources, resources(v)),
        ..Row::PLAIN
    },
    Row {
        name: "attributes",
        hint: "ATTRIBUTES",
        group: Group::Resources,
        allowed: "name:value pairs as in rack:r1;level:3.5;units:[1-3]",
        help: "What frameworks are told about this slave.",
        doc: "For example rack:r1;level:3.5;units:[1-3].",
        set: |s, v| put_some(&mut s.slave.attributes, attributes(v)),
        ..Row::PLAIN
    },
    Row {
        name: "switch_user",
        default: Some("true"),
        allowed: "true or false",
        help: "Run executors as the user that their framework asks for.",
        doc: "Without it they run as the slave's own user. In a VM the user is one of the guest's.",
        set: |s, v| put(&mut s.slave.switch_user, values::switch(v)),
        ..EXECUTOR
    },
    Row {
        name: "registration_backoff_factor",
        hint: "DURATION",
        default: Some("1secs"),
        allowed: "a duration from 1ms to 1mins",
        help: "Longest first wait between attempts to register; it doubles, up to 1mins.",
        set: |s, v| {
            let bounds = Duration::from_millis(1)..=Duration::from_secs(60);
            put(&mut s.slave.registration_backoff_factor, values::duration(v, bounds))
        },
        ..EXECUTOR
    },
    Row {
        name: "mesos_home",
        help: "Where Mesos is for executors, as MESOS_HOME.",
        set: |s, v| put_some(&mut s.slave.mesos_home, mappings::home(&mut s.slave.path_map, v)),
        ..HOME
    },
    Row {
        name: "spark_home",
        help: "Where Spark is for executors, as SPARK_HOME.",
        set: |s, v| put_some(&mut s.slave.spark_home, mappings::home(&mut s.slave.path_map, v)),
        ..HOME
    },
    Row {
        name: "executor_environment_variables",
        hint: "JSON",
        allowed: "a JSON object of strings, as in {\"PATH\": \"/bin:/usr/bin\"}",
        help: "Variables that every executor finds in its environment.",
        doc: "For example {\"LD_LIBRARY_PATH\": \"/usr/local/lib\"}. Mesos' own variables and those of the executor's command win \
              over these. In a VM they are the guest's.",
        set: |s, v| put(&mut s.slave.executor_environment_variables, variables(v)),
        ..EXECUTOR
    },
    Row {
        name: "executor_registration_timeout",
        hint: "DURATION",
        default: Some("1mins"),
        allowed: "a duration from 1secs to 1hrs",
        help: "How long an executor may take to register.",
        doc: "The time that its virtual machine needs to boot is counted apart (--vm_boot_timeout).",
        set: |s, v| put(&mut s.slave.executor_registration_timeout, values::duration(v, SECOND..=HOUR)),
        ..EXECUTOR
    },
    Row {
        name: "executor_shutdown_grace_period",
        hint: "DURATION",
        default: Some("5secs"),
        allowed: "a duration from 0secs to 1hrs",
        help: "From the polite request to end (TERM) to the end by force (KILL).",
        set: |s, v| put(&mut s.slave.executor_shutdown_grace_period, values::duration(v, Duration::ZERO..=HOUR)),
        ..EXECUTOR
    },
    Row {
        name: "recovery_timeout",
        hint: "DURATION",
        default: Some("15mins"),
        allowed: "a duration from 1secs to 1weeks",
        help: "How long executors of checkpointing frameworks wait for the slave to return.",
        set: |s, v| put(&mut s.slave.recovery_timeout, values::duration(v, SECOND..=WEEK)),
        ..EXECUTOR
    },
    Row {
        name: "log_dir",
        hint: "DIR",
        group: Group::Logging,
        allowed: "an absolute path without '..'",
        help: "Log into a file there instead of stderr.",
        set: |s, v| put_some(&mut s.slave.log_dir, values::path(v)),
        ..LOCAL
    },
    Row {
        name: "logging_level",
        hint: "LEVEL",
        group: Group::Logging,
        default: Some("INFO"),
        allowed: "TRACE, DEBUG, INFO, WARNING or ERROR",
        help: "How much goes into the log: TRACE, DEBUG, INFO, WARNING, ERROR.",
        set: |s, v| put(&mut s.slave.logging_level, level(v)),
        ..LOCAL
    },
];

fn isolation(text: &str) -> Result<Isolation, String> {
    match text {
        "process" => Ok(Isolation::Process),
        "vm" => Ok(Isolation::Vm),
        _ => Err("no such isolation".into()),
    }
}

fn credential(text: &str) -> Result<PathBuf, String> {
    values::path(text.strip_prefix("file://").unwrap_or(text))
}

fn advertised(text: &str) -> Result<Ipv4Addr, String> {
    match values::ip(text)? {
        ip if ip.is_unspecified() => Err("nobody can reach that address".into()),
        ip => Ok(ip),
    }
}

fn variables(text: &str) -> Result<Vec<(String, String)>, String> {
    let object: std::collections::BTreeMap<String, String> =
        serde_json::from_str(text).map_err(|error| format!("not a JSON object of strings: {error}"))?;
    let wrong = |(name, value): &(&String, &String)| {
        name.is_empty() || name.contains(['=', '\0', '\n']) || value.contains('\0')
    };
    match object.iter().find(wrong) {
        Some((name, _)) => Err(format!("no environment can hold the variable {name:?}")),
        None => Ok(object.into_iter().collect()),
    }
}

fn resources(text: &str) -> Result<String, String> {
    crate::resources::parse(text).map_err(|error| error.to_string())?;
    Ok(text.into())
}

fn attributes(text: &str) -> Result<String, String> {
    crate::resources::parse_attributes(text).map_err(|error| error.to_string())?;
    Ok(text.into())
}

pub(super) fn level(text: &str) -> Result<log::LevelFilter, String> {
    match text.to_uppercase().as_str() {
        "TRACE" => Ok(log::LevelFilter::Trace),
        "DEBUG" => Ok(log::LevelFilter::Debug),
        "INFO" => Ok(log::LevelFilter::Info),
        "WARNING" | "WARN" => Ok(log::LevelFilter::Warn),
        "ERROR" => Ok(log::LevelFilter::Error),
        _ => Err("no such level".into()),
    }
}
