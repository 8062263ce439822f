//! A server that is full: whatever the peers above its limit do, it still tells its health, and it
//! serves again as soon as there is a place.

mod binary;

use std::net::SocketAddr;

use binary::{drivers, start};
use heartbeat_testkit::{Client, Program, Signal, eventually, limit_own, request};

/// More peers than the server answers at a time above its limit.
const CROWD: usize = 300;

/// No more operators than it answers at a time.
const OPERATORS_SERVED: usize = 250;

/// Peers that fill the queue of a listener.
const QUEUED: usize = 3000;

/// Descriptors for these peers, of this program and of the server, which inherits the limit.
const DESCRIPTORS: u64 = 8192;

/// A server whose only place is taken, and the connection that has it.
fn full(driver: &str, options: &[&str]) -> (Program, Client) {
    limit_own(libc::RLIMIT_NOFILE, DESCRIPTORS);
    let limit = ["--threads", "1", "--max-connections", "1"];
    let program = start(driver, &[&limit, options].concat());
    let mut served = program.connect();
    assert!(served.get("/heartbeat/17").is_payload(17));
    (program, served)
}

/// A kubelet that gets no answer ends the program.
#[track_caller]
fn assert_tells_its_health(address: SocketAddr) {
    let (head, text) = Client::connect(address).get_text("/healthz");
    assert_eq!((head.status, text.as_str()), (200, "Pass\n"));
}

#[test]
fn uploads_that_trickle_in_above_the_maximum_hold_up_no_health_check() {
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
                // Each byte would be progress, which a body has a time limit for, if it counted.
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
        let mut operators: Vec<_> = (0..CROWD).map(|_| Client::connect(admin)).collect();
        // They stay: the next ones are not even accepted.
        for operator in operators.iter_mut().take(OPERATORS_SERVED) {
            operator.get_text("/healthz");
        }
        assert_tells_its_health(program.address());
        let mut peers: Vec<_> = (0..CROWD).map(|_| program.connect()).collect();
        for peer in &mut peers {
            assert!(peer.get("/heartbeat/17").is_payload(17));
        }
        drop(operators);
        eventually("operators are served again", || {
            let Ok(mut operator) = Client::try_connect(admin) else { return false };
            operator.try_send(request("GET", "/readyz")).is_ok() && operator.head().status == 200
        });
    }
}

#[test]
fn a_queue_full_of_peers_above_the_maximum_holds_up_no_health_check() {
    for driver in drivers() {
        for ask in ["", "GET /heartbeat/17 HTTP/1.1\r\nHost: a\r\n\r\n"] {
            let (mut program, mut served) = full(driver, &[]);
            // It stands still while they connect.
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
