//! The metrics in Prometheus' protobuf, parsed by an independent parser.

// A failure in a helper function is a failure of the test.
#![allow(clippy::unwrap_used)]

mod process;
mod stub;

use std::io::{Read, Write};
use std::net::TcpStream;

use process::{Background, Folder, free_port, program, wait_for};
use stub::{Reply, Stub, answer};

/// What Prometheus 3 sends if it collects native histograms.
const ACCEPT: &str = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;\
    encoding=delimited;q=0.6,application/openmetrics-text;version=1.0.0;q=0.5,\
    text/plain;version=0.0.4;q=0.3,*/*;q=0.1";
const DURATIONS: &str = "heartbeat_probe_request_duration_seconds";

#[derive(Clone, Debug)]
enum Value {
    Number(u64),
    Double(f64),
    Bytes(Vec<u8>),
}

/// The fields of a message, in their order.
struct Message(Vec<(u64, Value)>);

impl Message {
    fn parse(bytes: &[u8]) -> Self {
        let (mut rest, mut fields) = (bytes, Vec::new());
        while !rest.is_empty() {
            let key = varint(&mut rest);
            let value = match key & 7 {
                0 => Value::Number(varint(&mut rest)),
                1 => Value::Double(f64::from_le_bytes(take(&mut rest, 8).try_into().unwrap())),
                2 => {
                    let length = varint(&mut rest);
                    Value::Bytes(take(&mut rest, usize::try_from(length).unwrap()).to_vec())
                }
                other => panic!("a field of the kind {other}"),
            };
            fields.push((key >> 3, value));
        }
        Self(fields)
    }

    fn numbers(&self, field: u64) -> Vec<u64> {
        let number = |(of, value): &(u64, Value)| match value {
            Value::Number(number) if *of == field => Some(*number),
            _ => None,
        };
        self.0.iter().filter_map(number).collect()
    }

    fn doubles(&self, field: u64) -> Vec<f64> {
        let double = |(of, value): &(u64, Value)| match value {
            Value::Double(double) if *of == field => Some(*double),
            _ => None,
        };
        self.0.iter().filter_map(double).collect()
    }

    fn all_bytes(&self, field: u64) -> Vec<&[u8]> {
        let mut found = Vec::new();
        for (of, value) in &self.0 {
            if let Value::Bytes(bytes) = value
                && *of == field
            {
                found.push(bytes.as_slice());
            }
        }
        found
    }

    fn messages(&self, field: u64) -> Vec<Self> {
        self.all_bytes(field).into_iter().map(Self::parse).collect()
    }

    fn text(&self, field: u64) -> String {
        String::from_utf8(self.all_bytes(field)[0].to_vec()).unwrap()
    }
}

fn take<'a>(rest: &mut &'a [u8], count: usize) -> &'a [u8] {
    let (taken, left) = rest.split_at(count);
    *rest = left;
    taken
}

fn varint(rest: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = take(rest, 1)[0];
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return value;
        }
    }
    panic!("a number that does not end");
}

fn signed(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

fn scrape(port: u16, accept: &str) -> (String, Vec<u8>) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let request = format!(
        "GET /metrics HTTP/1.1\r\nHost: x\r\nAccept: {accept}\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
    let body = answer.split_off(end);
    (String::from_utf8(answer).unwrap().to_ascii_lowercase(), body)
}

fn families(page: &[u8]) -> Vec<Message> {
    let (mut rest, mut families) = (page, Vec::new());
    while !rest.is_empty() {
        let length = usize::try_from(varint(&mut rest)).unwrap();
        families.push(Message::parse(take(&mut rest, length)));
    }
    families
}

/// The counts of the buckets, computed from the deltas.
fn counts(histogram: &Message) -> Vec<i64> {
    let mut count = 0;
    let add = |delta: u64| {
        count += signed(delta);
        count
    };
    histogram.numbers(13).into_iter().map(add).collect()
}

#[test]
fn a_scraper_that_asks_for_protobuf_also_gets_native_histograms() {
    let stub = Stub::start(|_| Reply::Raw(answer(200, "application/json", "{}")));
    let (folder, port) = (Folder::new(), free_port());
    let file = folder.file("t.json", r#"{"requests": [{"path": "/a"}, {"path": "/b"}]}"#);
    let mut command = program(&folder);
    command.args(["-s", &stub.url(), "-f", &file, "-r", "-p", &port.to_string()]);
    let _background = Background::start(command.args(["-l", "5", "-g", "None"]));
    let text =
        wait_for(port, |page| ["a", "b"].iter().all(|p| page.contains(&format!("path=\"/{p}\""))));

    let (head, page) = scrape(port, ACCEPT);
    let kind = "content-type: application/vnd.google.protobuf; \
        proto=io.prometheus.client.metricfamily; encoding=delimited";
    assert!(head.contains(kind), "{head}");
    let families = families(&page);
    let names: Vec<_> = families.iter().map(|family| family.text(1)).collect();
    for line in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let (name, _) = line.split_once(' ').unwrap();
        assert!(names.iter().any(|known| known == name), "{name}: {names:?}");
    }
    let durations = families.iter().find(|family| family.text(1) == DURATIONS).unwrap();
    assert_eq!(durations.numbers(3), [4], "a histogram");
    let series = durations.messages(4);
    assert_eq!(series.len(), 2);
    for metric in series {
        let labels = metric.messages(1);
        let labels: Vec<_> = labels.iter().map(|label| label.text(1)).collect();
        assert_eq!(labels, ["path", "server", "status"]);
        let histogram = metric.messages(7).remove(0);
        let count = i64::try_from(histogram.numbers(1)[0]).unwrap();
        assert_eq!(histogram.messages(3).len(), 25, "the classic buckets, without +Inf");
        assert_eq!(signed(histogram.numbers(5)[0]), 3, "the schema");
        assert_eq!((histogram.doubles(6), histogram.numbers(7)), (vec![1e-6], vec![0]));
        let counts = counts(&histogram);
        assert!(counts.iter().all(|count| *count > 0), "{counts:?}");
        assert_eq!(counts.iter().sum::<i64>(), count, "{counts:?}");
        let lengths: Vec<_> =
            histogram.messages(12).iter().map(|span| span.numbers(2)[0]).collect();
        assert_eq!(lengths.iter().sum::<u64>(), counts.len() as u64);
    }
}

#[test]
fn everybody_else_gets_text() {
    let stub = Stub::start(|_| Reply::Raw(answer(200, "application/json", "{}")));
    let (folder, port) = (Folder::new(), free_port());
    let file = folder.file("t.json", r#"{"requests": [{"path": "/a"}]}"#);
    let mut command = program(&folder);
    command.args(["-s", &stub.url(), "-f", &file, "-r", "-p", &port.to_string()]);
    let _background = Background::start(command.args(["-l", "5", "-g", "None"]));
    wait_for(port, |page| page.contains("path=\"/a\""));
    for accept in ["*/*", "text/plain;version=0.0.4", "application/vnd.google.protobuf"] {
        let (head, page) = scrape(port, accept);
        assert!(head.contains("content-type: text/plain; version=0.0.4"), "{accept}: {head}");
        assert!(page.starts_with(b"# HELP "), "{accept}");
    }
}
