//! The resource kinds that `get` and `describe` accept.

use std::str::FromStr;

/// A resource kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Tenants.
    Organizations,
    /// Bot accounts.
    Integrations,
    /// AI agents.
    Agents,
    /// Bindings of an integration to an agent.
    Triggers,
    /// People.
    Users,
    /// Messages in the ledger.
    Messages,
    /// Conversations of one integration.
    Conversations,
    /// Messages that failed.
    DeadLetters,
    /// Tokens of operators.
    Tokens,
    /// Platforms that can be connected.
    Platforms,
}

/// The names of each kind, singular first. The first plural is the API's.
const WORDS: [(Kind, &[&str]); 10] = [
    (Kind::Organizations, &["organization", "organizations", "org", "orgs"]),
    (Kind::Integrations, &["integration", "integrations"]),
    (Kind::Agents, &["agent", "agents"]),
    (Kind::Triggers, &["trigger", "triggers"]),
    (Kind::Users, &["user", "users"]),
    (Kind::Messages, &["message", "messages"]),
    (Kind::Conversations, &["conversation", "conversations"]),
    (
        Kind::DeadLetters,
        &["deadletter", "deadletters", "dead-letter", "dead-letters"],
    ),
    (Kind::Tokens, &["token", "tokens"]),
    (Kind::Platforms, &["platform", "platforms"]),
];

/// An unknown kind.
#[derive(Debug, thiserror::Error)]
#[error(
    "expected one of organizations, integrations, agents, triggers, users, messages, conversations, deadletters, tokens, platforms"
)]
pub struct UnknownKind;

impl FromStr for Kind {
    type Err = UnknownKind;

    fn from_str(word: &str) -> Result<Self, UnknownKind> {
        let word = word.to_ascii_lowercase();
        let found = WORDS.iter().find(|(_, words)| words.contains(&&*word));
        found.map(|(kind, _)| *kind).ok_or(UnknownKind)
    }
}

/// Kinds that can be deleted.
const DELETABLE: [Kind; 5] = [
    Kind::Integrations,
    Kind::Agents,
    Kind::Triggers,
    Kind::Users,
    Kind::Tokens,
];

impl Kind {
    /// Parses a kind whose resources can be deleted.
    ///
    /// # Errors
    /// The kinds that can be, as a text.
    pub fn deletable(word: &str) -> Result<Self, String> {
        let kind = word.parse().ok().filter(|kind| DELETABLE.contains(kind));
        kind.ok_or_else(|| {
            let known: Vec<_> = DELETABLE.iter().map(|kind| kind.singular()).collect();
            format!("expected one of {}", known.join(", "))
        })
    }

    /// The singular name.
    #[must_use]
    pub fn singular(self) -> &'static str {
        self.words()[0]
    }

    /// The API's name of the collection.
    #[must_use]
    pub fn plural(self) -> &'static str {
        self.words()[1]
    }

    /// Whether a resource of this kind can be looked up by its name.
    #[must_use]
    pub const fn is_named(self) -> bool {
        matches!(self, Self::Integrations | Self::Agents | Self::Tokens)
    }

    fn words(self) -> &'static [&'static str] {
        let found = WORDS.iter().find(|(kind, _)| *kind == self);
        found.map_or(&["thing", "things"], |(_, words)| words)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_accepted_in_singular_and_plural() {
        for (kind, words) in WORDS {
            for word in words {
                assert_eq!(word.parse::<Kind>().unwrap(), kind);
            }
            assert_eq!(kind.plural(), format!("{}s", kind.singular()));
        }
        assert_eq!("Agents".parse::<Kind>().unwrap(), Kind::Agents);
        assert!("bot".parse::<Kind>().is_err());
    }
}
