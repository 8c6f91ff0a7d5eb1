//! Facts about a platform.

use std::time::Duration;

use super::files::SentFiles;
use crate::account::{ConnectionMode, Endpoints};
use crate::bilingual::Bilingual;
use crate::budget::Budget;
use crate::split::TextLimit;
use crate::thinking_display::ReasoningDetail;

/// Facts about a platform. Abilities are data, so that nothing outside the folder asks for a platform's name.
#[derive(Debug, Clone, Copy)]
pub struct Manifest {
    /// The word used in the API and in addresses.
    pub platform: &'static str,
    /// The name people know.
    pub name: &'static str,
    /// Where the vendor documents it.
    pub docs: &'static str,
    /// Who proves that a request is genuine.
    pub proof: Proof,
    /// The header, in lower case, that says in how many seconds a limit is reset, where that isn't `Retry-After`.
    pub rate_hint: Option<&'static str>,
    /// Whether attachments can be downloaded only for minutes, or for a time that the platform doesn't state.
    pub media_is_short_lived: bool,
    /// Whether tasks are made outside only and bound to the chat from there, as the platform's own task systems do it.
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

/// Who proves that a request is genuine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// The connector, by the platform's signature.
    Platform,
    /// The bridge, by an operator's token: our own channel.
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
    /// What becomes of the replies of messages that were merged into a later one.
    pub merged: Merged,
    /// The sign of a message that waits behind a running answer.
    pub waiting_sign: WaitingSign,
    /// How much of an agent's reasoning an integration shows that doesn't say.
    pub reasoning: ReasoningDetail,
    /// Limits on what we send.
    pub budget: Budget,
    /// Longest welcome text for a person who opens the chat. `None` where the platform has no such event.
    pub welcome: Option<TextLimit>,
    /// Whether a new connection may be opened before the old one is closed. `false` where the platform kicks the old one.
    pub two_sockets: bool,
    /// Whether the platform delivers what is said in groups without mentioning the bot, to a bot that may read it.
    pub hears_groups: bool,
    /// Whether the bot can speak without being asked.
    pub proactive: bool,
    /// Which buttons of cards its connector shows as buttons.
    pub buttons: CardButtons,
    /// What of an agent's files is sent as the platform's own ([`super::Connector::files`]). The others are links.
    pub sent_files: SentFiles,
    /// Whether credentials are obtained by scanning a code instead of being typed in.
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
}

/// Which buttons of cards are shown as buttons. The others are lines of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CardButtons {
    /// None.
    None,
    /// Those that open an address.
    Links,
    /// All: a click on one that says something to the agent is reported.
    All,
}

/// A credential field.
#[derive(Debug, Clone, Copy)]
pub struct Field {
    /// Its name in `credentials`.
    pub name: &'static str,
    /// Whether it is masked in every answer.
    pub secret: bool,
    /// Whether it must be there.
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
    /// We call the platform.
    Push,
    /// The platform asks for the newest state; what it can't fetch in time is pushed.
    Pull {
        /// How long after the message the platform asks.
        lifetime: Duration,
        /// Whether something can be pushed when the platform has stopped asking.
        push_after: bool,
    },
    /// Push, for an integration that sets this endpoint; without it the platform asks for the newest state.
    PushTo {
        /// The endpoint's name.
        endpoint: &'static str,
        /// How long after the message the platform asks.
        lifetime: Duration,
    },
}

/// What becomes of the replies of messages that were merged into a later one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Merged {
    /// Nothing was shown for them, so nothing needs closing.
    Nothing,
    /// Each closes with a short "answered below".
    Note,
    /// Each ends with the same answer.
    SameAnswer,
}

/// The sign that a message waits behind a running answer. It is the connector's thinking sign, shown early.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaitingSign {
    /// None: the platform has no quiet one, or the running answer's sign stands for the whole chat.
    Nothing,
    /// A mark on the message. A final reply that says nothing removes it without a word, where the chat shows nothing else of it.
    Mark,
    /// A bubble, which must end with some text.
    Bubble,
}
