//! The launcher, run by the shells of this machine in a directory of the test's own.

use super::*;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A guest of one test: its directory, and the launcher for one command.
pub(super) struct Guest {
    directory: PathBuf,
    shell: Vec<&'static str>,
}

impl Drop for Guest {
    fn drop(&mut self) {
        let _ = self.verb(&["kill", "KILL"]);
        // The supervisor may be writing its last file just now.
        let until = std::time::Instant::now() + std::time::Duration::from_secs(60);
        while fs::remove_dir_all(&self.directory).is_err()
            && self.directory.exists()
            && std::time::Instant::now() < until
        {
            std::thread::yield_now();
        }
    }
}

impl Guest {
    pub(super) fn new(shell: &[&'static str], change: impl FnOnce(&mut LauncherScript)) -> Guest {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let directory = std::env::temp_dir().join(format!("mesos-launcher-{}-{number}", std::process::id()));
        fs::create_dir_all(&directory).expect("directory");
        let guest = Guest { directory, shell: shell.to_vec() };
        let mut launcher = LauncherScript {
            state: guest.path("state"),
            sandbox: guest.path("a sandbox with 'quotes', $dollars and `more`"),
            user: None,
            environment: vec![],
            program: Program::Shell("true".to_string()),
            hostname: None,
            names_address: false,
            checks: vec![],
        };
        change(&mut launcher);
        fs::create_dir_all(&launcher.state).expect("state");
        fs::write(path(&launcher.state), script(&launcher).expect("script")).expect("launcher");
        guest
    }

    fn shell(command: &str) -> Guest {
        Guest::new(&["/bin/sh"], |launcher| launcher.program = Program::Shell(command.to_string()))
    }

    fn path(&self, name: &str) -> String {
        self.directory.join(name).to_str().expect("utf-8").to_string()
    }

    pub(super) fn sandbox(&self) -> PathBuf {
        self.directory.join("a sandbox with 'quotes', $dollars and `more`")
    }

    pub(super) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.sandbox().join(name)).expect(name)
    }

    pub(super) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.shell[0]);
        command.args(&self.shell[1..]).arg(path(&self.path("state"))).args(arguments).stdin(Stdio::null());
        command
    }

    pub(super) fn verb(&self, arguments: &[&str]) -> JobEnd {
        let Output { status, stdout, stderr } = self.command(arguments).output().expect("launcher");
        JobEnd { exit: status.code().map(Exit::Status), stdout, stderr }
    }

    pub(super) fn start(&self) -> Started {
        parse_start(&self.verb(&["start"])).expect("start")
    }

    fn wait(&self) -> CommandEnded {
        parse_wait(&self.verb(&["wait"])).expect("wait")
    }

    fn run(&self) -> CommandEnded {
        self.start();
        self.wait()
    }

    /// Waits for a line that the command writes when it is ready.
    pub(super) fn await_line(&self, line: &str) {
        let until = std::time::Instant::now() + std::time::Duration::from_secs(120);
        while !self.read("stdout").lines().any(|other| other == line) {
            assert!(std::time::Instant::now() < until, "no {line:?} in {:?}", self.read("stdout"));
            std::thread::yield_now();
        }
    }
}

/// The shells of this machine that a guest may have as /bin/sh.
pub(super) fn shells() -> Vec<Vec<&'static str>> {
    let all: [&[&'static str]; 4] = [&["/bin/sh"], &["dash"], &["bash"], &["busybox", "ash"]];
    let there = |shell: &&[&str]| {
        Command::new(shell[0]).args(&shell[1..]).args(["-c", "true"]).status().is_ok_and(|s| s.success())
    };
    all.into_iter().filter(there).map(<[&str]>::to_vec).collect()
}

/// A guest whose kernel counts in a file of the test's.
fn guest_with_a_count(shell: &[&'static str], command: String) -> Guest {
    let guest = Guest::new(shell, |launcher| launcher.program = Program::Shell(command));
    let (launcher, vmstat) = (path(&guest.path("state")), guest.path("vmstat"));
    let text = fs::read_to_string(&launcher).expect("launcher");
    let text = text.replace("vmstat=/proc/vmstat", &format!("vmstat={vmstat}"));
    fs::write(launcher, text).expect("launcher");
    fs::write(vmstat, "nr_free_pages 7\noom_kill 3\nswap_ra 0\n").expect("vmstat");
    guest
}

#[test]
fn a_process_that_the_guest_had_no_memory_for_is_told_of_if_the_command_failed() {
    for shell in shells() {
        for (count, exit, told) in [(4, 137, true), (5, 1, true), (4, 0, false), (3, 137, false)] {
            let count = format!("printf 'x 1\\noom_kill {count}\\nx 2\\n' >../vmstat; exit {exit}");
            assert_eq!(guest_with_a_count(&shell, count.clone()).run().out_of_memory, told, "{shell:?} {count}");
        }
    }
}

#[test]
fn the_exit_status_of_the_command_is_what_wait_gives_under_every_shell() {
    for shell in shells() {
        for (command, exit) in [
            ("exit 0", Exit::Status(0)),
            ("exit 1", Exit::Status(1)),
            ("exit 127", Exit::Status(127)),
            ("no-such-command-anywhere", Exit::Status(127)),
            ("exit 255", Exit::Status(255)),
            ("kill -9 $$", Exit::Signal(9)),
            ("kill -15 $$", Exit::Signal(15)),
            ("kill -INT $$", Exit::Signal(2)),
            ("-x", Exit::Status(127)),
        ] {
            let guest = Guest::new(&shell, |launcher| launcher.program = Program::Shell(command.to_string()));
            assert_eq!(guest.run().exit, exit, "{shell:?} {command:?}");
        }
    }
}

#[test]
fn output_is_in_the_sandbox_and_its_final_sizes_are_told() {
    let guest = Guest::shell("pwd; echo problem >&2; sleep 0; printf x");
    let ended = guest.run();
    let stdout = format!("{}\nx", guest.sandbox().display());
    assert_eq!((guest.read("stdout"), guest.read("stderr")), (stdout.clone(), "problem\n".to_string()));
    assert_eq!((ended.stdout, ended.stderr), (stdout.len() as u64, 8));
}

#[test]
fn hostile_variables_and_commands_arrive_as_they_are_and_nothing_else_runs() {
    for shell in shells() {
        let every: String = (1u8..128).map(char::from).chain("ä€𝄞\u{81}".chars()).collect();
        let variables = [
            ("EVERY".to_string(), every.clone()),
            ("LONG".to_string(), "'$(touch ran)'\n;".repeat(4096)),
            ("-i".to_string(), "an option?".to_string()),
            ("a name; touch ran\n'$(touch ran)".to_string(), "`touch ran`".to_string()),
            ("TWICE".to_string(), "first".to_string()),
            ("TWICE".to_string(), "second".to_string()),
            ("HOME".to_string(), "/the framework's".to_string()),
            ("EMPTY".to_string(), String::new()),
        ];
        let guest = Guest::new(&shell, |launcher| {
            launcher.environment = variables.to_vec();
            launcher.program =
                Program::Exec { file: "env".to_string(), arguments: vec!["env".to_string(), "-0".to_string()] };
        });
        assert_eq!(guest.run().exit, Exit::Status(0), "{}", guest.read("stderr"));
        let got = guest.read("stdout");
        let got: Vec<&str> = got.split_terminator('\0').collect();
        for (name, value) in variables.iter().filter(|(_, value)| value != "first") {
            assert!(got.contains(&format!("{name}={value}").as_str()), "{shell:?}: {name:?} did not arrive");
        }
        let user = std::env::var("USER").unwrap_or("root".to_string());
        let others: Vec<&str> =
            got.iter().filter(|one| !variables.iter().any(|(n, v)| **one == format!("{n}={v}"))).copied().collect();
        let names: Vec<&str> = others.iter().filter_map(|one| one.split('=').next()).collect();
        assert_eq!(names, ["USER", "LOGNAME", "SHELL", "PATH"], "{user}: {others:?}");
        assert!(!guest.sandbox().join("ran").exists() && !guest.directory.join("ran").exists());
    }
}

#[test]
fn arguments_are_passed_one_by_one_with_the_frameworks_name_for_the_program() {
    for shell in shells() {
        let hostile = ["my name", "a b", "", "$(echo run)", "'\"\\", "new\nline", "--", "-n", "x=y", "*"];
        let guest = Guest::new(&shell, |launcher| {
            let arguments = ["my name", "-c", "printf '%s\\0' \"$0\" \"$@\""]
                .into_iter()
                .chain(hostile)
                .map(str::to_string)
                .collect();
            launcher.program = Program::Exec { file: "sh".to_string(), arguments };
        });
        assert_eq!(guest.run().exit, Exit::Status(0));
        assert_eq!(guest.read("stdout").split_terminator('\0').collect::<Vec<_>>(), hostile);
        let guest = Guest::new(&shell, |launcher| {
            launcher.program = Program::Exec {
                file: "cat".to_string(),
                arguments: vec!["my name".into(), "/proc/self/cmdline".into()],
            };
        });
        guest.run();
        assert_eq!(guest.read("stdout"), "my name\0/proc/self/cmdline\0", "{shell:?}");
    }
}

#[test]
fn a_program_whose_name_looks_like_a_variable_is_run_all_the_same() {
    let guest = Guest::new(&["/bin/sh"], |launcher| {
        launcher.program = Program::Exec { file: "./a=b".into(), arguments: vec![] }
    });
    fs::create_dir_all(guest.sandbox()).expect("sandbox");
    std::os::unix::fs::symlink("/bin/echo", guest.sandbox().join("a=b")).expect("link");
    assert_eq!(guest.run().exit, Exit::Status(0));
    assert_eq!(guest.read("stdout"), "\n");
}

#[test]
fn a_user_that_is_not_there_is_told_and_nothing_runs() {
    let guest = Guest::new(&["/bin/sh"], |launcher| {
        launcher.user = Some("nobody-of-this-name".to_string());
        launcher.program = Program::Shell("touch ran".to_string());
    });
    assert_eq!(parse_start(&guest.verb(&["start"])), Err(VerbError::NoUser));
    assert!(!guest.sandbox().exists());
    assert_eq!(parse_wait(&guest.verb(&["wait"])), Err(VerbError::NotStarted));
}

#[test]
fn the_command_runs_as_its_user_with_that_users_login_variables() {
    if !nix::unistd::geteuid().is_root() {
        return; // only root can switch users
    }
    for shell in shells() {
        let guest = Guest::new(&shell, |launcher| {
            launcher.user = Some("nobody".to_string());
            launcher.program = Program::Shell(
                "id -un; id -Gn; echo $USER $LOGNAME $HOME; echo yes >mine; cat /proc/1/environ >x".to_string(),
            );
        });
        guest.run();
        let stdout = guest.read("stdout");
        assert_eq!(
            stdout.lines().collect::<Vec<_>>(),
            ["nobody", "nogroup", "nobody nobody /nonexistent"],
            "{shell:?}"
        );
        assert_eq!(guest.read("mine"), "yes\n");
        assert_eq!(guest.read("x"), "", "the user read a file of root's");
    }
}

#[test]
fn a_second_start_finds_the_first() {
    let guest = Guest::shell("echo once; sleep 600");
    let first = guest.start();
    assert_eq!(guest.start(), first);
    guest.await_line("once");
    guest.verb(&["kill", "KILL"]);
    assert_eq!(guest.wait().exit, Exit::Signal(9));
    assert_eq!(guest.start(), first, "a start after the end must not run the command again");
    assert_eq!(guest.read("stdout"), "once\n");
}

#[test]
fn a_tree_that_ignores_term_and_leaves_its_session_is_gone_after_kill() {
    for shell in shells() {
        let command = "trap '' TERM; (trap '' TERM; setsid sh -c 'echo $$ >>pids; echo inner; sleep 600; sleep 600') &\n\
                       sh -c 'echo $$ >>pids; exec sleep 600' & sleep 600 & echo $$ >>pids; echo outer; while :; do wait; sleep 600; done";
        let guest = Guest::new(&shell, |launcher| launcher.program = Program::Shell(command.to_string()));
        let started = guest.start();
        guest.await_line("inner");
        guest.await_line("outer");
        assert!(guest.verb(&["kill", "TERM"]).is_success());
        assert!(PathBuf::from(format!("/proc/{}", started.pid)).exists(), "TERM is ignored by this one");
        assert!(guest.verb(&["kill", "KILL"]).is_success());
        assert_eq!(guest.wait().exit, Exit::Signal(9));
        for pid in guest.read("pids").lines() {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            assert!(stat.is_empty() || stat.contains(") Z "), "{shell:?}: {stat}");
        }
    }
}

#[test]
fn what_the_command_leaves_running_ends_with_it() {
    let guest = Guest::shell("sleep 600 & echo $! >left; exit 5");
    assert_eq!(guest.run().exit, Exit::Status(5));
    let stat = fs::read_to_string(format!("/proc/{}/stat", guest.read("left").trim())).unwrap_or_default();
    assert!(stat.is_empty() || stat.contains(") Z "), "{stat}");
}

#[test]
fn kill_and_wait_work_when_nothing_runs() {
    let guest = Guest::shell("true");
    assert!(guest.verb(&["kill", "TERM"]).is_success());
    assert_eq!(parse_wait(&guest.verb(&["wait"])), Err(VerbError::NotStarted));
    guest.run();
    assert!(guest.verb(&["kill", "KILL"]).is_success());
    assert_eq!(guest.wait().exit, Exit::Status(0), "the end can be asked for again");
}

#[test]
fn a_wait_that_began_before_the_end_is_answered_by_it() {
    let guest = Guest::shell("read line <go; exit 7");
    fs::create_dir_all(guest.sandbox()).expect("sandbox");
    nix::unistd::mkfifo(&guest.sandbox().join("go"), nix::sys::stat::Mode::S_IRWXU).expect("fifo");
    guest.start();
    let waiting = guest.command(&["wait"]).stdout(Stdio::piped()).spawn().expect("wait");
    fs::write(guest.sandbox().join("go"), "go\n").expect("go");
    let output = waiting.wait_with_output().expect("wait");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "exit=7\nstdout=0\nstderr=0\n");
}

#[test]
fn a_killed_supervisor_is_a_lost_command_not_an_endless_wait() {
    let guest = Guest::shell("sleep 600");
    let started = guest.start();
    let stat = fs::read_to_string(format!("/proc/{}/stat", started.pid)).expect("stat");
    let supervisor = stat.rsplit(") ").next().and_then(|rest| rest.split(' ').nth(1)).expect("ppid");
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(supervisor.parse().expect("pid")),
        nix::sys::signal::Signal::SIGKILL,
    )
    .expect("kill");
    assert_eq!(parse_wait(&guest.verb(&["wait"])), Err(VerbError::Lost));
}

#[test]
fn a_command_of_another_boot_is_not_this_ones() {
    let guest = Guest::shell("sleep 600");
    let started = guest.start();
    let file = guest.directory.join("state/pid");
    let before = fs::read_to_string(&file).expect("pid");
    fs::write(&file, format!("pid={}\nboot_id=another\n", started.pid)).expect("pid");
    assert_eq!(parse_wait(&guest.verb(&["wait"])), Err(VerbError::NotStarted));
    fs::write(&file, before).expect("pid");
}

#[test]
fn the_command_can_be_interrupted_and_holds_no_descriptor_of_ours() {
    let guest = Guest::shell("trap 'echo interrupted; exit 3' INT; kill -INT $$; echo ignored");
    assert_eq!((guest.run().exit, guest.read("stdout").as_str()), (Exit::Status(3), "interrupted\n"));
    // What whoever runs the tests has left open is not the launcher's.
    let close = "for fd in /proc/$$/fd/*; do [ ${fd##*/} -le 2 ] || eval \"exec ${fd##*/}>&-\"; done; exec bash \"$@\"";
    let guest = Guest::new(&["bash", "-c", close, "bash"], |launcher| {
        launcher.program = Program::Shell("ls -l /proc/$$/fd".to_string());
    });
    guest.run();
    let open = guest.read("stdout");
    assert!(open.contains(" 2 -> ") && !open.contains("/state/"), "{open}");
    assert!(!(5..10).any(|fd| open.contains(&format!(" {fd} -> "))), "{open}");
}

#[test]
fn a_launcher_of_several_megabytes_works() {
    let guest = Guest::new(&["/bin/sh"], |launcher| {
        launcher.environment = (0..16).map(|n| (format!("V{n}"), "'".repeat(60_000))).collect();
        launcher.program = Program::Shell("printf %s \"$V15\" | wc -c".to_string());
    });
    assert!(fs::metadata(guest.directory.join("state/launcher")).expect("launcher").len() > 3_000_000);
    assert_eq!((guest.run().exit, guest.read("stdout").trim()), (Exit::Status(0), "60000"));
}

#[test]
fn an_executor_knows_the_guests_address_and_finds_it_by_the_slaves_name() {
    let guest = Guest::new(&["/bin/sh"], |launcher| {
        launcher.hostname = Some("slave-1.example".into());
        launcher.names_address = true;
        launcher.program = Program::Shell("echo $LIBPROCESS_IP".into());
    });
    // The test's own host keeps its names.
    let (launcher, hosts) = (path(&guest.path("state")), guest.path("hosts"));
    let text = fs::read_to_string(&launcher).expect("launcher").replace("hosts=/etc/hosts", &format!("hosts={hosts}"));
    fs::write(&launcher, text).expect("launcher");
    fs::write(&hosts, "127.0.0.1 localhost\n127.0.1.1 slave-1.example").expect("hosts");
    let mut start = guest.command(&["start"]);
    assert!(start.env("address", "10.0.0.7").output().expect("launcher").status.success());
    assert_eq!(parse_wait(&guest.verb(&["wait"])).expect("wait").exit, Exit::Status(0));
    assert_eq!(guest.read("stdout"), "10.0.0.7\n");
    if nix::unistd::geteuid().is_root() {
        let lines = "10.0.0.7 slave-1.example\n127.0.0.1 localhost\n127.0.1.1 slave-1.example\n";
        assert_eq!(fs::read_to_string(&hosts).expect("hosts"), lines);
    }
}

#[test]
fn two_launchers_in_one_guest_name_it_once() {
    if !nix::unistd::geteuid().is_root() {
        return; // only root names a guest
    }
    let guest = Guest::new(&["/bin/sh"], |launcher| launcher.hostname = Some("slave-1.example".into()));
    let (launcher, hosts) = (path(&guest.path("state")), guest.path("hosts"));
    let text = fs::read_to_string(&launcher).expect("launcher").replace("hosts=/etc/hosts", &format!("hosts={hosts}"));
    fs::write(&launcher, text).expect("launcher");
    fs::write(&hosts, "127.0.0.1 localhost\n").expect("hosts");
    // The other is at it, or has done it: what it writes is not read half-way, nor written over.
    fs::write(guest.path("named"), "").expect("mark");
    let mut start = guest.command(&["start"]);
    assert!(start.env("address", "10.0.0.7").output().expect("launcher").status.success());
    assert_eq!(parse_wait(&guest.verb(&["wait"])).expect("wait").exit, Exit::Status(0));
    assert_eq!(fs::read_to_string(&hosts).expect("hosts"), "127.0.0.1 localhost\n");
}

#[test]
fn a_hostname_that_could_be_more_than_a_name_is_left_out() {
    let line = |name: &str| {
        let launcher = LauncherScript { hostname: Some(name.into()), ..plain() };
        let text = String::from_utf8(script(&launcher).expect("script")).expect("utf-8");
        text.lines().find(|line| line.starts_with("hostname=")).expect("a line").to_string()
    };
    for name in ["a b", "a\nb", "1.2.3.4", "", "a#b"] {
        assert_eq!(line(name), "hostname=''", "{name}");
    }
    assert_eq!(line("slave-1.example"), format!("hostname={}", quote("slave-1.example")));
}

/// A launcher that goes nowhere.
fn plain() -> LauncherScript {
    LauncherScript {
        state: "/run/x".into(),
        sandbox: "/x".into(),
        user: None,
        environment: vec![],
        program: Program::Shell("true".into()),
        hostname: None,
        names_address: false,
        checks: vec![],
    }
}

#[test]
fn what_cannot_be_handed_to_a_program_is_refused_before_anything_is_sent() {
    let launcher = |change: fn(&mut LauncherScript)| {
        let mut launcher = plain();
        change(&mut launcher);
        script(&launcher)
    };
    assert_eq!(
        launcher(|l| l.environment = vec![("a=b".into(), "".into())]),
        Err(LauncherError::VariableName("a=b".into()))
    );
    assert_eq!(launcher(|l| l.environment = vec![("".into(), "".into())]), Err(LauncherError::VariableName("".into())));
    assert!(matches!(launcher(|l| l.environment = vec![("a".into(), "\0".into())]), Err(LauncherError::Nul(_))));
    assert!(matches!(
        launcher(|l| l.environment = vec![("a".into(), "x".repeat(200_000))]),
        Err(LauncherError::TooLong(..))
    ));
    assert!(matches!(launcher(|l| l.program = Program::Shell("\0".into())), Err(LauncherError::Nul(_))));
    assert!(matches!(launcher(|l| l.sandbox = "x".into()), Err(LauncherError::Path(_))));
    for user in ["", "-u", "0", "a b", "a;b", "a/b", "ä", "$", "a$b", "a\n"] {
        assert_eq!(check_user(user), Err(LauncherError::User(user.into())));
    }
    for user in ["root", "_apt", "www-data", "Domain.User", "machine$"] {
        assert_eq!(check_user(user), Ok(()));
    }
}
