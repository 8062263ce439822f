//! No descriptor and no thread is leaked, whatever peers do and however servers end.

mod support;

use std::fs;
use std::io::Read;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use heartbeat_runtime::{Config, Driver, Server, StartError};
use socket2::SockRef;
use support::{Client, each_tier, each_tier_with, eventually, narrow, request};

/// Connections that are broken off, per way to break them off.
const BREAKS: usize = 1000;

/// Only one test runs at a time, because each counts what the whole process has.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

fn count(directory: &str) -> usize {
    fs::read_dir(directory).expect("procfs").count()
}

fn descriptors() -> usize {
    count("/proc/self/fd")
}

/// Threads of servers in this process, and the kernel's workers for io_uring (`iou-`). The test
/// runner starts and ends threads of its own at any time.
fn threads() -> usize {
    let tasks = fs::read_dir("/proc/self/task").expect("procfs").flatten();
    let name =
        |task: fs::DirEntry| fs::read_to_string(task.path().join("comm")).unwrap_or_default();
    tasks.map(name).filter(|name| name.starts_with("worker-") || name.starts_with("iou-")).count()
}

/// What the process has before a test, and must have after it.
struct Before {
    descriptors: usize,
    threads: usize,
}

impl Before {
    fn new() -> Self {
        Self { descriptors: descriptors(), threads: threads() }
    }

    #[track_caller]
    fn expect_again(&self) {
        eventually("the descriptors are closed", || descriptors() <= self.descriptors);
        eventually("the threads have ended", || threads() <= self.threads);
    }
}

fn reset(client: Client) {
    SockRef::from(client.stream()).set_linger(Some(Duration::ZERO)).expect("SO_LINGER");
}

#[test]
fn servers_one_after_the_other_leave_nothing() {
    let _alone = alone();
    let before = Before::new();
    for round in 0..10 {
        let two_workers = |config: &mut Config| config.threads = Some(2);
        for server in each_tier_with(two_workers) {
            let mut client = Client::connect(server.address());
            assert_eq!(client.get("/heartbeat/1048576").status, 200);
            let mut stuck = narrow(&server);
            stuck.send(request("GET", "/heartbeat/1048576").repeat(3));
            match round % 3 {
                // In the middle of an answer.
                0 => drop(server),
                1 => {
                    drop((client, stuck));
                    server.stop();
                    server.expect_finish(support::PATIENCE);
                }
                _ => {
                    server.stop();
                    server.stop();
                    server.expect_finish(support::PATIENCE);
                }
            }
        }
    }
    before.expect_again();
}

#[test]
fn starts_that_fail_leave_nothing() {
    let _alone = alone();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let before = Before::new();
    for _ in 0..20 {
        for (io, threads) in [(None, 1), (Some(Driver::Epoll), 2)] {
            let wanted = support::config(io, None);
            let error = Server::start(Config { port, threads: Some(threads), ..wanted });
            assert!(
                matches!(error, Err(StartError::Bind { address, .. }) if address.port() == port)
            );
        }
    }
    before.expect_again();
}

#[test]
fn connections_that_are_broken_off_leave_nothing() {
    let _alone = alone();
    for server in each_tier() {
        let mut steady = Client::connect(server.address());
        assert_eq!(steady.get("/heartbeat/17").status, 200);
        let before = Before::new();
        let large = request("GET", "/heartbeat/1048576");
        for attempt in 0..BREAKS {
            // Reset in the middle of an answer, of which a part or nothing has been read.
            let mut client = Client::connect(server.address());
            client.send(large.repeat(8));
            if attempt % 2 == 0 {
                client.stream().read_exact(&mut [0; 5000]).unwrap();
            }
            reset(client);
            // Closed in the middle of an answer, of a head, of a body, and before anything.
            let start = [&large, "GET /", "POST /heartbeat/1 HTTP/1.1\r\nHost: a\r\n", ""];
            let mut client = Client::connect(server.address());
            client.send(start[attempt % 4]);
            if attempt % 3 == 0 {
                reset(client);
            }
            assert_eq!(steady.get("/heartbeat/17").status, 200);
        }
        before.expect_again();
        assert_eq!(steady.get("/heartbeat/1048576").status, 200);
        steady.finish();
    }
}

#[test]
fn answered_connections_leave_nothing() {
    let _alone = alone();
    for server in each_tier() {
        assert_eq!(Client::connect(server.address()).get("/heartbeat/17").status, 200);
        eventually("only the server is left", || {
            let now = descriptors();
            std::thread::sleep(Duration::from_millis(50));
            now == descriptors()
        });
        let before = Before::new();
        for attempt in 0..BREAKS {
            let mut client = Client::connect(server.address());
            let path = ["/heartbeat/17", "/heartbeat/300000", "/nowhere"][attempt % 3];
            let fields = ["", "Connection: close\r\n", "Bad : field\r\n"][attempt % 3];
            client.send(format!("GET {path} HTTP/1.1\r\nHost: test\r\n{fields}\r\n"));
            assert!(client.answer().status != 503);
        }
        before.expect_again();
    }
}
