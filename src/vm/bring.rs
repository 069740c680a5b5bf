//! What was fetched, brought into the guest's sandbox: `tar` of the sandbox on the host into `tar -x` over ssh. The fetcher's words in
//! `stderr` go along: the command's own stand behind them in the guest as on the host, and so the output is followed where it begins.
//!
//! The same session links those files into the sandbox that the guest has already (`bring.sh`).
//!
//! It runs in a process of its own, `mesos-slave vm-bring`, which waits for both: without the one's status, a part would pass for
//! the whole.

use std::ffi::OsString;
use std::io::Read;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use crate::container::text::printable;
use crate::fetcher::{Finish, GuestFile};
use crate::subprocess::{Exit, JobEnd, Spawn, Subprocess};

use super::collect::OUR_FILES;
use super::launcher::LONGEST_WORD;
use super::quote::{quote, words};
use super::ssh::{Ssh, as_root, clean_environment};

/// How much of what the session says is read, in bytes.
const WORDS: u64 = 16 * 1024;

/// Longest script, in bytes: it is one word of a command, and quoted again for `sudo`.
const LONGEST: usize = LONGEST_WORD / 2;

/// The exit status when the guest does not have a file as its URI says, of the script and of `vm-bring`.
const NOT_THERE: u8 = 66;

/// Leaves a mark in the guest: the launcher gives the files to the command's user.
pub fn remote_script(state: &str, sandbox: &str, files: &[GuestFile]) -> String {
    let (state, sandbox) = (quote(state), quote(sandbox));
    let mut script = format!("umask 022; mkdir -p -m 0750 {state} {sandbox} && cd {sandbox} && tar -xpf - || exit 1\n");
    if !files.is_empty() {
        script.push_str(include_str!("bring.sh"));
    }
    for file in files {
        let (finish, into) = match &file.finish {
            Finish::Keep(_) => ("keep", ""),
            Finish::Executable => ("executable", ""),
            Finish::Unpack => ("unpack", ""),
            Finish::Gunzip(into) => ("gunzip", into.as_str()),
        };
        script.push_str(&format!(
            "take {}\n",
            words(&[&file.uri, &file.path, &file.output, finish, into].map(|word| word.to_string()))
        ));
    }
    script + &format!(": >{state}/fetched")
}

/// The job.
///
/// # Errors
/// When the guest has too many of the files.
pub fn job(ssh: &Ssh, state: &str, sandbox: &Path, files: &[GuestFile]) -> Result<Spawn, String> {
    let script = remote_script(state, &sandbox.to_string_lossy(), files);
    if script.len() > LONGEST {
        return Err(format!(
            "the {} URIs of files that the guest has are too long, together more than {LONGEST} bytes; put the files into an archive",
            files.len()
        ));
    }
    let script = if ssh.user == "root" { script } else { as_root(&script) };
    Ok(Spawn::ourselves("vm-bring").arg(sandbox).with(|command| {
        command.args(ssh.session(&script));
    }))
}

/// Whether the job ended because of a file that the guest should have; its reason is in the fetcher's words.
pub fn lacks_a_file(end: &JobEnd) -> bool {
    end.exit == Some(Exit::Status(i32::from(NOT_THERE)))
}

/// Why the guest does not have what its command needs.
#[derive(Debug, Clone, PartialEq, Eq)]
enum BringError {
    /// It should have had a file already; the script's words.
    NotThere(String),
    /// Anything else.
    Other(String),
}

impl From<String> for BringError {
    fn from(reason: String) -> BringError {
        BringError::Other(reason)
    }
}

/// `mesos-slave vm-bring SANDBOX COMMAND…`: gives the command the archive of the sandbox.
pub fn main(arguments: &[OsString]) -> ExitCode {
    let (status, reason) = match bring(arguments) {
        Ok(()) => return ExitCode::SUCCESS,
        Err(BringError::NotThere(reason)) => (ExitCode::from(NOT_THERE), reason),
        Err(BringError::Other(reason)) => (ExitCode::FAILURE, reason),
    };
    eprintln!("{reason}");
    status
}

/// tar speaks on our stderr. What the session says is the reason when it fails, in one line.
fn bring(arguments: &[OsString]) -> Result<(), BringError> {
    let [sandbox, program, words @ ..] = arguments else {
        return Err("usage: mesos-slave vm-bring SANDBOX COMMAND…".to_string().into());
    };
    let mut tar = start("tar", archive(Path::new(sandbox)))?;
    let output = tar.stdout.take().ok_or("no pipe".to_string())?;
    let mut command = Command::new(program);
    clean_environment(&mut command);
    command.args(words).stdin(output).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut session = start("ssh", command)?;
    let mut said = Vec::new();
    if let Some(stderr) = session.stderr.take() {
        stderr.take(WORDS).read_to_end(&mut said).map_err(|error| format!("cannot read from ssh: {error}"))?;
    }
    let wait = |process: &mut Subprocess| process.wait().map_err(|error| format!("poll: {error}"));
    match (wait(&mut session)?, wait(&mut tar)?) {
        (Exit::Status(0), Exit::Status(0)) => Ok(()),
        (Exit::Status(0), exit) => Err(format!("tar on the host: {exit}").into()),
        (exit, _) => {
            let text = String::from_utf8_lossy(&said);
            let line = text.lines().rev().map(str::trim).find(|line| !line.is_empty());
            let why = line.map_or(exit.to_string(), printable);
            Err(match exit == Exit::Status(i32::from(NOT_THERE)) {
                true => BringError::NotThere(why),
                false => BringError::Other(format!("the guest did not take the files: {why}")),
            })
        }
    }
}

fn archive(sandbox: &Path) -> Command {
    let mut command = Command::new("tar");
    clean_environment(&mut command);
    command.arg("-C").arg(sandbox).args(["--format=gnu", "--owner=0", "--group=0", "--numeric-owner"]);
    command.args(OUR_FILES.iter().filter(|name| **name != "stderr").map(|name| format!("--exclude=./{name}")));
    command.args(["-cf", "-", "."]).stdin(Stdio::null()).stdout(Stdio::piped());
    command
}

fn start(name: &str, command: Command) -> Result<Subprocess, String> {
    let started = Spawn::command(command).die_with_parent().spawn();
    started.map_err(|error| format!("cannot run {name}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::scratch::Scratch;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    /// A sandbox of the host's, and a guest: the remote script under this host's shell.
    fn brought(scratch: &Scratch, script: &str) -> Result<(), String> {
        let words = [scratch.path().join("host").into_os_string(), "sh".into(), "-c".into(), script.into()];
        bring(&words).map_err(|error| match error {
            BringError::NotThere(reason) => format!("not there: {reason}"),
            BringError::Other(reason) => reason,
        })
    }

    fn file(uri: &str, path: &Path, output: &str, finish: Finish) -> GuestFile {
        GuestFile { uri: uri.into(), path: path.to_string_lossy().into_owned(), output: output.into(), finish }
    }

    /// An empty sandbox on the host, and a directory that stands for what the image has.
    fn with_image(script: &str) -> Scratch {
        let scratch = Scratch::new();
        for name in ["host", "the image"] {
            fs::create_dir(scratch.path().join(name)).expect("directory");
        }
        let image = scratch.path().join("the image");
        let made = Command::new("/bin/sh").args(["-ec", script]).current_dir(image).status().expect("sh");
        assert!(made.success());
        scratch
    }

    fn take(scratch: &Scratch, files: &[GuestFile]) -> Result<(), String> {
        let text = |name: &str| scratch.path().join(name).to_string_lossy().into_owned();
        brought(scratch, &remote_script(&text("state"), &text("guest"), files))
    }

    #[test]
    fn what_the_guest_has_is_linked_made_executable_or_unpacked() {
        let scratch = with_image(
            "mkdir d; echo in >d/in; tar czf a.tgz d; echo text | gzip >b.txt.gz; rm -r d; echo kept >\"it's kept\"; echo x >run; mkdir dir",
        );
        let image = scratch.path().join("the image");
        let files = [
            file("file:///x/a.tgz", &image.join("a.tgz"), "a.tgz", Finish::Unpack),
            file("b", &image.join("b.txt.gz"), "b.txt.gz", Finish::Gunzip("b.txt".into())),
            file("c", &image.join("it's kept"), "sub/c $(d)", Finish::Keep(false)),
            file("c", &image.join("it's kept"), "sub/c $(d)", Finish::Keep(false)),
            file("run", &image.join("run"), "run", Finish::Executable),
            file("dir", &image.join("dir"), "dir", Finish::Keep(true)),
        ];
        take(&scratch, &files).expect("taken");
        let guest = scratch.path().join("guest");
        let read = |name: &str| fs::read_to_string(guest.join(name)).expect("file");
        assert_eq!(
            (read("d/in"), read("b.txt"), read("sub/c $(d)")),
            ("in\n".into(), "text\n".into(), "kept\n".into())
        );
        assert_eq!(fs::read_link(guest.join("run")).expect("link"), image.join("run"));
        assert!(fs::metadata(image.join("run")).expect("run").permissions().mode() & 0o111 == 0o111);
        assert!(guest.join("dir").is_dir() && scratch.path().join("state/fetched").exists());
    }

    #[test]
    fn what_the_guest_lacks_or_cannot_unpack_is_told_with_its_uri() {
        let scratch = with_image("echo x >no.tgz; echo y >no.gz");
        let image = scratch.path().join("the image");
        let lacks = |file| take(&scratch, &[file]).expect_err("it fails");
        let missing = image.join("nothing");
        let said = lacks(file("/opt/nothing", &missing, "nothing", Finish::Keep(false)));
        let words = "which --vm_path_map says it has; put it into the image, or change the map";
        let missing = missing.display();
        assert_eq!(said, format!("not there: Failed to fetch '/opt/nothing': the guest has no {missing}, {words}"));
        let said = lacks(file("a", &image.join("no.tgz"), "a", Finish::Unpack));
        assert!(
            said.starts_with("not there: Failed to fetch 'a': ")
                && said.contains("no.tgz in the guest is not unpacked: tar: "),
            "{said}"
        );
        let said = lacks(file("b", &image.join("no.gz"), "b.gz", Finish::Gunzip("b".into())));
        assert!(said.contains("no.gz in the guest is not unpacked: gzip: "), "{said}");
        fs::create_dir(scratch.path().join("guest/taken")).expect("directory");
        let said = lacks(file("c", &image.join("no.gz"), "taken", Finish::Keep(false)));
        assert!(said.contains("no.gz cannot be linked: rm: "), "{said}");
        assert!(!scratch.path().join("state/fetched").exists());
    }

    #[test]
    fn a_command_has_room_for_so_many_words_only() {
        let ssh = Ssh {
            address: std::net::Ipv4Addr::LOCALHOST,
            port: 22,
            user: "root".into(),
            key: "/k".into(),
            known_hosts: "/h".into(),
            alias: "a".into(),
            control_path: "/c".into(),
            strict: true,
        };
        let files = vec![file("u", Path::new(&format!("/{}", "x".repeat(1000))), "o", Finish::Keep(false)); 100];
        let error = job(&ssh, "/s", Path::new("/sandbox"), &files).expect_err("too long");
        assert!(error.contains("the 100 URIs") && error.contains("archive"), "{error}");
        assert!(job(&ssh, "/s", Path::new("/sandbox"), &files[..10]).is_ok());
    }

    #[test]
    fn what_lies_in_the_sandbox_comes_and_the_slaves_own_files_do_not() {
        let scratch = Scratch::new();
        let host = scratch.path().join("host");
        fs::create_dir_all(host.join("d")).expect("directory");
        for name in ["stderr", "vm.log", "launcher.sh", "d/vm.log", "run"] {
            fs::write(host.join(name), name).expect("file");
        }
        fs::set_permissions(host.join("run"), fs::Permissions::from_mode(0o755)).expect("mode");
        symlink("d/vm.log", host.join("link")).expect("link");
        let (state, guest) = (scratch.path().join("the state"), scratch.path().join("it's a guest"));
        let script = remote_script(&state.to_string_lossy(), &guest.to_string_lossy(), &[]);
        brought(&scratch, &script).expect("brought");
        let mut names: Vec<_> =
            fs::read_dir(&guest).expect("guest").map(|entry| entry.expect("entry").file_name()).collect();
        names.sort();
        assert_eq!(names, ["d", "link", "run", "stderr"]);
        assert_eq!(fs::read_to_string(guest.join("link")).expect("link"), "d/vm.log");
        assert_eq!(fs::metadata(guest.join("run")).expect("run").permissions().mode() & 0o777, 0o755);
        assert!(state.join("fetched").exists());
    }

    #[test]
    fn a_failure_at_either_end_is_one() {
        let scratch = Scratch::new();
        assert!(
            brought(&scratch, "cat >/dev/null").expect_err("no sandbox").starts_with("tar on the host: exit status")
        );
        fs::create_dir(scratch.path().join("host")).expect("directory");
        fs::write(scratch.path().join("host/large"), vec![0; 1_000_000]).expect("file");
        let words = "the guest did not take the files: exit status 3";
        assert_eq!(brought(&scratch, "exit 3").expect_err("guest"), words);
        let words = "the guest did not take the files: tar: no space";
        assert_eq!(brought(&scratch, "echo 'tar: no space' >&2; exit 2").expect_err("guest"), words);
    }
}
