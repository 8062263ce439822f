//! Nothing is allocated for a request, on either driver and in every send tier. This test is alone
//! in its file, because it counts the allocations of every thread of the process but the client's.

mod support;

use heartbeat_testkit::CountingAllocator;
use support::{Client, each_tier, request};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

/// Payload sizes, and how often each is requested: 10,000 requests in all.
const LOADS: [(u64, u64); 4] = [(17, 4000), (1 << 10, 4000), (64 << 10, 1500), (1 << 20, 500)];

/// Numbers of connections that have a request at the same time. With only one, no task has to give
/// way.
const CONNECTIONS: [usize; 2] = [1, 20];

/// How often a payload is requested before anything is counted. After that the buffers have their
/// final sizes, and each slot has been used.
const WARM_UP: u64 = 400;

/// What a server may allocate during a load, however many requests the load has: its housekeeping
/// depends on the time that passes, and tables double occasionally.
const ALLOCATIONS_MAX: u64 = 32;

/// All connections send a request, then all of them read their answers. This repeats until they
/// have sent `requests` requests.
fn ask(clients: &mut [Client], bytes: u64, requests: u64) {
    let asked = request("GET", &format!("/heartbeat/{bytes}"));
    for _ in 0..requests / clients.len() as u64 {
        clients.iter_mut().for_each(|client| client.send(&asked));
        for client in &mut *clients {
            assert!(client.answer().is_payload(bytes));
        }
    }
}

#[test]
fn nothing_is_allocated_for_a_request() {
    CountingAllocator::leave_out_this_thread();
    let mut wrong = Vec::new();
    for server in each_tier() {
        let (driver, send) = (server.report().driver.name(), server.report().send.name());
        for connections in CONNECTIONS {
            let before = CountingAllocator::count();
            let connect = |_| Client::connect(server.address());
            let mut clients: Vec<_> = (0..connections).map(connect).collect();
            ask(&mut clients, 17, connections as u64);
            assert!(CountingAllocator::count() > before, "a connection is allocated and counted");
            for (bytes, requests) in LOADS {
                ask(&mut clients, bytes, WARM_UP);
                let before = CountingAllocator::count();
                ask(&mut clients, bytes, requests);
                let count = CountingAllocator::count() - before;
                let report = format!(
                    "{driver} {send}, {connections} connections, {requests} x {bytes} bytes: {count}"
                );
                println!("{report}");
                if count > ALLOCATIONS_MAX {
                    wrong.push(report);
                }
            }
            clients.into_iter().for_each(Client::finish);
        }
    }
    assert!(wrong.is_empty(), "allocations: {wrong:#?}");
}
