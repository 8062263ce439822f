//! Owns the state of one connection and every transition between its states. Must not know sockets,
//! time or what the answers say.
//!
//! ```text
//!         head complete       body read or given up       answer sent
//!   Head ──────────────▶ Body ─────────────────────▶ Answer ─────────▶ Head
//!    │                    │                            │ ▲
//!    └──── malformed ─────┴────────────────────────────┼─┘
//!                                                      └── close ────▶ Closed
//! ```

use crate::body::{BodyDecoder, Step};
use crate::head::HeadReader;
use crate::limits::REFUSED_BODY_BYTES_MAX;
use crate::{
    Content, DateLine, Framing, Method, Persistence, Rejection, Request, Response, Status, Version,
};

/// One HTTP/1.1 connection, seen from the server.
///
/// The caller passes in what the peer sent ([`Connection::receive`]), answers each request after
/// [`Event::EndOfMessage`] or [`Event::Rejected`] ([`Connection::send`]), and then asks what comes
/// next ([`Connection::finish`]).
#[derive(Clone, Debug, Default)]
pub struct Connection {
    state: State,
    head: HeadReader,
    version: Version,
    head_only: bool,
    /// Why the connection closes after the current answer; none if it stays open.
    closing: Option<CloseReason>,
    expects_continue: bool,
    /// Bytes of the body that may still be read after the request was refused.
    refused_bytes_left: Option<u64>,
}

#[derive(Clone, Debug, Default)]
enum State {
    #[default]
    Head,
    Body(BodyDecoder),
    Answer,
    Closed,
}

/// What [`Connection::receive`] found at the front of its input.
#[derive(Debug)]
pub struct Received<'i> {
    /// How many bytes at the front of the input the connection no longer needs. Pass the rest of
    /// the input to the next call again, followed by what has arrived since.
    pub consumed: usize,
    /// What happened.
    pub event: Event<'i>,
}

/// What happened on a connection.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'i> {
    /// More bytes are needed.
    NeedData,
    /// The peer waits for [`crate::CONTINUE`] before it sends the body. Send it, then call
    /// [`Connection::receive`] again.
    ExpectsContinue,
    /// A head is complete. The body follows as events, then [`Event::EndOfMessage`].
    Request(Request<'i>),
    /// Content of the request; never empty.
    Data(&'i [u8]),
    /// No more of this request will be read. Answer it.
    EndOfMessage,
    /// The message is malformed, exceeds a limit or is not supported. Answer it with
    /// [`Response::rejection`].
    Rejected(Rejection),
    /// The connection is closed; it reads nothing more.
    Closed,
}

/// What comes after an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Next {
    /// The next request.
    KeepAlive,
    /// The connection closes.
    Close(CloseReason),
}

/// Why a connection closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// The peer asked for it, or sent HTTP/1.0 without keep-alive.
    Peer,
    /// The server asked for it: [`Connection::close_after_answer`].
    Server,
    /// The message was rejected.
    Rejected,
    /// The body of the request was not read to its end.
    BodyUnread,
}

impl Connection {
    /// A connection on which nothing has been received.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads from the front of `input` up to one event. Never blocks, never panics on any bytes.
    ///
    /// `input` is what earlier calls did not consume, followed by what has arrived since.
    pub fn receive<'i>(&mut self, input: &'i [u8]) -> Received<'i> {
        match &mut self.state {
            State::Head => self.receive_head(input),
            State::Body(_) => self.receive_body(input),
            State::Answer => Received { consumed: 0, event: Event::EndOfMessage },
            State::Closed => Received { consumed: 0, event: Event::Closed },
        }
    }

    /// Whether no request has begun to arrive and none waits for its answer. If so, the connection
    /// may be closed without loss (RFC 9112 section 9.5).
    ///
    /// Empty lines before a request do not begin one. A connection that is idle before and after
    /// [`Connection::receive`] has made no progress, and its idle timer must not be restarted.
    pub fn is_idle(&self) -> bool {
        matches!(self.state, State::Head | State::Closed) && !self.head.has_begun()
    }

    /// Whether the body of a refused request is being read. If the peer stalls here, the answer is
    /// the refusal and not 408, because the refusal was decided first.
    pub fn is_refused(&self) -> bool {
        self.is_in_body() && self.refused_bytes_left.is_some()
    }

    /// Whether a request's body is being read.
    pub fn is_in_body(&self) -> bool {
        matches!(self.state, State::Body(_))
    }

    /// Marks the current request as refused. At most [`REFUSED_BODY_BYTES_MAX`] bytes of its body
    /// are still read; if the body is longer, the connection closes.
    ///
    /// Call this after [`Event::Request`] and before the next event.
    pub fn refuse(&mut self) {
        let State::Body(body) = &self.state else { return };
        if body.is_complete() {
            self.state = State::Answer;
        } else if self.expects_continue || body.content_ahead() > REFUSED_BODY_BYTES_MAX {
            // After a refusal, a peer that waits for 100 may send the body or leave it out, and the
            // server cannot know which (RFC 9110 section 10.1.1).
            self.leave_body_unread();
        } else {
            self.refused_bytes_left = Some(REFUSED_BODY_BYTES_MAX);
        }
    }

    /// Length of the content that comes next without framing in between, in bytes; 0 if anything
    /// else may come. Instead of calling [`Connection::receive`], the caller may discard this
    /// content and report its length to [`Connection::skip`].
    pub fn content_ahead(&self) -> u64 {
        let State::Body(body) = &self.state else { return 0 };
        body.content_ahead().min(self.refused_bytes_left.unwrap_or(u64::MAX))
    }

    /// Counts `bytes` bytes of content that the caller discarded; at most
    /// [`Connection::content_ahead`].
    pub fn skip(&mut self, bytes: u64) {
        assert!(bytes <= self.content_ahead());
        self.expects_continue = false;
        if let Some(left) = &mut self.refused_bytes_left {
            *left -= bytes;
        }
        if let State::Body(body) = &mut self.state {
            body.skip(bytes);
        }
    }

    /// Closes the connection after the current or the next answer.
    pub fn close_after_answer(&mut self) {
        self.closing.get_or_insert(CloseReason::Server);
    }

    /// What the Connection field of the answer says.
    pub fn persistence(&self) -> Persistence {
        match (self.closing, self.version) {
            (Some(_), _) => Persistence::Close,
            (None, Version::Http10) => Persistence::KeepAlive,
            (None, Version::Http11) => Persistence::Implied,
        }
    }

    /// Appends the head of the answer to `out`. Returns its status and the content that must follow
    /// the head; after HEAD there is none.
    ///
    /// [`Status::RequestTimeout`] may be sent in any state, and closes the connection.
    pub fn send<'r>(
        &mut self,
        response: &Response<'r>,
        date: &DateLine,
        out: &mut Vec<u8>,
    ) -> (Status, Content<'r>) {
        if response.status == Status::RequestTimeout {
            self.closing = Some(CloseReason::Server);
        }
        if self.is_in_body() {
            // On an open connection the rest of the body would be read as the next request.
            self.closing.get_or_insert(CloseReason::BodyUnread);
        }
        let persistence = self.persistence();
        let response = response.resolve(persistence, out);
        response.encode(date, persistence, out);
        self.state = State::Answer;
        let content = if self.head_only { Content::None } else { response.content };
        (response.status, content)
    }

    /// Says what comes after the answer that has been sent.
    pub fn finish(&mut self) -> Next {
        if let Some(reason) = self.closing {
            self.state = State::Closed;
            return Next::Close(reason);
        }
        *self = Self::new();
        Next::KeepAlive
    }

    fn receive_head<'i>(&mut self, input: &'i [u8]) -> Received<'i> {
        let (consumed, result) = self.head.read(input);
        let event = match result {
            Ok(None) => Event::NeedData,
            Err(rejection) => self.reject(rejection),
            Ok(Some(request)) => {
                self.version = request.version;
                self.head_only = request.method == Method::Head;
                self.expects_continue = request.expects_continue;
                if !request.is_persistent {
                    self.closing.get_or_insert(CloseReason::Peer);
                }
                self.state = State::Answer;
                if request.framing != Framing::Length(0) || request.expects_continue {
                    self.state = State::Body(BodyDecoder::new(request.framing));
                }
                Event::Request(request)
            }
        };
        Received { consumed, event }
    }

    fn receive_body<'i>(&mut self, input: &'i [u8]) -> Received<'i> {
        if std::mem::take(&mut self.expects_continue) && input.is_empty() {
            return Received { consumed: 0, event: Event::ExpectsContinue };
        }
        let State::Body(body) = &mut self.state else { unreachable!("receive checked the state") };
        let (consumed, event) = match body.decode(input) {
            Err(rejection) => (0, self.reject(rejection)),
            Ok((consumed, Step::NeedData)) => (consumed, Event::NeedData),
            Ok((consumed, Step::End)) => (consumed, self.end_message()),
            Ok((consumed, Step::Data(data))) => (consumed, self.data(data)),
        };
        Received { consumed, event }
    }

    fn data<'i>(&mut self, data: &'i [u8]) -> Event<'i> {
        let Some(left) = &mut self.refused_bytes_left else { return Event::Data(data) };
        let here = usize::try_from(*left).unwrap_or(usize::MAX).min(data.len());
        *left -= here as u64;
        if here == data.len() {
            return Event::Data(data);
        }
        let end = self.leave_body_unread();
        if here == 0 { end } else { Event::Data(&data[..here]) }
    }

    fn end_message(&mut self) -> Event<'static> {
        self.state = State::Answer;
        Event::EndOfMessage
    }

    fn leave_body_unread(&mut self) -> Event<'static> {
        self.closing = Some(CloseReason::BodyUnread);
        self.end_message()
    }

    fn reject(&mut self, rejection: Rejection) -> Event<'static> {
        self.closing = Some(CloseReason::Rejected);
        self.state = State::Answer;
        Event::Rejected(rejection)
    }
}
