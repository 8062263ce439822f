//! Runs sessions over a scripted stream, without sockets: reads and writes of any length,
//! interruptions, and the end or an error at every offset. Scripts come from seeds, which a failure
//! prints. Each script runs twice: once sessions answer every request, and once the lane answers
//! those that it can.

use std::cell::{Cell, RefCell};
use std::future::Future as _;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::RawFd;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use heartbeat_protocol::{Port, Site};

use crate::config::{Config, Tier};
use crate::connection::buffers::SMALL_BYTES;
use crate::connection::dialogue::Dialogue;
use crate::connection::outbox::{Mark, Outbox};
use crate::connection::session::{Session, Start};
use crate::connection::socket::Stream;
use crate::deadlines::Wait;
use crate::lane::{Verdict, answer, session_start};
use crate::observe::end::End;
use crate::os::cgroup::MemoryGauge;
use crate::os::event_loop::Driver;
use crate::report::Report;
use crate::send::arena::{Arena, SLOTS};
use crate::send::outbound::Outbound;
use crate::send::tier::Means;
use crate::shared::{Limits, Shared};
use crate::turns::Turns;
use crate::worker::Worker;

/// A xorshift generator: small, and the same on every machine.
#[derive(Clone, Debug)]
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound as u64) as usize
    }
}

impl Random {
    /// A number from 1 to `most`, or `most` itself if `limit` does not limit it.
    fn up_to(&mut self, most: usize, limit: usize) -> usize {
        if most == 0 || limit == usize::MAX { most } else { 1 + self.below(most) }
    }
}

/// How a scripted stream behaves.
#[derive(Clone, Debug)]
struct Script {
    input: Vec<u8>,
    /// What the peer does after its input.
    input_ends: Ending,
    /// Bytes of output after which the peer is gone; None means never.
    output_ends: Option<usize>,
    /// Longest read and write.
    read_max: usize,
    write_max: usize,
    seed: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    Closed,
    Reset,
}

/// A peer that follows a script.
struct Scripted {
    script: Script,
    read: usize,
    random: Random,
    output: Rc<RefCell<Vec<u8>>>,
    is_shut: Rc<Cell<bool>>,
    /// What the session waited for at each read.
    waits: Rc<RefCell<Vec<Wait>>>,
    worker: Rc<Worker>,
}

impl Scripted {
    /// Fails with EINTR occasionally, if the script has short operations.
    fn interrupt(&mut self) -> io::Result<()> {
        let is_smooth = self.script.read_max.min(self.script.write_max) == usize::MAX;
        if !is_smooth && self.random.below(5) == 0 {
            return Err(io::Error::from_raw_os_error(libc::EINTR));
        }
        Ok(())
    }

    fn read_some(&mut self, room: usize) -> io::Result<usize> {
        self.interrupt()?;
        let left = self.script.input.len() - self.read;
        if left == 0 && self.script.input_ends == Ending::Reset {
            return Err(io::Error::from_raw_os_error(libc::ECONNRESET));
        }
        let most = left.min(room).min(self.script.read_max);
        let count = self.random.up_to(most, self.script.read_max);
        self.read += count;
        Ok(count)
    }

    /// How much of `offered` the peer takes.
    fn write_some(&mut self, offered: usize) -> io::Result<usize> {
        assert!(offered > 0 && !self.is_shut.get(), "a write of nothing, or after the end");
        self.interrupt()?;
        let room = match self.script.output_ends {
            Some(end) => end - self.output.borrow().len(),
            None => usize::MAX,
        };
        if room == 0 {
            return Err(io::Error::from_raw_os_error(libc::EPIPE));
        }
        let most = offered.min(room).min(self.script.write_max);
        Ok(self.random.up_to(most, self.script.write_max))
    }
}

impl Stream for Scripted {
    async fn receive(&mut self, mut buffer: Vec<u8>) -> (io::Result<usize>, Vec<u8>) {
        let room = buffer.capacity() - buffer.len();
        assert!(room > 0, "a read into no room");
        self.waits.borrow_mut().extend(self.worker.deadlines.armed());
        let start = self.read;
        let result = self.read_some(room);
        buffer.extend_from_slice(&self.script.input[start..self.read]);
        (result, buffer)
    }

    async fn discard(&mut self, bytes_max: u64) -> io::Result<usize> {
        self.read_some(usize::try_from(bytes_max).unwrap_or(usize::MAX))
    }

    async fn send(&mut self, bytes: Vec<u8>, from: usize) -> (io::Result<usize>, Vec<u8>) {
        let result = self.write_some(bytes.len() - from);
        if let Ok(count) = result {
            self.output.borrow_mut().extend_from_slice(&bytes[from..from + count]);
        }
        (result, bytes)
    }

    async fn send_outbound(&mut self, outbound: &Outbound) -> io::Result<usize> {
        let mut vectors = Vec::new();
        outbound.vectors(&self.worker.arena, &mut vectors);
        // Only the bytes that the peer takes are copied, because an answer may be long.
        let count = self.write_some(vectors.iter().map(|vector| vector.iov_len).sum())?;
        let (mut output, mut left) = (self.output.borrow_mut(), count);
        for vector in &vectors {
            let taken = left.min(vector.iov_len);
            output.extend_from_slice(&self.worker.arena.bytes_of(vector)[..taken]);
            left -= taken;
        }
        Ok(count)
    }

    fn fd(&self) -> Option<RawFd> {
        None
    }

    fn shutdown_send(&mut self) {
        self.is_shut.set(true);
    }

    fn reset_on_close(&mut self) {}
}

/// The result of a run.
#[derive(Debug, PartialEq, Eq)]
struct Run {
    end: End,
    output: Vec<u8>,
    waits: Vec<Wait>,
}

/// A worker without an event loop.
pub(crate) fn worker() -> Rc<Worker> {
    worker_within(None)
}

/// A worker without an event loop, within a memory limit.
pub(crate) fn worker_within(memory: Option<MemoryGauge>) -> Rc<Worker> {
    let site = Site::new("/heartbeat/", 1, 1 << 20).unwrap();
    let report = Report {
        threads: 1,
        driver: Driver::Epoll,
        driver_reason: "",
        refusal: None,
        send: Tier::Copy,
        send_reason: String::new(),
        max_connections: 1,
        max_connections_refused: None,
    };
    let limits = Limits { descriptors: 0, connections_max: 1, above_limit_max: 1 };
    let shared = Shared { memory, ..Shared::new(Config::new(site), report, limits).unwrap() };
    let (arena, turns) = (Arena::new().unwrap(), Turns::new(None));
    Rc::new(Worker::new(Arc::new(shared), 0, arena, Means::default(), turns))
}

/// Runs a script by sessions alone and with the lane. Both must have the same result.
fn run(worker: &Rc<Worker>, script: &Script) -> Run {
    thread_local! {
        static WITH_LANE: Rc<Worker> = worker_within(None);
    }
    let by_sessions = run_on(worker, script, false);
    let by_lane = WITH_LANE.with(|worker| run_on(worker, script, true));
    assert_eq!(by_sessions.end, by_lane.end);
    assert!(by_sessions.output == by_lane.output);
    by_sessions
}

fn run_on(worker: &Rc<Worker>, script: &Script, lane_answers: bool) -> Run {
    let output = Rc::new(RefCell::new(Vec::new()));
    let waits = Rc::new(RefCell::new(Vec::new()));
    let mut stream = Scripted {
        script: script.clone(),
        read: 0,
        random: Random::new(script.seed),
        output: Rc::clone(&output),
        is_shut: Rc::default(),
        waits: Rc::clone(&waits),
        worker: Rc::clone(worker),
    };
    let watch = worker.deadlines.add(-1);
    let mut is_fresh = true;
    let mut start = Start::default();
    let end = loop {
        let dialogue = Dialogue::new(worker, REMOTE, Port::Main, is_fresh);
        let mut session = Session::new(worker, watch, dialogue, stream);
        let result = {
            let mut serving = pin!(session.run(start));
            match serving.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(result) => result,
                Poll::Pending => panic!("a scripted stream never waits"),
            }
        };
        stream = session.into_stream();
        is_fresh = false;
        match result.and_then(|()| stream.stay_in_lane(lane_answers)) {
            Ok(next) => start = next,
            Err(end) => break end,
        }
    };
    worker.deadlines.remove(watch);
    assert_eq!(worker.arena.free_slots(), SLOTS, "a slot was not given back");
    Run { end, output: without_dates(&output.take()), waits: waits.take() }
}

impl Scripted {
    /// Does what the lane does with an idle connection. Returns what the next session starts with.
    fn stay_in_lane(&mut self, lane_answers: bool) -> Result<Start, End> {
        let worker = Rc::clone(&self.worker);
        let mut outbox = Outbox::with_capacity(0);
        loop {
            let start = self.read;
            match self.read_some(SMALL_BYTES) {
                Ok(0) => return Err(End::Peer),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => return Err(End::Aborted),
            }
            let input = self.script.input[start..self.read].to_vec();
            let buffers = &worker.buffers;
            if !lane_answers {
                return Ok(session_start(buffers, &outbox, (Mark::START, Mark::START), 0, &input));
            }
            let mut dialogue = Dialogue::new(&worker, REMOTE, Port::Main, false);
            match answer(&mut dialogue, &input, &mut outbox) {
                Verdict::Answered => {}
                Verdict::Unusual { used } => {
                    let marks = (Mark::START, outbox.mark());
                    return Ok(session_start(buffers, &outbox, marks, 0, &input[used..]));
                }
            }
            let bytes = outbox.bytes.len();
            let sent = self.write_some(bytes).unwrap_or(0);
            self.output.borrow_mut().extend_from_slice(&outbox.bytes[..sent]);
            if sent < bytes {
                let marks = (Mark::START, outbox.mark());
                return Ok(session_start(buffers, &outbox, marks, sent, &[]));
            }
            outbox.settle_all(worker.counters(), worker.log(), || None);
        }
    }
}

const REMOTE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Blanks the Date fields, because the second may change between two runs.
fn without_dates(output: &[u8]) -> Vec<u8> {
    const DATE: &[u8] = b"\r\nDate: ";
    const DATE_BYTES: usize = 29;
    let mut kept = output.to_vec();
    let mut from = 0;
    while let Some(at) = kept[from..].windows(DATE.len()).position(|window| window == DATE) {
        let start = from + at + DATE.len();
        let end = kept.len().min(start + DATE_BYTES);
        kept[start..end].fill(b'x');
        from = end;
    }
    kept
}

/// A few requests in a row, chosen from all kinds.
fn conversation(random: &mut Random) -> Vec<u8> {
    let requests: [&[u8]; 14] = [
        b"GET /heartbeat/17 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /heartbeat/4096 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /heartbeat/4097 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /heartbeat/70000 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"HEAD /heartbeat/70000 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /heartbeat/wire/200 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /heartbeat/0 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST /heartbeat/3 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
        b"POST /nowhere HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
        b"PUT /heartbeat/3 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
          5;x=y\r\nhello\r\n1\r\n!\r\n0\r\nA: b\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /heartbeat/9 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
        b"GET /heartbeat/9 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        b"GET /heartbeat/9 HTTP/1.1\r\nHost : a\r\n\r\n",
    ];
    let mut input = Vec::new();
    for _ in 0..1 + random.below(6) {
        // The last two end the conversation, so they are rare.
        let kinds = if random.below(4) == 0 { requests.len() } else { requests.len() - 2 };
        input.extend_from_slice(requests[random.below(kinds)]);
        if random.below(8) == 0 {
            let bytes = 10_000 + random.below(20_000);
            input.extend_from_slice(
                format!("POST /heartbeat/1 HTTP/1.1\r\nHost: a\r\nContent-Length: {bytes}\r\n\r\n")
                    .as_bytes(),
            );
            input.extend(std::iter::repeat_n(b'u', bytes));
        }
    }
    input
}

/// A script in which no operation is short and none fails.
fn smooth(input: Vec<u8>) -> Script {
    Script {
        input,
        input_ends: Ending::Closed,
        output_ends: None,
        read_max: usize::MAX,
        write_max: usize::MAX,
        seed: 0,
    }
}

#[test]
fn short_reads_and_writes_and_interruptions_change_no_byte() {
    let worker = worker();
    for seed in 0..400 {
        let mut random = Random::new(seed);
        let script = smooth(conversation(&mut random));
        let expected = run(&worker, &script);
        for (read_max, write_max) in [(1, usize::MAX), (7, 1000), (100, 17), (usize::MAX, 5)] {
            let write_max = if expected.output.len() > 50_000 { usize::MAX } else { write_max };
            let script = Script { read_max, write_max, seed, ..script.clone() };
            let got = run(&worker, &script);
            assert_eq!(got.end, expected.end, "seed {seed}, reads of {read_max}");
            assert!(got.output == expected.output, "seed {seed}, reads of {read_max}");
        }
    }
}

#[test]
fn the_peer_may_end_at_every_offset_of_its_requests() {
    let worker = worker();
    for seed in 0..30 {
        let mut random = Random::new(seed);
        let script = smooth(conversation(&mut random));
        let whole = run(&worker, &script);
        for end in 0..script.input.len().min(600) {
            for input_ends in [Ending::Closed, Ending::Reset] {
                let input = script.input[..end].to_vec();
                let script = Script { input, input_ends, read_max: 64, seed, ..script.clone() };
                let part = run(&worker, &script);
                assert!(whole.output.starts_with(&part.output), "seed {seed}, end at {end}");
            }
        }
    }
}

#[test]
fn the_peer_may_be_gone_at_every_offset_of_its_answers() {
    let worker = worker();
    for seed in 0..20 {
        let mut random = Random::new(seed);
        let script = smooth(conversation(&mut random));
        let whole = run(&worker, &script);
        let length = whole.output.len();
        let edges = (0..length.min(700)).chain(length.saturating_sub(50)..length);
        for end in edges {
            let script = Script { output_ends: Some(end), write_max: 999, seed, ..script.clone() };
            let part = run(&worker, &script);
            assert_eq!(part.end, End::Aborted, "seed {seed}, gone at {end}");
            assert_eq!(part.output.len(), end);
            assert!(whole.output.starts_with(&part.output), "seed {seed}, gone at {end}");
        }
    }
}

#[test]
fn a_wait_for_a_head_and_a_wait_for_a_body_have_separate_limits() {
    let worker = worker();
    let waits =
        |input: &[u8], read_max| run(&worker, &Script { read_max, ..smooth(input.to_vec()) }).waits;
    let get = b"GET /heartbeat/17 HTTP/1.1\r\nHost: a\r\n\r\n";
    assert_eq!(waits(get, usize::MAX), [Wait::Head]);
    assert_eq!(waits(b"", usize::MAX), [Wait::Head]);
    let trickled = waits(get, 1);
    assert!(trickled.len() >= get.len() && trickled.iter().all(|wait| *wait == Wait::Head));
    let post = b"POST /heartbeat/1 HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhello";
    assert_eq!(waits(post, usize::MAX), [Wait::Head, Wait::Receive]);
}

#[test]
fn every_answer_is_counted_once_and_an_unfinished_one_not_at_all() {
    let worker = worker();
    let input = b"GET /heartbeat/17 HTTP/1.1\r\nHost: a\r\n\r\n".repeat(200);
    let answer_bytes = run(&worker, &smooth(input[..input.len() / 200].to_vec())).output.len();
    assert_eq!(worker.counters().answers(), 1);
    let script = Script { write_max: 100, ..smooth(input) };
    run(&worker, &script);
    assert_eq!(worker.counters().answers(), 201);
    let aborted = Script { output_ends: Some(answer_bytes / 2), ..script };
    run(&worker, &aborted);
    assert_eq!(worker.counters().answers(), 201);
}
