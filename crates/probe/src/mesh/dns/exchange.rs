//! Sends a question to one server after the other: over UDP, and over TCP if the answer does not
//! fit into a datagram.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use super::message::UDP_BYTES_MAX;
use super::{DnsError, Kind, Reply, ResolvConf, query, read};

/// Asks the servers in turn until one answers.
pub(super) async fn ask(
    conf: &ResolvConf,
    servers: &[SocketAddr],
    name: &str,
    kind: Kind,
) -> Result<Vec<IpAddr>, DnsError> {
    let mut failure = DnsError::Silent;
    for _ in 0..conf.attempts {
        for server in servers {
            match timeout(conf.timeout, ask_one(*server, name, kind)).await {
                Ok(Ok(addresses)) => return Ok(addresses),
                Ok(Err(error @ DnsError::Name(_))) => return Err(error),
                Ok(Err(error)) => failure = error,
                Err(_) => failure = DnsError::Silent,
            }
        }
    }
    Err(failure)
}

async fn ask_one(server: SocketAddr, name: &str, kind: Kind) -> Result<Vec<IpAddr>, DnsError> {
    // A random id, together with the random port that the system chooses, keeps forgers out.
    let id = fastrand::u16(..);
    let question = query(id, name, kind)?;
    let reply = over_udp(server, &question, |bytes| read(bytes, id, name, kind)).await?;
    let reply = match reply {
        Reply::Truncated => {
            let bytes = over_tcp(server, &question).await.map_err(DnsError::Io)?;
            read(&bytes, id, name, kind)?
        }
        reply => reply,
    };
    match reply {
        Reply::Addresses(addresses) => Ok(addresses),
        Reply::Truncated | Reply::Foreign => Err(DnsError::Malformed),
    }
}

/// Waits for the answer to this question; other messages are ignored.
async fn over_udp(
    server: SocketAddr,
    question: &[u8],
    read: impl Fn(&[u8]) -> Result<Reply, DnsError>,
) -> Result<Reply, DnsError> {
    let any: IpAddr = match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).await.map_err(DnsError::Io)?;
    // A connected socket receives from this server only.
    socket.connect(server).await.map_err(DnsError::Io)?;
    socket.send(question).await.map_err(DnsError::Io)?;
    let mut buffer = [0; UDP_BYTES_MAX as usize];
    loop {
        let length = socket.recv(&mut buffer).await.map_err(DnsError::Io)?;
        match read(&buffer[..length])? {
            Reply::Foreign => {}
            reply => return Ok(reply),
        }
    }
}

/// RFC 7766: two bytes in front of each message contain its length.
async fn over_tcp(server: SocketAddr, question: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(question.len()).map_err(io::Error::other)?;
    let mut message = length.to_be_bytes().to_vec();
    message.extend_from_slice(question);
    stream.write_all(&message).await?;
    let length = stream.read_u16().await?;
    let mut answer = vec![0; usize::from(length)];
    stream.read_exact(&mut answer).await?;
    Ok(answer)
}
