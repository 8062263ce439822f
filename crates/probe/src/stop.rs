//! Stopping the program: SIGINT and SIGTERM.

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
    /// The system does not accept a signal handler.
    pub(crate) fn on_signals() -> io::Result<Self> {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        // SIGHUP is ignored: there is nothing to read again, and a terminal that closes must not
        // end it.
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

    /// A stop without signals: the sender sends how often it was asked for.
    pub(crate) fn new() -> (watch::Sender<u32>, Self) {
        let (ask, asked) = watch::channel(0);
        (ask, Self { asked })
    }

    /// Whether a stop was asked for.
    pub(crate) fn is_asked(&self) -> bool {
        *self.asked.borrow() > 0
    }

    /// Waits until a stop is asked for.
    pub(crate) async fn asked(&mut self) {
        self.times(1).await;
    }

    /// Waits until a stop is asked for twice: a user who sends a second signal does not want to
    /// wait.
    pub(crate) async fn asked_again(&mut self) {
        self.times(2).await;
    }

    /// Waits for `time`, or until a stop is asked for.
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
