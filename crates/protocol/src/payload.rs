//! Owns the arithmetic of a payload: which ranges of a repeated block are exactly n bytes of it.
//! Must not own the block: the caller has the memory.

/// The bytes that a payload repeats.
pub const PATTERN: &[u8; 16] = b"0123456789ABCDEF";

/// The first `bytes` bytes of an endless repetition of [`PATTERN`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Payload {
    /// Length in bytes.
    pub bytes: u64,
}

/// A range of the block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// First byte, counted from the start of the block.
    pub start: usize,
    /// Length in bytes, never 0.
    pub bytes: usize,
}

impl Payload {
    /// The ranges of a block of `block_bytes` that hold this payload from byte `from` on.
    ///
    /// `block_bytes` must be a multiple of the pattern's length, so that the pattern continues from
    /// one block to the next. No range is empty; if nothing is left there is no range.
    pub fn segments(self, from: u64, block_bytes: usize) -> impl Iterator<Item = Segment> {
        assert!(block_bytes > 0 && block_bytes.is_multiple_of(PATTERN.len()));
        let mut position = from;
        std::iter::from_fn(move || {
            let left = self.bytes.checked_sub(position).filter(|left| *left > 0)?;
            let start = (position % block_bytes as u64) as usize;
            let bytes = left.min((block_bytes - start) as u64) as usize;
            position += bytes as u64;
            Some(Segment { start, bytes })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assemble(payload: Payload, from: u64, block: &[u8]) -> Vec<u8> {
        payload
            .segments(from, block.len())
            .flat_map(|segment| block[segment.start..][..segment.bytes].to_vec())
            .collect()
    }

    #[test]
    fn segments_are_the_pattern_at_every_size_and_offset() {
        let block = PATTERN.repeat(4);
        for bytes in 0..200 {
            let whole: Vec<u8> = PATTERN.iter().copied().cycle().take(bytes).collect();
            for from in 0..=bytes {
                let got = assemble(Payload { bytes: bytes as u64 }, from as u64, &block);
                assert_eq!(got, whole[from..], "{bytes} bytes from {from}");
            }
        }
    }

    #[test]
    fn no_segment_is_empty_or_leaves_the_block() {
        for bytes in [1, 63, 64, 65, 127, 128, 129, 1 << 30] {
            let mut total = 0;
            for segment in (Payload { bytes }).segments(0, 64) {
                assert!(segment.bytes > 0 && segment.start + segment.bytes <= 64);
                total += segment.bytes as u64;
                if total > 1 << 16 {
                    break;
                }
            }
            assert!(total == bytes || total > 1 << 16);
        }
        assert_eq!((Payload { bytes: 10 }).segments(10, 64).count(), 0);
        assert_eq!((Payload { bytes: 10 }).segments(11, 64).count(), 0);
    }
}
