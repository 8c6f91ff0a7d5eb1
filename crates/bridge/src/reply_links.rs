//! Signed links to whole answers, for platforms whose messages are too short for them.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tieline_core::ids::{OrganizationId, ReplyId};
use tieline_core::reply::Stage;
use tieline_core::timestamp::Timestamp;
use tieline_store::StoreError;
use tieline_store::config::integration;
use tieline_store::reply::{self, ReplyRecord};

use crate::world::World;

/// How long a link works.
const LIFE: Duration = Duration::from_secs(7 * 24 * 3600);
/// How long a reply without a record counts as still being written.
const LONGEST_RUN: Duration = Duration::from_secs(3600);
/// Purpose of sealed link tokens.
const PAGE_TOKEN: &str = "reply page";

#[derive(Serialize, Deserialize)]
struct Grant {
    reply: ReplyId,
    #[serde(with = "tieline_core::timestamp::millis")]
    expires_at: Timestamp,
}

/// A signed link to the whole text of a reply: `…/api/replies/{token}`, for seven days.
///
/// # Panics
/// Never: a grant serializes.
#[must_use]
pub fn link(world: &World, record: &ReplyRecord) -> String {
    link_to(world, &record.id, record.received_at)
}

/// Like [`link`], for a reply that may have no record yet. The lifetime starts when its message was received.
///
/// # Panics
/// Never: a grant serializes.
#[must_use]
pub fn link_to(world: &World, reply: &ReplyId, received_at: Timestamp) -> String {
    let grant = Grant {
        reply: reply.clone(),
        expires_at: received_at.after(LIFE),
    };
    let json = serde_json::to_vec(&grant).expect("a grant serializes as JSON");
    // Connectors compare the text with what they have sent, and the link is in it.
    let token = world.store.keyring().seal_url_repeatably(&json, PAGE_TOKEN);
    format!("{}/api/replies/{token}", world.settings.public_url)
}

/// Content of a reply page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReplyPage {
    /// The whole text, with our notice below it or in its place, and the organization whose answer it is.
    Text(OrganizationId, String),
    /// The answer is still being written.
    Pending,
}

/// The page of a link. `None` if the link is invalid or expired, or its reply is gone.
///
/// # Errors
/// The table's.
pub async fn page(world: &World, token: &str) -> Result<Option<ReplyPage>, StoreError> {
    let now = world.clock.now();
    let Ok(json) = world.store.keyring().open_url(token, PAGE_TOKEN) else {
        return Ok(None);
    };
    let Ok(grant) = serde_json::from_slice::<Grant>(&json) else {
        return Ok(None);
    };
    if grant.expires_at <= now {
        return Ok(None);
    }
    let Some(record) = reply::get(&world.store, &grant.reply, now).await? else {
        let received_at = grant.expires_at.before(LIFE);
        return Ok((now.since(received_at) < LONGEST_RUN).then_some(ReplyPage::Pending));
    };
    // Merged into a later message: the answer is that message's.
    let record = match &record.same_as {
        Some(same) => reply::get(&world.store, same, now).await?.unwrap_or(record),
        None => record,
    };
    match record.stage {
        Stage::Final => {
            let organization = record.organization.clone();
            Ok(Some(ReplyPage::Text(organization, whole_text(world, record).await?)))
        }
        Stage::Thinking | Stage::Growing => Ok(Some(ReplyPage::Pending)),
    }
}

/// The text of the reply, with notices in the language of its bot.
async fn whole_text(world: &World, record: ReplyRecord) -> Result<String, StoreError> {
    if record.notice.is_none() && record.card.is_none() {
        return Ok(record.text);
    }
    let bound = integration::look_up(&world.store, &record.integration, world.clock.now()).await?;
    let language = bound.map(|bound| bound.integration.language).unwrap_or_default();
    let text = record.text_with_buttons(language).into_owned();
    let sentence = record.notice.map_or("", |notice| notice.text(language));
    Ok(match (text.is_empty(), sentence.is_empty()) {
        (true, _) => sentence.to_owned(),
        (false, true) => text,
        (false, false) => format!("{text}\n\n{sentence}"),
    })
}
