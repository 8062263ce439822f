//! However busy one connection keeps its worker, other connections are served and orders are
//! carried out.

mod support;

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::thread;

use heartbeat_protocol::Site;
use support::{
    Client, Deadline, PATIENCE, comes_true_within, each_driver, each_driver_with, each_tier_with,
    request,
};

/// Connections of a flood: more than one worker can serve without a pause.
const FLOOD: usize = 3;

/// Peers that send the same bytes repeatedly and read every answer, until they are dropped.
struct Flood(Vec<TcpStream>);

impl Flood {
    fn new(address: SocketAddr, start: &str, over_and_over: &str) -> Self {
        let part = over_and_over.repeat(100_000 / over_and_over.len() + 1).into_bytes();
        let connect = |_| {
            let stream = TcpStream::connect(address).expect("a server that listens");
            let share = || stream.try_clone().expect("a descriptor");
            let (mut writer, mut reader) = (share(), share());
            writer.write_all(start.as_bytes()).expect("a server that reads");
            let part = part.clone();
            thread::spawn(move || while writer.write_all(&part).is_ok() {});
            thread::spawn(move || {
                let mut buffer = vec![0; 1 << 20];
                while reader.read(&mut buffer).is_ok_and(|count| count > 0) {}
            });
            stream
        };
        Self((0..FLOOD).map(connect).collect())
    }

    /// Requests for the smallest payload.
    fn of_requests(address: SocketAddr) -> Self {
        Self::new(address, "", &request("GET", "/heartbeat/1"))
    }

    /// Uploads in the smallest of chunks, which never end.
    fn of_chunks(address: SocketAddr) -> Self {
        let start = "PUT /heartbeat/1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
        Self::new(address, start, "1\r\nx\r\n")
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        for stream in &self.0 {
            // This fails if the server has closed the connection first.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

#[test]
fn a_flood_does_not_hold_up_other_connections() {
    for server in each_driver() {
        for flood in [Flood::of_requests, Flood::of_chunks] {
            let mut client = Client::connect(server.address());
            assert_eq!(client.get("/heartbeat/17").status, 200);
            let flood = flood(server.address());
            let deadline = Deadline::new();
            for _ in 0..100 {
                assert_eq!(client.get("/heartbeat/17").status, 200);
                assert_eq!(Client::connect(server.address()).get("/heartbeat/17").status, 200);
                deadline.check("200 answers beside a flood");
            }
            drop(flood);
        }
    }
}

#[test]
fn a_flood_does_not_hold_up_the_end() {
    // The timeout of the drain must not be what ends it.
    for server in each_driver_with(|config| config.drain_timeout = 10 * PATIENCE) {
        let flood = Flood::of_requests(server.address());
        let other = Flood::of_chunks(server.address());
        assert_eq!(Client::connect(server.address()).get("/heartbeat/17").status, 200);
        server.stop();
        server.stop();
        let has_ended = comes_true_within(PATIENCE, || server.is_finished());
        // The peers are dropped before the assertion: if it fails, the server would wait for them
        // without end.
        drop((flood, other));
        assert!(has_ended, "not ended after {PATIENCE:?}");
    }
}

#[test]
fn a_large_transfer_either_way_does_not_hold_up_small_requests() {
    let site = Site::new("/heartbeat/", 1, 1 << 30).unwrap();
    for server in each_tier_with(|config| config.site = site.clone()) {
        let address = server.address();
        let download = std::thread::spawn(move || {
            let mut client = Client::connect(address);
            client.get("/heartbeat/1073741824").status
        });
        let upload = std::thread::spawn(move || {
            let mut client = Client::connect(address);
            client.send(
                "POST /heartbeat/17 HTTP/1.1\r\nHost: a\r\nContent-Length: 1073741824\r\n\r\n",
            );
            for _ in 0..1024 {
                client.send(vec![0; 1 << 20]);
            }
            client.answer().status
        });
        let mut answered = 0;
        let mut client = Client::connect(address);
        while !download.is_finished() || !upload.is_finished() {
            assert_eq!(client.get("/heartbeat/17").status, 200);
            answered += 1;
        }
        assert_eq!((download.join().unwrap(), upload.join().unwrap()), (200, 200));
        assert!(answered >= 10, "{answered} small answers beside two gigabytes");
        client.finish();
    }
}
