//! Classification of responses: what is shown now, and which ways are closed.

use std::time::Duration;

use serde::Deserialize as _;
use tieline_core::connector::{LimitScope, Planned, SentCall, Verdict};
use tieline_core::http_types::ApiAnswer;
use tieline_core::reply::Progress;
use tieline_core::timestamp::Timestamp;

use super::api_error::{self, Meaning};
use super::progress::{Call, CallKind, LarkProgress, Sign, Unremoved, Way};
use super::wire::ApiBody;

/// Delay while a click is processed, during which a card can't be changed.
const CLICK: Duration = Duration::from_secs(1);
/// Cooldown of streamed cards that the bot has no permission for: as long as on any other platform.
const CARDS_REST: Duration = Duration::from_mins(30);
/// Delay after an internal fault of a card.
const FAULT: Duration = Duration::from_secs(1);
/// Delay before the reaction's removal is tried again.
const REMOVAL: Duration = Duration::from_secs(2);
/// Number of attempts to remove the reaction.
const MAX_REMOVALS: u32 = 3;
/// Number of consecutive refused changes after which a card is given up.
const MAX_REFUSED: u32 = 6;
/// Number of consecutive changes refused during clicks, after which a card is given up: a person may click many times.
const MAX_CLICKED: u32 = 60;
/// How often a message is halved because the platform finds it too long.
const MAX_SHRUNK: u32 = 5;

/// Classifies the response to a call.
pub(super) fn verdict(sent: &SentCall<'_>, answer: &ApiAnswer, now: Timestamp) -> Verdict {
    let Planned { before, on_success } = match sent.read::<LarkProgress>() {
        Ok(planned) => planned,
        Err(verdict) => return verdict,
    };
    let Some(call) = on_success.call else {
        return Verdict::unreadable_progress();
    };
    let read = match read_answer(answer) {
        Ok(read) => read,
        Err(_) if call.kind == CallKind::Unreact => return not_removed(&before, on_success, now),
        Err(_) if call.kind.is_decoration() => ReadAnswer::refused(0, Meaning::Other),
        // A final text doesn't wait for as long as only its card can't be changed: there are other ways.
        Err(Verdict::Retry { .. }) if on_success.ending && call.kind.changes_card() && is_fault(answer) => {
            ReadAnswer::refused(500, Meaning::Failing)
        }
        Err(verdict) => return verdict,
    };
    if read.meaning == Some(Meaning::Token) {
        return Verdict::TokenExpired;
    }
    let refused = |read| Refusal {
        shown: before.before_call(&on_success),
        call,
        read,
        now,
    };
    match read.meaning {
        None if call.kind == CallKind::CreateCard && read.body.text("card_id").is_none() => refused(read).not_created(),
        Some(meaning) if !call.kind.is_decoration() => refused(read).verdict(meaning),
        // A failed decoration is given up.
        _ => accepted(on_success, call.kind, &read.body),
    }
}

/// Whether the platform answered that it failed itself.
fn is_fault(answer: &ApiAnswer) -> bool {
    matches!(answer, ApiAnswer::Answered { status: 500.., .. })
}

/// Progress after success, with the ids in the response.
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

/// Progress after the platform could not remove the reaction for the moment: the text goes on, and the removal is tried again at the end.
fn not_removed(before: &LarkProgress, mut shown: LarkProgress, now: Timestamp) -> Verdict {
    shown.call = None;
    let failures = before.unremoved.map_or(0, |failed| failed.failures) + 1;
    if failures < MAX_REMOVALS {
        shown.sign = before.sign.clone();
        shown.unremoved = Some(Unremoved {
            failures,
            retry_at: now.after(REMOVAL),
        });
    }
    Verdict::Accepted(Progress::write(&shown))
}

/// A parsed response.
pub(super) struct ReadAnswer {
    pub(super) code: i64,
    /// `None`: success.
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

/// Business errors come with status 400, so the body takes precedence.
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
    /// Progress from which the call was planned.
    shown: LarkProgress,
    call: Call,
    read: ReadAnswer,
    now: Timestamp,
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

    /// The way is closed: every reply of the bot would be refused.
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

    /// The card entity can't be created: the text is sent as cards in messages.
    fn not_created(mut self) -> Verdict {
        self.shown.way = Way::Card;
        if self.read.code == api_error::SCOPE_MISSING {
            return self.closed();
        }
        self.fall_back()
    }

    fn not_patched(mut self, meaning: Meaning) -> Verdict {
        match meaning {
            // The message is gone or too old to be changed: a new one is sent.
            Meaning::CardFull | Meaning::TargetGone => {
                self.shown.bubble = self.shown.bubble.again();
                self.fall_back()
            }
            meaning => self.not_written(meaning),
        }
    }

    /// A message was refused: what to do depends on the reason.
    fn not_sent(mut self, meaning: Meaning) -> Verdict {
        match meaning {
            // The next step uses another target.
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

    /// A text was refused: what to do depends on the reason.
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
            // The refused content would be in it again.
            shown.bubble = shown.bubble.again();
        }
        self.fall_back()
    }

    /// Tries the next way, with the text of this bubble from its start.
    fn other_way(mut self) -> Verdict {
        let shown = &mut self.shown;
        // Without an entity, the refused card was one in a message.
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
        // The operator is notified only once.
        if was_streamed && self.read.code == api_error::SCOPE_MISSING {
            return self.closed();
        }
        self.fall_back()
    }

    /// A card in the chat must not show forever that it is being written.
    fn leave_card(&mut self) {
        let card = self.shown.bubble.card.take();
        self.shown.left = card.filter(|card| card.sent && card.open);
    }

    /// A change of a card entity was refused.
    fn not_changed(mut self, meaning: Meaning) -> Verdict {
        let Some(card) = &mut self.shown.bubble.card else {
            return self.accepted();
        };
        match meaning {
            // Only this card has to wait: it is no rate limit.
            Meaning::Clicking if card.clicked < MAX_CLICKED => {
                card.clicked += 1;
                card.hold_until = Some(self.now.after(CLICK));
                self.fall_back()
            }
            Meaning::Sequence if card.refused < MAX_REFUSED => {
                // The sequence advanced elsewhere, perhaps by this process before a crash. The step doubles each time.
                card.sequence += 1 << card.refused;
                card.refused += 1;
                self.fall_back()
            }
            Meaning::CardInternal | Meaning::Failing if card.refused < MAX_REFUSED => {
                // The refused call may have used its sequence number.
                card.sequence += 1;
                // A service that fails needs longer than a card: its waits double.
                let factor = if meaning == Meaning::Failing {
                    1 << card.refused
                } else {
                    1
                };
                card.hold_until = Some(self.now.after(FAULT * factor));
                card.refused += 1;
                self.fall_back()
            }
            // The text is complete; only the list of chats may show for a while that the card is being written.
            _ if self.call.kind == CallKind::CloseCard => {
                card.open = false;
                self.accepted()
            }
            Meaning::StreamClosed if card.refused < MAX_REFUSED => {
                // The refused call may have used its sequence number.
                card.sequence += 1;
                card.since = None;
                card.refused += 1;
                self.fall_back()
            }
            Meaning::CardFull if self.call.leads_on => self.roll(),
            meaning => self.not_written(meaning),
        }
    }

    /// The card accepts no more content: it stays as it is, and the rest goes into another card.
    fn roll(mut self) -> Verdict {
        self.leave_card();
        self.shown.bubble = self.shown.bubble.following();
        self.fall_back()
    }
}
