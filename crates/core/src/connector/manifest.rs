//! Facts about a platform.

use std::time::Duration;

use super::files::SentFiles;
use crate::account::{ConnectionMode, Endpoints};
use crate::bilingual::Bilingual;
use crate::budget::Budget;
use crate::split::TextLimit;
use crate::thinking_display::ReasoningDetail;

/// Facts about a platform. Abilities are data, so that no code outside the folder needs the platform's name.
#[derive(Debug, Clone, Copy)]
pub struct Manifest {
    /// The name used in the API and in addresses.
    pub platform: &'static str,
    /// The display name.
    pub name: &'static str,
    /// The vendor's documentation.
    pub docs: &'static str,
    /// How requests are authenticated.
    pub proof: Proof,
    /// The header, in lower case, that says in how many seconds a limit is reset, where that isn't `Retry-After`.
    pub rate_hint: Option<&'static str>,
    /// Whether attachments can be downloaded only for minutes, or for a time that the platform doesn't document.
    pub media_is_short_lived: bool,
    /// Most bytes of an attachment that bots can download, where that is less than people may send.
    pub max_media_bytes: Option<u64>,
    /// Whether every answer is sent with the reply handle of the chat's newest message, where the process knows it: the platform may refuse
    /// those of earlier messages, or show nothing.
    pub answers_by_newest: bool,
    /// Whether the platform may deliver a message again under another id. Its time of sending is the same, and exact to the millisecond.
    pub redelivers_with_new_id: bool,
    /// Whether a group may get another id: see [`crate::event::ChatMoved`].
    pub groups_get_other_ids: bool,
    /// Codes of refusals after which an answer can be delivered once the person writes again.
    pub refused_until_next: &'static [&'static str],
    /// Whether tasks can only be created outside and bound to the chat from there, as in the platform's own task systems.
    pub tasks_from_outside: bool,
    /// Connection modes, the recommended one first.
    pub modes: &'static [ModeManifest],
}

impl Manifest {
    /// The facts about one mode.
    #[must_use]
    pub fn mode(&self, mode: ConnectionMode) -> Option<&'static ModeManifest> {
        self.modes.iter().find(|candidate| candidate.mode == mode)
    }
}

/// How requests are authenticated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// By the connector, with the platform's signature.
    Platform,
    /// By the bridge, with an operator's token: our own channel.
    Operator,
}

/// Facts about one connection mode of a platform.
#[derive(Debug, Clone, Copy)]
pub struct ModeManifest {
    /// The mode.
    pub mode: ConnectionMode,
    /// Its credential fields.
    pub credentials: &'static [Field],
    /// Its endpoints, by name, with the platform's own address.
    pub endpoints: &'static [EndpointField],
    /// What the operator does on the platform's side, in order.
    pub setup: &'static [Bilingual],
    /// Permissions that the bot needs on the platform.
    pub permissions: &'static [&'static str],
    /// How a reply reaches the chat. See [`ModeManifest::delivery_with`].
    pub delivery: Delivery,
    /// How the replies of messages that were merged into a later one are closed.
    pub merged: Merged,
    /// The waiting sign of a message behind a running answer.
    pub waiting_sign: WaitingSign,
    /// How much of an agent's reasoning is shown if the integration doesn't set it.
    pub reasoning: ReasoningDetail,
    /// Limits on what we send.
    pub budget: Budget,
    /// Longest welcome text for a person who opens the chat. `None` where the platform has no such event.
    pub welcome: Option<TextLimit>,
    /// Whether a new connection may be opened before the old one is closed. `false` where the platform kicks the old one.
    pub two_sockets: bool,
    /// Whether the platform delivers group messages without a mention to a bot that may read them.
    pub hears_groups: bool,
    /// Whether the bot can send messages that answer none. See [`ModeManifest::proactive_with`].
    pub proactive: bool,
    /// Which buttons of cards its connector shows as native buttons.
    pub buttons: CardButtons,
    /// Which files of agents are sent as native files ([`super::Connector::files`]). The others are links.
    pub sent_files: SentFiles,
    /// Whether credentials are obtained by scanning a QR code instead of being typed in.
    pub login: bool,
}

impl ModeManifest {
    /// How a reply reaches the chat of an integration with these endpoints: [`Delivery::Push`] or [`Delivery::Pull`].
    #[must_use]
    pub fn delivery_with(&self, endpoints: &Endpoints) -> Delivery {
        match self.delivery {
            Delivery::PushTo { endpoint, .. } if endpoints.contains_key(endpoint) => Delivery::Push,
            Delivery::PushTo { lifetime, .. } => Delivery::Pull {
                lifetime,
                push_after: false,
            },
            delivery => delivery,
        }
    }

    /// The endpoint that an integration with these endpoints lacks for pushing. Without it the bot can only answer.
    #[must_use]
    pub fn missing_endpoint(&self, endpoints: &Endpoints) -> Option<&'static str> {
        match self.delivery {
            Delivery::PushTo { endpoint, .. } if !endpoints.contains_key(endpoint) => Some(endpoint),
            _ => None,
        }
    }

    /// Whether the bot of an integration with these endpoints can send messages that answer none.
    #[must_use]
    pub fn proactive_with(&self, endpoints: &Endpoints) -> bool {
        self.proactive && self.missing_endpoint(endpoints).is_none()
    }
}

/// Which buttons of cards are shown as native buttons. The others are lines of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CardButtons {
    /// None.
    None,
    /// Those that open an address.
    Links,
    /// All: a click on one that sends a text to the agent is reported.
    All,
}

/// A credential field.
#[derive(Debug, Clone, Copy)]
pub struct Field {
    /// Its name in `credentials`.
    pub name: &'static str,
    /// Whether it is masked in every response.
    pub secret: bool,
    /// Whether it is required.
    pub required: bool,
    /// One sentence: where to find it on the platform.
    pub help: Bilingual,
}

/// An endpoint that can be overridden.
#[derive(Debug, Clone, Copy)]
pub struct EndpointField {
    /// Its name in `endpoints`.
    pub name: &'static str,
    /// The platform's own address. Empty if it has none.
    pub default: &'static str,
}

/// How a reply reaches the chat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// We call the platform (push).
    Push,
    /// The platform polls for the newest state; what it can't poll in time is pushed.
    Pull {
        /// How long after the message the platform polls.
        lifetime: Duration,
        /// Whether a push is possible after the platform has stopped polling.
        push_after: bool,
    },
    /// Push, for an integration that sets this endpoint; without it the platform polls for the newest state.
    PushTo {
        /// The endpoint's name.
        endpoint: &'static str,
        /// How long after the message the platform polls.
        lifetime: Duration,
    },
}

/// How the replies of messages that were merged into a later one are closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Merged {
    /// Nothing is shown for them, so nothing needs closing.
    Nothing,
    /// Each closes with a short "answered below".
    Note,
    /// Each ends with the same answer.
    SameAnswer,
}

/// The sign that a message waits behind a running answer: the connector's thinking sign, shown early.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaitingSign {
    /// None: the platform has no quiet sign, or the running answer's sign covers the whole chat.
    Nothing,
    /// A mark on the message. A final reply without text removes it silently, if the chat shows nothing else of the reply.
    Mark,
    /// A bubble, which must end with some text.
    Bubble,
}
