//! Sends any bytes on a connection. There must be no panic and no endless loop, every answer must
//! be well-formed, and the way in which the bytes are cut must change nothing.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[allow(dead_code, reason = "the rig is shared with the tests")]
#[path = "../../crates/protocol/tests/rig/mod.rs"]
mod rig;

use rig::driver::{Reading, transcript, transcript_of};
use rig::random::Random;
use rig::wellformed;

fuzz_target!(|data: &[u8]| {
    let whole = transcript([data]);
    whole.answers().for_each(wellformed::check);
    // The cuts depend on the bytes alone, so that a failure can be reproduced.
    let sum = data.iter().fold(0, |sum: u64, byte| sum.wrapping_mul(31) + u64::from(*byte));
    let random = &mut Random::new(sum);
    let (first, second) = data.split_at(random.below(data.len() + 1));
    assert_eq!(transcript([first, second]), whole);
    let step = 1 + random.below(9);
    assert_eq!(transcript(data.chunks(step)), whole);
    assert_eq!(transcript_of(Reading::Skipped, data.chunks(1 + random.below(64))), whole);
    assert_eq!(transcript_of(Reading::Skipped, [first, second]), whole);
});
