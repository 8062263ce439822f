//! `heartbeat-probe load`: uses and shows every address of a name.

// A failure in a helper function is a failure of the test.
#![allow(clippy::unwrap_used)]

mod process;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};

use process::{Folder, Outcome, finish, is_good, program};
use serde_json::Value;

/// Answers on every address of the local network; the answers on 127.0.0.3 are errors.
fn start() -> u16 {
    let listener = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            std::thread::spawn(move || serve(stream.unwrap()));
        }
    });
    port
}

fn serve(mut stream: TcpStream) {
    let good = "HTTP/1.1 200 OK\r\nContent-Length: 17\r\n\r\n0123456789ABCDEF0";
    let bad = "HTTP/1.1 503 X\r\nContent-Length: 0\r\n\r\n";
    let is_bad = stream.local_addr().unwrap().ip() == Ipv4Addr::new(127, 0, 0, 3);
    // Requests are small and arrive one at a time.
    while stream.read(&mut [0; 4096]).is_ok_and(|read| read > 0) {
        if stream.write_all(if is_bad { bad } else { good }.as_bytes()).is_err() {
            return;
        }
    }
}

fn load(port: u16, addresses: &str, more: &[&str]) -> Outcome {
    let url = format!("http://pods.test:{port}/heartbeat/17");
    let fixed = format!("pods.test:{port}:{addresses}");
    let folder = Folder::new();
    finish(program(&folder).args(["load", &url, "--resolve", &fixed]).args(more))
}

fn rows(outcome: &Outcome) -> Vec<(String, u64, u64, u64)> {
    let json: Value = serde_json::from_str(&outcome.out).unwrap_or_else(|_| panic!("{outcome:?}"));
    let number = |row: &Value, name: &str| row[name].as_u64().unwrap();
    let rows = json["addresses"].as_array().unwrap().iter().map(|row| {
        let address = row["address"].as_str().unwrap().split(':').next().unwrap().to_owned();
        let counts = ["requests", "failed", "connections_opened"].map(|name| number(row, name));
        assert_eq!(row["latency_us"]["count"], counts[0], "{row}");
        (address, counts[0], counts[1], counts[2])
    });
    rows.collect()
}

#[test]
fn twelve_connections_are_four_for_each_of_three_addresses() {
    let port = start();
    let addresses = "127.0.0.1,127.0.0.2,127.0.0.4";
    let outcome = load(port, addresses, &["-c", "12", "-q", "1000", "-n", "600", "--json"]);
    let json: Value = serde_json::from_str(&outcome.out).unwrap();
    assert!(is_good(outcome.code, &json), "{outcome:?}");
    let rows = rows(&outcome);
    let names: Vec<_> = rows.iter().map(|row| row.0.as_str()).collect();
    assert_eq!(names, addresses.split(',').collect::<Vec<_>>());
    assert!(rows.iter().all(|row| row.3 == 4), "{rows:?}");
    assert_eq!(rows.iter().map(|row| row.1).sum::<u64>(), 600);
    assert!(rows.iter().all(|row| row.1 > 0), "{rows:?}");
    for row in json["addresses"].as_array().unwrap() {
        // The default of TCP over IPv4 is 536 bytes, of which timestamps take 12.
        assert!(row["mss"].as_u64().is_some_and(|mss| mss >= 524), "{row}");
    }
}

#[test]
fn one_connection_uses_the_addresses_in_turn() {
    let port = start();
    let addresses = "127.0.0.1,127.0.0.2,127.0.0.4";
    let outcome = load(port, addresses, &["-c", "1", "-n", "300", "--json"]);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    assert!(rows(&outcome).iter().all(|row| row.1 == 100 && row.3 == 1), "{outcome:?}");
}

#[test]
fn an_address_that_fails_has_its_failures_in_its_row() {
    let port = start();
    let line = ["-c", "3", "-q", "300", "-n", "90"];
    let outcome = load(port, "127.0.0.1,127.0.0.3", &[&line[..], &["--json"]].concat());
    assert_eq!(outcome.code, 1, "{outcome:?}");
    let rows = rows(&outcome);
    assert_eq!(rows[0].2, 0, "{rows:?}");
    assert!(rows[1].1 > 0 && rows[1].1 == rows[1].2, "{rows:?}");

    let text = load(port, "127.0.0.1,127.0.0.3", &line).out;
    for address in ["127.0.0.1", "127.0.0.3"] {
        let row = format!("{address}:{port}");
        assert!(text.contains(&row), "{row} is not in {text}");
    }
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
}

#[test]
fn the_host_field_contains_the_name() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let asked = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut head = [0; 4096];
        let length = stream.read(&mut head).unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n0").unwrap();
        String::from_utf8_lossy(&head[..length]).to_ascii_lowercase()
    });
    let outcome = load(port, "127.0.0.1", &["-n", "1", "-c", "1", "--check=off"]);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    assert!(asked.join().unwrap().contains(&format!("host: pods.test:{port}\r\n")));
}
