//! A single run: every request to every server, one after the other.

use std::future::Future;
use std::time::{Duration, Instant};

use crate::junit;
use crate::output::Output;
use crate::probe::Probe;
use crate::record::Record;
use crate::settings::{LogFormat, Settings};
use crate::stop::Stop;
use crate::summary::{Summary, summary};

/// Runs all requests of all `probes` once, or until a signal, and returns the exit code.
pub(crate) async fn run(
    settings: &Settings,
    probes: &[Probe],
    output: &Output,
    stop: &mut Stop,
) -> u8 {
    let mut failures = 0;
    let mut is_whole = true;
    let mut suites = Vec::new();
    for (index, probe) in probes.iter().enumerate() {
        let columns = matches!(settings.log_format, LogFormat::Tsv | LogFormat::TsvMin);
        if index > 0 && columns {
            output.line("").await;
        }
        let result = one_server(settings, probe, stop).await;
        if let Some(text) = summary(settings.summary, &result) {
            output.line(text).await;
        }
        if result.is_failure() {
            failures += result.errors + result.validation_errors;
        }
        is_whole &= !result.is_stopped;
        suites.extend(result.suite(probe.server(), probes.len()));
        if stop.is_asked() {
            is_whole &= index + 1 == probes.len();
            break;
        }
    }
    if !is_whole {
        failures = failures.max(u64::from(EXIT_STOPPED));
    }
    if !suites.is_empty() {
        output.line(junit::document(&suites)).await;
    }
    // An exit code is one byte: without the limit, 256 errors would be reported as 0.
    u8::try_from(failures).unwrap_or(u8::MAX)
}

async fn one_server(settings: &Settings, probe: &Probe, stop: &mut Stop) -> Summary {
    tokio::select! {
        () = probe.recognize() => {}
        () = stop.asked() => {}
    }
    let start = Instant::now();
    let mut result = Summary::new(settings, probe.len());
    for index in 0..probe.len() {
        if result.is_over() {
            break;
        }
        if stop.is_asked() {
            result.is_stopped = true;
            break;
        }
        let sent = Instant::now();
        let Some(record) = answered(settings, probe.ask(index), stop).await else {
            result.is_stopped = true;
            break;
        };
        result.add(&record);
        if record.verdict.failed && probe.fails_on_validation_error(index) {
            break;
        }
        let last = index + 1 == probe.len();
        let pause = if last { Duration::ZERO } else { settings.sleep };
        stop.or_after(pause.saturating_sub(sent.elapsed())).await;
    }
    result.elapsed = start.elapsed();
    result
}

/// The result of a request. After a signal, a request that is under way has [`LAST_ANSWER_MAX`], or
/// `--timeout` if that is shorter; `None` if it takes longer.
async fn answered(
    settings: &Settings,
    request: impl Future<Output = Record>,
    stop: &mut Stop,
) -> Option<Record> {
    let mut request = std::pin::pin!(request);
    tokio::select! {
        record = &mut request => Some(record),
        () = stop.asked() => {
            let time = settings.timeout.min(LAST_ANSWER_MAX);
            tokio::time::timeout(time, request).await.ok()
        }
    }
}

/// The least exit code of a run that a signal has ended before every request was sent: nobody may
/// take it for a good one.
pub(crate) const EXIT_STOPPED: u8 = 1;
// As long as Kubernetes waits for the end of a pod.
const LAST_ANSWER_MAX: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;
    use crate::args::{self, Asked};
    use crate::client::Route;
    use crate::output::Full;
    use crate::probe::{Equipment, ServerProbes};
    use crate::testfile::Case;

    /// The exit code and the result of `count` requests if a signal comes while the first is under
    /// way.
    async fn signalled(count: usize) -> (u8, u64, bool) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (ask, mut stop) = Stop::new();
        let asked = ask.subscribe();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            while stream.read(&mut [0; 4096]).await.is_ok_and(|read| read > 0) {
                ask.send_modify(|signals| *signals += 1);
                // The signal is seen long before the answer.
                tokio::time::sleep(Duration::from_millis(100)).await;
                let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
                let _ = stream.write_all(answer).await;
            }
        });
        let words = format!("-s http://{address} -f t.json -l 600000 -g None");
        let asked_for = args::parse(words.split(' ').map(str::to_owned), Vec::new()).unwrap();
        let Asked::Probe(arguments) = asked_for else { panic!("these are options of the prober") };
        let settings = Settings::new(&arguments).unwrap();
        let case = Case { path: "/".to_owned(), verb: "GET".to_owned(), ..Case::default() };
        let cases = std::iter::repeat_n(Arc::new(case), count).collect();
        let output = Output::start(settings.log_format, Full::Wait(stop.clone())).unwrap();
        let target = settings.servers[0].clone();
        let (settings_of_run, output_of_run) = (settings.clone(), output.clone());
        let equipment = Equipment { settings, cases, output, metrics: None };
        let route = Route::default();
        let probes = ServerProbes::new(Arc::new(equipment), &target, route).unwrap();
        let probe = probes.probe(None);
        let mut again = stop.clone();
        let result = one_server(&settings_of_run, &probe, &mut stop).await;
        assert!(*asked.borrow() > 0);
        let code = run(&settings_of_run, &[probe], &output_of_run, &mut again).await;
        (code, result.sent, result.is_stopped)
    }

    #[tokio::test]
    async fn a_signal_waits_for_the_request_under_way_and_tells_that_others_were_not_sent() {
        assert_eq!(signalled(2).await, (EXIT_STOPPED, 1, true));
        // Nothing was left to send; the second run, which begins after the signal, sends nothing.
        assert_eq!(signalled(1).await, (EXIT_STOPPED, 1, false));
    }
}
