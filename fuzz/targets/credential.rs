//! A credential's file, in both forms. Neither the text of an error nor `Debug` shows any of a secret.

#![no_main]

use std::path::PathBuf;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use mesos_slave_fuzz::credential::Credential;
use mesos_slave_fuzz::memory;

/// In memory where there is such a place, since it takes each input in turn.
static FILE: LazyLock<PathBuf> = LazyLock::new(|| {
    let shared = std::path::Path::new("/dev/shm");
    let directory = if shared.is_dir() { shared.to_path_buf() } else { std::env::temp_dir() };
    directory.join(format!("mesos-slave-fuzz-credential.{}", std::process::id()))
});

fuzz_target!(|data: &[u8]| {
    std::fs::write(&*FILE, data).expect("the input's file");
    let loaded = memory::within(16 * 1024 + 256 * data.len(), || Credential::load(&FILE));
    std::fs::remove_file(&*FILE).expect("the input's file");
    match loaded {
        Ok(credential) => {
            let principal = credential.principal();
            assert!(!principal.is_empty() && principal.len() <= 256);
            let answer = credential.cram_md5(b"<1.2@host>");
            assert_eq!(answer.len(), principal.len() + 1 + 32);
            assert!(format!("{credential:?}").contains("hidden"));
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
