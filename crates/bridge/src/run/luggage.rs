//! What goes along with a question: pictures with their bytes as far as there is room, everything else by link. What the platform
//! gives only for minutes is fetched now, so that the link leads somewhere.

use std::time::Duration;

use tieline_core::agent::AgentPart;
use tieline_core::event::{Part, PartKind};
use tieline_store::message::MessageRecord;
use tokio::time::Instant;
use tracing::warn;

use crate::accounts::Bot;
use crate::media::{self, Fetched, Place};
use crate::world::World;

/// Most pictures of a run, and most bytes of them in sum, that go along with their bytes.
const MAX_PICTURES: usize = 16;
const MAX_PICTURE_BYTES: usize = 8 * 1024 * 1024;
/// How long fetching a picture may take.
const PICTURE_PATIENCE: Duration = Duration::from_secs(30);
/// How long all that must be kept may take: somebody waits for an answer.
const PACKING_PATIENCE: Duration = Duration::from_secs(60);
/// How long a picture waits for room. Others are being fetched and soon take less, or are held as long as a run lasts.
const ROOM_PATIENCE: Duration = Duration::from_secs(1);

/// What is packed for one question.
pub(super) struct Luggage<'a> {
    world: &'a World,
    bot: &'a Bot,
    n_pictures_left: usize,
    picture_bytes_left: usize,
    until: Instant,
}

impl<'a> Luggage<'a> {
    /// Nothing yet. `inline` says whether the agent wants pictures with their bytes.
    pub(super) fn new(world: &'a World, bot: &'a Bot, inline: bool) -> Self {
        Self {
            world,
            bot,
            n_pictures_left: if inline { MAX_PICTURES } else { 0 },
            picture_bytes_left: MAX_PICTURE_BYTES,
            until: Instant::now() + PACKING_PATIENCE,
        }
    }

    /// A part as the agent gets it.
    pub(super) async fn part(&mut self, record: &MessageRecord, part: &Part, place: Place) -> AgentPart {
        let picture = self.picture(record, part).await;
        let unavailable = picture.is_none() && self.is_lost(record, part, place).await;
        let (inline, mime, name) = match picture {
            Some(Fetched { bytes, mime, name }) => (Some(bytes), Some(mime), name),
            None => (None, None, None),
        };
        AgentPart {
            kind: part.kind,
            url: media::link(self.world, record, place),
            mime: mime.or_else(|| part.mime.clone()),
            name: name.or_else(|| part.name.clone()),
            inline,
            unavailable,
        }
    }

    /// Fetches what can't be had later, and says whether it can't be had now either.
    async fn is_lost(&mut self, record: &MessageRecord, part: &Part, place: Place) -> bool {
        if !self.bot.connector.media_is_short_lived() {
            return false;
        }
        let patience = self.until.saturating_duration_since(Instant::now());
        let kept = media::keep_part(self.world, self.bot, &record.id, part, place, patience).await;
        kept.inspect_err(|error| {
            let account = &self.bot.account.integration;
            warn!(account.id = %account, event.key = %record.id, error = %error, "part of a message can't be kept");
        })
        .is_err()
    }

    async fn picture(&mut self, record: &MessageRecord, part: &Part) -> Option<Fetched> {
        if part.kind != PartKind::Image || self.n_pictures_left == 0 || self.picture_bytes_left == 0 {
            return None;
        }
        let max = self.picture_bytes_left;
        let room = self.world.pictures.take(max, ROOM_PATIENCE).await?;
        match media::fetch(self.world, self.bot, part, max, room, PICTURE_PATIENCE).await {
            Ok(fetched) => {
                self.n_pictures_left -= 1;
                self.picture_bytes_left = max.saturating_sub(fetched.bytes.len());
                Some(fetched)
            }
            Err(error) => {
                let account = &self.bot.account.integration;
                warn!(account.id = %account, event.key = %record.id, error = %error, "picture can't be sent along");
                None
            }
        }
    }
}

#[cfg(test)]
mod tests;
