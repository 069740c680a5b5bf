//! Archives that would write elsewhere, or make what no archive should.

use super::*;
use std::os::unix::fs::symlink;

/// Makes an archive with Python: `add(name, type, target, mode)` adds a member.
fn tar(container: &Container, script: &str) {
    let text = format!(
        "import tarfile, io\nt = tarfile.open('a.tar', 'w')\n\
         def add(name, kind=tarfile.REGTYPE, link='', mode=0o644):\n    i = tarfile.TarInfo(name)\n    i.type, i.linkname, i.mode = kind, link, mode\n    \
         i.size = 4 if kind == tarfile.REGTYPE else 0\n    t.addfile(i, io.BytesIO(b'evil'))\n\
         SYM, LINK, DIR = tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE\n{script}\nt.close()"
    );
    python(container, &text);
}

fn zip(container: &Container, script: &str) {
    let text = format!("import zipfile as Z\nz = Z.ZipFile('a.zip', 'w')\n{script}\nz.close()");
    python(container, &text);
}

fn python(container: &Container, text: &str) {
    let output = Command::new("python3").args(["-c", text]).current_dir(container.file("")).output().expect("python3");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// The archive is refused in these words, and nothing outside of the sandbox has changed.
fn refused(container: &mut Container, name: &str, words: &str) {
    let outside = |container: &Container| {
        let all = fs::read_dir(container.scratch.path()).expect("scratch").map(|entry| entry.expect("entry").path());
        let mut names: Vec<PathBuf> = all.collect();
        names.sort();
        names
    };
    let before = outside(container);
    let error = container.fetch(&[uri(name)]).expect_err(words);
    let path = container.sandbox(name).display().to_string();
    assert_eq!(error, format!("Failed to fetch '{name}': Failed to extract archive '{path}': {words}"));
    assert_eq!(outside(container), before);
}

#[test]
fn names_that_lead_out_are_refused() {
    let mut container = Container::new();
    for name in ["/tmp/mesos-evil", "../evil", "d/../../evil", ".."] {
        let words = format!("the name \"{name}\" leads out of the sandbox, or is too long");
        tar(&container, &format!("add('{name}')"));
        refused(&mut container, "a.tar", &words);
        zip(&container, &format!("z.writestr('{name}', 'evil')"));
        refused(&mut container, "a.zip", &words);
    }
    assert!(!Path::new("/tmp/mesos-evil").exists());
}

#[test]
fn links_that_lead_out_are_refused_and_those_inside_are_made() {
    let mut container = Container::new();
    for (name, kind, target) in [
        ("link", "SYM", "/etc"),
        ("link", "SYM", "../files"),
        ("d/link", "SYM", "../../files"),
        ("d/link", "SYM", "a/../../files"),
        ("hard", "LINK", "../files/a.tar"),
        ("hard", "LINK", "/etc/passwd"),
        ("hard", "LINK", "stderr"),
    ] {
        tar(&container, &format!("add('{name}', {kind}, '{target}')"));
        refused(&mut container, "a.tar", &format!("the link \"{name}\" to \"{target}\" leads out of the sandbox"));
    }
    zip(
        &container,
        "i = Z.ZipInfo('link'); i.external_attr = 0o120777 << 16; i.create_system = 3; z.writestr(i, '/etc')",
    );
    refused(&mut container, "a.zip", "the link \"link\" to \"/etc\" leads out of the sandbox");
    tar(&container, "add('d/file')\nadd('d/e/link', SYM, '../file')\nadd('hard', LINK, './d/file')");
    container.fetch(&[uri("a.tar")]).expect("inside");
    assert_eq!((container.read("d/e/link"), container.read("hard")), ("evil".into(), "evil".into()));
}

#[test]
fn nothing_is_written_through_a_link() {
    let mut container = Container::new();
    tar(&container, "add('d', SYM, '.')\nadd('d/file')");
    let words = "\"d/file\": the sandbox has something else under that name already";
    refused(&mut container, "a.tar", words);
    // Nor through one that an earlier archive could not have made.
    let outside = container.file("outside");
    fs::create_dir(&outside).expect("directory");
    symlink(&outside, container.sandbox("out")).expect("symlink");
    tar(&container, "add('out/file')");
    refused(&mut container, "a.tar", "\"out/file\": the sandbox has something else under that name already");
    zip(&container, "z.writestr('out/file', 'evil')");
    refused(&mut container, "a.zip", "\"out/file\": the sandbox has something else under that name already");
    let named = Uri { output_file: Some("out/a".into()), ..uri("a.zip") };
    let error = container.fetch(&[named]).expect_err("through a link");
    assert!(error.ends_with("the sandbox has something else under the name \"out/a\" already"), "{error}");
    assert_eq!(fs::read_dir(&outside).expect("outside").count(), 0);
}

#[test]
fn devices_fifos_and_the_slaves_files_are_refused_and_setuid_is_dropped() {
    let mut container = Container::new();
    for kind in ["CHRTYPE", "BLKTYPE", "FIFOTYPE"] {
        tar(&container, &format!("add('x', tarfile.{kind})"));
        refused(&mut container, "a.tar", "\"x\" is neither a file nor a directory nor a link");
    }
    for name in ["stdout", "./stderr", "stderr/x"] {
        tar(&container, &format!("add('{name}')"));
        refused(&mut container, "a.tar", &format!("\"{name}\" is the name of a file of the slave's"));
    }
    tar(&container, "add('file', mode=0o6755)\nadd('d', DIR, mode=0o7555)\nadd('d/file')");
    container.fetch(&[uri("a.tar")]).expect("fetch");
    let mode = |name| fs::metadata(container.sandbox(name)).expect("file").permissions().mode() & 0o7777;
    assert_eq!((mode("file"), mode("d")), (0o755, 0o755));
}

#[test]
fn a_flood_of_files_or_directories_is_refused() {
    let mut container = Container::new();
    tar(&container, "for n in range(1001): add('e', DIR)");
    refused(&mut container, "a.tar", "it holds more files than are unpacked into one sandbox");
    // Each of these names costs 63 directories.
    tar(&container, "for n in range(17): add('%d/' % n + 'x/' * 62, DIR)");
    refused(&mut container, "a.tar", "it holds more files than are unpacked into one sandbox");
}
