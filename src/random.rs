//! Random bytes: UUIDs, back-off jitter. Seeded once from the system, so that a core can draw from it and a test can
//! give it a seed. Not for keys.

use std::fs::File;
use std::io::{self, Read};
use std::time::Duration;

/// Where the seed comes from.
pub const SOURCE: &str = "/dev/urandom";

/// A generator (xoshiro256**, by Blackman and Vigna), seeded with 256 bits.
#[derive(Debug, Clone)]
pub struct Random {
    state: [u64; 4],
}

impl Random {
    /// Seeded by the kernel.
    ///
    /// # Errors
    /// What reading [`SOURCE`] gives.
    pub fn from_system() -> io::Result<Random> {
        let mut seed = [0u8; 32];
        File::open(SOURCE)?.read_exact(&mut seed)?;
        let mut state = [0u64; 4];
        for (word, bytes) in state.iter_mut().zip(seed.chunks_exact(8)) {
            *word = bytes.iter().fold(0, |word, byte| word << 8 | u64::from(*byte));
        }
        // All zeros is the one state from which nothing but zeros comes.
        state[0] |= 1;
        Ok(Random { state })
    }

    /// The same sequence for the same seed: for tests, and for those below fuzz/.
    #[cfg_attr(not(test), allow(dead_code))]
    pub fn from_seed(seed: u64) -> Random {
        Random { state: [seed | 1, seed ^ 0x9e37_79b9_7f4a_7c15, !seed, 0xbf58_476d_1ce4_e5b9] }
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        let [a, b, c, d] = &mut self.state;
        let result = b.wrapping_mul(5).rotate_left(7).wrapping_mul(9);
        let shifted = *b << 17;
        *c ^= *a;
        *d ^= *b;
        *b ^= *c;
        *a ^= *d;
        *c ^= shifted;
        *d = d.rotate_left(45);
        result
    }

    /// A random UUID (version 4) as its 16 bytes.
    pub fn uuid(&mut self) -> [u8; 16] {
        let mut bytes = [0u8; 16];
        bytes[..8].copy_from_slice(&self.next_u64().to_be_bytes());
        bytes[8..].copy_from_slice(&self.next_u64().to_be_bytes());
        bytes[6] = bytes[6] & 0x0f | 0x40;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        bytes
    }

    /// A random UUID as text.
    pub fn uuid_text(&mut self) -> String {
        format_uuid(&self.uuid())
    }

    /// A duration between nothing and the limit.
    pub fn duration_up_to(&mut self, limit: Duration) -> Duration {
        let part = (self.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
        limit.mul_f64(part)
    }
}

/// `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx`.
pub fn format_uuid(bytes: &[u8; 16]) -> String {
    let mut text = String::with_capacity(36);
    for (place, byte) in bytes.iter().enumerate() {
        if matches!(place, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        text.push_str(&format!("{byte:02x}"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_is_of_version_4_and_never_twice_the_same() {
        let mut random = Random::from_system().expect("urandom");
        let (one, other) = (random.uuid_text(), random.uuid_text());
        assert_ne!(one, other);
        assert_eq!(one.len(), 36);
        assert_eq!(one.as_bytes()[14], b'4');
    }

    #[test]
    fn a_jitter_stays_below_its_limit() {
        let mut random = Random::from_seed(7);
        let limit = Duration::from_secs(1);
        let waits: Vec<Duration> = (0..1000).map(|_| random.duration_up_to(limit)).collect();
        assert!(waits.iter().all(|wait| *wait < limit));
        assert!(waits.iter().any(|wait| *wait > limit / 2));
    }
}
