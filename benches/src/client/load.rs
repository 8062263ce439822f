//! Owns the loop of the load generator: which connection sends when, what is counted.

use std::collections::VecDeque;
use std::io;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::connection::{Connection, Shared, Upload};
use super::{ClientOptions, Latency, Outcome};
use crate::answer::Expected;
use crate::sys::{self, Epoll, Ready};

/// How long the client waits for missing answers after the end of a measurement.
const PATIENCE: Duration = Duration::from_secs(30);
/// Descriptors reported by one epoll_wait.
const EVENTS_MAX: usize = 512;
/// The longest latency that the histogram records, in nanoseconds. A longer one counts as this.
const LATENCY_NS_MAX: u64 = 60_000_000_000;
/// After this many errors a measurement has failed, and ends.
const ERRORS_MAX: u64 = 100;

/// The connections, and what they are used for.
pub(super) struct Load {
    options: ClientOptions,
    shared: Shared,
    epoll: Epoll,
    connections: Vec<Connection>,
}

/// The state of one measurement.
struct Measurement {
    start: Instant,
    end: Instant,
    /// Requests that may still be sent.
    budget: u64,
    /// Batches of requests that have been sent. In an open loop, their number decides when the next
    /// one is due.
    due: u64,
    idle: VecDeque<usize>,
    /// Connections that wait for answers, or, if they are short-lived, for their end.
    busy: usize,
    answers: u64,
    errors: u64,
    first_error: Option<String>,
    latencies: Histogram<u64>,
}

impl Load {
    /// Opens all connections, and sends nothing on them.
    pub(super) fn connect(options: &ClientOptions) -> io::Result<Self> {
        let epoll = Epoll::new(EVENTS_MAX)?;
        let expected = Expected { status: 200, bytes: options.bytes };
        let mut connections = Vec::new();
        let opened = if options.short_lived { 0 } else { options.connections };
        for number in 0..opened {
            let connection = Connection::open(options.address, expected)?;
            epoll.watch(connection.fd(), number, false, false)?;
            connections.push(connection);
        }
        let request = request(options).repeat(options.depth as usize);
        let upload = if options.chunked {
            Upload::in_chunks(options.upload)
        } else {
            Upload::at_length(options.upload)
        };
        let shared = Shared::new(request, upload, options.mode, options.bytes);
        Ok(Self { options: options.clone(), shared, epoll, connections })
    }

    /// Takes one measurement: sends for `time` or until `requests` (0: no limit) are sent, then
    /// waits for the missing answers.
    pub(super) fn run(&mut self, time: Duration, requests: u64) -> io::Result<Outcome> {
        let cpu_before = sys::own_cpu_time()?;
        let latencies = Histogram::new_with_bounds(1, LATENCY_NS_MAX, 3)
            .map_err(|error| io::Error::other(error.to_string()))?;
        if self.options.short_lived {
            self.reopen_all()?;
        }
        let start = Instant::now();
        let mut m = Measurement {
            start,
            end: start + time,
            budget: if requests > 0 { requests } else { u64::MAX },
            due: 0,
            idle: (0..self.connections.len()).collect(),
            busy: 0,
            answers: 0,
            errors: 0,
            first_error: None,
            latencies,
        };
        let mut last = start;
        loop {
            let now = Instant::now();
            let goes_on = now < m.end && m.budget > 0 && m.errors < ERRORS_MAX;
            if goes_on || self.is_behind(&m) {
                self.send_due(&mut m, now);
            }
            if !goes_on && m.busy == 0 && !self.is_behind(&m) {
                break;
            }
            if now > m.end + PATIENCE {
                m.errors += m.busy as u64;
                m.first_error.get_or_insert_with(|| "answers that never came".to_owned());
                self.reopen_all()?;
                break;
            }
            let timeout_ms = if self.options.rate > 0.0 { 0 } else { 100 };
            for index in 0..self.epoll.wait(timeout_ms)? {
                let ready = self.epoll.ready(index);
                if let Err(error) = self.progress(ready, &mut m) {
                    self.fail(ready.number, &error, &mut m);
                }
                // In a closed loop each answer is followed by the next request at once.
                if goes_on && self.options.rate == 0.0 {
                    self.send_due(&mut m, now);
                }
            }
            last = Instant::now();
        }
        Ok(m.outcome(last, sys::own_cpu_time()?.saturating_sub(cpu_before)))
    }

    /// Whether an open loop has not yet sent all requests that were due before the end.
    fn is_behind(&self, m: &Measurement) -> bool {
        let total = (self.options.rate * (m.end - m.start).as_secs_f64()) as u64;
        self.options.rate > 0.0 && m.due < total && m.errors < ERRORS_MAX
    }

    /// Sends on idle connections the requests that are due. In a closed loop, every request is due.
    fn send_due(&mut self, m: &mut Measurement, now: Instant) {
        while m.budget > 0 {
            let since = if self.options.rate > 0.0 {
                let due = m.start + Duration::from_secs_f64(m.due as f64 / self.options.rate);
                if due > now || due >= m.end {
                    return;
                }
                due
            } else {
                Instant::now()
            };
            let Some(number) = m.idle.pop_front() else { return };
            m.due += 1;
            m.budget = m.budget.saturating_sub(u64::from(self.options.depth));
            m.busy += 1;
            let begun = self.connections[number].begin(&self.shared, self.options.depth, since);
            let watched = begun.and_then(|()| self.watch_for_room(number));
            if let Err(error) = watched {
                self.fail(number, &error, m);
            }
        }
    }

    /// Watches a connection for writing if a part of a request could not be sent, and only then.
    fn watch_for_room(&mut self, number: usize) -> io::Result<()> {
        let connection = &mut self.connections[number];
        let wanted = connection.is_sending();
        if wanted != connection.watched_for_room {
            connection.watched_for_room = wanted;
            self.epoll.watch(connection.fd(), number, wanted, true)?;
        }
        Ok(())
    }

    fn progress(&mut self, ready: Ready, m: &mut Measurement) -> io::Result<()> {
        if ready.writable {
            self.connections[ready.number].send(&self.shared)?;
            self.watch_for_room(ready.number)?;
        }
        let connection = &mut self.connections[ready.number];
        if ready.readable && connection.owed > 0 {
            let complete = connection.receive(&mut self.shared)?;
            m.answers += u64::from(complete);
            if complete > 0 {
                let latency = connection.since.elapsed().as_nanos() as u64;
                m.latencies.saturating_record_n(latency, u64::from(complete));
            }
        } else if ready.readable && !(connection.busy && self.options.short_lived) {
            return Err(io::Error::other("closed before its time"));
        }
        if !connection.busy || connection.owed > 0 || connection.is_sending() {
            return Ok(());
        }
        if self.options.short_lived {
            if !connection.receive_end()? {
                return Ok(());
            }
            connection.reopen(self.options.address)?;
            self.epoll.watch(connection.fd(), ready.number, false, false)?;
        }
        connection.busy = false;
        m.busy -= 1;
        m.idle.push_back(ready.number);
        Ok(())
    }

    /// Counts an error, and continues with a new connection.
    fn fail(&mut self, number: usize, error: &io::Error, m: &mut Measurement) {
        m.errors += 1;
        m.first_error.get_or_insert_with(|| error.to_string());
        let connection = &mut self.connections[number];
        let busy = connection.busy;
        let reopened = connection
            .reopen(self.options.address)
            .and_then(|()| self.epoll.watch(connection.fd(), number, false, false));
        if busy {
            m.busy -= 1;
        }
        match reopened {
            Ok(()) if busy => m.idle.push_back(number),
            Ok(()) => {}
            // The server does not accept connections any more: the measurement ends.
            Err(_) => m.errors = m.errors.max(ERRORS_MAX),
        }
    }

    /// Replaces all connections, so that none waits for answers.
    fn reopen_all(&mut self) -> io::Result<()> {
        let options = ClientOptions { short_lived: false, ..self.options.clone() };
        let fresh = Self::connect(&options)?;
        self.epoll = fresh.epoll;
        self.connections = fresh.connections;
        Ok(())
    }
}

impl Measurement {
    fn outcome(self, last: Instant, cpu: Duration) -> Outcome {
        let us = |quantile| self.latencies.value_at_quantile(quantile) as f64 / 1e3;
        Outcome {
            answers: self.answers,
            errors: self.errors,
            first_error: self.first_error,
            elapsed_s: (last - self.start).as_secs_f64(),
            client_cpu_s: cpu.as_secs_f64(),
            latency: Latency {
                p50_us: us(0.5),
                p99_us: us(0.99),
                p999_us: us(0.999),
                max_us: self.latencies.max() as f64 / 1e3,
            },
        }
    }
}

/// One request, without its content.
fn request(options: &ClientOptions) -> Vec<u8> {
    let method = if options.upload > 0 { "POST" } else { "GET" };
    let mut head = format!("{method} {} HTTP/1.1\r\nHost: {}\r\n", options.path, options.address);
    if options.upload > 0 && options.chunked {
        head += "Transfer-Encoding: chunked\r\n";
    } else if options.upload > 0 {
        head += &format!("Content-Length: {}\r\n", options.upload);
    }
    if options.short_lived {
        head += "Connection: close\r\n";
    }
    head += "\r\n";
    head.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Mode;

    fn options() -> ClientOptions {
        ClientOptions {
            address: "127.0.0.1:80".parse().unwrap(),
            path: "/heartbeat/17".to_owned(),
            bytes: 17,
            connections: 1,
            seconds: 1.0,
            warm_up: 0.0,
            mode: Mode::Read,
            rate: 0.0,
            depth: 1,
            upload: 0,
            chunked: false,
            short_lived: false,
            requests: 0,
        }
    }

    #[test]
    fn an_upload_announces_its_framing_and_a_short_lived_connection_its_end() {
        let plain = b"GET /heartbeat/17 HTTP/1.1\r\nHost: 127.0.0.1:80\r\n\r\n";
        assert_eq!(request(&options()), plain);
        let upload = request(&ClientOptions { upload: 5, ..options() });
        assert!(
            upload.starts_with(b"POST /") && upload.ends_with(b"\r\nContent-Length: 5\r\n\r\n")
        );
        let chunked = request(&ClientOptions { upload: 5, chunked: true, ..options() });
        assert!(chunked.ends_with(b"\r\nTransfer-Encoding: chunked\r\n\r\n"));
        let short = request(&ClientOptions { short_lived: true, ..options() });
        assert!(short.ends_with(b"\r\nConnection: close\r\n\r\n"));
    }
}
