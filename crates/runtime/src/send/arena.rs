//! Owns a worker's payload memory: one page-aligned mapping that holds the block (the repeated
//! pattern, written once) and the head slots. Every vector that leaves points into it, so that it
//! can be registered with io_uring as one buffer, and an operation never outlives its memory.

use std::cell::RefCell;
use std::io;
use std::ptr::NonNull;

use heartbeat_protocol::{PATTERN, Segment};

/// Bytes of the block. It stays in a core's second-level cache, where the kernel copies from it.
/// Measured on loopback (medians of nine rounds, CPU per answer), 32 and 64 KiB are the same:
/// 8.8 and 8.6 us for 64 KiB, 64 and 67 us for 1 MiB; the smaller one is less memory.
pub(crate) const BLOCK_BYTES: usize = 32 * 1024;

/// Bytes of a head slot: the longest head of the encoder.
pub(crate) const SLOT_BYTES: usize = heartbeat_protocol::limits::RESPONSE_HEAD_BYTES_MAX;

/// Head slots of a worker. A slot is taken from the start of a large answer until its head is
/// out; an answer that finds none sends its head on its own.
pub(crate) const SLOTS: usize = 32;

/// Bytes of the mapping: what registration charges to RLIMIT_MEMLOCK, per worker. Eight MiB have
/// been the default since Linux 5.16.
pub(crate) const ARENA_BYTES: usize = BLOCK_BYTES + SLOTS * SLOT_BYTES;

const _: () = assert!(ARENA_BYTES <= 128 * 1024);

/// The mapping, and which slots are free.
#[derive(Debug)]
pub(crate) struct Arena {
    base: NonNull<u8>,
    free_slots: RefCell<Vec<usize>>,
}

/// A head in the arena. It goes back by [`Arena::release`].
#[derive(Debug)]
pub(crate) struct Slot {
    index: usize,
    bytes: usize,
}

impl Slot {
    /// Its place among the slots, below [`SLOTS`].
    pub(crate) fn index(&self) -> usize {
        self.index
    }

    /// Length of the head, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Arena {
    /// Maps and fills the memory (mmap(2)); it is given back when the arena is dropped.
    ///
    /// # Errors
    /// Those of mmap(2): ENOMEM.
    pub(crate) fn new() -> io::Result<Self> {
        // SAFETY: a new anonymous mapping at an address of the kernel's choice touches no
        // existing memory.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                ARENA_BYTES,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base = NonNull::new(base.cast()).ok_or_else(io::Error::last_os_error)?;
        // SAFETY: the mapping starts with BLOCK_BYTES bytes that nothing else refers to yet.
        let block = unsafe { std::slice::from_raw_parts_mut(base.as_ptr(), BLOCK_BYTES) };
        for chunk in block.chunks_exact_mut(PATTERN.len()) {
            chunk.copy_from_slice(PATTERN);
        }
        Ok(Self { base, free_slots: RefCell::new((0..SLOTS).rev().collect()) })
    }

    /// The repeated pattern.
    pub(crate) fn block(&self) -> &[u8] {
        // SAFETY: the mapping starts with BLOCK_BYTES initialised bytes, lives as long as self,
        // and `new` was the last to write to them.
        unsafe { std::slice::from_raw_parts(self.base.as_ptr(), BLOCK_BYTES) }
    }

    /// Copies a head into a free slot; none where it is longer than a slot or all are taken.
    pub(crate) fn take_slot(&self, head: &[u8]) -> Option<Slot> {
        if head.len() > SLOT_BYTES {
            return None;
        }
        let index = self.free_slots.borrow_mut().pop()?;
        // SAFETY: slot `index` lies in the mapping behind the block, is SLOT_BYTES long, and was
        // free: no operation in flight refers to it, and `head` can not.
        unsafe {
            let start = self.base.as_ptr().add(slot_start(index));
            std::ptr::copy_nonoverlapping(head.as_ptr(), start, head.len());
        }
        Some(Slot { index, bytes: head.len() })
    }

    /// Gives a slot back. The caller has seen the end of every operation that refers to it.
    pub(crate) fn release(&self, slot: Slot) {
        self.free_slots.borrow_mut().push(slot.index);
    }

    /// A head from byte `from` on.
    pub(crate) fn head<'a>(&'a self, slot: &'a Slot, from: usize) -> &'a [u8] {
        let vector = self.head_vector(slot, from);
        // SAFETY: the range lies in the slot, whose bytes `take_slot` has written, and which
        // nothing writes to before `release` takes the slot, which is borrowed as long.
        unsafe { std::slice::from_raw_parts(vector.iov_base.cast(), vector.iov_len) }
    }

    /// The vector of a head from byte `from` on.
    pub(crate) fn head_vector(&self, slot: &Slot, from: usize) -> libc::iovec {
        assert!(from < slot.bytes);
        self.vector(slot_start(slot.index) + from, slot.bytes - from)
    }

    /// The vector of a range of the block.
    pub(crate) fn block_vector(&self, segment: Segment) -> libc::iovec {
        assert!(segment.start + segment.bytes <= BLOCK_BYTES);
        self.vector(segment.start, segment.bytes)
    }

    /// The whole mapping, as io_uring registers it.
    pub(crate) fn whole(&self) -> libc::iovec {
        self.vector(0, ARENA_BYTES)
    }

    fn vector(&self, start: usize, bytes: usize) -> libc::iovec {
        assert!(bytes > 0 && start + bytes <= ARENA_BYTES);
        libc::iovec { iov_base: self.base.as_ptr().wrapping_add(start).cast(), iov_len: bytes }
    }
}

#[cfg(test)]
impl Arena {
    /// The bytes that a vector names.
    pub(crate) fn bytes_of(&self, vector: &libc::iovec) -> &[u8] {
        let start = vector.iov_base as usize - self.base.as_ptr() as usize;
        assert!(start + vector.iov_len <= ARENA_BYTES);
        // SAFETY: the range lies in the mapping, which self keeps, and whose bytes are all
        // initialised: an anonymous mapping is zeroes.
        unsafe { std::slice::from_raw_parts(vector.iov_base.cast(), vector.iov_len) }
    }

    /// How many slots are free.
    pub(crate) fn free_slots(&self) -> usize {
        self.free_slots.borrow().len()
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        // SAFETY: the mapping is this arena's own. Sessions hold the worker that holds it, so
        // that none of their operations is in flight; a zero-copy send that the network still
        // needs has its own hold on the pages.
        unsafe { libc::munmap(self.base.as_ptr().cast(), ARENA_BYTES) };
    }
}

fn slot_start(index: usize) -> usize {
    BLOCK_BYTES + index * SLOT_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_block_is_the_pattern() {
        let arena = Arena::new().unwrap();
        assert_eq!(arena.block(), PATTERN.repeat(BLOCK_BYTES / PATTERN.len()));
        assert_eq!(arena.base.as_ptr() as usize % 4096, 0);
        let segment = Segment { start: BLOCK_BYTES - 1, bytes: 1 };
        assert_eq!(arena.bytes_of(&arena.block_vector(segment)), b"F");
    }

    #[test]
    fn slots_hold_their_heads_and_run_out() {
        let arena = Arena::new().unwrap();
        let head = |index: usize| vec![index as u8; SLOT_BYTES];
        let slots: Vec<Slot> =
            (0..SLOTS).map(|index| arena.take_slot(&head(index)).unwrap()).collect();
        assert!(arena.take_slot(b"x").is_none());
        for (index, slot) in slots.into_iter().enumerate() {
            assert_eq!(arena.bytes_of(&arena.head_vector(&slot, 0)), head(index));
            assert_eq!(arena.head(&slot, 1), &head(index)[1..]);
            assert_eq!(arena.bytes_of(&arena.head_vector(&slot, SLOT_BYTES - 1)).len(), 1);
            arena.release(slot);
        }
        assert!(arena.take_slot(&[0; SLOT_BYTES]).is_some());
        assert!(arena.take_slot(&[0; SLOT_BYTES + 1]).is_none());
    }
}
