//! Redaction of what agents say, before it is shown or stored: see [`tieline_core::redaction`].

use tieline_core::agent::{AgentEvent, AgentFailure, Draft};
use tieline_core::ids::AgentId;
use tieline_core::redaction::{Detector, HeldBack, Outgoing};
use tieline_store::reply::ReplyRecord;

use super::LeasedConversation;
use crate::integration_log;
use crate::world::World;

/// Masks credentials in an agent's events, if the trigger wants that.
#[derive(Debug, Default)]
pub(super) struct OutgoingGuard(Option<Detector>);

impl OutgoingGuard {
    /// The guard as set by the trigger of the conversation's bot.
    pub(super) fn of(held: &LeasedConversation) -> Self {
        let trigger = held.bound.as_ref().and_then(|bound| bound.trigger.as_ref());
        let redaction = trigger.map(|trigger| &trigger.settings.redaction);
        let redaction = redaction.filter(|redaction| redaction.outgoing == Outgoing::Mask);
        Self(redaction.map(|redaction| Detector::new(&redaction.patterns)))
    }

    /// Applies one event to the draft. Returns whether there is something new to show.
    pub(super) fn apply(&self, draft: &mut Draft, event: &AgentEvent) -> bool {
        let Some(detector) = &self.0 else {
            return draft.apply(event);
        };
        let HeldBack { text, reasoning } = &mut draft.held_back;
        match event {
            AgentEvent::TextDelta(delta) => added(&mut draft.text, &text.push(detector, delta)),
            AgentEvent::TextSnapshot(snapshot) => {
                draft.text = text.replace(detector, snapshot);
                true
            }
            AgentEvent::ReasoningDelta(delta) => added(&mut draft.reasoning, &reasoning.push(detector, delta)),
            AgentEvent::Completed {
                final_text: Some(whole),
            } if !whole.trim().is_empty() => {
                draft.text = text.replace(detector, whole);
                self.finish(draft);
                true
            }
            AgentEvent::Completed { .. } | AgentEvent::Cancelled | AgentEvent::Failed(_) => self.finish(draft),
            AgentEvent::InputRequired {
                prompt,
                choices,
                resume_ref,
            } => {
                draft.text.push_str(&text.finish(detector));
                let asked = AgentEvent::InputRequired {
                    prompt: masked(detector, prompt),
                    choices: choices.iter().map(|choice| masked(detector, choice)).collect(),
                    resume_ref: resume_ref.clone(),
                };
                draft.apply(&asked)
            }
            AgentEvent::Card(card) => draft.apply(&AgentEvent::Card(card.with_words(|words| masked(detector, words)))),
            AgentEvent::Progress { label, state } => draft.apply(&AgentEvent::Progress {
                label: masked(detector, label),
                state: masked(detector, state),
            }),
            other => draft.apply(other),
        }
    }

    /// Appends the text that was held back to the draft, when the answer has ended in any way. Returns whether there was any.
    pub(super) fn finish(&self, draft: &mut Draft) -> bool {
        let Some(detector) = &self.0 else {
            return false;
        };
        let HeldBack { text, reasoning } = &mut draft.held_back;
        draft.reasoning.push_str(&reasoning.finish(detector));
        added(&mut draft.text, &text.finish(detector))
    }

    /// Like [`Self::finish`], for the record of an answer that no process will complete.
    pub(super) fn finish_reply(&self, reply: &mut ReplyRecord) {
        if let Some(detector) = &self.0 {
            reply.text.push_str(&reply.held_back.text.finish(detector));
        }
    }

    /// A failure with its message masked: the text comes from the agent, and is kept in the ledger.
    pub(super) fn failure(&self, failure: AgentFailure) -> AgentFailure {
        match &self.0 {
            Some(detector) => AgentFailure {
                message: masked(detector, &failure.message),
                ..failure
            },
            None => failure,
        }
    }

    /// Writes to the integration's log that something was masked.
    pub(super) async fn log(&self, world: &World, held: &LeasedConversation, agent: &AgentId, held_back: &HeldBack) {
        let n = held_back.text.n_redacted();
        if n > 0 {
            let line = format!("an answer of agent {agent} had {n} credential(s), which were masked");
            let integration = &held.conversation.key.integration;
            integration_log::warn(world, integration, "answer_redacted", &line).await;
        }
    }
}

fn added(text: &mut String, piece: &str) -> bool {
    text.push_str(piece);
    !piece.is_empty()
}

fn masked(detector: &Detector, text: &str) -> String {
    detector.mask(text).unwrap_or_else(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> AgentEvent {
        AgentEvent::TextDelta(text.into())
    }

    fn guard() -> OutgoingGuard {
        OutgoingGuard(Some(Detector::default()))
    }

    #[test]
    fn secret_split_over_events_is_never_shown() {
        let (guard, mut draft) = (guard(), Draft::default());
        for piece in ["The key is sk-a1B2c3", "D4e5F6g7H8", "i9J0k1L2, keep", " it"] {
            guard.apply(&mut draft, &text(piece));
            assert!(!draft.text.contains("sk-a1"), "{}", draft.text);
        }
        guard.apply(&mut draft, &AgentEvent::Completed { final_text: None });
        assert_eq!(draft.text, "The key is [redacted], keep it");
        assert_eq!(draft.held_back.text.n_redacted(), 1);
    }

    #[test]
    fn everything_that_is_shown_is_masked() {
        let (guard, mut draft, secret) = (guard(), Draft::default(), "password: hunter22");
        guard.apply(&mut draft, &AgentEvent::ReasoningDelta(format!("{secret} \n")));
        guard.apply(&mut draft, &AgentEvent::TextSnapshot(format!("{secret}\n")));
        let question = AgentEvent::InputRequired {
            prompt: secret.into(),
            choices: vec![secret.into()],
            resume_ref: None,
        };
        guard.apply(&mut draft, &question);
        let progress = AgentEvent::Progress {
            label: secret.into(),
            state: String::new(),
        };
        guard.apply(&mut draft, &progress);
        let shown = format!("{}{}{:?}{:?}", draft.text, draft.reasoning, draft.progress, draft.card);
        assert!(!shown.contains("hunter22"), "{shown}");
        // Twice in the button of the choice, and of the tool where it is shown and where it is remembered.
        assert_eq!(shown.matches("[redacted]").count(), 7, "{shown}");
        let mut card = draft.card.take().unwrap();
        card.text = secret.into();
        guard.apply(&mut draft, &AgentEvent::Card(card));
        assert!(!format!("{:?}", draft.card).contains("hunter22"), "{:?}", draft.card);
        let whole = AgentEvent::Completed {
            final_text: Some(secret.into()),
        };
        guard.apply(&mut draft, &whole);
        assert_eq!(draft.text, "password: [redacted]");
    }

    #[test]
    fn without_the_setting_nothing_is_changed() {
        let mut draft = Draft::default();
        OutgoingGuard::default().apply(&mut draft, &text("password: hunter22"));
        assert_eq!(draft.text, "password: hunter22");
    }
}
