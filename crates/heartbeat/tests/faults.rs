//! Peers that misbehave and resources that run out: the server continues to answer, and afterwards
//! it holds no more descriptors and memory than before.

mod binary;

use std::io::Read;
use std::thread;
use std::time::Duration;

use binary::{drivers, serving, start};
use heartbeat_testkit::{
    Client, Deadline, PATIENCE, Program, at_once, eventually, limit_own, request,
};

/// Connections that are reset within an answer, by all clients together.
const RESETS: usize = 2000;

/// Clients that misbehave at the same time.
const CLIENTS: usize = 4;

/// Clients that are slow at the same time.
const SLOW_PEERS: usize = 200;
const SLOW_READERS: usize = 24;

/// Requests of the fast clients that run beside the slow ones.
const FAST_REQUESTS: usize = 1500;

/// Connections above the maximum that are open at the same time.
const EXCESS: usize = 10;
/// How often so many are opened, one group after the other.
const EXCESS_ROUNDS: usize = 5;

/// How much resident memory may grow, because an allocator keeps memory that it may need again.
const MEMORY_KIB_MAX: u64 = 4096;

/// A payload that is larger than the buffers of both sockets.
const LONG: u64 = 64 << 20;

/// The resources that a program held before a test.
struct Baseline {
    descriptors: usize,
    resident_kib: u64,
    workers: usize,
}

impl Baseline {
    fn of(program: &Program) -> Self {
        let mut peers = Vec::new();
        for _ in 0..100 {
            // It asks at once, because the time limit of a head may be short.
            let mut peer = program.connect();
            assert!(peer.get("/heartbeat/1048576").is_payload(1 << 20));
            peers.push(peer);
        }
        drop(peers);
        eventually("the first clients are gone", || connections(program) == 0);
        Self {
            descriptors: program.descriptors(),
            resident_kib: program.status_kib("VmRSS"),
            workers: program.workers(),
        }
    }

    /// Checks that the program serves as before, and holds no more than before.
    #[track_caller]
    fn check(&self, program: &mut Program) {
        program.assert_is_running();
        eventually("all clients are gone", || connections(program) == 0);
        eventually("descriptors are closed", || program.descriptors() <= self.descriptors);
        assert_eq!(program.workers(), self.workers);
        let resident_kib = program.status_kib("VmRSS");
        let growth = resident_kib.saturating_sub(self.resident_kib);
        assert!(growth <= MEMORY_KIB_MAX, "{growth} KiB more than {}", self.resident_kib);
        for _ in 0..20 {
            assert!(program.get("/heartbeat/65536").is_payload(65536));
        }
    }
}

/// Connections that the program counts, without the one that carries the scrape.
fn connections(program: &Program) -> u64 {
    program.metric("heartbeat_connections") as u64 - 1
}

fn ended(program: &Program, reason: &str) -> u64 {
    program.metric(&format!("heartbeat_connection_ends_total{{reason=\"{reason}\"}}")) as u64
}

/// Checks that two fast connections are answered while others are slow. A worker that waited for
/// one of the slow peers would never answer them; one that lost 40 ms with each answer would not
/// finish in time.
#[track_caller]
fn assert_not_held_up(program: &Program) {
    let deadline = Deadline::new();
    let mut peers = [program.connect(), program.connect()];
    for index in 0..FAST_REQUESTS {
        let answer = peers[index % 2].get("/heartbeat/1024");
        assert!(answer.is_payload(1024), "{answer:?}");
        deadline.check("the requests of the fast clients");
    }
}

#[test]
fn thousands_of_resets_within_an_answer_leave_nothing_behind() {
    for driver in drivers() {
        let mut program = start(driver, &["--threads", "2"]);
        let baseline = Baseline::of(&program);
        thread::scope(|scope| {
            for client in 0..CLIENTS {
                let program = &program;
                scope.spawn(move || {
                    for index in 0..RESETS / CLIENTS {
                        let mut peer = program.connect();
                        for _ in 0..=index % 3 {
                            peer.send(request("GET", "/heartbeat/1048576"));
                        }
                        // A close with unread bytes sends a reset.
                        let part = (index * 7919 + client) % 100_000;
                        peer.stream().read_exact(&mut vec![0; part]).expect("an answer");
                    }
                });
            }
        });
        eventually("most are counted", || ended(&program, "aborted") > RESETS as u64 / 2);
        baseline.check(&mut program);
    }
}

#[test]
fn a_half_closed_peer_gets_the_answers_it_has_asked_for() {
    for driver in drivers() {
        let mut program = start(driver, &[]);
        let baseline = Baseline::of(&program);
        for bytes in [17, 65536, 1 << 20] {
            for count in [1, 5] {
                let mut peer = program.connect();
                let one = request("GET", &format!("/heartbeat/{bytes}"));
                peer.send(one.repeat(count));
                peer.end_sending();
                for _ in 0..count {
                    assert!(peer.answer().is_payload(bytes));
                }
                peer.expect_end();
            }
        }
        // An incomplete request has no answer.
        let whole = request("GET", "/heartbeat/17");
        for length in 0..whole.len() {
            let mut peer = program.connect();
            peer.send(&whole[..length]);
            peer.end_sending();
            peer.expect_end();
        }
        baseline.check(&mut program);
    }
}

#[test]
fn garbage_ends_its_own_connection_only() {
    for driver in drivers() {
        let mut program = start(driver, &["--threads", "2"]);
        let baseline = Baseline::of(&program);
        let mut state = 88_172_645_463_325_252_u64;
        for _ in 0..1000 {
            let mut garbage = Vec::new();
            for _ in 0..=state % 300 {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                garbage.push(state as u8);
            }
            let mut peer = program.connect();
            peer.send(&garbage);
            peer.end_sending();
            let bytes = peer.read_to_end().len();
            assert!(bytes < 512, "{bytes} bytes to {garbage:?}");
        }
        baseline.check(&mut program);
    }
}

fn slow_peers(program: &Program) -> Vec<Client> {
    (0..SLOW_PEERS).map(|_| program.connect()).collect()
}

/// Sends the first bytes of a head one by one, at most 60 of them; none becomes complete.
fn trickle(peers: &mut [Client], bytes: usize) {
    let head = request("GET", "/heartbeat/17?who=a-peer-that-takes-all-the-time-there-is");
    for byte in &head.as_bytes()[..bytes] {
        for peer in &mut *peers {
            // The server may have ended the connection.
            let _ = peer.try_send([*byte]);
        }
        thread::sleep(Duration::from_millis(40));
    }
}

#[test]
fn slow_heads_get_a_408_and_delay_no_client() {
    at_once(drivers(), |driver| {
        // The timeout is longer than this test waits, so that a worker that waits for one of the
        // slow peers is noticed.
        let program = start(driver, &["--threads", "2", "--header-timeout", "10m"]);
        let mut peers = slow_peers(&program);
        thread::scope(|scope| {
            scope.spawn(|| trickle(&mut peers, 60));
            assert_not_held_up(&program);
        });
        drop((peers, program));

        let mut program = start(driver, &["--threads", "2", "--header-timeout", "5s"]);
        let baseline = Baseline::of(&program);
        let mut peers = slow_peers(&program);
        // This takes a second, so that the peers wait for their answers when they come.
        trickle(&mut peers, 25);
        for peer in &mut peers {
            let answer = peer.answer();
            assert!(answer.status == 408 && answer.closes(), "{answer:?}");
            peer.expect_end();
        }
        drop(peers);
        baseline.check(&mut program);
        assert_eq!(ended(&program, "header_timeout"), SLOW_PEERS as u64);
    });
}

#[test]
fn slow_readers_of_a_gigabyte_delay_no_client_and_hold_no_memory() {
    for driver in drivers() {
        let mut program = start(driver, &["--threads", "2", "--max", "1G"]);
        let baseline = Baseline::of(&program);
        let mut peers: Vec<_> = (0..SLOW_READERS).map(|_| program.connect()).collect();
        for peer in &mut peers {
            peer.send(request("GET", "/heartbeat/1073741824"));
            peer.head();
        }
        thread::scope(|scope| {
            let fast = scope.spawn(|| assert_not_held_up(&program));
            while !fast.is_finished() {
                for peer in &mut peers {
                    peer.stream().read_exact(&mut [0; 4096]).expect("the answer goes on");
                }
                thread::sleep(Duration::from_millis(5));
            }
        });
        let growth = program.status_kib("VmRSS").saturating_sub(baseline.resident_kib);
        assert!(growth <= MEMORY_KIB_MAX, "{growth} KiB for {SLOW_READERS} slow readers");
        drop(peers);
        baseline.check(&mut program);
    }
}

#[test]
fn without_descriptors_it_waits_and_resumes_when_they_return() {
    for driver in drivers() {
        let mut program = Program::start(serving(&["--threads", "2", "--io", driver]));
        let descriptors = program.descriptors();
        // The program has read its limit at the start, and does not know this lower one.
        program.process().limit(libc::RLIMIT_NOFILE, 64);
        let mut peers: Vec<_> = (0..150).map(|_| program.connect()).collect();
        for peer in &mut peers {
            peer.send(request("GET", "/heartbeat/17"));
        }
        // The program may have inherited a descriptor above the limit.
        eventually("no descriptor is left", || program.descriptors() >= 64);
        program.process().expect_sleeping_workers();
        program.assert_is_running();
        assert_eq!(program.workers(), 2);
        // Each peer that is served frees a descriptor for the next one.
        eventually("everyone is served", || {
            peers.retain_mut(|peer| {
                let stream = peer.stream();
                stream.set_read_timeout(Some(Duration::from_millis(1))).expect("SO_RCVTIMEO");
                if stream.peek(&mut [0]).is_err() {
                    return true;
                }
                stream.set_read_timeout(Some(PATIENCE)).expect("SO_RCVTIMEO");
                assert!(peer.answer().is_payload(17));
                false
            });
            peers.is_empty()
        });
        eventually("descriptors are closed", || program.descriptors() <= descriptors);
        assert!((0..50).all(|_| program.get("/heartbeat/17").is_payload(17)));
        assert_eq!(program.workers(), 2);
    }
}

#[test]
fn connections_above_the_maximum_get_a_503() {
    at_once(drivers(), |driver| {
        let mut program = start(driver, &["--threads", "2", "--max-connections", "10"]);
        let mut served: Vec<_> = (0..10).map(|_| program.connect()).collect();
        for peer in &mut served {
            assert!(peer.get("/heartbeat/17").is_payload(17));
        }
        for _ in 0..EXCESS_ROUNDS {
            // They ask for nothing, so each gets its answer a moment later.
            let mut excess: Vec<_> = (0..EXCESS).map(|_| program.connect()).collect();
            for peer in &mut excess {
                let answer = peer.answer();
                assert!(answer.status == 503 && answer.closes(), "{answer:?}");
                peer.expect_end();
            }
        }
        for peer in &mut served {
            assert!(peer.get("/heartbeat/17").is_payload(17));
        }
        drop(served);
        let is_served = |peer: &mut Client| {
            peer.try_get("/heartbeat/17").is_ok_and(|answer| answer.is_payload(17))
        };
        eventually("places are free", || is_served(&mut program.connect()));
        program.assert_is_running();
    });
}

#[test]
fn an_idle_connection_has_the_idle_timeout_and_not_that_of_a_head() {
    at_once(drivers(), |driver| {
        let program = start(driver, &["--header-timeout", "2s", "--idle-timeout", "10m"]);
        let mut silent = program.connect();
        let mut idle = program.connect();
        assert!(idle.get("/heartbeat/17").is_payload(17));
        // A connection that has sent nothing has the time limit of a head.
        silent.expect_end();
        assert!(ended(&program, "idle_timeout") == 0);
        assert!(idle.get("/heartbeat/17").is_payload(17));
        let program = start(driver, &["--header-timeout", "10m", "--idle-timeout", "200ms"]);
        let mut idle = program.connect();
        assert!(idle.get("/heartbeat/17").is_payload(17));
        idle.expect_end();
        eventually("it is counted", || ended(&program, "idle_timeout") >= 1);
    });
}

#[test]
fn a_stalled_body_is_ended_in_both_directions() {
    at_once(drivers(), |driver| {
        let options = ["--threads", "1", "--max", "1G", "--stall-timeout", "2s"];
        let mut program = start(driver, &options);
        let baseline = Baseline::of(&program);
        let mut reader = program.connect();
        reader.send(request("GET", &format!("/heartbeat/{LONG}")));
        let mut uploader = program.connect();
        let head = "POST /heartbeat/17 HTTP/1.1\r\nHost: test\r\nContent-Length: 100000\r\n\r\nabc";
        uploader.send(head);
        let answer = uploader.answer();
        assert!(answer.status == 408 && answer.closes(), "{answer:?}");
        uploader.expect_end();
        drop(uploader);
        eventually("both are counted", || ended(&program, "stall_timeout") == 2);
        let rest = reader.stream().read_to_end(&mut Vec::new());
        assert!(rest.is_err() || rest.is_ok_and(|bytes| (bytes as u64) < LONG));
        drop(reader);
        baseline.check(&mut program);
    });
}

/// More connections than the completion queue of a worker has entries.
const LEAVING: usize = 5000;

#[test]
fn thousands_of_peers_that_leave_at_once_delay_no_client() {
    limit_own(libc::RLIMIT_NOFILE, u64::MAX);
    for driver in drivers() {
        let program = start(driver, &["--threads", "1"]);
        let mut peers = Vec::new();
        for _ in 0..LEAVING {
            let mut peer = program.connect();
            assert!(peer.get("/heartbeat/17").is_payload(17));
            peer.free_buffer();
            peers.push(peer);
        }
        drop(peers);
        assert!(program.get("/heartbeat/17").is_payload(17));
        eventually("they are gone", || program.metric("heartbeat_connections") < 2.0);
        program.process().expect_sleeping_workers();
    }
}
