//! `echo`: answers with the text of the question, in a few streamed pieces. For the first run, tests and benchmarks.

use std::time::Duration;

use tieline_core::agent::{AgentEvent, AgentFailure, AgentRequest};
use tieline_core::bilingual::Bilingual;
use tokio::time::sleep;

use crate::config::{Field, FieldKind};
use crate::manifest::Manifest;
use crate::run::{End, EventSink};
use crate::settings::Settings;

const DELAY: Field = Field {
    name: "delayMillis",
    kind: FieldKind::Whole {
        default: 20,
        min: 0,
        max: 600_000,
    },
    required: false,
    secret: false,
    help: Bilingual {
        en: "How long to wait before each piece.",
        zh: "每一段之前等待多久。",
    },
};
const PIECES: Field = Field {
    name: "pieces",
    kind: FieldKind::Whole {
        default: 4,
        min: 1,
        max: 10_000,
    },
    required: false,
    secret: false,
    help: Bilingual {
        en: "In how many pieces the answer comes, if it has that many characters.",
        zh: "回答分成几段发出（字数足够时）。",
    },
};

/// The protocol's manifest.
pub static MANIFEST: Manifest = Manifest {
    word: "echo",
    name: "Echo",
    fields: &[DELAY, PIECES],
    needs_transcript: false,
    wants_inline_images: false,
    can_resume: false,
};

/// An agent that repeats the question.
#[derive(Debug, Clone)]
pub(crate) struct Echo {
    delay: Duration,
    n_pieces: usize,
}

impl Echo {
    pub(crate) fn read(settings: &Settings<'_>) -> Self {
        Self {
            delay: Duration::from_millis(settings.whole(&DELAY)),
            n_pieces: usize::try_from(settings.whole(&PIECES)).unwrap_or(1),
        }
    }

    pub(crate) async fn ask(&self, request: &AgentRequest, sink: &mut EventSink) -> Result<End, AgentFailure> {
        for piece in pieces(&request.message.text, self.n_pieces) {
            sleep(self.delay).await;
            sink.emit(AgentEvent::TextDelta(piece)).await?;
        }
        Ok(End::Completed { final_text: None })
    }
}

/// Splits text between characters into pieces of about the same length.
fn pieces(text: &str, n_pieces: usize) -> Vec<String> {
    let chars: Vec<char> = text.chars().collect();
    let length = chars.len().div_ceil(n_pieces.max(1)).max(1);
    chars.chunks(length).map(|piece| piece.iter().collect()).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn short_text_gives_as_many_pieces_as_characters() {
        assert_eq!(pieces("你好", 4), ["你", "好"]);
        assert_eq!(pieces("abcdefgh", 4), ["ab", "cd", "ef", "gh"]);
        assert!(pieces("", 4).is_empty());
    }

    proptest! {
        #[test]
        fn pieces_join_to_the_text(text in "\\PC{0,60}", n_pieces in 1usize..20) {
            let pieces = pieces(&text, n_pieces);
            prop_assert_eq!(pieces.concat(), text);
            prop_assert!(pieces.len() <= n_pieces);
        }
    }
}
