//! Fetches what a message quotes or forwards, on a platform that reveals it only on request.

use std::time::Duration;

use tieline_core::event::Quoted;
use tieline_core::ids::PlatformMessageId;
use tieline_core::split::{TextLimit, TextUnit, split_first};
use tokio::time::Instant;
use tracing::warn;

use crate::accounts::Bot;
use crate::lookup::{LookupError, look_up};
use crate::world::World;

/// Sent to the agent in place of a quote that can't be fetched.
const UNREADABLE: &str = "(What is quoted here can't be read.)";
/// Most text of a quote that goes to the agent: many messages can be forwarded together.
pub(crate) const LIMIT: TextLimit = TextLimit {
    max: 64 * 1024,
    unit: TextUnit::Bytes,
};

/// How long transient failures are retried, for all quotes of a question: a person waits for the answer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// What the message quotes or forwards. If the platform doesn't return it, the message is still answered, with [`UNREADABLE`] as the quote.
pub(crate) async fn read(world: &World, bot: &Bot, id: &PlatformMessageId) -> Option<Quoted> {
    read_until(world, bot, id, Instant::now() + PATIENCE).await
}

/// Like [`read`], with transient failures retried until the given time.
pub(crate) async fn read_until(world: &World, bot: &Bot, id: &PlatformMessageId, until: Instant) -> Option<Quoted> {
    let quoted = match ask(world, bot, id, until).await? {
        Ok(quoted) => Quoted {
            text: split_first(&quoted.text, LIMIT).0.to_owned(),
            ..quoted
        },
        Err(error) => {
            warn!(account.id = %bot.account.integration, error = %crate::error_chain::chain(&error), "quoted message can't be read");
            Quoted {
                text: UNREADABLE.to_owned(),
                parts: Vec::new(),
            }
        }
    };
    let says_nothing = quoted.text.is_empty() && quoted.parts.is_empty();
    (!says_nothing).then_some(quoted)
}

/// `None` if the platform has no call for that.
async fn ask(world: &World, bot: &Bot, id: &PlatformMessageId, until: Instant) -> Option<Result<Quoted, LookupError>> {
    let cx = bot.context(world, None);
    let lookup = bot.connector.media()?.quote(id, &cx)?;
    Some(look_up(world, bot, &lookup, until).await)
}
