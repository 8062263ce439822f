//! Owns the cursor over one large answer, head and payload, and the vectors of what is left to
//! send. It performs no operation.

use std::io::{self, IoSlice};

use heartbeat_protocol::Payload;

use crate::send::arena::{Arena, BLOCK_BYTES, Slot};

/// The most payload bytes of one operation. Larger operations save nothing more, and keep the other
/// connections of the worker waiting.
pub(crate) const OPERATION_BYTES_MAX: usize = 1 << 20;

/// The most vectors of one operation: the head, a first partial block, whole blocks, and a last
/// partial one.
pub(crate) const VECTORS_MAX: usize = OPERATION_BYTES_MAX / BLOCK_BYTES + 3;

/// A head that is not completely sent, if there is one, and the payload behind it.
#[derive(Debug)]
pub(crate) struct Outbound {
    head: Option<Slot>,
    head_sent: usize,
    payload: Payload,
    payload_sent: u64,
}

/// Why an operation did not send.
#[derive(Debug)]
pub(crate) enum WriteError {
    /// The socket accepts nothing at the moment.
    WouldBlock,
    /// The connection has failed.
    Socket(io::Error),
    /// This way cannot send this time: an ordinary write continues the answer.
    Unable(io::Error),
    /// This way does not work at all.
    Broken(io::Error),
}

impl From<io::Error> for WriteError {
    fn from(error: io::Error) -> Self {
        match error.raw_os_error() {
            Some(libc::EAGAIN | libc::EINTR) => Self::WouldBlock,
            // The kernel refuses the operation itself, whatever the peer does.
            Some(libc::EINVAL | libc::EFAULT | libc::EOPNOTSUPP | libc::ENOSYS | libc::EPERM)
            | None => Self::Broken(error),
            // The kernel has no memory for this one send.
            Some(libc::ENOMEM | libc::ENOBUFS) => Self::Unable(error),
            Some(_) => Self::Socket(error),
        }
    }
}

impl Outbound {
    /// An answer of which nothing has been sent.
    pub(crate) fn new(head: Option<Slot>, payload: Payload) -> Self {
        Self { head, head_sent: 0, payload, payload_sent: 0 }
    }

    /// Whether every byte has been sent.
    pub(crate) fn is_done(&self) -> bool {
        self.head.is_none() && self.payload_sent == self.payload.bytes
    }

    /// Length of the whole payload, in bytes.
    pub(crate) fn payload_bytes(&self) -> u64 {
        self.payload.bytes
    }

    /// The next bytes, all in the arena: the rest of the head, and at most [`OPERATION_BYTES_MAX`]
    /// of payload. At most [`VECTORS_MAX`] pieces, never an empty one (EFAULT in WRITEV_FIXED).
    fn pieces<'a>(&'a self, arena: &'a Arena) -> impl Iterator<Item = &'a [u8]> {
        let mut left = OPERATION_BYTES_MAX;
        let segments = self.payload.segments(self.payload_sent, BLOCK_BYTES);
        let payload = segments.map_while(move |segment| {
            let bytes = segment.bytes.min(left);
            left -= bytes;
            (bytes > 0).then(|| &arena.block()[segment.start..segment.start + bytes])
        });
        self.head_rest().into_iter().chain(payload)
    }

    /// Appends the next bytes to `vectors`, which name memory of the arena.
    pub(crate) fn vectors(&self, arena: &Arena, vectors: &mut Vec<libc::iovec>) {
        vectors.extend(self.pieces(arena).map(|piece| libc::iovec {
            iov_base: piece.as_ptr().cast_mut().cast(),
            iov_len: piece.len(),
        }));
        debug_assert!(vectors.len() <= VECTORS_MAX);
    }

    /// Fills `slices` with the next bytes, and returns how many slices it has filled.
    pub(crate) fn slices<'a>(
        &'a self,
        arena: &'a Arena,
        slices: &mut [IoSlice<'a>; VECTORS_MAX],
    ) -> usize {
        let places = slices.iter_mut().zip(self.pieces(arena));
        places.map(|(place, piece)| *place = IoSlice::new(piece)).count()
    }

    /// The rest of the head, as long as some of it has not been sent.
    pub(crate) fn head_rest(&self) -> Option<&[u8]> {
        self.head.as_ref().map(|slot| &slot.head()[self.head_sent..])
    }

    /// The rest of the payload: the position of its first byte, and its number of bytes.
    pub(crate) fn payload_rest(&self) -> (u64, u64) {
        (self.payload_sent, self.payload.bytes - self.payload_sent)
    }

    /// The head's slot, as long as some of it has not been sent.
    pub(crate) fn head(&self) -> Option<&Slot> {
        self.head.as_ref()
    }

    /// Moves the cursor on by what an operation has sent. Once all of the head has been sent, its
    /// slot is free again.
    ///
    /// # Panics
    /// If more was sent than there was: exactly n means exactly n.
    pub(crate) fn advance(&mut self, mut sent: usize) {
        if let Some(head) = self.head_rest() {
            let left = head.len();
            if sent < left {
                self.head_sent += sent;
                return;
            }
            sent -= left;
            self.head = None;
        }
        self.payload_sent += sent as u64;
        assert!(self.payload_sent <= self.payload.bytes, "more sent than the answer has");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lengths of the next vectors.
    fn lengths(outbound: &Outbound, arena: &Arena) -> Vec<usize> {
        let mut vectors = Vec::new();
        outbound.vectors(arena, &mut vectors);
        let mut slices = [IoSlice::new(&[]); VECTORS_MAX];
        let count = outbound.slices(arena, &mut slices);
        assert_eq!(count, vectors.len());
        for (slice, vector) in slices.iter().zip(&vectors) {
            assert_eq!(&**slice, arena.bytes_of(vector));
        }
        vectors.iter().map(|vector| vector.iov_len).collect()
    }

    #[test]
    fn an_errno_concerns_the_socket_or_the_way_to_send() {
        let error = |errno| WriteError::from(io::Error::from_raw_os_error(errno));
        assert!(matches!(error(libc::EAGAIN), WriteError::WouldBlock));
        assert!(matches!(error(libc::EPIPE), WriteError::Socket(_)));
        assert!(matches!(error(libc::ENOBUFS), WriteError::Unable(_)));
        assert!(matches!(error(libc::EPERM), WriteError::Broken(_)));
    }

    #[test]
    fn every_short_write_leaves_the_right_rest() {
        let arena = Arena::new().unwrap();
        let head = b"head".as_slice();
        let block = BLOCK_BYTES as u64;
        for bytes in [1, 16, 17, block - 1, block, block + 1, 200_000] {
            let total = head.len() as u64 + bytes;
            for step in [1_usize, 2, 3, 4, 5, 4095, BLOCK_BYTES, BLOCK_BYTES + 4, 1 << 20] {
                if total / step as u64 > 5000 {
                    continue;
                }
                let slot = arena.take_slot(head);
                let mut outbound = Outbound::new(slot, Payload { bytes });
                let mut sent = 0;
                while !outbound.is_done() {
                    let lengths = lengths(&outbound, &arena);
                    assert!(lengths.iter().all(|length| *length > 0));
                    let offered: usize = lengths.iter().sum();
                    assert_eq!(offered as u64, total - sent, "nothing is left out");
                    let written = offered.min(step);
                    outbound.advance(written);
                    sent += written as u64;
                }
                assert_eq!(sent, total);
            }
        }
    }

    #[test]
    fn one_operation_is_bounded_in_bytes_and_vectors() {
        let arena = Arena::new().unwrap();
        let mut outbound = Outbound::new(arena.take_slot(b"head"), Payload { bytes: 1 << 30 });
        outbound.advance(5);
        let lengths = lengths(&outbound, &arena);
        assert_eq!(lengths.iter().sum::<usize>(), OPERATION_BYTES_MAX);
        assert!(lengths.len() <= VECTORS_MAX);
        assert_eq!(lengths[0], BLOCK_BYTES - 1);
    }

    #[test]
    fn an_answer_given_up_returns_its_slot() {
        let arena = Arena::new().unwrap();
        let free = arena.free_slots();
        let mut outbound = Outbound::new(arena.take_slot(b"head"), Payload { bytes: 1 });
        outbound.advance(3);
        assert_eq!(arena.free_slots(), free - 1);
        drop(outbound);
        assert_eq!(arena.free_slots(), free);
    }

    #[test]
    #[should_panic(expected = "more sent than the answer has")]
    fn sending_too_much_is_a_bug() {
        Outbound::new(None, Payload { bytes: 1 }).advance(2);
    }
}
