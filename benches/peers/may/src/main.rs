//! A may_minihttp server that answers /heartbeat/{n} with n bytes.
//! may ADDRESS BYTES THREADS

use std::env;
use std::io;
use std::sync::OnceLock;

use may_minihttp::{HttpServer, HttpService, Request, Response};

static PATH: OnceLock<String> = OnceLock::new();
static PAYLOAD: OnceLock<String> = OnceLock::new();

#[derive(Clone)]
struct Constant;

impl HttpService for Constant {
    fn call(&mut self, request: Request, response: &mut Response) -> io::Result<()> {
        if PATH.get().is_some_and(|path| path == request.path()) {
            response.header("Cache-Control: no-cache").header("Content-Type: text/plain");
            response.body(PAYLOAD.get().map_or("", String::as_str));
        } else {
            response.status_code(404, "Not Found");
        }
        Ok(())
    }
}

fn main() -> io::Result<()> {
    let words: Vec<String> = env::args().skip(1).collect();
    let [address, bytes, threads] = words.as_slice() else {
        return Err(io::Error::other("usage: may ADDRESS BYTES THREADS"));
    };
    let number = |word: &str| word.parse::<usize>().map_err(io::Error::other);
    may_coroutines::config().set_workers(number(threads)?);
    PATH.get_or_init(|| format!("/heartbeat/{bytes}"));
    let payload = "0123456789ABCDEF".chars().cycle().take(number(bytes)?).collect();
    PAYLOAD.get_or_init(|| payload);
    let server = HttpServer(Constant).start(address)?;
    server.join().map_err(|_| io::Error::other("the server panicked"))
}
