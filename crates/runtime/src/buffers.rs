//! Owns the spare read and write buffers of a worker, so that a request allocates nothing.

use std::cell::RefCell;

/// Capacity of a buffer: what one read takes at most, and about where answers to pipelined
/// requests are sent instead of being gathered further.
pub(crate) const BUFFER_BYTES: usize = 8 * 1024;

/// Spare buffers kept at most; more are given back to the allocator.
const SPARE_MAX: usize = 64;

/// A worker's spare buffers, all empty.
#[derive(Debug, Default)]
pub(crate) struct Buffers {
    spare: RefCell<Vec<Vec<u8>>>,
}

impl Buffers {
    /// An empty buffer of at least [`BUFFER_BYTES`].
    pub(crate) fn take(&self) -> Vec<u8> {
        self.spare.borrow_mut().pop().unwrap_or_else(|| Vec::with_capacity(BUFFER_BYTES))
    }

    /// Takes a buffer back, whatever is in it.
    pub(crate) fn give(&self, mut buffer: Vec<u8>) {
        let mut spare = self.spare.borrow_mut();
        let is_standard = (BUFFER_BYTES..2 * BUFFER_BYTES).contains(&buffer.capacity());
        if is_standard && spare.len() < SPARE_MAX {
            buffer.clear();
            spare.push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_come_back_empty_and_the_last_one_first() {
        let buffers = Buffers::default();
        let mut buffer = buffers.take();
        buffer.extend_from_slice(b"x");
        let address = buffer.as_ptr();
        buffers.give(buffer);
        let again = buffers.take();
        assert!(again.is_empty() && again.as_ptr() == address);
    }

    #[test]
    fn grown_and_surplus_buffers_are_not_kept() {
        let buffers = Buffers::default();
        buffers.give(Vec::with_capacity(2 * BUFFER_BYTES));
        buffers.give(Vec::new());
        assert_eq!(buffers.spare.borrow().len(), 0);
        for _ in 0..SPARE_MAX + 1 {
            buffers.give(Vec::with_capacity(BUFFER_BYTES));
        }
        assert_eq!(buffers.spare.borrow().len(), SPARE_MAX);
    }
}
