//! The endpoints for an orchestrator: nobody can lock it out, and their answers are true.

mod process;
mod stub;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use process::{Background, Folder, free_port, get, program, wait_for};
use stub::{Reply, Stub, answer};

const FILE: &str = r#"{"requests": [{"path": "/"}]}"#;

fn looping(folder: &Folder, stub: &Stub, port: u16, more: &[&str]) -> Command {
    let file = folder.file("t.json", FILE);
    let mut command = program(folder);
    command.args(["-s", &stub.url(), "-f", &file, "-r", "-p", &port.to_string()]).args(more);
    command
}

fn ok() -> Stub {
    Stub::start(|_| Reply::Raw(answer(200, "application/json", "{}")))
}

#[test]
fn idle_connections_do_not_lock_out_an_orchestrator() {
    let (stub, folder, port) = (ok(), Folder::new(), free_port());
    let _background = Background::start(&mut looping(&folder, &stub, port, &[]));
    wait_for(port, |page| !page.is_empty());
    // Half of them send one request and stay open, the others send none.
    let mut idle = Vec::new();
    for number in 0..200 {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        if number % 2 == 0 {
            stream.write_all(b"GET /version HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        }
        idle.push(stream);
    }
    let start = Instant::now();
    let (head, body) = get(port, "/healthz").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 ") && body == "pass", "{head}");
    // Connections that have sent a request end only after 75 seconds.
    assert!(start.elapsed() < Duration::from_secs(40), "{:?}", start.elapsed());
}

#[test]
fn a_connection_without_a_request_ends_soon() {
    let (stub, folder, port) = (ok(), Folder::new(), free_port());
    let _background = Background::start(&mut looping(&folder, &stub, port, &[]));
    wait_for(port, |page| !page.is_empty());
    let mut silent = TcpStream::connect(("127.0.0.1", port)).unwrap();
    silent.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let mut slow = TcpStream::connect(("127.0.0.1", port)).unwrap();
    slow.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    slow.write_all(b"GET /healthz HTTP/1.1\r\n").unwrap();
    for stream in [&mut silent, &mut slow] {
        assert_eq!(stream.read(&mut [0; 16]).unwrap(), 0);
    }
}

#[test]
fn it_is_ready_from_the_first_request_on() {
    let (stub, folder, port) = (ok(), Folder::new(), free_port());
    let more = ["--delay-start", "2"];
    let _background = Background::start(&mut looping(&folder, &stub, port, &more));
    wait_for(port, |page| !page.is_empty());
    let (head, body) = get(port, "/readyz").unwrap();
    if stub.seen().is_empty() {
        assert!(head.starts_with("HTTP/1.1 503 ") && body == "not ready", "{head}");
    }
    while stub.seen().is_empty() {
        std::thread::sleep(Duration::from_millis(20));
    }
    let (head, body) = get(port, "/readyz").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 ") && body == "ready", "{head}");
}
