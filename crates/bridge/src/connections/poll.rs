//! The transport of a long poll: one HTTP call in flight, and its cursor kept in the table.

use std::pin::Pin;
use std::time::Duration;

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

/// How long one call to the table may take.
const TABLE_WITHIN: Duration = Duration::from_secs(5);
/// After the table failed.
const BACKOFF: Backoff = Backoff {
    base: Duration::from_millis(200),
    cap: Duration::from_secs(10),
};

type Pending<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// The transport of one long poll.
#[derive(Default)]
pub(super) struct Poll {
    /// The next call. It begins when [`Poll::begin`] lets it.
    due: Option<HttpCall>,
    in_flight: Option<Pending<Result<ApiAnswer, Loss>>>,
    /// The newest cursor that is not being saved yet.
    unsaved: Option<String>,
    saving: Option<Pending<Result<(), Loss>>>,
    /// Permit among the connections that are being opened, until the first call is answered.
    opening: Option<OwnedSemaphorePermit>,
    /// Whether only parting calls are made any more.
    closing: bool,
}

/// What comes to a poll.
pub(super) enum PollInput {
    /// The answer to the call in flight, or why there can be none.
    Fetched(Result<ApiAnswer, Loss>),
    /// Why the cursor can't be saved, if it can't.
    Saved(Result<(), Loss>),
}

impl Poll {
    /// A poll that has not begun. `opening` is given back with the first answer.
    pub(super) fn new(opening: OwnedSemaphorePermit) -> Self {
        Self {
            opening: Some(opening),
            ..Self::default()
        }
    }

    /// Makes this call next, in place of the one in flight.
    pub(super) fn fetch(&mut self, call: HttpCall) {
        if !self.closing {
            self.in_flight = None;
            self.due = Some(call);
        }
    }

    /// Saves this cursor: the newest one if the table is slower than the platform.
    pub(super) fn save(&mut self, cursor: String, bot: &BotContext) {
        self.unsaved = Some(cursor);
        self.begin_saving(bot);
    }

    /// Whether a call waits for [`Poll::begin`].
    pub(super) const fn is_due(&self) -> bool {
        self.due.is_some()
    }

    /// Begins the call that is due. It waits for the lease: another process may poll by now, and two would share the messages.
    pub(super) fn begin(&mut self, bot: &BotContext) {
        if let Some(call) = self.due.take() {
            self.in_flight = Some(Box::pin(fetch(bot.clone(), call)));
        }
    }

    /// Waits for what comes next. Nothing is lost if the future is dropped.
    pub(super) async fn next(&mut self, bot: &BotContext) -> PollInput {
        let (in_flight, saving) = (&mut self.in_flight, &mut self.saving);
        tokio::select! {
            answer = async { match in_flight { Some(call) => call.await, None => std::future::pending().await } } => {
                self.in_flight = None;
                self.opening = None;
                PollInput::Fetched(answer)
            }
            saved = async { match saving { Some(saving) => saving.await, None => std::future::pending().await } } => {
                self.saving = None;
                self.begin_saving(bot);
                PollInput::Saved(saved)
            }
        }
    }

    /// No call is made any more but the parting ones: one that is held would only end with the limit. Returns its answer if it is
    /// there already, for what it brings is not delivered again.
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

    /// Makes the parting call, and sees to it that the newest cursor is saved. Not after `until`.
    pub(super) async fn part(mut self, call: Option<HttpCall>, bot: &BotContext, until: Instant) {
        let calling = async {
            if let Some(call) = call {
                // Its outcome is not awaited.
                let _ = fetch(bot.clone(), call).await;
            }
        };
        let saving = async {
            while self.saving.is_some() {
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

/// What a session of a long poll begins with: the cursor, taken over from the bot's previous holder.
pub(super) async fn address(bot: &BotContext) -> Result<SocketAddress, Loss> {
    let (store, id) = (&bot.shared.world.store, &bot.bot.account.integration);
    let source = courier::source(&bot.bot);
    let reading = poll_cursor::take_over(store, id, &source, bot.fence);
    let cursor = match timeout(TABLE_WITHIN, reading).await {
        Ok(Ok(cursor)) => cursor.unwrap_or_default(),
        Ok(Err(StoreError::Conflict)) => return Err(held_elsewhere()),
        Ok(Err(error @ (StoreError::Unreadable { .. } | StoreError::Unsealable))) => {
            warn!(account.id = %id, error = %error, "poll cursor can't be read: polling begins where the platform does");
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
    if outbound_url::check(&call.url, world.settings.allow_private).is_err() {
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

/// Saves a cursor, however long the table is away. Until then the platform delivers again what was behind the old one, or has
/// delivered it once and for all: the queue has it.
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

/// A newer holder of the bot polls: see [`super::supervisor`], which will hear of it too.
fn held_elsewhere() -> Loss {
    Loss::passing("held_elsewhere")
}
