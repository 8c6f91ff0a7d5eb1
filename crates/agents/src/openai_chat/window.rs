//! History window: how much of a session's past is sent with a question.

use tieline_core::agent::Turn;

use crate::manifest::History;

/// Limits of the window.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window {
    pub(crate) max_messages: u64,
    pub(crate) max_tokens: u64,
}

/// Upper bound of bytes per token, as a turn is stored: 4 ASCII characters, which JSON escapes to up to 8 if they are line breaks and
/// quotes, or one other character. The rest is for the structure around turns.
const BYTES_PER_TOKEN: u64 = 12;

impl Window {
    /// How much history must be read for it.
    pub(crate) fn history(&self) -> History {
        let whole = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
        History {
            max_turns: whole(self.max_messages / 2),
            max_bytes: whole(self.max_tokens.saturating_mul(BYTES_PER_TOKEN)),
        }
    }

    /// The newest complete turns that fit, oldest first, without gaps. A turn without a question or an answer is left out: servers refuse
    /// empty messages, and many require the roles to alternate.
    pub(crate) fn of<'a>(&self, transcript: &'a [Turn]) -> Vec<&'a Turn> {
        let mut messages_left = self.max_messages;
        let mut tokens_left = self.max_tokens;
        let whole = transcript
            .iter()
            .rev()
            .filter(|turn| !turn.user.is_empty() && !turn.assistant.is_empty());
        let fits = whole.take_while(|turn| {
            let tokens = tokens(&turn.user) + tokens(&turn.assistant);
            let fits = messages_left >= 2 && tokens_left >= tokens;
            messages_left = messages_left.saturating_sub(2);
            tokens_left = tokens_left.saturating_sub(tokens);
            fits
        });
        let mut turns: Vec<_> = fits.collect();
        turns.reverse();
        turns
    }
}

/// Approximate cost of a message besides its text.
const TOKENS_PER_MESSAGE: u64 = 4;

/// Estimates the tokens of a message: four ASCII characters are one token, any other character is one.
/// Good enough to bound a prompt: it overestimates Chinese, and no tokenizer fits every model.
fn tokens(text: &str) -> u64 {
    let n_ascii = text.bytes().filter(u8::is_ascii).count();
    let n_other = text.chars().filter(|c| !c.is_ascii()).count();
    (n_ascii.div_ceil(4) + n_other) as u64 + TOKENS_PER_MESSAGE
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turn(user: &str, assistant: &str) -> Turn {
        Turn {
            user: user.into(),
            assistant: assistant.into(),
        }
    }

    #[track_caller]
    fn check(max_messages: u64, max_tokens: u64, transcript: &[Turn], expected: &[&str]) {
        let window = Window {
            max_messages,
            max_tokens,
        };
        let kept: Vec<_> = window
            .of(transcript)
            .into_iter()
            .map(|turn| turn.user.as_str())
            .collect();
        assert_eq!(kept, expected);
    }

    #[test]
    fn tokens_are_estimated_by_script() {
        assert_eq!(tokens("") - TOKENS_PER_MESSAGE, 0);
        assert_eq!(tokens("abcde") - TOKENS_PER_MESSAGE, 2);
        assert_eq!(tokens("你好ab") - TOKENS_PER_MESSAGE, 3);
    }

    #[test]
    fn newest_turns_that_fit_are_kept_in_order() {
        let turns = [turn("a", "1"), turn("b", "2"), turn("c", "3")];
        check(40, 8000, &turns, &["a", "b", "c"]);
        check(4, 8000, &turns, &["b", "c"]);
        check(3, 8000, &turns, &["c"]);
        check(0, 8000, &turns, &[]);
        // One token of text and four of overhead for each of two messages.
        check(40, 20, &turns, &["b", "c"]);
        check(40, 19, &turns, &["c"]);
    }

    #[test]
    fn turn_that_does_not_fit_ends_the_window() {
        let turns = [turn("a", "1"), turn("b", &"x".repeat(1000)), turn("c", "3")];
        check(40, 100, &turns, &["c"]);
    }

    #[test]
    fn unanswered_turns_are_left_out_and_cost_nothing() {
        check(2, 10, &[turn("a", "1"), turn("b", "")], &["a"]);
    }
}
