//! Every limit of connections or time ends what exceeds it, and nothing else.

mod support;

use std::io::{ErrorKind, Read, Write};
use std::thread;
use std::time::Duration;

use heartbeat_protocol::Site;
use heartbeat_runtime::Config;
use heartbeat_testkit::limit_own;
use support::{
    Client, Deadline, PATIENCE, at_once, each_driver_with, each_tier_with, eventually, narrow,
    request,
};

/// A limit that a test waits for, and that nothing has to keep to.
const SOON: Duration = Duration::from_millis(200);

/// A limit that a test waits for, and that its next request keeps to, even on a busy machine.
const LATER: Duration = Duration::from_secs(2);

/// A limit that a peer keeps to by one step per [`PACE`], even on a busy machine.
const AMPLE: Duration = Duration::from_secs(2);
const PACE: Duration = Duration::from_millis(100);

/// Steps that take longer than [`AMPLE`] all together.
const STEPS: u32 = 25;

/// Connections above the maximum: fewer than the server answers at a time, and more than twice as
/// many. Those that have to wait for their place get it once others have had their time.
const CROWDS: [usize; 2] = [200, 600];

/// Descriptors for both ends of these connections, which are in this process.
const DESCRIPTORS: u64 = 8192;

/// A configuration in which only the limit that `adjust` sets can be exceeded.
fn only(adjust: impl Fn(&mut Config)) -> impl Fn(&mut Config) {
    move |config| {
        config.header_timeout = 10 * PATIENCE;
        config.idle_timeout = 10 * PATIENCE;
        config.stall_timeout = 10 * PATIENCE;
        adjust(config);
    }
}

#[test]
fn connections_up_to_the_maximum_are_served_and_one_more_is_503() {
    for server in each_driver_with(|config| config.max_connections = Some(3)) {
        let connect = || Client::connect(server.address());
        let mut clients: Vec<_> = (0..3).map(|_| connect()).collect();
        for client in &mut clients {
            assert_eq!(client.get("/heartbeat/17").status, 200);
        }
        let mut silent = connect();
        let head = silent.answer();
        assert_eq!((head.status, head.closes()), (503, true));
        silent.expect_end();
        drop(silent);
        let mut asking = connect();
        asking.send(request("GET", "/heartbeat/17"));
        assert_eq!(asking.answer().status, 503);
        asking.expect_end();
        drop(asking);

        for client in &mut clients {
            assert_eq!(client.get("/heartbeat/17").status, 200);
        }
        clients.pop().expect("three").finish();
        eventually("a place is free", || connect().get("/heartbeat/17").status == 200);
    }
}

#[test]
fn many_connections_above_the_maximum_get_503_and_take_no_place() {
    limit_own(libc::RLIMIT_NOFILE, DESCRIPTORS);
    for server in each_driver_with(|config| config.max_connections = Some(2)) {
        let connect = || Client::connect(server.address());
        let mut clients: Vec<_> = (0..2).map(|_| connect()).collect();
        for client in &mut clients {
            assert_eq!(client.get("/heartbeat/17").status, 200);
        }
        let asking = request("GET", "/heartbeat/17");
        for asked in ["", &asking] {
            for count in CROWDS {
                let mut crowd: Vec<_> = (0..count).map(|_| connect()).collect();
                for excess in &mut crowd {
                    excess.send(asked);
                }
                for excess in &mut crowd {
                    let head = excess.answer();
                    assert_eq!((head.status, head.closes()), (503, true), "of {count}: {asked:?}");
                    excess.expect_end();
                    excess.free_buffer();
                }
                for client in &mut clients {
                    assert_eq!(client.get("/heartbeat/17").status, 200);
                }
            }
        }
        clients.pop().expect("two").finish();
        eventually("a place is free", || connect().get("/heartbeat/17").status == 200);
    }
}

#[test]
fn a_head_that_is_not_whole_in_time_is_408() {
    at_once(each_driver_with(only(|config| config.header_timeout = LATER)), |server| {
        for is_first in [true, false] {
            let mut client = Client::connect(server.address());
            if !is_first {
                assert_eq!(client.get("/heartbeat/17").status, 200);
            }
            client.send("GET /heartbeat/17 HTTP/1.1\r\nHost: ");
            let head = client.answer();
            assert_eq!((head.status, head.closes()), (408, true));
            client.expect_end();
        }
    });
}

#[test]
fn a_head_that_arrives_byte_by_byte_has_the_same_limit() {
    at_once(each_driver_with(only(|config| config.header_timeout = LATER)), |server| {
        let mut client = Client::connect(server.address());
        client.send("GET /heartbeat/17 HTTP/1.1\r\nHost: ");
        client.stream().set_read_timeout(Some(SOON / 10)).unwrap();
        let deadline = Deadline::new();
        while client.stream().peek(&mut [0]).is_err() {
            deadline.check("a head that trickles in");
            // The server may have closed the connection a moment ago.
            let _ = client.stream().write(b"x");
        }
        client.stream().set_read_timeout(Some(PATIENCE)).unwrap();
        assert_eq!(client.answer().status, 408);
    });
}

#[test]
fn a_connection_without_a_request_is_closed_without_an_answer() {
    for server in each_driver_with(only(|config| config.header_timeout = SOON)) {
        Client::connect(server.address()).expect_end();
    }
}

#[test]
fn a_connection_without_a_further_request_is_closed_without_an_answer() {
    at_once(each_driver_with(only(|config| config.idle_timeout = LATER)), |server| {
        let mut client = Client::connect(server.address());
        for path in ["/heartbeat/17", "/heartbeat/1048576", "/nowhere"] {
            assert!(!client.get(path).closes());
        }
        client.expect_end();
    });
}

#[test]
fn requests_within_the_idle_limit_keep_a_connection_beyond_it() {
    at_once(each_driver_with(only(|config| config.idle_timeout = AMPLE)), |server| {
        let mut client = Client::connect(server.address());
        for _ in 0..STEPS {
            assert_eq!(client.get("/heartbeat/17").status, 200);
            thread::sleep(PACE);
        }
        client.finish();
    });
}

#[test]
fn a_body_without_progress_is_408() {
    at_once(each_driver_with(only(|config| config.stall_timeout = SOON)), |server| {
        for (framing, part) in [
            ("Content-Length: 100", "a part"),
            ("Content-Length: 1000000", "a part"),
            ("Content-Length: 100", ""),
            ("Transfer-Encoding: chunked", "5\r\nabc"),
            ("Transfer-Encoding: chunked", "5\r\nabcde\r\n"),
        ] {
            let mut client = Client::connect(server.address());
            client.send(format!(
                "POST /heartbeat/17 HTTP/1.1\r\nHost: test\r\n{framing}\r\n\r\n{part}"
            ));
            let head = client.answer();
            assert_eq!((head.status, head.closes()), (408, true), "{framing} {part}");
            client.expect_end();
        }
    });
}

/// The server reads a short body before it sends a refusal, so that the connection can stay. If the
/// body stalls, the refusal is still the answer.
#[test]
fn a_refused_body_without_progress_keeps_the_status_of_its_refusal() {
    at_once(each_driver_with(only(|config| config.stall_timeout = SOON)), |server| {
        for (path, status) in [("/nowhere", 404), ("/heartbeat/0", 400), ("/healthz", 405)] {
            for (framing, part) in [
                ("Content-Length: 100", "a part"),
                ("Content-Length: 100", ""),
                ("Content-Length: 65536", "a part"),
                ("Transfer-Encoding: chunked", "5\r\nabc"),
                ("Transfer-Encoding: chunked", "5\r\nabcde\r\n"),
            ] {
                let mut client = Client::connect(server.address());
                client
                    .send(format!("POST {path} HTTP/1.1\r\nHost: test\r\n{framing}\r\n\r\n{part}"));
                let head = client.answer();
                let got = (head.status, head.closes());
                assert_eq!(got, (status, true), "{path}, {framing}, {part:?}");
                client.expect_end();
            }
        }
    });
}

#[test]
fn a_body_that_makes_progress_is_read_however_slowly() {
    at_once(each_driver_with(only(|config| config.stall_timeout = AMPLE)), |server| {
        let mut client = Client::connect(server.address());
        client.send(format!(
            "POST /heartbeat/17 HTTP/1.1\r\nHost: test\r\nContent-Length: {STEPS}\r\n\r\n"
        ));
        for _ in 0..STEPS {
            thread::sleep(PACE);
            client.send("x");
        }
        assert_eq!(client.answer().status, 200);
        client.finish();
    });
}

#[test]
fn an_answer_without_progress_is_reset() {
    let site = Site::new("/heartbeat/", 1, 64 << 20).unwrap();
    let adjust = |config: &mut Config| {
        config.site = site.clone();
        config.stall_timeout = SOON;
    };
    at_once(each_tier_with(only(adjust)), |server| {
        for bytes in [4000, 1 << 20, 64 << 20] {
            let mut client = narrow(&server);
            client.send(request("GET", &format!("/heartbeat/{bytes}")).repeat(100));
            let mut error = None;
            // It does not read, because a read would be progress.
            eventually("the connection is reset", || {
                error = client.stream().take_error().expect("SO_ERROR");
                error.is_some()
            });
            assert_eq!(error.map(|error| error.kind()), Some(ErrorKind::ConnectionReset));
        }
        assert_eq!(Client::connect(server.address()).get("/heartbeat/17").status, 200);
    });
}

#[test]
fn an_answer_that_makes_progress_is_sent_however_slowly() {
    at_once(each_tier_with(only(|config| config.stall_timeout = AMPLE)), |server| {
        let mut client = narrow(&server);
        client.send(request("GET", "/heartbeat/1048576"));
        assert_eq!(client.head().status, 200);
        let step = (1 << 20) / u64::from(STEPS);
        let mut left = client.buffered_payload(1 << 20) as u64;
        while left > 0 {
            thread::sleep(PACE);
            let mut part = Read::take(client.stream(), step.min(left));
            left -= std::io::copy(&mut part, &mut std::io::sink()).unwrap();
        }
        assert_eq!(client.get("/heartbeat/17").status, 200);
        client.finish();
    });
}
