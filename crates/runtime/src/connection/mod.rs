//! One connection. `dialogue` decides what to answer and performs no I/O, `socket` moves bytes, and
//! `session` performs on the socket what the dialogue asks for.

pub(crate) mod buffers;
pub(crate) mod dialogue;
pub(crate) mod input;
pub(crate) mod outbox;
pub(crate) mod session;
#[cfg(test)]
pub(crate) mod simulation;
pub(crate) mod socket;
