//! Exactly n means exactly n: every byte of every answer is checked, over every driver and send
//! tier.

mod support;

use heartbeat_protocol::Site;
use heartbeat_runtime::Server;
use support::{Client, each_driver, each_driver_with, each_tier, each_tier_with, request};

/// Sizes around the length of the pattern, a page, the longest contiguous answer, multiples of the
/// block, the sizes from which answers are spliced and sent by the companion ring, and the largest
/// operation.
const SIZES: [u64; 36] = [
    1, 15, 16, 17, 255, 256, 4095, 4096, 4097, 8191, 8192, 8193, 32_767, 32_768, 32_769, 65_535,
    65_536, 65_537, 65_551, 65_552, 65_553, 131_071, 131_072, 131_073, 262_143, 262_144, 262_145,
    999_999, 1_000_000, 1_048_431, 1_048_432, 1_048_433, 1_048_559, 1_048_560, 1_048_575,
    1_048_576,
];

#[test]
fn every_size_around_an_edge_is_answered_to_the_byte() {
    for server in each_tier() {
        let mut client = Client::connect(server.address());
        for bytes in SIZES {
            let head = client.get(&format!("/heartbeat/{bytes}"));
            assert_eq!((head.status, head.content_length()), (200, bytes));
            assert_eq!(head.field("Content-Type"), Some("text/plain"));
            assert_eq!(head.field("Connection"), None);
        }
        client.finish();
    }
}

#[test]
fn sizes_larger_than_an_operation_are_answered_to_the_byte() {
    let site = Site::new("/heartbeat/", 1, 64 << 20).unwrap();
    for server in each_tier_with(|config| config.site = site.clone()) {
        let mut client = Client::connect(server.address());
        for bytes in [(1 << 20) + 1, (2 << 20) - 1, 2 << 20, (2 << 20) + 1, 64 << 20] {
            let head = client.get(&format!("/heartbeat/{bytes}"));
            assert_eq!((head.status, head.content_length()), (200, bytes));
        }
        client.finish();
    }
}

#[test]
fn head_has_the_head_of_get_and_no_body() {
    for server in each_driver() {
        let mut client = Client::connect(server.address());
        for bytes in SIZES {
            let path = format!("/heartbeat/{bytes}");
            let get = client.get(&path);
            client.send(request("HEAD", &path));
            let head = client.head();
            assert_eq!(head.without_date(), get.without_date());
            assert_eq!(head.content_length(), bytes);
        }
        client.finish();
    }
}

#[test]
fn the_sizes_of_the_site_are_its_bounds() {
    let site = Site::new("/a/b/", 16, 4097).unwrap();
    for server in each_driver_with(|config| config.site = site.clone()) {
        let mut client = Client::connect(server.address());
        for (bytes, status) in [(15, 400), (16, 200), (17, 200), (4097, 200), (4098, 400)] {
            assert_eq!(client.get(&format!("/a/b/{bytes}")).status, status, "{bytes}");
        }
        assert_eq!(client.get("/heartbeat/17").status, 404);
        client.finish();
    }
}

#[test]
fn the_head_of_17_bytes_is_these_bytes() {
    for server in each_driver() {
        let mut client = Client::connect(server.address());
        client.send(request("GET", "/heartbeat/17"));
        let head = client.head();
        let date = head.field("Date").unwrap();
        let expected = format!(
            "HTTP/1.1 200 OK\r\n\
             Cache-Control: no-cache, no-transform\r\n\
             Content-Type: text/plain\r\n\
             Content-Length: 17\r\n\
             Date: {date}\r\n\
             \r\n"
        );
        assert_eq!(head.text, expected);
        assert!(head.text.len() <= 142, "the reference has 142, this {}", head.text.len());
        client.expect(b"0123456789ABCDEF0");
        client.finish();
    }
}

/// The size of the smallest message on a connection that stays open, as the server reports it.
fn wire_minimum(server: &Server) -> u64 {
    let head = Client::connect(server.address()).get("/heartbeat/wire/0");
    assert_eq!(head.status, 400);
    head.field("X-Heartbeat-Wire-Min").expect("a minimum").parse().expect("a number")
}

/// Requests a message of `bytes` bytes, and checks its length and its payload.
fn assert_wire(client: &mut Client, bytes: u64) {
    let head = client.get(&format!("/heartbeat/wire/{bytes}"));
    assert_eq!(head.status, 200, "wire/{bytes}");
    assert_eq!(head.text.len() as u64 + head.content_length(), bytes, "{}", head.text);
}

#[test]
fn a_wire_size_is_the_whole_message() {
    for server in each_tier() {
        let minimum = wire_minimum(&server);
        let mut client = Client::connect(server.address());
        for bytes in minimum..minimum + 130 {
            assert_wire(&mut client, bytes);
        }
        for edge in [4096, 8192, 65_536, 131_072, 1 << 20] {
            for bytes in edge - 1..=edge + 1 {
                assert_wire(&mut client, bytes);
            }
        }
        client.finish();
    }
}

#[test]
fn a_wire_size_has_no_gap_when_the_length_grows_by_a_digit() {
    for server in each_driver() {
        let fixed = wire_minimum(&server) - 1;
        let mut client = Client::connect(server.address());
        for digits in 1..=6 {
            let gap = fixed + digits + 10_u64.pow(digits as u32);
            for bytes in gap - 3..=gap + 3 {
                assert_wire(&mut client, bytes);
            }
        }
        client.finish();
    }
}

#[test]
fn a_wire_size_counts_the_connection_field() {
    for server in each_driver() {
        for lines in
            ["HTTP/1.1\r\nHost: test\r\nConnection: close", "HTTP/1.0", "HTTP/1.0\r\nHost: test"]
        {
            let ask = |bytes: u64| {
                let mut client = Client::connect(server.address());
                client.send(format!("GET /heartbeat/wire/{bytes} {lines}\r\n\r\n"));
                client
            };
            let refusal = ask(1).answer();
            let minimum: u64 = refusal.field("X-Heartbeat-Wire-Min").unwrap().parse().unwrap();
            for bytes in [minimum, minimum + 9, minimum + 10, minimum + 11, 5000, 100_000] {
                assert_eq!(ask(bytes).read_to_end().len() as u64, bytes, "{lines:?}");
            }
            let below = ask(minimum - 1).answer();
            assert_eq!(below.status, 400);
            assert_eq!(below.field("X-Heartbeat-Wire-Min"), Some(&*minimum.to_string()));
        }
    }
}

#[test]
fn a_wire_size_below_the_minimum_reports_it_and_keeps_the_connection() {
    for server in each_driver() {
        let minimum = wire_minimum(&server);
        let mut client = Client::connect(server.address());
        for bytes in [0, 1, 17, minimum - 1] {
            let head = client.get(&format!("/heartbeat/wire/{bytes}"));
            assert_eq!((head.status, head.closes()), (400, false));
            assert_eq!(head.field("X-Heartbeat-Wire-Min"), Some(&*minimum.to_string()));
        }
        assert_wire(&mut client, minimum);
        let too_large = client.get("/heartbeat/wire/1100000");
        assert_eq!((too_large.status, too_large.field("X-Heartbeat-Wire-Min")), (400, None));
        client.finish();
    }
}
