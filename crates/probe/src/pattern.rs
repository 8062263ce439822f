//! The payload of Heartbeat: `0123456789ABCDEF`, repeated from its start.

use std::sync::LazyLock;

use hyper::body::Bytes;

/// The bytes that are repeated.
pub(crate) const PATTERN: &[u8; 16] = b"0123456789ABCDEF";

/// A block of the pattern to cut payloads from; its length is a multiple of the pattern's.
pub(crate) fn block() -> Bytes {
    static BLOCK: LazyLock<Bytes> = LazyLock::new(|| Bytes::from(PATTERN.repeat(BLOCK_REPEATS)));
    BLOCK.clone()
}

/// Compares a body with the pattern as it arrives, and keeps none of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PatternCheck {
    position: u64,
    mismatch: Option<u64>,
}

impl PatternCheck {
    /// The position of the first byte that differs from the pattern, counted from 0.
    pub(crate) fn mismatch(&self) -> Option<u64> {
        self.mismatch
    }

    /// Takes the next bytes of the body.
    pub(crate) fn take(&mut self, bytes: &[u8]) {
        if self.mismatch.is_none() {
            let phase = usize::from(self.position.to_le_bytes()[0]) % PATTERN.len();
            if let Some(at) = first_mismatch(bytes, phase) {
                self.mismatch = Some(self.position + at as u64);
            }
        }
        self.position += bytes.len() as u64;
    }
}

// Whole stretches are compared at once, which the compiler turns into memcmp; only a stretch that
// differs is searched byte by byte.
fn first_mismatch(bytes: &[u8], phase: usize) -> Option<usize> {
    let block = block();
    let mut offset = 0;
    let mut phase = phase;
    while offset < bytes.len() {
        let length = (bytes.len() - offset).min(block.len() - phase);
        let (ours, theirs) = (&block[phase..phase + length], &bytes[offset..offset + length]);
        if ours != theirs {
            let at = ours.iter().zip(theirs).position(|(a, b)| a != b)?;
            return Some(offset + at);
        }
        offset += length;
        phase = (phase + length) % PATTERN.len();
    }
    None
}

// 16 KiB: one TLS record holds as much, and it stays in the first-level cache.
const BLOCK_REPEATS: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(chunks: &[&[u8]]) -> PatternCheck {
        let mut check = PatternCheck::default();
        for chunk in chunks {
            check.take(chunk);
        }
        check
    }

    #[test]
    fn takes_the_pattern_however_it_is_cut() {
        let body = PATTERN.repeat(3000);
        for cut in [0, 1, 15, 16, 17, 16_383, 16_384, 16_385, body.len()] {
            let (first, second) = body.split_at(cut);
            assert_eq!(checked(&[first, second]).mismatch(), None, "cut at {cut}");
        }
        assert_eq!(checked(&[]).mismatch(), None);
    }

    #[test]
    fn reports_the_position_of_the_first_wrong_byte() {
        for at in [0, 1, 16, 16_384, 47_999] {
            let mut body = PATTERN.repeat(3000);
            body[at] = b'x';
            let (first, second) = body.split_at(1000);
            assert_eq!(checked(&[first, second]).mismatch(), Some(at as u64));
        }
    }

    #[test]
    fn a_pattern_that_does_not_begin_at_its_start_is_wrong() {
        assert_eq!(checked(&[b"123"]).mismatch(), Some(0));
        assert_eq!(checked(&[b"0123", b"0123"]).mismatch(), Some(4));
    }
}
