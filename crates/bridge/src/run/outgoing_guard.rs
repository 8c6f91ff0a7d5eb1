//! Redaction of what agents say, before it is shown or stored: see [`tieline_core::redaction`].

use tieline_core::agent::{AgentEvent, AgentFailure, Draft};
use tieline_core::ids::{AgentId, OrganizationId};
use tieline_core::redaction::{Detector, HeldBack, Outgoing};
use tieline_store::reply::ReplyRecord;

use super::LeasedConversation;
use crate::integration_log;
use crate::long_text::{self, MAX_ON_RUNTIME};
use crate::world::World;

/// Masks credentials in an agent's events, if the trigger wants that.
#[derive(Debug, Default)]
pub(super) struct OutgoingGuard(Option<(Detector, OrganizationId)>);

/// An event without credentials, and what it decides of the text before it.
pub(super) struct Guarded {
    /// Text and reasoning to append first: of a piece, or of what was held back.
    released: (String, String),
    /// The event to apply, if those are not all of it.
    event: Option<AgentEvent>,
    /// What is held back after it.
    held_back: HeldBack,
}

impl OutgoingGuard {
    /// The guard as set by the trigger of the conversation's bot.
    pub(super) fn of(held: &LeasedConversation) -> Self {
        let trigger = held.bound.as_ref().and_then(|bound| bound.trigger.as_ref());
        let redaction = trigger.map(|trigger| &trigger.settings.redaction);
        let redaction = redaction.filter(|redaction| redaction.outgoing == Outgoing::Mask);
        let organization = &held.conversation.key.organization;
        Self(redaction.map(|redaction| (Detector::new(&redaction.patterns), organization.clone())))
    }

    /// Masks an event outside the runtime, if that takes long. `None`: [`Self::apply`] takes no time.
    pub(super) fn mask_long(
        &self,
        held_back: &HeldBack,
        event: &AgentEvent,
    ) -> Option<impl Future<Output = Guarded> + Send + 'static> {
        let (detector, organization) = self.0.as_ref()?;
        if n_kept(held_back) + n_bytes(event) <= MAX_ON_RUNTIME {
            return None;
        }
        let (detector, organization) = (detector.clone(), organization.clone());
        let (held_back, event) = (held_back.clone(), event.clone());
        Some(async move { long_text::matching(&organization, move || guarded(&detector, held_back, &event)).await })
    }

    /// Applies one event to the draft. Returns whether there is something new to show.
    pub(super) fn apply(&self, draft: &mut Draft, event: &AgentEvent) -> bool {
        match &self.0 {
            Some((detector, _)) => guarded(detector, std::mem::take(&mut draft.held_back), event).apply_to(draft),
            None => draft.apply(event),
        }
    }

    /// Appends the text that was held back to the draft, when the answer has ended in any way.
    pub(super) async fn finish(&self, draft: &mut Draft) {
        let event = AgentEvent::Cancelled;
        match self.mask_long(&draft.held_back, &event) {
            Some(masking) => masking.await.apply_to(draft),
            None => self.0.is_some() && self.apply(draft, &event),
        };
    }

    /// Like [`Self::finish`], for the record of an answer that no process will complete.
    pub(super) async fn finish_reply(&self, reply: &mut ReplyRecord) {
        let mut draft = Draft {
            text: std::mem::take(&mut reply.text),
            held_back: std::mem::take(&mut reply.held_back),
            ..Draft::default()
        };
        self.finish(&mut draft).await;
        (reply.text, reply.held_back) = (draft.text, draft.held_back);
    }

    /// A failure with its message masked: the text comes from the agent, and is kept in the ledger.
    pub(super) fn failure(&self, failure: AgentFailure) -> AgentFailure {
        match &self.0 {
            Some((detector, _)) => AgentFailure {
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

impl Guarded {
    /// Returns whether there is something new to show.
    pub(super) fn apply_to(self, draft: &mut Draft) -> bool {
        let (text, reasoning) = &self.released;
        draft.text.push_str(text);
        draft.reasoning.push_str(reasoning);
        draft.held_back = self.held_back;
        let is_changed = self.event.is_some_and(|event| draft.apply(&event));
        is_changed || !text.is_empty() || !reasoning.is_empty()
    }
}

fn guarded(detector: &Detector, mut held_back: HeldBack, event: &AgentEvent) -> Guarded {
    let HeldBack { text, reasoning } = &mut held_back;
    let none = String::new;
    let (released, event) = match event {
        AgentEvent::TextDelta(delta) => ((text.push(detector, delta), none()), None),
        AgentEvent::TextSnapshot(snapshot) => {
            let shown = AgentEvent::TextSnapshot(text.replace(detector, snapshot));
            ((none(), none()), Some(shown))
        }
        AgentEvent::ReasoningDelta(delta) => ((none(), reasoning.push(detector, delta)), None),
        AgentEvent::Completed {
            final_text: Some(whole),
        } if !whole.trim().is_empty() => {
            let mut shown = text.replace(detector, whole);
            shown.push_str(&text.finish(detector));
            let final_text = Some(shown);
            (
                (none(), reasoning.finish(detector)),
                Some(AgentEvent::Completed { final_text }),
            )
        }
        AgentEvent::Completed { .. } => (
            (text.finish(detector), reasoning.finish(detector)),
            Some(AgentEvent::Completed { final_text: None }),
        ),
        AgentEvent::Cancelled | AgentEvent::Failed(_) => ((text.finish(detector), reasoning.finish(detector)), None),
        AgentEvent::InputRequired {
            prompt,
            choices,
            resume_ref,
        } => {
            let asked = AgentEvent::InputRequired {
                prompt: masked(detector, prompt),
                choices: choices.iter().map(|choice| masked(detector, choice)).collect(),
                resume_ref: resume_ref.clone(),
            };
            ((text.finish(detector), none()), Some(asked))
        }
        AgentEvent::Card(card) => {
            let card = card.with_words(|words| masked(detector, words));
            ((none(), none()), Some(AgentEvent::Card(card)))
        }
        AgentEvent::Progress { label, state } => {
            let progress = AgentEvent::Progress {
                label: masked(detector, label),
                state: masked(detector, state),
            };
            ((none(), none()), Some(progress))
        }
        other => ((none(), none()), Some(other.clone())),
    };
    Guarded {
        released,
        event,
        held_back,
    }
}

fn n_kept(held_back: &HeldBack) -> usize {
    held_back.text.n_kept().max(held_back.reasoning.n_kept())
}

/// Length of an event's words.
fn n_bytes(event: &AgentEvent) -> usize {
    match event {
        AgentEvent::TextDelta(text) | AgentEvent::TextSnapshot(text) | AgentEvent::ReasoningDelta(text) => text.len(),
        AgentEvent::Completed { final_text } => final_text.as_ref().map_or(0, String::len),
        AgentEvent::InputRequired { prompt, choices, .. } => {
            prompt.len() + choices.iter().map(String::len).sum::<usize>()
        }
        AgentEvent::Card(card) => card.body().len(),
        _ => 0,
    }
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
        OutgoingGuard(Some((Detector::default(), OrganizationId::new("default"))))
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
    fn final_text_does_not_remove_a_question() {
        for (guard, final_text, expected) in [
            (
                guard(),
                Some("password: hunter22"),
                "password: [redacted]\n\nIs password: [redacted] right?",
            ),
            (
                OutgoingGuard::default(),
                Some("Draft."),
                "Draft.\n\nIs password: hunter22 right?",
            ),
            (guard(), None, "Draft\n\nIs password: [redacted] right?"),
        ] {
            let mut draft = Draft::default();
            guard.apply(&mut draft, &text("Draft"));
            let question = AgentEvent::InputRequired {
                prompt: "Is password: hunter22 right?".into(),
                choices: vec![],
                resume_ref: None,
            };
            guard.apply(&mut draft, &question);
            let final_text = final_text.map(str::to_owned);
            guard.apply(&mut draft, &AgentEvent::Completed { final_text });
            assert_eq!(draft.text, expected);
        }
    }

    #[test]
    fn without_the_setting_nothing_is_changed() {
        let mut draft = Draft::default();
        OutgoingGuard::default().apply(&mut draft, &text("password: hunter22"));
        assert_eq!(draft.text, "password: hunter22");
    }
}
