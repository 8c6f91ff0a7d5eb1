//! The platform's answers: what is shown now, and which ways are closed.

use std::time::Duration;

use serde::Deserialize as _;
use tieline_core::connector::{LimitScope, Planned, SentCall, Verdict};
use tieline_core::http_types::ApiAnswer;
use tieline_core::reply::Progress;

use super::api_error::{self, Meaning};
use super::progress::{Call, CallKind, LarkProgress, Sign, Way};
use super::wire::ApiBody;

/// A card can't change while a click on it is processed.
const CLICK: Duration = Duration::from_secs(1);
/// How long streamed cards are left alone that the bot has no permission for: as long as on any other platform.
const CARDS_REST: Duration = Duration::from_mins(30);
/// Sequence numbers in a row that may be refused before a card is given up.
const MAX_REFUSED: u32 = 6;
/// How often a message is halved because the platform finds it too long.
const MAX_SHRUNK: u32 = 5;

/// Classifies the answer to a call.
pub(super) fn verdict(sent: &SentCall<'_>, answer: &ApiAnswer) -> Verdict {
    let Planned { before, on_success } = match sent.read::<LarkProgress>() {
        Ok(planned) => planned,
        Err(verdict) => return verdict,
    };
    let Some(call) = on_success.call else {
        return Verdict::unreadable_progress();
    };
    let read = match read_answer(answer) {
        Ok(read) => read,
        Err(_) if call.kind.is_decoration() => ReadAnswer::refused(0, Meaning::Other),
        Err(verdict) => return verdict,
    };
    if read.meaning == Some(Meaning::Token) {
        return Verdict::TokenExpired;
    }
    let refused = |read| Refusal {
        shown: before.before_call(&on_success),
        call,
        read,
    };
    match read.meaning {
        None if call.kind == CallKind::CreateCard && read.body.text("card_id").is_none() => refused(read).not_created(),
        Some(meaning) if !call.kind.is_decoration() => refused(read).verdict(meaning),
        // A decoration that fails is given up.
        _ => accepted(on_success, call.kind, &read.body),
    }
}

/// Progress after success, with the ids that the answer brings.
fn accepted(mut shown: LarkProgress, kind: CallKind, body: &ApiBody) -> Verdict {
    shown.call = None;
    let id = |name: &str| body.text(name).map(str::to_owned);
    match kind {
        CallKind::React => shown.sign = id("reaction_id").map_or(Sign::Gone, Sign::Put),
        CallKind::CreateCard => {
            if let Some(card) = &mut shown.bubble.card {
                card.id = id("card_id").unwrap_or_default();
            }
        }
        CallKind::SendCard | CallKind::Send => shown.bubble.message = Some(id("message_id").unwrap_or_default()),
        _ => {}
    }
    Verdict::Accepted(Progress::write(&shown))
}

/// What the platform said.
pub(super) struct ReadAnswer {
    pub(super) code: i64,
    /// `None`: it worked.
    pub(super) meaning: Option<Meaning>,
    pub(super) body: ApiBody,
}

impl ReadAnswer {
    fn refused(code: i64, meaning: Meaning) -> Self {
        Self {
            code,
            meaning: Some(meaning),
            body: ApiBody::default(),
        }
    }
}

/// Business errors come with status 400, so the body speaks first.
pub(super) fn read_answer(answer: &ApiAnswer) -> Result<ReadAnswer, Verdict> {
    let ApiAnswer::Answered {
        status, retry_after_s, ..
    } = answer
    else {
        return Err(Verdict::Retry {
            code: "unreachable".to_owned(),
        });
    };
    let retry_after = retry_after_s.map(Duration::from_secs);
    let body = answer.json().and_then(|json| ApiBody::deserialize(json).ok());
    let Some((code, body)) = body.and_then(|body| Some((body.code?, body))) else {
        return without_code(*status, retry_after);
    };
    let meaning = (code != api_error::OK).then(|| api_error::meaning(code, &body.msg));
    match meaning {
        None if (200..300).contains(status) => Ok(ReadAnswer { code, meaning, body }),
        None => without_code(*status, retry_after),
        Some(Meaning::Busy) => Err(Verdict::SlowDown {
            retry_after,
            code: code.to_string(),
            scope: match code {
                api_error::CHAT_LIMIT => LimitScope::Chat,
                _ => LimitScope::Bot,
            },
        }),
        Some(Meaning::Passing) => Err(Verdict::Retry { code: code.to_string() }),
        Some(Meaning::Other) if *status >= 500 => Err(Verdict::Retry { code: code.to_string() }),
        Some(Meaning::Other) if *status == 429 => Err(Verdict::SlowDown {
            retry_after,
            code: code.to_string(),
            scope: LimitScope::Bot,
        }),
        Some(_) => Ok(ReadAnswer { code, meaning, body }),
    }
}

fn without_code(status: u16, retry_after: Option<Duration>) -> Result<ReadAnswer, Verdict> {
    let code = format!("http_{status}");
    match status {
        401 => Ok(ReadAnswer::refused(0, Meaning::Token)),
        429 => Err(Verdict::SlowDown {
            retry_after,
            code,
            scope: LimitScope::Bot,
        }),
        400..=499 => Ok(ReadAnswer::refused(i64::from(status), Meaning::Other)),
        _ => Err(Verdict::Retry { code }),
    }
}

/// A call that the platform refused.
struct Refusal {
    /// Progress that the call was planned from.
    shown: LarkProgress,
    call: Call,
    read: ReadAnswer,
}

impl Refusal {
    fn verdict(self, meaning: Meaning) -> Verdict {
        match self.call.kind {
            CallKind::CreateCard => self.not_created(),
            CallKind::SendCard | CallKind::Send => self.not_sent(meaning),
            CallKind::Patch => self.not_patched(meaning),
            _ => self.not_changed(meaning),
        }
    }

    fn accepted(self) -> Verdict {
        Verdict::Accepted(Progress::write(&self.shown))
    }

    fn fall_back(self) -> Verdict {
        Verdict::FallBack {
            progress: Progress::write(&self.shown),
            code: self.read.code.to_string(),
        }
    }

    /// Every reply of the bot would be refused so.
    fn closed(self) -> Verdict {
        Verdict::Closed {
            progress: Progress::write(&self.shown),
            code: self.read.code.to_string(),
            rest: CARDS_REST,
            missing: self.read.body.missing_scopes(),
        }
    }

    fn refused(self) -> Verdict {
        Verdict::Refused {
            code: self.read.code.to_string(),
        }
    }

    /// There is no card entity: the text goes as cards in messages.
    fn not_created(mut self) -> Verdict {
        self.shown.way = Way::Card;
        if self.read.code == api_error::SCOPE_MISSING {
            return self.closed();
        }
        self.fall_back()
    }

    fn not_patched(mut self, meaning: Meaning) -> Verdict {
        match meaning {
            // The message is gone or too old for changes: another one.
            Meaning::CardFull | Meaning::TargetGone => {
                self.shown.bubble = self.shown.bubble.again();
                self.fall_back()
            }
            meaning => self.not_written(meaning),
        }
    }

    /// A message that was refused, by the reason.
    fn not_sent(mut self, meaning: Meaning) -> Verdict {
        match meaning {
            // The next step knows another target.
            Meaning::TargetGone => {
                self.shown.gone += 1;
                self.fall_back()
            }
            Meaning::NoTopic if !self.shown.no_topic => {
                self.shown.no_topic = true;
                self.fall_back()
            }
            meaning => self.not_written(meaning),
        }
    }

    /// The remedy for a text that was refused.
    fn not_written(mut self, meaning: Meaning) -> Verdict {
        let shown = &mut self.shown;
        match meaning {
            Meaning::Unreachable => return self.refused(),
            Meaning::Withheld if shown.withheld => return self.refused(),
            Meaning::Withheld => shown.withheld = true,
            Meaning::TooManyTables if !shown.plain_tables => shown.plain_tables = true,
            Meaning::TooLong | Meaning::CardFull if shown.shrunk < MAX_SHRUNK => shown.shrunk += 1,
            _ => return self.other_way(),
        }
        if shown.bubble.card.as_ref().is_some_and(|card| !card.sent) {
            // It would be sent with what was refused.
            shown.bubble = shown.bubble.again();
        }
        self.fall_back()
    }

    /// The next way, with the text of this bubble from its beginning.
    fn other_way(mut self) -> Verdict {
        let shown = &mut self.shown;
        // Without an entity it was the card in a message that was refused.
        let closed = match shown.bubble.card {
            Some(_) => shown.way,
            None => shown.way.max(Way::Card),
        };
        let was_streamed = shown.way == Way::Stream;
        let Some(way) = closed.next() else {
            return self.refused();
        };
        self.leave_card();
        self.shown.way = way;
        self.shown.bubble = self.shown.bubble.again();
        // Once is enough for the operator.
        if was_streamed && self.read.code == api_error::SCOPE_MISSING {
            return self.closed();
        }
        self.fall_back()
    }

    /// A card in the chat must not say for ever that it is being written.
    fn leave_card(&mut self) {
        let card = self.shown.bubble.card.take();
        self.shown.left = card.filter(|card| card.sent && card.open);
    }

    /// A change of a card entity that was refused.
    fn not_changed(mut self, meaning: Meaning) -> Verdict {
        let Some(card) = &mut self.shown.bubble.card else {
            return self.accepted();
        };
        match meaning {
            Meaning::Clicking => Verdict::SlowDown {
                retry_after: Some(CLICK),
                code: self.read.code.to_string(),
                scope: LimitScope::Chat,
            },
            Meaning::Sequence if card.refused < MAX_REFUSED => {
                // The sequence was advanced elsewhere, perhaps by us before a crash. Each time a wider step.
                card.sequence += 1 << card.refused;
                card.refused += 1;
                self.fall_back()
            }
            // The text is right; only the list of chats may show for a while that it is being written.
            _ if self.call.kind == CallKind::CloseCard => {
                card.open = false;
                self.accepted()
            }
            Meaning::StreamClosed if card.refused < MAX_REFUSED => {
                // The refused call may have used up its number.
                card.sequence += 1;
                card.since = None;
                card.refused += 1;
                self.fall_back()
            }
            Meaning::CardFull if self.call.leads_on => self.roll(),
            meaning => self.not_written(meaning),
        }
    }

    /// The card takes no more: it stays as it is, and the rest goes into another one.
    fn roll(mut self) -> Verdict {
        self.leave_card();
        self.shown.bubble = self.shown.bubble.following();
        self.fall_back()
    }
}
