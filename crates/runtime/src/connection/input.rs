//! Owns the read buffer of a session: what has been received and not been used yet, in a buffer
//! whose size follows what the peer sends.

use heartbeat_protocol::limits;

use crate::connection::buffers::{Buffers, SMALL_BYTES};

/// Received bytes; those before `start` have been used.
#[derive(Debug, Default)]
pub(crate) struct Input {
    bytes: Vec<u8>,
    start: usize,
}

impl Input {
    /// An input that begins with `received`.
    pub(crate) fn new(received: &[u8], buffers: &Buffers) -> Self {
        let mut bytes =
            if received.len() < SMALL_BYTES { buffers.small() } else { buffers.large() };
        bytes.extend_from_slice(received);
        Self { bytes, start: 0 }
    }

    /// The bytes that have not been used.
    pub(crate) fn unused(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    /// Notes that the first `bytes` unused bytes have been used.
    pub(crate) fn consume(&mut self, bytes: usize) {
        self.start += bytes;
    }

    /// Takes the buffer out, with free space behind the unused bytes. [`Input::put`] puts it back.
    pub(crate) fn take(&mut self, buffers: &Buffers) -> Vec<u8> {
        self.make_room(buffers);
        std::mem::take(&mut self.bytes)
    }

    pub(crate) fn put(&mut self, bytes: Vec<u8>) {
        self.bytes = bytes;
    }

    /// Gives the buffer back.
    pub(crate) fn release(&mut self, buffers: &Buffers) {
        buffers.give(std::mem::take(&mut self.bytes));
        self.start = 0;
    }

    /// Frees space behind the unused bytes, in a buffer of the size that the last read suggests.
    fn make_room(&mut self, buffers: &Buffers) {
        let left = self.bytes.len() - self.start;
        if left == 0 {
            let was_full = self.bytes.len() == self.bytes.capacity();
            self.bytes.clear();
            match self.bytes.capacity() {
                0 => self.bytes = buffers.small(),
                SMALL_BYTES if was_full => self.replace(buffers.large(), buffers),
                capacity if capacity > SMALL_BYTES && !was_full => {
                    self.replace(buffers.small(), buffers);
                }
                _ => {}
            }
        } else {
            self.bytes.drain(..self.start);
            if left == SMALL_BYTES {
                let mut larger = buffers.large();
                larger.extend_from_slice(&self.bytes);
                self.replace(larger, buffers);
            } else if left == self.bytes.capacity() {
                // The space is enough for the longest head that the protocol accepts.
                self.bytes.reserve(limits::HEAD_BYTES_MAX);
            }
        }
        self.start = 0;
    }

    fn replace(&mut self, bytes: Vec<u8>, buffers: &Buffers) {
        buffers.give(std::mem::replace(&mut self.bytes, bytes));
    }
}
