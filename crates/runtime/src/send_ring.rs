//! Owns the companion ring: a worker's second, small io_uring with the arena registered in it as
//! buffer 0. monoio has no operation for registered buffers and no access to its own ring.
//!
//! Every write is told not to wait (RWF_NOWAIT, MSG_DONTWAIT): it is submitted and reaped within
//! one call, so that none is ever in flight while the loop runs, and a socket that is full is
//! waited for through monoio like any other. What outlives a call is only the kernel's word that
//! the network is done with the pages of a zero-copy send.

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;

use io_uring::{IoUring, Probe, cqueue, opcode, squeue, types};

use crate::arena::{Arena, SLOTS, Slot};
use crate::tier::WriteError;

/// Submission queue entries: one write at a time.
const ENTRIES: u32 = 8;

/// Completion queue entries: room for the zero-copy notifications of a worker's sockets. More
/// are kept by the kernel until they are reaped.
const COMPLETION_ENTRIES: u32 = 256;

/// RWF_NOWAIT of preadv2(2): fail with EAGAIN instead of waiting.
const RWF_NOWAIT: i32 = 0x8;

/// IORING_RECVSEND_FIXED_BUF and IORING_SEND_ZC_REPORT_USAGE of io_uring_enter(2), in `ioprio`.
const FIXED_BUFFER: u16 = 1 << 2;
const REPORT_USAGE: u16 = 1 << 3;

/// The bit of a notification's result that tells a zero-copy send was copied after all.
const WAS_COPIED: i32 = i32::MIN;

/// A ring with the arena registered in it.
pub(crate) struct SendRing {
    ring: RefCell<IoUring>,
    operation: Operation,
    /// Set where the ring itself has failed: it is not used again.
    broken: Cell<bool>,
    zerocopy: RefCell<ZeroCopy>,
}

/// How a ring writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    /// WRITEV_FIXED (Linux 6.15).
    WritevFixed,
    /// SENDMSG_ZC with fixed buffers (Linux 6.15).
    SendmsgZc,
}

/// Zero-copy sends whose pages the network may still read.
#[derive(Debug, Default)]
struct ZeroCopy {
    /// Per slot: sends that name it and have not been notified.
    slot_uses: [u32; SLOTS],
    /// Slots that answers have given back while a send still named them.
    parked: Vec<Slot>,
    counts: ZeroCopyCounts,
}

/// Zero-copy sends that the kernel has reported on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ZeroCopyCounts {
    pub(crate) copied: u64,
    pub(crate) not_copied: u64,
}

impl SendRing {
    /// Builds the ring, registers the arena, and proves by a write that the operation works.
    ///
    /// # Errors
    /// What refused it: EPERM or ENOSYS from a seccomp profile, ENOMEM where RLIMIT_MEMLOCK has
    /// no room for the arena, EOPNOTSUPP and EINVAL from kernels before 6.15.
    pub(crate) fn new(arena: &Arena, operation: Operation) -> io::Result<Self> {
        let ring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_submit_all()
            .setup_clamp()
            .setup_cqsize(COMPLETION_ENTRIES)
            .build(ENTRIES)?;
        let mut probe = Probe::new();
        ring.submitter().register_probe(&mut probe)?;
        let wanted = match operation {
            Operation::WritevFixed => opcode::WritevFixed::CODE,
            Operation::SendmsgZc => opcode::SendMsgZc::CODE,
        };
        if !probe.is_supported(opcode::WritevFixed::CODE) || !probe.is_supported(wanted) {
            return Err(io::Error::from_raw_os_error(libc::EOPNOTSUPP));
        }
        // SAFETY: the arena's mapping stays until the worker is dropped, and the worker drops
        // this ring, which ends the registration, before the arena.
        unsafe { ring.submitter().register_buffers(&[arena.whole()]) }?;
        let ring = Self {
            ring: RefCell::new(ring),
            operation: Operation::WritevFixed,
            broken: Cell::new(false),
            zerocopy: RefCell::default(),
        };
        ring.prove(arena)?;
        Ok(Self { operation, ..ring })
    }

    /// One byte of the block through a socket pair.
    fn prove(&self, arena: &Arena) -> io::Result<()> {
        let (near, _far) = UnixStream::pair()?;
        let segment = heartbeat_protocol::Segment { start: 0, bytes: 1 };
        match self.write(near.as_raw_fd(), &[arena.block_vector(segment)], None, arena) {
            Ok(1) => Ok(()),
            Ok(_) | Err(WriteError::WouldBlock) => Err(io::Error::from_raw_os_error(libc::EIO)),
            Err(
                WriteError::Socket(error) | WriteError::Unable(error) | WriteError::Broken(error),
            ) => Err(error),
        }
    }

    /// Whether the ring has failed.
    pub(crate) fn is_broken(&self) -> bool {
        self.broken.get()
    }

    /// Writes what the socket takes at once of `vectors`, which all lie inside `arena`, the one
    /// this ring was made for. `head` is the slot that the first vector lies in, if it does.
    pub(crate) fn write(
        &self,
        socket: RawFd,
        vectors: &[libc::iovec],
        head: Option<&Slot>,
        arena: &Arena,
    ) -> Result<usize, WriteError> {
        // musl's structure has padding fields, so that a literal could not name them all.
        // SAFETY: an all-zero msghdr names no memory.
        let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
        message.msg_iov = vectors.as_ptr().cast_mut();
        message.msg_iovlen = vectors.len() as _;
        let tag = head.map_or(0, |slot| slot.index() as u64 + 1);
        let entry = match self.operation {
            Operation::WritevFixed => {
                let count = vectors.len() as u32;
                opcode::WritevFixed::new(types::Fd(socket), vectors.as_ptr(), count, 0)
                    .rw_flags(RWF_NOWAIT)
                    .build()
            }
            Operation::SendmsgZc => opcode::SendMsgZc::new(types::Fd(socket), &raw mut message)
                .ioprio(FIXED_BUFFER | REPORT_USAGE)
                .flags((libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) as u32)
                .build(),
        };
        let result = self.perform(&entry.user_data(tag), arena).map_err(|error| {
            self.broken.set(true);
            WriteError::Broken(error)
        })?;
        usize::try_from(result).map_err(|_| {
            let error = WriteError::from(io::Error::from_raw_os_error(-result));
            self.broken.set(matches!(error, WriteError::Broken(_)));
            error
        })
    }

    /// Submits one operation and returns its result; notifications that come along are noted.
    fn perform(&self, entry: &squeue::Entry, arena: &Arena) -> io::Result<i32> {
        let mut ring = self.ring.borrow_mut();
        let mut zerocopy = self.zerocopy.borrow_mut();
        let (submitter, mut submission, mut completion) = ring.split();
        // SAFETY: what the entry points to, the vectors and the message, outlives this call, and
        // the operation is over when the call returns; the vectors lie in the arena, which the
        // kernel has pinned.
        unsafe { submission.push(entry) }.map_err(io::Error::other)?;
        submission.sync();
        loop {
            match submitter.submit_and_wait(1) {
                Ok(_) => {}
                Err(error) if error.raw_os_error() == Some(libc::EINTR) => {}
                // The completion queue is over its brim: reap, then try again.
                Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {}
                Err(error) => return Err(error),
            }
            completion.sync();
            let mut result = None;
            for entry in &mut completion {
                if cqueue::notif(entry.flags()) {
                    zerocopy.note(&entry, arena);
                } else {
                    if cqueue::more(entry.flags()) {
                        zerocopy.begin(entry.user_data());
                    }
                    result = Some(entry.result());
                }
            }
            if let Some(result) = result {
                return Ok(result);
            }
        }
    }

    /// Takes back the slot of a head that is out, once the network is done with it.
    pub(crate) fn release(&self, slot: Slot, arena: &Arena) {
        let mut zerocopy = self.zerocopy.borrow_mut();
        if zerocopy.slot_uses[slot.index()] == 0 {
            arena.release(slot);
        } else {
            zerocopy.parked.push(slot);
        }
    }

    /// What the kernel has reported on zero-copy sends so far.
    pub(crate) fn zerocopy_counts(&self) -> ZeroCopyCounts {
        self.zerocopy.borrow().counts
    }
}

impl ZeroCopy {
    /// A send is under way that will be notified.
    fn begin(&mut self, tag: u64) {
        if let Some(index) = tag.checked_sub(1) {
            self.slot_uses[index as usize] += 1;
        }
    }

    /// The network is done with a send.
    fn note(&mut self, entry: &cqueue::Entry, arena: &Arena) {
        if entry.result() & WAS_COPIED != 0 {
            self.counts.copied += 1;
        } else {
            self.counts.not_copied += 1;
        }
        let Some(index) = entry.user_data().checked_sub(1) else { return };
        let uses = &mut self.slot_uses[index as usize];
        *uses -= 1;
        if *uses > 0 {
            return;
        }
        if let Some(at) = self.parked.iter().position(|slot| slot.index() as u64 == index) {
            arena.release(self.parked.swap_remove(at));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use heartbeat_protocol::Segment;

    use super::*;
    use crate::arena::BLOCK_BYTES;
    use crate::sys::tcp_pair;

    /// A ring of the kind, where this kernel has it.
    fn ring(arena: &Arena, operation: Operation) -> Option<SendRing> {
        let ring = SendRing::new(arena, operation);
        if let Err(error) = &ring {
            eprintln!("left out: {error}");
        }
        ring.ok()
    }

    #[test]
    fn writes_head_and_block_and_reports_a_full_socket() {
        for operation in [Operation::WritevFixed, Operation::SendmsgZc] {
            let arena = Arena::new().unwrap();
            let Some(ring) = ring(&arena, operation) else { continue };
            let (near, mut far) = tcp_pair();
            let slot = arena.take_slot(b"head").unwrap();
            let block = arena.block_vector(Segment { start: 0, bytes: 16 });
            let vectors = [arena.head_vector(&slot, 0), block, block];
            let written = ring.write(near.as_raw_fd(), &vectors, Some(&slot), &arena).unwrap();
            assert_eq!(written, 36);
            let mut got = [0; 36];
            far.read_exact(&mut got).unwrap();
            assert_eq!(&got, b"head0123456789ABCDEF0123456789ABCDEF");
            ring.release(slot, &arena);

            let whole = [arena.block_vector(Segment { start: 0, bytes: BLOCK_BYTES })];
            let full =
                (0..10_000).find_map(|_| ring.write(near.as_raw_fd(), &whole, None, &arena).err());
            assert!(matches!(full, Some(WriteError::WouldBlock)), "{full:?}");
            drop(far);
            let ended = (0..100).find_map(|_| {
                std::thread::sleep(std::time::Duration::from_millis(1));
                match ring.write(near.as_raw_fd(), &whole, None, &arena) {
                    Err(WriteError::Socket(error)) => Some(error),
                    _ => None,
                }
            });
            assert!(ended.is_some(), "{operation:?}");
            assert!(!ring.is_broken());
        }
    }

    #[test]
    fn zero_copy_slots_come_back_and_loopback_is_told_as_copied() {
        let arena = Arena::new().unwrap();
        let Some(ring) = ring(&arena, Operation::SendmsgZc) else { return };
        let (near, mut far) = tcp_pair();
        for _ in 0..10 * SLOTS {
            let Some(slot) = arena.take_slot(b"head") else { panic!("a slot was lost") };
            let vectors = [arena.head_vector(&slot, 0)];
            let written = ring.write(near.as_raw_fd(), &vectors, Some(&slot), &arena).unwrap();
            assert_eq!(written, 4);
            far.read_exact(&mut [0; 4]).unwrap();
            ring.release(slot, &arena);
        }
        let counts = ring.zerocopy_counts();
        assert!(counts.copied > 0 && counts.not_copied == 0, "{counts:?}");
    }

    #[test]
    fn a_write_outside_the_arena_breaks_the_ring_and_nothing_else() {
        let arena = Arena::new().unwrap();
        let Some(ring) = ring(&arena, Operation::WritevFixed) else { return };
        let (near, _far) = tcp_pair();
        let elsewhere = [0_u8; 16];
        let vector = libc::iovec { iov_base: elsewhere.as_ptr().cast_mut().cast(), iov_len: 16 };
        let refused = ring.write(near.as_raw_fd(), &[vector], None, &arena);
        assert!(matches!(refused, Err(WriteError::Broken(_))), "{refused:?}");
        assert!(ring.is_broken());
    }
}
