//! Fuzzing from fixed seeds: every run tries the same mutants of the vectors and of generated
//! messages. It takes a few seconds.

#[allow(dead_code, reason = "every test uses its part of the rig")]
mod rig;

use rig::driver::{Ending, Reading, transcript, transcript_of};
use rig::messages::message;
use rig::mutation::mutate;
use rig::random::Random;
use rig::vector::{folder, read_all};
use rig::wellformed;

/// How many mutants are made of a text that keeps the connection open, and of one that closes it.
/// The latter needs fewer, because nothing after the first mistake is read.
const MUTANTS: (usize, usize) = (60, 12);

/// Longest text that is mutated. There are few longer ones, and each takes a long time.
const TEXT_BYTES_MAX: usize = 2000;

/// Longest mutant that is cut at every point. Only the first mutant of each text is cut so often.
const EVERY_CUT_BYTES_MAX: usize = 300;

fn corpus() -> Vec<Vec<u8>> {
    let sections = read_all(folder());
    let cases = sections.iter().flat_map(|section| &section.cases);
    let mut texts: Vec<Vec<u8>> = cases.map(|case| case.bytes()).collect();
    texts.retain(|bytes| bytes.len() <= TEXT_BYTES_MAX);
    texts.extend((0..200).map(|seed| message(&mut Random::new(seed)).bytes));
    texts
}

/// No bytes cause a panic or an endless loop, none are repeated in an answer, and none are read
/// differently when they are cut.
#[test]
fn mutants_are_read_alike_however_they_are_cut_and_not_reflected() {
    let texts = corpus();
    let others: Vec<&[u8]> = texts.iter().map(|text| &text[..]).collect();
    let mut endings = [0_usize; 4];
    for (number, text) in texts.iter().enumerate() {
        let served = transcript([&text[..]]).ending != Ending::Closed;
        let mutants = if served { MUTANTS.0 } else { MUTANTS.1 };
        for round in 0..mutants {
            let seed = (number * 100 + round) as u64;
            let random = &mut Random::new(seed);
            let mutant = mutate(text, &others, random);
            let whole = transcript([&mutant[..]]);
            endings[whole.ending as usize] += 1;
            whole.answers().for_each(wellformed::check);
            let described = || format!("seed {seed}, {:?}", mutant.escape_ascii().to_string());
            let at = random.below(mutant.len() + 1);
            let every_cut = round == 0 && mutant.len() <= EVERY_CUT_BYTES_MAX;
            for at in if every_cut { 1..mutant.len() } else { at..at + 1 } {
                let (first, second) = mutant.split_at(at);
                assert_eq!(transcript([first, second]), whole, "cut at {at}, {}", described());
            }
            assert_eq!(transcript(mutant.chunks(1)), whole, "by byte, {}", described());
            let step = 2 + random.below(30);
            let skipped = transcript_of(Reading::Skipped, mutant.chunks(step));
            assert_eq!(skipped, whole, "skipped by {step}, {}", described());
        }
    }
    // Otherwise the mutants would be too much alike to prove anything.
    for ending in [Ending::Idle, Ending::InHead, Ending::InBody, Ending::Closed] {
        assert!(endings[ending as usize] > 300, "{endings:?}");
    }
}
