//! Owns waiting for a moment to the microsecond.
//!
//! The runtime's own timer counts in milliseconds: requests that are due every 100 us would leave
//! in bundles of ten, and each would seem to have waited.

use std::io;
use std::time::{Duration, Instant};

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use tokio::net::unix::pipe::Receiver;

/// Rings once at a time; timerfd_create(2).
pub(crate) struct Alarm {
    // A timer is read like a pipe, and this takes any descriptor without unsafe code.
    timer: Receiver,
}

impl Alarm {
    /// One that is not set.
    ///
    /// # Errors
    ///
    /// Where the process has no descriptor left.
    pub(crate) fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        Ok(Self { timer: Receiver::from_owned_fd_unchecked(timer)? })
    }

    /// Waits until `moment`; not at all where it has passed.
    ///
    /// # Errors
    ///
    /// None that the system documents for a timer like this.
    pub(crate) async fn until(&self, moment: Instant) -> io::Result<()> {
        loop {
            let left = moment.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            let once =
                Itimerspec { it_interval: timespec(Duration::ZERO), it_value: timespec(left) };
            timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &once)?;
            // Setting it again makes it unreadable, so that what is left of an earlier ring, whose
            // waiting was given up, does not count as this one.
            self.timer.readable().await?;
            match self.timer.try_read(&mut [0; COUNT_BYTES]) {
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
                _ => {}
            }
        }
    }
}

/// A timer tells how often it rang, in so many bytes.
const COUNT_BYTES: usize = 8;

fn timespec(time: Duration) -> Timespec {
    let tv_sec = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    Timespec { tv_sec, tv_nsec: time.subsec_nanos().into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn never_rings_early_and_not_at_all_for_the_past() {
        let alarm = Alarm::new().unwrap();
        let start = Instant::now();
        alarm.until(start).await.unwrap();
        for us in [1, 50, 900, 1100, 5000] {
            let moment = Instant::now() + Duration::from_micros(us);
            alarm.until(moment).await.unwrap();
            assert!(Instant::now() >= moment);
        }
    }

    #[tokio::test]
    async fn rings_again_after_a_wait_that_was_given_up() {
        let alarm = Alarm::new().unwrap();
        let soon = Instant::now() + Duration::from_millis(300);
        let given_up = tokio::time::timeout(Duration::from_millis(1), alarm.until(soon)).await;
        assert!(given_up.is_err());
        std::thread::sleep(Duration::from_millis(301));
        let moment = Instant::now() + Duration::from_millis(5);
        alarm.until(moment).await.unwrap();
        assert!(Instant::now() >= moment);
    }
}
