//! A client of one server, which keeps connections and reuses them.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use crate::client::connection::{Answer, Connection, Phases, Remains};
use crate::client::cookies::Cookies;
use crate::client::{BodySink, ClientError, Request, Route, Target};

/// Sends requests to one server over as few connections as there are concurrent requests.
pub(crate) struct Client {
    target: Target,
    route: Route,
    settings: ClientSettings,
    idle: Mutex<Vec<Idle>>,
    cookies: Option<Cookies>,
}

/// Timeout, connections and cookies of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ClientSettings {
    /// Limit for a whole request, from the look-up of the name to the last byte of the body.
    pub timeout: Duration,
    /// Whether connections are reused.
    pub keep_alive: bool,
    /// The most idle connections that are kept.
    pub idle_max: usize,
    /// Whether cookies are kept and sent back.
    pub cookies: bool,
}

impl Client {
    /// A client of `target`, which it reaches by `route`; nothing is connected yet.
    pub(crate) fn new(target: Target, route: Route, settings: ClientSettings) -> Self {
        let cookies = settings.cookies.then(Cookies::default);
        Self { target, route, settings, idle: Mutex::default(), cookies }
    }

    /// The server that is asked.
    pub(crate) fn target(&self) -> &Target {
        &self.target
    }

    /// Sends `request`, passes the body of the answer to `sink` as it arrives, and stores in
    /// `phases` how long each part took that was reached, and what was retransmitted for it. If an
    /// idle connection breaks before any byte of an answer, an idempotent request is sent once
    /// more, on a new connection.
    ///
    /// # Errors
    ///
    /// There was no complete answer in time, for any reason.
    pub(crate) async fn send(
        &self,
        request: &Request,
        sink: &mut dyn BodySink,
        phases: &mut Phases,
    ) -> Result<Answer, ClientError> {
        let limit = self.settings.timeout;
        let with_cookies = self.cookies.as_ref().and_then(|cookies| {
            Some(request.with_cookie(cookies.field(request.path(), SystemTime::now())?))
        });
        let asked = with_cookies.as_ref().unwrap_or(request);
        let mut used = Vec::new();
        let sent = self.send_unlimited(asked, sink, phases, &mut used);
        let answer = tokio::time::timeout(limit, sent).await;
        // By now the connections that have failed are closed.
        let again = used.into_iter().map(Remains::retransmitted_up).sum::<u64>();
        phases.path.retransmitted_up += again;
        let answer = answer.unwrap_or(Err(ClientError::Timeout(limit)))?;
        if let Some(cookies) = &self.cookies {
            cookies.take(request.path(), &answer.headers, SystemTime::now());
        }
        Ok(answer)
    }

    async fn send_unlimited(
        &self,
        request: &Request,
        sink: &mut dyn BodySink,
        phases: &mut Phases,
        used: &mut Vec<Remains>,
    ) -> Result<Answer, ClientError> {
        let start = Instant::now();
        if let Some(mut idle) = self.take_idle().await {
            let before = idle.connection.bytes_received();
            used.push(idle.connection.remains());
            match idle.connection.request(request, sink, phases).await {
                Ok(answer) => {
                    used.pop();
                    self.keep(idle).await;
                    return Ok(answer);
                }
                Err(error) => {
                    // In HTTP/2 a server sends bytes when it ends a connection.
                    let silent = match idle.connection.is_http2() {
                        true => {
                            phases.first_byte.is_none()
                                && (error.is_go_away() || !idle.connection.is_reusable().await)
                        }
                        false => idle.connection.bytes_received() == before,
                    };
                    if !(silent && request.is_idempotent()) {
                        return Err(error);
                    }
                }
            }
        }
        let close = !self.settings.keep_alive;
        let (target, route) = (&self.target, &self.route);
        let mut connection = Connection::dial(target, route, close, &mut phases.opening).await?;
        used.push(connection.remains());
        let answer = connection.request(request, sink, phases).await?;
        used.pop();
        self.keep(Idle { connection, opened: start, since: start }).await;
        Ok(answer)
    }

    async fn take_idle(&self) -> Option<Idle> {
        loop {
            // The youngest comes first, so that surplus connections grow old and are closed.
            let mut idle = self.idle().pop()?;
            if idle.is_fresh() && idle.connection.is_reusable().await {
                return Some(idle);
            }
        }
    }

    async fn keep(&self, idle: Idle) {
        let mut idle = idle;
        if self.settings.keep_alive && idle.connection.is_reusable().await {
            idle.since = Instant::now();
            let mut kept = self.idle();
            kept.retain(Idle::is_fresh);
            if kept.len() < self.settings.idle_max {
                kept.push(idle);
            }
        }
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Idle {
    connection: Connection,
    opened: Instant,
    since: Instant,
}

impl Idle {
    fn is_fresh(&self) -> bool {
        self.since.elapsed() < IDLE_MAX && self.opened.elapsed() < AGE_MAX
    }
}

// Shorter than common idle timeouts of servers, such as the 75 s of nginx.
const IDLE_MAX: Duration = Duration::from_secs(60);
// A name that moves to another address is followed within this time, even if its old connections
// never fail.
const AGE_MAX: Duration = Duration::from_secs(300);

#[cfg(test)]
mod tests {
    use socket2::SockRef;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;
    use crate::client::RequestBody;
    use crate::validation::BodyCheck;

    /// A filter of a socket that drops every packet.
    const NOTHING: libc::sock_filter = libc::sock_filter { code: 6, jt: 0, jf: 0, k: 0 };

    #[tokio::test]
    async fn what_was_sent_again_counts_although_the_request_failed() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            assert!(stream.read(&mut [0; 4096]).await.unwrap() > 0);
            SockRef::from(&stream).attach_filter(&[NOTHING]).unwrap();
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
            stream.write_all(answer).await.unwrap();
            std::future::pending::<()>().await;
        });
        let target = Target::parse(&url).unwrap();
        let route = Route::default();
        // A segment is sent again after about a fifth of a second.
        let timeout = Duration::from_secs(3);
        let settings = ClientSettings { timeout, keep_alive: true, idle_max: 1, cookies: false };
        let request = Request::new(&target, "GET", "/", &[], RequestBody::Empty).unwrap();
        let client = Client::new(target, route, settings);
        let mut phases = Phases::default();
        client.send(&request, &mut BodyCheck::new(None), &mut phases).await.unwrap();
        let mut phases = Phases::default();
        let lost = client.send(&request, &mut BodyCheck::new(None), &mut phases).await;
        assert!(matches!(lost, Err(ClientError::Timeout(_))), "{lost:?}");
        assert!(phases.path.retransmitted_up > 0, "{phases:?}");
        server.abort();
    }
}
