//! Whole lives of process containers: the child is this test program again, which becomes `process-container` when the
//! variable says so, as the child kills all that descends from it.

use super::*;
use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::container::connection::Connection;
use crate::container::scratch::Scratch;
use crate::container::{CHANNEL_FD, VERSION};
use crate::messages::container::{Fetcher, FromChild, Hello, Spec, ToChild, Variable, to_child};
use crate::messages::mesos::command_info::Uri;
use crate::messages::mesos::task_status::Reason;
use crate::messages::mesos::{CommandInfo, TaskId, TaskInfo, TaskState, TaskStatus, framework_info};
use crate::poll::PollSet;
use crate::subprocess::{Exit, Spawn, Subprocess};

mod checks;
mod holding;

const BECOME: &str = "MESOS_SLAVE_TEST_PROCESS_CONTAINER";

#[test]
fn becomes_the_child_when_told_to() {
    if let Some(directory) = std::env::var_os(BECOME) {
        let ok = main(&[directory.into_string().expect("utf-8")]) == ExitCode::SUCCESS;
        std::process::exit(if ok { 0 } else { 1 });
    }
}

struct Container {
    child: Subprocess,
    connection: Option<Connection>,
    directory: RuntimeDirectory,
    sandbox: PathBuf,
    updates: Vec<TaskStatus>,
    /// What was said of the fetching.
    fetched: Vec<bool>,
    _scratch: Scratch,
}

impl Drop for Container {
    fn drop(&mut self) {
        if self.child.try_wait().is_some() {
            return;
        }
        self.child.signal(Signal::SIGKILL);
        let mut set = PollSet::new();
        self.child.register(&mut set);
        let _ = set.wait(Some(Instant::now() + Duration::from_secs(60)));
        self.child.try_wait();
    }
}

impl Container {
    fn launch(change: impl FnOnce(&mut Spec, &mut CommandInfo)) -> Container {
        let scratch = Scratch::new();
        let directory = RuntimeDirectory::new(scratch.path().join("run"));
        directory.create().expect("directory");
        let sandbox = scratch.path().join("a sandbox");
        let mut command = CommandInfo::default();
        let mut spec = Spec {
            version: VERSION,
            container_id: "c".into(),
            sandbox: sandbox.to_str().expect("utf-8").into(),
            ..Default::default()
        };
        change(&mut spec, &mut command);
        if spec.executor.command.is_none() && !spec.holds_tasks() {
            let task_id = TaskId { value: "t".into() };
            let asked = spec.task.take().unwrap_or_default();
            spec.task = Some(TaskInfo { task_id, command: Some(command), ..asked });
        }
        directory.write_spec(&spec).expect("spec");
        // The sandbox must be reachable for whoever the command runs as.
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(scratch.path(), open).expect("mode");
        let listener = directory.listen().expect("listen");
        let mut connection = Connection::new(directory.connect().expect("connect")).expect("connection");
        let hello = Hello { version: VERSION, container_id: "c".into() };
        connection.send(&ToChild { hello: Some(hello), ..Default::default() });
        let spawn = Spawn::new("/proc/self/exe").inherit(listener.into(), CHANNEL_FD).session().die_with_parent();
        let child = spawn
            .with(|command| {
                command.args(["--exact", "process::tests::becomes_the_child_when_told_to", "--nocapture"]);
                command.env(BECOME, directory.path()).stdout(Stdio::null());
            })
            .spawn();
        Container {
            child: child.expect("child"),
            connection: Some(connection),
            directory,
            sandbox,
            updates: vec![],
            fetched: vec![],
            _scratch: scratch,
        }
    }

    /// A container of an executor, which has no task of its own.
    fn executor(command: &str) -> Container {
        let command = CommandInfo { value: Some(command.into()), ..Default::default() };
        Container::launch(|spec, _| spec.executor.command = Some(command))
    }

    fn shell(command: &str) -> Container {
        Container::launch(|_, info| info.value = Some(command.into()))
    }

    /// Turns until something holds; acknowledges what comes.
    fn until(&mut self, done: impl Fn(&mut Container) -> bool) {
        let (mut set, limit) = (PollSet::new(), Instant::now() + Duration::from_secs(120));
        while !done(self) {
            assert!(Instant::now() < limit, "too late: {:?}", self.updates);
            set.clear();
            self.child.register(&mut set);
            if let Some(connection) = &self.connection {
                connection.register(&mut set);
            }
            set.wait(Some(Instant::now() + Duration::from_millis(20))).expect("poll");
            let Some(connection) = &mut self.connection else {
                continue;
            };
            for message in connection.turn::<FromChild>() {
                self.fetched.extend(message.fetched);
                if let Some(update) = message.update {
                    connection.send(&ToChild { acknowledge: update.uuid.clone(), ..Default::default() });
                    self.updates.push(update);
                }
            }
        }
    }

    fn kill(&mut self, grace_ms: u64) {
        let kill = ToChild { kill: Some(to_child::Kill { grace_ms }), ..Default::default() };
        self.connection.as_mut().expect("connection").send(&kill);
    }

    fn await_file(&mut self, name: &str) -> String {
        let path = self.sandbox.join(name);
        self.until(|_| std::fs::read_to_string(&path).is_ok_and(|text| text.ends_with('\n')));
        self.read(name)
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.sandbox.join(name)).expect(name)
    }

    /// To its end: the states, and the last message.
    fn run(&mut self) -> (Vec<TaskState>, String) {
        self.until(|container| container.child.try_wait().is_some());
        assert_eq!(self.child.try_wait(), Some(Exit::Status(0)), "{:?}", self.updates);
        assert!(self.directory.is_done());
        let outcome = self.directory.read_outcome().expect("outcome").expect("an outcome");
        assert_eq!(self.updates.last().map(|status| &status.uuid), Some(&outcome.status.uuid));
        (self.updates.iter().map(TaskStatus::state).collect(), outcome.status.message().to_string())
    }
}

fn is_running(pid: &str) -> bool {
    let stat = std::fs::read_to_string(Path::new("/proc").join(pid.trim()).join("stat")).unwrap_or_default();
    !stat.is_empty() && !stat.contains(") Z ")
}

const START: [TaskState; 2] = [TaskState::TaskStarting, TaskState::TaskRunning];

fn after_start(state: TaskState) -> Vec<TaskState> {
    START.into_iter().chain([state]).collect()
}

#[test]
fn a_command_runs_in_its_sandbox_and_finishes() {
    let mut container = Container::shell("pwd; echo problem >&2");
    assert_eq!(container.run(), (after_start(TaskState::TaskFinished), "Command exited with status 0".into()));
    assert_eq!(container.read("stdout"), format!("{}\n", container.sandbox.display()));
    assert_eq!(container.read("stderr"), "problem\n");
}

#[test]
fn a_command_that_fails_says_how() {
    for (command, message) in [
        ("exit 1", "Command exited with status 1"),
        ("no-such-command-anywhere", "Command exited with status 127"),
        ("kill -9 $$", "Command terminated with signal Killed"),
    ] {
        assert_eq!(Container::shell(command).run(), (after_start(TaskState::TaskFailed), message.into()));
    }
}

#[test]
fn arguments_and_hostile_variables_arrive_as_they_are() {
    let hostile = "'\"\\$(touch ran)`touch ran`;\n&| ä";
    let mut container = Container::launch(|spec, info| {
        info.shell = Some(false);
        info.value = Some("sh".into());
        info.arguments =
            ["my name", "-c", "printf '%s\\n' \"$1\" \"$EVIL\"; tr '\\0' '\\n' </proc/$$/cmdline", "x", hostile]
                .map(String::from)
                .to_vec();
        spec.environment = vec![Variable { name: "EVIL".into(), value: hostile.into() }];
    });
    assert_eq!(container.run().0, after_start(TaskState::TaskFinished));
    assert!(
        container.read("stdout").starts_with(&format!("{hostile}\n{hostile}\nmy name\n")),
        "{}",
        container.read("stdout")
    );
    assert!(!container.sandbox.join("ran").exists());
}

#[test]
fn a_user_that_is_not_there_and_a_program_that_is_not_there_are_failed_launches() {
    let mut container = Container::launch(|spec, info| {
        spec.user = Some("nobody-of-this-name".into());
        info.value = Some("touch ran".into());
    });
    let (states, message) = container.run();
    assert_eq!(states, [TaskState::TaskStarting, TaskState::TaskFailed]);
    assert!(message.contains("no user 'nobody-of-this-name'"), "{message}");
    assert!(!container.sandbox.exists());
    let mut container = Container::launch(|_, info| {
        info.shell = Some(false);
        info.value = Some("/no/such/program".into());
    });
    let (states, message) = container.run();
    assert_eq!(states, [TaskState::TaskStarting, TaskState::TaskFailed]);
    assert!(message.contains("/no/such/program") && message.contains("No such file"), "{message}");
}

#[test]
fn the_command_runs_as_its_user_and_no_more() {
    if !nix::unistd::geteuid().is_root() {
        return; // only root can switch users
    }
    let mut container = Container::launch(|spec, info| {
        spec.user = Some("nobody".into());
        info.value =
            Some("id -un; id -Gn; echo $HOME; touch mine; cat /proc/1/environ >x; ls /proc/self/fd | wc -l".into());
    });
    container.run();
    // ls has the three streams and the directory that it reads; what this test's own starter left open counts as well.
    let stdout = container.read("stdout");
    let lines: Vec<&str> = stdout.lines().collect();
    assert_eq!(lines[..3], ["nobody", "nogroup", "/nonexistent"]);
    assert!(container.sandbox.join("mine").exists());
    assert_eq!(container.read("x"), "", "the user read a file of root's");
}

#[test]
fn a_framework_that_knows_of_killing_hears_of_it_before_the_end() {
    let mut container = Container::launch(|spec, info| {
        let kind = Some(framework_info::capability::Type::TaskKillingState as i32);
        spec.framework.capabilities.push(framework_info::Capability { r#type: kind });
        info.value = Some("trap 'exit 0' TERM; echo ready > ready; while :; do sleep 0.01; done".into());
    });
    container.await_file("ready");
    container.kill(60_000);
    let (states, _) = container.run();
    assert_eq!(states[START.len()..], [TaskState::TaskKilling, TaskState::TaskKilled]);
}

#[test]
fn a_kill_ends_the_command_by_term() {
    let mut container = Container::shell("echo $$; exec sleep 600");
    container.await_file("stdout");
    container.kill(60_000);
    assert_eq!(
        container.run(),
        (after_start(TaskState::TaskKilled), "Command terminated with signal Terminated".into())
    );
}

#[test]
fn a_tree_that_ignores_term_and_left_the_session_is_gone_after_the_grace_period() {
    let inner = "trap '' TERM; echo $$ >inner; sleep 600; sleep 600";
    let mut container = Container::shell(&format!(
        "trap '' TERM; setsid sh -c \"{}\" & echo $$ >outer; sleep 600; sleep 600",
        inner.replace('$', "\\$")
    ));
    let (inner, outer) = (container.await_file("inner"), container.await_file("outer"));
    container.kill(10);
    assert_eq!(container.run(), (after_start(TaskState::TaskKilled), "Command terminated with signal Killed".into()));
    assert!(!is_running(&inner) && !is_running(&outer));
}

#[test]
fn what_a_finished_command_left_is_gone_before_the_update() {
    let mut container = Container::shell("(setsid sleep 600 & echo $! >left) & wait; exit 0");
    assert_eq!(container.run().0, after_start(TaskState::TaskFinished));
    assert!(!is_running(&container.read("left")));
}

#[test]
fn when_the_slave_is_gone_so_is_the_container_unless_it_checkpoints() {
    let mut container = Container::shell("echo $$; exec sleep 600");
    let pid = container.await_file("stdout");
    container.connection = None;
    container.until(|container| container.child.try_wait().is_some());
    assert!(container.directory.is_done() && !is_running(&pid));
    let outcome = container.directory.read_outcome().expect("outcome").expect("an outcome");
    assert_eq!(outcome.status.state(), TaskState::TaskKilled);

    let mut container = Container::launch(|spec, info| {
        spec.checkpoint = Some(true);
        info.value = Some("echo $$; read x <go".into());
        std::fs::create_dir_all(&spec.sandbox).expect("sandbox");
        let go = Path::new(&spec.sandbox).join(OsStr::new("go"));
        nix::unistd::mkfifo(&go, nix::sys::stat::Mode::S_IRWXU).expect("fifo");
    });
    container.await_file("stdout");
    container.connection = None;
    std::fs::write(container.sandbox.join("go"), "\n").expect("go");
    let outcome = container.directory.path().join("outcome");
    container.until(|_| outcome.exists());
    container.connection = Some(Connection::new(container.directory.connect().expect("connect")).expect("connection"));
    assert_eq!(container.run().0.last(), Some(&TaskState::TaskFinished));
}

#[test]
fn an_executors_own_end_is_told_with_its_wait_status_and_no_task() {
    let mut container = Container::executor("echo I am the executor; exit 7");
    assert_eq!(container.run().0, [TaskState::TaskStarting, TaskState::TaskRunning, TaskState::TaskFailed]);
    assert!(container.updates.iter().all(|status| status.task_id.value.is_empty()));
    let outcome = container.directory.read_outcome().expect("outcome").expect("an outcome");
    assert_eq!(outcome.wait_status, Some(7 << 8));
    assert_eq!(container.read("stdout"), "I am the executor\n");
}

#[test]
fn an_executor_that_kills_its_process_group_does_not_kill_the_child_with_it() {
    let mut container = Container::executor("kill -KILL 0");
    let (states, message) = container.run();
    assert_eq!(states.last(), Some(&TaskState::TaskFailed));
    assert_eq!(message, "Command terminated with signal Killed");
    let outcome = container.directory.read_outcome().expect("outcome").expect("an outcome");
    assert_eq!(outcome.wait_status, Some(9));
}

fn fetching(uris: &[&str], command: &str) -> Container {
    Container::launch(|spec, info| {
        std::fs::create_dir_all(&spec.sandbox).expect("sandbox");
        info.value = Some(command.into());
        let uri = |value: &&str| Uri { value: value.to_string(), ..Default::default() };
        info.uris = uris.iter().map(uri).collect();
    })
}

#[test]
fn a_command_finds_what_was_fetched_for_it_and_its_output_behind_what_was_said() {
    let mut container = fetching(&["/proc/self/environ", "/etc/hostname"], "cat hostname; echo problem >&2");
    assert_eq!(container.run().0, after_start(TaskState::TaskFinished));
    assert_eq!(container.read("stdout"), std::fs::read_to_string("/etc/hostname").expect("hostname"));
    let stderr = container.read("stderr");
    assert!(stderr.contains("fetcher] Successfully fetched all URIs into "), "{stderr}");
    assert!(stderr.ends_with("\nproblem\n"), "{stderr}");
    assert_eq!(container.fetched, [true]);
    assert!(!container.read("environ").contains(BECOME), "the environment of who reads is not the slave's");
}

#[test]
fn a_command_is_not_started_when_fetching_fails() {
    let mut container = fetching(&["/etc/hostname", "http://127.0.0.1:1/x"], "touch ran");
    let (states, message) = container.run();
    assert_eq!(states, [TaskState::TaskStarting, TaskState::TaskFailed]);
    let words = "Failed to launch container: Failed to fetch 'http://127.0.0.1:1/x': Error downloading resource: ";
    assert!(message.starts_with(words), "{message}");
    let last = container.updates.last().expect("an update");
    assert_eq!(last.reason(), Reason::ContainerLaunchFailed);
    assert!(!container.sandbox.join("ran").exists());
    assert_eq!(container.fetched, [false]);
}

#[test]
fn a_kill_while_files_are_fetched_ends_the_fetcher_and_the_task() {
    let mut container = Container::launch(|spec, info| {
        std::fs::create_dir_all(&spec.sandbox).expect("sandbox");
        let fifo = Path::new(&spec.sandbox).join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).expect("fifo");
        info.value = Some("touch ran".into());
        info.uris = vec![Uri {
            value: fifo.to_string_lossy().into_owned(),
            output_file: Some("x".into()),
            ..Default::default()
        }];
        spec.fetcher = Some(Fetcher { stall_timeout_ms: 600_000, ..Default::default() });
    });
    container.await_file("stderr");
    container.kill(60_000);
    let (states, message) = container.run();
    assert_eq!(states, [TaskState::TaskStarting, TaskState::TaskKilled]);
    assert_eq!(message, "killed while files were fetched");
    assert_eq!(container.updates.last().expect("an update").reason(), Reason::TaskKilledDuringLaunch);
    assert!(!container.sandbox.join("ran").exists());
}
