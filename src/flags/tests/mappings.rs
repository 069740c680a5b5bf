//! Where guests have what the host has elsewhere: what operators give, and what they are told.

use super::*;

/// What is mapped, with the longest host's path first.
fn mapped(flags: &Flags) -> Vec<String> {
    flags.path_map.mappings().map(|mapping| mapping.to_string()).collect()
}

#[test]
fn a_home_may_be_elsewhere_in_guests_and_is_a_mapping_then() {
    let plain = slave(&["--master=a:1", "--isolation=vm", "--mesos_home=/opt/mesos", "--hadoop_home=/opt/hadoop"], &[]);
    assert_eq!((plain.mesos_home.clone(), mapped(&plain)), (Some("/opt/mesos".into()), vec![]));
    let flags = slave(
        &[
            "--master=a:1",
            "--isolation=vm",
            "--vm_path_map=/opt/spark/:/usr/lib/spark/,/f:/f",
            "--mesos_home=/opt/mesos:/m",
            "--spark_home=/opt/spark:/usr/lib/spark",
            "--hadoop_home=/opt/hadoop:/h",
            "--frameworks_home=/srv/frameworks/:/opt/frameworks",
        ],
        &[],
    );
    let host = |home: &Option<PathBuf>| home.as_ref().map(|home| home.display().to_string()).unwrap_or_default();
    assert_eq!(host(&flags.mesos_home), "/opt/mesos");
    assert_eq!(host(&flags.spark_home), "/opt/spark");
    assert_eq!(host(&flags.fetcher.hadoop_home), "/opt/hadoop");
    assert_eq!(host(&flags.fetcher.frameworks_home), "/srv/frameworks");
    let map =
        ["/srv/frameworks:/opt/frameworks", "/opt/hadoop:/h", "/opt/mesos:/m", "/opt/spark:/usr/lib/spark", "/f:/f"];
    assert_eq!(mapped(&flags), map);
    assert!(flags.warnings.is_empty());
}

#[test]
fn a_map_that_cannot_be_says_what_to_do() {
    let told = |args: &[&str]| refused(CommandKind::Slave, &[&["--master=a:1", "--isolation=vm"], args].concat(), &[]);
    for (flag, words) in [
        (
            "--vm_path_map=/a",
            "bad value '/a' for 'vm_path_map' (--vm_path_map on the command line): '/a' is not HOST:GUEST; write two",
        ),
        ("--vm_path_map=", "'' is not HOST:GUEST"),
        ("--vm_path_map=/a:/b,", "'' is not HOST:GUEST"),
        ("--vm_path_map=/a:b", "the guest's path 'b' is not absolute; begin it with '/'"),
        ("--vm_path_map=/a:/b/../c", "holds '..'"),
        ("--vm_path_map=/:/b", "is everything"),
        ("--vm_path_map=/a:/b,/a:/c", "/a:/c contradicts /a:/b (--vm_path_map, or one of the --..._home=HOST:GUEST)"),
        ("--spark_home=opt/spark", "it is not absolute"),
        ("--spark_home=/opt/spark:", "'/opt/spark:' is not HOST:GUEST"),
        ("--frameworks_home=:/a", "':/a' is not HOST:GUEST"),
    ] {
        let error = told(&[flag]);
        assert!(error.contains(words), "{flag}: {error}");
    }
    let error = told(&["--vm_path_map=/a:/b", "--hadoop_home=/a:/c"]);
    assert!(error.contains("contradicts"), "{error}");
    for host in ["/var", "/var/lib/x", "/var/lib/x/slaves", "/var/lib/x/slaves/S0"] {
        let error = told(&["--work_dir=/var/lib/x", &format!("--vm_path_map={host}:/b")]);
        let start = format!("the mapping {host}:/b contradicts --work_dir=/var/lib/x: sandboxes are below it");
        assert!(error.starts_with(&start), "{error}");
    }
    slave(
        &["--master=a:1", "--isolation=vm", "--work_dir=/var/lib/x", "--vm_path_map=/var/lib/x/f:/f,/var/lib/xy:/b"],
        &[],
    );
}

#[test]
fn without_guests_a_map_has_no_effect_and_this_is_said() {
    let flags = slave(&["--master=a:1", "--vm_path_map=/a:/b", "--mesos_home=/opt/m:/m", "--spark_home=/s"], &[]);
    let told = "without --isolation=vm, these have no effect: --mesos_home's GUEST, --vm_path_map";
    assert_eq!(flags.warnings, [told]);
    assert_eq!(flags.mesos_home, Some("/opt/m".into()));
}
