//! A port that another process has held until now: a server that has been killed starts again at
//! once, and a port counts as taken only after some time.

mod binary;

use std::net::{SocketAddr, TcpListener};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use binary::{drivers, serving};
use heartbeat_testkit::{Client, Launch, Program, address_in, eventually, failing, request};

/// How often a server is killed and started again.
const KILLS: usize = 10;

/// Idle connections of a server that is killed.
const IDLE: usize = 20;

/// How long a port in use is tried.
const PORT_PATIENCE: Duration = Duration::from_secs(2);

/// For so long a listener holds a port for which a program waits. It is a small part of
/// [`PORT_PATIENCE`].
const HELD: Duration = Duration::from_millis(200);

/// An address on which nothing else of this machine listens, and from which nothing connects. So no
/// port of it is taken between its choice and its use.
const OWN_ADDRESS: &str = "127.18.4.7";

/// A port that was free a moment ago.
fn free_address() -> SocketAddr {
    TcpListener::bind((OWN_ADDRESS, 0)).and_then(|it| it.local_addr()).expect("a free port")
}

fn serving_at(address: SocketAddr, driver: &str, threads: &str) -> Command {
    let (ip, port) = (address.ip().to_string(), address.port().to_string());
    let options = ["--address", &ip, "--port", &port, "--io", driver, "--threads", threads];
    serving(&options)
}

/// Connections in every state: idle, within a head, within an upload, within an answer.
fn occupy(program: &Program) -> Vec<Client> {
    let mut clients: Vec<_> = (0..IDLE).map(|_| program.connect()).collect();
    for client in &mut clients {
        assert!(client.get("/heartbeat/17").is_payload(17));
    }
    for part in [
        "GET /heartb".to_owned(),
        "POST /heartbeat/17 HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\nabc".to_owned(),
        request("GET", "/heartbeat/1048576").repeat(100),
    ] {
        let mut client = program.connect();
        client.send(part);
        clients.push(client);
    }
    clients
}

#[test]
fn a_killed_server_starts_again_at_once_on_its_port() {
    for driver in drivers() {
        for threads in ["1", "2"] {
            let address = free_address();
            let mut clients = Vec::new();
            for _ in 0..KILLS {
                let program = Program::start(serving_at(address, driver, threads));
                assert_eq!(program.address(), address);
                clients.extend(occupy(&program));
                assert!(program.get("/heartbeat/1024").is_payload(1024));
                // This sends SIGKILL. The clients keep their ends of the connections.
                drop(program);
            }
        }
    }
}

#[test]
fn a_port_that_becomes_free_after_a_moment_is_taken() {
    for driver in drivers() {
        for threads in ["1", "2"] {
            // A busy machine may hold the port for longer than the program tries it.
            eventually("the port was held for a moment only", || {
                is_taken_after_a_moment(driver, threads)
            });
        }
    }
}

/// Holds a port for a moment, and checks that a program which is told to serve on it does so
/// afterwards. False if the moment was so long that the program may have given up.
#[track_caller]
fn is_taken_after_a_moment(driver: &str, threads: &str) -> bool {
    let holder = TcpListener::bind((OWN_ADDRESS, 0)).expect("a free port");
    let address = holder.local_addr().expect("an address");
    let begun = Instant::now();
    let mut launch = Launch::new(&mut serving_at(address, driver, threads)).expect("a program");
    thread::sleep(HELD);
    let (has_ended, said) = (launch.ended().is_some(), launch.said());
    drop(holder);
    if begun.elapsed() >= PORT_PATIENCE {
        return false;
    }
    assert!(!has_ended && said.is_empty(), "{said}");
    eventually("it serves or ends", || address_in(&launch.said()).is_some() || launch.is_silent());
    assert_eq!(address_in(&launch.said()), Some(address), "{}", launch.said());
    assert!(Client::connect(address).get("/heartbeat/17").is_payload(17));
    true
}

#[test]
fn a_port_that_stays_taken_is_reported_only_after_it_has_been_tried_for_two_seconds() {
    for driver in drivers() {
        let holder = TcpListener::bind((OWN_ADDRESS, 0)).expect("a free port");
        let address = holder.local_addr().expect("an address");
        let begun = Instant::now();
        let (code, line) = failing(serving_at(address, driver, "1"));
        assert!(begun.elapsed() >= PORT_PATIENCE, "{line}");
        assert_eq!(code, Some(1), "{line}");
        assert!(line.contains(&address.to_string()) && line.contains("in use"), "{line}");
    }
}
