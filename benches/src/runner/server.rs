//! Owns the start of a server, which is complete when the server has given a right answer.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use super::Bench;
use crate::answer::{AnswerReader, Expected};
use crate::peer::{Peer, Running, Work};

/// How long a server may take from its start to its first answer.
const START_PATIENCE: Duration = Duration::from_secs(10);
/// How long one answer may take before anything is measured.
const ANSWER_PATIENCE: Duration = Duration::from_secs(10);
/// The pause before the next request to a server that does not listen yet.
const ASK_AGAIN: Duration = Duration::from_micros(100);

/// Starts the server, and waits for its first answer, which must be right. Returns how long that
/// took.
pub fn start(peer: &Peer, work: &Work, bench: &Bench) -> io::Result<(Running, Duration)> {
    peer.prepare(work, &bench.workshop)?;
    let begin = Instant::now();
    let mut running = peer.start(work, &bench.workshop, bench.cpus_for(work.threads))?;
    loop {
        match ask(running.address, &running.path, work.bytes) {
            Ok(()) => return Ok((running, begin.elapsed())),
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
            Err(error) => return Err(error),
        }
        if let Some(status) = running.group.ended() {
            let words = bench.workshop.last_words(&peer.name);
            return Err(io::Error::other(format!("it ended with {status}: {words}")));
        }
        if begin.elapsed() > START_PATIENCE {
            return Err(io::Error::other("it does not listen"));
        }
        thread::sleep(ASK_AGAIN);
    }
}

/// Sends one request on a new connection. The answer must be a 200 with this many bytes.
fn ask(address: SocketAddr, path: &str, bytes: u64) -> io::Result<()> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(ANSWER_PATIENCE))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n")?;
    let mut reader = AnswerReader::new(Expected { status: 200, bytes });
    let mut buffer = vec![0; 64 << 10];
    loop {
        let n = stream.read(&mut buffer)?;
        if n == 0 {
            return Err(io::Error::other("closed before the end of the answer"));
        }
        let fed = reader
            .feed(&buffer[..n])
            .map_err(|wrong| io::Error::other(format!("wrong answer: {wrong:?}")))?;
        if fed.complete {
            return Ok(());
        }
    }
}
