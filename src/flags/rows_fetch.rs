//! Rows of what is fetched for tasks (`CommandInfo.uris`).

use std::path::PathBuf;
use std::time::Duration;

use super::mappings::HOME_HINT;
use super::table::{Group, Row, put};
use super::{mappings, values};
use crate::path_map::PathMap;

const FETCHING: Row = Row { group: Group::Fetching, hint: "DIR", ..Row::PLAIN };

/// Largest cache: 1 PB.
const LARGEST: u64 = 1 << 50;

pub(super) static ROWS: &[Row] = &[
    Row {
        name: "fetcher_cache_dir",
        allowed: "an absolute path without '..'",
        help: "Where fetched files are kept for later tasks; <work_dir>/fetch if not given.",
        doc: "Only files whose URI has 'cache' set are kept, for each user apart. The slave empties it at its start. Nobody but the \
              slave's user can enter it. (Mesos' own default, /tmp/mesos/fetch, is everybody's.)",
        set: |s, v| put(&mut s.slave.fetcher.cache_dir, values::path(v)),
        ..FETCHING
    },
    Row {
        name: "fetcher_cache_size",
        hint: "SIZE",
        default: Some("2GB"),
        allowed: "a size from 0B to 1024TB",
        help: "How much is kept there at most; 0B: nothing.",
        doc: "What was not used for longest makes room for what is new.",
        set: |s, v| put(&mut s.slave.fetcher.cache_size, values::bytes(v, 0..=LARGEST)),
        ..FETCHING
    },
    Row {
        name: "fetcher_stall_timeout",
        hint: "DURATION",
        default: Some("1mins"),
        allowed: "a duration from 1secs to 1days",
        help: "A download that brings nothing for so long has failed.",
        doc: "It does not apply to what the hadoop client fetches.",
        set: |s, v| {
            let bounds = Duration::from_secs(1)..=Duration::from_secs(86_400);
            put(&mut s.slave.fetcher.stall_timeout, values::duration(v, bounds))
        },
        ..FETCHING
    },
    Row {
        name: "frameworks_home",
        hint: HOME_HINT,
        allowed: "an absolute path without '..', or two, DIR:GUEST",
        help: "What relative URIs are relative to.",
        doc: "The files are read as the task's user; with --isolation=vm, as nobody. With DIR:GUEST they are not read: a guest has them \
              already, in GUEST (--vm_path_map).",
        set: |s, v| put(&mut s.slave.fetcher.frameworks_home, home(&mut s.slave.path_map, v)),
        ..FETCHING
    },
    Row {
        name: "hadoop_home",
        hint: HOME_HINT,
        allowed: "an absolute path without '..', or two, DIR:GUEST",
        help: "Where Hadoop is: DIR/bin/hadoop fetches hdfs:// and all that is not http or local.",
        doc: "Executors are told it as HADOOP_HOME and MESOS_HADOOP_HOME. If it is not given, HADOOP_HOME of the slave's \
              environment is taken for fetching, and then what is on its PATH. With DIR:GUEST, executors in a guest are told GUEST, and the \
              two are a mapping, as one of --vm_path_map.",
        set: |s, v| put(&mut s.slave.fetcher.hadoop_home, home(&mut s.slave.path_map, v)),
        ..FETCHING
    },
];

/// Nothing is what Mesos' own default is.
fn home(map: &mut PathMap, text: &str) -> Result<Option<PathBuf>, String> {
    if text.is_empty() { Ok(None) } else { mappings::home(map, text).map(Some) }
}
