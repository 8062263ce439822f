//! Owns what a server keeps of a spike: many connections that send a long head at once, are
//! answered, and then have nothing to say for a minute.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use super::{Bench, start};
use crate::answer::{AnswerReader, Expected};
use crate::figure::{Figures, RESIDENT, RESIDENT_PEAK};
use crate::peer::{Peer, Work};

/// The longest head that Heartbeat reads.
const HEAD_BYTES: usize = 16 << 10;
/// Bytes of a field line. Some servers accept none above 8 KiB.
const FIELD_BYTES: usize = 1000;
/// How long a server may take to read what was sent, before its memory is measured.
const SETTLE: Duration = Duration::from_millis(300);
/// How long a server may take to give memory back.
const REST: Duration = Duration::from_secs(60);
const PATIENCE: Duration = Duration::from_secs(10);
const HEAD_END: &[u8] = b"\r\n\r\n";
const MIB: f64 = (1 << 20) as f64;

/// Resident memory at two moments: at the peak, when every head has arrived without its end, and a
/// minute after the last answer, with all connections still open.
pub(super) fn memory(peer: &Peer, connections: usize, bench: &Bench) -> io::Result<Figures> {
    let (running, _) = start(peer, &Work::answers(17), bench)?;
    let head = head(&running.path);
    let mut streams = Vec::new();
    for _ in 0..connections {
        let mut stream = TcpStream::connect(running.address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(&head[..head.len() - HEAD_END.len()])?;
        streams.push(stream);
    }
    thread::sleep(SETTLE);
    let peak = running.group.resident_bytes() as f64 / MIB;
    for stream in &mut streams {
        stream.write_all(HEAD_END)?;
    }
    for stream in &mut streams {
        read_answer(stream)?;
    }
    thread::sleep(REST);
    let resident = running.group.resident_bytes() as f64 / MIB;
    Ok(Figures::from([(RESIDENT.to_owned(), resident), (RESIDENT_PEAK.to_owned(), peak)]))
}

/// A whole head of [`HEAD_BYTES`].
fn head(path: &str) -> Vec<u8> {
    let mut head = format!("GET {path} HTTP/1.1\r\nHost: x").into_bytes();
    while head.len() + HEAD_END.len() < HEAD_BYTES {
        let left = HEAD_BYTES - HEAD_END.len() - head.len();
        // The last line takes all that is left, because the rest could be too short for a line.
        let bytes = if left < 2 * FIELD_BYTES { left } else { FIELD_BYTES };
        head.extend_from_slice(b"\r\nX: ");
        head.resize(head.len() + bytes - b"\r\nX: ".len(), b'x');
    }
    head.extend_from_slice(HEAD_END);
    head
}

fn read_answer(stream: &mut TcpStream) -> io::Result<()> {
    let mut reader = AnswerReader::new(Expected { status: 200, bytes: 17 });
    let mut buffer = [0; 1024];
    loop {
        let n = stream.read(&mut buffer)?;
        if n == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let fed = reader.feed(&buffer[..n]).map_err(|wrong| {
            io::Error::other(format!("wrong answer to a head of {HEAD_BYTES} bytes: {wrong:?}"))
        })?;
        if fed.complete {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_has_as_many_bytes_as_it_should_in_lines_that_every_server_reads() {
        for path in ["/heartbeat/17", "/heartbeat/1048576"] {
            let head = head(path);
            assert_eq!(head.len(), HEAD_BYTES);
            let text = String::from_utf8(head).unwrap();
            let fields = text.strip_suffix("\r\n\r\n").unwrap().split("\r\n").skip(1);
            assert!(fields.clone().all(|field| field.len() < 2 * FIELD_BYTES));
            assert!(fields.skip(1).all(|field| field.starts_with("X: x")));
        }
    }
}
