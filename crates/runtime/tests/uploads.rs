//! Uploads of any length and form are read to their last byte. Of a refused upload, enough is read
//! for the client to receive the refusal.

mod support;

use heartbeat_runtime::Config;
use support::{Client, PATIENCE, each_driver, each_driver_with};

/// Bytes of one write of an upload.
const WRITE_BYTES: usize = 256 * 1024;

const MEGABYTE: u64 = 1 << 20;

fn head(method: &str, path: &str, fields: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nHost: test\r\n{fields}\r\n")
}

fn head_with_length(method: &str, path: &str, bytes: u64) -> String {
    head(method, path, &format!("Content-Length: {bytes}\r\n"))
}

fn send_body(client: &mut Client, mut bytes: u64) {
    let zeroes = vec![0; WRITE_BYTES];
    while bytes > 0 {
        let here = bytes.min(WRITE_BYTES as u64);
        client.send(&zeroes[..here as usize]);
        bytes -= here;
    }
}

/// A body of `bytes` bytes in chunks of `chunk_bytes` or less, its last chunk included.
fn chunked(mut bytes: usize, chunk_bytes: usize) -> Vec<u8> {
    let mut body = Vec::new();
    while bytes > 0 {
        let here = bytes.min(chunk_bytes);
        body.extend_from_slice(format!("{here:x}\r\n").as_bytes());
        body.resize(body.len() + here, b'\n');
        body.extend_from_slice(b"\r\n");
        bytes -= here;
    }
    body.extend_from_slice(b"0\r\n\r\n");
    body
}

const CHUNKED: &str = "Transfer-Encoding: chunked\r\n";

/// The answer is 200, and the connection is at the start of the next request.
#[track_caller]
fn assert_answered(client: &mut Client, bytes: u64) {
    let head = client.answer();
    assert_eq!((head.status, head.content_length(), head.closes()), (200, bytes, false));
    assert_eq!(client.get("/heartbeat/16").status, 200);
}

#[test]
fn an_upload_by_length_is_read_to_its_end_and_the_connection_stays() {
    for server in each_driver() {
        let mut client = Client::connect(server.address());
        for bytes in [0, 1, 17, 8191, 8192, 8193, 100 << 10, 50 * MEGABYTE, 100 * MEGABYTE] {
            client.send(head_with_length("POST", "/heartbeat/17", bytes));
            send_body(&mut client, bytes);
            assert_answered(&mut client, 17);
        }
        client.send(head_with_length("PUT", "/heartbeat/1048576", MEGABYTE));
        send_body(&mut client, MEGABYTE);
        assert_answered(&mut client, 1_048_576);
        client.send(head("POST", "/heartbeat/1", ""));
        assert_answered(&mut client, 1);
        client.finish();
    }
}

#[test]
fn an_upload_is_answered_however_many_reads_it_takes() {
    let patient = |config: &mut Config| config.stall_timeout = 10 * PATIENCE;
    for server in each_driver_with(patient) {
        let mut client = Client::connect(server.address());
        for bytes in (50_000..3_000_000).step_by(5_003) {
            client.send(head_with_length("POST", "/heartbeat/17", bytes));
            send_body(&mut client, bytes);
            assert_answered(&mut client, 17);
        }
        client.finish();
    }
}

#[test]
fn an_upload_in_chunks_is_read_to_its_end_and_the_connection_stays() {
    let cases = [(1, 1), (17, 1), (100 << 10, 1), (100 << 10, 7), (1 << 20, 4096)];
    let cases =
        cases.into_iter().chain([(50 << 20, 4096), (50 << 20, 70_000), (100 << 20, 1 << 20)]);
    let cases: Vec<_> = cases.map(|(bytes, chunk)| chunked(bytes, chunk)).collect();
    for server in each_driver() {
        let mut client = Client::connect(server.address());
        for body in &cases {
            client.send(head("PUT", "/heartbeat/17", CHUNKED));
            client.send(body);
            assert_answered(&mut client, 17);
        }
        client.send(head("POST", "/heartbeat/17", CHUNKED) + "0\r\n\r\n");
        assert_answered(&mut client, 17);
        client.send(head("POST", "/heartbeat/17", CHUNKED) + "001;a=b\r\nx\r\n0\r\nT: u\r\n\r\n");
        assert_answered(&mut client, 17);
        client.finish();
    }
}

#[test]
fn an_upload_that_arrives_byte_by_byte_is_answered() {
    for server in each_driver() {
        let mut client = Client::connect(server.address());
        let plain = head_with_length("POST", "/heartbeat/17", 64) + &"\r".repeat(64);
        let in_chunks = head("POST", "/heartbeat/17", CHUNKED).into_bytes();
        for request in [plain.into_bytes(), [in_chunks, chunked(64, 9)].concat()] {
            for byte in request {
                client.send([byte]);
            }
            assert_answered(&mut client, 17);
        }
        client.finish();
    }
}

#[test]
fn pipelined_uploads_are_answered_in_order() {
    for server in each_driver() {
        let mut client = Client::connect(server.address());
        let mut requests = Vec::new();
        for bytes in 1..=200 {
            let path = format!("/heartbeat/{bytes}");
            requests.extend(head_with_length("POST", &path, bytes as u64).into_bytes());
            requests.resize(requests.len() + bytes, b'x');
            requests.extend(head("PUT", &path, CHUNKED).into_bytes());
            requests.extend(chunked(bytes, 13));
        }
        client.send(requests);
        for bytes in 1..=200 {
            for _ in 0..2 {
                let head = client.answer();
                assert_eq!((head.status, head.content_length()), (200, bytes));
            }
        }
        client.finish();
    }
}

#[test]
fn expect_100_continue_is_answered_before_the_body_is_sent() {
    for server in each_driver() {
        let mut client = Client::connect(server.address());
        for bytes in [1, 17, 50 * MEGABYTE] {
            let fields = format!("Content-Length: {bytes}\r\nExpect: 100-continue\r\n");
            client.send(head("POST", "/heartbeat/17", &fields));
            client.expect(b"HTTP/1.1 100 Continue\r\n\r\n");
            send_body(&mut client, bytes);
            assert_answered(&mut client, 17);
        }
        client.send(head("PUT", "/heartbeat/17", &format!("{CHUNKED}Expect: 100-Continue\r\n")));
        client.expect(b"HTTP/1.1 100 Continue\r\n\r\n");
        client.send(chunked(100_000, 4096));
        assert_answered(&mut client, 17);
        client.finish();
    }
}

#[test]
fn expect_100_continue_has_no_meaning_without_a_body_or_in_http_1_0() {
    for server in each_driver() {
        let mut client = Client::connect(server.address());
        client.send(head("GET", "/heartbeat/17", "Expect: 100-continue\r\n"));
        assert_answered(&mut client, 17);
        client.send(
            "POST /heartbeat/17 HTTP/1.0\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\
             Connection: keep-alive\r\n\r\nabc",
        );
        assert_answered(&mut client, 17);
        client.finish();
    }
}

#[test]
fn a_refused_upload_that_waits_for_100_gets_the_refusal_instead() {
    for server in each_driver() {
        for (path, status) in [("/nowhere", 404), ("/heartbeat/0", 400), ("/healthz", 405)] {
            for body in ["Content-Length: 1\r\n", "Content-Length: 52428800\r\n", CHUNKED] {
                let mut client = Client::connect(server.address());
                client.send(head("POST", path, &format!("{body}Expect: 100-continue\r\n")));
                let head = client.answer();
                assert_eq!((head.status, head.closes()), (status, true), "{path}");
                client.expect_end();
            }
        }
    }
}

#[test]
fn a_refused_upload_that_is_short_keeps_the_connection() {
    for server in each_driver() {
        let mut client = Client::connect(server.address());
        for (path, status) in [("/nowhere", 404), ("/heartbeat/0", 400), ("/healthz", 405)] {
            for bytes in [0, 10, 60 << 10, 64 << 10] {
                client.send(head_with_length("POST", path, bytes));
                send_body(&mut client, bytes);
                let refusal = client.answer();
                let got = (refusal.status, refusal.closes());
                assert_eq!(got, (status, false), "{bytes} to {path}");

                client.send(head("PUT", path, CHUNKED));
                client.send(chunked(bytes as usize, 1000));
                let refusal = client.answer();
                let got = (refusal.status, refusal.closes());
                assert_eq!(got, (status, false), "{bytes} to {path}");
            }
        }
        client.finish();
    }
}

#[test]
fn a_refusal_is_read_by_a_client_that_sends_everything_first() {
    for server in each_driver() {
        let chunks = chunked(50 << 20, 4096);
        for (path, status) in [("/nowhere", 404), ("/heartbeat/0", 400)] {
            for bytes in [(64 << 10) + 1, MEGABYTE, 50 * MEGABYTE] {
                let mut client = Client::connect(server.address());
                client.send(head_with_length("POST", path, bytes));
                send_body(&mut client, bytes);
                let head = client.answer();
                assert_eq!((head.status, head.closes()), (status, true), "{bytes} to {path}");
                client.expect_end();
            }
            let mut client = Client::connect(server.address());
            client.send(head("PUT", path, CHUNKED));
            client.send(&chunks);
            let head = client.answer();
            assert_eq!((head.status, head.closes()), (status, true), "chunks to {path}");
            client.expect_end();
        }
    }
}

#[test]
fn an_upload_longer_than_supported_is_413() {
    for server in each_driver() {
        let mut client = Client::connect(server.address());
        client.send(head_with_length("POST", "/heartbeat/17", (1 << 40) + 1));
        send_body(&mut client, 8 * MEGABYTE);
        let head = client.answer();
        assert_eq!((head.status, head.closes()), (413, true));
        client.expect_end();
    }
}

#[test]
fn a_broken_chunk_is_400_and_ends_the_connection() {
    for server in each_driver() {
        for broken in ["g\r\n", "1\r\nxx\r\n", "1\nx\r\n", "-1\r\n", "11111111111111111\r\n"] {
            let mut client = Client::connect(server.address());
            let body = [b"3\r\nabc\r\n", broken.as_bytes(), b"0\r\n\r\n"].concat();
            client.send(head("POST", "/heartbeat/17", CHUNKED));
            client.send([body, head("GET", "/heartbeat/16", "").into_bytes()].concat());
            let head = client.answer();
            assert_eq!((head.status, head.closes()), (400, true), "{broken:?}");
            client.expect_end();
        }
    }
}

#[test]
fn an_upload_that_ends_early_is_not_answered() {
    for server in each_driver() {
        for bytes in [10, 100_000, 50 * MEGABYTE] {
            let mut client = Client::connect(server.address());
            client.send(head_with_length("POST", "/heartbeat/17", bytes));
            send_body(&mut client, bytes - 1);
            client.finish();
        }
        let mut client = Client::connect(server.address());
        client.send(head("POST", "/heartbeat/17", CHUNKED) + "a\r\n123");
        client.finish();
    }
}
