//! Checks that the platform of a trigger's integration can do what the trigger asks for. A welcome text is sent whole or not at all: a
//! platform would cut one that is too long, or refuse it. Group messages that don't mention the bot are only available where the platform
//! delivers them.

use tieline_core::account::ConnectionMode;
use tieline_core::connector::Unaddressed;
use tieline_core::split::{TextLimit, TextUnit};
use tieline_core::trigger::{GroupMessages, Trigger};
use tieline_store::config::integration;

use crate::problem::{FieldErrors, Problem};
use crate::state::AdminState;

/// Reason for refusing group context and `groupMessages: all`.
const UNHEARD: &str = "can't be used: in this mode the platform delivers only group messages that mention the bot";

/// Whether a change asks for more than before. A value that was saved before its limit existed must not block other changes.
pub(crate) fn asks_more(before: &Trigger, after: &Trigger) -> bool {
    let (was, wanted) = (&before.settings, &after.settings);
    was.welcome != wanted.welcome
        || was.unaddressed() != wanted.unaddressed()
        || before.integration != after.integration
}

/// Refuses settings that the platform of the trigger's integration doesn't support.
pub(super) async fn check(state: &AdminState, trigger: &Trigger) -> Result<(), Problem> {
    if trigger.settings.welcome.is_none() && trigger.settings.unaddressed() == Unaddressed::Ignored {
        return Ok(());
    }
    let record = integration::get(&state.world.store, &trigger.integration).await?;
    // Saving the trigger reports the missing integration.
    let Some(record) = record.filter(|record| record.organization == trigger.organization) else {
        return Ok(());
    };
    fits(state, trigger, &record.platform, record.mode)
}

/// Refuses settings that this platform doesn't support in this mode.
pub(crate) fn fits(state: &AdminState, trigger: &Trigger, platform: &str, mode: ConnectionMode) -> Result<(), Problem> {
    let manifest = state.world.connector(platform).map(|it| it.manifest());
    let Some(mode) = manifest.and_then(|manifest| manifest.mode(mode)) else {
        return Ok(());
    };
    let settings = &trigger.settings;
    let mut errors = FieldErrors::default();
    if let (Some(text), Some(limit)) = (&settings.welcome, mode.welcome)
        && !limit.fits(text)
    {
        errors.add(Problem::invalid("welcome", &too_long(limit)));
    }
    if !mode.hears_groups && settings.group_context > 0 {
        errors.add(Problem::invalid("groupContext", UNHEARD));
    }
    if !mode.hears_groups && settings.group_messages == GroupMessages::All {
        errors.add(Problem::invalid("groupMessages", UNHEARD));
    }
    errors.end()
}

fn too_long(limit: TextLimit) -> String {
    let unit = match limit.unit {
        TextUnit::Bytes => "bytes of UTF-8",
        TextUnit::Utf16 => "UTF-16 units",
        TextUnit::Chars => "characters",
    };
    format!("must have at most {} {unit} on this platform", limit.max)
}
