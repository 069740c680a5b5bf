//! Guest images: a directory with `image.conf`, `disk.qcow2` and, for a direct kernel boot, a kernel and an initrd.
//!
//! ```text
//! # image.conf: key=value, # begins a comment line
//! ssh_user=root          who may log in by ssh
//! kernel=vmlinuz         file names in the image's directory; without a kernel the disk's boot loader is run
//! initrd=initrd
//! cmdline=root=/dev/vda console=ttyS0
//! provision=fw_cfg       or none: how the guest gets its keys
//! min_memory=96MB        below it the guest does not boot
//! ```
//!
//! VMs run on an overlay; the image itself is only ever read.

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::subprocess::Spawn;

/// Longest `image.conf`, in bytes.
const MAX_CONF: u64 = 64 * 1024;
/// Memory for a guest whose image names no minimum, in MiB.
const DEFAULT_MIN_MEMORY: u64 = 128;

/// How a guest gets its client and host keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Provision {
    /// From QEMU's fw_cfg device, made anew for each VM.
    FwCfg,
    /// Not at all: they are in the image.
    None,
}

/// A guest image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Its directory.
    pub directory: PathBuf,
    /// Who logs in by ssh.
    pub ssh_user: String,
    /// The kernel for a direct boot.
    pub kernel: Option<PathBuf>,
    /// Its initrd.
    pub initrd: Option<PathBuf>,
    /// Its command line.
    pub cmdline: String,
    /// How the guest gets its keys.
    pub provision: Provision,
    /// The smallest memory that it boots with, in MiB.
    pub min_memory_mb: u64,
}

/// Why an image cannot be used.
#[derive(Debug)]
pub enum ImageError {
    /// There is none.
    Missing(PathBuf),
    /// A file of it cannot be read.
    File {
        /// Which.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A line of `image.conf` is wrong.
    Line {
        /// The file.
        path: PathBuf,
        /// The line's number, from 1.
        line: usize,
        /// What is wrong with it, and what is allowed.
        problem: String,
    },
    /// `image.conf` is longer than we read.
    TooLong(PathBuf),
}

impl fmt::Display for ImageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ImageError::Missing(directory) => {
                let name = directory.file_name().unwrap_or_default().to_string_lossy();
                let parent = directory.parent().unwrap_or(Path::new("/")).display();
                write!(
                    f,
                    "guest image {name} not found in {parent}: run scripts/build-guest-image, or name another with --vm_image"
                )
            }
            ImageError::File { path, source } => {
                write!(f, "cannot read {} of the guest image: {source}", path.display())
            }
            ImageError::Line { path, line, problem } => write!(f, "{}:{line}: {problem}", path.display()),
            ImageError::TooLong(path) => {
                write!(f, "{} is longer than {MAX_CONF} bytes", path.display())
            }
        }
    }
}

impl std::error::Error for ImageError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            ImageError::File { source, .. } => Some(source),
            ImageError::Missing(_) | ImageError::Line { .. } | ImageError::TooLong(_) => None,
        }
    }
}

impl Image {
    /// Reads the image in this directory, and that its files are there.
    ///
    /// # Errors
    /// [`ImageError`].
    pub fn load(directory: &Path) -> Result<Image, ImageError> {
        let path = directory.join("image.conf");
        let failed = |source: io::Error| match source.kind() {
            io::ErrorKind::NotFound => ImageError::Missing(directory.to_path_buf()),
            _ => ImageError::File { path: path.clone(), source },
        };
        if fs::metadata(&path).map_err(failed)?.len() > MAX_CONF {
            return Err(ImageError::TooLong(path));
        }
        let text = fs::read_to_string(&path).map_err(failed)?;
        let image = Image::parse(directory, &text)?;
        for file in [Some(&image.disk()), image.kernel.as_ref(), image.initrd.as_ref()].into_iter().flatten() {
            fs::File::open(file).map_err(|source| ImageError::File { path: file.clone(), source })?;
        }
        Ok(image)
    }

    fn parse(directory: &Path, text: &str) -> Result<Image, ImageError> {
        let mut image = Image {
            directory: directory.to_path_buf(),
            ssh_user: "root".to_string(),
            kernel: None,
            initrd: None,
            cmdline: String::new(),
            provision: Provision::None,
            min_memory_mb: DEFAULT_MIN_MEMORY,
        };
        for (index, line) in text.lines().map(str::trim).enumerate() {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            image.set(line).map_err(|problem| ImageError::Line {
                path: directory.join("image.conf"),
                line: index + 1,
                problem,
            })?;
        }
        Ok(image)
    }

    fn set(&mut self, line: &str) -> Result<(), String> {
        let (key, value) = line.split_once('=').ok_or_else(|| format!("{line:?} is not key=value"))?;
        let (key, value) = (key.trim(), value.trim());
        match key {
            "ssh_user" => self.ssh_user = user(value)?,
            "kernel" => self.kernel = Some(self.file(value)?),
            "initrd" => self.initrd = Some(self.file(value)?),
            "cmdline" => self.cmdline = value.to_string(),
            "provision" => {
                self.provision = match value {
                    "fw_cfg" => Provision::FwCfg,
                    "none" => Provision::None,
                    _ => return Err(format!("provision={value}: allowed are fw_cfg and none")),
                }
            }
            "min_memory" => self.min_memory_mb = megabytes(value)?,
            _ => {
                return Err(format!(
                    "unknown key {key}: allowed are ssh_user, kernel, initrd, cmdline, provision and min_memory"
                ));
            }
        }
        Ok(())
    }

    fn file(&self, name: &str) -> Result<PathBuf, String> {
        if name.is_empty() || name.contains('/') || name == "." || name == ".." {
            return Err(format!("{name:?} is not the name of a file in the image's directory"));
        }
        Ok(self.directory.join(name))
    }

    /// The base disk: one qcow2 file, without a backing file of its own.
    pub fn disk(&self) -> PathBuf {
        self.directory.join("disk.qcow2")
    }
}

/// A user name becomes an argument of ssh: it must not look like an option, nor hold what ssh would read as something else.
fn user(name: &str) -> Result<String, String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    if name.is_empty() || name.starts_with('-') || !name.chars().all(fits) {
        return Err(format!("ssh_user={name}: allowed are letters, digits, '_', '.' and, not first, '-'"));
    }
    Ok(name.to_string())
}

fn megabytes(text: &str) -> Result<u64, String> {
    let number = |suffix, factor: u64| text.strip_suffix(suffix)?.parse::<u64>().ok()?.checked_mul(factor);
    match number("MB", 1).or_else(|| number("GB", 1024)) {
        Some(megabytes) if megabytes > 0 => Ok(megabytes),
        _ => Err(format!("min_memory={text}: give it like 96MB or 1GB")),
    }
}

/// Makes a VM's directory, and what is missing above it. QEMU's user passes through it, and cannot list it.
///
/// # Errors
/// What `mkdir(2)` gives.
pub fn make_directory(directory: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o711).create(directory)
}

/// `qemu-img` that makes a VM's empty overlay, `disk.qcow2` in its directory, on the image's disk.
pub fn overlay_command(image: &Image, directory: &Path) -> Spawn {
    Spawn::new("qemu-img")
        .arg("create")
        .arg("-q")
        .arg("-f")
        .arg("qcow2")
        .arg("-F")
        .arg("qcow2")
        .arg("-b")
        .arg(image.disk())
        .arg(directory.join("disk.qcow2"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Image, String> {
        Image::parse(Path::new("/images/default"), text).map_err(|error| error.to_string())
    }

    #[test]
    fn an_image_conf_is_read() {
        let image = parse(
            "# made by hand\n\nssh_user=root\nkernel=vmlinuz\ninitrd = initrd\ncmdline=root=/dev/vda quiet\nprovision=fw_cfg\nmin_memory=1GB\n",
        )
        .expect("an image");
        assert_eq!(image.kernel, Some(PathBuf::from("/images/default/vmlinuz")));
        assert_eq!(image.initrd, Some(PathBuf::from("/images/default/initrd")));
        assert_eq!(image.cmdline, "root=/dev/vda quiet");
        assert_eq!((image.provision, image.min_memory_mb), (Provision::FwCfg, 1024));
    }

    #[test]
    fn a_wrong_line_is_named_with_what_is_allowed() {
        assert_eq!(
            parse("\nkernal=x").expect_err("key"),
            "/images/default/image.conf:2: unknown key kernal: allowed are ssh_user, kernel, initrd, cmdline, provision and min_memory"
        );
        assert!(parse("provision=magic").expect_err("value").ends_with("allowed are fw_cfg and none"));
        for line in [
            "kernel",
            "kernel=",
            "kernel=../vmlinuz",
            "kernel=/boot/vmlinuz",
            "initrd=..",
            "min_memory=0MB",
            "min_memory=96",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
        for line in [
            "ssh_user=-oProxyCommand=x",
            "ssh_user=a b",
            "ssh_user=",
            "ssh_user=a@b",
            "min_memory=99999999999999999999GB",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }

    #[test]
    fn a_missing_image_is_told_with_the_script_that_makes_one() {
        let error = Image::load(Path::new("/nonexistent/images/tiny")).expect_err("no image").to_string();
        assert_eq!(
            error,
            "guest image tiny not found in /nonexistent/images: run scripts/build-guest-image, or name another with --vm_image"
        );
    }

    #[test]
    fn an_image_without_its_disk_is_refused() {
        let directory = std::env::temp_dir().join(format!("mesos-slave-image-{}", std::process::id()));
        make_directory(&directory).expect("directory");
        fs::write(directory.join("image.conf"), "ssh_user=root\n").expect("image.conf");
        let error = Image::load(&directory).expect_err("no disk").to_string();
        fs::write(directory.join("disk.qcow2"), "").expect("disk");
        let complete = Image::load(&directory);
        fs::remove_dir_all(&directory).expect("clean up");
        assert!(error.contains("disk.qcow2 of the guest image"), "{error}");
        assert!(complete.is_ok());
    }
}
