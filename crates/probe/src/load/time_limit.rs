//! Ends requests that take too long.
//!
//! Almost every request ends long before its limit, so a timer for each request would be set and
//! removed for nothing. Instead each connection has one timer that keeps running. Only when it
//! expires does the code check whether the current request has taken too long.

use std::future::Future;
use std::pin::Pin;
use std::task::Poll;
use std::time::{Duration, Instant};

use tokio::time::{Sleep, sleep_until};

/// Cancels what takes too long.
pub(crate) struct TimeLimit {
    limit: Duration,
    timer: Pin<Box<Sleep>>,
}

impl TimeLimit {
    /// Needs a runtime with time.
    pub(crate) fn new(limit: Duration) -> Self {
        let timer = Box::pin(sleep_until((Instant::now() + limit).into()));
        Self { limit, timer }
    }

    /// The output of `future`, which began at `began`; `None` if the limit expires first.
    pub(crate) async fn keep<F: Future>(&mut self, began: Instant, future: F) -> Option<F::Output> {
        let end = began + self.limit;
        let mut future = std::pin::pin!(future);
        std::future::poll_fn(|cx| {
            if let Poll::Ready(output) = future.as_mut().poll(cx) {
                return Poll::Ready(Some(output));
            }
            while self.timer.as_mut().poll(cx).is_ready() {
                if Instant::now() >= end {
                    // A timer that has expired must be reset before it is polled again.
                    self.timer.as_mut().reset((end + self.limit).into());
                    return Poll::Ready(None);
                }
                self.timer.as_mut().reset(end.into());
            }
            Poll::Pending
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    #[tokio::test]
    async fn cancels_what_takes_too_long_again_and_again() {
        let limit = Duration::from_millis(20);
        let mut time_limit = TimeLimit::new(limit);
        for _ in 0..3 {
            let began = Instant::now();
            assert_eq!(time_limit.keep(began, pending::<()>()).await, None);
            assert!(began.elapsed() >= limit);
            assert_eq!(time_limit.keep(Instant::now(), ready(7)).await, Some(7));
        }
    }

    #[tokio::test]
    async fn a_timer_that_expires_in_a_later_request_does_not_end_it() {
        let limit = Duration::from_millis(50);
        let mut time_limit = TimeLimit::new(limit);
        tokio::time::sleep(Duration::from_millis(30)).await;
        // The timer expires in 20 ms, but this request takes 30 ms, which is within its own limit.
        let slow = async {
            tokio::time::sleep(Duration::from_millis(30)).await;
            "done"
        };
        // `began` lies in the future, so the limit cannot expire, however late this test runs.
        let began = Instant::now() + Duration::from_secs(60);
        assert_eq!(time_limit.keep(began, slow).await, Some("done"));
    }
}
