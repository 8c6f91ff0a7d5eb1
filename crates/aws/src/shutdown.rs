//! Shutdown of a container: its signals, and the time that is left after one.

use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Longest time to finish what is in flight: the container is killed 120 s after SIGTERM.
pub const DRAIN: Duration = Duration::from_secs(110);

/// SIGTERM and SIGINT. A signal that arrives after this was created is kept until [`Signals::received`] is called.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Starts listening to both signals.
    ///
    /// # Errors
    /// If the operating system refuses.
    pub fn listen() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Waits for either signal.
    pub async fn received(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
