//! A Heartbeat behind TLS, whose certificates fill several packets.

// A failure here is a failure of the test.
#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::mpsc;

use rcgen::CertificateParams;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::authority;
use crate::path_ground::Ground;
use crate::real;

/// The URL of the server, and the file with the authority that has signed its certificate.
pub(crate) struct Secured {
    pub(crate) url: String,
    pub(crate) ca_file: String,
}

impl Drop for Secured {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.ca_file);
    }
}

/// Terminates TLS in `far`, and forwards everything to a server there.
pub(crate) fn serve(ground: &Ground, address: &str) -> Secured {
    // With so many names, the certificate has some five kilobytes.
    let others = (0..200).map(|number| format!("name-{number:03}.heartbeat.test"));
    let names: Vec<_> = std::iter::once(address.to_owned()).chain(others).collect();
    let params = CertificateParams::new(names).unwrap();
    let (acceptor, authority) = authority::acceptor("authority of a path", &params);
    let server = real::start([127, 0, 0, 1].into(), 0, ground.way_to_far());
    let enter = ground.way_to_far();
    let (tell, told) = mpsc::channel();
    let listen = format!("{address}:0");
    std::thread::spawn(move || {
        enter();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = TcpListener::bind(listen).await.unwrap();
            tell.send(listener.local_addr().unwrap()).unwrap();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(pass_on(stream, acceptor.clone(), server));
            }
        });
    });
    let at: SocketAddr = told.recv().unwrap();
    let file = ca_file(at.port());
    std::fs::write(&file, authority).unwrap();
    Secured { url: format!("https://{at}"), ca_file: file.to_str().unwrap().to_owned() }
}

async fn pass_on(stream: TcpStream, acceptor: TlsAcceptor, server: SocketAddr) -> Option<()> {
    stream.set_nodelay(true).ok()?;
    let mut stream = acceptor.accept(stream).await.ok()?;
    let mut onward = TcpStream::connect(server).await.ok()?;
    onward.set_nodelay(true).ok()?;
    copy_bidirectional(&mut stream, &mut onward).await.ok()?;
    Some(())
}

fn ca_file(port: u16) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("ca-{}-{port}.pem", std::process::id()))
}
