//! What a sandbox shows over HTTP, and what it does not.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::*;
use crate::container::scratch::Scratch;

/// A sandbox of one test, attached as `/box`.
struct Sandbox {
    directory: PathBuf,
    files: Files,
    _scratch: Scratch,
}

impl Sandbox {
    fn new() -> Sandbox {
        let scratch = Scratch::new();
        let directory = scratch.path().to_path_buf();
        fs::create_dir(directory.join("box")).expect("directory");
        let mut files = Files::new();
        files.attach("/box/", directory.join("box"));
        Sandbox { directory, files, _scratch: scratch }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join("box").join(name)
    }

    fn get(&self, endpoint: &str, query: &str) -> Response {
        let request = Request { query: Some(query.to_string()), ..Request::new("GET", "/files", Vec::new()) };
        self.files.handle(endpoint, &request)
    }

    fn json(&self, endpoint: &str, query: &str) -> Value {
        let response = self.get(endpoint, query);
        assert_eq!(response.status, 200, "{:?}", String::from_utf8_lossy(&response.body));
        serde_json::from_slice(&response.body).expect("json")
    }

    fn refusal(&self, endpoint: &str, query: &str) -> (u16, String) {
        let response = self.get(endpoint, query);
        (response.status, String::from_utf8_lossy(&response.body).into_owned())
    }
}

#[test]
fn a_file_is_read_in_pieces() {
    let sandbox = Sandbox::new();
    fs::write(sandbox.path("stdout"), "hello\nworld\n").expect("write");
    assert_eq!(
        sandbox.json("read", "path=/box/stdout&offset=0&length=5"),
        serde_json::json!({"data": "hello", "offset": 0})
    );
    assert_eq!(
        sandbox.json("read.json", "path=/box/stdout&offset=6"),
        serde_json::json!({"data": "world\n", "offset": 6})
    );
    assert_eq!(sandbox.json("read", "path=/box/stdout&offset=12"), serde_json::json!({"data": "", "offset": 12}));
}

#[test]
fn without_an_offset_the_length_is_told() {
    let sandbox = Sandbox::new();
    fs::write(sandbox.path("stdout"), "hello").expect("write");
    let length = serde_json::json!({"data": "", "offset": 5});
    assert_eq!(sandbox.json("read", "path=/box/stdout&offset=-1"), length);
    assert_eq!(sandbox.json("read", "path=/box/stdout"), length);
}

#[test]
fn no_answer_is_longer_than_sixteen_pages() {
    let sandbox = Sandbox::new();
    let file = fs::File::create(sandbox.path("sparse")).expect("create");
    file.set_len(1 << 40).expect("a terabyte of nothing");
    let answer = sandbox.json("read", "path=/box/sparse&offset=1000&length=1000000000");
    assert_eq!(answer["data"].as_str().map(str::len), Some(65536));
    assert_eq!(sandbox.refusal("download", "path=/box/sparse").0, 413);
}

#[test]
fn every_byte_comes_through_unchanged() {
    let sandbox = Sandbox::new();
    let all: Vec<u8> = (0..=255).collect();
    fs::write(sandbox.path("stdout"), &all).expect("write");
    let body = sandbox.get("read", "path=/box/stdout&offset=0").body;
    let start = body.windows(2).position(|pair| pair == [0x7f, 0x80]).expect("bytes above 127 as they are");
    assert!(body[start..].starts_with(&all[0x7f..]));
    assert!(body.starts_with(b"{\"data\":\"\\u0000\\u0001"));
    assert_eq!(sandbox.get("download", "path=/box/stdout").body, all);
}

#[test]
fn links_are_not_followed_wherever_they_stand() {
    let sandbox = Sandbox::new();
    fs::write(sandbox.directory.join("secret"), "secret").expect("write");
    fs::create_dir(sandbox.path("real")).expect("mkdir");
    fs::write(sandbox.path("real/file"), "x").expect("write");
    symlink(sandbox.directory.join("secret"), sandbox.path("out")).expect("symlink");
    symlink("../secret", sandbox.path("up")).expect("symlink");
    symlink(&sandbox.directory, sandbox.path("above")).expect("symlink");
    symlink("real", sandbox.path("inside")).expect("symlink");
    for path in ["out", "up", "above/secret", "inside/file", "../secret", "real/../../secret", "above"] {
        for endpoint in ["read", "download", "browse"] {
            let (status, text) = sandbox.refusal(endpoint, &format!("path=/box/{path}&offset=0"));
            assert_eq!((status, text), (400, format!("'/box/{path}' is inaccessible.\n")), "{endpoint}");
        }
    }
}

#[test]
fn a_fifo_neither_blocks_nor_is_read() {
    let sandbox = Sandbox::new();
    nix::unistd::mkfifo(&sandbox.path("pipe"), nix::sys::stat::Mode::S_IRWXU).expect("mkfifo");
    let (status, text) = sandbox.refusal("read", "path=/box/pipe&offset=0");
    assert_eq!((status, text.as_str()), (400, "Cannot read '/box/pipe': it is not a regular file.\n"));
    assert_eq!(sandbox.refusal("download", "path=/box/pipe").0, 400);
}

#[test]
fn what_cannot_be_read_is_refused_in_mesos_words() {
    let sandbox = Sandbox::new();
    fs::write(sandbox.path("stdout"), "hello").expect("write");
    let refusal = |query: &str| sandbox.refusal("read", query);
    assert_eq!(refusal("offset=1"), (400, "Expecting 'path=value' in query.\n".to_string()));
    assert_eq!(refusal("path=/box&offset=0"), (400, "Cannot read a directory.\n".to_string()));
    assert_eq!(refusal("path=/box/stdout&offset=-2"), (400, "Negative offset provided: -2.\n".to_string()));
    assert_eq!(refusal("path=/box/stdout&length=-2"), (400, "Negative length provided: -2.\n".to_string()));
    assert!(refusal("path=/box/stdout&offset=x").1.starts_with("Failed to parse offset: "));
    assert_eq!(refusal("path=/box/nothing&offset=0").0, 404);
    assert_eq!(refusal("path=/etc/passwd&offset=0").0, 404);
    assert_eq!(refusal("path=/boxes/stdout&offset=0").0, 404);
}

#[test]
fn a_detached_sandbox_is_gone_unless_another_has_taken_its_name() {
    let mut sandbox = Sandbox::new();
    fs::write(sandbox.path("stdout"), "hello").expect("write");
    assert_eq!(sandbox.get("read", "path=/box/stdout&offset=0").status, 200);
    let real = sandbox.directory.join("box");
    sandbox.files.detach("/box", Path::new("/elsewhere"));
    assert_eq!(sandbox.get("read", "path=/box/stdout&offset=0").status, 200);
    sandbox.files.detach("/box", &real);
    assert_eq!(sandbox.get("read", "path=/box/stdout&offset=0").status, 404);
}

#[test]
fn the_longest_attached_path_wins() {
    let mut sandbox = Sandbox::new();
    fs::create_dir(sandbox.path("a")).expect("mkdir");
    fs::write(sandbox.path("a/file"), "outer").expect("write");
    let other = sandbox.directory.join("other");
    fs::create_dir(&other).expect("mkdir");
    fs::write(other.join("file"), "inner").expect("write");
    sandbox.files.attach("/box/a", other);
    assert_eq!(sandbox.json("read", "path=//box/a//file&offset=0")["data"], "inner");
}

#[test]
fn a_directory_is_listed_in_order_and_links_as_links() {
    let sandbox = Sandbox::new();
    fs::write(sandbox.path("stdout"), "hello").expect("write");
    fs::create_dir(sandbox.path("dir")).expect("mkdir");
    symlink("/etc/passwd", sandbox.path("link")).expect("symlink");
    let listing = sandbox.json("browse", "path=/box/");
    let paths: Vec<&str> = listing.as_array().expect("array").iter().filter_map(|each| each["path"].as_str()).collect();
    assert_eq!(paths, ["/box/dir", "/box/link", "/box/stdout"]);
    assert_eq!(listing[1]["mode"], "lrwxrwxrwx");
    assert_eq!(listing[2]["size"], 5);
    assert!(listing[2]["mtime"].as_f64().expect("seconds") > 1e9);
    assert_eq!(sandbox.json("browse", "path=/box/stdout"), serde_json::json!([]));
}

#[test]
fn debug_tells_what_is_attached() {
    let sandbox = Sandbox::new();
    let real = sandbox.directory.join("box");
    assert_eq!(sandbox.json("debug", ""), serde_json::json!({"/box": real.to_str().map(Path::new)}));
}

#[test]
fn a_tasks_link_names_its_sandbox_beside_and_leads_nowhere_else() {
    let sandbox = Sandbox::new();
    for directory in ["tasks", "containers", "containers/c1"] {
        fs::create_dir(sandbox.path(directory)).expect("mkdir");
    }
    fs::write(sandbox.path("containers/c1/stdout"), "hello").expect("write");
    fs::write(sandbox.directory.join("secret"), "secret").expect("write");
    // As the slave makes it: by the whole path.
    symlink(sandbox.path("containers/c1"), sandbox.path("tasks/t")).expect("symlink");
    assert_eq!(sandbox.json("read", "path=/box/tasks/t/stdout&offset=0")["data"], "hello");
    assert_eq!(sandbox.json("browse", "path=/box/tasks/t")[0]["path"], "/box/tasks/t/stdout");
    assert_eq!(sandbox.json("read", "path=/box/containers/c1/stdout&offset=0")["data"], "hello");
    let kinds = |sandbox: &Sandbox| -> Vec<String> {
        let listing = sandbox.json("browse", "path=/box/tasks");
        let modes = listing.as_array().expect("array").iter().filter_map(|each| each["mode"].as_str());
        modes.map(|mode| mode[..1].to_string()).collect()
    };
    assert_eq!(kinds(&sandbox), ["d"], "who browses may go on into it");
    // As somebody else might.
    symlink(sandbox.directory.join("secret"), sandbox.path("tasks/out")).expect("symlink");
    symlink("/", sandbox.path("tasks/root")).expect("symlink");
    symlink("..", sandbox.path("tasks/up")).expect("symlink");
    symlink(&sandbox.directory, sandbox.path("containers/above")).expect("symlink");
    symlink("above", sandbox.path("tasks/above")).expect("symlink");
    symlink(sandbox.path("tasks"), sandbox.path("containers/c1/tasks")).expect("symlink");
    assert_eq!(kinds(&sandbox), ["l", "l", "l", "d", "l"], "above, out, root, t, up");
    for path in ["out", "root", "up", "up/secret", "above", "above/secret", "t/tasks/t/stdout", "t/../t/stdout"] {
        let (status, _) = sandbox.refusal("read", &format!("path=/box/tasks/{path}&offset=0"));
        assert!([400, 404].contains(&status), "{path}: {status}");
    }
}

#[test]
fn a_path_that_no_file_can_have_is_looked_for_nowhere() {
    let sandbox = Sandbox::new();
    fs::write(sandbox.path("f"), "x").expect("write");
    let long = |length: usize| format!("{}/box", "/".repeat(length - 4));
    assert_eq!(sandbox.files.list(&long(4096)).expect("a listing").len(), 1);
    assert_eq!(sandbox.files.list(&long(4097)).expect_err("too long").status, 404);
    let deep = format!("/box/f{}", "/a".repeat(1 << 20));
    assert_eq!(sandbox.files.piece(&deep, 0, None).expect_err("too long").status, 404);
}
