//! io_uring is refused by the kernel, a seccomp profile or a limit: the server serves on epoll and
//! warns once why, or reports why it does not start.

mod binary;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use binary::{not_tested, program, serving};
use heartbeat_testkit::{Client, Program, Sandbox, Signal, command, failing};

/// The C library's text for ENOMEM.
const NO_MEMORY: &str =
    if cfg!(target_env = "musl") { "Out of memory" } else { "Cannot allocate memory" };

/// The errors of Docker and containerd, of Podman, and of old kernels: number, text, cause.
const ERRNOS: [(i32, &str, &str); 3] = [
    (libc::EPERM, "Operation not permitted", "seccomp"),
    (libc::ENOSYS, "Function not implemented", "seccomp"),
    (libc::ENOMEM, NO_MEMORY, "RLIMIT_MEMLOCK"),
];

/// Checks answers of every size class, an upload, and the end of connections.
#[track_caller]
fn assert_serves(server: &Program) {
    let mut client = server.connect();
    for bytes in [1, 17, 4096, 4097, 65_536, 1 << 20] {
        let head = client.get(&format!("/heartbeat/{bytes}"));
        assert_eq!((head.status, head.content_length()), (200, bytes));
    }
    client.send("POST /heartbeat/17 HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n");
    client.send(vec![0; 100_000]);
    assert_eq!(client.answer().status, 200);
    let mut clients: Vec<_> = (0..32).map(|_| server.connect()).collect();
    for client in &mut clients {
        assert_eq!(client.get("/heartbeat/100000").status, 200);
    }
    clients.into_iter().for_each(Client::finish);
    client.finish();
}

/// Checks that the server serves on epoll, and warns in one line that names the refused call, the
/// error and `cause`.
#[track_caller]
fn assert_on_epoll(server: &Program, call: &str, error: &str, cause: &str) {
    let warnings = server.warnings();
    assert_eq!(warnings.len(), 1, "{}", server.banner());
    let start = format!("heartbeat: warning: io_uring is not used: {call} refused: {error}");
    assert!(warnings[0].starts_with(&start), "{}\nis not\n{start}", warnings[0]);
    assert!(warnings[0].contains(cause), "{cause} in {}", warnings[0]);
    assert!(server.reported("driver").starts_with("epoll ("), "{}", server.banner());
    // epoll has the tier splice as well, but no registered buffers, even if they were asked for.
    let send = server.reported("send").split(' ').next().unwrap_or_default().to_owned();
    assert!(["splice", "copy"].contains(&send.as_str()), "{}", server.banner());
    let json = version_json(server);
    assert!(json.contains(&format!("\"driver\":\"epoll\",\"send\":\"{send}\"")), "{json}");
    assert_serves(server);
}

/// What the server reports of itself.
#[track_caller]
fn version_json(server: &Program) -> String {
    server.get_text("/version?format=json").1
}

#[track_caller]
fn assert_ends_cleanly(mut server: Program) {
    server.signal(Signal::Terminate);
    assert_eq!(server.expect_exit(), Some(0), "{}", server.said());
}

/// Whether this machine has io_uring if the test does not refuse it.
fn has_uring() -> bool {
    let has = Program::start(serving(&[])).reported("driver").starts_with("io_uring");
    if !has {
        not_tested("io_uring, which this machine refuses");
    }
    has
}

#[test]
fn a_refused_setup_means_epoll_for_all_workers_and_one_warning() {
    for (errno, error, cause) in ERRNOS {
        for threads in ["1", "2"] {
            let command = serving(&["--threads", threads]).refuse(libc::SYS_io_uring_setup, errno);
            let server = Program::start(command);
            assert_on_epoll(&server, "io_uring_setup", error, cause);
            assert_ends_cleanly(server);
        }
    }
}

#[test]
fn a_refused_setup_is_a_failure_if_io_uring_is_required() {
    for (errno, error, cause) in ERRNOS {
        for threads in ["1", "2"] {
            let arguments = ["--io", "uring", "--threads", threads];
            let command = serving(&arguments).refuse(libc::SYS_io_uring_setup, errno);
            let (code, line) = failing(command);
            assert_eq!(code, Some(1), "{line}");
            assert!(line.contains("--io uring") && line.contains(error), "{line}");
            assert!(line.contains(cause) && line.contains("--io auto"), "{line}");
        }
    }
}

#[test]
fn io_epoll_never_calls_io_uring_setup_and_warns_of_nothing() {
    for errno in [libc::EPERM, libc::ENOSYS] {
        let command = serving(&["--io", "epoll"]).refuse(libc::SYS_io_uring_setup, errno);
        let server = Program::start(command);
        assert!(server.warnings().is_empty(), "{}", server.banner());
        assert_eq!(server.reported("driver"), "epoll (as configured)");
        assert_serves(&server);
        assert_ends_cleanly(server);
    }
}

#[test]
fn a_refused_enter_means_epoll_too() {
    if !has_uring() {
        return;
    }
    for (errno, error, _) in &ERRNOS[..2] {
        let command = serving(&["--threads", "2"]).refuse(libc::SYS_io_uring_enter, *errno);
        let server = Program::start(command);
        assert_on_epoll(&server, "io_uring_enter", error, "seccomp");
        assert_ends_cleanly(server);

        let command = serving(&["--io", "uring"]).refuse(libc::SYS_io_uring_enter, *errno);
        let (code, line) = failing(command);
        assert_eq!(code, Some(1), "{line}");
        assert!(line.contains("io_uring_enter") && line.contains(error), "{line}");
    }
}

#[test]
fn a_refused_registration_means_io_uring_without_registered_buffers() {
    if !has_uring() {
        return;
    }
    for errno in [libc::EPERM, libc::ENOSYS] {
        for arguments in
            [["--io", "auto", "--send", "registered"], ["--io", "uring", "--send", "zerocopy"]]
        {
            let command = serving(&arguments).refuse(libc::SYS_io_uring_register, errno);
            let server = Program::start(command);
            assert!(server.reported("driver").starts_with("io_uring ("), "{}", server.banner());
            let send = server.reported("send");
            assert!(send.starts_with("copy (") && send.contains("io_uring_register"), "{send}");
            let json = version_json(&server);
            assert!(json.contains("\"driver\":\"io_uring\",\"send\":\"copy\""), "{json}");
            assert_serves(&server);
            assert_ends_cleanly(server);
        }
    }
}

/// A copy of the program that any user may execute, even if the build directory is closed to
/// others.
struct Copy(PathBuf);

impl Copy {
    fn new(name: &str) -> Self {
        let directory = std::env::temp_dir();
        let copy = directory.join(format!("heartbeat-{name}-{}", std::process::id()));
        fs::copy(binary::path(), &copy).expect("a copy");
        fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)).expect("permissions");
        Self(copy)
    }

    /// The command with this copy as its program.
    fn of(&self, original: &Command) -> Command {
        let mut copied = command(&self.0, &[]);
        copied.args(original.get_args());
        copied
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// While the limit rises from nothing to enough, the server first has io_uring without registered
/// buffers. If the kernel charges the rings to the limit as well (Linux 6.14), it first has epoll.
#[test]
fn too_little_locked_memory_means_copies_and_nothing_worse() {
    if !has_uring() {
        return;
    }
    let copy = Copy::new("memlock");
    let arguments = ["--threads", "2", "--send", "registered"];
    let best = Program::start(serving(&arguments)).reported("send").to_owned();
    for limit_kib in (0..=512).step_by(64) {
        let command = copy.of(&serving(&arguments));
        let command = command.limit(libc::RLIMIT_MEMLOCK, limit_kib << 10).unprivileged();
        let server = Program::start(command);
        let (driver, send) = (server.reported("driver"), server.reported("send"));
        if driver.starts_with("epoll") {
            assert_on_epoll(&server, "io_uring_setup", NO_MEMORY, "RLIMIT_MEMLOCK");
        } else if send != best {
            assert!(send.starts_with("copy (") && send.contains("RLIMIT_MEMLOCK"), "{send}");
            assert!(server.warnings().is_empty(), "{}", server.banner());
            assert!(version_json(&server).contains("\"driver\":\"io_uring\",\"send\":\"copy\""));
            assert_serves(&server);
        }
        assert!(limit_kib > 0 || send.starts_with("copy ("), "{send}");
        assert_ends_cleanly(server);
    }
}

#[test]
fn a_send_tier_that_is_not_available_is_no_reason_to_fail() {
    let copy = Copy::new("tiers");
    for send in ["registered", "zerocopy"] {
        let command = copy.of(&serving(&["--send", send]));
        let server = Program::start(command.limit(libc::RLIMIT_MEMLOCK, 0).unprivileged());
        assert!(server.reported("send").starts_with("copy ("), "{}", server.banner());
        assert!(version_json(&server).contains("\"send\":\"copy\""));
        assert_serves(&server);
        assert_ends_cleanly(server);
    }
}

#[test]
fn a_user_without_privileges_has_registered_buffers_within_the_usual_limit() {
    let copy = Copy::new("unprivileged");
    let usual = Program::start(serving(&[]));
    let command = copy.of(&serving(&[]));
    let server = Program::start(command.limit(libc::RLIMIT_MEMLOCK, 8 << 20).unprivileged());
    assert_eq!(server.reported("driver"), usual.reported("driver"));
    assert_eq!(server.reported("send"), usual.reported("send"));
    assert_serves(&server);
}

#[test]
fn the_usual_limit_has_room_for_64_event_loops() {
    let copy = Copy::new("loops");
    let usual = Program::start(serving(&[]));
    let command = copy.of(&serving(&["--threads", "64"]));
    let server = Program::start(command.limit(libc::RLIMIT_MEMLOCK, 8 << 20).unprivileged());
    assert_eq!(server.reported("driver"), usual.reported("driver"), "{}", server.banner());
    assert_serves(&server);
}

#[test]
fn the_filter_of_these_tests_is_in_force() {
    let (code, line) = failing(serving(&["--io", "epoll"]).refuse(libc::SYS_socket, libc::EACCES));
    assert_eq!(code, Some(1), "{line}");
    assert!(line.contains("Permission denied"), "{line}");
    let output = program(&["--version"]).refuse(libc::SYS_socket, libc::EACCES).output();
    assert!(output.expect("a run").status.success());
}
