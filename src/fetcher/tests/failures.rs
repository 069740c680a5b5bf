//! The ways in which fetching fails, each with the words that the framework reads.

use super::*;
use crate::loopback::Nobody;

/// Fetching this fails in these words, and leaves no file.
fn fails(container: &mut Container, uri: Uri, words: &str) {
    let value = uri.value.clone();
    let error = container.fetch(&[uri]).expect_err(words);
    assert_eq!(error, format!("Failed to fetch '{value}': {words}"));
    assert!(container.read("stderr").ends_with(&format!("fetcher] {error}\n")), "{}", container.read("stderr"));
}

#[test]
fn a_local_file_that_is_missing() {
    let mut container = Container::new();
    let path = container.file("nothing").display().to_string();
    let user = nix::unistd::User::from_uid(nix::unistd::geteuid()).expect("users").expect("a user").name;
    fails(&mut container, uri(&path), &format!("{path}: No such file or directory (read as the user '{user}')"));
    container.prepare("mkdir directory");
    let path = container.file("directory").display().to_string();
    fails(&mut container, uri(&path), &format!("{path}: Is a directory (read as the user '{user}')"));
    assert!(container.names().is_empty());
}

#[test]
fn a_server_that_does_not_have_it() {
    let (mut container, server) = (Container::new(), Server::start());
    let words = "Error downloading resource, received HTTP return code 404";
    fails(&mut container, uri(server.url("/nothing")), words);
    fails(&mut container, cached(server.url("/nothing")), words);
    assert!(container.names().is_empty());
    assert_eq!(server.requests("/nothing"), 2, "a failure is not cached");
}

#[test]
fn a_server_that_is_not_there() {
    let mut container = Container::new();
    let nobody = Nobody::new();
    let port = nobody.port();
    let error = container.fetch(&[uri(format!("http://127.0.0.1:{port}/a"))]).expect_err("nobody there");
    let words = format!("Failed to fetch 'http://127.0.0.1:{port}/a': Error downloading resource: ");
    assert!(error.starts_with(&words) && error.contains("Failed to connect"), "{error}");
}

#[test]
fn a_server_that_stops_in_the_middle() {
    let (mut container, server) = (Container::new(), Server::start());
    container.flags().stall_timeout_ms = 300;
    let words = "Error downloading resource: nothing came for 0.3 s (--fetcher_stall_timeout)";
    fails(&mut container, cached(server.url("/stall")), words);
    assert!(container.names().is_empty());
}

#[test]
fn a_server_that_leads_elsewhere_than_to_http() {
    let (mut container, server) = (Container::new(), Server::start());
    let error = container.fetch(&[uri(server.url("/file-redirect"))]).expect_err("no file");
    assert!(error.contains("rotocol \"file\"") || error.contains("rotocol file"), "{error}");
    let error = container.fetch(&[uri(server.url("/redirect-to/redirect-to/nowhere"))]).expect_err("no file");
    assert!(error.ends_with("received HTTP return code 404"), "{error}");
}

#[test]
fn an_archive_that_was_cut_or_changed() {
    let mut container = Container::new();
    container.prepare(
        "head -c 100000 /dev/urandom >file; for s in gz bz2 xz; do tar caf whole.tar.$s file; done
         head -c 50000 whole.tar.gz >cut.tar.gz; head -c 50000 whole.tar.bz2 >cut.tar.bz2
         head -c 50000 whole.tar.xz >cut.tar.xz; head -c 50000 whole.tar.gz | gzip >a.gz; head -c 20000 a.gz >cut.gz
         { head -c $(($(stat -c %s whole.tar.gz) - 8)) whole.tar.gz; printf 12345678; } >sum.tar.gz; echo text >text.tar",
    );
    for (name, words) in [
        ("cut.tar.gz", "the archive broke off"),
        ("cut.tar.bz2", "bzip2: Compressed file ends unexpectedly;"),
        ("cut.tar.xz", "xz: (stdin): Unexpected end of input"),
        ("cut.gz", "the compressed data broke off"),
        ("sum.tar.gz", "the compressed data cannot be read: corrupt gzip stream does not have a matching checksum"),
        ("text.tar", "the archive broke off"),
    ] {
        let error = container.fetch(&[uri(name)]).expect_err(name);
        let path = container.sandbox(name).display().to_string();
        let start = format!("Failed to fetch '{name}': Failed to extract archive '{path}': {words}");
        assert!(error.starts_with(&start), "{error}\nshould be\n{start}");
    }
}

#[test]
fn more_than_the_tasks_disk() {
    let server = Server::start();
    let mut container = Container::new().disk(1.0);
    let words =
        "more than 1.0 MiB would be fetched and unpacked: the task's disk (10 GiB without one); ask for more disk";
    server.put("/large", vec![0; 1_100_000]);
    fails(&mut container, uri(server.url("/large")), words);
    fails(&mut container, uri(server.url("/endless")), words);
    container
        .prepare("head -c 2000000 /dev/zero >zeros; gzip -k zeros; tar czf bomb.tgz zeros; tar cjf bomb.tbz2 zeros");
    container
        .prepare("python3 -c 'import zipfile as Z; Z.ZipFile(\"bomb.zip\", \"w\", Z.ZIP_DEFLATED).write(\"zeros\")'");
    for name in ["zeros", "zeros.gz", "bomb.tgz", "bomb.tbz2", "bomb.zip"] {
        fails(&mut container, uri(name), words);
        assert!(!container.sandbox("zeros").exists(), "{name}");
    }
}

#[test]
fn a_scheme_that_nobody_knows_and_hdfs_without_a_client() {
    let mut container = Container::new();
    container.flags().hadoop_home = Some("/no/such/home".into());
    fails(
        &mut container,
        uri("gopher://h/a"),
        "this slave does not know gopher://, and has no hadoop client that might; use http, https, hdfs, or a local path",
    );
    fails(
        &mut container,
        uri("hdfs://h/a"),
        "Failed to create HDFS client: no hadoop client on this host; start the slave with --hadoop_home, or with hadoop on its PATH",
    );
    fails(&mut container, uri("ftp://h/a"), "this slave does not fetch by FTP; serve the file by http, https or hdfs");
}

#[test]
fn an_output_file_outside_the_sandbox_before_anything_is_fetched() {
    let mut container = Container::new();
    container.prepare("echo x >a");
    let out = Uri { output_file: Some("../a".into()), ..uri("a") };
    let error = container.fetch(&[uri("a"), out]).expect_err("outside");
    assert_eq!(error, "Failed to fetch 'a': URI output file must be within the sandbox directory");
    assert!(container.names().is_empty());
}

#[test]
fn a_relative_path_and_no_frameworks_home() {
    let mut container = Container::new();
    container.flags().frameworks_home = None;
    let error = container.fetch(&[uri("a")]).expect_err("relative");
    assert!(error.contains("Mesos framework home was not specified"), "{error}");
}
