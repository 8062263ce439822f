//! Owns a client's connection, and adds what it does to the tally.

use std::net::SocketAddr;
use std::ops::{Deref, DerefMut};

use heartbeat_testkit::Client;

use crate::tally::Tally;

/// A connection that adds its traffic to the tally in [`Link::settle`] and when it is dropped.
pub(crate) struct Link<'t> {
    client: Client,
    tally: &'t Tally,
    /// The traffic that has already been added to the tally: bytes received and sent.
    counted: (u64, u64),
}

impl<'t> Link<'t> {
    pub(crate) fn connect(address: SocketAddr, tally: &'t Tally) -> Result<Self, String> {
        let client = Client::try_connect(address);
        let client = client.map_err(|error| format!("connecting: {error}"))?;
        Tally::add(&tally.connections, 1);
        Ok(Self { client, tally, counted: (0, 0) })
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) -> Result<(), String> {
        self.client.try_send(bytes).map_err(|error| error.to_string())
    }

    pub(crate) fn send_pattern(&mut self, bytes: usize) -> Result<(), String> {
        self.client.try_send_pattern(bytes).map_err(|error| error.to_string())
    }

    /// Reads a 200 with this many bytes of the pattern; returns whether it closes the connection.
    pub(crate) fn answer(&mut self, bytes: usize) -> Result<bool, String> {
        let head = self.client.try_answer().map_err(|error| error.to_string())?;
        if !head.is_payload(bytes as u64) {
            return Err(format!("a wrong head for {bytes} bytes: {:?}", head.text));
        }
        Tally::add(&self.tally.requests, 1);
        Ok(head.closes())
    }

    /// Reads an answer whose head and content have this many bytes together.
    pub(crate) fn wire_answer(&mut self, bytes: usize) -> Result<(), String> {
        let head = self.client.try_answer().map_err(|error| error.to_string())?;
        let body = bytes.checked_sub(head.text.len());
        if !body.is_some_and(|body| head.is_payload(body as u64)) {
            return Err(format!("a wrong head for {bytes} bytes on the wire: {:?}", head.text));
        }
        Tally::add(&self.tally.requests, 1);
        Ok(())
    }

    /// Reads an answer that has this status and no content.
    pub(crate) fn refusal(&mut self, status: u16) -> Result<(), String> {
        let head = self.client.try_answer().map_err(|error| error.to_string())?;
        if head.status != status || head.content_length() != 0 {
            return Err(format!("not an empty {status}: {:?}", head.text));
        }
        Tally::add(&self.tally.requests, 1);
        Ok(())
    }

    /// Checks that the connection ends here, without a reset and without another byte.
    pub(crate) fn end(&mut self) -> Result<(), String> {
        self.client.try_end().map_err(|error| format!("at the end: {error}"))
    }

    /// Adds the traffic since the last call to the tally.
    pub(crate) fn settle(&mut self) {
        let now = self.client.traffic();
        Tally::add(&self.tally.bytes_received, now.0 - self.counted.0);
        Tally::add(&self.tally.bytes_sent, now.1 - self.counted.1);
        self.counted = now;
    }
}

impl Drop for Link<'_> {
    fn drop(&mut self) {
        self.settle();
    }
}

impl Deref for Link<'_> {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl DerefMut for Link<'_> {
    fn deref_mut(&mut self) -> &mut Client {
        &mut self.client
    }
}
