//! The jobs of a VM's life: which command each of them is, and what its end means.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::net::Ipv4Addr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::bring;
use super::checks;
use super::collect::{self, Limits};
use super::connection::Script;
use super::domain;
use super::image::{self, Image, Provision};
use super::keys::{self, Key};
use super::launcher::{self, LauncherScript, Program, VerbError};
use super::life::{Cause, Failure, Found, JobKind};
use super::output::{self, Part};
use super::quote::quote;
use super::ssh::{Ssh, SshError, as_root};
use crate::archive::Owner;
use crate::container::directory::RuntimeDirectory;
use crate::fetcher;
use crate::messages::container::{self, Spec};
use crate::messages::mesos::CommandInfo;
use crate::path_map::PathMap;
use crate::subprocess::{JobEnd, Spawn};

/// How many files and directories are brought back.
const FILES: u64 = 100_000;

/// All that the jobs of one VM are made of.
#[derive(Debug)]
pub struct Plan {
    /// The container's runtime directory.
    pub directory: RuntimeDirectory,
    /// The container.
    pub spec: Spec,
    /// Its VM.
    pub vm: container::Vm,
    /// The container's own directory, `<vm_dir>/vms/<container id>`.
    pub files: PathBuf,
    /// Its image, or why it cannot be used.
    pub image: Result<Image, String>,
    /// Whose the sandbox is on the host.
    pub owner: (u32, u32),
}

impl Plan {
    /// The container in whose VM this one runs: itself, or the one that it joins.
    fn holder(&self) -> &str {
        self.spec.joins.as_ref().map_or(&self.spec.container_id, |joins| &joins.container_id)
    }

    /// The directory of the VM, with its keys and its console.
    pub fn vm_files(&self) -> PathBuf {
        self.files.with_file_name(self.holder())
    }

    /// The image has us make keys for a VM.
    pub fn makes_keys(&self) -> bool {
        self.image.as_ref().is_ok_and(|image| image.provision == Provision::FwCfg)
    }

    /// The name of the VM's domain, which is also the name by which ssh knows the guest.
    pub fn domain(&self) -> String {
        domain::name(self.holder())
    }

    /// The console's log, as QEMU writes it.
    pub fn console(&self) -> PathBuf {
        self.vm_files().join("console.log")
    }

    /// How much the task may leave, in bytes.
    pub fn disk(&self) -> u64 {
        self.spec.disk()
    }

    /// How to reach the guest.
    ///
    /// # Errors
    /// When the image is not there, or a path or name cannot be used.
    pub fn ssh(&self, address: Ipv4Addr) -> Result<Ssh, Failure> {
        let image = self.image()?;
        let key = match &self.vm.ssh_key {
            Some(key) if !self.makes_keys() => PathBuf::from(key),
            _ => Key::Client.path(&self.vm_files()),
        };
        let ssh = Ssh {
            address,
            port: 22,
            user: self.vm.ssh_user.clone().unwrap_or_else(|| image.ssh_user.clone()),
            key,
            known_hosts: self.vm_files().join("known_hosts"),
            alias: self.domain(),
            control_path: self.files.join("ssh"),
            strict: self.makes_keys(),
        };
        ssh.check().map_err(ssh_failure)?;
        Ok(ssh)
    }

    fn image(&self) -> Result<&Image, Failure> {
        self.image.as_ref().map_err(|reason| Failure { cause: Cause::Fatal, text: reason.clone() })
    }

    /// The command of a job.
    ///
    /// # Errors
    /// When there cannot be one.
    pub fn spawn(&self, job: JobKind, ssh: Option<&Ssh>) -> Result<Spawn, Failure> {
        let worker = |operation| Ok(Spawn::ourselves("vm-worker").arg(operation).arg(self.directory.path()));
        let session = || ssh.ok_or_else(|| Failure::other("there is no ssh connection"));
        let verb = |verb| Ok(run_as_root(session()?, &launcher::verb(&self.state(), verb)));
        match job {
            JobKind::Launcher => Err(Failure::other("the launcher is written without a process")),
            JobKind::Overlay => Ok(image::overlay_command(self.image()?, &self.files)),
            JobKind::ClientKey => Ok(Key::Client.command(&self.files)),
            JobKind::HostKey => Ok(Key::Host.command(&self.files)),
            JobKind::Fetch => Ok(fetcher::job(&self.directory)),
            JobKind::Start => worker("start"),
            JobKind::Lease => worker("lease"),
            JobKind::Bring => self.bring(session()?),
            JobKind::Launch => self.launch_session(session()?),
            JobKind::Destroy => worker("destroy"),
            JobKind::Wait => verb("wait"),
            JobKind::Term => verb("kill TERM"),
            JobKind::Kill => verb("kill KILL"),
            JobKind::Collect => Ok(self.collect(session()?)),
        }
    }

    pub(super) fn state(&self) -> String {
        launcher::state_directory(&self.spec.container_id)
    }

    fn launcher(&self) -> PathBuf {
        self.files.join("launcher")
    }

    /// What the connection's own session does: it takes the launcher, in its command or from its input, and runs it. One that arrives in part, over a
    /// connection that breaks, does nothing: its last lines are what does something.
    ///
    /// # Errors
    /// When the launcher cannot be read.
    pub fn launch(&self, ssh: &Ssh) -> Result<Script, Failure> {
        let input = fs::read(self.launcher()).map_err(|error| self.unreadable(&error))?;
        Ok(Script { text: self.launch_text(ssh, input.len() as u64), input })
    }

    /// The same in a session of its own, behind the one that has brought files.
    fn launch_session(&self, ssh: &Ssh) -> Result<Spawn, Failure> {
        let file = File::open(self.launcher()).map_err(|error| self.unreadable(&error))?;
        let length = file.metadata().map_err(|error| self.unreadable(&error))?.len();
        Ok(ssh.run(&self.launch_text(ssh, length)).with(|command| {
            command.stdin(file);
        }))
    }

    fn unreadable(&self, error: &io::Error) -> Failure {
        Failure::other(format!("cannot read {}: {error}", self.launcher().display()))
    }

    fn launch_text(&self, ssh: &Ssh, length: u64) -> String {
        let state = self.state();
        let (directory, launcher) = (quote(&state), quote(&launcher::path(&state)));
        let sandbox = quote(&self.spec.sandbox);
        // Every program that is started costs an emulated guest a fortieth of a second: one mkdir makes both directories, and the launcher is
        // read into the shell that there is. It comes by the input, since arguments can be read by everybody on both hosts.
        let script = format!(
            "umask 022; mkdir -p -m 0750 {directory} {sandbox} || exit 1; umask 077; head -c {length} >{launcher} || exit 1; \
             launcher={launcher} address={}; export address; set -- start; . {launcher} </dev/null",
            ssh.address,
        );
        if ssh.user == "root" { script } else { as_root(&script) }
    }

    /// What the end of that means.
    ///
    /// # Errors
    /// Why the command was not started.
    pub fn launched(&self, end: &JobEnd, ssh: Option<&Ssh>) -> Result<(), Failure> {
        launcher::parse_start(end).map(|_| ()).map_err(|error| verb_failure(error, end, ssh))
    }

    /// A copy of the launcher for whoever wants to know what was run; it is root's, since the environment may hold secrets.
    fn keep_launcher(&self, script: &[u8]) {
        let path = Path::new(&self.spec.sandbox).join("launcher.sh");
        if let Err(error) = write_private(&path, script) {
            log::warn!("{} is not kept: {error}", path.display());
        }
    }

    /// Writes the launcher, for it to be there before the connection is.
    ///
    /// # Errors
    /// A command that cannot be run, an image that is not there, or what the system gives.
    pub fn write_launcher(&self) -> Result<(), Failure> {
        self.image()?;
        let script = self.script().map_err(|text| Failure { cause: Cause::Fatal, text })?;
        write_private(&self.launcher(), &script)
            .map_err(|error| Failure::other(format!("cannot write {}: {error}", self.launcher().display())))?;
        self.keep_launcher(&script);
        Ok(())
    }

    fn script(&self) -> Result<Vec<u8>, String> {
        let command = self.spec.command().ok_or("there is no command to run")?;
        let variables = self.spec.environment.iter();
        let script = LauncherScript {
            state: self.state(),
            sandbox: self.spec.sandbox.clone(),
            user: self.spec.user.clone(),
            environment: variables.map(|variable| (variable.name.clone(), variable.value.clone())).collect(),
            program: program(command, &PathMap::of(&self.spec))?,
            hostname: self.spec.hostname.clone(),
            names_address: self.spec.task.is_none(),
            checks: checks::jobs(&self.spec)?,
        };
        launcher::script(&script).map_err(|error| error.to_string())
    }

    fn bring(&self, ssh: &Ssh) -> Result<Spawn, Failure> {
        let files = fetcher::guest_files(&self.spec);
        let job = bring::job(ssh, &self.state(), Path::new(&self.spec.sandbox), &files);
        job.map_err(|text| Failure { cause: Cause::Fatal, text })
    }

    fn collect(&self, ssh: &Ssh) -> Spawn {
        let limits = Limits { bytes: self.disk(), files: FILES };
        let (uid, gid) = self.owner;
        collect::job(ssh, &self.state(), Path::new(&self.spec.sandbox), limits, Owner { uid, gid })
    }

    /// The command that brings a part of an output of the command's.
    pub fn fetch(&self, ssh: &Ssh, name: &str) -> impl Fn(Part) -> Spawn + 'static {
        let (ssh, file) = (ssh.clone(), format!("{}/{name}", self.spec.sandbox));
        move |part| run_as_root(&ssh, &output::remote_script(&file, part))
    }

    /// What the end of a job means; for `Wait` also how large the outputs are.
    pub fn understand(&self, job: JobKind, end: &JobEnd, ssh: Option<&Ssh>) -> Understood {
        match job {
            JobKind::Start | JobKind::Lease => plain(end).map(|()| address(end)).into(),
            JobKind::HostKey => plain(end).and_then(|()| self.know_host()).into(),
            JobKind::Fetch if end.is_success() => Ok(Found::Nothing).into(),
            JobKind::Fetch => Err(Failure::other(fetcher::failure(end))).into(),
            JobKind::Launch => self.launched(end, ssh).map(|()| Found::Nothing).into(),
            JobKind::Launcher | JobKind::Overlay | JobKind::ClientKey | JobKind::Destroy => {
                plain(end).map(|()| Found::Nothing).into()
            }
            JobKind::Bring if bring::lacks_a_file(end) => {
                Err(Failure { cause: Cause::Fatal, text: end.reason() }).into()
            }
            JobKind::Bring => plain(end).map(|()| Found::Nothing).into(),
            JobKind::Term | JobKind::Kill | JobKind::Collect => match end.is_success() {
                true => Ok(Found::Nothing).into(),
                false => Err(session_failure(end, ssh)).into(),
            },
            JobKind::Wait => match launcher::parse_wait(end) {
                Ok(ended) => Understood {
                    result: Ok(match ended.out_of_memory {
                        true => Found::OutOfMemory(ended.exit),
                        false => Found::CommandEnded(ended.exit),
                    }),
                    sizes: Some((ended.stdout, ended.stderr)),
                },
                Err(error) => Err(verb_failure(error, end, ssh)).into(),
            },
        }
    }

    fn know_host(&self) -> Result<Found, Failure> {
        let written = keys::write_known_hosts(&self.files, &self.domain());
        written.map(|_| Found::Nothing).map_err(|error| Failure::other(format!("cannot write known_hosts: {error}")))
    }
}

/// What a job's end means.
#[derive(Debug)]
pub struct Understood {
    /// For the life.
    pub result: Result<Found, Failure>,
    /// Bytes of stdout and stderr that the command left.
    pub sizes: Option<(u64, u64)>,
}

impl From<Result<Found, Failure>> for Understood {
    fn from(result: Result<Found, Failure>) -> Understood {
        Understood { result, sizes: None }
    }
}

/// A session as root. To find out that we are root already costs the guest a process, and most images have us log in as root.
pub(super) fn run_as_root(ssh: &Ssh, script: &str) -> Spawn {
    if ssh.user == "root" { ssh.run(script) } else { ssh.run_as_root(script) }
}

/// What is run of a command in the guest: paths of the host's that the guest has elsewhere are the guest's.
pub(super) fn program(command: &CommandInfo, map: &PathMap) -> Result<Program, String> {
    let value = command.value.as_deref().map(|value| map.text(value));
    if command.shell() {
        return value.map(Program::Shell).ok_or("the command has no value".to_string());
    }
    let file = value.ok_or("the command has no value; with shell=false it is the file to execute")?;
    let arguments = command.arguments.iter().map(|argument| map.text(argument)).collect();
    Ok(Program::Exec { file, arguments })
}

fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)
}

fn plain(end: &JobEnd) -> Result<(), Failure> {
    match end.exit {
        None => Err(Failure::deadline()),
        Some(exit) if exit.is_success() => Ok(()),
        Some(_) => Err(Failure::other(end.reason())),
    }
}

fn address(end: &JobEnd) -> Found {
    let text = String::from_utf8_lossy(&end.stdout);
    let address = text.lines().find_map(|line| line.strip_prefix("address=")?.parse().ok());
    address.map_or(Found::Nothing, Found::Address)
}

/// QEMU's pid, as `start` printed it.
pub fn qemu_pid(end: &JobEnd) -> Option<u32> {
    let text = String::from_utf8_lossy(&end.stdout);
    text.lines().find_map(|line| line.strip_prefix("qemu_pid=")?.parse().ok())
}

fn session_failure(end: &JobEnd, ssh: Option<&Ssh>) -> Failure {
    match ssh {
        Some(ssh) => ssh_failure(ssh.failure(end)),
        None => Failure::other(end.reason()),
    }
}

/// What a failure of ssh means for what is done next.
pub fn ssh_failure(error: SshError) -> Failure {
    let cause = match error {
        SshError::KeyRefused(_) => Cause::KeyRefused,
        SshError::User(_)
        | SshError::Path(_)
        | SshError::ControlPathTooLong(_)
        | SshError::KeyUnusable(..)
        | SshError::HostKey(_) => Cause::Fatal,
        SshError::Deadline => Cause::Deadline,
        SshError::Refused(_) | SshError::NoAnswer(_) | SshError::Lost(_) | SshError::Other(_) => Cause::Other,
    };
    Failure { cause, text: error.to_string() }
}

fn verb_failure(error: VerbError, end: &JobEnd, ssh: Option<&Ssh>) -> Failure {
    let cause = match error {
        VerbError::Other(_) => return session_failure(end, ssh),
        VerbError::NoUser => Cause::NoUser,
        VerbError::NoRoot => Cause::Fatal,
        VerbError::NotStarted => Cause::Rebooted,
        VerbError::Lost => Cause::Supervisor,
    };
    Failure { cause, text: error.to_string() }
}

#[cfg(test)]
#[path = "jobs_tests.rs"]
mod tests;
