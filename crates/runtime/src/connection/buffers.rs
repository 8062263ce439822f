//! Owns the spare buffers of a worker: a request allocates nothing, and an idle connection holds
//! hardly any memory.

use std::cell::RefCell;

use crate::connection::outbox::{OUTBOX_BYTES, Outbox};
use crate::send::outbound::VECTORS_MAX;

/// Capacity of the first read buffer of a session: enough for the head of a prober or a load
/// generator, and small enough to have ten thousand of them.
pub(crate) const SMALL_BYTES: usize = 512;

/// Capacity of the read buffer that replaces the small one once a read has filled it.
pub(crate) const LARGE_BYTES: usize = 8 * 1024;

/// The most spare buffers of a kind that are kept. Further ones go back to the allocator.
const SPARE_MAX: usize = 64;

/// A worker's spare buffers, all empty.
#[derive(Debug, Default)]
pub(crate) struct Buffers {
    small: RefCell<Vec<Vec<u8>>>,
    large: RefCell<Vec<Vec<u8>>>,
    // Boxed, because a connection without answers holds none.
    #[expect(clippy::vec_box)]
    outboxes: RefCell<Vec<Box<Outbox>>>,
    names: RefCell<Vec<String>>,
    vectors: RefCell<Vec<Vec<libc::iovec>>>,
}

impl Buffers {
    /// An empty read buffer of [`SMALL_BYTES`].
    pub(crate) fn small(&self) -> Vec<u8> {
        take(&self.small).unwrap_or_else(|| Vec::with_capacity(SMALL_BYTES))
    }

    /// An empty read buffer of [`LARGE_BYTES`].
    pub(crate) fn large(&self) -> Vec<u8> {
        take(&self.large).unwrap_or_else(|| Vec::with_capacity(LARGE_BYTES))
    }

    /// Takes a read buffer back, whatever is in it.
    pub(crate) fn give(&self, mut buffer: Vec<u8>) {
        buffer.clear();
        match buffer.capacity() {
            SMALL_BYTES => give(&self.small, buffer),
            LARGE_BYTES => give(&self.large, buffer),
            // It has grown for a long head, or has never been allocated.
            _ => {}
        }
    }

    /// An empty outbox.
    pub(crate) fn outbox(&self) -> Box<Outbox> {
        take(&self.outboxes).unwrap_or_else(|| Box::new(Outbox::with_capacity(OUTBOX_BYTES)))
    }

    /// Takes an outbox back, whatever is in it.
    pub(crate) fn give_outbox(&self, mut outbox: Box<Outbox>) {
        if outbox.bytes.capacity() == OUTBOX_BYTES {
            outbox.clear();
            give(&self.outboxes, outbox);
        }
    }

    /// A text for the name of a request, which may still hold that of another one.
    pub(crate) fn name(&self) -> String {
        take(&self.names).unwrap_or_default()
    }

    /// Takes such a text back.
    pub(crate) fn give_name(&self, name: String) {
        give(&self.names, name);
    }

    /// An empty list of the vectors of one operation.
    pub(crate) fn vectors(&self) -> Vec<libc::iovec> {
        take(&self.vectors).unwrap_or_else(|| Vec::with_capacity(VECTORS_MAX))
    }

    /// Takes such a list back, whatever is in it.
    pub(crate) fn give_vectors(&self, mut vectors: Vec<libc::iovec>) {
        vectors.clear();
        give(&self.vectors, vectors);
    }
}

fn take<T>(spare: &RefCell<Vec<T>>) -> Option<T> {
    spare.borrow_mut().pop()
}

fn give<T>(spare: &RefCell<Vec<T>>, buffer: T) {
    let mut spare = spare.borrow_mut();
    if spare.len() < SPARE_MAX {
        spare.push(buffer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_come_back_empty_and_the_last_one_first() {
        let buffers = Buffers::default();
        for mut buffer in [buffers.small(), buffers.large()] {
            buffer.extend_from_slice(b"x");
            let (address, capacity) = (buffer.as_ptr(), buffer.capacity());
            buffers.give(buffer);
            let again = if capacity == SMALL_BYTES { buffers.small() } else { buffers.large() };
            assert!(again.is_empty() && again.as_ptr() == address);
        }
    }

    #[test]
    fn grown_and_surplus_buffers_are_not_kept() {
        let buffers = Buffers::default();
        buffers.give(Vec::with_capacity(2 * LARGE_BYTES));
        buffers.give(Vec::new());
        assert_eq!(buffers.small.borrow().len() + buffers.large.borrow().len(), 0);
        for _ in 0..SPARE_MAX + 1 {
            buffers.give(Vec::with_capacity(SMALL_BYTES));
        }
        assert_eq!(buffers.small.borrow().len(), SPARE_MAX);
    }
}
