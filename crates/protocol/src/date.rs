//! Owns the two formats of dates: IMF-fixdate for the Date field line (RFC 9110 section 5.6.7) and
//! RFC 3339. Both are made from seconds since the epoch. Must not read a clock: the caller has it.

use std::io::Write;

/// Bytes of the whole field line: `Date: `, the date, CRLF.
const LINE_BYTES: usize = 6 + 29 + 2;

/// The last second of the year 9999: IMF-fixdate has four digits for the year.
const SECONDS_MAX: u64 = 253_402_300_799;

const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// A complete `Date` field line. It is made once a second and copied into every head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DateLine {
    /// The line with its CRLF.
    pub(crate) bytes: [u8; LINE_BYTES],
    unix_seconds: u64,
}

impl DateLine {
    /// As long as every other line: it is there to measure heads.
    pub(crate) const BLANK: Self = Self { bytes: [b' '; LINE_BYTES], unix_seconds: 0 };

    /// The line for `unix_seconds` since 1970-01-01 UTC. A time after the year 9999 becomes the
    /// last second of that year.
    pub fn new(unix_seconds: u64) -> Self {
        let [weekday, year, month, day, hour, minute, second] = parts(unix_seconds);
        let (weekday, month) = (DAYS[weekday as usize], MONTHS[month as usize - 1]);
        let mut bytes = [0; LINE_BYTES];
        write!(
            &mut bytes[..],
            "Date: {weekday}, {day:02} {month} {year} {hour:02}:{minute:02}:{second:02} GMT\r\n"
        )
        .expect("every line has this length");
        Self { bytes, unix_seconds }
    }

    /// The second this line was made for.
    pub fn unix_seconds(&self) -> u64 {
        self.unix_seconds
    }
}

/// `unix_seconds` since 1970-01-01 UTC in the format of RFC 3339, without a fraction of a second
/// and without an offset: `2026-11-22T10:00:00`. Its last second is that of the year 9999.
pub fn rfc3339_seconds(unix_seconds: u64) -> String {
    let [_, year, month, day, hour, minute, second] = parts(unix_seconds);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")
}

/// Day of the week, counted from Thursday, then year, month, day, hour, minute and second.
fn parts(unix_seconds: u64) -> [u64; 7] {
    let seconds = unix_seconds.min(SECONDS_MAX);
    let (days, of_day) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil_from_days(days);
    [days % 7, year, month, day, of_day / 3600, of_day / 60 % 60, of_day % 60]
}

/// Year, month (1..=12) and day (1..=31) of a day counted from 1970-01-01, in the Gregorian
/// calendar. The calculation lets years begin on 1 March, so that a leap day is the last of its
/// year.
fn civil_from_days(days: u64) -> (u64, u64, u64) {
    const DAYS_TO_EPOCH: u64 = 719_468;
    const DAYS_OF_ERA: u64 = 146_097;
    let shifted = days + DAYS_TO_EPOCH;
    let era = shifted / DAYS_OF_ERA;
    let day_of_era = shifted % DAYS_OF_ERA;
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(seconds: u64) -> String {
        String::from_utf8(DateLine::new(seconds).bytes.to_vec()).unwrap()
    }

    #[test]
    fn formats_imf_fixdate() {
        for (seconds, expected) in [
            (0, "Thu, 01 Jan 1970 00:00:00"),
            (784_111_777, "Sun, 06 Nov 1994 08:49:37"), // RFC 9110 section 5.6.7's example
            (951_782_400, "Tue, 29 Feb 2000 00:00:00"),
            (1_709_251_199, "Thu, 29 Feb 2024 23:59:59"),
            (1_709_251_200, "Fri, 01 Mar 2024 00:00:00"),
            (4_107_542_399, "Sun, 28 Feb 2100 23:59:59"),
            (4_107_542_400, "Mon, 01 Mar 2100 00:00:00"),
            (SECONDS_MAX, "Fri, 31 Dec 9999 23:59:59"),
            (u64::MAX, "Fri, 31 Dec 9999 23:59:59"),
        ] {
            assert_eq!(text(seconds), format!("Date: {expected} GMT\r\n"));
        }
    }

    #[test]
    fn formats_rfc_3339() {
        assert_eq!(rfc3339_seconds(0), "1970-01-01T00:00:00");
        assert_eq!(rfc3339_seconds(1_709_251_199), "2024-02-29T23:59:59");
    }

    #[test]
    fn every_day_follows_the_one_before() {
        let mut last = civil_from_days(0);
        for day in 1..200_000 {
            let next = civil_from_days(day);
            let same_month = next == (last.0, last.1, last.2 + 1);
            let new_month = next == (last.0, last.1 + 1, 1);
            let new_year = last.1 == 12 && last.2 == 31 && next == (last.0 + 1, 1, 1);
            assert!(same_month || new_month || new_year, "{last:?} then {next:?}");
            last = next;
        }
    }
}
