//! The drain: no client loses an answer, `/readyz` and the metrics report it, and it ends in time.

mod binary;

use std::io::{self, ErrorKind, Read};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use binary::{drivers, start};
use heartbeat_testkit::{Client, Signal, eventually, request};

/// Clients of each kind in a drain under load.
const CLIENTS: usize = 4;

/// Answers before the signal is sent.
const ANSWERS_BEFORE: usize = 400;

/// Connections that wait in the queue of a listener.
const QUEUED: usize = 200;

/// A payload that is larger than the buffers of both sockets.
const LONG: u64 = 64 << 20;

/// A client that had no CPU for so long between an answer and its next request was idle, and a drain
/// ends idle connections once the listener is closed. Before that, the listener takes longer to
/// settle than this.
const IDLE: Duration = Duration::from_millis(100);

/// What a client in a drain has seen.
#[derive(Debug, Default)]
struct Seen {
    answers: AtomicUsize,
    answers_while_draining: AtomicUsize,
    is_draining: AtomicBool,
}

impl Seen {
    fn note_answer(&self) {
        self.answers.fetch_add(1, Ordering::Relaxed);
        if self.is_draining.load(Ordering::Relaxed) {
            self.answers_while_draining.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// None if nobody listens any more.
fn connect(address: SocketAddr) -> Option<Client> {
    match Client::try_connect(address) {
        Ok(peer) => Some(peer),
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => None,
        Err(error) => panic!("connecting: {error}"),
    }
}

/// Sends requests on each connection until an answer announces that it is the last one.
fn keep_asking(address: SocketAddr, seen: &Seen) -> io::Result<()> {
    while let Some(mut peer) = connect(address) {
        let mut answered = None;
        loop {
            let asked = peer.try_send(request("GET", "/heartbeat/1024"));
            let was_idle = answered.is_some_and(|at: Instant| at.elapsed() > IDLE);
            let answer = match asked.and_then(|()| peer.try_answer()) {
                Err(_) if was_idle => break,
                answer => answer?,
            };
            answered = Some(Instant::now());
            assert!(answer.is_payload(1024), "{answer:?}");
            seen.note_answer();
            if answer.closes() {
                peer.try_end()?;
                break;
            }
        }
    }
    Ok(())
}

/// Sends one request on each connection.
fn ask_anew(address: SocketAddr, seen: &Seen) -> io::Result<()> {
    let request = "GET /heartbeat/1024 HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n";
    while let Some(mut peer) = connect(address) {
        peer.try_send(request)?;
        let answer = peer.try_answer()?;
        assert!(answer.is_payload(1024), "{answer:?}");
        peer.try_end()?;
        seen.note_answer();
    }
    Ok(())
}

#[test]
fn a_drain_under_load_loses_no_client_of_two_workers() {
    for (driver, delay) in drivers().iter().flat_map(|driver| [(driver, "0s"), (driver, "300ms")]) {
        let options = ["--threads", "2", "--drain-delay", delay, "--drain-timeout", "20s"];
        let mut program = start(driver, &options);
        let (address, seen) = (program.address(), Seen::default());
        thread::scope(|scope| {
            for _ in 0..CLIENTS {
                scope.spawn(|| keep_asking(address, &seen).expect("every request is answered"));
                scope.spawn(|| ask_anew(address, &seen).expect("every connection is answered"));
            }
            eventually("a load", || seen.answers.load(Ordering::Relaxed) > ANSWERS_BEFORE);
            seen.is_draining.store(true, Ordering::Relaxed);
            program.signal(Signal::Terminate);
        });
        assert_eq!(program.expect_exit(), Some(0));
        assert!(seen.answers_while_draining.load(Ordering::Relaxed) > 0, "{seen:?}");
    }
}

#[test]
fn connections_queued_when_the_drain_begins_are_all_answered() {
    for driver in drivers() {
        let options = ["--threads", "2", "--drain-delay", "0s"];
        let mut program = start(driver, &options);
        // The process is stopped while the peers connect and send, and SIGTERM waits for it when it
        // continues.
        program.signal(Signal::Stop);
        let mut peers: Vec<_> = (0..QUEUED).map(|_| program.connect()).collect();
        for peer in &mut peers {
            peer.send(request("GET", "/heartbeat/17"));
        }
        program.signal(Signal::Terminate);
        program.signal(Signal::Continue);
        for peer in &mut peers {
            let answer = peer.answer();
            assert!(answer.is_payload(17), "{answer:?}");
        }
        drop(peers);
        assert_eq!(program.expect_exit(), Some(0));
    }
}

#[test]
fn a_drain_is_reported_at_once_and_requests_are_served_during_its_delay() {
    for driver in drivers() {
        let options = ["--threads", "2", "--drain-delay", "10m"];
        let program = start(driver, &options);
        let mut kept = program.connect();
        assert!(!kept.get("/heartbeat/17").closes());
        assert_eq!(program.get_text("/readyz").0.status, 200);
        program.signal(Signal::Terminate);
        eventually("not ready", || program.get_text("/readyz").0.status == 503);
        // Each worker notices the drain by itself, a moment later.
        let all_close = |path: &str| (0..16).all(|_| program.get_text(path).0.closes());
        eventually("every answer closes", || all_close("/heartbeat/17"));
        for path in ["/heartbeat/17", "/heartbeat/65536", "/heartbeat/0", "/no", "/metrics", "/"] {
            assert!(all_close(path), "{path}");
        }
        for _ in 0..16 {
            assert_eq!(program.get("/readyz").status, 503);
            assert_eq!(program.get("/heartbeat/readyz").status, 503);
            assert_eq!(program.get_text("/healthz").0.status, 200);
        }
        assert!((program.metric("heartbeat_draining") - 1.0).abs() < f64::EPSILON);
        let last = kept.get("/heartbeat/17");
        assert!(last.closes() && last.is_payload(17), "{last:?}");
        kept.expect_end();
    }
}

#[test]
fn an_idle_connection_ends_without_a_reset() {
    for driver in drivers() {
        // Both timeouts are longer than this test waits for the end.
        let options = ["--header-timeout", "10m", "--drain-timeout", "10m"];
        let mut program = start(driver, &options);
        let mut idle: Vec<_> = (0..20).map(|_| program.connect()).collect();
        for peer in &mut idle {
            peer.get("/heartbeat/17");
        }
        program.signal(Signal::Terminate);
        for peer in &mut idle {
            peer.expect_end();
        }
        drop(idle);
        assert_eq!(program.expect_exit(), Some(0));
    }
}

#[test]
fn a_slow_reader_gets_all_of_its_answer() {
    for (driver, bytes) in drivers().iter().flat_map(|driver| [(driver, 1 << 20), (driver, LONG)]) {
        let options = ["--max", "1G", "--drain-delay", "0s", "--drain-timeout", "10m"];
        let mut program = start(driver, &options);
        let mut peer = program.connect();
        peer.send(request("GET", &format!("/heartbeat/{bytes}")));
        assert!(peer.head().is_payload(bytes));
        program.signal(Signal::Terminate);
        eventually("nobody listens", || connect(program.address()).is_none());
        for _ in 0..16 {
            // Each part is a multiple of the pattern's length, so that it begins with the pattern.
            peer.payload(bytes / 16);
            thread::sleep(Duration::from_millis(20));
        }
        peer.expect_end();
        assert_eq!(program.expect_exit(), Some(0));
    }
}

#[test]
fn a_reader_that_stalls_is_cut_off_at_the_drain_timeout() {
    for driver in drivers() {
        // The stall timeout is longer than this test waits for the end.
        let options = ["--max", "1G", "--stall-timeout", "10m", "--drain-timeout", "700ms"];
        let mut program = start(driver, &options);
        let mut peer = program.connect();
        peer.send(request("GET", &format!("/heartbeat/{LONG}")));
        peer.head();
        program.signal(Signal::Terminate);
        assert_eq!(program.expect_exit(), Some(0));
        let rest = peer.stream().read_to_end(&mut Vec::new());
        assert!(rest.is_err() || rest.is_ok_and(|bytes| (bytes as u64) < LONG));
    }
}

#[test]
fn a_second_signal_ends_at_once() {
    for driver in drivers() {
        for second in [Signal::Terminate, Signal::Interrupt] {
            let options = ["--threads", "2", "--max", "1G", "--drain-delay", "10m"];
            let mut program = start(driver, &options);
            let mut stalled = program.connect();
            stalled.send(request("GET", &format!("/heartbeat/{LONG}")));
            stalled.head();
            program.signal(Signal::Terminate);
            eventually("it drains", || program.said().contains("draining"));
            program.assert_is_running();
            program.signal(second);
            assert_eq!(program.expect_exit(), Some(0));
        }
    }
}

#[test]
fn sigint_drains_as_sigterm_does() {
    for driver in drivers() {
        let mut program = start(driver, &["--drain-delay", "10m"]);
        program.signal(Signal::Interrupt);
        eventually("not ready", || program.get_text("/readyz").0.status == 503);
        assert_eq!(program.get_text("/healthz").0.status, 200);
        program.signal(Signal::Interrupt);
        assert_eq!(program.expect_exit(), Some(0));
        // Nothing but the end of its delay ends this drain.
        let mut program = start(driver, &["--drain-delay", "300ms"]);
        program.signal(Signal::Interrupt);
        assert_eq!(program.expect_exit(), Some(0));
        assert!(!program.said().contains("second signal: ending"), "{}", program.said());
    }
}

#[test]
fn a_worker_that_hangs_does_not_hold_up_the_end() {
    if binary::is_emulated() {
        binary::not_tested("a worker that hangs: the emulator passes no ptrace(2) on");
        return;
    }
    let short = ["--threads", "2", "--drain-timeout", "1s"];
    let long = ["--threads", "2", "--drain-timeout", "10m"];
    for driver in drivers() {
        for (options, signals) in [(&short, 1), (&long, 2)] {
            let mut program = start(driver, options);
            program.process().stop_thread("worker-1");
            program.signal(Signal::Terminate);
            eventually("the drain begins", || program.said().contains("draining"));
            for _ in 1..signals {
                program.signal(Signal::Terminate);
            }
            assert_eq!(program.expect_exit(), Some(0), "{driver}, {signals} signals");
            let said = program.said();
            assert!(said.contains("a worker hangs in a system call"), "{said}");
            assert_eq!(said.contains("second signal: ending at once"), signals == 2, "{said}");
        }
    }
}
