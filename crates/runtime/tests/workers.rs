//! Several workers: all serve, all take part, and none spins while there is nothing to do.

mod support;

use std::sync::{Mutex, MutexGuard};
use std::thread;

use heartbeat_runtime::Config;
use heartbeat_testkit::Process;
use support::{Client, each_driver_with, each_tier_with, narrow, of_each_worker, request, waits};

/// Only one test runs at a time, because each looks at the threads of the whole process.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

fn two_workers(config: &mut Config) {
    config.threads = Some(2);
}

#[test]
fn sixty_four_connections_get_every_answer_and_both_workers_answer() {
    const CONNECTIONS: usize = 64;
    const ROUNDS: usize = 50;
    let _alone = alone();
    for server in each_driver_with(two_workers) {
        assert_eq!(server.report().threads, 2);
        let before = of_each_worker(waits);
        assert_eq!(before.len(), 2, "{before:?}");
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    let connect = |_| Client::connect(server.address());
                    let mut clients: Vec<_> = (0..CONNECTIONS / 2).map(connect).collect();
                    for round in 0..ROUNDS {
                        let bytes = [17, 1024, 65_536, 300_000][round % 4];
                        let asked = request("GET", &format!("/heartbeat/{bytes}"));
                        clients.iter_mut().for_each(|client| client.send(&asked));
                        for client in &mut clients {
                            let head = client.answer();
                            assert_eq!((head.status, head.content_length()), (200, bytes));
                        }
                    }
                    clients.into_iter().for_each(Client::finish);
                });
            }
        });
        let after = of_each_worker(waits);
        for ((name, before), (_, after)) in before.iter().zip(&after) {
            assert!(after - before > 10, "{name} took no part: {before} waits, then {after}");
        }
    }
}

#[test]
fn as_many_workers_as_configured_serve_on_fewer_cpus() {
    let _alone = alone();
    for server in each_driver_with(|config| config.threads = Some(8)) {
        assert_eq!(of_each_worker(waits).len(), 8);
        let mut clients: Vec<_> = (0..100).map(|_| Client::connect(server.address())).collect();
        for client in &mut clients {
            assert_eq!(client.get("/heartbeat/100000").status, 200);
        }
        clients.into_iter().for_each(Client::finish);
        server.stop();
        server.expect_finish(support::PATIENCE);
    }
}

#[test]
fn no_connection_makes_an_idle_worker_spin() {
    let _alone = alone();
    for server in each_tier_with(two_workers) {
        let send = |text: &str| {
            let mut client = narrow(&server);
            client.send(text);
            client
        };
        let post = "POST /heartbeat/17 HTTP/1.1\r\nHost: test\r\nContent-Length: 999999\r\n\r\n";
        let large = request("GET", "/heartbeat/1048576");
        let starts = ["", "GET /", post, &(post.to_owned() + "abc"), &large, &large.repeat(9)];
        let clients: Vec<_> = starts.into_iter().map(send).collect();
        // Half-closed by the peer while its socket accepts no answer.
        let halves: Vec<_> = (1..5).map(|count| send(&large.repeat(count))).collect();
        halves.iter().for_each(Client::end_sending);
        // Half-closed by the server.
        let refused = send("BAD\r\n\r\n");
        let fresh = Client::connect(server.address());
        Process(std::process::id()).expect_sleeping_workers();
        drop((clients, halves, refused, fresh));
    }
}
