//! The content of a notification: JSON for programs, which includes a text for people.

use std::collections::HashMap;

use serde::Serialize;
use tieline_core::ids::{IntegrationId, OrganizationId};
use tieline_core::incident::{IncidentEvent, IncidentKind};
use tieline_core::notice::Language;
use tieline_core::timestamp::Timestamp;
use tieline_store::status::ConnectionState;

use crate::integrations::health::BotHealth;
use crate::texts::Text;

/// Maximum number of events in one notification. A relay that dies takes down all its bots.
const MAX_LISTED: usize = 20;

/// A notification.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Message<'a> {
    id: &'a str,
    at: Timestamp,
    organization: &'a OrganizationId,
    /// For people, one line per event.
    text: String,
    events: Vec<Event<'a>>,
    /// Number of events that are not listed.
    more: usize,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Event<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none", flatten)]
    bot: Option<BotInEvent<'a>>,
    /// Since when the condition lasts or lasted.
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<Timestamp>,
    /// The number of dead letters.
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<u32>,
    /// The page of the console that shows it.
    url: String,
    #[serde(skip)]
    line: Text,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct BotInEvent<'a> {
    integration_id: &'a IntegrationId,
    name: &'a str,
    platform: &'a str,
    state: ConnectionState,
    reason: Option<&'a str>,
    /// The operator's next step.
    next: Option<&'a str>,
}

/// Fields that all events share.
#[derive(Clone, Copy)]
pub(super) struct About<'a> {
    pub(super) id: &'a str,
    pub(super) organization: &'a OrganizationId,
    pub(super) at: Timestamp,
    pub(super) language: Language,
    /// This deployment's public address.
    pub(super) public_url: &'a str,
}

/// The notification for these events.
pub(super) fn of<'a>(
    about: About<'a>,
    events: &'a [IncidentEvent],
    bots: &HashMap<&IntegrationId, &'a BotHealth>,
) -> Message<'a> {
    let mut all: Vec<_> = events.iter().filter_map(|event| describe(about, event, bots)).collect();
    let more = all.len().saturating_sub(MAX_LISTED);
    all.truncate(MAX_LISTED);
    let mut lines: Vec<_> = all.iter().map(|event| event.line.clone()).collect();
    if more > 0 {
        lines.push(Text::new("notify_more").with("n", more));
    }
    // A Markdown list; platforms without Markdown show it as plain text.
    let lines: Vec<_> = lines
        .iter()
        .map(|line| format!("\n- {}", line.render(about.language)))
        .collect();
    let head = Text::new("notify_head").with("organization", about.organization);
    Message {
        id: about.id,
        at: about.at,
        organization: about.organization,
        text: format!("{}\n{}", head.render(about.language), lines.concat()),
        events: all,
        more,
    }
}

/// A test notification.
pub(super) fn test(about: About<'_>) -> Message<'_> {
    let line = Text::new("notify_test").with("organization", about.organization);
    Message {
        id: about.id,
        at: about.at,
        organization: about.organization,
        text: line.render(about.language),
        events: vec![Event {
            kind: "test",
            bot: None,
            since: None,
            count: None,
            url: format!("{}/#/settings", about.public_url),
            line,
        }],
        more: 0,
    }
}

/// `None` if the bot doesn't exist any more.
fn describe<'a>(
    about: About<'_>,
    event: &'a IncidentEvent,
    bots: &HashMap<&IntegrationId, &'a BotHealth>,
) -> Option<Event<'a>> {
    let (kind, code, integration, since) = match event {
        IncidentEvent::Began {
            integration,
            kind,
            since,
        } => match kind {
            IncidentKind::Down => ("bot_down", "notify_down", integration, since),
            IncidentKind::AnswersFail => ("answers_failing", "notify_failing", integration, since),
        },
        IncidentEvent::Ended {
            integration,
            kind,
            since,
        } => match kind {
            IncidentKind::Down => ("bot_back", "notify_back", integration, since),
            IncidentKind::AnswersFail => ("answers_back", "notify_answers_back", integration, since),
        },
        IncidentEvent::DeadLetters { n } => {
            return Some(Event {
                kind: "dead_letters",
                bot: None,
                since: None,
                count: Some(*n),
                url: format!("{}/#/messages", about.public_url),
                line: Text::new("notify_letters")
                    .with("n", n)
                    .with("url", format!("{}/#/messages", about.public_url)),
            });
        }
    };
    let bot = bots.get(integration)?;
    let url = format!("{}/#/bots/{integration}", about.public_url);
    let line = Text::new(code)
        .with("name", &bot.record.name)
        .with("platform", &bot.record.platform);
    let line = line
        .with("since", since)
        .with("next", bot.next.as_deref().unwrap_or_default());
    Some(Event {
        kind,
        bot: Some(BotInEvent {
            integration_id: integration,
            name: &bot.record.name,
            platform: &bot.record.platform,
            state: bot.state,
            reason: bot.reason.as_deref(),
            next: bot.next.as_deref(),
        }),
        since: Some(*since),
        count: None,
        line: line.with("url", &url),
        url,
    })
}

impl Message<'_> {
    /// The JSON body.
    pub(super) fn to_body(&self) -> String {
        serde_json::to_string(self).expect("a notification serializes as JSON")
    }
}
