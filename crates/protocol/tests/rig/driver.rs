//! Drives a connection as a server does: takes bytes as they arrive, routes each request, reads its
//! body, answers it, and continues or closes. Keeps a transcript of all of it.

use std::sync::LazyLock;

use heartbeat_protocol::{
    Connection, Content, DateLine, Event, Facts, Framing, Next, Port, Rejection, Request, Response,
    Routed, ServerTiming, Site, Status, Target, Version, route,
};

/// The site that the vectors are written for.
pub(crate) static SITE: LazyLock<Site> = LazyLock::new(|| site_up_to(1 << 20));

pub(crate) const FACTS: Facts<'static> =
    Facts { ready: true, version: "0.5.0\n", version_json: "{\"version\":\"0.5.0\"}\n" };

/// The measurements that this server reports in every answer.
pub(crate) const TIMING: ServerTiming = ServerTiming {
    app_us: 12,
    rtt_us: Some(251),
    rttvar_us: None,
    min_rtt_us: None,
    retransmits: Some(0),
    segments: None,
    mss: None,
    path_mtu: None,
    rate_bytes_per_second: None,
    recv_us: None,
    recv_bytes: None,
};

pub(crate) fn site_up_to(max: u64) -> Site {
    Site::new("/heartbeat/", 1, max).expect("the site of the tests is valid")
}

/// How the server discards the content of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    /// Every byte passes through the connection.
    Received,
    /// Content is discarded with `content_ahead` and `skip`.
    Skipped,
}

/// A server with one connection.
pub(crate) struct Server {
    connection: Connection,
    site: &'static Site,
    reading: Reading,
    buffer: Vec<u8>,
    pending: Option<Pending>,
    transcript: Transcript,
    delivered: usize,
    pieces: usize,
    receive_calls: usize,
}

/// Everything that the server sent, and how it read the bytes of the peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Transcript {
    pub(crate) sent: Vec<Sent>,
    pub(crate) ending: Ending,
    /// Bytes that are not consumed yet; 0 on a closed connection.
    pub(crate) left_over: usize,
    /// Whether nothing has been consumed since the last answer.
    pub(crate) fresh: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    Continue,
    Answer(Box<Answer>),
}

/// A final answer and the request it belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    /// None if the head was rejected or did not arrive.
    pub(crate) request: Option<Seen>,
    pub(crate) request_content: Vec<u8>,
    pub(crate) rejection: Option<Rejection>,
    pub(crate) status: Status,
    pub(crate) head: Vec<u8>,
    pub(crate) content: Content<'static>,
    pub(crate) next: Next,
}

/// An owned copy of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) method: Vec<u8>,
    pub(crate) target: Vec<u8>,
    /// Path and query; none for `*`.
    pub(crate) path: Option<(Vec<u8>, Vec<u8>)>,
    pub(crate) version: Version,
    pub(crate) framing: Framing,
    pub(crate) unknown_expectation: bool,
}

/// The state of a connection after all bytes have been delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    Idle,
    InHead,
    InBody,
    Closed,
}

struct Pending {
    seen: Seen,
    content: Vec<u8>,
    routed: Routed<'static>,
}

impl Server {
    pub(crate) fn new() -> Self {
        Self::with(&SITE, Reading::Received)
    }

    pub(crate) fn with(site: &'static Site, reading: Reading) -> Self {
        Self {
            connection: Connection::new(),
            site,
            reading,
            buffer: Vec::new(),
            pending: None,
            transcript: Transcript {
                sent: Vec::new(),
                ending: Ending::Idle,
                left_over: 0,
                fresh: true,
            },
            delivered: 0,
            pieces: 0,
            receive_calls: 0,
        }
    }

    /// Takes bytes from the peer, and works until it needs more.
    pub(crate) fn deliver(&mut self, piece: &[u8]) {
        self.delivered += piece.len();
        self.pieces += 1;
        self.buffer.extend_from_slice(piece);
        let buffer = std::mem::take(&mut self.buffer);
        let mut position = 0;
        while self.transcript.ending != Ending::Closed {
            let (consumed, wait) = self.step(&buffer[position..]);
            position += consumed;
            if wait {
                break;
            }
        }
        self.buffer = buffer;
        self.buffer.drain(..position);
        self.note_ending();
        self.assert_work_is_bounded();
    }

    /// A deadline for the peer has passed.
    pub(crate) fn time_out(&mut self) {
        if self.transcript.ending == Ending::Closed {
            return;
        }
        match &self.pending {
            Some(pending) if self.connection.is_refused() => {
                let routed = pending.routed.clone();
                self.answer(&routed.response(), None);
            }
            _ => self.answer(&Response::new(Status::RequestTimeout), None),
        }
        self.note_ending();
    }

    /// The process begins to drain.
    pub(crate) fn drain(&mut self) {
        self.connection.close_after_answer();
    }

    pub(crate) fn transcript(&self) -> &Transcript {
        &self.transcript
    }

    pub(crate) fn into_transcript(self) -> Transcript {
        self.transcript
    }

    /// Handles one event. Returns how many bytes were consumed, and whether more are needed.
    fn step(&mut self, input: &[u8]) -> (usize, bool) {
        if self.reading == Reading::Skipped {
            let skipped = self.skip(input);
            if skipped > 0 {
                return (skipped, false);
            }
        }
        let received = self.connection.receive(input);
        self.receive_calls += 1;
        assert!(received.consumed <= input.len());
        self.transcript.fresh &= received.consumed == 0;
        match received.event {
            Event::NeedData => return (received.consumed, true),
            Event::ExpectsContinue => {
                assert!(input.is_empty(), "100 Continue where the body is already here");
                self.transcript.sent.push(Sent::Continue);
            }
            Event::Request(request) => {
                let routed = route(&request, Port::Main, self.site, &FACTS);
                if routed.response().status.is_refusal() {
                    self.connection.refuse();
                }
                self.pending =
                    Some(Pending { seen: Seen::new(&request), content: Vec::new(), routed });
            }
            Event::Data(data) => {
                assert!(!data.is_empty());
                self.content().extend_from_slice(data);
            }
            Event::EndOfMessage => {
                let routed = self.pending.as_ref().expect("a request comes first").routed.clone();
                self.answer(&routed.response().with_timing(&TIMING), None);
            }
            Event::Rejected(rejection) => {
                self.answer(&Response::rejection(rejection), Some(rejection));
            }
            Event::Closed => panic!("this server does not read a closed connection"),
        }
        (received.consumed, false)
    }

    fn skip(&mut self, input: &[u8]) -> usize {
        let ahead = usize::try_from(self.connection.content_ahead()).unwrap_or(usize::MAX);
        let skipped = ahead.min(input.len());
        if skipped > 0 {
            self.connection.skip(skipped as u64);
            self.content().extend_from_slice(&input[..skipped]);
        }
        skipped
    }

    fn content(&mut self) -> &mut Vec<u8> {
        &mut self.pending.as_mut().expect("content follows a request").content
    }

    fn answer(&mut self, response: &Response<'_>, rejection: Option<Rejection>) {
        let mut head = Vec::new();
        let date = DateLine::new(784_111_777);
        let (status, content) = self.connection.send(response, &date, &mut head);
        let content = kept(content);
        let next = self.connection.finish();
        let (request, request_content) = match self.pending.take() {
            Some(pending) => (Some(pending.seen), pending.content),
            None => (None, Vec::new()),
        };
        self.transcript.fresh = true;
        self.transcript.sent.push(Sent::Answer(Box::new(Answer {
            request,
            request_content,
            rejection,
            status,
            head,
            content,
            next,
        })));
        if let Next::Close(_) = next {
            self.transcript.ending = Ending::Closed;
        }
    }

    fn note_ending(&mut self) {
        if self.transcript.ending == Ending::Closed {
            let received = self.connection.receive(&self.buffer);
            assert_eq!((received.consumed, received.event), (0, Event::Closed));
            self.transcript.left_over = 0;
            return;
        }
        self.transcript.left_over = self.buffer.len();
        self.transcript.ending = if self.connection.is_in_body() {
            Ending::InBody
        } else if self.connection.is_idle() {
            Ending::Idle
        } else {
            Ending::InHead
        };
    }

    /// Checks that the number of calls is linear in the bytes: each call consumes something, waits
    /// for a piece (twice if 100 Continue is sent), or ends a message.
    fn assert_work_is_bounded(&self) {
        let bound = self.delivered + 2 * self.pieces + 2 * self.transcript.sent.len() + 2;
        assert!(self.receive_calls <= bound, "{} calls, {bound} allowed", self.receive_calls);
    }
}

impl Transcript {
    /// This transcript without interim answers, which depend on when the bytes arrived.
    pub(crate) fn without_interim(&self) -> Self {
        let mut transcript = self.clone();
        transcript.sent.retain(|sent| *sent != Sent::Continue);
        transcript
    }

    pub(crate) fn answers(&self) -> impl Iterator<Item = &Answer> {
        self.sent.iter().filter_map(|sent| match sent {
            Sent::Answer(answer) => Some(&**answer),
            Sent::Continue => None,
        })
    }
}

impl Seen {
    fn new(request: &Request<'_>) -> Self {
        Self {
            method: request.method_token.to_vec(),
            target: request.target_bytes.to_vec(),
            path: match request.target {
                Target::Path { path, query } => Some((path.to_vec(), query.to_vec())),
                Target::Asterisk => None,
            },
            version: request.version,
            framing: request.framing,
            unknown_expectation: request.unknown_expectation,
        }
    }
}

/// A copy of `content` that borrows nothing. Its text must be a constant of the tests or the crate.
fn kept(content: Content<'_>) -> Content<'static> {
    match content {
        Content::None => Content::None,
        Content::Payload(payload) => Content::Payload(payload),
        Content::Text { media_type, text } => {
            let texts = [FACTS.version, FACTS.version_json, "Pass\n", "Ready\n"];
            let text = texts.into_iter().find(|known| *known == text).expect("a known text");
            Content::Text { media_type, text }
        }
        Content::Wire { .. } => panic!("the encoder resolves wire sizes"),
    }
}

/// The transcript of `pieces`, without interim answers.
pub(crate) fn transcript<'p>(pieces: impl IntoIterator<Item = &'p [u8]>) -> Transcript {
    transcript_of(Reading::Received, pieces)
}

/// The transcript of `pieces`, read in this way, without interim answers.
pub(crate) fn transcript_of<'p>(
    reading: Reading,
    pieces: impl IntoIterator<Item = &'p [u8]>,
) -> Transcript {
    let mut server = Server::with(&SITE, reading);
    pieces.into_iter().for_each(|piece| server.deliver(piece));
    server.into_transcript().without_interim()
}
