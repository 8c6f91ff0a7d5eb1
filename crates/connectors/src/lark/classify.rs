//! The platform's answers: what is shown now, and which ways are closed.

use std::time::Duration;

use serde::Deserialize as _;
use tieline_core::connector::{LimitScope, Verdict};
use tieline_core::http_types::{ApiAnswer, ApiCall};
use tieline_core::reply::{Progress, Stage};

use super::api_error::{self, Meaning};
use super::plan::{Aim, Situation};
use super::progress::{Card, LarkProgress, Sign, Way};
use super::wire::ApiBody;

/// A card can't change while a click on it is processed.
const CLICK: Duration = Duration::from_secs(1);
/// How long streamed cards are left alone that the bot has no permission for: as long as on any other platform.
const CARDS_REST: Duration = Duration::from_mins(30);
/// Sequence numbers in a row that may be refused before a card is given up.
const MAX_REFUSED: u32 = 6;
/// How often a message is halved because the platform finds it too long.
const MAX_SHRUNK: u32 = 5;

/// Reads what came of a call.
pub(super) fn verdict(call: &ApiCall, answer: &ApiAnswer, situation: Situation<'_>) -> Verdict {
    let heard = match hear(answer) {
        Ok(heard) => heard,
        // Of what only decorates nothing is repeated.
        Err(_) if is_decoration(call.name()) => Heard::refused(0, Meaning::Other),
        Err(verdict) => return verdict,
    };
    if heard.meaning == Some(Meaning::Token) {
        return Verdict::TokenExpired;
    }
    let mut judge = Judge { situation, heard };
    judge.situation.shown.ending |= judge.situation.desired.stage == Stage::Final;
    match call.name() {
        "react" => judge.reacted(),
        "unreact" => judge.unreacted(),
        "close_left" => judge.closed_left(),
        "create_card" => judge.created(),
        "send_card" | "send" => judge.sent(),
        "patch" => judge.patched(),
        name => judge.changed(name),
    }
}

fn is_decoration(name: &str) -> bool {
    matches!(name, "react" | "unreact" | "close_left")
}

/// What the platform said.
struct Heard {
    code: i64,
    /// `None`: it worked.
    meaning: Option<Meaning>,
    body: ApiBody,
}

impl Heard {
    fn refused(code: i64, meaning: Meaning) -> Self {
        Self {
            code,
            meaning: Some(meaning),
            body: ApiBody::default(),
        }
    }
}

/// Business errors come with status 400, so the body speaks first.
fn hear(answer: &ApiAnswer) -> Result<Heard, Verdict> {
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
        None if (200..300).contains(status) => Ok(Heard { code, meaning, body }),
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
        Some(_) => Ok(Heard { code, meaning, body }),
    }
}

fn without_code(status: u16, retry_after: Option<Duration>) -> Result<Heard, Verdict> {
    let code = format!("http_{status}");
    match status {
        401 => Ok(Heard::refused(0, Meaning::Token)),
        429 => Err(Verdict::SlowDown {
            retry_after,
            code,
            scope: LimitScope::Bot,
        }),
        400..=499 => Ok(Heard::refused(i64::from(status), Meaning::Other)),
        _ => Err(Verdict::Retry { code }),
    }
}

struct Judge<'a> {
    situation: Situation<'a>,
    heard: Heard,
}

impl Judge<'_> {
    fn shown(&mut self) -> &mut LarkProgress {
        &mut self.situation.shown
    }

    fn accepted(self) -> Verdict {
        Verdict::Accepted(Progress::write(&self.situation.shown))
    }

    fn fall_back(self) -> Verdict {
        Verdict::FallBack {
            progress: Progress::write(&self.situation.shown),
            code: self.heard.code.to_string(),
        }
    }

    /// Every reply of the bot would be refused so.
    fn closed(self) -> Verdict {
        Verdict::Closed {
            progress: Progress::write(&self.situation.shown),
            code: self.heard.code.to_string(),
            rest: CARDS_REST,
            missing: self.heard.body.missing_scopes(),
        }
    }

    fn refused(self) -> Verdict {
        Verdict::Refused {
            code: self.heard.code.to_string(),
        }
    }

    fn reacted(mut self) -> Verdict {
        let reaction = self.heard.body.text("reaction_id").map(str::to_owned);
        self.shown().sign = reaction.map_or(Sign::Gone, Sign::Put);
        self.accepted()
    }

    fn unreacted(mut self) -> Verdict {
        self.shown().sign = Sign::Gone;
        self.accepted()
    }

    fn closed_left(mut self) -> Verdict {
        self.shown().left = None;
        self.accepted()
    }

    fn created(mut self) -> Verdict {
        let id = self.heard.body.text("card_id").map(str::to_owned);
        let (Some(id), Some(aim)) = (id, self.situation.aim()) else {
            self.shown().way = Way::Card;
            if self.heard.code == api_error::SCOPE_MISSING {
                return self.closed();
            }
            return self.fall_back();
        };
        self.marked(&aim);
        let since = Some(self.situation.cx.now);
        self.shown().bubble.card = Some(Card {
            id,
            open: true,
            since,
            ..Card::default()
        });
        self.accepted()
    }

    fn sent(mut self) -> Verdict {
        if self.heard.meaning.is_some() {
            return self.not_sent();
        }
        let message = self.heard.body.text("message_id").unwrap_or_default().to_owned();
        let aim = self.situation.aim();
        self.shown().bubble.message = Some(message);
        if let Some(card) = &mut self.shown().bubble.card {
            card.sent = true;
            return self.accepted();
        }
        aim.iter().for_each(|aim| self.marked(aim));
        // An earlier try may have got through unnoticed with less text; then this one was taken for its repetition.
        if self.situation.grows() {
            self.shown().bubble.mark.clear();
        }
        self.accepted()
    }

    fn patched(mut self) -> Verdict {
        let Some(meaning) = self.heard.meaning else {
            let aim = self.situation.aim();
            aim.iter().for_each(|aim| self.marked(aim));
            return self.accepted();
        };
        match meaning {
            // The message is gone or too old for changes: another one.
            Meaning::CardFull | Meaning::TargetGone => {
                let bubble = self.shown().bubble.again();
                self.shown().bubble = bubble;
                self.fall_back()
            }
            meaning => self.not_written(meaning),
        }
    }

    fn marked(&mut self, aim: &Aim) {
        let now = self.situation.cx.now;
        let Situation { shown, full_text, .. } = &mut self.situation;
        shown.bubble.shows(full_text, aim.page.end, &aim.mark, now);
    }

    /// A message that was not taken, by what the platform holds against it.
    fn not_sent(mut self) -> Verdict {
        match self.heard.meaning {
            // Where else it may go the next step knows.
            Some(Meaning::TargetGone) => {
                self.shown().gone += 1;
                self.fall_back()
            }
            Some(Meaning::NoTopic) if !self.situation.shown.no_topic => {
                self.shown().no_topic = true;
                self.fall_back()
            }
            Some(meaning) => self.not_written(meaning),
            None => self.refused(),
        }
    }

    /// What helps against a text that was not taken.
    fn not_written(mut self, meaning: Meaning) -> Verdict {
        let shown = self.shown();
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
        let shown = self.shown();
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
        let shown = self.shown();
        shown.way = way;
        shown.bubble = shown.bubble.again();
        // Once is enough for the operator.
        if was_streamed && self.heard.code == api_error::SCOPE_MISSING {
            return self.closed();
        }
        self.fall_back()
    }

    /// A card in the chat must not say for ever that it is being written.
    fn leave_card(&mut self) {
        let card = self.shown().bubble.card.take();
        self.shown().left = card.filter(|card| card.sent && card.open);
    }

    /// A change of a card entity.
    fn changed(mut self, name: &str) -> Verdict {
        let aim = self.situation.aim();
        let now = self.situation.cx.now;
        let Some(card) = &mut self.situation.shown.bubble.card else {
            return self.accepted();
        };
        if let Some(meaning) = self.heard.meaning {
            return self.not_changed(name, meaning);
        }
        card.sequence += 1;
        // Being switched on again is no success yet: the text must go through.
        card.refused = if name == "reopen_card" { card.refused } else { 0 };
        match name {
            "reopen_card" => {
                card.since = Some(now);
                card.open = true;
            }
            "close_card" => card.open = false,
            _ => {
                card.open = name == "write_card";
                aim.iter().for_each(|aim| self.marked(aim));
            }
        }
        self.accepted()
    }

    fn not_changed(mut self, name: &str, meaning: Meaning) -> Verdict {
        let rolls = self.situation.shown.bubble.leads_on(&self.situation.full_text);
        let Some(card) = &mut self.situation.shown.bubble.card else {
            return self.accepted();
        };
        match meaning {
            Meaning::Clicking => Verdict::SlowDown {
                retry_after: Some(CLICK),
                code: self.heard.code.to_string(),
                scope: LimitScope::Chat,
            },
            Meaning::Sequence if card.refused < MAX_REFUSED => {
                // The sequence was advanced elsewhere, perhaps by us before a crash. Each time a wider step.
                card.sequence += 1 << card.refused;
                card.refused += 1;
                self.fall_back()
            }
            // The text is right; only the list of chats may show for a while that it is being written.
            _ if name == "close_card" => {
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
            Meaning::CardFull if rolls => self.roll(),
            meaning => self.not_written(meaning),
        }
    }

    /// The card takes no more: it stays as it is, and the rest goes into another one.
    fn roll(mut self) -> Verdict {
        self.leave_card();
        let (end, full_text) = (self.situation.shown.bubble.end, &self.situation.full_text);
        self.situation.shown.bubble = self.situation.shown.bubble.next(end, full_text);
        self.fall_back()
    }
}
