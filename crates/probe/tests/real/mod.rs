//! The server of this tree, as threads of the test.

// Every test file is a separate program and uses only a part of this module. A failure here is a
// failure of the test.
#![allow(dead_code, clippy::unwrap_used)]

use std::net::{IpAddr, SocketAddr};
use std::sync::mpsc;

use heartbeat_runtime::{Config, Server, Site};

/// The name and the zone of every server here.
pub(crate) const NODE: &str = "real-node";
pub(crate) const ZONE: &str = "z1";

/// Serves until the process ends. `enter` is called first on the thread that starts the server, and
/// moves it to where the server must be.
pub(crate) fn start(ip: IpAddr, port: u16, enter: impl FnOnce() + Send + 'static) -> SocketAddr {
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        enter();
        let config = Config {
            port,
            address: Some(ip),
            threads: Some(1),
            node: NODE.to_owned(),
            zone: ZONE.to_owned(),
            ..Config::new(Site::new("/heartbeat/", 1, 1 << 20).unwrap())
        };
        let server = Server::start(config).unwrap();
        tell.send(server.address()).unwrap();
        server.wait();
    });
    told.recv().unwrap()
}

/// Starts the server on this host and returns its URL.
pub(crate) fn url() -> String {
    format!("http://{}", start([127, 0, 0, 1].into(), 0, || {}))
}
