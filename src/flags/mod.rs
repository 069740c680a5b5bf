//! Flags: one table of rows, three places that values come from, and the typed result.
//!
//! ```text
//! command line ──┐
//! MESOS_* ───────┼─► gather (who says what, and where) ─► rows' own parsers ─► resolve (what goes together) ─► Parsed
//! conf file ─────┘        │
//!                         └── table: names, defaults, --help, conf/mesos.conf
//! ```
//!
//! The command line wins over the environment, the environment over the file, the file over the default. Errors name the key,
//! the place and what is allowed; the exit status is `main`'s matter (2, as for any wrong usage).

use std::ffi::OsString;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

mod error;
mod gather;
mod help;
mod mappings;
mod master;
mod resolve;
mod rows_fetch;
mod rows_slave;
mod rows_task;
mod rows_vm;
mod suggest;
mod table;
#[cfg(test)]
mod tests;
pub mod values;
mod zookeeper;

pub use error::FlagError;
pub use help::conf_file;
pub use master::Master;
pub use zookeeper::ZooKeeper;

use crate::path_map::PathMap;

/// Which command the arguments belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommandKind {
    /// `mesos-slave` without a subcommand.
    Slave,
    /// `mesos-slave execute`.
    Execute,
    /// `mesos-slave local-master` (hidden).
    LocalMaster,
}

impl CommandKind {
    /// As it is typed.
    pub fn text(self) -> &'static str {
        match self {
            CommandKind::Slave => "mesos-slave",
            CommandKind::Execute => "mesos-slave execute",
            CommandKind::LocalMaster => "mesos-slave local-master",
        }
    }
}

/// What came out of the arguments.
#[derive(Debug, Clone, PartialEq)]
pub enum Parsed {
    /// Flags of the slave.
    Slave(Box<Flags>),
    /// Flags of `execute`.
    Execute(Box<ExecuteFlags>),
    /// Flags of `local-master`.
    LocalMaster(LocalMasterFlags),
    /// `--help` was asked for: the text to print on stdout.
    Help(String),
    /// `--version` was asked for: the line to print on stdout.
    Version(String),
}

/// How executors are kept apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Isolation {
    /// Plain processes of the host.
    #[default]
    Process,
    /// A virtual machine for each.
    Vm,
}

/// What runs the guests' CPUs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Accelerator {
    /// KVM if it works here, else TCG, with a warning.
    #[default]
    Auto,
    /// KVM, or nothing.
    Kvm,
    /// QEMU's emulator: works anywhere, about ten times slower.
    Tcg,
}

/// What keeps guests from each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum GuestIsolation {
    /// Each is bound to its address, and reaches none of its neighbours.
    #[default]
    Full,
    /// Each is bound to its address.
    Address,
    /// Nothing.
    None,
}

impl GuestIsolation {
    /// As it is typed.
    pub fn text(self) -> &'static str {
        match self {
            GuestIsolation::Full => "full",
            GuestIsolation::Address => "address",
            GuestIsolation::None => "none",
        }
    }
}

/// The slave's flags, checked and with defaults filled in.
#[derive(Debug, Clone, PartialEq)]
pub struct Flags {
    /// `--master`.
    pub master: Master,
    /// `--ip`: the address to listen on; `None`: the one that leads to the master.
    pub ip: Option<Ipv4Addr>,
    /// `--port`; 0: any free one.
    pub port: u16,
    /// `--advertise_ip`: the address that others are told.
    pub advertise_ip: Option<Ipv4Addr>,
    /// `--advertise_port`.
    pub advertise_port: Option<u16>,
    /// `--hostname`; `None`: the host's own.
    pub hostname: Option<String>,
    /// `--webui_port`.
    pub webui_port: u16,
    /// `--work_dir`, absolute.
    pub work_dir: PathBuf,
    /// `--runtime_dir`, absolute.
    pub runtime_dir: PathBuf,
    /// `--log_dir`, absolute; `None`: the log goes to stderr.
    pub log_dir: Option<PathBuf>,
    /// `--logging_level`.
    pub logging_level: log::LevelFilter,
    /// `--isolation`.
    pub isolation: Isolation,
    /// `--resources`: the text, already found to be right.
    pub resources: Option<String>,
    /// `--attributes`: the text, already found to be right.
    pub attributes: Option<String>,
    /// `--switch_user`.
    pub switch_user: bool,
    /// `--credential`: the file that says who we are to the master.
    pub credential: Option<PathBuf>,
    /// `--jwt_secret_key`: the file with what executors' tokens are signed with.
    pub jwt_secret_key: Option<PathBuf>,
    /// `--authenticate_http_executors`: only with a key.
    pub authenticate_http_executors: bool,
    /// `--authentication_timeout_min`.
    pub authentication_timeout_min: Duration,
    /// `--authentication_timeout_max`, not less than the least.
    pub authentication_timeout_max: Duration,
    /// `--authentication_backoff_factor`.
    pub authentication_backoff_factor: Duration,
    /// `--registration_backoff_factor`.
    pub registration_backoff_factor: Duration,
    /// `--mesos_home`, the host's half, as that of the other homes.
    pub mesos_home: Option<PathBuf>,
    /// `--spark_home`.
    pub spark_home: Option<PathBuf>,
    /// `--executor_environment_variables`, in the order of their names.
    pub executor_environment_variables: Vec<(String, String)>,
    /// `--executor_registration_timeout`.
    pub executor_registration_timeout: Duration,
    /// `--executor_shutdown_grace_period`.
    pub executor_shutdown_grace_period: Duration,
    /// `--recovery_timeout`.
    pub recovery_timeout: Duration,
    /// `--fetcher_*` and where URIs may lead.
    pub fetcher: FetcherFlags,
    /// `--vm_*`.
    pub vm: VmFlags,
    /// `--vm_path_map`, and the homes that are given as `HOST:GUEST`.
    pub path_map: PathMap,
    /// What the operator should be told, though it is no error.
    pub warnings: Vec<String>,
}

/// The flags of fetching.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct FetcherFlags {
    /// `--fetcher_cache_dir`, absolute; by default `<work_dir>/fetch`.
    pub cache_dir: PathBuf,
    /// `--fetcher_cache_size`, in bytes.
    pub cache_size: u64,
    /// `--fetcher_stall_timeout`.
    pub stall_timeout: Duration,
    /// `--frameworks_home`, absolute.
    pub frameworks_home: Option<PathBuf>,
    /// `--hadoop_home`, absolute.
    pub hadoop_home: Option<PathBuf>,
}

/// The flags that matter with `--isolation=vm` only.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct VmFlags {
    /// `--vm_dir`, absolute, of plain characters.
    pub dir: PathBuf,
    /// `--vm_image_dir`, absolute; by default `<vm_dir>/images`.
    pub image_dir: PathBuf,
    /// `--vm_image`: a name below [`VmFlags::image_dir`].
    pub image: String,
    /// `--vm_uri`: libvirt's, always one of this host.
    pub uri: String,
    /// `--vm_network`: a network of libvirt's, by name.
    pub network: String,
    /// `--vm_accelerator`.
    pub accelerator: Accelerator,
    /// `--vm_guest_isolation`.
    pub guest_isolation: GuestIsolation,
    /// `--vm_ssh_user`; `None`: what the image says.
    pub ssh_user: Option<String>,
    /// `--vm_ssh_key`: a private key's file; `None`: a key is made for each VM.
    pub ssh_key: Option<PathBuf>,
    /// `--vm_boot_timeout`.
    pub boot_timeout: Duration,
    /// `--vm_memory_overhead`, in bytes: of the host, for each VM, beyond the guest's memory.
    pub memory_overhead: u64,
}

impl Default for Flags {
    /// Values that the table's defaults replace; only the table's count.
    fn default() -> Flags {
        Flags {
            master: Master::Local,
            ip: None,
            port: 0,
            advertise_ip: None,
            advertise_port: None,
            hostname: None,
            webui_port: 0,
            work_dir: PathBuf::new(),
            runtime_dir: PathBuf::new(),
            log_dir: None,
            logging_level: log::LevelFilter::Info,
            isolation: Isolation::default(),
            resources: None,
            attributes: None,
            switch_user: true,
            credential: None,
            jwt_secret_key: None,
            authenticate_http_executors: false,
            authentication_timeout_min: Duration::ZERO,
            authentication_timeout_max: Duration::ZERO,
            authentication_backoff_factor: Duration::ZERO,
            registration_backoff_factor: Duration::ZERO,
            mesos_home: None,
            spark_home: None,
            executor_environment_variables: Vec::new(),
            executor_registration_timeout: Duration::ZERO,
            executor_shutdown_grace_period: Duration::ZERO,
            recovery_timeout: Duration::ZERO,
            fetcher: FetcherFlags::default(),
            vm: VmFlags::default(),
            path_map: PathMap::default(),
            warnings: Vec::new(),
        }
    }
}

/// The flags of `execute`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ExecuteFlags {
    /// `--master`.
    pub master: Master,
    /// `--command`, as given; a shell will read it in the guest. Empty with `--task_group`.
    pub command: String,
    /// `--task_group`, as given: JSON, or where it is.
    pub task_group: Option<String>,
    /// `--resources`: the text, already found to be right.
    pub resources: String,
    /// `--env`, in order; a name comes once.
    pub env: Vec<(String, String)>,
    /// `--name`.
    pub name: Option<String>,
    /// `--user`: whom the command runs as.
    pub user: Option<String>,
    /// `--timeout`: the task is killed after it.
    pub timeout: Option<Duration>,
    /// `--isolation`, for the slave that `--master=local` starts.
    pub isolation: Isolation,
    /// Arguments for the slave that `--master=local` starts: every flag of it that was given, as `--name=value`. The embedded
    /// slave's other flags (`--master`, and directories if none are here) are the caller's to choose.
    pub slave_arguments: Vec<String>,
    /// What the user should be told, though it is no error.
    pub warnings: Vec<String>,
}

/// The flags of `local-master`.
#[derive(Debug, Clone, PartialEq)]
pub struct LocalMasterFlags {
    /// `--ip`.
    pub ip: Ipv4Addr,
    /// `--port`; 0: any free one.
    pub port: u16,
    /// `--logging_level`.
    pub logging_level: log::LevelFilter,
}

impl Default for LocalMasterFlags {
    fn default() -> LocalMasterFlags {
        LocalMasterFlags { ip: Ipv4Addr::LOCALHOST, port: 0, logging_level: log::LevelFilter::Info }
    }
}

/// Parses the arguments that follow the program's name and the subcommand.
///
/// # Errors
/// The first thing that is wrong, wherever it was said; see [`FlagError`].
pub fn parse(
    command: CommandKind,
    args: &[String],
    environment: impl Iterator<Item = (String, String)>,
) -> Result<Parsed, FlagError> {
    match gather::gather(command, args, environment)? {
        gather::Gathered::Help => Ok(Parsed::Help(help::help(command))),
        gather::Gathered::Version => Ok(Parsed::Version(version())),
        gather::Gathered::Values(given) => resolve::resolve(command, &given),
    }
}

/// `mesos-slave 0.1.0`.
pub fn version() -> String {
    format!("mesos-slave {}", env!("CARGO_PKG_VERSION"))
}

/// The process' arguments as text (`std::env::args` panics where they are none).
///
/// # Errors
/// [`FlagError::NotUtf8`].
pub fn arguments(args: impl Iterator<Item = OsString>) -> Result<Vec<String>, FlagError> {
    let text = |arg: OsString| arg.into_string().map_err(|arg| FlagError::NotUtf8(arg.to_string_lossy().into_owned()));
    args.map(text).collect()
}

/// The environment's variables that are text, for [`parse`] (`std::env::vars` panics at the first that is none).
pub fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().filter_map(|(name, value)| {
        let name = name.into_string().ok()?;
        Some((name, value.to_string_lossy().into_owned()))
    })
}
