//! Shows an answer in the chat while it grows.

use std::time::Duration;

use tieline_core::agent::Resume;
use tieline_core::reply::Stage;
use tieline_core::timestamp::Timestamp;
use tokio::sync::{Notify, watch};
use tokio::time::sleep;
use tracing::warn;

use super::RunError;
use super::agent_stream::StreamState;
use crate::accounts::Bot;
use crate::deliver::{DeliveryOutcome, ReplyDelivery, Snapshot};

/// Pause after a growing answer could not be recorded.
const AFTER_FAILURE: Duration = Duration::from_secs(2);

/// Shows the answer while it grows, as fast as the budget allows, until `done`. A call in flight is always finished.
///
/// For a bot that doesn't stream, only the thinking sign is shown, in as many bubbles as that takes.
///
/// If anything fails here, reading the answer continues: the final text is what counts. It waits for nothing that only delays a growing answer.
pub(super) async fn stream_reply(
    showing: &mut ReplyDelivery<'_>,
    bot: &Bot,
    mut said: watch::Receiver<StreamState>,
    done: &Notify,
) {
    let finished = done.notified();
    tokio::pin!(finished);
    let mut stage = Stage::Thinking;
    let mut not_before = None;
    showing.begin_growing();
    loop {
        let now = showing.world.clock.now();
        let pace = &showing.record.pace;
        let wait = pace.next_at(showing.budget(), stage, now);
        // Only the final update is left: wait for the end.
        let Some(at) = wait else {
            return finished.await;
        };
        tokio::select! {
            biased;
            () = &mut finished => return,
            () = sleep(not_before.take().map_or(at, |other| at.max(other)).since(now)) => {}
        }
        let snapshot = said.borrow_and_update().clone();
        // Text may arrive before the thinking sign was shown: it is shown next, even if the agent then sends nothing for long.
        let has_hidden_text = stage == Stage::Thinking && !showing.is_pulled() && !snapshot.draft.text.is_empty();
        let (mut comes_again, mut refresh_at) = (has_hidden_text && bot.account.streaming, None);
        match Box::pin(show_snapshot(showing, stage, snapshot)).await {
            Ok(Shown::Done) => {}
            Ok(Shown::Until(at)) => refresh_at = Some(at),
            // The same snapshot again, when it may be sent.
            Ok(Shown::Deferred(until)) => (comes_again, not_before) = (true, Some(until)),
            // Each part of the answer would be refused too. Only the final text is tried again, and logs its own failure.
            Ok(Shown::Refused) => return finished.await,
            // The new holder of the conversation also shows the answer; reading ends when the heartbeat detects the loss.
            Err(RunError::Lost) => return finished.await,
            Err(error) => {
                warn!(account.id = %bot.account.integration, event.key = %showing.record.message, error = %error, "growing answer can't be recorded");
                let until = showing.world.clock.now().after(AFTER_FAILURE);
                (comes_again, not_before) = (true, Some(until));
            }
        }
        let streams = bot.account.streaming;
        if !streams && showing.is_pulled() {
            return finished.await;
        }
        if streams {
            stage = Stage::Growing;
        }
        if comes_again {
            said.mark_changed();
        }
        tokio::select! {
            biased;
            () = &mut finished => return,
            changed = said.changed(), if streams || comes_again => if changed.is_err() { return },
            () = rotation(showing) => showing.record.pace.rotated(),
            () = reached(showing, refresh_at) => {}
        }
    }
}

/// Outcome of showing a snapshot of a growing answer.
enum Shown {
    /// The chat shows it.
    Done,
    /// The chat shows it until then, if nothing changes before.
    Until(Timestamp),
    /// Not shown yet, and not to be tried before: the platform's pace or rate limit demands a wait.
    Deferred(Timestamp),
    /// The platform refuses it, and would again.
    Refused,
}

/// Waits until `at`; for ever if there is no such time.
async fn reached(showing: &ReplyDelivery<'_>, at: Option<Timestamp>) {
    match at {
        Some(at) => sleep(at.since(showing.world.clock.now())).await,
        None => std::future::pending().await,
    }
}

/// Waits until the bubble that shows the answer is about to expire, though the agent sends nothing.
async fn rotation(showing: &ReplyDelivery<'_>) {
    reached(showing, showing.record.pace.rotates_at(showing.budget())).await;
}

/// Shows the text received so far.
async fn show_snapshot(showing: &mut ReplyDelivery<'_>, stage: Stage, said: StreamState) -> Result<Shown, RunError> {
    if said.draft.text.len() < said.shown_before {
        return Ok(Shown::Done);
    }
    if showing.is_pulled() {
        // Where the platform polls, a missing record says the same as a record without content.
        let reasoning = showing.bot.shown_reasoning(&said.draft.reasoning);
        if said.draft.text.is_empty() && reasoning.is_empty() {
            return Ok(Shown::Done);
        }
        let has_text = !said.draft.text.is_empty();
        showing.record.stage = Stage::Growing;
        showing.record.text = said.draft.text;
        showing.record.reasoning = said.draft.reasoning;
        showing.record.held_back = said.draft.held_back;
        showing.record.card = said.draft.card;
        showing.record.question = said.draft.question;
        let resume = said.run_ref.map(|run_ref| Resume {
            run_ref,
            cursor: said.cursor,
        });
        showing.record.resume = resume.or_else(|| showing.record.resume.take());
        showing.record.pace.sent(showing.world.clock.now());
        showing.save().await?;
        if has_text {
            showing.note_text();
        }
        return Ok(Shown::Done);
    }
    let stage = if said.draft.text.is_empty() {
        Stage::Thinking
    } else {
        stage
    };
    let look = Snapshot {
        stage,
        text: &said.draft.text,
        reasoning: &said.draft.reasoning,
        notice: None,
        files: &[],
        buttons: &[],
    };
    match showing.show(look).await? {
        DeliveryOutcome::Yes | DeliveryOutcome::Stopped => {}
        DeliveryOutcome::Until(at) => return Ok(Shown::Until(at)),
        // If the platform asked for that wait, the pace knows it.
        DeliveryOutcome::NotBefore(at) => return Ok(Shown::Deferred(at)),
        DeliveryOutcome::Never { code } => {
            let account = &showing.bot.account.integration;
            warn!(account.id = %account, event.key = %showing.record.message, code, "growing answer can't be shown");
            return Ok(Shown::Refused);
        }
    }
    Ok(Shown::Done)
}
