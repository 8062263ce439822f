//! The end: SIGINT, SIGTERM.

use std::io;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Knows whether the program was asked to stop, and how often.
#[derive(Clone, Debug)]
pub(crate) struct Stop {
    asked: watch::Receiver<u32>,
}

impl Stop {
    /// Listens for signals from now on.
    ///
    /// # Errors
    ///
    /// Where the system takes no signal handler.
    pub(crate) fn on_signals() -> io::Result<Self> {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        // Nothing is read again, and a terminal that closes is no reason to end.
        let mut hangup = signal(SignalKind::hangup())?;
        let (ask, stop) = Self::new();
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                    _ = hangup.recv() => continue,
                }
                ask.send_modify(|signals| *signals = signals.saturating_add(1));
            }
        });
        Ok(stop)
    }

    /// A stop that is asked for by sending how often.
    pub(crate) fn new() -> (watch::Sender<u32>, Self) {
        let (ask, asked) = watch::channel(0);
        (ask, Self { asked })
    }

    /// Whether it was asked for.
    pub(crate) fn is_asked(&self) -> bool {
        *self.asked.borrow() > 0
    }

    /// Waits until it is asked for.
    pub(crate) async fn asked(&mut self) {
        self.times(1).await;
    }

    /// Waits until it is asked for again: a user who sends a second signal does not want to wait.
    pub(crate) async fn asked_again(&mut self) {
        self.times(2).await;
    }

    /// Waits for `time`, or until it is asked for.
    pub(crate) async fn or_after(&mut self, time: Duration) {
        if !time.is_zero() {
            let _ = tokio::time::timeout(time, self.asked()).await;
        }
    }

    async fn times(&mut self, times: u32) {
        if self.asked.wait_for(|asked| *asked >= times).await.is_err() {
            std::future::pending().await
        }
    }
}
