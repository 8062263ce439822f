//! Peers that read slowly, close early or reset cost their own connection and nothing else.

mod support;

use std::io::Read;
use std::time::Duration;

use socket2::SockRef;
use support::{Client, each_tier, narrow, request};

fn get(bytes: u64) -> String {
    request("GET", &format!("/heartbeat/{bytes}"))
}

/// The number of bytes that have arrived and have not been read. Waits for the first one.
fn waiting(client: &Client) -> usize {
    let mut buffer = vec![0; 1 << 16];
    client.stream().peek(&mut buffer).expect("a connection")
}

#[test]
fn a_slow_reader_with_a_tiny_buffer_gets_every_byte() {
    for server in each_tier() {
        for bytes in [4097, 65_535, 65_536, 1 << 20] {
            let mut client = narrow(&server);
            client.send(get(bytes).repeat(2));
            assert!(waiting(&client) > 0);
            for _ in 0..2 {
                assert_eq!(client.answer().content_length(), bytes);
            }
            client.finish();
        }
    }
}

#[test]
fn short_reads_of_any_length_get_every_byte() {
    for server in each_tier() {
        for step in [7, 1000, 4095, 65_537] {
            let mut client = narrow(&server);
            client.send("GET /heartbeat/200000 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
            let head = client.head();
            assert_eq!(head.status, 200);
            // The client may already have read a first part into its buffer.
            let mut left = client.buffered_payload(200_000);
            let mut buffer = vec![0; step];
            while left > 0 {
                let count = client.stream().read(&mut buffer).unwrap();
                assert!(count > 0, "{left} bytes too few");
                let position = 200_000 - left;
                for (index, byte) in buffer[..count].iter().enumerate() {
                    assert_eq!(*byte, b"0123456789ABCDEF"[(position + index) % 16]);
                }
                left -= count;
            }
            client.expect_end();
        }
    }
}

#[test]
fn a_half_close_behind_a_request_changes_nothing() {
    for server in each_tier() {
        for bytes in [17, 5000, 1 << 20] {
            let mut client = narrow(&server);
            client.send(get(bytes));
            client.end_sending();
            assert_eq!(client.answer().content_length(), bytes);
            client.expect_end();
        }
    }
}

#[test]
fn more_large_answers_at_a_time_than_head_slots_are_all_sent() {
    const CLIENTS: usize = 150;
    const PAIRS: usize = 20;
    for server in each_tier() {
        let mut clients: Vec<_> = (0..CLIENTS).map(|_| narrow(&server)).collect();
        for client in &mut clients {
            // The first one is gathered, and the head of the second one waits until it has been
            // sent.
            client.send((get(3000) + &get(4097)).repeat(PAIRS));
        }
        for client in &clients {
            assert!(waiting(client) > 0);
        }
        for client in &mut clients {
            for _ in 0..PAIRS {
                assert_eq!(client.answer().content_length(), 3000);
                assert_eq!(client.answer().content_length(), 4097);
            }
        }
        for mut client in clients {
            assert_eq!(client.get("/heartbeat/100000").status, 200);
            client.finish();
        }
    }
}

#[test]
fn peers_that_do_not_read_do_not_hold_up_others() {
    for server in each_tier() {
        let stuck: Vec<_> = (0..20)
            .map(|_| {
                let mut client = narrow(&server);
                client.send(get(1 << 20).repeat(50));
                client
            })
            .collect();
        let mut client = Client::connect(server.address());
        for _ in 0..100 {
            assert_eq!(client.get("/heartbeat/17").status, 200);
        }
        assert_eq!(client.get("/heartbeat/1048576").status, 200);
        client.finish();
        drop(stuck);
    }
}

#[test]
fn a_peer_that_resets_costs_its_own_connection() {
    for server in each_tier() {
        let mut steady = Client::connect(server.address());
        for bytes in [17, 70_000, 1 << 20] {
            for start in ["GET /heartb".to_owned(), get(bytes), get(bytes).repeat(100)] {
                for is_reset in [false, true] {
                    let mut client = narrow(&server);
                    client.send(&start);
                    if is_reset {
                        let linger = Some(Duration::ZERO);
                        SockRef::from(client.stream()).set_linger(linger).unwrap();
                    }
                    drop(client);
                    assert_eq!(steady.get("/heartbeat/17").status, 200);
                }
            }
        }
        steady.finish();
    }
}
