//! Attachments of a question: pictures with their bytes within the memory budget, everything else by link. Media that the platform
//! serves only for minutes is prefetched now, so that its link works.

use std::time::Duration;

use tieline_core::agent::AgentPart;
use tieline_core::event::{Part, PartKind};
use tieline_store::message::MessageRecord;
use tokio::time::Instant;
use tracing::warn;

use crate::accounts::Bot;
use crate::courier::DownloadError;
use crate::media::{self, FetchError, Fetched, PartRef};
use crate::world::World;

/// Most pictures of a run that are sent with their bytes. Their total length is limited too.
const MAX_PICTURES: usize = 16;
const MAX_PICTURE_BYTES: usize = 8 * 1024 * 1024;
/// Timeout for fetching one picture.
const PICTURE_PATIENCE: Duration = Duration::from_secs(30);
/// Timeout for all attachments: a person waits for the answer.
const PACKING_PATIENCE: Duration = Duration::from_secs(40);
/// Memory budget first taken for a picture: most are smaller.
const FIRST_ROOM: usize = 1024 * 1024;
/// How long a picture waits for memory budget. Other pictures are being fetched and soon need less, or are held as long as a run lasts.
const ROOM_PATIENCE: Duration = Duration::from_secs(1);

/// Outcome of prefetching a file that is sent by link.
enum Kept {
    /// It is stored, so its type is known, and its name if the platform reports it.
    Yes { mime: String, name: Option<String> },
    /// It is fetched from the platform when the link is followed.
    ByLink,
    /// The platform doesn't serve it.
    Lost,
}

/// The attachments of one question.
pub(super) struct Attachments<'a> {
    world: &'a World,
    bot: &'a Bot,
    n_pictures_left: usize,
    picture_bytes_left: usize,
    until: Instant,
}

impl<'a> Attachments<'a> {
    /// None yet. `inline` says whether the agent wants pictures with their bytes.
    pub(super) fn new(world: &'a World, bot: &'a Bot, inline: bool) -> Self {
        Self {
            world,
            bot,
            n_pictures_left: if inline { MAX_PICTURES } else { 0 },
            picture_bytes_left: MAX_PICTURE_BYTES,
            until: Instant::now() + PACKING_PATIENCE,
        }
    }

    /// A part as it is sent to the agent.
    pub(super) async fn part(&mut self, record: &MessageRecord, part: &Part, place: PartRef) -> AgentPart {
        let (picture, is_refused) = match self.picture(record, part, place).await {
            Ok(picture) => (picture, false),
            Err(error) => (None, error.is_permanent()),
        };
        let (inline, mime, name, unavailable) = match picture {
            Some(Fetched { bytes, mime, name }) => (Some(bytes), Some(mime), name, false),
            None => match self.keep(record, part, place, is_refused).await {
                Kept::Yes { mime, name } => (None, Some(mime), name, false),
                Kept::ByLink => (None, None, None, false),
                Kept::Lost => (None, None, None, true),
            },
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

    /// Prefetches a file that the platform deletes soon. `is_refused`: the platform has just refused it permanently, so a link to it would be
    /// dead, unless it is stored already.
    async fn keep(&mut self, record: &MessageRecord, part: &Part, place: PartRef, is_refused: bool) -> Kept {
        if self.is_too_large(part) {
            return Kept::Lost;
        }
        if !self.bot.connector.manifest().media_is_short_lived {
            return if is_refused { Kept::Lost } else { Kept::ByLink };
        }
        let patience = self.until.saturating_duration_since(Instant::now());
        let error = match media::keep_part(self.world, self.bot, &record.id, part, place, patience).await {
            Ok((name, mime)) => return Kept::Yes { mime, name },
            Err(error) => error,
        };
        let account = &self.bot.account.integration;
        warn!(account.id = %account, event.key = %record.id, error = %error, "part of a message can't be prefetched");
        // A file too long to be stored is still sent by link, for as long as the platform serves it.
        match error {
            FetchError::Download(DownloadError::TooLong(max)) if max < self.world.settings.max_file_bytes => {
                Kept::ByLink
            }
            _ => Kept::Lost,
        }
    }

    /// Whether the platform has announced more bytes than it serves, or than a link of the bridge does.
    fn is_too_large(&self, part: &Part) -> bool {
        let ours = u64::try_from(self.world.settings.max_file_bytes).unwrap_or(u64::MAX);
        let theirs = self.bot.connector.manifest().max_media_bytes.unwrap_or(u64::MAX);
        part.size.is_some_and(|size| size > ours.min(theirs))
    }

    /// The bytes of a picture. `None` for a part that is sent by link anyway.
    async fn picture(
        &mut self,
        record: &MessageRecord,
        part: &Part,
        place: PartRef,
    ) -> Result<Option<Fetched>, FetchError> {
        if part.kind != PartKind::Image || self.n_pictures_left == 0 || self.picture_bytes_left == 0 {
            return Ok(None);
        }
        self.n_pictures_left -= 1;
        let most = self.picture_bytes_left;
        let first = most.min(FIRST_ROOM);
        let whose = (record, place);
        let fetched = match self.fetch(whose, part, first).await {
            Err(FetchError::Download(DownloadError::TooLong(_))) if first < most => self.fetch(whose, part, most).await,
            fetched => fetched,
        };
        match fetched {
            Ok(fetched) => {
                self.picture_bytes_left = most.saturating_sub(fetched.bytes.len());
                Ok(Some(fetched))
            }
            Err(error) => {
                if matches!(error, FetchError::NoRoom(_)) {
                    // None of the other pictures would get any either.
                    self.n_pictures_left = 0;
                }
                let account = &self.bot.account.integration;
                warn!(account.id = %account, event.key = %record.id, error = %error, "picture can't be sent with its bytes");
                Err(error)
            }
        }
    }

    async fn fetch(
        &self,
        (record, place): (&MessageRecord, PartRef),
        part: &Part,
        max: usize,
    ) -> Result<Fetched, FetchError> {
        let room = self
            .world
            .image_budget
            .take(&self.bot.account.organization, max, ROOM_PATIENCE)
            .await;
        let room = room.ok_or(FetchError::NoRoom(ROOM_PATIENCE))?;
        if part.is_inline() {
            return media::fetch_inline(self.world, &record.id, place, max, room).await;
        }
        let left = self.until.saturating_duration_since(Instant::now());
        media::fetch(self.world, self.bot, part, max, room, left.min(PICTURE_PATIENCE)).await
    }
}

#[cfg(test)]
mod tests;
