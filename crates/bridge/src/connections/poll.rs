//! Transport of a long poll: one HTTP call in flight at a time, its cursor stored in the table. A socket's session has responses beside it.

use std::pin::Pin;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tieline_core::backoff::Backoff;
use tieline_core::connection_state::Loss;
use tieline_core::connector::TokenError;
use tieline_core::http_types::{ApiAnswer, HttpCall};
use tieline_core::outbound_url;
use tieline_core::stream::{Refusal, SocketAddress};
use tieline_store::{StoreError, poll_cursor};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tracing::warn;

use super::bot_context::BotContext;
use crate::courier;
use crate::world::chance;

/// Timeout of one call to the table.
const TABLE_WITHIN: Duration = Duration::from_secs(5);
/// Between attempts after the table failed.
const BACKOFF: Backoff = Backoff {
    base: Duration::from_millis(200),
    cap: Duration::from_secs(10),
};

type Pending<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// The transport of one long poll.
#[derive(Default)]
pub(super) struct Poll {
    /// The next call. [`Poll::begin`] starts it.
    due: Option<HttpCall>,
    in_flight: Option<Pending<Result<ApiAnswer, Loss>>>,
    /// Calls beside that one, each independent of all others.
    responses: FuturesUnordered<Pending<Result<ApiAnswer, Loss>>>,
    /// The newest cursor whose write hasn't started yet.
    unsaved: Option<String>,
    saving: Option<Pending<Result<(), Loss>>>,
    /// Permit of the connect limiter, held until the first call is answered.
    opening: Option<OwnedSemaphorePermit>,
    /// Whether only parting calls are made from now on.
    closing: bool,
}

/// An input of a poll.
pub(super) enum PollInput {
    /// The answer to the call in flight, or why there is none.
    Fetched(Result<ApiAnswer, Loss>),
    /// Outcome of saving the cursor.
    Saved(Result<(), Loss>),
}

impl Poll {
    /// A poll that has not begun. `opening` is released with the first answer.
    pub(super) fn new(opening: OwnedSemaphorePermit) -> Self {
        Self {
            opening: Some(opening),
            ..Self::default()
        }
    }

    /// Schedules this call next, in place of the one in flight.
    pub(super) fn fetch(&mut self, call: HttpCall) {
        if !self.closing {
            self.in_flight = None;
            self.due = Some(call);
        }
    }

    /// Makes this call at once, beside all others. The session limits their number.
    pub(super) fn respond(&mut self, call: HttpCall, bot: &BotContext) {
        self.responses.push(Box::pin(fetch(bot.clone(), call)));
    }

    /// Saves this cursor. If the table is slower than the platform, only the newest cursor is saved.
    pub(super) fn save(&mut self, cursor: String, bot: &BotContext) {
        self.unsaved = Some(cursor);
        self.begin_saving(bot);
    }

    /// Whether a call waits for [`Poll::begin`].
    pub(super) const fn is_due(&self) -> bool {
        self.due.is_some()
    }

    /// Starts the call that is due. It waits for the lease: another process may poll by now, and the two would share the messages.
    pub(super) fn begin(&mut self, bot: &BotContext) {
        if let Some(call) = self.due.take() {
            self.in_flight = Some(Box::pin(fetch(bot.clone(), call)));
        }
    }

    /// Waits for the next input. Cancel-safe.
    pub(super) async fn next(&mut self, bot: &BotContext) -> PollInput {
        let (in_flight, responses, saving) = (&mut self.in_flight, &mut self.responses, &mut self.saving);
        tokio::select! {
            answer = async { match in_flight { Some(call) => call.await, None => std::future::pending().await } } => {
                self.in_flight = None;
                self.opening = None;
                PollInput::Fetched(answer)
            }
            Some(answer) = responses.next() => PollInput::Fetched(answer),
            saved = async { match saving { Some(saving) => saving.await, None => std::future::pending().await } } => {
                self.saving = None;
                self.begin_saving(bot);
                PollInput::Saved(saved)
            }
        }
    }

    /// Stops polling: only parting calls are made from now on, since a call that the platform holds open would only end with its timeout.
    /// Returns the answer of the call in flight if it is there already, for its events are not delivered again.
    pub(super) async fn stop(&mut self) -> Option<Result<ApiAnswer, Loss>> {
        self.closing = true;
        self.due = None;
        let in_flight = self.in_flight.take()?;
        tokio::select! {
            biased;
            answer = in_flight => Some(answer),
            () = std::future::ready(()) => None,
        }
    }

    /// Makes the parting call, and waits until the newest cursor is saved and the responses in flight are answered. Not after `until`.
    pub(super) async fn part(mut self, call: Option<HttpCall>, bot: &BotContext, until: Instant) {
        let calling = async {
            if let Some(call) = call {
                // Its outcome is ignored.
                let _ = fetch(bot.clone(), call).await;
            }
        };
        let saving = async {
            while self.saving.is_some() || !self.responses.is_empty() {
                self.next(bot).await;
            }
        };
        let _ = timeout_at(until, async { tokio::join!(calling, saving) }).await;
    }

    fn begin_saving(&mut self, bot: &BotContext) {
        if self.saving.is_none()
            && let Some(cursor) = self.unsaved.take()
        {
            self.saving = Some(Box::pin(save(bot.clone(), cursor)));
        }
    }
}

/// Initial address of a long poll's session: the cursor, taken over from the bot's previous holder.
pub(super) async fn address(bot: &BotContext) -> Result<SocketAddress, Loss> {
    let (store, id) = (&bot.shared.world.store, &bot.bot.account.integration);
    let source = courier::source(&bot.bot);
    let reading = poll_cursor::take_over(store, id, &source, bot.fence);
    let cursor = match timeout(TABLE_WITHIN, reading).await {
        Ok(Ok(cursor)) => cursor.unwrap_or_default(),
        Ok(Err(StoreError::Conflict)) => return Err(held_elsewhere()),
        Ok(Err(error @ (StoreError::Unreadable { .. } | StoreError::Unsealable))) => {
            warn!(account.id = %id, error = %error, "poll cursor can't be read: polling starts without it");
            String::new()
        }
        Ok(Err(error)) => {
            warn!(account.id = %id, error = %error, "poll cursor can't be read");
            return Err(Loss::passing("cursor_unavailable"));
        }
        Err(_) => return Err(Loss::passing("cursor_timeout")),
    };
    Ok(SocketAddress {
        url: String::new(),
        headers: Vec::new(),
        note: cursor,
    })
}

async fn fetch(bot: BotContext, call: HttpCall) -> Result<ApiAnswer, Loss> {
    bot.shared.lease.valid().await;
    let world = &bot.shared.world;
    if outbound_url::check(&call.url, &world.settings.allow_private).is_err() {
        return Err(Loss::Failed(Refusal::Credentials {
            code: "address_not_allowed".to_owned(),
        }));
    }
    let max = bot.protocol.max_message_bytes();
    courier::fetch(world, &bot.bot, &call, max)
        .await
        .map_err(|error| match error {
            TokenError::Refused { code } => Loss::Failed(Refusal::Credentials { code }),
            TokenError::Unavailable { code } => Loss::passing(code),
        })
}

/// Saves a cursor, however long the table is unavailable. Until then, what followed the old cursor is delivered again by the platform, or was
/// delivered once and for all: the queue has it.
async fn save(bot: BotContext, cursor: String) -> Result<(), Loss> {
    let (store, id) = (&bot.shared.world.store, &bot.bot.account.integration);
    let source = courier::source(&bot.bot);
    let mut failures = 0;
    loop {
        let saving = poll_cursor::save(store, id, &source, bot.fence, &cursor);
        match timeout(TABLE_WITHIN, saving).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(StoreError::Conflict)) => return Err(held_elsewhere()),
            Ok(Err(error @ StoreError::TooLarge)) => {
                warn!(account.id = %id, error = %error, "poll cursor can't be saved");
                return Ok(());
            }
            Ok(Err(error)) => warn!(account.id = %id, error = %error, "poll cursor can't be saved yet"),
            Err(_) => warn!(account.id = %id, "poll cursor can't be saved in time"),
        }
        failures += 1;
        sleep(BACKOFF.wait(failures, chance())).await;
    }
}

/// A newer holder polls for the bot: see [`super::supervisor`], which will find out too.
fn held_elsewhere() -> Loss {
    Loss::passing("held_elsewhere")
}
