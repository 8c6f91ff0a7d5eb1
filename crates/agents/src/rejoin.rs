//! Joining a run's stream again after its connection broke, for protocols whose runs outlive their connections.

use tieline_core::agent::AgentFailure;
use tokio::time::sleep;
use tracing::warn;

use crate::answer::Events;
use crate::env::Env;
use crate::failure;
use crate::sse::Event;

/// Most joins in a row that bring no event.
const MAX_FRUITLESS: u32 = 5;

/// Counts the joins that brought nothing.
#[derive(Debug, Default)]
pub(crate) struct Rejoins {
    fruitless: u32,
}

impl Rejoins {
    /// Notes that an event came.
    pub(crate) fn progressed(&mut self) {
        self.fruitless = 0;
    }

    /// Waits before the next join.
    ///
    /// # Errors
    /// `incomplete` after [`MAX_FRUITLESS`] joins in a row that brought nothing.
    pub(crate) async fn wait(&mut self, env: &Env) -> Result<(), AgentFailure> {
        self.fruitless += 1;
        if self.fruitless > MAX_FRUITLESS {
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

/// What comes next on a stream.
#[derive(Debug)]
pub(crate) enum Next {
    Event(Event),
    /// The server ended the stream.
    Ended,
    /// The connection broke: more may have been said.
    Broken,
}

/// The next event of a stream, or its end.
pub(crate) async fn next(events: &mut Events) -> Result<Next, AgentFailure> {
    match events.next().await {
        Ok(Some(event)) => Ok(Next::Event(event)),
        Ok(None) => Ok(Next::Ended),
        Err(failure) if failure.code == failure::BROKEN => Ok(Next::Broken),
        Err(failure) => Err(failure),
    }
}
