//! What the clients do: a random walk over everything that real ones do, good and bad.

use std::fmt::Write;
use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use crate::Tally;
use crate::client::Client;

const SIZES: [usize; 3] = [1 << 10, 64 << 10, 1 << 20];

/// Requests of a series on a kept connection, at most.
const SERIES_MAX: u64 = 64;

/// Requests sent before the first answer is read.
const PIPELINED: u64 = 16;

/// Longest upload, in bytes.
const UPLOAD_BYTES_MAX: u64 = 1 << 20;

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    /// Mostly short ones, as the clients of a server mostly ask for.
    fn size(&mut self) -> usize {
        match self.below(16) {
            0 => SIZES[2],
            1..4 => SIZES[1],
            4..6 => 1 + self.below(1 << 20) as usize,
            6..8 => 1 + self.below(1 << 13) as usize,
            _ => SIZES[0],
        }
    }
}

/// One client until the end.
pub(crate) fn run(address: SocketAddr, seed: u64, tally: &Tally) {
    let mut walk = Walk { address, tally, random: Random(seed), kept: None };
    while !tally.is_over() {
        if let Err(wrong) = walk.step() {
            tally.error(&wrong);
            walk.kept = None;
            // Where nobody listens, that is said now and then.
            thread::sleep(Duration::from_millis(100));
        }
    }
}

struct Walk<'t> {
    address: SocketAddr,
    tally: &'t Tally,
    random: Random,
    /// The connection that most of it goes over.
    kept: Option<Client<'t>>,
}

impl<'t> Walk<'t> {
    fn step(&mut self) -> Result<(), String> {
        match self.random.below(24) {
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

    fn fresh(&self) -> Result<Client<'t>, String> {
        Client::connect(self.address, self.tally)
    }

    /// Does something on the kept connection, and keeps it where that went well.
    fn on_kept(
        &mut self,
        what: impl FnOnce(&mut Self, &mut Client<'t>) -> Result<(), String>,
    ) -> Result<(), String> {
        let mut client = match self.kept.take() {
            Some(client) => client,
            None => self.fresh()?,
        };
        what(self, &mut client)?;
        // Now and then the client has had enough.
        if self.random.below(64) > 0 {
            self.kept = Some(client);
        }
        Ok(())
    }

    fn series(&mut self, client: &mut Client<'t>) -> Result<(), String> {
        for _ in 0..=self.random.below(SERIES_MAX) {
            let bytes = self.random.size();
            client.send(get(bytes, ""))?;
            stays(client.answer(bytes)?)?;
        }
        Ok(())
    }

    fn pipeline(&mut self, client: &mut Client<'t>) -> Result<(), String> {
        // What fits into the sockets' buffers: a client that only sends would wait for itself.
        let is_small = self.random.below(4) > 0;
        let mut sizes = Vec::new();
        let mut requests = String::new();
        for _ in 0..PIPELINED {
            let bytes = if is_small { 1 << self.random.below(11) } else { self.random.size() };
            let _ = write!(requests, "GET /heartbeat/{bytes} HTTP/1.1\r\nHost: soak\r\n\r\n");
            sizes.push(bytes);
        }
        client.send(&requests)?;
        for bytes in sizes {
            stays(client.answer(bytes)?)?;
        }
        Ok(())
    }

    fn upload(&mut self, client: &mut Client<'t>) -> Result<(), String> {
        let length = self.random.below(UPLOAD_BYTES_MAX) as usize;
        client.send(format!(
            "POST /heartbeat/1024 HTTP/1.1\r\nHost: soak\r\nContent-Length: {length}\r\n\r\n"
        ))?;
        client.send_pattern(length)?;
        stays(client.answer(1024)?)
    }

    fn chunked_upload(&mut self, client: &mut Client<'t>) -> Result<(), String> {
        client.send(
            "PUT /heartbeat/17 HTTP/1.1\r\nHost: soak\r\nTransfer-Encoding: chunked\r\n\r\n",
        )?;
        for _ in 0..self.random.below(32) {
            let chunk = 1 + self.random.below(UPLOAD_BYTES_MAX / 32) as usize;
            client.send(format!("{chunk:x}\r\n"))?;
            client.send_pattern(chunk)?;
            client.send("\r\n")?;
        }
        client.send("0\r\n\r\n")?;
        stays(client.answer(17)?)
    }

    fn wire(&mut self, client: &mut Client<'t>) -> Result<(), String> {
        let bytes = 512 + self.random.below(1 << 18) as usize;
        client.send(format!("GET /heartbeat/wire/{bytes} HTTP/1.1\r\nHost: soak\r\n\r\n"))?;
        client.wire_answer(bytes)
    }

    fn refused(&mut self, client: &mut Client<'t>) -> Result<(), String> {
        for (path, status) in [("/heartbeat/0", 400), ("/nowhere", 404), ("/", 301)] {
            client.send(format!("GET {path} HTTP/1.1\r\nHost: soak\r\n\r\n"))?;
            client.refusal(status)?;
        }
        Ok(())
    }

    /// A connection of its own.
    fn once(&mut self) -> Result<(), String> {
        let bytes = self.random.size();
        let mut client = self.fresh()?;
        client.send(get(bytes, "Connection: close\r\n"))?;
        if !client.answer(bytes)? {
            return Err("an answer that does not close".to_owned());
        }
        client.end()
    }

    /// A client that has nothing further to say still gets its answer.
    fn half_close(&mut self) -> Result<(), String> {
        let bytes = self.random.size();
        let mut client = self.fresh()?;
        client.send(get(bytes, ""))?;
        client.end_sending()?;
        client.answer(bytes)?;
        client.end()
    }

    /// Leaves within an answer; what is unread then makes the close a reset.
    fn abort_answer(&mut self) -> Result<(), String> {
        let mut client = self.fresh()?;
        for _ in 0..=self.random.below(4) {
            client.send(get(1 << 20, ""))?;
        }
        client.head()?;
        client.payload(self.random.below(1 << 20) as usize)?;
        Tally::add(&self.tally.aborts, 1);
        Ok(())
    }

    /// Leaves within a request.
    fn abort_request(&mut self) -> Result<(), String> {
        let mut client = self.fresh()?;
        let request =
            "POST /heartbeat/1024 HTTP/1.1\r\nHost: soak\r\nContent-Length: 100000\r\n\r\n";
        let sent = self.random.below(request.len() as u64 + 1) as usize;
        client.send(&request[..sent])?;
        if sent == request.len() {
            client.send_pattern(self.random.below(100_000) as usize)?;
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
