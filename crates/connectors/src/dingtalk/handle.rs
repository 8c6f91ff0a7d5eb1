//! Reply handle: how to reach the chat of a message.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tieline_core::connector::Context;
use tieline_core::event::{Chat, ChatKind};
use tieline_core::reply::{ComposeError, ReplyHandle, ReplyTarget};
use tieline_core::timestamp::Timestamp;

use super::settings;

/// Allowed hosts of a `sessionWebhook`.
const WEBHOOK_HOSTS: &[&str] = &[
    "oapi.dingtalk.com",
    "api.dingtalk.com",
    "oapi.dingtalk.io",
    "api.dingtalk.io",
];
/// A `sessionWebhook` is no longer used this long before it expires.
const WEBHOOK_MARGIN: Duration = Duration::from_secs(60);

/// Ways to reach a chat.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Handle {
    /// `sessionWebhook`: its holder can write into the chat.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) webhook: Option<String>,
    /// Expiry of `sessionWebhook`, in milliseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) webhook_until: Option<i64>,
    /// The robot that received the message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) robot: Option<String>,
    /// `userId` of the asker, if they belong to the organization.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) staff: Option<String>,
}

/// A way to send a message to the chat.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// Through the message's `sessionWebhook`: doesn't count towards the monthly API quota.
    Webhook(String),
    /// Through the API, to one person.
    Direct { user: String },
    /// Through the API, to a group.
    Group,
}

impl Handle {
    /// The handle of a target. Empty for a proactive message.
    pub(super) fn of(to: &ReplyTarget) -> Self {
        Self::deserialize(to.handle.value()).unwrap_or_default()
    }

    /// Serializes the handle.
    pub(super) fn write(&self) -> ReplyHandle {
        ReplyHandle::new(serde_json::to_value(self).expect("text and numbers are JSON"))
    }

    /// Until when the chat can be reached. Groups and members of the organization can always be reached; anyone else only by the
    /// `sessionWebhook`.
    pub(super) fn expires_at(&self, chat: &Chat) -> Option<Timestamp> {
        let any_time = chat.kind == ChatKind::Group || self.staff.is_some();
        self.webhook_until.filter(|_| !any_time).map(Timestamp::from_millis)
    }

    /// The robot that answers.
    pub(super) fn robot<'a>(&'a self, cx: &Context<'a>) -> &'a str {
        self.robot
            .as_deref()
            .unwrap_or_else(|| settings::of(cx).robot_code.as_str())
    }

    /// The `userId` that calls can use, in a direct chat.
    pub(super) fn user<'a>(&'a self, to: &'a ReplyTarget) -> Option<&'a str> {
        // Ids with these prefixes are encrypted and can't be used in calls.
        let callable = |id: &&str| !id.is_empty() && !id.starts_with("$:") && !id.starts_with("cid");
        let known = self.staff.as_deref();
        known.or_else(|| [to.asker.as_str(), to.chat.id.as_str()].into_iter().find(callable))
    }

    /// The best available way. `webhook_closed`: the platform has refused the `sessionWebhook`.
    pub(super) fn way(&self, to: &ReplyTarget, webhook_closed: bool, cx: &Context<'_>) -> Result<Way, ComposeError> {
        let webhook = self.webhook.as_deref().filter(|_| !webhook_closed);
        let foreign = webhook.is_some_and(|address| !cx.account.may_call(address, WEBHOOK_HOSTS));
        let live = self
            .webhook_until
            .is_none_or(|until| cx.now.after(WEBHOOK_MARGIN) < Timestamp::from_millis(until));
        match webhook.filter(|_| live && !foreign) {
            Some(address) => Ok(Way::Webhook(address.to_owned())),
            None => self.way_by_api(to).ok_or(match self.webhook {
                _ if foreign => ComposeError::ForeignAddress,
                // A proactive message to a direct chat whose person is unknown.
                None => ComposeError::Incomplete { field: "userId" },
                Some(_) => ComposeError::Expired,
            }),
        }
    }

    /// The way through the API, if available.
    pub(super) fn way_by_api(&self, to: &ReplyTarget) -> Option<Way> {
        match to.chat.kind {
            ChatKind::Group => Some(Way::Group),
            ChatKind::Direct => self.user(to).map(|user| Way::Direct { user: user.to_owned() }),
        }
    }
}
