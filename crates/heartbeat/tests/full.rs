//! A server with its maximum of connections: whatever the peers above the maximum do, it still
//! answers health checks, and it serves again as soon as a connection has ended.

mod binary;

use std::net::SocketAddr;

use binary::{drivers, start};
use heartbeat_testkit::{Client, Program, Signal, limit_own, request};

/// More peers than the server answers at a time above its maximum.
const CROWD: usize = 300;

/// Operators that are all answered, because they are no more than it answers at a time.
const OPERATORS_SERVED: usize = 250;

/// Peers that fill the queue of a listener.
const QUEUED: usize = 3000;

/// Descriptors for these peers: the limit of this program, and of the server, which inherits it.
const DESCRIPTORS: u64 = 8192;

/// A server that allows one connection, and the connection that it serves.
fn full(driver: &str, options: &[&str]) -> (Program, Client) {
    limit_own(libc::RLIMIT_NOFILE, DESCRIPTORS);
    let limit = ["--threads", "1", "--max-connections", "1"];
    let program = start(driver, &[&limit, options].concat());
    let mut served = program.connect();
    assert!(served.get("/heartbeat/17").is_payload(17));
    (program, served)
}

/// A kubelet that gets no answer would kill the program.
#[track_caller]
fn assert_tells_its_health(address: SocketAddr) {
    let (head, text) = Client::connect(address).get_text("/healthz");
    assert_eq!((head.status, text.as_str()), (200, "Pass\n"));
}

#[test]
fn slow_uploads_above_the_maximum_delay_no_health_check() {
    for driver in drivers() {
        for head in [
            "POST /heartbeat/17 HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n",
            "POST /heartbeat/17 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n",
            "POST /nowhere HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n",
            "POST /healthz HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n",
            "GET /healthz HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n",
        ] {
            let (mut program, mut served) = full(driver, &["--stall-timeout", "10m"]);
            let mut crowd: Vec<_> = (0..CROWD).map(|_| program.connect()).collect();
            for peer in &mut crowd {
                peer.send(head);
            }
            for peer in &mut crowd {
                // If these bytes counted as progress, each would restart the stall timeout.
                let _ = peer.try_send("x");
            }
            assert_tells_its_health(program.address());
            let answer = crowd[0].answer();
            assert!(answer.status == 503 && answer.closes(), "{head:?}: {answer:?}");
            assert!(served.get("/heartbeat/17").is_payload(17));
            program.assert_is_running();
        }
    }
}

#[test]
fn an_upload_above_the_maximum_that_waits_for_100_is_turned_down_at_once() {
    for driver in drivers() {
        let (program, _served) = full(driver, &[]);
        let mut peer = program.connect();
        peer.send(
            "PUT /heartbeat/17 HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\
             Content-Length: 1000000\r\n\r\n",
        );
        let answer = peer.answer();
        assert!(answer.status == 503 && answer.closes(), "{answer:?}");
        peer.expect_end();
    }
}

#[test]
fn operators_that_stay_take_no_place_of_others() {
    for driver in drivers() {
        limit_own(libc::RLIMIT_NOFILE, DESCRIPTORS);
        let program = start(driver, &["--threads", "1", "--admin-port", "0"]);
        let admin = program.admin_address();
        let mut operators: Vec<_> = (0..OPERATORS_SERVED).map(|_| Client::connect(admin)).collect();
        for operator in &mut operators {
            operator.get_text("/healthz");
        }
        assert_tells_its_health(program.address());
        let mut peers: Vec<_> = (0..CROWD).map(|_| program.connect()).collect();
        for peer in &mut peers {
            assert!(peer.get("/heartbeat/17").is_payload(17));
        }
        // They keep their connections until more operators come than are answered at a time.
        assert_eq!(operators[0].get_text("/healthz").0.status, 200);
        for _ in 0..CROWD {
            let mut operator = Client::connect(admin);
            assert_eq!(operator.get_text("/readyz").0.status, 200);
            operators.push(operator);
        }
        // A kubelet may ask the admin port.
        assert_tells_its_health(admin);
    }
}

#[test]
fn a_queue_full_of_peers_above_the_maximum_delays_no_health_check() {
    for driver in drivers() {
        for ask in ["", "GET /heartbeat/17 HTTP/1.1\r\nHost: a\r\n\r\n"] {
            let (mut program, mut served) = full(driver, &[]);
            // The process is stopped while the peers connect.
            program.signal(Signal::Stop);
            let mut crowd: Vec<_> = (0..QUEUED).map(|_| program.connect()).collect();
            for peer in &mut crowd {
                peer.send(ask);
            }
            let mut kubelet = program.connect();
            kubelet.send(request("GET", "/healthz"));
            program.signal(Signal::Continue);
            assert_eq!(kubelet.head().status, 200, "{ask:?}");
            assert!(served.get("/heartbeat/17").is_payload(17));
            program.assert_is_running();
        }
    }
}
