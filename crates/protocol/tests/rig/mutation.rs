//! Bytes that are nearly a message: what an attacker or a broken proxy might send.

use crate::rig::random::Random;

/// Pieces that may change how a message is read.
const FRAGMENTS: &[&[u8]] = &[
    b"\r",
    b"\n",
    b"\r\n",
    b"\n\n",
    b"\r\n\r\n",
    b"\r\r\n",
    b" ",
    b"\t",
    b"\0",
    b"\x0b",
    b"\x7f",
    b"\x80",
    b"\xff",
    b":",
    b",",
    b";",
    b"=",
    b"\"",
    b"\\",
    b"#",
    b"%",
    b"%00",
    b"*",
    b"0",
    b"00",
    b"1",
    b"9",
    b"+",
    b"-",
    b"_",
    b"0x",
    b"f",
    b"G",
    b"0\r\n\r\n",
    b"1\r\nx\r\n",
    b"5;a=\"b\"\r\n",
    b"ffffffffffffffff",
    b"99999999999999999999",
    b"HTTP/1.1",
    b"HTTP/1.0",
    b"HTTP/2.0",
    b"GET ",
    b"HEAD ",
    b"POST ",
    b"OPTIONS ",
    b"get ",
    b"/heartbeat/17",
    b"/healthz",
    b"?timing",
    b"wire/",
    b"http://a",
    b"Host: a\r\n",
    b"Host: b\r\n",
    b"Host:\r\n",
    b"Connection: close\r\n",
    b"Connection: keep-alive\r\n",
    b"Content-Length: 5\r\n",
    b"Content-Length: 0\r\n",
    b"Content-Length : 5\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: gzip, chunked\r\n",
    b"Transfer-Encoding: \r\n",
    b"Transfer-Encoding\r\n : chunked\r\n",
    b"Expect: 100-continue\r\n",
    b"Expect: x\r\n",
    b"X: y\r\n",
    b" folded\r\n",
];

/// `bytes` with one to three changes. Some changes copy a piece of one of the `others`.
pub(crate) fn mutate(bytes: &[u8], others: &[&[u8]], random: &mut Random) -> Vec<u8> {
    let mut mutant = bytes.to_vec();
    for _ in 0..=random.below(3) {
        change(&mut mutant, others, random);
    }
    mutant
}

fn change(bytes: &mut Vec<u8>, others: &[&[u8]], random: &mut Random) {
    let at = random.below(bytes.len() + 1);
    let end = at + random.below((bytes.len() - at).min(12) + 1);
    match random.below(10) {
        0 => drop(bytes.drain(at..end)),
        1 => {
            let copy = bytes[at..end].to_vec();
            insert(bytes, random.below(bytes.len() + 1), &copy);
        }
        2 if at < bytes.len() => bytes[at] = random.next() as u8,
        3 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
        4 => insert_line(bytes, random),
        5 => bytes.truncate(at),
        6 => {
            let other = random.pick(others);
            let from = random.below(other.len() + 1);
            let to = from + random.below(other.len() - from + 1);
            insert(bytes, at, &other[from..to]);
        }
        7 => {
            bytes.drain(at..end);
            insert(bytes, at, random.pick(FRAGMENTS));
        }
        _ => insert(bytes, at, random.pick(FRAGMENTS)),
    }
}

/// Inserts a fragment after a line end, where a field line may begin.
fn insert_line(bytes: &mut Vec<u8>, random: &mut Random) {
    let ends: Vec<usize> =
        (0..bytes.len()).filter(|at| bytes[*at] == b'\n').map(|at| at + 1).collect();
    if let Some(at) = ends.get(random.below(ends.len().max(1))) {
        insert(bytes, *at, random.pick(FRAGMENTS));
    }
}

fn insert(bytes: &mut Vec<u8>, at: usize, piece: &[u8]) {
    bytes.splice(at..at, piece.iter().copied());
}
