//! Whole fetches, with real programs, real archives and a server on loopback; and the ways in which they fail, each with its words.

mod failures;
mod hostile;
mod server;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::container::directory::RuntimeDirectory;
use crate::container::scratch::Scratch;
use crate::messages::container::{Fetcher, PathMapping, Spec, Vm};
use crate::messages::mesos::command_info::Uri;
use crate::messages::mesos::value::Scalar;
use crate::messages::mesos::{CommandInfo, Resource, TaskInfo};
use crate::subprocess::Spawn;

use self::server::Server;
use super::Finish;

const BECOME: &str = "MESOS_SLAVE_TEST_FETCH";

/// What stands for [`super::job`] in tests.
pub fn job(directory: &RuntimeDirectory) -> Spawn {
    Spawn::new("/proc/self/exe").with(|command| {
        command.args(["--exact", "fetcher::tests::becomes_the_fetcher_when_told_to", "--nocapture"]);
        command.env(BECOME, directory.path());
    })
}

#[test]
fn becomes_the_fetcher_when_told_to() {
    if let Some(directory) = std::env::var_os(BECOME) {
        let ok = super::main(&[directory.into_string().expect("utf-8")]) == std::process::ExitCode::SUCCESS;
        std::process::exit(if ok { 0 } else { 1 });
    }
}

/// A container with a sandbox, and a directory for what it fetches.
struct Container {
    scratch: Scratch,
    spec: Spec,
}

impl Container {
    fn new() -> Container {
        let scratch = Scratch::new();
        for name in ["sandbox", "files"] {
            fs::create_dir(scratch.path().join(name)).expect("directory");
        }
        let fetcher = Fetcher {
            cache_dir: scratch.path().join("cache").to_string_lossy().into_owned(),
            cache_bytes: 1_000_000,
            stall_timeout_ms: 60_000,
            frameworks_home: Some(scratch.path().join("files").to_string_lossy().into_owned()),
            ..Default::default()
        };
        let sandbox = scratch.path().join("sandbox").to_string_lossy().into_owned();
        let task = TaskInfo { command: Some(CommandInfo::default()), ..Default::default() };
        let spec = Spec { sandbox, fetcher: Some(fetcher), task: Some(task), ..Default::default() };
        Container { scratch, spec }
    }

    fn flags(&mut self) -> &mut Fetcher {
        self.spec.fetcher.as_mut().expect("flags")
    }

    fn disk(mut self, megabytes: f64) -> Container {
        let scalar = Some(Scalar { value: megabytes });
        self.spec.resources = vec![Resource { name: "disk".into(), scalar, ..Default::default() }];
        self
    }

    fn fetch(&mut self, uris: &[Uri]) -> Result<(), String> {
        let command = self.spec.task.as_mut().and_then(|task| task.command.as_mut()).expect("command");
        command.uris = uris.to_vec();
        super::fetch(&self.spec)
    }

    /// Where a file to be fetched lies.
    fn file(&self, name: &str) -> PathBuf {
        self.scratch.path().join("files").join(name)
    }

    fn sandbox(&self, name: &str) -> PathBuf {
        Path::new(&self.spec.sandbox).join(name)
    }

    fn read(&self, name: &str) -> String {
        let bytes = fs::read(self.sandbox(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        String::from_utf8(bytes).expect("utf-8")
    }

    /// The sandbox's files, but for stderr.
    fn names(&self) -> Vec<String> {
        let all = fs::read_dir(&self.spec.sandbox).expect("sandbox");
        let mut names: Vec<String> =
            all.map(|entry| entry.expect("entry").file_name().into_string().expect("utf-8")).collect();
        names.retain(|name| name != "stderr");
        names.sort();
        names
    }

    /// Runs a shell script where the files to be fetched lie.
    fn prepare(&self, script: &str) {
        let output = Command::new("/bin/sh").args(["-ec", script]).current_dir(self.file("")).output().expect("sh");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

fn uri(value: impl Into<String>) -> Uri {
    Uri { value: value.into(), ..Default::default() }
}

fn cached(value: impl Into<String>) -> Uri {
    Uri { cache: Some(true), ..uri(value) }
}

#[test]
fn http_archive_cache_and_local_path_end_in_the_sandbox_with_what_was_said() {
    let mut container = Container::new();
    let server = Server::start();
    container.prepare("mkdir d; echo inside >d/file; tar czf a.tar.gz d; echo local >plain; echo '#!/bin/sh' >run");
    server.put("/a.tar.gz", fs::read(container.file("a.tar.gz")).expect("archive"));
    server.put("/dir/b?x=1", b"served".to_vec());
    server.put("/c", b"kept".to_vec());
    let run = Uri { executable: Some(true), ..uri(container.file("run").to_string_lossy()) };
    let renamed = Uri { output_file: Some("deep/er/c".into()), ..cached(server.url("/c")) };
    let uris = [
        uri(server.url("/a.tar.gz")),
        uri(server.url("/dir/b?x=1")),
        cached(server.url("/c")),
        renamed,
        uri("plain"),
        uri(format!("file://{}", container.file("plain").display())),
        run,
    ];
    container.fetch(&uris).expect("fetch");
    assert_eq!(container.names(), ["a.tar.gz", "b?x=1", "c", "d", "deep", "plain", "run"]);
    assert_eq!((container.read("d/file"), container.read("plain")), ("inside\n".into(), "local\n".into()));
    assert_eq!((container.read("b?x=1"), container.read("deep/er/c")), ("served".into(), "kept".into()));
    let mode = |name| fs::metadata(container.sandbox(name)).expect("file").permissions().mode() & 0o7777;
    assert_eq!((mode("run"), mode("plain")), (0o755, 0o644));
    assert_eq!(server.requests("/c"), 1, "the second comes from the cache");

    let said = container.read("stderr");
    for line in [
        format!("Fetching URI '{}'", server.url("/c")),
        format!("Downloading resource from '{}' to '{}'", server.url("/c"), container.sandbox("c").display()),
        format!("Fetching URI '{}' from cache", server.url("/c")),
        format!("Extracted '{}' into '{}'", container.sandbox("a.tar.gz").display(), container.spec.sandbox),
        format!("Fetched '{}' to '{}'", server.url("/a.tar.gz"), container.sandbox("a.tar.gz").display()),
        format!(
            "Copying instead of extracting resource from URI with 'extract' flag, because it does not seem to be an archive: {}",
            server.url("/c")
        ),
        format!("Successfully fetched all URIs into '{}'", container.spec.sandbox),
    ] {
        assert!(said.lines().any(|each| each.ends_with(&format!("fetcher] {line}"))), "{line:?} is not in\n{said}");
    }
}

#[test]
fn the_next_container_finds_what_the_first_has_cached_but_another_user_does_not() {
    let mut container = Container::new();
    let server = Server::start();
    container.prepare("echo inside >file; tar czf a.tgz file; rm file; echo text | gzip >b.txt.gz");
    for name in ["a.tgz", "b.txt.gz"] {
        server.put(&format!("/{name}"), fs::read(container.file(name)).expect("archive"));
    }
    let both = [cached(server.url("/a.tgz")), cached(server.url("/b.txt.gz"))];
    for round in 0..2 {
        container.fetch(&both).expect("fetch");
        assert_eq!(container.names(), ["b.txt", "file"], "cached archives are not in the sandbox, round {round}");
        assert_eq!((container.read("file"), container.read("b.txt")), ("inside\n".into(), "text\n".into()));
        for name in ["b.txt", "file"] {
            fs::remove_file(container.sandbox(name)).expect("remove");
        }
    }
    assert_eq!((server.requests("/a.tgz"), server.requests("/b.txt.gz")), (1, 1));
    container.flags().cache_bytes = 0;
    container.fetch(&both).expect("fetch");
    assert_eq!(server.requests("/a.tgz"), 2, "without a cache");
    container.flags().cache_bytes = 10;
    server.put("/c", vec![b'x'; 11]);
    container.fetch(&[cached(server.url("/c"))]).expect("a cache that is too small is none");
    assert!(container.read("stderr").contains("is not kept in the cache: could not free up enough"));
}

#[test]
fn every_kind_of_archive_is_unpacked_by_what_it_is() {
    let container = &mut Container::new();
    container.prepare(
        "mkdir -p d/e; echo text >d/e/file; chmod 750 d/e/file; ln -s e/file d/link; ln d/e/file d/hard
         tar cf 1.tar d; tar czf 2.tgz d; tar czf 3.tar.gz d; tar cjf 4.tbz2 d; tar cjf 5.tar.bz2 d; tar cJf 6.txz d
         tar cJf 7.tar.xz d; cp 2.tgz 8.tar; cp 1.tar 9.zip; tar --format=pax -cf 10.tar d
         python3 -c 'import shutil; shutil.make_archive(\"11\", \"zip\", \".\", \"d\")'",
    );
    let names = "1.tar 2.tgz 3.tar.gz 4.tbz2 5.tar.bz2 6.txz 7.tar.xz 8.tar 9.zip 10.tar 11.zip";
    for name in names.split(' ') {
        container.fetch(&[uri(name)]).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(
            (container.read("d/e/file"), container.read("d/link")),
            ("text\n".into(), "text\n".into()),
            "{name}"
        );
        let file = fs::metadata(container.sandbox("d/e/file")).expect("file");
        assert_eq!(file.mode() & 0o7777, 0o750, "{name}");
        if name != "11.zip" {
            assert_eq!(file.ino(), fs::metadata(container.sandbox("d/hard")).expect("hard").ino(), "{name}");
            assert!(fs::symlink_metadata(container.sandbox("d/link")).expect("link").is_symlink(), "{name}");
        }
        fs::remove_dir_all(container.sandbox("d")).expect("remove");
    }
    let keep = Uri { extract: Some(false), ..uri("1.tar") };
    container.fetch(&[keep]).expect("fetch");
    assert!(!container.sandbox("d").exists());
}

#[test]
fn a_redirection_is_followed_and_other_answers_are_not_taken_for_the_file() {
    let mut container = Container::new();
    let server = Server::start();
    server.put("/real", b"the file".to_vec());
    container.fetch(&[uri(server.url("/redirect-to/real"))]).expect("redirected");
    assert_eq!(container.read("real"), "the file");
    for (path, code) in [("/status/204", "204"), ("/status/503", "503")] {
        let error = container.fetch(&[uri(server.url(path))]).expect_err("no file");
        let text = format!("Error downloading resource, received HTTP return code {code}");
        assert_eq!(error, format!("Failed to fetch '{}': {text}", server.url(path)));
        assert!(!container.sandbox(code).exists());
    }
}

#[test]
fn a_large_file_with_a_tail_like_a_status_comes_whole() {
    let mut container = Container::new();
    let server = Server::start();
    let content = [vec![b'x'; 3_000_000], b"404".to_vec()].concat();
    server.put("/large", content.clone());
    server.put("/empty", Vec::new());
    server.put("/ab", b"ab".to_vec());
    container.fetch(&[uri(server.url("/large")), uri(server.url("/empty")), uri(server.url("/ab"))]).expect("fetch");
    assert!(fs::read(container.sandbox("large")).expect("large") == content);
    assert_eq!((container.read("empty"), container.read("ab")), (String::new(), "ab".into()));
}

#[test]
fn for_a_guest_only_what_everybody_may_read_is_read_and_the_slaves_files_stay() {
    let mut container = Container::new();
    container.spec.vm = Some(Vm::default());
    container.prepare("echo open >open; echo secret >secret; chmod 600 secret; mkdir d; echo x >d/launcher.sh; tar cf a.tar -C d launcher.sh");
    let traversable = fs::Permissions::from_mode(0o755);
    fs::set_permissions(container.scratch.path(), traversable).expect("mode");
    container.fetch(&[uri("open")]).expect("fetch");
    let error = container.fetch(&[uri("a.tar")]).expect_err("reserved");
    assert!(error.contains("\"launcher.sh\" is the name of a file of the slave's"), "{error}");
    if !nix::unistd::geteuid().is_root() {
        return; // who is not root reads as himself
    }
    let error = container.fetch(&[uri("secret")]).expect_err("secret");
    let path = container.file("secret");
    assert_eq!(
        error,
        format!("Failed to fetch 'secret': {}: Permission denied (read as the user 'nobody')", path.display())
    );
}

#[test]
fn the_files_are_the_users() {
    let mut container = Container::new();
    if !nix::unistd::geteuid().is_root() {
        return; // only root can give files away
    }
    container.prepare("mkdir d; echo x >d/file; ln -s file d/link; tar cf a.tar d");
    container.spec.user = Some("nobody".into());
    container.fetch(&[uri("a.tar")]).expect("fetch");
    let nobody = nix::unistd::User::from_name("nobody").expect("users").expect("nobody").uid.as_raw();
    for name in ["a.tar", "d", "d/file", "d/link", "stderr"] {
        let there = fs::symlink_metadata(container.sandbox(name)).expect(name);
        assert_eq!(there.uid(), nobody, "{name}");
    }
    container.spec.user = Some("no-such-user".into());
    let error = container.fetch(&[uri("a.tar")]).expect_err("no user");
    assert!(error.contains("this host has no user 'no-such-user'"), "{error}");
}

#[test]
fn hdfs_comes_by_the_hadoop_client_as_mesos_calls_it() {
    let mut container = Container::new();
    container.prepare(
        "mkdir -p home/bin
         printf '#!/bin/sh\\n[ \"$*\" = \"fs -copyToLocal $3 $4\" ] || exit 9\\n[ \"$3\" = hdfs://h/a ] || { echo \"copyToLocal: no such file\" >&2; exit 1; }\\necho $HADOOP_HOME >\"$4\"\\n' >home/bin/hadoop
         chmod 755 home/bin/hadoop",
    );
    let home = container.file("home").to_string_lossy().into_owned();
    container.flags().hadoop_home = Some(home.clone());
    container.fetch(&[uri("hdfs://h/a")]).expect("fetch");
    assert_eq!(container.read("a"), format!("{home}\n"));
    let error = container.fetch(&[uri("hdfs://h/b")]).expect_err("missing");
    assert_eq!(error, "Failed to fetch 'hdfs://h/b': HDFS copyToLocal failed: no such file");
}

#[test]
fn what_a_guest_has_is_not_fetched_and_the_rest_is() {
    let mut container = Container::new();
    container.spec.vm = Some(Vm::default());
    let home = container.flags().frameworks_home.clone().expect("home");
    let map = |host: &str, guest: &str| PathMapping { host: host.into(), guest: guest.into() };
    container.spec.path_map = vec![map(&format!("{home}/mapped"), "/opt/frameworks"), map("/same", "/same")];
    container.prepare("mkdir mapped mapped2; echo host >mapped/a; echo other >mapped2/b");
    let uri = |value: &str| Uri { value: value.into(), ..Default::default() };
    let uris = [
        uri("mapped/a"),
        Uri {
            executable: Some(true),
            output_file: Some("bin/run".into()),
            ..uri(&format!("file://{home}/mapped/run"))
        },
        Uri { cache: Some(true), ..uri("/same/c.tgz") },
        uri("mapped2/b"),
    ];
    container.fetch(&uris).expect("fetched");
    assert_eq!(container.names(), ["b"]);
    let there: Vec<_> = super::guest_files(&container.spec).into_iter().map(|f| (f.path, f.output, f.finish)).collect();
    let file = |path: &str, output: &str, finish| (path.to_string(), output.to_string(), finish);
    let expected = [
        file("/opt/frameworks/a", "a", Finish::Keep(true)),
        file("/opt/frameworks/run", "bin/run", Finish::Executable),
        file("/same/c.tgz", "c.tgz", Finish::Unpack),
    ];
    assert_eq!(there, expected);
    let said = container.read("stderr");
    assert!(said.contains("URI 'mapped/a' is not fetched: the guest has it, as '/opt/frameworks/a'"), "{said}");

    let refused = container.fetch(&[uri("/same/stdout")]).expect_err("a reserved name");
    assert!(refused.starts_with("Failed to fetch '/same/stdout': stdout is a file of the slave's"), "{refused}");
    container.spec.path_map.clear();
    container.fetch(&uris[..1]).expect("fetched from the host");
    assert_eq!((container.read("a").as_str(), super::guest_files(&container.spec).len()), ("host\n", 0));
}
