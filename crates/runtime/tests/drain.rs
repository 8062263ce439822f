//! A server ends in this order: it is not ready and still serves, then it finishes work in flight.

mod support;

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use heartbeat_runtime::Config;
use support::{
    Client, PATIENCE, Served, each_driver_with, each_tier_with, eventually, narrow, request,
};

/// A drain that lasts longer than any test. All time limits are longer than a test waits, so none
/// of them can end what the test waits for.
fn endless(config: &mut Config) {
    config.header_timeout = 10 * PATIENCE;
    config.idle_timeout = 10 * PATIENCE;
    config.stall_timeout = 10 * PATIENCE;
    config.drain_delay = 10 * PATIENCE;
    config.drain_timeout = 10 * PATIENCE;
}

/// A drain that takes as long as the work in flight.
fn patient(config: &mut Config) {
    endless(config);
    config.drain_delay = Duration::ZERO;
}

fn get(bytes: u64) -> String {
    request("GET", &format!("/heartbeat/{bytes}"))
}

/// Waits until the port refuses connections.
fn expect_closed(address: SocketAddr) {
    eventually("the port refuses connections", || {
        // While the queue empties, a new connection gets no answer, which is not an error yet.
        match TcpStream::connect_timeout(&address, Duration::from_millis(100)) {
            Err(error) => error.kind() == ErrorKind::ConnectionRefused,
            Ok(_) => false,
        }
    });
}

#[test]
fn a_server_without_connections_ends_at_once() {
    for server in each_driver_with(patient) {
        assert!(!server.is_finished());
        server.stop();
        server.expect_finish(PATIENCE);
    }
    for server in each_driver_with(patient) {
        Client::connect(server.address()).get("/heartbeat/1048576");
        server.stop();
        server.expect_finish(PATIENCE);
    }
}

#[test]
fn idle_connections_do_not_delay_the_end() {
    for server in each_driver_with(patient) {
        let mut fresh = Client::connect(server.address());
        let mut used: Vec<_> = (0..20).map(|_| Client::connect(server.address())).collect();
        for client in &mut used {
            assert!(!client.get("/heartbeat/17").closes());
        }
        server.stop();
        for mut client in used {
            client.expect_end();
        }
        // This one has sent no request yet, and still may.
        fresh.send(get(17));
        assert!(fresh.answer().closes());
        fresh.expect_end();
        drop(fresh);
        server.expect_finish(PATIENCE);
    }
}

#[test]
fn a_server_that_drains_is_not_ready_and_still_serves() {
    for server in each_driver_with(endless) {
        let mut client = Client::connect(server.address());
        assert_eq!(client.get_text("/readyz").1, "Ready\n");
        server.stop();
        eventually("the worker has heard of it", || {
            Client::connect(server.address()).get("/readyz").closes()
        });
        for path in ["/readyz", "/heartbeat/readyz"] {
            let mut probe = Client::connect(server.address());
            let head = probe.get(path);
            assert_eq!((head.status, head.closes()), (503, true));
            probe.expect_end();
        }
        let (head, text) = Client::connect(server.address()).get_text("/healthz");
        assert_eq!((head.status, text.as_str(), head.closes()), (200, "Pass\n", true));
        for bytes in [17, 4096, 1 << 20] {
            let mut late = Client::connect(server.address());
            late.send(get(bytes) + &get(16));
            let head = late.answer();
            assert_eq!((head.status, head.content_length(), head.closes()), (200, bytes, true));
            late.expect_end();
        }
        // The next answer on an older connection announces the end.
        assert!(client.get("/heartbeat/17").closes());
        client.expect_end();
        assert!(!server.is_finished());
        server.stop();
        server.expect_finish(PATIENCE);
    }
}

#[test]
fn an_answer_in_flight_is_sent_to_its_end() {
    for server in each_tier_with(patient) {
        let address = server.address();
        let mut slow: Vec<_> = [4000, 70_000, 1 << 20].map(|bytes| (narrow(&server), bytes)).into();
        for (client, bytes) in &mut slow {
            client.send(get(*bytes).repeat(20));
            assert_eq!(client.head().content_length(), *bytes);
        }
        server.stop();
        expect_closed(address);
        assert!(!server.is_finished());
        for (client, bytes) in &mut slow {
            client.payload(*bytes);
            // Earlier requests are answered, up to the answer that closes the connection.
            while !client.answer().closes() {}
            client.expect_end();
        }
        drop(slow);
        server.expect_finish(PATIENCE);
    }
}

#[test]
fn an_upload_in_flight_is_read_to_its_end() {
    for server in each_driver_with(patient) {
        let mut client = Client::connect(server.address());
        let head =
            |fields| format!("POST /heartbeat/17 HTTP/1.1\r\nHost: test\r\n{fields}\r\n\r\n");
        client.send(head("Content-Length: 2000000\r\nExpect: 100-continue"));
        client.expect(b"HTTP/1.1 100 Continue\r\n\r\n");
        let mut chunks = Client::connect(server.address());
        chunks.send(head("Transfer-Encoding: chunked\r\nExpect: 100-continue"));
        chunks.expect(b"HTTP/1.1 100 Continue\r\n\r\n");
        server.stop();
        expect_closed(server.address());
        client.send(vec![0; 2_000_000]);
        chunks.send("3\r\nabc\r\n0\r\n\r\n");
        for client in [&mut client, &mut chunks] {
            let head = client.answer();
            assert_eq!((head.status, head.closes()), (200, true));
            client.expect_end();
        }
        drop((client, chunks));
        server.expect_finish(PATIENCE);
    }
}

#[test]
fn no_connection_in_the_queue_is_reset() {
    for workers in [1, 2] {
        let adjust = |config: &mut Config| {
            patient(config);
            config.threads = Some(workers);
        };
        for server in each_driver_with(adjust) {
            let address = server.address();
            let answered = AtomicUsize::new(0);
            let crowd = || {
                // The listener leaves a late SYN unanswered, and later refuses it.
                let limit = Duration::from_secs(1);
                while let Ok(stream) = TcpStream::connect_timeout(&address, limit) {
                    let mut client = Client::over(stream);
                    client.send(get(17));
                    assert_eq!(client.answer().status, 200);
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            };
            thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(crowd);
                }
                eventually("there is a crowd", || answered.load(Ordering::Relaxed) > 200);
                server.stop();
            });
            server.expect_finish(PATIENCE);
        }
    }
}

/// A client that never reads its answer, one inside a head, one inside a body, and one idle.
fn stuck(server: &Served) -> [Client; 4] {
    let mut clients = [(); 4].map(|()| narrow(server));
    clients[0].send(get(1 << 20).repeat(3));
    clients[1].send("GET /heartb");
    clients[2].send("POST /heartbeat/17 HTTP/1.1\r\nHost: test\r\nContent-Length: 9\r\n\r\nabc");
    clients
}

#[test]
fn a_second_stop_ends_connections_that_the_first_waits_for() {
    for adjust in [endless, patient] {
        for server in each_tier_with(adjust) {
            let clients = stuck(&server);
            server.stop();
            thread::sleep(Duration::from_millis(50));
            assert!(!server.is_finished());
            server.stop();
            server.expect_finish(PATIENCE);
            drop(clients);
        }
    }
}

#[test]
fn the_drain_timeout_ends_connections_without_progress() {
    let adjust = |config: &mut Config| {
        patient(config);
        config.drain_timeout = Duration::from_millis(200);
    };
    for server in each_tier_with(adjust) {
        let clients = stuck(&server);
        server.stop();
        server.expect_finish(PATIENCE);
        drop(clients);
    }
}

/// Kubernetes kills a process that takes longer than the grace period of its pod, so the sum of
/// both times must be enough.
#[test]
fn a_drain_takes_no_longer_than_its_configuration_allows() {
    let adjust = |config: &mut Config| {
        endless(config);
        config.drain_delay = Duration::from_secs(1);
        config.drain_timeout = Duration::from_secs(1);
    };
    for server in each_driver_with(adjust) {
        let clients = stuck(&server);
        server.stop();
        server.expect_finish(PATIENCE);
        drop(clients);
    }
}

#[test]
fn dropping_a_server_ends_it_at_once() {
    for server in each_tier_with(endless) {
        let address = server.address();
        let clients = stuck(&server);
        let (ended, end) = std::sync::mpsc::channel();
        let dropper = thread::spawn(move || {
            drop(server);
            ended.send(()).expect("a test that waits");
        });
        end.recv_timeout(PATIENCE).expect("an end");
        dropper.join().expect("no panic");
        let refused = TcpStream::connect(address).expect_err("a closed port");
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
        drop(clients);
    }
}
