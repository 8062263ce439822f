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

/// Gives up what takes too long.
pub(crate) struct TimeLimit {
    limit: Duration,
    timer: Pin<Box<Sleep>>,
}

impl TimeLimit {
    /// It needs a runtime with time.
    pub(crate) fn new(limit: Duration) -> Self {
        let timer = Box::pin(sleep_until((Instant::now() + limit).into()));
        Self { limit, timer }
    }

    /// What `future` results in; none if it has not ended by then. `began` is when it began.
    pub(crate) async fn keep<F: Future>(&mut self, began: Instant, future: F) -> Option<F::Output> {
        let end = began + self.limit;
        let mut future = std::pin::pin!(future);
        std::future::poll_fn(|cx| {
            if let Poll::Ready(output) = future.as_mut().poll(cx) {
                return Poll::Ready(Some(output));
            }
            while self.timer.as_mut().poll(cx).is_ready() {
                if Instant::now() >= end {
                    // It must not be asked again before it is set.
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
    async fn gives_up_what_takes_too_long_again_and_again() {
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
    async fn a_timer_that_ends_in_a_later_request_does_not_end_it() {
        let limit = Duration::from_millis(50);
        let mut time_limit = TimeLimit::new(limit);
        tokio::time::sleep(Duration::from_millis(30)).await;
        // The timer ends 20 ms from here, this request 30 ms from here, within its own limit.
        let slow = async {
            tokio::time::sleep(Duration::from_millis(30)).await;
            "done"
        };
        // It began when it was asked for, however late this test runs.
        let began = Instant::now() + Duration::from_secs(60);
        assert_eq!(time_limit.keep(began, slow).await, Some("done"));
    }
}
