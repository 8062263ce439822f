//! Owns the ring of a lane: one receive in flight per idle connection, and the sends of a turn
//! submitted together.
//!
//! A receive waits in the kernel, so its buffer belongs to this file until its completion. A send
//! never waits (MSG_DONTWAIT): it is over when [`Ring::perform`] returns.
//!
//! The ring has COOP_TASKRUN and not DEFER_TASKRUN: monoio watches the descriptor of this ring, and
//! with DEFER_TASKRUN wake-ups were lost (Linux 6.18).

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, RawFd};

use io_uring::{IoUring, opcode, squeue, types};

use crate::connection::outbox::Mark;
use crate::deadlines::WatchId;
use crate::os::refusal::Refusal;

/// Bytes of a receive buffer: enough for the head of a prober or a load generator, and small enough
/// to have ten thousand of them. A longer head is read in a session.
pub(super) const BUFFER_BYTES: usize = 512;

/// Submission queue entries. The ring submits when it is full, so this bounds a batch and not the
/// connections.
const ENTRIES: u32 = 256;

/// Completion queue entries. The kernel keeps further completions, and puts them into the queue at
/// the next io_uring_enter(2).
const COMPLETION_ENTRIES: u32 = 1024;

/// The most spare receive buffers that are kept.
const SPARE_BUFFERS_MAX: usize = 64;

/// The bit of `user_data` that is set for a send and clear for a receive.
const SEND: u64 = 1 << 32;

type Buffer = Box<[u8; BUFFER_BYTES]>;

/// The ring, and the buffers of the receives that are in flight.
pub(super) struct Ring {
    ring: IoUring,
    /// The receive buffer of each connection, by its place in the table of deadlines: present from
    /// the first receive until [`Ring::release`].
    buffers: Vec<Option<Buffer>>,
    spare: Vec<Buffer>,
    receives_in_flight: usize,
    /// Receives that have ended: the connection, and the result of recv(2) or -errno.
    received: VecDeque<(WatchId, i32)>,
}

/// A send of a turn: the answers to one connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Send {
    pub(super) watch: WatchId,
    pub(super) socket: RawFd,
    /// The answers between these marks of the outbox are sent.
    pub(super) from: Mark,
    pub(super) until: Mark,
    /// Its result: bytes sent, or -errno.
    pub(super) result: i32,
}

impl Ring {
    /// Builds the ring in the thread that will use it.
    ///
    /// # Errors
    /// io_uring_setup(2) or io_uring_enter(2) was refused: EPERM, ENOSYS, ENOMEM.
    pub(super) fn new() -> Result<Self, Refusal> {
        let ring = IoUring::builder()
            .setup_single_issuer()
            .setup_coop_taskrun()
            .setup_submit_all()
            .setup_clamp()
            .setup_cqsize(COMPLETION_ENTRIES)
            .build(ENTRIES)
            .map_err(Refusal::of("io_uring_setup"))?;
        // A kernel that allows io_uring_setup(2) may still refuse io_uring_enter(2), whose errors
        // monoio ignores: its event loop would spin. Nothing is submitted or waited for here.
        ring.submit_and_wait(0).map_err(Refusal::of("io_uring_enter"))?;
        Ok(Self {
            ring,
            buffers: Vec::new(),
            spare: Vec::new(),
            receives_in_flight: 0,
            received: VecDeque::new(),
        })
    }

    /// Receives on behalf of connection `watch`, which has no receive in flight. The socket stays
    /// open until [`Ring::next_received`] has returned the connection.
    pub(super) fn receive(&mut self, watch: WatchId, socket: RawFd) -> io::Result<()> {
        let place = watch as usize;
        if self.buffers.len() <= place {
            self.buffers.resize_with(place + 1, || None);
        }
        let spare = &mut self.spare;
        let buffer = self.buffers[place]
            .get_or_insert_with(|| spare.pop().unwrap_or_else(|| Box::new([0; BUFFER_BYTES])));
        let entry =
            opcode::Recv::new(types::Fd(socket), buffer.as_mut_ptr(), BUFFER_BYTES as u32).build();
        // SAFETY: the buffer is on the heap and stays in `buffers` until the completion has been
        // reaped: `Backend` calls `release` only for a connection without a receive in flight, and
        // Drop leaks the buffers of what is in flight.
        unsafe { self.push(&entry.user_data(watch.into()))? };
        self.receives_in_flight += 1;
        Ok(())
    }

    /// Whether something waits to be submitted.
    pub(super) fn has_queued(&mut self) -> bool {
        !self.ring.submission().is_empty()
    }

    /// The next connection whose receive has ended, and the result of the receive.
    pub(super) fn next_received(&mut self) -> Option<(WatchId, i32)> {
        self.received.pop_front()
    }

    /// The first `bytes` bytes that connection `watch` has received.
    pub(super) fn bytes(&self, watch: WatchId, bytes: usize) -> &[u8] {
        self.buffers[watch as usize].as_ref().map_or(&[], |buffer| &buffer[..bytes])
    }

    /// Takes back the buffer of connection `watch`, whose receive has ended.
    pub(super) fn release(&mut self, watch: WatchId) {
        if let Some(buffer) = self.buffers[watch as usize].take()
            && self.spare.len() < SPARE_BUFFERS_MAX
        {
            self.spare.push(buffer);
        }
    }

    /// Submits what waits and the sends, whose bytes are in `outbox`, and collects what has ended.
    /// Every send has its result afterwards.
    ///
    /// # Errors
    /// Those of io_uring_enter(2): the ring cannot be used any more.
    pub(super) fn perform(&mut self, outbox: &[u8], sends: &mut [Send]) -> io::Result<()> {
        let mut waiting = 0;
        for (position, send) in sends.iter().enumerate() {
            let bytes = &outbox[send.from.bytes..send.until.bytes];
            let entry =
                opcode::Send::new(types::Fd(send.socket), bytes.as_ptr(), bytes.len() as u32)
                    .flags(libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL)
                    .build()
                    .user_data(SEND | position as u64);
            // SAFETY: `bytes` is borrowed for this call, which returns only when the send has its
            // result. If the kernel cannot be entered, it has not seen the entry, and never will:
            // the caller panics and does not use the ring again.
            unsafe { self.push(&entry)? };
            waiting += 1;
        }
        loop {
            if waiting > 0 || self.needs_enter() {
                self.enter(usize::from(waiting > 0))?;
            }
            waiting -= self.reap(sends);
            if waiting == 0 {
                return Ok(());
            }
        }
    }

    /// Whether something waits for io_uring_enter(2): entries to be submitted, or completions that
    /// did not fit into their queue and keep the ring readable (IORING_SQ_CQ_OVERFLOW).
    fn needs_enter(&mut self) -> bool {
        let submission = self.ring.submission();
        !submission.is_empty() || submission.cq_overflow()
    }

    /// Collects completions, and returns how many of them were sends.
    fn reap(&mut self, sends: &mut [Send]) -> usize {
        let mut sent = 0;
        for entry in self.ring.completion() {
            let place = entry.user_data() as u32;
            if entry.user_data() & SEND != 0 {
                sends[place as usize].result = entry.result();
                sent += 1;
            } else {
                self.receives_in_flight -= 1;
                self.received.push_back((place, entry.result()));
            }
        }
        sent
    }

    fn enter(&self, wait_for: usize) -> io::Result<()> {
        match self.ring.submit_and_wait(wait_for) {
            Ok(_) => Ok(()),
            // EBUSY: the completion queue has overflowed; the caller reaps and tries again. EAGAIN:
            // the kernel has no memory for a request at the moment.
            Err(error)
                if matches!(
                    error.raw_os_error(),
                    Some(libc::EINTR | libc::EBUSY | libc::EAGAIN)
                ) =>
            {
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Queues an entry, and submits first if the queue is full.
    ///
    /// # Safety
    /// What the entry points to stays valid until its completion.
    unsafe fn push(&mut self, entry: &squeue::Entry) -> io::Result<()> {
        loop {
            // SAFETY: the caller keeps what the entry points to.
            if unsafe { self.ring.submission().push(entry) }.is_ok() {
                return Ok(());
            }
            self.enter(0)?;
        }
    }
}

impl AsRawFd for Ring {
    fn as_raw_fd(&self) -> RawFd {
        self.ring.as_raw_fd()
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        if self.receives_in_flight > 0 {
            // They are leaked, because the kernel may still write to them.
            std::mem::forget(std::mem::take(&mut self.buffers));
        }
    }
}
