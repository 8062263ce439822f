//! Many requests on one connection, split anywhere: all are answered, in order.

mod support;

use std::thread;
use std::time::Duration;

use support::{Client, each_driver, each_tier, request};

fn get(bytes: u64) -> String {
    request("GET", &format!("/heartbeat/{bytes}"))
}

#[test]
fn a_thousand_requests_in_one_write_are_answered_in_order() {
    for server in each_driver() {
        let mut client = Client::connect(server.address());
        client.send((1..=1000).map(get).collect::<String>());
        for bytes in 1..=1000 {
            assert_eq!(client.answer().content_length(), bytes);
        }
        client.send(get(17).repeat(1000));
        for _ in 0..1000 {
            assert_eq!(client.answer().content_length(), 17);
        }
        client.finish();
    }
}

#[test]
fn pipelined_answers_of_any_size_come_in_order() {
    const SIZES: [u64; 12] =
        [1, 65_537, 17, 4096, 4097, 1 << 20, 1, 65_536, 8192, 999_999, 1, 131_073];
    for server in each_tier() {
        let mut client = Client::connect(server.address());
        for _ in 0..8 {
            let requests: String = SIZES.map(get).concat();
            client.send(requests + &request("HEAD", "/heartbeat/1048576"));
            for bytes in SIZES {
                let head = client.answer();
                assert_eq!((head.status, head.content_length()), (200, bytes));
            }
            assert_eq!(client.head().content_length(), 1 << 20);
        }
        client.finish();
    }
}

/// A session answers large requests, and then the connection goes back to the lane without a read.
/// Requests that arrive before, meanwhile and after must be found all the same.
#[test]
fn requests_around_a_large_one_are_found_whenever_they_arrive() {
    for server in each_driver() {
        let mut client = Client::connect(server.address());
        // More than one read, in which the large request is the first, a middle one and the last.
        for before in [0, 300, 2000] {
            let after = 2000 - before;
            client.send(get(17).repeat(before) + &get(70_000) + &get(18).repeat(after));
            (0..before).for_each(|_| assert_eq!(client.answer().content_length(), 17));
            assert_eq!(client.answer().content_length(), 70_000);
            (0..after).for_each(|_| assert_eq!(client.answer().content_length(), 18));
        }
        for round in 0..500 {
            client.send(get(20_000 + round));
            client.send(get(1 + round));
            assert_eq!(client.answer().content_length(), 20_000 + round);
            client.send(get(70_000));
            assert_eq!(client.answer().content_length(), 1 + round);
            assert_eq!(client.answer().content_length(), 70_000);
        }
        client.finish();
    }
}

#[test]
fn a_half_close_after_a_large_request_is_noticed() {
    for server in each_driver() {
        for round in 0..100 {
            let mut client = Client::connect(server.address());
            client.send(get(20_000 + round));
            if round % 2 == 0 {
                assert_eq!(client.answer().content_length(), 20_000 + round);
                client.send(get(70_000));
            }
            client.end_sending();
            client.answer();
            client.expect_end();
        }
    }
}

#[test]
fn refusals_and_texts_keep_their_place_among_payloads() {
    for server in each_driver() {
        let mut client = Client::connect(server.address());
        let paths = ["/heartbeat/0", "/heartbeat/17", "/nowhere", "/", "/heartbeat/70000"];
        let requests = paths.map(|path| request("GET", path)).concat();
        client.send((requests + &request("OPTIONS", "*")).repeat(50));
        for _ in 0..50 {
            for status in [400, 200, 404, 301, 200, 204] {
                assert_eq!(client.answer().status, status);
            }
        }
        client.send(request("GET", "/healthz").repeat(3) + &get(17));
        for _ in 0..3 {
            let head = client.head();
            client.expect(b"Pass\n");
            assert_eq!(head.content_length(), 5);
        }
        assert_eq!(client.answer().content_length(), 17);
        client.finish();
    }
}

#[test]
fn what_follows_a_malformed_request_is_never_answered() {
    for server in each_driver() {
        let mut client = Client::connect(server.address());
        let malformed = "GET /heartbeat/18 HTTP/1.1\r\nHost : test\r\n\r\n";
        client.send(get(17).repeat(3) + &get(100_000) + malformed + &get(19).repeat(1000));
        for bytes in [17, 17, 17, 100_000] {
            assert_eq!(client.answer().content_length(), bytes);
        }
        let head = client.answer();
        assert_eq!((head.status, head.closes()), (400, true));
        client.expect_end();
    }
}

#[test]
fn requests_before_a_half_close_are_all_answered() {
    for server in each_tier() {
        for bytes in [17, 1 << 20] {
            let mut client = Client::connect(server.address());
            client.send(get(bytes).repeat(20) + "GET /heartb");
            client.end_sending();
            for _ in 0..20 {
                assert_eq!(client.answer().content_length(), bytes);
            }
            client.expect_end();
        }
    }
}

#[test]
fn requests_that_arrive_byte_by_byte_are_answered() {
    for server in each_driver() {
        let mut client = Client::connect(server.address());
        for bytes in [17, 70_000] {
            for byte in (get(bytes) + &get(bytes + 1)).into_bytes() {
                client.send([byte]);
            }
            assert_eq!(client.answer().content_length(), bytes);
            assert_eq!(client.answer().content_length(), bytes + 1);
        }
        client.finish();
    }
}

#[test]
fn a_head_split_anywhere_is_the_same_head() {
    for server in each_driver() {
        let mut client = Client::connect(server.address());
        let two = get(17) + &request("HEAD", "/heartbeat/18");
        for position in 1..two.len() {
            client.send(&two[..position]);
            // There is no condition to wait for: a pause only makes two reads of the server likely.
            thread::sleep(Duration::from_millis(1));
            client.send(&two[position..]);
            assert_eq!(client.answer().content_length(), 17, "split at {position}");
            assert_eq!(client.head().content_length(), 18, "split at {position}");
        }
        client.finish();
    }
}

#[test]
fn a_head_of_the_greatest_length_is_answered_and_one_byte_more_is_431() {
    const HEAD_BYTES_MAX: usize = heartbeat_protocol::limits::HEAD_BYTES_MAX;
    for server in each_driver() {
        let head_of = |bytes: usize| {
            let start = "GET /heartbeat/17 HTTP/1.1\r\nHost: test\r\nX: ";
            format!("{start}{}\r\n\r\n", "x".repeat(bytes - start.len() - 4))
        };
        let mut client = Client::connect(server.address());
        for _ in 0..3 {
            client.send(get(17) + &head_of(HEAD_BYTES_MAX) + &get(17));
            for _ in 0..3 {
                assert_eq!(client.answer().status, 200);
            }
        }
        client.send(head_of(HEAD_BYTES_MAX + 1) + &get(17));
        let head = client.answer();
        assert_eq!((head.status, head.closes()), (431, true));
        client.expect_end();
    }
}
