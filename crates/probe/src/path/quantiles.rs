//! The statistics: quantiles, jitter, trimmed means, and the confidence interval of a share.

use std::time::Duration;

/// The value below which the share `q` of `times` lies.
pub(super) fn quantile(times: &[Duration], q: f64) -> Option<Duration> {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    let last = sorted.len().checked_sub(1)?;
    let rank = (q * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1).min(last)).copied()
}

/// The mean difference between one time and the next.
pub(super) fn jitter(times: &[Duration]) -> Option<Duration> {
    let steps = u32::try_from(times.len()).ok()?.checked_sub(1).filter(|steps| *steps > 0)?;
    let sum: Duration = times.windows(2).map(|pair| pair[0].abs_diff(pair[1])).sum();
    Some(sum / steps)
}

/// The mean of the lower 95 % (draft-ietf-ippm-responsiveness, "trimmed mean").
pub(super) fn trimmed_mean(times: &[Duration]) -> Option<Duration> {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    sorted.truncate((sorted.len() * 95).div_ceil(100));
    let number = u32::try_from(sorted.len()).ok().filter(|number| *number > 0)?;
    Some(sorted.iter().sum::<Duration>() / number)
}

/// The interval that contains the true share with a confidence of 95 %, if `hits` of `all` were
/// seen (Wilson's interval).
pub(super) fn interval(hits: u64, all: u64) -> (f64, f64) {
    if all == 0 {
        return (0.0, 1.0);
    }
    const Z: f64 = 1.96;
    let (n, share) = (all as f64, (hits as f64 / all as f64).min(1.0));
    let middle = share + Z * Z / (2.0 * n);
    let spread = Z * (share * (1.0 - share) / n + Z * Z / (4.0 * n * n)).sqrt();
    let scale = 1.0 + Z * Z / n;
    (((middle - spread) / scale).max(0.0), ((middle + spread) / scale).min(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(ms: &[u64]) -> Vec<Duration> {
        ms.iter().copied().map(Duration::from_millis).collect()
    }

    #[test]
    fn quantiles_are_values_of_the_sample() {
        let times = times(&[5, 1, 4, 2, 3]);
        let quantile = |q| quantile(&times, q).unwrap().as_millis();
        assert_eq!((quantile(0.0), quantile(0.5), quantile(0.99)), (1, 3, 5));
        assert_eq!(super::quantile(&[], 0.5), None);
    }

    #[test]
    fn jitter_is_the_mean_step() {
        assert_eq!(jitter(&times(&[1, 3, 2])), Some(Duration::from_micros(1500)));
        assert_eq!(jitter(&times(&[1])), None);
    }

    #[test]
    fn a_trimmed_mean_leaves_out_the_highest_of_twenty() {
        let mut all = times(&[10; 19]);
        all.push(Duration::from_secs(100));
        assert_eq!(trimmed_mean(&all), Some(Duration::from_millis(10)));
        assert_eq!(trimmed_mean(&[]), None);
    }

    #[test]
    fn the_interval_contains_the_share_and_shrinks_with_more_values() {
        let (low, high) = interval(2, 100);
        assert!(low > 0.005 && low < 0.02 && high > 0.02 && high < 0.08, "{low} {high}");
        let (narrow_low, narrow_high) = interval(200, 10_000);
        assert!(narrow_low > low && narrow_high < high);
        assert_eq!(interval(0, 0), (0.0, 1.0));
        assert_eq!(interval(0, 1000).0, 0.0);
    }
}
