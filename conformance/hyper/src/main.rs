//! Writes how hyper reads messages: a line of hexadecimal digits in, a verdict out, in the format
//! of `python_oracle.py`. The connection is in memory, so that nothing ever waits.

use std::cell::RefCell;
use std::convert::Infallible;
use std::io::{self, BufRead};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};

/// More polls than any message needs, because the connection never waits.
const POLLS_MAX: usize = 100_000;

/// The peer: it sends its bytes and then closes, and drops what it receives.
struct Memory {
    input: Vec<u8>,
    position: usize,
}

#[derive(Default)]
struct Verdict {
    lengths: Vec<usize>,
    refusal: Option<String>,
    waits: bool,
}

fn main() {
    for line in io::stdin().lock().lines() {
        let line = line.expect("the input can be read");
        let verdict = judge(bytes(&line));
        let ending = match (&verdict.refusal, verdict.waits) {
            (Some(_), _) => "refuses",
            (None, true) => "waits",
            (None, false) => "idle",
        };
        let lengths: Vec<String> = verdict.lengths.iter().map(usize::to_string).collect();
        println!("{}\t{ending}\t{}", lengths.join(","), verdict.refusal.unwrap_or_default());
    }
}

fn judge(input: Vec<u8>) -> Verdict {
    let verdict = Rc::new(RefCell::new(Verdict::default()));
    let seen = Rc::clone(&verdict);
    let service = service_fn(move |request: Request<Incoming>| {
        let seen = Rc::clone(&seen);
        async move {
            match request.into_body().collect().await {
                Ok(body) => seen.borrow_mut().lengths.push(body.to_bytes().len()),
                Err(error) => note(&error, &mut seen.borrow_mut()),
            }
            Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
        }
    });
    let memory = Memory { input, position: 0 };
    let mut builder = http1::Builder::new();
    builder.half_close(true).max_buf_size(1 << 20);
    let mut connection = pin!(builder.serve_connection(memory, service));
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..POLLS_MAX {
        if let Poll::Ready(done) = connection.as_mut().poll(&mut context) {
            if let Err(error) = done {
                note(&error, &mut verdict.borrow_mut());
            }
            return verdict.take();
        }
    }
    panic!("hyper waits for memory")
}

/// Records an error. An incomplete message is not a mistake.
fn note(error: &hyper::Error, verdict: &mut Verdict) {
    let words = format!("{error:?}");
    if error.is_incomplete_message() || words.contains("UnexpectedEof") {
        verdict.waits = true;
    } else if !error.is_closed() {
        verdict.refusal.get_or_insert(words);
    }
}

fn bytes(digits: &str) -> Vec<u8> {
    let pairs = digits.as_bytes().chunks(2);
    let text = pairs.map(|pair| std::str::from_utf8(pair).expect("hexadecimal digits"));
    text.map(|pair| u8::from_str_radix(pair, 16).expect("hexadecimal digits")).collect()
}

impl Read for Memory {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        mut cursor: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let rest = &self.input[self.position..];
        let length = rest.len().min(cursor.remaining());
        cursor.put_slice(&rest[..length]);
        self.position += length;
        Poll::Ready(Ok(()))
    }
}

impl Write for Memory {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
