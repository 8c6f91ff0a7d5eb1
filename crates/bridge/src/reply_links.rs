//! Whole answers behind a signed link, for what a platform has no room for.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tieline_core::ids::ReplyId;
use tieline_core::timestamp::Timestamp;
use tieline_store::StoreError;
use tieline_store::reply::{self, ReplyRecord};

use crate::world::World;

/// How long a link works.
const LIFE: Duration = Duration::from_secs(7 * 24 * 3600);
/// What sealed link tokens are about.
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
    let grant = Grant {
        reply: record.id.clone(),
        expires_at: record.received_at.after(LIFE),
    };
    let json = serde_json::to_vec(&grant).expect("a grant serializes as JSON");
    let token = world.store.keyring().seal_url(&json, PAGE_TOKEN);
    format!("{}/api/replies/{token}", world.settings.public_url)
}

/// The whole text behind a link. `None` if the link isn't ours, is too old, or its reply is gone.
///
/// # Errors
/// The table's.
pub async fn text(world: &World, token: &str) -> Result<Option<String>, StoreError> {
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
    Ok(reply::get(&world.store, &grant.reply, now)
        .await?
        .map(|record| record.text))
}
