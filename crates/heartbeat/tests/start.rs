//! A start ends in one of two ways, whatever the kernel refuses: the server serves, or it exits
//! with 1 after one line that names the cause and the remedy. It never hangs, and a signal ends it.

mod binary;

use std::fmt;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::process::{Command, ExitStatus};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use binary::serving;
use heartbeat_testkit::{
    Client, Launch, PATIENCE, Sandbox, Signal, address_in, comes_true_within, request,
};

/// How long a start may take until it serves or has ended. A start that takes longer is tried once
/// more with no other beside it, because the machine may have been busy.
const START_LIMIT: Duration = Duration::from_secs(2);

/// How long a test waits for a start. It distinguishes an end from a hang.
const START_WAIT: Duration = PATIENCE;

/// How long one request waits for its answer before another one is sent.
const ANSWER_LIMIT: Duration = Duration::from_millis(500);

/// How many starts run at a time.
const AT_A_TIME: usize = 8;

/// What container runtimes answer to a system call that their seccomp profile refuses.
const REFUSALS: [(i32, &str); 2] =
    [(libc::EPERM, "Operation not permitted"), (libc::ENOSYS, "Function not implemented")];

const DRIVERS: [&str; 2] = ["auto", "epoll"];

/// Every system call of a start after the beginning of `main`, as strace(1) lists them, and a few
/// that a start may need in other circumstances.
const CALLS: [(&str, libc::c_long); 38] = [
    ("accept4", libc::SYS_accept4),
    ("bind", libc::SYS_bind),
    ("clone", libc::SYS_clone),
    ("clone3", libc::SYS_clone3),
    ("close", libc::SYS_close),
    ("dup3", libc::SYS_dup3),
    ("epoll_create1", libc::SYS_epoll_create1),
    ("epoll_ctl", libc::SYS_epoll_ctl),
    ("epoll_pwait", libc::SYS_epoll_pwait),
    ("eventfd2", libc::SYS_eventfd2),
    ("fcntl", libc::SYS_fcntl),
    ("getpid", libc::SYS_getpid),
    ("getsockname", libc::SYS_getsockname),
    ("io_uring_enter", libc::SYS_io_uring_enter),
    ("io_uring_register", libc::SYS_io_uring_register),
    ("io_uring_setup", libc::SYS_io_uring_setup),
    ("ioctl", libc::SYS_ioctl),
    ("listen", libc::SYS_listen),
    ("madvise", libc::SYS_madvise),
    ("memfd_create", libc::SYS_memfd_create),
    ("munmap", libc::SYS_munmap),
    ("openat", libc::SYS_openat),
    ("pipe2", libc::SYS_pipe2),
    ("prctl", libc::SYS_prctl),
    ("prlimit64", libc::SYS_prlimit64),
    ("read", libc::SYS_read),
    ("rt_sigprocmask", libc::SYS_rt_sigprocmask),
    ("rt_sigtimedwait", libc::SYS_rt_sigtimedwait),
    ("sched_getaffinity", libc::SYS_sched_getaffinity),
    ("sched_setaffinity", libc::SYS_sched_setaffinity),
    ("setsockopt", libc::SYS_setsockopt),
    ("shutdown", libc::SYS_shutdown),
    ("socket", libc::SYS_socket),
    ("socketpair", libc::SYS_socketpair),
    ("splice", libc::SYS_splice),
    ("statx", libc::SYS_statx),
    ("tee", libc::SYS_tee),
    ("timerfd_create", libc::SYS_timerfd_create),
];

/// System calls without which the C library or Rust's standard library ends the process, mostly
/// before `main`. The program can then neither do nor say anything, but it must not hang.
const CALLS_OF_LIBRARIES: [(&str, libc::c_long); 10] = [
    ("brk", libc::SYS_brk),
    ("futex", libc::SYS_futex),
    ("getrandom", libc::SYS_getrandom),
    ("gettid", libc::SYS_gettid),
    ("mmap", libc::SYS_mmap),
    ("mprotect", libc::SYS_mprotect),
    ("rseq", libc::SYS_rseq),
    ("rt_sigaction", libc::SYS_rt_sigaction),
    ("set_robust_list", libc::SYS_set_robust_list),
    ("sigaltstack", libc::SYS_sigaltstack),
];

/// How a start ended.
enum Outcome {
    /// It answered `/healthz`, and a signal ended it with 0.
    Served,
    /// It exited with 1 after this line.
    Refused(String),
    /// The dynamic loader could not load it. A static program has none.
    NotLoaded,
    /// A signal or another exit code ended it.
    Died(String),
    /// It neither served nor exited in time.
    Hung(String),
}

impl fmt::Display for Outcome {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Served => write!(formatter, "served"),
            Self::Refused(line) => write!(formatter, "says {}", line.trim_end()),
            Self::NotLoaded => write!(formatter, "not loaded"),
            Self::Died(how) => write!(formatter, "died: {how}"),
            Self::Hung(how) => write!(formatter, "HUNG: {how}"),
        }
    }
}

impl Outcome {
    /// Starts the program. The time is that until it serves or has ended.
    fn of(command: &mut Command) -> (Self, Duration) {
        let begin = Instant::now();
        let mut launch = Launch::new(command).expect("a program that can be executed");
        let mut is_served = false;
        let is_decided = comes_true_within(START_WAIT, || {
            is_served = address_in(&launch.said()).is_some_and(answers);
            is_served || launch.is_silent()
        });
        let took = begin.elapsed();
        if is_decided && !is_served {
            let status = launch.wait(START_WAIT).expect("silent, so it ends");
            return (Self::of_end(status, launch.said()), begin.elapsed());
        }
        launch.signal(Signal::Terminate);
        let status = launch.wait(START_WAIT).map(|status| status.to_string());
        let outcome = match (is_served, status.as_deref()) {
            (true, Some("exit status: 0")) => Self::Served,
            (true, Some(status)) => Self::Died(format!("served, then {status}")),
            (true, None) => Self::Hung("served, but SIGTERM did not end it".to_owned()),
            (false, Some(status)) => Self::Hung(format!("SIGTERM ended it: {status}")),
            (false, None) => Self::Hung("SIGTERM did not end it".to_owned()),
        };
        (outcome, took)
    }

    fn of_end(status: ExitStatus, said: String) -> Self {
        let is_line = said.starts_with("heartbeat: ") && said.ends_with('\n');
        match status.code() {
            Some(1) if is_line && said.lines().count() == 1 => Self::Refused(said),
            Some(127) if said.contains("shared librar") => Self::NotLoaded,
            _ => Self::Died(format!("{status}: {said:?}")),
        }
    }
}

/// Whether a server answers `/healthz` with 200.
fn answers(address: SocketAddr) -> bool {
    let Ok(mut client) = Client::try_connect(address) else { return false };
    client.stream().set_read_timeout(Some(ANSWER_LIMIT)).expect("SO_RCVTIMEO");
    let asked = client.try_send(request("GET", "/healthz"));
    asked.and_then(|()| client.try_head()).is_ok_and(|head| head.status == 200)
}

/// A row of a table: its name, how the program is started, and which outcomes are wrong.
struct Row {
    name: String,
    command: Command,
    wrong: Box<dyn Fn(&Outcome) -> bool + Send>,
}

/// A row after its start.
struct Ended {
    row: Row,
    outcome: Outcome,
    took: Duration,
}

impl Ended {
    fn of(mut row: Row) -> Self {
        let (outcome, took) = Outcome::of(&mut row.command);
        Self { row, outcome, took }
    }

    fn is_wrong(&self) -> bool {
        self.took > START_LIMIT || (self.row.wrong)(&self.outcome)
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { row, outcome, took } = self;
        write!(formatter, "{}, {} ms: {outcome}", row.name, took.as_millis())
    }
}

/// Starts the program of every row, some at a time, and panics with a list of all that are wrong.
/// `--nocapture` shows the starts that did not serve, and what each of them said.
fn check(rows: Vec<Row>) {
    let count = rows.len();
    let rows = Mutex::new(rows);
    let ended = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..AT_A_TIME {
            scope.spawn(|| {
                let next = || rows.lock().unwrap_or_else(PoisonError::into_inner).pop();
                while let Some(row) = next() {
                    let end = Ended::of(row);
                    ended.lock().unwrap_or_else(PoisonError::into_inner).push(end);
                }
            });
        }
    });
    let ended = ended.into_inner().unwrap_or_else(PoisonError::into_inner).into_iter();
    let again = |end: Ended| if end.took > START_LIMIT { Ended::of(end.row) } else { end };
    let mut ended: Vec<Ended> = ended.map(again).collect();
    ended.sort_by(|one, other| one.row.name.cmp(&other.row.name));
    let has_served = |end: &&Ended| matches!(end.outcome, Outcome::Served);
    for end in ended.iter().filter(|end| !has_served(end)) {
        let _ = writeln!(io::stdout(), "{end}");
    }
    let served = ended.iter().filter(has_served).count();
    let slowest = ended.iter().map(|end| end.took).max().unwrap_or_default();
    let _ =
        writeln!(io::stdout(), "{served} of {count} starts served, the slowest took {slowest:.1?}");
    let wrong: Vec<String> =
        ended.iter().filter(|end| end.is_wrong()).map(Ended::to_string).collect();
    assert!(wrong.is_empty(), "{} of {count} starts:\n{}", wrong.len(), wrong.join("\n"));
    assert!(served > 0, "no start of {count} served");
}

/// The program with these options. Its drain ends well before [`START_WAIT`].
fn start_with(driver: &str, threads: &str) -> Command {
    serving(&["--io", driver, "--threads", threads, "--drain-timeout", "500ms"])
}

/// Rows for each driver, for one worker and for two, and for each refusal.
fn rows_of(
    calls: &[(&'static str, libc::c_long)],
    is_wrong: impl Fn(&Outcome, &str, &str) -> bool + Copy + Send + 'static,
) -> Vec<Row> {
    let mut rows = Vec::new();
    for &(name, call) in calls {
        for (errno, error) in REFUSALS {
            for driver in DRIVERS {
                for threads in ["1", "2"] {
                    rows.push(Row {
                        name: format!("{name}, {error}, --io {driver} --threads {threads}"),
                        command: start_with(driver, threads).refuse(call, errno),
                        wrong: Box::new(move |outcome| is_wrong(outcome, name, error)),
                    });
                }
            }
        }
    }
    rows
}

#[test]
fn a_start_without_a_system_call_serves_or_says_why_not() {
    let is_wrong = |outcome: &Outcome, call: &str, error: &str| match outcome {
        Outcome::Served | Outcome::NotLoaded => false,
        // A privilege is neither the cause nor the remedy: the port is above 1023.
        Outcome::Refused(line) => {
            // The musl C library hides the error of clone(2) when it starts a thread.
            let is_hidden = cfg!(target_env = "musl") && line.contains(" or clone refused");
            !(line.contains(error) || is_hidden)
                || !line.contains(call)
                || !line.contains("seccomp")
                || line.contains("CAP_NET_BIND")
        }
        Outcome::Died(_) | Outcome::Hung(_) => true,
    };
    check(rows_of(&CALLS, is_wrong));
}

/// Not every architecture has these calls: others have only `epoll_pwait` and `openat`.
#[cfg(target_arch = "x86_64")]
#[test]
fn a_start_without_a_system_call_of_this_architecture_serves_or_says_why_not() {
    let calls = [("epoll_wait", libc::SYS_epoll_wait), ("open", libc::SYS_open)];
    let is_wrong = |outcome: &Outcome, call: &str, error: &str| match outcome {
        Outcome::Served => false,
        Outcome::Refused(line) => {
            [call, error, "seccomp"].iter().any(|expected| !line.contains(expected))
        }
        _ => true,
    };
    check(rows_of(&calls, is_wrong));
}

#[test]
fn a_start_that_the_libraries_end_does_not_hang() {
    check(rows_of(&CALLS_OF_LIBRARIES, |outcome, _, _| matches!(outcome, Outcome::Hung(_))));
}

/// The program cannot report the error, but its exit code must be right.
#[test]
fn a_failed_start_that_can_not_write_exits_with_1() {
    let mut rows = rows_of(&[("write", libc::SYS_write)], |outcome, _, _| match outcome {
        Outcome::Hung(_) | Outcome::Served => true,
        Outcome::Died(told) => !told.starts_with("exit status: 1"),
        _ => false,
    });
    // An address of no interface (RFC 5737), so that the start fails by itself.
    rows.iter_mut().for_each(|row| {
        row.command.args(["--address", "192.0.2.1"]);
    });
    rows.push(Row {
        name: "nothing refused".to_owned(),
        command: serving(&[]),
        wrong: Box::new(|outcome| !matches!(outcome, Outcome::Served)),
    });
    check(rows);
}

#[test]
fn a_start_with_few_descriptors_serves_or_says_why_not() {
    let many = [(512, "64"), (1024, "128")];
    let few = (3..=64).flat_map(|limit| ["1", "2", "16"].map(|threads| (limit, threads)));
    let mut rows = Vec::new();
    for (limit, threads) in few.chain(many) {
        for driver in DRIVERS {
            let command = start_with(driver, threads);
            rows.push(Row {
                name: format!("{limit:4} descriptors, --io {driver} --threads {threads}"),
                command: command.limit(libc::RLIMIT_NOFILE, limit),
                wrong: Box::new(|outcome| match outcome {
                    Outcome::Served | Outcome::NotLoaded => false,
                    Outcome::Refused(line) => !is_about_descriptors(line),
                    Outcome::Died(_) | Outcome::Hung(_) => true,
                }),
            });
        }
    }
    check(rows);
}

/// Whether a line names too few descriptors as the cause, and how to have more.
fn is_about_descriptors(line: &str) -> bool {
    let has_cause = line.contains("descriptors") || line.contains("Too many open files");
    has_cause && (line.contains("ulimit -n") || line.contains("RLIMIT_NOFILE"))
}

#[test]
fn a_signal_ends_a_start() {
    for delay_ms in 0..30 {
        let mut launches = Vec::new();
        for (driver, limit) in DRIVERS.iter().flat_map(|io| [(io, 64), (io, 512), (io, 4096)]) {
            let mut command = start_with(driver, "64").limit(libc::RLIMIT_NOFILE, limit);
            let mut launch = Launch::new(&mut command).expect("a program that can be executed");
            thread::sleep(Duration::from_millis(delay_ms));
            if launch.ended().is_none() {
                launch.signal(Signal::Terminate);
            }
            launches.push((launch, driver, limit));
        }
        // A server that has started drains for a moment, during which the others start.
        for (mut launch, driver, limit) in launches {
            let has_ended = launch.wait(START_WAIT).is_some();
            assert!(has_ended, "--io {driver}, {limit} descriptors, {delay_ms} ms");
        }
    }
}
