//! Owns what the clients do: a random sequence of what real clients do, correct or not.

use std::fmt::Write;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use fastrand::Rng;

use crate::link::Link;
use crate::tally::Tally;

const SIZES: [usize; 3] = [1 << 10, 64 << 10, 1 << 20];

/// Most requests of a series on a kept connection.
const SERIES_MAX: usize = 64;

/// Requests sent before the first answer is read.
const PIPELINED: usize = 16;

/// Longest upload, in bytes.
const UPLOAD_BYTES_MAX: usize = 1 << 20;

/// The size of a payload: one of the given sizes, or a mixture in which small ones are common, as
/// they are among the requests of real clients.
fn size(random: &mut Rng, wanted: &[usize]) -> usize {
    if !wanted.is_empty() {
        return wanted[random.usize(..wanted.len())];
    }
    match random.u8(..16) {
        0 => SIZES[2],
        1..4 => SIZES[1],
        4..6 => random.usize(1..=1 << 20),
        6..8 => random.usize(1..=1 << 13),
        _ => SIZES[0],
    }
}

/// Runs one client until the soak is over.
pub(crate) fn run(address: SocketAddr, seed: u64, sizes: &[usize], tally: &Tally) {
    let mut walk = Walk { address, tally, sizes, random: Rng::with_seed(seed), kept: None };
    while !tally.is_over() {
        let begin = Instant::now();
        if let Err(wrong) = walk.step() {
            // A client that had to wait long for a CPU may have met a timeout of the server.
            let seconds = begin.elapsed().as_secs_f64();
            tally.error(&format!("{wrong} ({seconds:.1} s after the step began)"));
            walk.kept = None;
            // If the server does not listen, the error would repeat without a pause.
            thread::sleep(Duration::from_millis(100));
        }
    }
}

struct Walk<'t> {
    address: SocketAddr,
    tally: &'t Tally,
    /// The sizes to request; none means a mixture.
    sizes: &'t [usize],
    random: Rng,
    /// The connection that carries most of the requests.
    kept: Option<Link<'t>>,
}

impl<'t> Walk<'t> {
    fn step(&mut self) -> Result<(), String> {
        match self.random.usize(..24) {
            0..8 => self.on_kept(Self::series),
            8..16 => self.on_kept(Self::pipeline),
            16 => self.on_kept(Self::upload),
            17 => self.on_kept(Self::chunked_upload),
            18 => self.on_kept(Self::wire),
            19 => self.on_kept(Self::refused),
            20 => self.once(),
            21 => self.half_close(),
            22 => self.abort_answer(),
            _ => self.abort_request(),
        }
    }

    fn size(&mut self) -> usize {
        size(&mut self.random, self.sizes)
    }

    fn fresh(&self) -> Result<Link<'t>, String> {
        Link::connect(self.address, self.tally)
    }

    /// Does something on the kept connection, and keeps it if that succeeds.
    fn on_kept(
        &mut self,
        what: impl FnOnce(&mut Self, &mut Link<'t>) -> Result<(), String>,
    ) -> Result<(), String> {
        let mut client = match self.kept.take() {
            Some(client) => client,
            None => self.fresh()?,
        };
        what(self, &mut client)?;
        client.settle();
        // Now and then the client closes its connection.
        if self.random.usize(..64) > 0 {
            self.kept = Some(client);
        }
        Ok(())
    }

    fn series(&mut self, client: &mut Link<'t>) -> Result<(), String> {
        for _ in 0..=self.random.usize(..SERIES_MAX) {
            let bytes = self.size();
            client.send(get(bytes, ""))?;
            stays(client.answer(bytes)?)?;
        }
        Ok(())
    }

    fn pipeline(&mut self, client: &mut Link<'t>) -> Result<(), String> {
        // The requests fit into the sockets' buffers. If they did not, the client could hang: it
        // does not read before it has sent all of them.
        let is_small = self.random.usize(..4) > 0;
        let mut sizes = Vec::new();
        let mut requests = String::new();
        for _ in 0..PIPELINED {
            let bytes = if is_small { 1 << self.random.u8(..11) } else { self.size() };
            let _ = write!(requests, "GET /heartbeat/{bytes} HTTP/1.1\r\nHost: soak\r\n\r\n");
            sizes.push(bytes);
        }
        client.send(&requests)?;
        for bytes in sizes {
            stays(client.answer(bytes)?)?;
        }
        Ok(())
    }

    fn upload(&mut self, client: &mut Link<'t>) -> Result<(), String> {
        let length = self.random.usize(..UPLOAD_BYTES_MAX);
        client.send(format!(
            "POST /heartbeat/1024 HTTP/1.1\r\nHost: soak\r\nContent-Length: {length}\r\n\r\n"
        ))?;
        client.send_pattern(length)?;
        stays(client.answer(1024)?)
    }

    fn chunked_upload(&mut self, client: &mut Link<'t>) -> Result<(), String> {
        client.send(
            "PUT /heartbeat/17 HTTP/1.1\r\nHost: soak\r\nTransfer-Encoding: chunked\r\n\r\n",
        )?;
        for _ in 0..self.random.usize(..32) {
            let chunk = self.random.usize(1..=UPLOAD_BYTES_MAX / 32);
            client.send(format!("{chunk:x}\r\n"))?;
            client.send_pattern(chunk)?;
            client.send("\r\n")?;
        }
        client.send("0\r\n\r\n")?;
        stays(client.answer(17)?)
    }

    fn wire(&mut self, client: &mut Link<'t>) -> Result<(), String> {
        let bytes = 512 + self.random.usize(..1 << 18);
        client.send(format!("GET /heartbeat/wire/{bytes} HTTP/1.1\r\nHost: soak\r\n\r\n"))?;
        client.wire_answer(bytes)
    }

    fn refused(&mut self, client: &mut Link<'t>) -> Result<(), String> {
        for (path, status) in [("/heartbeat/0", 400), ("/nowhere", 404), ("/", 301)] {
            client.send(format!("GET {path} HTTP/1.1\r\nHost: soak\r\n\r\n"))?;
            client.refusal(status)?;
        }
        Ok(())
    }

    /// Sends one request with `Connection: close` on a new connection.
    fn once(&mut self) -> Result<(), String> {
        let bytes = self.size();
        let mut client = self.fresh()?;
        client.send(get(bytes, "Connection: close\r\n"))?;
        if !client.answer(bytes)? {
            return Err("an answer that does not close".to_owned());
        }
        client.end()
    }

    /// Half-closes after a request, which the server must still answer.
    fn half_close(&mut self) -> Result<(), String> {
        let bytes = self.size();
        let mut client = self.fresh()?;
        client.send(get(bytes, ""))?;
        client.try_end_sending().map_err(|error| error.to_string())?;
        client.answer(bytes)?;
        client.end()
    }

    /// Closes within an answer. Because bytes are unread, the close sends a reset.
    fn abort_answer(&mut self) -> Result<(), String> {
        let mut client = self.fresh()?;
        for _ in 0..=self.random.usize(..4) {
            client.send(get(1 << 20, ""))?;
        }
        let part = self.random.u64(..1 << 20);
        let read = client.try_head().and_then(|_| client.try_payload(part));
        read.map_err(|error| error.to_string())?;
        Tally::add(&self.tally.aborts, 1);
        Ok(())
    }

    /// Closes within a request.
    fn abort_request(&mut self) -> Result<(), String> {
        let mut client = self.fresh()?;
        let request =
            "POST /heartbeat/1024 HTTP/1.1\r\nHost: soak\r\nContent-Length: 100000\r\n\r\n";
        let sent = self.random.usize(..=request.len());
        client.send(&request[..sent])?;
        if sent == request.len() {
            client.send_pattern(self.random.usize(..100_000))?;
        }
        Tally::add(&self.tally.aborts, 1);
        Ok(())
    }
}

fn get(bytes: usize, fields: &str) -> String {
    format!("GET /heartbeat/{bytes} HTTP/1.1\r\nHost: soak\r\n{fields}\r\n")
}

fn stays(closes: bool) -> Result<(), String> {
    if closes { Err("an answer that closes".to_owned()) } else { Ok(()) }
}
