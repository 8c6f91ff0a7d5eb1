//! Classification of responses: what is shown now, and which ways are closed.

use std::time::Duration;

use serde_json::Value;
use tieline_core::connector::{Context, LimitScope, Planned, SentCall, Verdict};
use tieline_core::http_types::ApiAnswer;
use tieline_core::reply::Progress;

use super::api_error::{self, ApiError, Meaning};
use super::progress::{Call, TelegramProgress, Way};

/// Cooldown of drafts if the server doesn't support them: a self-hosted server may be too old.
const DRAFTS_REST: Duration = Duration::from_mins(30);
/// Waits before a message with an unknown outcome is sent again. After the last one it is given up: the platform has no idempotency keys,
/// so each attempt may duplicate the message.
const UNCERTAIN_WAITS: [Duration; 2] = [Duration::from_secs(2), Duration::from_secs(10)];
/// How often messages are halved because the platform finds them too long.
const MAX_SHRUNK: u32 = 4;

/// Classifies the response to a call.
pub(super) fn verdict(sent: &SentCall<'_>, answer: &ApiAnswer, cx: &Context<'_>) -> Verdict {
    let Planned {
        mut before,
        on_success: mut next,
    }: Planned<TelegramProgress> = match sent.read() {
        Ok(planned) => planned,
        Err(verdict) => return verdict,
    };
    let call = next.call.take().unwrap_or(Call::Send);
    let error = match api_error::result(answer) {
        Ok(result) => {
            if call == Call::Send {
                next.bubble.message = Some(result.get("message_id").and_then(Value::as_i64).unwrap_or_default());
            }
            return Verdict::Accepted(Progress::write(&next));
        }
        Err(error) => error,
    };
    // The final text has begun to be sent, whatever the result of this call.
    before.ending |= next.ending;
    let failed = Failed {
        next,
        before,
        error,
        cx,
    };
    match call {
        Call::AnswerQuery | Call::Typing => failed.decoration(),
        Call::Draft => failed.draft(),
        Call::Send => failed.send(),
        Call::Edit => failed.edit(),
    }
}

/// A call that did not succeed.
struct Failed<'a> {
    next: TelegramProgress,
    before: TelegramProgress,
    error: ApiError,
    cx: &'a Context<'a>,
}

impl Failed<'_> {
    /// Decorations are never retried.
    fn decoration(self) -> Verdict {
        match self.error.meaning {
            Meaning::TooFast | Meaning::Migrated(_) | Meaning::BadToken | Meaning::UnknownMethod => self.text(),
            _ => Verdict::Accepted(Progress::write(&self.next)),
        }
    }

    fn draft(mut self) -> Verdict {
        match self.error.meaning {
            Meaning::UnknownMethod => {
                self.before.way = Way::Edit;
                Verdict::Closed {
                    progress: Progress::write(&self.before),
                    code: self.error.code,
                    rest: DRAFTS_REST,
                    missing: Vec::new(),
                }
            }
            Meaning::Uncertain => self.retry(),
            Meaning::Refused if self.error.code.starts_with("http_") => {
                self.before.way = Way::Edit;
                self.fall_back()
            }
            Meaning::BadEntities | Meaning::Empty | Meaning::TooLong => {
                self.before.way = Way::Edit;
                self.fall_back()
            }
            _ => self.text(),
        }
    }

    fn send(mut self) -> Verdict {
        match self.error.meaning {
            Meaning::Uncertain => self.uncertain(),
            Meaning::NothingToReplyTo if !self.before.unquoted => {
                self.before.unquoted = true;
                self.fall_back()
            }
            // The platform would show nothing of this text.
            Meaning::Empty => {
                self.next.bubble.message = Some(0);
                Verdict::Accepted(Progress::write(&self.next))
            }
            _ => self.text(),
        }
    }

    /// Edits are idempotent.
    fn edit(mut self) -> Verdict {
        match self.error.meaning {
            Meaning::Uncertain => self.retry(),
            Meaning::NotModified => Verdict::Accepted(Progress::write(&self.next)),
            Meaning::NotEditable => {
                self.before.bubble = self.before.bubble.again();
                self.before.only_final = true;
                self.fall_back()
            }
            _ => self.text(),
        }
    }

    /// Handles a refusal of any call that shows text.
    fn text(mut self) -> Verdict {
        match self.error.meaning {
            Meaning::TooFast => Verdict::SlowDown {
                retry_after: self.error.retry_after_s.map(Duration::from_secs),
                code: self.error.code,
                // The response doesn't say whose limit it is. A chat's is the tightest by far, and other chats must not wait for it.
                scope: LimitScope::Chat,
            },
            Meaning::BadToken | Meaning::UnknownMethod => Verdict::CredentialsRefused { code: self.error.code },
            Meaning::NotDone => self.retry(),
            Meaning::Migrated(chat) if self.before.chat != Some(chat) => {
                self.before.moves_to(chat);
                self.fall_back()
            }
            Meaning::BadEntities if !self.before.plain => {
                self.before.plain = true;
                self.fall_back()
            }
            Meaning::TooLong if self.before.shrunk < MAX_SHRUNK => {
                self.before.shrunk += 1;
                self.fall_back()
            }
            _ => Verdict::Refused { code: self.error.code },
        }
    }

    fn uncertain(mut self) -> Verdict {
        let n = usize::try_from(self.before.uncertain).unwrap_or(usize::MAX);
        let Some(wait) = UNCERTAIN_WAITS.get(n) else {
            return Verdict::Refused {
                code: "unknown_outcome".to_owned(),
            };
        };
        self.before.uncertain += 1;
        self.before.retry_at = Some(self.cx.now.after(*wait));
        self.fall_back()
    }

    fn retry(self) -> Verdict {
        Verdict::Retry { code: self.error.code }
    }

    fn fall_back(self) -> Verdict {
        Verdict::FallBack {
            progress: Progress::write(&self.before),
            code: self.error.code,
        }
    }
}
