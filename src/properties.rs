//! What property tests share: numbers from a seed, and the shortening of what fails.

use crate::random::Random;

/// How many random sequences each property is tried with.
pub const SEQUENCES: u64 = 10_000;

/// The numbers of a seed. The first few of neighbouring seeds are alike and left out.
pub fn numbers(seed: u64) -> Random {
    let mut random = Random::from_seed(seed);
    (0..4).for_each(|_| _ = random.next_u64());
    random
}

/// A number below the limit, which is small.
pub fn below(random: &mut Random, limit: usize) -> usize {
    (random.next_u64() >> 16) as usize % limit
}

/// Leaves out what is not needed to fail: half of the steps, a quarter, … single ones, until nothing more can go.
pub fn shortened<S: Clone>(fails: &dyn Fn(&[S]) -> bool, mut steps: Vec<S>) -> Vec<S> {
    let mut size = steps.len().div_ceil(2);
    while size > 0 {
        let mut at = 0;
        let before = steps.len();
        while at < steps.len() {
            let end = (at + size).min(steps.len());
            let shorter = [&steps[..at], &steps[end..]].concat();
            if fails(&shorter) {
                steps = shorter;
            } else {
                at = end;
            }
        }
        if size > 1 || steps.len() == before {
            size /= 2;
        }
    }
    steps
}

#[test]
fn a_failing_sequence_is_shortened_to_what_makes_it_fail() {
    let steps: Vec<u32> = (0..100).collect();
    let fails = |steps: &[u32]| {
        let first = steps.iter().position(|step| *step == 17);
        first.is_some_and(|first| steps[first..].contains(&80))
    };
    assert_eq!(shortened(&fails, steps), [17, 80]);
}
