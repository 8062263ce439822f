//! Keeps the last hour of each server and path for the page of the loop, in limited memory.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde::Serialize;

use crate::record::Record;

/// The last hour of all servers and paths.
#[derive(Debug)]
pub(crate) struct History {
    began: Instant,
    servers: Mutex<Servers>,
}

#[derive(Debug, Default)]
struct Servers {
    by_name: BTreeMap<String, BTreeMap<String, Series>>,
    pairs: usize,
}

/// The history of one path of one server.
#[derive(Clone, Debug, Default)]
struct Series {
    minutes: VecDeque<Minute>,
    spreads: VecDeque<Spread>,
    last_error: Option<LastError>,
}

/// The last error of a path.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct LastError {
    pub(super) date: Timestamp,
    pub(super) text: String,
}

/// One minute.
#[derive(Clone, Copy, Debug, Default)]
struct Minute {
    number: u64,
    requests: u32,
    errors: u32,
    sum_us: u64,
    longest_us: u64,
    bytes: u64,
}

/// How many requests of a quarter of an hour took how long, in eight classes for each doubling.
#[derive(Clone, Debug)]
struct Spread {
    quarter: u64,
    classes: Box<[u32; CLASSES]>,
}

/// One row of the page. Programs read its fields: names change only with a major version.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Row {
    pub(super) server: String,
    pub(super) path: String,
    pub(super) requests: u64,
    pub(super) errors: u64,
    /// `None` if there was no request.
    pub(super) p50_us: Option<u64>,
    pub(super) p99_us: Option<u64>,
    /// Bits per second during requests.
    pub(super) throughput_bps: Option<u64>,
    pub(super) last_error: Option<LastError>,
    /// One for each minute of the hour, the latest last; `None` if nothing was asked in it.
    pub(super) minutes: Vec<Option<MinuteView>>,
}

/// One minute of a row.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct MinuteView {
    pub(super) mean_us: u64,
    pub(super) longest_us: u64,
    pub(super) errors: u32,
}

impl Default for History {
    fn default() -> Self {
        Self { began: Instant::now(), servers: Mutex::default() }
    }
}

impl History {
    /// Adds one request.
    pub(crate) fn observe(&self, record: &Record) {
        self.observe_at(record, self.began.elapsed());
    }

    /// All rows, the worst first, and whether there were pairs of server and path without a row: 1
    /// or 0.
    pub(super) fn rows(&self) -> (Vec<Row>, usize) {
        let (mut rows, beyond) = self.rows_at(self.began.elapsed());
        // Among those without errors, the slowest is the worst.
        rows.sort_by(|one, other| {
            let errors = other.error_share().total_cmp(&one.error_share());
            errors.then(other.p99_us.cmp(&one.p99_us))
        });
        (rows, beyond)
    }

    fn observe_at(&self, record: &Record, since_start: Duration) {
        let mut servers = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(series) = servers.series(&record.server, &record.path) {
            series.add(record, since_start);
        }
    }

    fn rows_at(&self, since_start: Duration) -> (Vec<Row>, usize) {
        // Copied, so that no probe waits until the page is rendered.
        let (copy, beyond) = {
            let servers = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
            (servers.by_name.clone(), servers.pairs.saturating_sub(PAIRS_MAX))
        };
        let row = |server: &String, path: String, series: Series| {
            series.row(server.clone(), path, since_start)
        };
        let rows = copy.into_iter().flat_map(|(server, paths)| {
            paths.into_iter().map(move |(path, series)| row(&server, path, series))
        });
        (rows.collect(), beyond)
    }
}

impl Servers {
    fn series(&mut self, server: &str, path: &str) -> Option<&mut Series> {
        let is_known = self.by_name.get(server).is_some_and(|paths| paths.contains_key(path));
        if !is_known {
            // A pair without a row is not remembered, so it is counted at most once in all.
            self.pairs = (self.pairs + 1).min(PAIRS_MAX + 1);
            if self.pairs > PAIRS_MAX {
                return None;
            }
            let paths = self.by_name.entry(server.to_owned()).or_default();
            paths.insert(path.to_owned(), Series::default());
        }
        self.by_name.get_mut(server)?.get_mut(path)
    }
}

impl Series {
    fn add(&mut self, record: &Record, since_start: Duration) {
        let number = since_start.as_secs() / 60;
        let is_bad = record.verdict.fault.is_some();
        let micros = u64::try_from(record.took.duration.as_micros()).unwrap_or(u64::MAX);
        if self.minutes.back().is_none_or(|minute| minute.number != number) {
            if self.minutes.len() == MINUTES {
                self.minutes.pop_front();
            }
            self.minutes.push_back(Minute { number, ..Minute::default() });
        }
        if let Some(minute) = self.minutes.back_mut() {
            minute.requests = minute.requests.saturating_add(1);
            minute.errors = minute.errors.saturating_add(u32::from(is_bad));
            minute.sum_us = minute.sum_us.saturating_add(micros);
            minute.longest_us = minute.longest_us.max(micros);
            minute.bytes = minute.bytes.saturating_add(record.bytes_received);
        }
        let quarter = number / MINUTES_OF_QUARTER;
        if self.spreads.back().is_none_or(|spread| spread.quarter != quarter) {
            if self.spreads.len() == QUARTERS {
                self.spreads.pop_front();
            }
            self.spreads.push_back(Spread { quarter, classes: Box::new([0; CLASSES]) });
        }
        if let Some(spread) = self.spreads.back_mut() {
            let class = &mut spread.classes[class_of(micros)];
            *class = class.saturating_add(1);
        }
        if is_bad {
            let text = record.verdict.errors.first().unwrap_or_default();
            let text = text.strip_prefix("Exception: ").unwrap_or(text);
            let text = text.chars().take(ERROR_CHARS_MAX).collect();
            self.last_error = Some(LastError { date: record.date, text });
        }
    }

    fn row(self, server: String, path: String, since_start: Duration) -> Row {
        let now = since_start.as_secs() / 60;
        let oldest = (now + 1).saturating_sub(MINUTES as u64);
        let mut minutes = vec![None; MINUTES];
        let mut sum = Minute::default();
        for minute in self.minutes.iter().filter(|minute| minute.number >= oldest) {
            sum.requests = sum.requests.saturating_add(minute.requests);
            sum.errors = sum.errors.saturating_add(minute.errors);
            sum.sum_us = sum.sum_us.saturating_add(minute.sum_us);
            sum.bytes = sum.bytes.saturating_add(minute.bytes);
            let back = usize::try_from(now.saturating_sub(minute.number)).unwrap_or(MINUTES);
            if let Some(place) = MINUTES.checked_sub(back + 1) {
                minutes[place] = Some(MinuteView {
                    mean_us: minute.sum_us / u64::from(minute.requests.max(1)),
                    longest_us: minute.longest_us,
                    errors: minute.errors,
                });
            }
        }
        let first_quarter = oldest / MINUTES_OF_QUARTER;
        let spreads = self.spreads.iter().filter(|spread| spread.quarter >= first_quarter);
        let spreads: Vec<_> = spreads.map(|spread| &*spread.classes).collect();
        let throughput = sum.bytes as f64 * 8.0 / (sum.sum_us as f64 / 1e6);
        Row {
            server,
            path,
            requests: sum.requests.into(),
            errors: sum.errors.into(),
            p50_us: quantile(&spreads, 0.50),
            p99_us: quantile(&spreads, 0.99),
            throughput_bps: (sum.sum_us > 0 && sum.bytes > 0).then_some(throughput as u64),
            last_error: self.last_error,
            minutes,
        }
    }
}

impl Row {
    /// The errors as a share of the requests.
    pub(super) fn error_share(&self) -> f64 {
        self.errors as f64 / self.requests.max(1) as f64
    }
}

/// The class of a duration, by its highest bit and the three bits below it.
fn class_of(micros: u64) -> usize {
    let micros = micros.clamp(LEAST_US, LONGEST_US);
    let octave = micros.ilog2();
    let within = (micros >> (octave - 3)) & 7;
    ((octave - LEAST_US.ilog2()) * 8) as usize + usize::try_from(within).unwrap_or(0)
}

/// The middle of a class.
fn middle_of(class: usize) -> u64 {
    let octave = LEAST_US.ilog2() + u32::try_from(class / 8).unwrap_or(0);
    let eighth = 1_u64 << (octave - 3);
    (8 + class as u64 % 8) * eighth + eighth / 2
}

fn quantile(spreads: &[&[u32; CLASSES]], of: f64) -> Option<u64> {
    let total: u64 =
        spreads.iter().flat_map(|classes| classes.iter()).copied().map(u64::from).sum();
    let rank = ((total as f64 * of).ceil() as u64).max(1);
    let mut seen = 0;
    (0..CLASSES).find_map(|class| {
        seen += spreads.iter().map(|classes| u64::from(classes[class])).sum::<u64>();
        (total > 0 && seen >= rank).then(|| middle_of(class))
    })
}

const MINUTES: usize = 60;
const MINUTES_OF_QUARTER: u64 = 15;
/// Five, because an hour may begin within a quarter.
const QUARTERS: usize = 5;
/// Rows of the page: some 7 KB of memory each, and no person reads more.
const PAIRS_MAX: usize = 1000;
/// From 8 microseconds to 36 minutes; longer durations count as 36 minutes.
const LEAST_US: u64 = 8;
const LONGEST_US: u64 = (1 << 31) - 1;
const CLASSES: usize = 28 * 8;
const ERROR_CHARS_MAX: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::Fault;
    use crate::record::Took;
    use crate::validation::Verdict;

    fn record(path: &str, micros: u64, fault: Option<Fault>) -> Record {
        let errors: Vec<_> = fault.map(|_| "Exception: no answer".to_owned()).into_iter().collect();
        Record {
            address: None,
            date: Timestamp::UNIX_EPOCH,
            verb: "GET".to_owned(),
            server: "http://a".to_owned(),
            path: path.to_owned(),
            status_code: 200,
            answered: fault.is_none(),
            test_name: None,
            tag: None,
            content_length: 17,
            category: None,
            quartile: None,
            verdict: Verdict { failed: fault.is_some(), fault, errors: errors.into() },
            took: Took { duration: Duration::from_micros(micros), ..Took::default() },
            bytes_received: 1000,
            bytes_sent: 100,
        }
    }

    fn at(minute: u64) -> Duration {
        Duration::from_secs(60 * minute)
    }

    fn only_row(history: &History, minute: u64) -> Row {
        let (mut rows, beyond) = history.rows_at(at(minute));
        assert_eq!((rows.len(), beyond), (1, 0));
        rows.remove(0)
    }

    #[test]
    fn sums_an_hour_of_one_path() {
        let history = History::default();
        for micros in 1..=100 {
            history.observe_at(&record("/1", micros * 1000, None), at(3));
        }
        history.observe_at(&record("/1", 1_000_000, Some(Fault::Timeout)), at(4));
        let row = only_row(&history, 4);
        assert_eq!((row.requests, row.errors), (101, 1));
        let near = |value: Option<u64>, wanted: f64| {
            let value = value.unwrap() as f64;
            assert!((value / wanted - 1.0).abs() < 0.07, "{value} is not near {wanted}");
        };
        near(row.p50_us, 51_000.0);
        near(row.p99_us, 100_000.0);
        near(row.throughput_bps, 101_000.0 * 8.0 / 6.05);
        assert_eq!(row.last_error.unwrap().text, "no answer");
        let known: Vec<_> = row.minutes.iter().flatten().collect();
        assert_eq!((known.len(), known[1].errors), (2, 1));
        assert!(row.minutes[59].is_some() && row.minutes[58].is_some());
    }

    #[test]
    fn forgets_what_is_older_than_an_hour() {
        let history = History::default();
        history.observe_at(&record("/1", 1000, Some(Fault::Timeout)), at(0));
        assert_eq!(only_row(&history, 59).requests, 1);
        let row = only_row(&history, 60);
        assert_eq!((row.requests, row.errors), (0, 0));
        assert!(row.minutes.iter().all(Option::is_none));
        for minute in 1..200 {
            history.observe_at(&record("/1", 1000, None), at(minute));
        }
        let row = only_row(&history, 199);
        assert_eq!((row.requests, row.minutes.iter().flatten().count()), (60, 60));
        assert!(row.p50_us.is_some());
    }

    #[test]
    fn the_number_of_rows_is_limited() {
        let history = History::default();
        for number in 0..PAIRS_MAX {
            history.observe_at(&record(&format!("/{number}"), 1, None), at(0));
        }
        assert_eq!(history.rows_at(at(0)).1, 0);
        history.observe_at(&record("/one-more", 1, None), at(0));
        history.observe_at(&record("/5", 1, None), at(0));
        let (rows, beyond) = history.rows_at(at(0));
        assert_eq!((rows.len(), beyond), (PAIRS_MAX, 1));
    }

    #[test]
    fn every_duration_has_a_class_whose_middle_is_near_it() {
        for micros in [8, 9, 15, 16, 100, 12_345, 999_999, 60_000_000, LONGEST_US] {
            let middle = middle_of(class_of(micros)) as f64;
            assert!((middle / micros as f64 - 1.0).abs() <= 0.07, "{micros}: {middle}");
        }
        assert_eq!(class_of(0), 0);
        assert_eq!(class_of(u64::MAX), CLASSES - 1);
    }
}
