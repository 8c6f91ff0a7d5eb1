//! What a trigger asks of its bot's connector. It can change while the bot is connected.

use std::sync::Arc;

use tieline_core::connector::Unaddressed;
use tieline_core::trigger::Trigger;

/// What a trigger asks of the connector.
#[derive(Debug, Clone, Default)]
pub(super) struct TriggerWants {
    /// The welcome text.
    pub(super) welcome: Option<Arc<str>>,
    /// How to handle what is said in groups and not to the bot.
    pub(super) unaddressed: Unaddressed,
}

impl TriggerWants {
    /// What this trigger asks for. Without a trigger: nothing.
    pub(super) fn of(trigger: Option<Trigger>) -> Self {
        let Some(settings) = trigger.map(|trigger| trigger.settings) else {
            return Self::default();
        };
        Self {
            unaddressed: settings.unaddressed(),
            welcome: settings.welcome.map(Arc::from),
        }
    }
}
