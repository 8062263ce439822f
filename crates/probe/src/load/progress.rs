//! Shows the progress of a load: one line that is overwritten on a terminal, else a new line from
//! time to time.

use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::drive::{Drive, locked};
use super::figures::micros;
use super::outcome::has_terminal;
use super::text;

/// Moves to the beginning of the line and clears it (ECMA-48, EL).
const LINE_START: &str = "\r\x1b[K";

/// The time between two lines on a terminal.
const PAUSE: Duration = Duration::from_secs(1);
/// Longer times are shown in whole seconds.
const WHOLE_SECONDS: f64 = 10.0;

/// How far a load has come.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Progress {
    pub(crate) elapsed: Duration,
    /// When requests begin to count; until then the warm-up lasts.
    pub(crate) measured_from: Duration,
    /// When the load is expected to end; `None` if that is unknown.
    pub(crate) end: Option<Duration>,
    /// Requests per second since the last line.
    pub(crate) rate: f64,
    /// Since the last line, in microseconds.
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    /// Requests that count, and failed ones among them.
    pub(crate) requests: u64,
    pub(crate) failed: u64,
}

/// Shows progress until the load stops: every second on a terminal, else once per `pause`, and
/// never if that is zero.
pub(crate) async fn show(drive: Arc<Drive>, pause: Duration) {
    let is_terminal = has_terminal();
    let pause = if is_terminal { PAUSE } else { pause };
    if pause.is_zero() {
        return;
    }
    let mut stopped = drive.stopped.subscribe();
    let mut since = Instant::now();
    loop {
        tokio::select! {
            biased;
            _ = stopped.wait_for(|stopped| *stopped) => return,
            () = tokio::time::sleep(pause) => {}
        }
        let progress = look(&drive, since.elapsed());
        since = Instant::now();
        if is_terminal {
            // The last column stays empty: some terminals wrap a line that fills it.
            let width = text::width(std::io::stderr()) - 1;
            let _ = write!(std::io::stderr(), "{LINE_START}{}", progress.line(width));
        } else {
            let _ = writeln!(std::io::stderr(), "{}", progress.line(text::WIDTH));
        }
    }
}

/// Removes the last line from a terminal.
pub(crate) fn clear() {
    if has_terminal() {
        let _ = write!(std::io::stderr(), "{LINE_START}");
    }
}

fn look(drive: &Drive, since: Duration) -> Progress {
    let schedule = locked(&drive.schedule);
    let mut tally = locked(&drive.tally);
    let (requests, failed) = (tally.requests, tally.failed);
    let recent = &mut tally.recent;
    let us = |quantile| recent.times.value_at_quantile(quantile) as f64 / 1e3;
    let elapsed = drive.start.elapsed();
    let progress = Progress {
        elapsed,
        measured_from: schedule.measured_from(),
        end: schedule.expected_end(elapsed),
        rate: recent.requests as f64 / since.as_secs_f64().max(f64::MIN_POSITIVE),
        p50: us(0.5),
        p99: us(0.99),
        requests,
        failed,
    };
    recent.clear();
    progress
}

impl Progress {
    /// One line of at most `width` characters; the least important parts are left out first.
    pub(crate) fn line(&self, width: usize) -> String {
        let is_warm_up = self.elapsed < self.measured_from;
        let mut parts = vec![
            (0, seconds(self.elapsed)),
            (2, format!("{:.0}/s", self.rate)),
            (6, format!("p50 {}", micros(self.p50))),
            (4, format!("p99 {}", micros(self.p99))),
        ];
        if is_warm_up {
            parts[0] = (0, format!("warm-up {} of {}", parts[0].1, seconds(self.measured_from)));
        } else {
            parts.push((3, format!("total {}", self.requests)));
            parts.push((5, format!("failed {}", self.failed)));
        }
        if let Some(end) = self.end {
            parts.push((1, format!("{} left", seconds(end.saturating_sub(self.elapsed)))));
        }
        loop {
            let line = parts.iter().map(|(_, part)| part.as_str()).collect::<Vec<_>>().join("  ");
            let least = parts.iter().enumerate().max_by_key(|(_, (rank, _))| *rank);
            match least {
                Some((at, (rank, _))) if *rank > 0 && line.chars().count() > width => {
                    parts.remove(at);
                }
                _ => return line,
            }
        }
    }
}

fn seconds(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    let digits = usize::from(seconds < WHOLE_SECONDS);
    format!("{seconds:.digits$} s")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress() -> Progress {
        Progress {
            elapsed: Duration::from_secs(12),
            measured_from: Duration::from_secs(2),
            end: Some(Duration::from_secs(32)),
            rate: 1000.4,
            p50: 90.0,
            p99: 1250.0,
            requests: 10_000,
            failed: 3,
        }
    }

    #[test]
    fn a_line_has_the_total_and_the_time_left() {
        assert_eq!(
            progress().line(80),
            "12 s  1000/s  p50 90.0 us  p99 1.25 ms  total 10000  failed 3  20 s left"
        );
        let endless = Progress { end: None, ..progress() };
        assert!(!endless.line(80).contains("left"));
        let late = Progress { end: Some(Duration::from_secs(11)), ..progress() };
        assert!(late.line(80).ends_with("0.0 s left"));
    }

    #[test]
    fn the_warm_up_is_named() {
        let warm = Progress { elapsed: Duration::from_secs(1), ..progress() };
        assert_eq!(
            warm.line(80),
            "warm-up 1.0 s of 2.0 s  1000/s  p50 90.0 us  p99 1.25 ms  31 s left"
        );
    }

    #[test]
    fn a_line_fits_every_width() {
        let long = Progress {
            elapsed: Duration::from_secs(604_800),
            end: Some(Duration::from_secs(1_209_600)),
            rate: 999_999.0,
            p50: 3.6e9,
            p99: 3.6e9,
            requests: u64::MAX,
            failed: u64::MAX,
            ..progress()
        };
        for progress in [progress(), long] {
            for width in 20..=120 {
                let line = progress.line(width);
                assert!(line.chars().count() <= width, "{width}: {line}");
                assert!(line.contains(" s"), "{line}");
            }
        }
        assert!(progress().line(60).contains("total") && !progress().line(60).contains("p50"));
    }
}
