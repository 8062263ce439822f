//! A Prometheus summary: quantiles over the last five minutes.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use prometheus::core::{Collector, Desc};
use prometheus::proto::{LabelPair, Metric, MetricFamily, MetricType, Quantile};

/// Summaries of milliseconds, one per set of labels.
#[derive(Clone)]
pub(super) struct Summary {
    desc: Desc,
    labels: Vec<String>,
    series: Arc<Mutex<HashMap<Vec<String>, Window>>>,
}

/// The observations of the last five minutes, in slots that are forgotten as a whole.
struct Window {
    slots: VecDeque<(Instant, Histogram<u32>)>,
    count: u64,
    sum: f64,
}

impl Summary {
    pub(super) fn new(name: &str, help: &str, labels: &[&str]) -> prometheus::Result<Self> {
        let labels: Vec<_> = labels.iter().map(|label| (*label).to_owned()).collect();
        let desc = Desc::new(name.to_owned(), help.to_owned(), labels.clone(), HashMap::new())?;
        Ok(Self { desc, labels, series: Arc::default() })
    }

    pub(super) fn observe(&self, labels: &[&str], milliseconds: f64) {
        let key = labels.iter().map(|label| (*label).to_owned()).collect();
        let mut series = self.series();
        let window = series.entry(key).or_insert_with(Window::new);
        window.observe(Instant::now(), milliseconds);
    }

    pub(super) fn forget(&self, labels: &[&str]) {
        self.series().retain(|values, _| values.iter().ne(labels.iter()));
    }

    fn series(&self) -> MutexGuard<'_, HashMap<Vec<String>, Window>> {
        self.series.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pairs(&self, values: &[String]) -> Vec<LabelPair> {
        let named = self.labels.iter().zip(values);
        let mut pairs: Vec<_> = named
            .map(|(name, value)| {
                let mut pair = LabelPair::default();
                pair.set_name(name.clone());
                pair.set_value(value.clone());
                pair
            })
            .collect();
        // In the same order as the labels of the histograms on this page.
        pairs.sort_by(|one, other| one.name().cmp(other.name()));
        pairs
    }
}

impl Collector for Summary {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.desc]
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let now = Instant::now();
        let mut series: Vec<_> = self
            .series()
            .iter_mut()
            .map(|(values, window)| Metric::from_labels(self.pairs(values), window.summary(now)))
            .collect();
        series.sort_by(|one, other| {
            let values = |metric: &Metric| -> Vec<String> {
                metric.get_label().iter().map(|pair| pair.value().to_owned()).collect()
            };
            values(one).cmp(&values(other))
        });
        let mut family = MetricFamily::default();
        family.set_name(self.desc.fq_name.clone());
        family.set_help(self.desc.help.clone());
        family.set_field_type(MetricType::SUMMARY);
        family.set_metric(series);
        vec![family]
    }
}

trait FromLabels {
    fn from_labels(labels: Vec<LabelPair>, summary: prometheus::proto::Summary) -> Self;
}

impl FromLabels for Metric {
    fn from_labels(labels: Vec<LabelPair>, summary: prometheus::proto::Summary) -> Self {
        let mut metric = Self::default();
        metric.set_label(labels);
        metric.set_summary(summary);
        metric
    }
}

impl Window {
    fn new() -> Self {
        Self { slots: VecDeque::with_capacity(SLOTS), count: 0, sum: 0.0 }
    }

    fn observe(&mut self, now: Instant, milliseconds: f64) {
        self.count += 1;
        self.sum += milliseconds;
        self.forget(now);
        if self.slots.back().is_none_or(|(start, _)| now - *start >= SLOT_TIME) {
            // The number of digits is valid, so this always makes a histogram.
            let Ok(histogram) = Histogram::new(DIGITS) else { return };
            self.slots.push_back((now, histogram));
        }
        if let Some((_, slot)) = self.slots.back_mut() {
            // The histogram grows up to its greatest value, which the timeout limits.
            // `saturating_record` would not grow.
            let _ = slot.record((milliseconds * MICROSECONDS) as u64);
        }
    }

    fn forget(&mut self, now: Instant) {
        while self.slots.front().is_some_and(|(start, _)| now - *start >= WINDOW) {
            self.slots.pop_front();
        }
    }

    fn summary(&mut self, now: Instant) -> prometheus::proto::Summary {
        self.forget(now);
        let mut all: Option<Histogram<u32>> = None;
        for (_, slot) in &self.slots {
            match &mut all {
                // Histograms that resize themselves can be added even if their sizes differ.
                Some(all) => drop(all.add(slot)),
                None => all = Some(slot.clone()),
            }
        }
        let quantile = |quantile: f64| {
            let mut sample = Quantile::default();
            sample.set_quantile(quantile);
            // As in other clients, quantiles without observations are NaN.
            sample.set_value(
                all.as_ref()
                    .map_or(f64::NAN, |all| all.value_at_quantile(quantile) as f64 / MICROSECONDS),
            );
            sample
        };
        let mut summary = prometheus::proto::Summary::default();
        summary.set_quantile(QUANTILES.map(quantile).to_vec());
        summary.set_sample_count(self.count);
        summary.set_sample_sum(self.sum);
        summary
    }
}

const QUANTILES: [f64; 4] = [0.9, 0.95, 0.99, 1.0];
const WINDOW: Duration = Duration::from_secs(300);
const SLOTS: usize = 6;
// Observations are forgotten in steps of a fifth of the window, as in the client of WebV.
const SLOT_TIME: Duration = Duration::from_secs(60);
// Values are exact to one percent, in a few kilobytes per slot.
const DIGITS: u8 = 2;
// Microseconds in a millisecond.
const MICROSECONDS: f64 = 1000.0;

#[cfg(test)]
mod tests {
    use super::*;

    fn quantiles(window: &mut Window, now: Instant) -> Vec<f64> {
        window.summary(now).get_quantile().iter().map(Quantile::value).collect()
    }

    #[test]
    fn quantiles_are_exact_to_one_percent() {
        let (start, mut window) = (Instant::now(), Window::new());
        for milliseconds in 1..=1000 {
            window.observe(start, f64::from(milliseconds));
        }
        for (actual, exact) in
            quantiles(&mut window, start).into_iter().zip([900.0, 950.0, 990.0, 1000.0])
        {
            assert!((actual - exact).abs() <= exact / 100.0, "{actual} {exact}");
        }
        let summary = window.summary(start);
        assert_eq!((summary.sample_count(), summary.sample_sum()), (1000, 500_500.0));
    }

    #[test]
    fn forgets_after_five_minutes_but_keeps_count_and_sum() {
        let (start, mut window) = (Instant::now(), Window::new());
        window.observe(start, 100.0);
        window.observe(start + Duration::from_secs(120), 1.0);
        let at = |seconds| start + Duration::from_secs(seconds);
        assert!(quantiles(&mut window, at(299))[3] >= 99.0);
        assert!(quantiles(&mut window, at(301))[3] <= 1.1);
        assert!(quantiles(&mut window, at(421))[3].is_nan());
        assert_eq!(window.summary(at(421)).sample_count(), 2);
    }

    #[test]
    fn needs_no_more_slots_than_the_window_has() {
        let (start, mut window) = (Instant::now(), Window::new());
        for second in 0..3600 {
            window.observe(start + Duration::from_secs(second), 1.0);
            assert!(window.slots.len() <= SLOTS);
        }
    }
}
