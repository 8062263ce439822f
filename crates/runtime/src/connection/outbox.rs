//! Owns answers that wait to be sent, and the exchanges that they complete.

use std::time::Instant;

use heartbeat_tcp_info::TcpInfo;

use crate::observe::access_log::{AccessLog, Record};
use crate::observe::exchange::Exchange;
use crate::observe::metrics::Counters;

/// Capacity of an outbox, in bytes of gathered answers.
pub(crate) const OUTBOX_BYTES: usize = 8 * 1024;

/// Answers that wait to be sent, in order.
#[derive(Debug)]
pub(crate) struct Outbox {
    /// Heads and short contents, as they will be sent.
    pub(crate) bytes: Vec<u8>,
    exchanges: Vec<Exchange>,
    /// The name of each exchange (`observe::name`) in a line; empty without an access log.
    names: String,
}

/// A place in an outbox, between two answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) bytes: usize,
    exchanges: usize,
    names: usize,
}

impl Mark {
    /// The place before the first answer.
    pub(crate) const START: Self = Self { bytes: 0, exchanges: 0, names: 0 };
}

impl Outbox {
    pub(crate) fn with_capacity(bytes: usize) -> Self {
        Self { bytes: Vec::with_capacity(bytes), exchanges: Vec::new(), names: String::new() }
    }

    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.exchanges.clear();
        self.names.clear();
    }

    /// The place behind the last answer.
    pub(crate) fn mark(&self) -> Mark {
        Mark { bytes: self.bytes.len(), exchanges: self.exchanges.len(), names: self.names.len() }
    }

    /// Removes every answer behind `mark`.
    pub(crate) fn truncate(&mut self, mark: Mark) {
        self.bytes.truncate(mark.bytes);
        self.exchanges.truncate(mark.exchanges);
        self.names.truncate(mark.names);
    }

    /// Copies the answers between two marks to the end of `to`.
    pub(crate) fn copy_range(&self, from: Mark, until: Mark, to: &mut Self) {
        to.bytes.extend_from_slice(&self.bytes[from.bytes..until.bytes]);
        to.exchanges.extend_from_slice(&self.exchanges[from.exchanges..until.exchanges]);
        to.names.push_str(&self.names[from.names..until.names]);
    }

    /// Adds an exchange, which is complete once the bytes so far have been sent.
    pub(crate) fn push(&mut self, exchange: Exchange, name: Option<&str>) {
        if let Some(name) = name {
            self.names.push_str(name);
            self.names.push('\n');
        }
        self.exchanges.push(exchange);
    }

    /// Bytes of the requests that have not been settled.
    pub(crate) fn bytes_in(&self) -> u64 {
        self.exchanges.iter().map(|exchange| exchange.bytes_in).sum()
    }

    /// Counts and logs the exchanges between two marks: their answers have been sent at `now`.
    pub(crate) fn settle(
        &self,
        from: Mark,
        until: Mark,
        now: Instant,
        counters: &Counters,
        log: Option<&AccessLog>,
        tcp: Option<TcpInfo>,
    ) {
        let mut names = self.names[from.names..until.names].lines();
        for exchange in &self.exchanges[from.exchanges..until.exchanges] {
            let duration = now.saturating_duration_since(exchange.started);
            counters.note_answer(exchange, duration);
            if let Some(log) = log {
                let name = names.next().and_then(|name| name.split_once('\t'));
                let (verb, path) = name.unwrap_or_default();
                log.write(&Record { exchange, duration, verb, path, tcp });
            }
        }
    }

    /// Counts and logs every exchange, and empties the outbox.
    pub(crate) fn settle_all(
        &mut self,
        counters: &Counters,
        log: Option<&AccessLog>,
        tcp: impl FnOnce() -> Option<TcpInfo>,
    ) {
        if !self.exchanges.is_empty() {
            self.settle(Mark::START, self.mark(), Instant::now(), counters, log, tcp());
        }
        self.clear();
    }
}
