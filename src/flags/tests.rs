//! The table walked from end to end, and scenarios of what people type.

mod mappings;

use std::collections::BTreeSet;
use std::fs;

use super::mappings::HOME_HINT;
use super::table::{self, Row, Settings, Sources};
use super::*;

const COMMANDS: [CommandKind; 3] = [CommandKind::Slave, CommandKind::Execute, CommandKind::LocalMaster];

fn words(text: &[&str]) -> Vec<String> {
    text.iter().map(|word| word.to_string()).collect()
}

fn run(command: CommandKind, args: &[&str], environment: &[(&str, &str)]) -> Result<Parsed, FlagError> {
    let environment: Vec<_> = environment.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
    parse(command, &words(args), environment.into_iter())
}

fn slave(args: &[&str], environment: &[(&str, &str)]) -> Flags {
    match run(CommandKind::Slave, args, environment) {
        Ok(Parsed::Slave(flags)) => *flags,
        other => panic!("{other:?}"),
    }
}

fn refused(command: CommandKind, args: &[&str], environment: &[(&str, &str)]) -> String {
    run(command, args, environment).expect_err("it should be refused").to_string()
}

/// A directory of the test's own, removed at the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new(test: &str) -> Scratch {
        let path = std::env::temp_dir().join(format!("mesos-slave-flags-{}-{test}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Scratch(path)
    }

    fn file(&self, text: &str) -> String {
        let path = self.0.join("mesos.conf");
        fs::write(&path, text).unwrap();
        path.display().to_string()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A good value for a row that is not its default.
fn sample(row: &Row) -> &'static str {
    match row.name {
        "master" => "10.1.2.3:5055",
        "command" => "echo 'a b' $HOME",
        "task_group" => "/srv/group.json",
        "resources" => "cpus:2;mem:256",
        "attributes" => "rack:r1",
        "env" => "A=b=c",
        "executor_environment_variables" => "{\"A\": \"b=c\"}",
        "name" => "a task",
        "user" | "vm_ssh_user" => "nobody",
        "timeout" => "7mins",
        "ip" | "advertise_ip" => "10.9.8.7",
        "port" | "advertise_port" | "webui_port" => "6001",
        "hostname" => "h.example.org",
        "isolation" => "vm",
        "switch_user" => "false",
        "logging_level" => "ERROR",
        "vm_image" | "vm_network" => "other",
        "vm_uri" => "qemu+unix:///system?socket=/run/x",
        "vm_accelerator" => "tcg",
        "vm_guest_isolation" => "address",
        "authenticate_http_executors" => "true",
        "vm_memory_overhead" | "fetcher_cache_size" => "128MB",
        name if row.hint == "DURATION" => match name {
            "registration_backoff_factor" => "3secs",
            _ => "33secs",
        },
        "vm_path_map" => "/opt/a:/b,/opt/a/c:/d",
        _ if row.hint == HOME_HINT => "/srv/home:/srv/guest",
        _ if matches!(row.hint, "DIR" | "FILE") => "/srv/elsewhere",
        name => panic!("no sample for {name}"),
    }
}

/// What every invocation of the command needs, without the row in question.
fn needed(command: CommandKind, row: &Row) -> Vec<String> {
    let needs: &[&str] = match command {
        CommandKind::Slave if row.name == "authenticate_http_executors" => &["--master=a:1", "--jwt_secret_key=/k"],
        CommandKind::Slave => &["--master=a:1"],
        CommandKind::Execute if row.name == "task_group" => &["--master=local"],
        CommandKind::Execute => &["--master=local", "--command=true"],
        CommandKind::LocalMaster => &[],
    };
    needs.iter().filter(|need| !need.starts_with(&format!("--{}=", row.name))).map(|need| need.to_string()).collect()
}

fn parse_ok(command: CommandKind, args: &[String], environment: Vec<(String, String)>) -> Parsed {
    parse(command, args, environment.into_iter()).unwrap_or_else(|error| panic!("{args:?}: {error}"))
}

#[test]
fn every_flag_is_read_alike_from_each_place_that_it_may_come_from() {
    let scratch = Scratch::new("places");
    for command in COMMANDS {
        for row in table::of(command).filter(|row| row.name != "conf") {
            let bare = needed(command, row);
            let typed: Vec<_> = bare.iter().cloned().chain([format!("--{}={}", row.name, sample(row))]).collect();
            let expected = parse_ok(command, &typed, vec![]);
            if !matches!(row.name, "master" | "command" | "task_group") {
                assert_ne!(expected, parse_ok(command, &bare, vec![]), "{} changes nothing", row.name);
            }
            if row.sources != Sources::Everywhere {
                continue;
            }
            let variable = vec![(row.variable(), sample(row).to_string())];
            assert_eq!(parse_ok(command, &bare, variable), expected, "{} by environment", row.name);
            if command == CommandKind::LocalMaster {
                continue; // It takes no conf file.
            }
            let conf = scratch.file(&format!("# one line\n {} = {} \n", row.name, sample(row)));
            let by_file = parse_ok(command, &bare, vec![("MESOS_CONF".into(), conf)]);
            assert_eq!(without_conf(by_file), without_conf(expected), "{} by file", row.name);
        }
    }
}

fn without_conf(mut parsed: Parsed) -> Parsed {
    if let Parsed::Execute(flags) = &mut parsed {
        flags.slave_arguments.retain(|argument| !argument.starts_with("--conf="));
    }
    parsed
}

#[test]
fn the_table_is_sound() {
    for command in COMMANDS {
        let rows: Vec<_> = table::of(command).collect();
        let names: BTreeSet<_> = rows.iter().map(|row| row.name).collect();
        assert_eq!(names.len(), rows.len(), "a name twice for {command:?}");
        let shorts: Vec<_> = rows.iter().map(|row| row.short).filter(|short| !short.is_empty()).collect();
        assert_eq!(shorts.iter().collect::<BTreeSet<_>>().len(), shorts.len());
        assert!(!shorts.contains(&"h"));
    }
    for row in table::all() {
        assert!(row.name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{}", row.name);
        assert!(!row.help.is_empty() && !row.allowed.is_empty(), "{}", row.name);
        if let Some(default) = row.default {
            (row.set)(&mut Settings::default(), default).unwrap_or_else(|why| panic!("{}: {why}", row.name));
        }
        assert!(!row.is_switch() || row.default.is_some(), "a switch needs a default: {}", row.name);
    }
}

#[test]
fn a_bad_value_of_any_flag_names_key_place_and_what_is_allowed() {
    let anything = ["command", "task_group", "name", "conf"];
    for command in COMMANDS {
        for row in table::of(command).filter(|row| !anything.contains(&row.name)) {
            let mut args = needed(command, row);
            args.push(format!("--{}=\u{1}", row.name)); // No row takes a control character.
            let error = parse(command, &args, std::iter::empty()).expect_err(row.name).to_string();
            let place = format!("for '{0}' (--{0} on the command line)", row.name);
            assert!(error.contains(&place), "{error}");
            assert!(error.ends_with(&format!("allowed: {}", row.allowed)), "{error}");
        }
    }
}

#[test]
fn command_line_wins_over_environment_over_file_over_default() {
    let scratch = Scratch::new("order");
    let conf = scratch.file("port=1003\n");
    let conf = conf.as_str();
    let master = "--master=a:1";
    let all = [("MESOS_PORT", "1002"), ("MESOS_CONF", conf)];
    assert_eq!(slave(&[master, "--port=1001"], &all).port, 1001);
    assert_eq!(slave(&[master], &all).port, 1002);
    assert_eq!(slave(&[master], &all[1..]).port, 1003);
    assert_eq!(slave(&[master], &[]).port, 5051);
    let directory = format!("--conf={}", scratch.0.display());
    assert_eq!(slave(&[master, &directory], &[]).port, 1003);
}

#[test]
fn the_defaults_are_those_that_mesos_has() {
    let flags = slave(&["-m", "mesos://master@10.0.0.1:5050"], &[]);
    assert_eq!(flags.master, Master::Address { host: "10.0.0.1".into(), port: 5050 });
    assert_eq!(flags.isolation, Isolation::Process);
    assert_eq!(flags.work_dir, PathBuf::from("/var/lib/mesos"));
    assert_eq!(flags.runtime_dir, PathBuf::from("/var/run/mesos"));
    assert_eq!(flags.vm.image_dir, PathBuf::from("/var/lib/mesos-slave/images"));
    assert_eq!(flags.vm.boot_timeout, Duration::from_secs(120));
    assert_eq!(flags.vm.memory_overhead, 64 << 20);
    assert_eq!(flags.recovery_timeout, Duration::from_secs(900));
    assert_eq!(flags.credential, None);
    assert_eq!(flags.authentication_timeout_min, Duration::from_secs(5));
    assert_eq!(flags.authentication_timeout_max, Duration::from_secs(60));
    assert_eq!(flags.authentication_backoff_factor, Duration::from_secs(1));
    assert_eq!(flags.executor_shutdown_grace_period, Duration::from_secs(5));
    assert!(flags.switch_user);
    assert_eq!(flags.warnings, Vec::<String>::new());
}

#[test]
fn images_follow_the_directory_of_the_vms_unless_told_otherwise() {
    assert_eq!(slave(&["-m", "a:1", "--vm_dir=/srv/vm"], &[]).vm.image_dir, PathBuf::from("/srv/vm/images"));
    let apart = slave(&["-m", "a:1", "--vm_dir=/srv/vm", "--vm_image_dir=/srv/images"], &[]);
    assert_eq!(apart.vm.image_dir, PathBuf::from("/srv/images"));
}

#[test]
fn switches_are_written_in_four_ways() {
    for (arg, value) in [
        ("--switch_user", true),
        ("--no-switch_user", false),
        ("--switch_user=false", false),
        ("--switch_user=1", true),
    ] {
        assert_eq!(slave(&["-m", "a:1", arg], &[("MESOS_SWITCH_USER", "maybe")]).switch_user, value, "{arg}");
    }
    let error = refused(CommandKind::Slave, &["-m", "a:1"], &[("MESOS_SWITCH_USER", "maybe")]);
    assert_eq!(
        error,
        "bad value 'maybe' for 'switch_user' (environment variable MESOS_SWITCH_USER): it is neither true nor false; \
         allowed: true or false"
    );
}

#[test]
fn unknown_flags_are_refused_with_what_was_probably_meant() {
    let error = |args: &[&str]| refused(CommandKind::Slave, args, &[]);
    assert_eq!(
        error(&["--vm-imag=x"]),
        "unknown flag 'vm-imag' (--vm-imag on the command line); did you mean --vm_image?"
    );
    assert_eq!(
        error(&["--zookeeper=x"]),
        "unknown flag 'zookeeper' (--zookeeper on the command line); 'mesos-slave --help' lists the flags there are"
    );
    assert!(error(&["--no-swich_user"]).ends_with("did you mean --no-switch_user?"));
    assert!(error(&["-z"]).starts_with("unknown flag 'z' (-z on the command line)"));
    assert!(error(&["--command=x"]).contains("it is one of 'mesos-slave execute', not of 'mesos-slave'"));
    assert!(error(&["--port"]).starts_with("flag 'port' has no value (--port on the command line); allowed: a number"));
    assert!(error(&["-m"]).contains("flag 'm' has no value (-m on the command line); allowed: host:port"));
    assert!(error(&["--no-switch_user=true"]).ends_with("--no-switch_user on the command line takes no value"));
    assert!(error(&["-m", "a:1", "start"]).starts_with("'start' is no command and no flag (command line)"));
    assert!(refused(CommandKind::Execute, &["uname", "-a"], &[]).contains("unknown flag 'a'"));
    assert!(refused(CommandKind::Execute, &["uname"], &[]).contains("--command='...'"));
}

#[test]
fn unknown_variables_are_left_alone() {
    let foreign = [("MESOS_NATIVE_JAVA_LIBRARY", "/x.so"), ("MESOS_COMMAND", "rm"), ("PORT", "x"), ("MESOS_", "")];
    assert_eq!(slave(&["-m", "a:1"], &foreign), slave(&["-m", "a:1"], &[]));
}

#[test]
fn a_file_with_a_mistake_is_refused_with_its_line() {
    let scratch = Scratch::new("file");
    let error = |text: &str| {
        let conf = scratch.file(text);
        (refused(CommandKind::Slave, &["-m", "a:1", "--conf", &conf], &[]), conf)
    };
    let (text, conf) = error("\n# port\nprot=5\n");
    assert_eq!(text, format!("unknown flag 'prot' ({conf}:3); did you mean 'port'?"));
    let (text, conf) = error("port=abc");
    assert!(
        text.starts_with(&format!("bad value 'abc' for 'port' ({conf}:1): not a whole number; allowed: ")),
        "{text}"
    );
    let (text, _) = error("no-switch_user=true");
    assert!(text.ends_with("did you mean switch_user=false?"), "{text}");
    let (text, conf) = error("switch_user");
    assert!(text.starts_with(&format!("'switch_user' ({conf}:1) is no key=value")), "{text}");
    let (text, _) = error("conf=/etc/other");
    assert!(text.contains("never taken from a file"), "{text}");
    let (text, conf) = error("port=1\nip=10.0.0.1\nport=2\n");
    assert_eq!(text, format!("port=1 ({conf}:1) contradicts port=2 ({conf}:3): give one of them"));
    let missing = refused(CommandKind::Slave, &["-m", "a:1", "--conf=/nowhere/mesos.conf"], &[]);
    assert!(
        missing.contains("cannot read the configuration file /nowhere/mesos.conf (--conf on the command line)"),
        "{missing}"
    );
    let by_variable = refused(CommandKind::Slave, &["-m", "a:1"], &[("MESOS_CONF", "/dev/null")]);
    assert!(by_variable.contains("(environment variable MESOS_CONF): it is no regular file"), "{by_variable}");
}

#[test]
fn one_file_serves_slave_and_execute() {
    let scratch = Scratch::new("shared");
    let conf = scratch.file("master=a:1\nresources=cpus:64;mem:4096\nport=5055\nvm_image=big\n");
    let args = ["--command=true", "--conf", &conf];
    let Ok(Parsed::Execute(flags)) = run(CommandKind::Execute, &args, &[]) else { panic!() };
    assert_eq!(flags.master.to_string(), "a:1");
    assert_eq!(flags.resources, "cpus:1;mem:128");
    assert_eq!(flags.slave_arguments, Vec::<String>::new());
}

#[test]
fn contradictions_are_refused() {
    let error = |args: &[&str]| refused(CommandKind::Slave, &[&["-m", "a:1"], args].concat(), &[]);
    assert_eq!(
        error(&["--no-switch_user", "--switch_user"]),
        "switch_user=true (--switch_user on the command line) contradicts switch_user=false (--no-switch_user on the \
         command line): give one of them"
    );
    assert!(error(&["--port=1", "--port=2"]).contains("port=1 (--port on the command line) contradicts port=2"));
    assert!(error(&["--work_dir=/a", "--runtime_dir=/a/"]).contains("give them two directories"));
    assert_eq!(slave(&["-m", "a:1", "--port=1", "--port=1"], &[]).port, 1);
    let error = error(&["--authentication_timeout_min=2mins"]);
    assert!(error.ends_with("the most must not be less than the least"), "{error}");
}

#[test]
fn a_slave_without_a_master_is_told_what_a_master_is() {
    assert_eq!(
        refused(CommandKind::Slave, &[], &[]),
        "--master is missing; allowed: host:port, mesos://master@host:port, zk://[user:password@]host:port,.../path, \
         file:///path or local; 'mesos-slave --help' explains all flags"
    );
    assert!(refused(CommandKind::Execute, &["-m", "local"], &[]).starts_with("--command is missing"));
    let both = refused(CommandKind::Execute, &["-m", "local", "--task_group={}", "--name=x"], &[]);
    assert!(both.starts_with("--name contradicts --task_group: "), "{both}");
    let zookeeper = refused(CommandKind::Slave, &["--master=zk://u:secret@a:2181"], &[]);
    assert!(zookeeper.contains("no path") && !zookeeper.contains("secret"), "{zookeeper}");
}

#[test]
fn a_credential_is_named_by_path_or_file_url() {
    let credential = |text: &str| slave(&["-m", "a:1", &format!("--credential={text}")], &[]).credential;
    assert_eq!(credential("/etc/mesos/credential"), Some(PathBuf::from("/etc/mesos/credential")));
    assert_eq!(credential("file:///etc/mesos/credential"), credential("/etc/mesos/credential"));
    for text in ["credential", "file://credential", "http:///etc/credential"] {
        let error = refused(CommandKind::Slave, &["-m", "a:1", "--credential", text], &[]);
        assert!(error.contains("not absolute"), "{error}");
    }
}

#[test]
fn executors_cannot_be_asked_for_tokens_that_nobody_gives_them() {
    let error = refused(CommandKind::Slave, &["-m", "a:1", "--authenticate_http_executors=true"], &[]);
    assert!(error.to_string().contains("--jwt_secret_key"), "{error}");
    let flags = slave(&["-m", "a:1", "--authenticate_http_executors=true", "--jwt_secret_key=/k"], &[]);
    assert_eq!((flags.authenticate_http_executors, flags.jwt_secret_key), (true, Some(PathBuf::from("/k"))));
}

#[test]
fn a_credential_for_the_embedded_master_is_left_out_with_a_warning() {
    let flags = slave(&["-m", "local"], &[("MESOS_CREDENTIAL", "/etc/mesos/credential")]);
    assert_eq!(flags.credential, None);
    assert_eq!(flags.warnings, ["the embedded master has no authentication: --credential has no effect"]);
}

#[test]
fn vm_flags_without_vms_are_taken_with_a_warning() {
    let flags = slave(&["-m", "a:1", "--vm_image=x"], &[("MESOS_VM_NETWORK", "mesos")]);
    assert_eq!(flags.warnings, ["without --isolation=vm, these have no effect: --vm_image, --vm_network"]);
    assert_eq!(slave(&["-m", "a:1", "--vm_image=x", "-i", "vm"], &[]).warnings, Vec::<String>::new());
}

#[test]
fn execute_hands_the_flags_of_its_slave_on_as_they_were_given() {
    let args = ["-m", "local", "-c", "x", "-i", "vm", "--vm_image=y", "-e", "A=1", "--env=B=", "--user=nobody"];
    let environment = [("MESOS_VM_BOOT_TIMEOUT", "5mins"), ("MESOS_RESOURCES", "cpus:9")];
    let Ok(Parsed::Execute(flags)) = run(CommandKind::Execute, &args, &environment) else { panic!() };
    assert_eq!(flags.slave_arguments, ["--isolation=vm", "--vm_image=y", "--vm_boot_timeout=5mins"]);
    assert!(flags.slave_has("vm_image") && !flags.slave_has("work_dir"));
    assert_eq!(flags.isolation, Isolation::Vm);
    assert_eq!(flags.env, [("A".to_string(), "1".to_string()), ("B".to_string(), String::new())]);
    assert_eq!(flags.user.as_deref(), Some("nobody"));
    assert_eq!(flags.resources, "cpus:1;mem:128");
}

#[test]
fn flags_of_a_slave_are_refused_where_none_is_started() {
    let error = refused(CommandKind::Execute, &["-m", "a:1", "-c", "x", "-i", "vm"], &[]);
    assert!(
        error.starts_with("--isolation contradicts --master=a:1: 'execute' starts a slave of its own only with"),
        "{error}"
    );
    let environment = [("MESOS_ISOLATION", "vm")];
    assert!(run(CommandKind::Execute, &["-m", "a:1", "-c", "x"], &environment).is_ok());
}

#[test]
fn a_commands_bytes_arrive_unchanged() {
    let hostile = "a 'b' \"c\" $d `e`; f\n../g \u{7f}-x=y";
    let Ok(Parsed::Execute(flags)) = run(CommandKind::Execute, &["-m", "local", "-c", hostile], &[]) else { panic!() };
    assert_eq!(flags.command, hostile);
}

#[test]
fn help_shows_every_flag_with_its_default_within_the_width() {
    for command in COMMANDS {
        let Ok(Parsed::Help(text)) = run(command, &["--port=x", "--help"], &[]).or_else(|_| run(command, &["-h"], &[]))
        else {
            panic!()
        };
        for row in table::of(command) {
            let flag = if row.is_switch() { format!("--[no-]{}", row.name) } else { format!("--{}=", row.name) };
            assert!(text.contains(&flag), "{flag}");
            assert!(row.default.is_none_or(|default| text.contains(&format!("[{default}]"))), "{flag}");
        }
        assert!(text.lines().all(|line| line.len() <= 100), "{text}");
    }
    assert_eq!(run(CommandKind::Slave, &["--version"], &[]).unwrap(), Parsed::Version(version()));
}

#[test]
fn an_argument_that_is_not_text_is_refused() {
    use std::os::unix::ffi::OsStringExt;
    let args = [OsString::from_vec(vec![b'a', 0xff])];
    assert!(arguments(args.into_iter()).unwrap_err().to_string().contains("not UTF-8"));
}

/// With `UPDATE_CONF=1` the file is written anew.
#[test]
fn the_conf_file_in_the_tree_is_the_one_that_the_table_makes() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/conf/mesos.conf");
    if std::env::var_os("UPDATE_CONF").is_some() {
        fs::create_dir_all(concat!(env!("CARGO_MANIFEST_DIR"), "/conf")).unwrap();
        fs::write(path, conf_file()).unwrap();
    }
    let text = fs::read_to_string(path).unwrap();
    assert!(text == conf_file(), "conf/mesos.conf is stale: run UPDATE_CONF=1 cargo test conf_file");
}

#[test]
fn the_conf_file_with_every_key_uncommented_is_valid_but_for_those_without_a_default() {
    let scratch = Scratch::new("annotated");
    let key = |line: &&str| line.starts_with('#') && !line.starts_with("# ") && !line.ends_with('=');
    let lines: Vec<_> = conf_file().lines().filter(key).map(|line| line[1..].to_string()).collect();
    assert!(lines.len() > 15, "{lines:?}");
    let conf = scratch.file(&lines.join("\n"));
    let conf = format!("--conf={conf}");
    let (bare, with) = (slave(&["-m", "a:1"], &[]), slave(&["-m", "a:1", &conf], &[]));
    assert_eq!(Flags { warnings: vec![], ..with }, bare);
}

#[test]
fn the_fetchers_cache_is_in_the_work_dir_and_a_home_may_be_nothing() {
    let flags =
        slave(&["--master=a:1", "--work_dir=/w", "--frameworks_home=", "--hadoop_home=/opt/hadoop"], &[]).fetcher;
    assert_eq!((flags.cache_dir.as_path(), flags.cache_size), (std::path::Path::new("/w/fetch"), 2 << 30));
    assert_eq!(flags.stall_timeout, Duration::from_secs(60));
    assert_eq!((flags.frameworks_home, flags.hadoop_home), (None, Some("/opt/hadoop".into())));
    let elsewhere = slave(&["--master=a:1"], &[("MESOS_FETCHER_CACHE_DIR", "/c")]).fetcher;
    assert_eq!(elsewhere.cache_dir, PathBuf::from("/c"));
}
