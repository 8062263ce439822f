//! Connections are spread evenly over the workers, whatever queue the kernel puts them in, and
//! none is lost on its way from one worker to another.

mod support;

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::sync::{Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use heartbeat_runtime::Config;
use socket2::{Domain, Socket, Type};
use support::{
    Client, Deadline, PATIENCE, Served, each_driver_with, eventually, of_each_worker, request,
    waits,
};

/// So many more waits than the other worker show which worker serves a connection: this one waits
/// once more after each request, unless the machine is so busy that the next request comes before.
const LEAD: u64 = 4;

/// A pause in which a worker that has answered usually begins to wait.
const PAUSE: Duration = Duration::from_millis(1);

/// Only one test runs at a time, because each counts threads and descriptors of the whole process.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

fn two_workers(config: &mut Config) {
    config.threads = Some(2);
    config.drain_timeout = 10 * PATIENCE;
}

/// A connection that has been accepted, because a request on it has been answered.
fn connect(server: &Served) -> Client {
    let mut client = Client::connect(server.address());
    assert_eq!(client.get("/heartbeat/17").status, 200);
    client
}

/// Which of the two workers serves a connection.
fn worker_of(client: &mut Client) -> usize {
    let before = of_each_worker(waits);
    let deadline = Deadline::new();
    loop {
        assert_eq!(client.get("/heartbeat/17").status, 200);
        thread::sleep(PAUSE);
        let after = of_each_worker(waits);
        let [first, second] = [0, 1].map(|worker| after[worker].1 - before[worker].1);
        if first.abs_diff(second) >= LEAD {
            return usize::from(second > first);
        }
        deadline.check("a worker that waits more often than the other");
    }
}

/// How many of the connections each of two workers serves.
fn counts(clients: &mut [Client]) -> [usize; 2] {
    let second = clients.iter_mut().map(worker_of).sum::<usize>();
    [clients.len() - second, second]
}

#[track_caller]
fn expect_balance(clients: &mut [Client]) {
    let [first, second] = counts(clients);
    assert!(first.abs_diff(second) <= 1, "{first} and {second} of {}", clients.len());
}

fn metric(server: &Served, name: &str) -> u64 {
    let mut client = Client::connect(server.address());
    let value = metric_on(&mut client, name);
    client.finish();
    value
}

/// The same on a connection that stays.
fn metric_on(client: &mut Client, name: &str) -> u64 {
    let (_, text) = client.get_text("/metrics");
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.expect("the metric").parse().expect("a number")
}

fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").expect("procfs").count()
}

#[test]
fn the_workers_have_the_same_number_of_connections_or_one_more() {
    let _alone = alone();
    for connections in [2, 3, 4, 16, 64] {
        for server in each_driver_with(two_workers) {
            let mut clients: Vec<_> = (0..connections).map(|_| connect(&server)).collect();
            expect_balance(&mut clients);
        }
    }
}

#[test]
fn new_connections_go_to_the_worker_whose_connections_have_closed() {
    let _alone = alone();
    for server in each_driver_with(two_workers) {
        let mut clients: Vec<_> = (0..16).map(|_| connect(&server)).collect();
        for left in [0, 1, 0] {
            let (gone, stay): (Vec<_>, Vec<_>) = clients
                .into_iter()
                .map(|mut client| (worker_of(&mut client), client))
                .partition(|(worker, _)| *worker == left);
            clients = stay.into_iter().map(|(_, client)| client).collect();
            gone.into_iter().for_each(|(_, client)| client.finish());
            // A worker counts a connection out a moment after its peer has seen the end.
            let (stay, staying) = (clients.len() as u64, &mut clients[0]);
            eventually("they are counted out", || {
                metric_on(staying, "heartbeat_connections") == stay
            });
            while clients.len() < 16 {
                clients.push(connect(&server));
            }
            expect_balance(&mut clients);
        }
    }
}

#[test]
fn the_maximum_holds_over_all_workers() {
    let _alone = alone();
    let adjust = |config: &mut Config| {
        two_workers(config);
        config.max_connections = Some(5);
    };
    for server in each_driver_with(adjust) {
        let mut clients: Vec<_> = (0..5).map(|_| connect(&server)).collect();
        assert_eq!(metric_on(&mut clients[0], "heartbeat_connections"), 5);
        let mut sixth = Client::connect(server.address());
        assert_eq!(sixth.answer().status, 503);
        sixth.expect_end();
        expect_balance(&mut clients);
        for client in &mut clients {
            assert_eq!(client.get("/heartbeat/17").status, 200);
        }
    }
}

#[test]
fn no_connection_of_a_thousand_short_ones_is_lost() {
    let _alone = alone();
    for server in each_driver_with(two_workers) {
        thread::scope(|scope| {
            for _ in 0..10 {
                scope.spawn(|| (0..100).for_each(|_| connect(&server).finish()));
            }
        });
        assert_eq!(metric(&server, "heartbeat_connections_total"), 1001);
        eventually("all are counted out", || metric(&server, "heartbeat_connections") == 1);
        server.stop();
        server.expect_finish(PATIENCE);
    }
}

#[test]
fn connections_in_an_inbox_when_a_drain_begins_are_answered() {
    let _alone = alone();
    for _ in 0..10 {
        for server in each_driver_with(two_workers) {
            let mut clients: Vec<_> = (0..64).map(|_| Client::connect(server.address())).collect();
            server.stop();
            for client in &mut clients {
                assert_eq!(client.get("/heartbeat/17").status, 200);
                client.expect_end();
            }
            drop(clients);
            server.expect_finish(PATIENCE);
        }
    }
}

#[test]
fn a_server_that_ends_leaves_no_connection_in_an_inbox() {
    let _alone = alone();
    drop(each_driver_with(two_workers).collect::<Vec<_>>());
    let before = descriptors();
    for round in 0..20 {
        for server in each_driver_with(two_workers) {
            let clients: Vec<_> = (0..64).map(|_| Client::connect(server.address())).collect();
            if round % 2 == 0 {
                server.stop();
            }
            drop(server);
            drop(clients);
        }
    }
    eventually("the descriptors are closed", || descriptors() <= before);
}

/// Sets the soft RLIMIT_NOFILE, and returns the previous one.
fn limit_descriptors(soft: libc::rlim_t) -> libc::rlim_t {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the limit is live for the call.
    assert_eq!(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) }, 0);
    let before = limit.rlim_cur;
    limit.rlim_cur = soft;
    // SAFETY: as above.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) }, 0);
    before
}

#[test]
fn connections_that_wait_for_descriptors_are_handed_over_in_their_turn() {
    const CONNECTIONS: usize = 16;
    const FREE: usize = 4;
    let _alone = alone();
    for server in each_driver_with(two_workers) {
        let new_socket = |_| Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        let sockets: Vec<_> = (0..CONNECTIONS).map(new_socket).collect();
        // Uses up the descriptor numbers up to a limit, except for a few.
        let used = sockets.iter().map(AsRawFd::as_raw_fd).max().expect("sockets");
        let mut fillers = vec![File::open("/dev/null").expect("a file")];
        while fillers[fillers.len() - 1].as_raw_fd() < used {
            fillers.push(File::open("/dev/null").expect("a file"));
        }
        fillers.extend((0..FREE).map(|_| File::open("/dev/null").expect("a file")));
        let top = fillers.iter().map(AsRawFd::as_raw_fd).max().expect("files");
        fillers.truncate(fillers.len() - FREE);
        let before = limit_descriptors(top as libc::rlim_t + 1);
        let mut clients: Vec<_> = sockets
            .into_iter()
            .map(|socket| {
                socket.connect(&server.address().into()).expect("a server that listens");
                Client::over(socket.into())
            })
            .collect();
        eventually("descriptors are used up", || File::open("/dev/null").is_err());
        for client in &mut clients {
            client.send("GET /heartbeat/17 HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
        }
        for client in &mut clients {
            assert_eq!(client.answer().status, 200);
            client.expect_end();
        }
        limit_descriptors(before);
        drop((fillers, clients));
        let mut clients = vec![connect(&server)];
        let first = &mut clients[0];
        eventually("they are gone", || metric_on(first, "heartbeat_connections") == 1);
        clients.extend((1..CONNECTIONS).map(|_| connect(&server)));
        expect_balance(&mut clients);
    }
}

#[test]
fn a_connection_that_is_handed_over_serves_everything() {
    let _alone = alone();
    for server in each_driver_with(two_workers) {
        let mut clients: Vec<_> = (0..8).map(|_| connect(&server)).collect();
        for client in &mut clients {
            for bytes in [1, 4096, 65_536, 1 << 20] {
                client.send(request("GET", &format!("/heartbeat/{bytes}")).repeat(3));
                for _ in 0..3 {
                    assert_eq!(client.answer().content_length(), bytes);
                }
            }
        }
        clients.into_iter().for_each(Client::finish);
    }
}
