//! One open connection of HTTP/1.1 or of HTTP/2, which are used in the same way.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll};

use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::task::JoinSet;

use crate::client::RequestBody;
use crate::client::stream::Stream;

/// Passes requests to the connection.
pub(super) enum Sender {
    One(http1::SendRequest<RequestBody>),
    Two {
        sender: http2::SendRequest<RequestBody>,
        /// They read and write the socket. The driver may end before them: an answer that is on its
        /// way when the server ends the connection still arrives.
        _tasks: Arc<Mutex<Tasks>>,
    },
}

/// Must be polled while an answer is awaited.
pub(super) enum Driver {
    One(Box<http1::Connection<TokioIo<Stream>, RequestBody>>),
    Two(Box<http2::Connection<TokioIo<Stream>, RequestBody, Executor>>),
}

/// Tasks that end when this is dropped. So a connection whose peer accepts nothing is closed with
/// its last request, as in HTTP/1.1, and does not wait until the peer has read a last frame.
type Tasks = JoinSet<()>;

/// Starts the tasks of a connection. It does not own them, because they may own it.
#[derive(Clone)]
pub(super) struct Executor(Weak<Mutex<Tasks>>);

impl<F: Future<Output = ()> + Send + 'static> hyper::rt::Executor<F> for Executor {
    fn execute(&self, task: F) {
        if let Some(tasks) = self.0.upgrade() {
            let mut tasks = tasks.lock().unwrap_or_else(PoisonError::into_inner);
            while tasks.try_join_next().is_some() {}
            tasks.spawn(task);
        }
    }
}

impl Sender {
    /// Sends a request and waits for the head of its answer.
    pub(super) async fn send(
        &mut self,
        message: Request<RequestBody>,
    ) -> hyper::Result<Response<Incoming>> {
        match self {
            Self::One(sender) => sender.send_request(message).await,
            Self::Two { sender, .. } => sender.send_request(message).await,
        }
    }

    /// Whether a request may be sent now.
    pub(super) fn poll_ready(&mut self, cx: &mut Context<'_>) -> bool {
        match self {
            Self::One(sender) => sender.poll_ready(cx).is_ready() && sender.is_ready(),
            Self::Two { sender, .. } => sender.poll_ready(cx).is_ready() && sender.is_ready(),
        }
    }
}

impl Driver {
    /// Lets the connection work; ready once it has ended.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // If it ends with an error, the request that is affected returns that error.
        match self {
            Self::One(driver) => Pin::new(driver).poll(cx).map(drop),
            Self::Two(driver) => Pin::new(driver).poll(cx).map(drop),
        }
    }
}

/// Opens an HTTP/1.1 connection, which accepts `header_fields_max` fields in an answer.
pub(super) async fn open_one(
    stream: Stream,
    header_fields_max: Option<usize>,
) -> hyper::Result<(Sender, Driver)> {
    let mut builder = http1::Builder::new();
    builder
        .max_buf_size(READ_BUFFER_MAX)
        // Most clients write header names like this and accept such lines.
        .title_case_headers(true)
        .allow_obsolete_multiline_headers_in_responses(true);
    if let Some(most) = header_fields_max {
        builder.max_headers(most);
    }
    let (sender, driver) = builder.handshake(TokioIo::new(stream)).await?;
    Ok((Sender::One(sender), Driver::One(Box::new(driver))))
}

/// Opens an HTTP/2 connection.
pub(super) async fn open_two(stream: Stream) -> hyper::Result<(Sender, Driver)> {
    let tasks = Arc::default();
    let (sender, driver) = http2::Builder::new(Executor(Arc::downgrade(&tasks)))
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .max_header_list_size(HEAD_MAX)
        .handshake(TokioIo::new(stream))
        .await?;
    Ok((Sender::Two { sender, _tasks: tasks }, Driver::Two(Box::new(driver))))
}

// hyper reads into a buffer that grows up to this size: large enough to empty a socket with few
// system calls, small enough that a hundred connections stay within a few megabytes.
pub(super) const READ_BUFFER_MAX: usize = 64 * 1024;
// As many bytes of header fields as HTTP/1.1 accepts.
const HEAD_MAX: u32 = READ_BUFFER_MAX as u32;
// Bytes that a server may send before it must wait for a WINDOW_UPDATE frame: more than a path of
// 100 ms and 500 Mbit/s holds.
const WINDOW: u32 = 8 << 20;
