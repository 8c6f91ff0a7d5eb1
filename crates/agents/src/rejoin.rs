//! Joining a run's stream again after its connection broke, for protocols whose runs outlive their connections.

use tieline_core::agent::AgentFailure;
use tokio::time::sleep;
use tracing::warn;

use crate::answer::Events;
use crate::env::Env;
use crate::failure;
use crate::sse::Event;

/// Largest number of joins in a row that bring no event, unless a protocol needs more.
const MAX_FRUITLESS: u32 = 5;

/// Counter of joins that brought no event.
#[derive(Debug)]
pub(crate) struct Rejoins {
    fruitless: u32,
    max: u32,
}

impl Default for Rejoins {
    fn default() -> Self {
        Self::at_most(MAX_FRUITLESS)
    }
}

impl Rejoins {
    /// A counter that allows `max` joins in a row without an event.
    pub(crate) const fn at_most(max: u32) -> Self {
        Self { fruitless: 0, max }
    }

    /// Resets the counter: an event came.
    pub(crate) fn progressed(&mut self) {
        self.fruitless = 0;
    }

    /// Waits before the next join.
    ///
    /// # Errors
    /// `incomplete` after the largest number of joins in a row without an event.
    pub(crate) async fn wait(&mut self, env: &Env) -> Result<(), AgentFailure> {
        self.fruitless += 1;
        if self.fruitless > self.max {
            return Err(failure::incomplete());
        }
        let wait = env.backoff.wait(self.fruitless, (env.random)());
        warn!(
            attempt = self.fruitless,
            wait_ms = wait.as_millis(),
            "stream of an agent's run ended early, joining it again"
        );
        sleep(wait).await;
        Ok(())
    }
}

/// The next event or the end of a stream.
#[derive(Debug)]
pub(crate) enum Next {
    Event(Event),
    /// The server ended the stream.
    Ended,
    /// The connection broke: events may be missing.
    Broken,
}

/// Reads the next event of a stream, or its end.
pub(crate) async fn next(events: &mut Events) -> Result<Next, AgentFailure> {
    match events.next().await {
        Ok(Some(event)) => Ok(Next::Event(event)),
        Ok(None) => Ok(Next::Ended),
        Err(failure) if failure.code == failure::BROKEN => Ok(Next::Broken),
        Err(failure) => Err(failure),
    }
}
