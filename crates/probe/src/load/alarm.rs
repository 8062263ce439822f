//! Waits until a moment, precise to the microsecond.
//!
//! The runtime's own timer counts in milliseconds: requests that are due every 100 us would be sent
//! in groups of ten, and most of them would seem to have waited.

use std::io;
use std::time::{Duration, Instant};

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe::Receiver;

/// Wakes its waiter at a moment, by timerfd_create(2).
pub(crate) struct Alarm {
    // A timer is read like a pipe, and the `Receiver` of a pipe takes any descriptor without unsafe
    // code.
    timer: Receiver,
}

impl Alarm {
    /// A timer that is not set.
    ///
    /// # Errors
    ///
    /// The process has no descriptor left.
    pub(crate) fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        Ok(Self { timer: Receiver::from_owned_fd_unchecked(timer)? })
    }

    /// Waits until `moment`; returns at once if it has passed.
    ///
    /// # Errors
    ///
    /// None that the system documents for a timer like this.
    pub(crate) async fn until(&mut self, moment: Instant) -> io::Result<()> {
        loop {
            let left = moment.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            let once =
                Itimerspec { it_interval: timespec(Duration::ZERO), it_value: timespec(left) };
            // This also discards an earlier expiry whose wait was abandoned.
            timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &once)?;
            // The kernel returns fewer bytes than the buffer holds, so the event loop knows that
            // nothing is left to read.
            if self.timer.read(&mut [0; 2 * COUNT_BYTES]).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

/// The bytes of the counter of expiries that a timer returns.
const COUNT_BYTES: usize = 8;

fn timespec(time: Duration) -> Timespec {
    let tv_sec = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    Timespec { tv_sec, tv_nsec: time.subsec_nanos().into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn never_wakes_early_and_returns_at_once_for_the_past() {
        let mut alarm = Alarm::new().unwrap();
        let start = Instant::now();
        alarm.until(start).await.unwrap();
        for us in [1, 50, 900, 1100, 5000] {
            let moment = Instant::now() + Duration::from_micros(us);
            alarm.until(moment).await.unwrap();
            assert!(Instant::now() >= moment);
        }
    }

    #[tokio::test]
    async fn wakes_again_after_an_abandoned_wait() {
        let mut alarm = Alarm::new().unwrap();
        let soon = Instant::now() + Duration::from_millis(300);
        let given_up = tokio::time::timeout(Duration::from_millis(1), alarm.until(soon)).await;
        assert!(given_up.is_err());
        std::thread::sleep(Duration::from_millis(301));
        let moment = Instant::now() + Duration::from_millis(5);
        alarm.until(moment).await.unwrap();
        assert!(Instant::now() >= moment);
    }
}
