//! Times the protocol's part of a request: parse, route, encode, the ranges of the payload.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use heartbeat_bench::exchange::{Exchange, REQUESTS, chunked_body, count_segments, decode_chunked};

fn requests(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("request");
    for (name, request) in REQUESTS {
        let mut exchange = Exchange::new();
        group.throughput(Throughput::Elements(1));
        group.bench_function(*name, |bencher| {
            bencher.iter(|| exchange.perform(black_box(request.as_bytes())));
        });
    }
    group.finish();
}

fn chunked(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("chunked");
    for (chunks, bytes) in [(4096, 16), (64, 1024), (1, 64 << 10)] {
        let body = chunked_body(chunks, bytes);
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_function(format!("{chunks} x {bytes} B"), |bencher| {
            bencher.iter(|| decode_chunked(black_box(&body)));
        });
    }
    group.finish();
}

fn segments(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("segments");
    for bytes in [17, 64 << 10, 1 << 20, 1 << 30] {
        group.bench_function(format!("{bytes} B"), |bencher| {
            bencher.iter(|| count_segments(black_box(bytes)));
        });
    }
    group.finish();
}

criterion_group!(benches, requests, chunked, segments);
criterion_main!(benches);
