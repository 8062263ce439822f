//! Owns the companion ring: a worker's second, small io_uring with the arena registered in it as
//! buffer 0. monoio has no operation for registered buffers and no access to its own ring.
//!
//! No write waits (RWF_NOWAIT, MSG_DONTWAIT). It is submitted and reaped within one call, so none
//! is ever in flight while the event loop runs, and a session waits for a full socket through
//! monoio as for any other. Only a notification can arrive after the call: it reports that the
//! network no longer needs the pages of a zero-copy send.

use std::cell::{Cell, RefCell};
use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;

use io_uring::{IoUring, cqueue, opcode, squeue, types};

use crate::send::arena::{Arena, Slot};
use crate::send::outbound::WriteError;

/// Submission queue entries: one write at a time.
const ENTRIES: u32 = 8;

/// Completion queue entries: enough for the zero-copy notifications of a worker's sockets. The
/// kernel keeps further ones until there is space.
const COMPLETION_ENTRIES: u32 = 256;

/// RWF_NOWAIT of preadv2(2): fail with EAGAIN instead of waiting.
const RWF_NOWAIT: i32 = 0x8;

/// IORING_RECVSEND_FIXED_BUF and IORING_SEND_ZC_REPORT_USAGE of io_uring_enter(2), in `ioprio`.
const FIXED_BUFFER: u16 = 1 << 2;
const REPORT_USAGE: u16 = 1 << 3;

/// The bit of a notification's result that is set if the kernel copied a zero-copy send after all.
const WAS_COPIED: i32 = i32::MIN;

/// A ring with the arena registered in it.
pub(crate) struct SendRing {
    // Declared before the arena, so that it is dropped first: this ends the registration.
    ring: RefCell<IoUring>,
    arena: Arena,
    /// Whether it writes by SENDMSG_ZC with fixed buffers, and not by WRITEV_FIXED. Both need Linux
    /// 6.15.
    is_zerocopy: bool,
    /// Zero-copy sends that the kernel has reported on, by whether it copied them after all.
    pub(crate) copied: Cell<u64>,
    pub(crate) not_copied: Cell<u64>,
}

impl SendRing {
    /// Builds the ring, registers the arena, and proves by a WRITEV_FIXED that the registered buffer
    /// works. SENDMSG_ZC is not tried: a kernel with the one has the other.
    ///
    /// # Errors
    /// What refused it: EPERM or ENOSYS from a seccomp profile, ENOMEM if RLIMIT_MEMLOCK is too low
    /// for the arena, EINVAL from kernels before 6.15.
    pub(crate) fn new(arena: &Arena, is_zerocopy: bool) -> io::Result<Self> {
        let ring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_submit_all()
            .setup_clamp()
            .setup_cqsize(COMPLETION_ENTRIES)
            .build(ENTRIES)?;
        // SAFETY: the ring ends the registration when it is dropped. The value below holds the
        // arena and drops the ring first, so the mapping outlives the registration.
        unsafe { ring.submitter().register_buffers(&[arena.whole()]) }?;
        let ring = Self {
            ring: RefCell::new(ring),
            arena: arena.clone(),
            is_zerocopy: false,
            copied: Cell::new(0),
            not_copied: Cell::new(0),
        };
        ring.prove()?;
        Ok(Self { is_zerocopy, ..ring })
    }

    /// Sends one byte of the block through a socket pair.
    fn prove(&self) -> io::Result<()> {
        let (near, _far) = UnixStream::pair()?;
        let byte = IoSlice::new(&self.arena.block()[..1]);
        match self.write(near.as_raw_fd(), &[byte], None) {
            Ok(1) => Ok(()),
            Ok(_) | Err(WriteError::WouldBlock) => Err(io::Error::from_raw_os_error(libc::EIO)),
            Err(
                WriteError::Socket(error) | WriteError::Unable(error) | WriteError::Broken(error),
            ) => Err(error),
        }
    }

    /// Writes as much of `slices` as the socket accepts without waiting. All of them lie in the
    /// arena of this ring; the kernel refuses others. `head` is the slot that the first one lies
    /// in, if it is a head.
    pub(crate) fn write(
        &self,
        socket: RawFd,
        slices: &[IoSlice<'_>],
        head: Option<&Slot>,
    ) -> Result<usize, WriteError> {
        // SAFETY: an all-zero msghdr names no memory.
        let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
        // An IoSlice has the layout of an iovec.
        let vectors = slices.as_ptr().cast::<libc::iovec>();
        message.msg_iov = vectors.cast_mut();
        message.msg_iovlen = slices.len() as _;
        let tag = head.map_or(0, |slot| slot.index() as u64 + 1);
        let entry = if self.is_zerocopy {
            opcode::SendMsgZc::new(types::Fd(socket), &raw mut message)
                .ioprio(FIXED_BUFFER | REPORT_USAGE)
                .flags((libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) as u32)
                .build()
        } else {
            opcode::WritevFixed::new(types::Fd(socket), vectors, slices.len() as u32, 0)
                .rw_flags(RWF_NOWAIT)
                .build()
        };
        let result = self.perform(&entry.user_data(tag)).map_err(WriteError::Broken)?;
        usize::try_from(result).map_err(|_| io::Error::from_raw_os_error(-result).into())
    }

    /// Submits one operation and returns its result. Handles the notifications that come with it.
    fn perform(&self, entry: &squeue::Entry) -> io::Result<i32> {
        let mut ring = self.ring.borrow_mut();
        let (submitter, mut submission, mut completion) = ring.split();
        // SAFETY: what the entry points to, the vectors and the message, outlives this call, and
        // the operation is over when the call returns; the vectors lie in the arena, which the
        // kernel has pinned. After an error the entry may still be queued, but the ring is not
        // entered again: `prove` drops it, or `Means::give_up` ends its use.
        unsafe { submission.push(entry) }.map_err(io::Error::other)?;
        submission.sync();
        loop {
            match submitter.submit_and_wait(1) {
                Ok(_) => {}
                Err(error) if error.raw_os_error() == Some(libc::EINTR) => {}
                // The completion queue has overflowed: reap, then try again.
                Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {}
                Err(error) => return Err(error),
            }
            completion.sync();
            let mut result = None;
            for entry in &mut completion {
                let slot = entry.user_data().checked_sub(1).map(|index| index as usize);
                if cqueue::notif(entry.flags()) {
                    self.note_notification(entry.result(), slot);
                } else {
                    if cqueue::more(entry.flags())
                        && let Some(index) = slot
                    {
                        self.arena.note_send(index);
                    }
                    result = Some(entry.result());
                }
            }
            if let Some(result) = result {
                return Ok(result);
            }
        }
    }

    /// Handles the notification that the network no longer needs the pages of a zero-copy send.
    fn note_notification(&self, result: i32, slot: Option<usize>) {
        let count = if result & WAS_COPIED != 0 { &self.copied } else { &self.not_copied };
        count.set(count.get() + 1);
        if let Some(index) = slot {
            self.arena.note_sent(index);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;
    use crate::os::sys::tcp_pair;
    use crate::send::arena::SLOTS;

    /// A ring, if this kernel allows it.
    fn ring(arena: &Arena, is_zerocopy: bool) -> Option<SendRing> {
        let ring = SendRing::new(arena, is_zerocopy);
        if let Err(error) = &ring {
            eprintln!("left out: {error}");
        }
        ring.ok()
    }

    #[test]
    fn writes_head_and_block_and_reports_a_full_socket() {
        for is_zerocopy in [false, true] {
            let arena = Arena::new().unwrap();
            let Some(ring) = ring(&arena, is_zerocopy) else { continue };
            let (near, mut far) = tcp_pair();
            let slot = arena.take_slot(b"head").unwrap();
            let block = IoSlice::new(&arena.block()[..16]);
            let slices = [IoSlice::new(slot.head()), block, block];
            let written = ring.write(near.as_raw_fd(), &slices, Some(&slot)).unwrap();
            assert_eq!(written, 36);
            let mut got = [0; 36];
            far.read_exact(&mut got).unwrap();
            assert_eq!(&got, b"head0123456789ABCDEF0123456789ABCDEF");
            drop(slot);

            let whole = [IoSlice::new(arena.block())];
            let full = (0..10_000).find_map(|_| ring.write(near.as_raw_fd(), &whole, None).err());
            assert!(matches!(full, Some(WriteError::WouldBlock)), "{full:?}");
            drop(far);
            let ended = (0..100).find_map(|_| {
                std::thread::sleep(std::time::Duration::from_millis(1));
                match ring.write(near.as_raw_fd(), &whole, None) {
                    Err(WriteError::Socket(error)) => Some(error),
                    _ => None,
                }
            });
            assert!(ended.is_some(), "zerocopy: {is_zerocopy}");
        }
    }

    #[test]
    fn zero_copy_slots_come_back_and_loopback_is_reported_as_copied() {
        let arena = Arena::new().unwrap();
        let Some(ring) = ring(&arena, true) else { return };
        let (near, mut far) = tcp_pair();
        for _ in 0..10 * SLOTS {
            let Some(slot) = arena.take_slot(b"head") else { panic!("a slot was lost") };
            let head = [IoSlice::new(slot.head())];
            let written = ring.write(near.as_raw_fd(), &head, Some(&slot)).unwrap();
            assert_eq!(written, 4);
            far.read_exact(&mut [0; 4]).unwrap();
            drop(slot);
        }
        let (copied, not_copied) = (ring.copied.get(), ring.not_copied.get());
        assert!(copied > 0 && not_copied == 0, "{copied} and {not_copied}");
    }

    #[test]
    fn a_write_outside_the_arena_breaks_the_ring_and_nothing_else() {
        let arena = Arena::new().unwrap();
        let Some(ring) = ring(&arena, false) else { return };
        let (near, _far) = tcp_pair();
        let elsewhere = [0_u8; 16];
        let refused = ring.write(near.as_raw_fd(), &[IoSlice::new(&elsewhere)], None);
        assert!(matches!(refused, Err(WriteError::Broken(_))), "{refused:?}");
    }
}
