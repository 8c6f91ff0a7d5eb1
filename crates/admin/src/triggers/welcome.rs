//! A welcome is said whole or not at all: a platform would cut one that is too long, or refuse it.

use tieline_core::account::ConnectionMode;
use tieline_core::split::{TextLimit, TextUnit};
use tieline_core::trigger::Trigger;
use tieline_store::config::integration;

use crate::problem::Problem;
use crate::state::AdminState;

/// Refuses a welcome that is longer than the platform of the trigger's integration takes.
pub(super) async fn check(state: &AdminState, trigger: &Trigger) -> Result<(), Problem> {
    if trigger.settings.welcome.is_none() {
        return Ok(());
    }
    let record = integration::get(&state.world.store, &trigger.integration).await?;
    // Saving says that there is no such integration.
    let Some(record) = record.filter(|record| record.organization == trigger.organization) else {
        return Ok(());
    };
    fits(state, trigger, &record.platform, record.mode)
}

/// Refuses a welcome that is longer than this platform takes.
pub(crate) fn fits(state: &AdminState, trigger: &Trigger, platform: &str, mode: ConnectionMode) -> Result<(), Problem> {
    let Some(text) = &trigger.settings.welcome else {
        return Ok(());
    };
    let manifest = state.world.connector(platform).map(|it| it.manifest());
    let mode = manifest.and_then(|manifest| manifest.mode(mode));
    match mode.and_then(|mode| mode.welcome) {
        Some(limit) if !limit.fits(text) => Err(Problem::invalid("welcome", &too_long(limit))),
        _ => Ok(()),
    }
}

fn too_long(limit: TextLimit) -> String {
    let unit = match limit.unit {
        TextUnit::Bytes => "bytes of UTF-8",
        TextUnit::Utf16 => "UTF-16 units",
        TextUnit::Chars => "characters",
    };
    format!("must have at most {} {unit} on this platform", limit.max)
}
