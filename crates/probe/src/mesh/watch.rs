//! Asks one neighbour: one request at a time, in turn, until it is no longer a neighbour.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::StatusCode;
use hyper::header::CONNECTION;

use super::identity::Identity;
use super::link::Link;
use super::neighbour::{Failure, Outcome, PathFacts, Reach};
use super::state::Mesh;
use super::turns::{Ask, Direction, Turn, Turns, next_start};
use crate::about::ABOUT_BYTES_MAX;
use crate::client::{
    Answer, BodySink, Capture, ClientError, Discard, Request, RequestBody, RequestError, Target,
};
use crate::fault::Fault;
use crate::pattern::PatternCheck;
use crate::timing::ServerTiming;

/// Asks one neighbour.
pub(super) struct Watch {
    mesh: Arc<Mesh>,
    address: SocketAddr,
    requests: Requests,
    turns: Turns,
    interval: Duration,
    timeout: Duration,
    kept: Option<Link>,
    is_identified: bool,
}

/// The settings that all neighbours have in common.
#[derive(Clone, Debug)]
pub(super) struct WatchSettings {
    pub(super) port: u16,
    pub(super) uri: String,
    pub(super) asks: Vec<Ask>,
    pub(super) interval: Duration,
    pub(super) timeout: Duration,
}

struct Requests {
    // In the order of the turns.
    sized: Vec<Request>,
    facts: Request,
    version: Request,
    ready: Request,
}

impl Watch {
    /// Prepares all requests to `address`.
    ///
    /// # Errors
    ///
    /// A prefix that cannot be written in HTTP.
    pub(super) fn new(
        mesh: Arc<Mesh>,
        settings: &WatchSettings,
        address: SocketAddr,
    ) -> Result<Self, RequestError> {
        Ok(Self {
            mesh,
            address,
            requests: Requests::new(settings, address)?,
            turns: Turns::new(settings.asks.clone()),
            interval: settings.interval,
            timeout: settings.timeout,
            kept: None,
            is_identified: false,
        })
    }

    /// Asks forever, for the first time after `phase`. Neighbours are asked at different times, so
    /// that they do not disturb each other.
    pub(super) async fn run(mut self, phase: Duration) {
        let mut due = tokio::time::Instant::now() + phase;
        loop {
            tokio::time::sleep_until(due).await;
            self.tick().await;
            due += next_start(due.elapsed(), self.interval);
        }
    }

    async fn tick(&mut self) {
        let address = self.address.ip();
        if let Some(since) = self.leaving_since() {
            let reach = self.readiness().await;
            self.mesh.note_reach(address, reach).await;
            // A neighbour that comes back is another process, so its identity is asked for again.
            self.is_identified &= reach == Reach::Leaving(since);
            return;
        }
        if !self.is_identified {
            self.learn().await;
        }
        let turn = self.turns.take();
        let outcome = self.ask(turn).await;
        if outcome.reach == Reach::Down {
            // Another node may get this address.
            self.is_identified = false;
        }
        self.mesh.note(address, &outcome).await;
    }

    /// Asks for its identity. If it does not answer, it is asked again at the next tick.
    async fn learn(&mut self) {
        let mut body = Capture::new(ABOUT_BYTES_MAX);
        let asked = async {
            let mut link = Link::open(self.address, false).await?;
            let answer = link.request(&self.requests.version, &mut body).await?;
            Ok::<_, ClientError>((answer, link))
        };
        if let Ok(Ok((answer, link))) = tokio::time::timeout(self.timeout, asked).await {
            self.is_identified = true;
            if !says_close(&answer) {
                self.kept = Some(link);
            }
            let identity = Identity::read(body.bytes()).unwrap_or_default();
            self.mesh.identify(self.address.ip(), identity);
        }
    }

    async fn ask(&mut self, turn: Turn) -> Outcome {
        let mut link = if turn.fresh { None } else { self.kept.take() };
        let mut body = Body::default();
        let request = &self.requests.sized[turn.index];
        let exchange = exchange(self.address, &mut link, request, &mut body);
        let answer = tokio::time::timeout(self.timeout, exchange)
            .await
            .unwrap_or(Err(ClientError::Timeout(self.timeout)));
        let is_connected = link.is_some();
        let mut server = ServerTiming::default();
        let (result, says_close) = match answer {
            Ok((answer, duration)) => {
                server = told(&answer);
                let wrong = judge(turn.ask, &answer, &body);
                (wrong.map_or(Ok(duration), Err), says_close(&answer))
            }
            Err(error) => (Err(failure(turn.ask, &error, is_connected, &body)), false),
        };
        let mut is_usable = result.is_ok() && !says_close;
        if let Some(open) = &mut link
            && is_usable
            && turn.ask.is_large()
        {
            match self.ask_for_facts(open).await {
                Some(answer) => server = told(&answer),
                None => is_usable = false,
            }
        }
        let path = link.as_mut().map_or_else(PathFacts::default, |link| link.facts(server));
        let reach = match &result {
            // Nobody asked it to close, so it may be about to leave.
            Ok(_) if says_close => self.readiness().await,
            Ok(_) => Reach::Up,
            Err(_) if is_connected => self.readiness().await,
            Err(_) => self.unreachable(),
        };
        if !turn.fresh && is_usable {
            self.kept = link;
        }
        Outcome { turn, result, path, reach }
    }

    /// The server's facts about an answer are complete only after it. A small request after a large
    /// answer gets them.
    async fn ask_for_facts(&self, link: &mut Link) -> Option<Answer> {
        if !link.is_reusable().await {
            return None;
        }
        let mut sink = Discard;
        let asked = link.request(&self.requests.facts, &mut sink);
        tokio::time::timeout(self.timeout, asked).await.ok()?.ok()
    }

    /// Asks whether it answers at all, and whether it is about to leave.
    async fn readiness(&self) -> Reach {
        let asked = async {
            let mut link = Link::open(self.address, true).await?;
            link.request(&self.requests.ready, &mut Discard).await
        };
        let limit = self.timeout.min(READINESS_TIME_MAX);
        match tokio::time::timeout(limit, asked).await {
            Ok(Ok(answer)) if answer.status == StatusCode::SERVICE_UNAVAILABLE => {
                Reach::Leaving(self.leaving_since().unwrap_or_else(Instant::now))
            }
            Ok(Ok(_)) => Reach::Up,
            Ok(Err(_)) | Err(_) => self.unreachable(),
        }
    }

    /// A neighbour that has reported that it leaves may be silent for a while.
    fn unreachable(&self) -> Reach {
        match self.leaving_since() {
            Some(since) if since.elapsed() < LEAVING_MAX => Reach::Leaving(since),
            _ => Reach::Down,
        }
    }

    fn leaving_since(&self) -> Option<Instant> {
        match self.mesh.reach(self.address.ip()) {
            Some(Reach::Leaving(since)) => Some(since),
            _ => None,
        }
    }
}

impl Requests {
    fn new(settings: &WatchSettings, address: SocketAddr) -> Result<Self, RequestError> {
        // An address with its port always parses as a host; the prefix is not part of it.
        let target = Target::parse(&format!("http://{address}"));
        let target = target.or_else(|_| Target::parse("http://localhost"));
        let Ok(target) = target else { unreachable!("a constant URL parses") };
        let get = |path: &str| Request::new(&target, "GET", path, &[], RequestBody::Empty);
        let uri = &settings.uri;
        let sized = |ask: &Ask| match ask.direction {
            Direction::Down => get(&format!("{uri}{}?timing", ask.bytes)),
            Direction::Up => {
                let body = RequestBody::pattern(ask.bytes);
                Request::new(&target, "POST", &format!("{uri}{ANSWER_BYTES}?timing"), &[], body)
            }
        };
        Ok(Self {
            sized: settings.asks.iter().map(sized).collect::<Result<_, _>>()?,
            facts: get(&format!("{uri}{ANSWER_BYTES}?timing"))?,
            version: get("/version?format=json")?,
            ready: get("/readyz")?,
        })
    }
}

/// Sends one request over `link`, or over a new connection that is stored there. If the server has
/// closed a kept connection meanwhile, that is no fault of the path.
async fn exchange(
    address: SocketAddr,
    link: &mut Option<Link>,
    request: &Request,
    body: &mut Body,
) -> Result<(Answer, Duration), ClientError> {
    if let Some(kept) = link {
        let before = kept.bytes_received();
        let start = Instant::now();
        if kept.is_reusable().await {
            match kept.request(request, body).await {
                Ok(answer) => return Ok((answer, start.elapsed())),
                Err(_) if kept.bytes_received() == before => {}
                Err(error) => return Err(error),
            }
        }
        *link = None;
    }
    let open = link.insert(Link::open(address, false).await?);
    let start = Instant::now();
    let answer = open.request(request, body).await?;
    Ok((answer, start.elapsed()))
}

/// The facts that the server has reported; empty if it has not.
fn told(answer: &Answer) -> ServerTiming {
    ServerTiming::of(&answer.headers).unwrap_or_default()
}

fn says_close(answer: &Answer) -> bool {
    let value = answer.headers.get(CONNECTION).and_then(|value| value.to_str().ok());
    value.is_some_and(|value| value.eq_ignore_ascii_case("close"))
}

/// What is wrong with an answer, if anything is.
fn judge(ask: Ask, answer: &Answer, body: &Body) -> Option<Failure> {
    let wanted = match ask.direction {
        Direction::Down => ask.bytes,
        Direction::Up => ANSWER_BYTES,
    };
    let wrong = |fault, what: String| {
        Some(Failure { fault, text: format!("{}: {what}", words(ask)), swallowed: false })
    };
    if answer.status != StatusCode::OK {
        return wrong(Fault::Status, format!("the status is {}, not 200", answer.status.as_u16()));
    }
    if answer.body_length != wanted {
        let what = format!("the body has {} bytes, not {wanted}", answer.body_length);
        return wrong(Fault::Length, what);
    }
    let mismatch = body.check.mismatch()?;
    wrong(Fault::Pattern, format!("byte {mismatch} of the body is not the pattern's"))
}

fn failure(ask: Ask, error: &ClientError, is_connected: bool, body: &Body) -> Failure {
    let timed_out = matches!(error, ClientError::Timeout(_));
    let text = match error {
        ClientError::Timeout(after) if !is_connected => {
            format!("{}: no connection within {after:?}", words(ask))
        }
        error => format!("{}: {error}", words(ask)),
    };
    let swallowed = timed_out && is_connected && body.received == 0;
    Failure { fault: Fault::from(error), text, swallowed }
}

fn words(ask: Ask) -> String {
    match ask.direction {
        Direction::Down => format!("GET {}", ask.bytes),
        Direction::Up => format!("POST {}", ask.bytes),
    }
}

/// Compares a body with the pattern and counts its bytes, even if the request is abandoned.
#[derive(Default)]
struct Body {
    check: PatternCheck,
    received: u64,
}

impl BodySink for Body {
    fn take(&mut self, bytes: &[u8]) {
        self.check.take(bytes);
        self.received += bytes.len() as u64;
    }
}

/// The size of the answer to an upload, and of answers whose content does not matter.
const ANSWER_BYTES: u64 = 17;
/// A server that works answers this at once.
const READINESS_TIME_MAX: Duration = Duration::from_secs(2);
/// A neighbour that is still unreachable this long after it began to leave is down. This is twice
/// the server's drain, and by then DNS no longer has its address.
const LEAVING_MAX: Duration = Duration::from_secs(60);
