//! Opens a stream to a server, and measures how long each step takes.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::rustls::pki_types::ServerName;

use crate::client::stream::{Stream, Traffic, Transport};
use crate::client::version::HTTP2;
use crate::client::{ClientError, HttpVersion, Proxy, Resolver, Target, Tls, tls};

/// How long the steps to an open connection took; `None` for a step that was not needed or did not
/// finish.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Opening {
    /// The look-up of the name; an address needs none.
    pub resolve: Option<Duration>,
    /// The TCP handshake and, for https through a proxy, the CONNECT.
    pub connect: Option<Duration>,
    /// The TLS handshake; http needs none.
    pub tls: Option<Duration>,
    /// All steps, until the connection was open.
    pub ready: Option<Duration>,
    /// When the first of the server's certificates expires, in seconds since the Unix epoch.
    pub expiry: Option<u64>,
    /// The other end of the TCP connection: the server, or the proxy.
    pub peer: Option<SocketAddr>,
}

/// The way to a server: how its name becomes an address, through which proxy, and with which TLS.
#[derive(Clone, Default)]
pub(crate) struct Route {
    /// Finds the addresses of the server's name.
    pub resolver: Resolver,
    /// The only address to connect to. `None` asks the resolver, and takes the first that answers.
    pub address: Option<SocketAddr>,
    /// The proxy in between; it is not used if there is an `address`.
    pub proxy: Option<Proxy>,
    /// Needed for https only.
    pub tls: Option<Tls>,
    /// The most header fields of an answer; `None` is hyper's limit, which needs no allocation.
    pub header_fields_max: Option<usize>,
    /// The versions of HTTP that are accepted.
    pub http: HttpVersion,
}

impl Route {
    /// The proxy that connections of this route go to.
    pub(super) fn proxy(&self) -> Option<&Proxy> {
        self.proxy.as_ref().filter(|_| self.address.is_none())
    }
}

pub(super) async fn open(
    target: &Target,
    route: &Route,
    traffic: Arc<Traffic>,
    opening: &mut Opening,
) -> Result<Stream, ClientError> {
    let begin = Instant::now();
    let proxy = route.proxy();
    let addresses = match (route.address, proxy) {
        (Some(address), _) => vec![address],
        (None, Some(proxy)) => via_proxy(proxy, &route.resolver, opening).await?,
        (None, None) => resolved(target, &route.resolver, opening).await?,
    };
    let start = Instant::now();
    let mut tcp = connect_any(&addresses).await.map_err(|source| ClientError::Connect {
        to: match proxy {
            Some(proxy) => format!("the proxy {proxy} ({})", listed(&addresses)),
            None => format!("{} ({})", target.as_str(), listed(&addresses)),
        },
        source,
    })?;
    // Heads are small and written at once: waiting to fill a segment would only add delay.
    let _ = tcp.set_nodelay(true);
    opening.peer = tcp.peer_addr().ok();
    if let Some(proxy) = proxy {
        let failed = |why| ClientError::Proxy { proxy: proxy.to_string(), why };
        if target.is_https() {
            proxy.tunnel(&mut tcp, target).await.map_err(failed)?;
        } else if route.http == HttpVersion::Two {
            return Err(failed("it is asked in HTTP/1.1, and --http 2 accepts only HTTP/2".into()));
        }
    }
    opening.connect = Some(start.elapsed());
    let transport = match target.is_https() {
        true => secured(target, route, tcp, opening).await?,
        false => Transport::Plain(tcp),
    };
    opening.ready = Some(begin.elapsed());
    Ok(Stream::new(transport, traffic))
}

async fn secured(
    target: &Target,
    route: &Route,
    tcp: TcpStream,
    opening: &mut Opening,
) -> Result<Transport, ClientError> {
    let start = Instant::now();
    let failed = |source| ClientError::Tls { host: target.host().to_owned(), source };
    let settings =
        route.tls.as_ref().ok_or_else(|| failed(io::Error::other("TLS is not set up")))?;
    let name = ServerName::try_from(target.host().to_owned())
        .map_err(|error| failed(io::Error::new(io::ErrorKind::InvalidInput, error)))?;
    let connector = settings.connector().with_alpn(route.http.offered());
    let stream = connector.connect(name, tcp).await.map_err(failed)?;
    // A server that knows nothing of ALPN accepts any offer (RFC 7301 section 3.2).
    let agreed = stream.get_ref().1.alpn_protocol();
    if route.http == HttpVersion::Two && agreed != Some(HTTP2) {
        return Err(failed(io::Error::other(tls::NO_HTTP2)));
    }
    opening.tls = Some(start.elapsed());
    opening.expiry = stream.get_ref().1.peer_certificates().and_then(tls::earliest_expiry);
    Ok(Transport::Tls(Box::new(stream)))
}

async fn via_proxy(
    proxy: &Proxy,
    resolver: &Resolver,
    opening: &mut Opening,
) -> Result<Vec<SocketAddr>, ClientError> {
    match proxy.host().parse() {
        Ok(address) => Ok(vec![SocketAddr::new(address, proxy.port())]),
        Err(_) => looked_up(proxy.host(), proxy.port(), resolver, opening).await,
    }
}

async fn resolved(
    target: &Target,
    resolver: &Resolver,
    opening: &mut Opening,
) -> Result<Vec<SocketAddr>, ClientError> {
    if let Some(known) = resolver.known(target) {
        return Ok(known);
    }
    looked_up(target.host(), target.port(), resolver, opening).await
}

async fn looked_up(
    host: &str,
    port: u16,
    resolver: &Resolver,
    opening: &mut Opening,
) -> Result<Vec<SocketAddr>, ClientError> {
    let begin = Instant::now();
    let mut found = resolver.look_up(host, port).await?;
    opening.resolve = Some(begin.elapsed());
    found.truncate(ATTEMPTS_MAX);
    Ok(found)
}

// The first address that answers wins; a silent one delays the next one only a little (RFC 8305).
async fn connect_any(addresses: &[SocketAddr]) -> io::Result<TcpStream> {
    let mut waiting = addresses.iter().copied();
    let mut attempts = JoinSet::new();
    let mut failure = io::Error::new(io::ErrorKind::NotFound, "no address");
    loop {
        if let Some(address) = waiting.next() {
            attempts.spawn(TcpStream::connect(address));
        } else if attempts.is_empty() {
            return Err(failure);
        }
        let pause = async {
            match waiting.len() {
                0 => std::future::pending().await,
                _ => tokio::time::sleep(ATTEMPT_DELAY).await,
            }
        };
        tokio::select! {
            ended = attempts.join_next() => match ended {
                Some(Ok(Ok(stream))) => return Ok(stream),
                Some(Ok(Err(error))) => failure = error,
                Some(Err(error)) => failure = io::Error::other(error),
                None => {}
            },
            () = pause => {}
        }
    }
}

fn listed(addresses: &[SocketAddr]) -> String {
    addresses.iter().map(SocketAddr::to_string).collect::<Vec<_>>().join(", ")
}

// RFC 8305 section 8: the recommended delay between attempts.
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);
// One connection does not need more addresses of a name, and each may cost a delay.
const ATTEMPTS_MAX: usize = 8;
