//! Texts of a run's messages, in the order in which they began: nodes that run at once stream several of them at once.

use tieline_core::agent::MAX_ANSWER_BYTES;

/// Most messages, the latest, of which further chunks are recognized. More are not streamed at once.
const MAX_STREAMED: usize = 100;
/// Largest number of bytes of all the texts that are joined again because an older message grew. Each of its chunks repeats the whole text.
const MAX_REJOINED_BYTES: usize = 16 * MAX_ANSWER_BYTES;

/// How a text was added.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Added {
    /// As the beginning of another message.
    Begun,
    /// At the end of the newest message.
    Appended,
    /// At the end of an older message. The whole text is then this one.
    Inserted(String),
}

/// Texts of the messages in this process.
#[derive(Debug, Default)]
pub(crate) struct Texts {
    messages: Vec<Message>,
    /// Whether an earlier process has read texts that are not known here.
    is_partial: bool,
    n_rejoined: usize,
}

#[derive(Debug)]
struct Message {
    id: Option<String>,
    text: String,
}

impl Texts {
    /// Continues after an earlier process, whose text ended with the message `newest`, if that has an id.
    pub(crate) fn resumed(newest: Option<&str>) -> Self {
        let message = |id: &str| Message {
            id: Some(id.to_owned()),
            text: String::new(),
        };
        Self {
            messages: newest.map(message).into_iter().collect(),
            is_partial: true,
            n_rejoined: 0,
        }
    }

    /// Whether `text` is that of the newest message, perhaps under another id, or that of the message `id`.
    pub(crate) fn repeats(&self, id: Option<&str>, text: &str) -> bool {
        let newest = self.messages.last();
        let known = self.position(id).map(|at| &self.messages[at]);
        newest.into_iter().chain(known).any(|it| it.text == text)
    }

    /// Adds a text of the message `id`.
    pub(crate) fn add(&mut self, id: Option<&str>, text: &str) -> Added {
        if let Some(newest) = self.messages.last_mut().filter(|it| it.id.as_deref() == id) {
            newest.text.push_str(text);
            return Added::Appended;
        }
        match self.position(id).filter(|_| self.can_rejoin()) {
            Some(at) => {
                self.messages[at].text.push_str(text);
                let texts: Vec<_> = self.messages.iter().map(|it| it.text.as_str()).collect();
                let whole = texts.join("\n\n");
                self.n_rejoined += whole.len();
                Added::Inserted(whole)
            }
            None => {
                self.messages.push(Message {
                    id: id.map(str::to_owned),
                    text: text.to_owned(),
                });
                Added::Begun
            }
        }
    }

    /// Otherwise a chunk of an older message begins a paragraph at the end.
    const fn can_rejoin(&self) -> bool {
        !self.is_partial && self.n_rejoined < MAX_REJOINED_BYTES
    }

    /// Messages without an id can't be told apart, so only the newest of them grows.
    fn position(&self, id: Option<&str>) -> Option<usize> {
        let id = id?;
        let first = self.messages.len().saturating_sub(MAX_STREAMED);
        let at = self.messages[first..]
            .iter()
            .rposition(|it| it.id.as_deref() == Some(id))?;
        Some(first + at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn joined_bytes_are_bounded() {
        let mut texts = Texts::default();
        texts.add(Some("a"), "1");
        let long = "x".repeat(MAX_ANSWER_BYTES);
        texts.add(Some("b"), &long);
        let n_joined = (0..100)
            .take_while(|_| matches!(texts.add(Some("a"), "1"), Added::Inserted(_)))
            .count();
        assert_eq!(n_joined, 16);
        assert_eq!(texts.add(Some("b"), "2"), Added::Begun);
    }

    #[test]
    fn repeated_text_is_recognized() {
        let mut texts = Texts::default();
        texts.add(Some("a"), "1");
        texts.add(Some("b"), "2");
        assert!(texts.repeats(Some("a"), "1") && texts.repeats(Some("c"), "2") && texts.repeats(None, "2"));
        assert!(!texts.repeats(Some("c"), "1"));
    }

    #[test]
    fn messages_without_an_id_are_not_mixed_up() {
        let mut texts = Texts::default();
        assert_eq!(
            [texts.add(None, "1"), texts.add(None, "2")],
            [Added::Begun, Added::Appended]
        );
        texts.add(Some("a"), "3");
        assert_eq!(texts.add(None, "4"), Added::Begun);
    }
}
