//! Owns a worker's payload memory: one page-aligned mapping that holds the block (the repeated
//! pattern, written once) and the head slots. Every vector of a large answer points into it, and
//! it can be registered with io_uring as one buffer. The memory lives as long as something refers
//! to it: the arena, a slot, or the ring that has registered it.

use std::cell::RefCell;
use std::io;
use std::ptr::NonNull;
use std::rc::Rc;

use heartbeat_protocol::PATTERN;
use rustix::mm::{self, MapFlags, ProtFlags};

/// Bytes of the block. It stays in a core's second-level cache, from which the kernel copies it.
/// Measured on loopback (medians of nine rounds, CPU per answer), blocks of 32 and 64 KiB cost the
/// same: 8.8 and 8.6 us for an answer of 64 KiB, 64 and 67 us for 1 MiB. The smaller block takes
/// less memory.
pub(crate) const BLOCK_BYTES: usize = 32 * 1024;

/// Bytes of a head slot: the longest head of the encoder.
pub(crate) const SLOT_BYTES: usize = heartbeat_protocol::limits::RESPONSE_HEAD_BYTES_MAX;

/// Head slots of a worker. A large answer occupies a slot from its start until its head has been
/// sent; an answer that finds none free sends its head in a write of its own.
pub(crate) const SLOTS: usize = 32;

/// Bytes of the mapping: what registration charges to RLIMIT_MEMLOCK, per worker. The default limit
/// has been 8 MiB since Linux 5.16.
pub(crate) const ARENA_BYTES: usize = BLOCK_BYTES + SLOTS * SLOT_BYTES;

const _: () = assert!(ARENA_BYTES <= 128 * 1024);

/// A worker's payload memory.
#[derive(Clone, Debug)]
pub(crate) struct Arena {
    memory: Rc<Memory>,
}

/// The mapping, and which slots of it are free.
#[derive(Debug)]
struct Memory {
    base: NonNull<u8>,
    slots: RefCell<Slots>,
}

#[derive(Debug)]
struct Slots {
    free: Vec<usize>,
    /// How many use each slot: its owner, and the zero-copy sends that name it and that the network
    /// may still read.
    users: [u32; SLOTS],
}

/// A head in the arena. It gives itself back when it is dropped.
#[derive(Debug)]
pub(crate) struct Slot {
    memory: Rc<Memory>,
    index: usize,
    bytes: usize,
}

impl Arena {
    /// Maps and fills the memory (mmap(2)); it is unmapped when nothing refers to it any more.
    ///
    /// # Errors
    /// Those of mmap(2): ENOMEM.
    pub(crate) fn new() -> io::Result<Self> {
        let (access, anywhere) = (ProtFlags::READ | ProtFlags::WRITE, std::ptr::null_mut());
        // SAFETY: a new anonymous mapping at an address of the kernel's choice touches no
        // existing memory.
        let base = unsafe { mm::mmap_anonymous(anywhere, ARENA_BYTES, access, MapFlags::PRIVATE) }?;
        let base = NonNull::new(base.cast()).ok_or_else(io::Error::last_os_error)?;
        // SAFETY: the mapping starts with BLOCK_BYTES bytes that nothing else refers to yet.
        let block = unsafe { std::slice::from_raw_parts_mut(base.as_ptr(), BLOCK_BYTES) };
        for chunk in block.chunks_exact_mut(PATTERN.len()) {
            chunk.copy_from_slice(PATTERN);
        }
        let slots = Slots { free: (0..SLOTS).rev().collect(), users: [0; SLOTS] };
        Ok(Self { memory: Rc::new(Memory { base, slots: RefCell::new(slots) }) })
    }

    /// The repeated pattern.
    pub(crate) fn block(&self) -> &[u8] {
        // SAFETY: the mapping starts with BLOCK_BYTES initialized bytes, lives as long as self,
        // and `new` was the last to write to them.
        unsafe { std::slice::from_raw_parts(self.memory.base.as_ptr(), BLOCK_BYTES) }
    }

    /// Copies a head into a free slot. None if the head is longer than a slot, or if no slot is
    /// free.
    pub(crate) fn take_slot(&self, head: &[u8]) -> Option<Slot> {
        if head.len() > SLOT_BYTES {
            return None;
        }
        let mut slots = self.memory.slots.borrow_mut();
        let index = slots.free.pop()?;
        slots.users[index] = 1;
        // SAFETY: slot `index` lies in the mapping behind the block and is SLOT_BYTES long. It was
        // free, so no `Slot` and no operation in flight refers to it, and `head` cannot.
        unsafe {
            let start = self.memory.base.as_ptr().add(slot_start(index));
            std::ptr::copy_nonoverlapping(head.as_ptr(), start, head.len());
        }
        Some(Slot { memory: Rc::clone(&self.memory), index, bytes: head.len() })
    }

    /// The whole mapping, as io_uring registers it.
    pub(crate) fn whole(&self) -> libc::iovec {
        libc::iovec { iov_base: self.memory.base.as_ptr().cast(), iov_len: ARENA_BYTES }
    }

    /// Notes that a zero-copy send names slot `index`.
    pub(crate) fn note_send(&self, index: usize) {
        self.memory.slots.borrow_mut().users[index] += 1;
    }

    /// Notes that the network has no further use for a zero-copy send that named slot `index`.
    pub(crate) fn note_sent(&self, index: usize) {
        self.memory.slots.borrow_mut().release(index);
    }
}

impl Slots {
    /// Notes that one user of a slot is gone. Without users it is free.
    fn release(&mut self, index: usize) {
        self.users[index] -= 1;
        if self.users[index] == 0 {
            self.free.push(index);
        }
    }
}

impl Slot {
    /// Its place among the slots, below [`SLOTS`].
    pub(crate) fn index(&self) -> usize {
        self.index
    }

    /// The head.
    pub(crate) fn head(&self) -> &[u8] {
        // SAFETY: the range lies in the mapping, which this slot keeps, and `take_slot` has
        // initialized it. Nothing writes to it before the slot is dropped and taken again.
        unsafe {
            let start = self.memory.base.as_ptr().add(slot_start(self.index));
            std::slice::from_raw_parts(start, self.bytes)
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.memory.slots.borrow_mut().release(self.index);
    }
}

#[cfg(test)]
impl Arena {
    /// The bytes that a vector names.
    pub(crate) fn bytes_of(&self, vector: &libc::iovec) -> &[u8] {
        let start = vector.iov_base as usize - self.memory.base.as_ptr() as usize;
        assert!(start + vector.iov_len <= ARENA_BYTES);
        // SAFETY: the range lies in the mapping, which self keeps, and whose bytes are all
        // initialized: an anonymous mapping is zeroes.
        unsafe { std::slice::from_raw_parts(vector.iov_base.cast(), vector.iov_len) }
    }

    /// How many slots are free.
    pub(crate) fn free_slots(&self) -> usize {
        self.memory.slots.borrow().free.len()
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: the mapping is this value's own, and the last reference to it is gone: no slot
        // and no ring names it. A zero-copy send that the network still needs keeps the pages.
        let _ = unsafe { mm::munmap(self.base.as_ptr().cast(), ARENA_BYTES) };
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
        assert_eq!(arena.memory.base.as_ptr() as usize % 4096, 0);
    }

    #[test]
    fn every_slot_holds_its_head_and_is_free_again_once_it_is_dropped() {
        let arena = Arena::new().unwrap();
        let head = |index: usize| vec![index as u8; SLOT_BYTES];
        let slots: Vec<Slot> =
            (0..SLOTS).map(|index| arena.take_slot(&head(index)).unwrap()).collect();
        assert!(arena.take_slot(b"x").is_none());
        for (index, slot) in slots.iter().enumerate() {
            assert_eq!(slot.head(), head(index));
        }
        drop(slots);
        assert_eq!(arena.free_slots(), SLOTS);
        assert!(arena.take_slot(&[0; SLOT_BYTES]).is_some());
        assert!(arena.take_slot(&[0; SLOT_BYTES + 1]).is_none());
    }

    #[test]
    fn a_slot_that_the_network_still_reads_is_not_free() {
        let arena = Arena::new().unwrap();
        let slot = arena.take_slot(b"head").unwrap();
        let index = slot.index();
        arena.note_send(index);
        arena.note_send(index);
        drop(slot);
        assert_eq!(arena.free_slots(), SLOTS - 1);
        arena.note_sent(index);
        assert_eq!(arena.free_slots(), SLOTS - 1);
        arena.note_sent(index);
        assert_eq!(arena.free_slots(), SLOTS);
        let slot = arena.take_slot(b"head").unwrap();
        arena.note_send(slot.index());
        arena.note_sent(slot.index());
        drop(slot);
        assert_eq!(arena.free_slots(), SLOTS, "a slot is given back once");
    }

    #[test]
    fn a_slot_keeps_its_memory_when_the_arena_is_gone() {
        let slot = Arena::new().unwrap().take_slot(b"head").unwrap();
        assert_eq!(slot.head(), b"head");
    }
}
