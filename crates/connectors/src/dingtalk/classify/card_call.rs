//! Verdicts on calls about the card: whether it was created, shows the text, and has its final state.

use std::time::Duration;

use serde_json::Value;
use tieline_core::connector::{Context, LimitScope, Verdict};
use tieline_core::http_types::ApiAnswer;
use tieline_core::reply::Progress;

use super::{accepted, fall_back};
use crate::dingtalk::api_error::Outcome;
use crate::dingtalk::card;
use crate::dingtalk::progress::{Call, CardState, DingTalkProgress};
use crate::dingtalk::settings::{self, TemplateKind};

/// Number of attempts of an idempotent call before another way is tried.
const MAX_TRIES: u8 = 3;
/// Cooldown of cards after the platform refused them as such.
const CARDS_REST: Duration = Duration::from_mins(30);

/// Classifies the response to a call about the card.
pub(super) fn classify(
    call: Call,
    answer: &ApiAnswer,
    before: DingTalkProgress,
    after: DingTalkProgress,
    cx: &Context<'_>,
) -> Verdict {
    let outcome = Outcome::of_card_api(answer);
    if call == Call::Create && refuses_cards(answer, &outcome) {
        return cards_refused(answer, outcome, before);
    }
    let outcome = match outcome {
        Outcome::TokenExpired => return Verdict::TokenExpired,
        Outcome::Throttled { after, code } => {
            return Verdict::SlowDown {
                retry_after: Some(after),
                code,
                scope: LimitScope::Bot,
            };
        }
        outcome => outcome,
    };
    match call {
        Call::Create => created(outcome, before, &after, cx),
        Call::Begin { is_final } => begun(outcome, is_final, before, &after),
        Call::Frame { is_last, shows_failure } => framed(&outcome, is_last, shows_failure, before, &after, cx),
        Call::Settle => settled(outcome, before, &after, cx),
        Call::Mark => marked(outcome, before, &after, cx),
        Call::Message { .. } | Call::LossNotice => Verdict::unreadable_progress(),
    }
}

/// Continues with the next step in any case; a failure is only logged.
fn advance(outcome: Outcome, after: &DingTalkProgress) -> Verdict {
    match code_of(outcome) {
        Ok(_) => accepted(after),
        Err(code) => fall_back(after, code),
    }
}

/// The body, or the code of the failure.
fn code_of(outcome: Outcome) -> Result<Value, String> {
    match outcome {
        Outcome::Ok(body) => Ok(body),
        Outcome::Busy(code) | Outcome::Refused(code) | Outcome::Throttled { code, .. } => Err(code),
        Outcome::NotSent => Err("not_sent".to_owned()),
        Outcome::Lost => Err("no_answer".to_owned()),
        Outcome::TokenExpired => Err("token".to_owned()),
    }
}

/// Creating a card is idempotent: the same id again changes nothing, so it is retried after a lost response.
fn created(outcome: Outcome, shown: DingTalkProgress, after: &DingTalkProgress, cx: &Context<'_>) -> Verdict {
    let unsure = shown.card == CardState::Unsure;
    let is_busy = matches!(outcome, Outcome::Busy(_));
    match outcome {
        Outcome::Ok(body) => match undelivered(&body) {
            None => accepted(after),
            Some(code) => fall_back(&without_card(shown), code),
        },
        Outcome::Refused(code) if code == "param.cardAlreadyExist" => accepted(after),
        // The callback URL for clicks may be the problem, and the text matters more than clicks.
        Outcome::Refused(code) if !shown.no_clicks && card::clicks_over_http(cx) => {
            let shown = DingTalkProgress {
                no_clicks: true,
                ..shown
            };
            fall_back(&shown, code)
        }
        Outcome::Refused(code) => fall_back(&without_card(shown), code),
        Outcome::NotSent if !unsure => Verdict::Retry {
            code: "not_sent".to_owned(),
        },
        outcome => {
            let code = code_of(outcome).err().unwrap_or_default();
            let tried = if unsure {
                shown.held(cx.now)
            } else {
                shown.with_card(CardState::Unsure).held(cx.now)
            };
            if tried.tries < MAX_TRIES {
                return fall_back(&tried, code);
            }
            let stuck = tried.with_card(CardState::Stuck);
            if is_busy {
                closed_to_cards(&stuck, code, Vec::new())
            } else {
                fall_back(&stuck, code)
            }
        }
    }
}

/// Sends the text as messages. A card that may exist from an earlier attempt is marked afterwards.
fn without_card(shown: DingTalkProgress) -> DingTalkProgress {
    let state = match shown.card {
        CardState::Unsure => CardState::Stuck,
        _ => CardState::Refused,
    };
    shown.with_card(state)
}

/// Whether the platform refuses all cards, not just this one: permission missing, monthly calls used up, too many calls. The limit per
/// second doesn't count: it resets at once.
fn refuses_cards(answer: &ApiAnswer, outcome: &Outcome) -> bool {
    let ApiAnswer::Answered { status, .. } = answer else {
        return false;
    };
    matches!(
        (outcome, status),
        (Outcome::Refused(_), 403) | (Outcome::Throttled { .. }, 429)
    )
}

fn cards_refused(answer: &ApiAnswer, outcome: Outcome, shown: DingTalkProgress) -> Verdict {
    let code = code_of(outcome).err().unwrap_or_default();
    closed_to_cards(&without_card(shown), code, missing_scopes(answer))
}

fn closed_to_cards(shown: &DingTalkProgress, code: String, missing: Vec<String>) -> Verdict {
    Verdict::Closed {
        progress: Progress::write(shown),
        code,
        rest: CARDS_REST,
        missing,
    }
}

/// The permissions that a refused call lacks, as named in the response.
fn missing_scopes(answer: &ApiAnswer) -> Vec<String> {
    let body = answer.json().unwrap_or_default();
    let scopes = body["accessdenieddetail"]["requiredScopes"].as_array();
    let names = scopes.into_iter().flatten().filter_map(Value::as_str);
    names.map(str::to_owned).collect()
}

/// `success` only says that the card was created; the delivery's result is nested.
fn undelivered(body: &Value) -> Option<String> {
    let result = &body["result"];
    let spaces = result["deliverResults"].as_array().or_else(|| result.as_array());
    let first = spaces.and_then(|spaces| spaces.first());
    if first.is_some_and(|space| space["success"] == true) {
        return None;
    }
    Some("not_delivered".to_owned())
}

fn begun(outcome: Outcome, is_final: bool, shown: DingTalkProgress, after: &DingTalkProgress) -> Verdict {
    match code_of(outcome.clone()) {
        Ok(_) => accepted(after),
        Err(code) => match outcome {
            // The final text is sent without this step: a spinner that stays a moment longer is better than a late answer.
            Outcome::Refused(_) => fall_back(&shown.with_card(CardState::Muted), code),
            _ if is_final => fall_back(&shown.with_card(CardState::Muted), code),
            _ => Verdict::Retry { code },
        },
    }
}

fn framed(
    outcome: &Outcome,
    is_last: bool,
    shows_failure: bool,
    shown: DingTalkProgress,
    after: &DingTalkProgress,
    cx: &Context<'_>,
) -> Verdict {
    match code_of(outcome.clone()) {
        Ok(_) => accepted(after),
        Err(code) if is_last => last_frame_failed(outcome, code, shows_failure, shown, cx),
        // A partial text may be missing from the card, but not the final one, which is retried.
        Err(code) if matches!(outcome, Outcome::Refused(_)) => fall_back(&shown.with_card(CardState::Muted), code),
        Err(code) => Verdict::Retry { code },
    }
}

fn last_frame_failed(
    outcome: &Outcome,
    code: String,
    shows_failure: bool,
    shown: DingTalkProgress,
    cx: &Context<'_>,
) -> Verdict {
    if matches!(outcome, Outcome::Refused(_)) {
        let plain = shows_failure && !shown.no_failed_state;
        return if plain && settings::of(cx).template.kind == TemplateKind::Own {
            let shown = DingTalkProgress {
                no_failed_state: true,
                ..shown
            };
            fall_back(&shown, code)
        } else {
            fall_back(&shown.with_card(CardState::Stuck), code)
        };
    }
    let tried = shown.held(cx.now);
    if tried.tries < MAX_TRIES {
        fall_back(&tried, code)
    } else {
        fall_back(&tried.with_card(CardState::Stuck), code)
    }
}

/// The text is shown already: setting the state is worth some retries, but must not fail the answer.
fn settled(outcome: Outcome, shown: DingTalkProgress, after: &DingTalkProgress, cx: &Context<'_>) -> Verdict {
    if let Outcome::Refused(code) = &outcome
        && !is_forbidden(code)
        && !shown.state_alone
    {
        // The text may be what is refused, and without its final state the card would show its spinner forever.
        let bare = DingTalkProgress {
            state_alone: true,
            ..shown
        };
        return fall_back(&bare, code.as_str());
    }
    let tried = shown.clone().held(cx.now);
    if is_passing(&outcome) && tried.tries < MAX_TRIES {
        let code = code_of(outcome).err().unwrap_or_default();
        return fall_back(&tried, code);
    }
    advance(outcome, after)
}

/// Whether the refusal doesn't depend on the call's content: another call would be refused too.
fn is_forbidden(code: &str) -> bool {
    code.starts_with("Forbidden.")
}

const fn is_passing(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Busy(_) | Outcome::NotSent | Outcome::Lost)
}

/// The card's spinner is stopped, or can't be. If there is no message below the card, that is reported now.
fn marked(outcome: Outcome, shown: DingTalkProgress, after: &DingTalkProgress, cx: &Context<'_>) -> Verdict {
    let is_own = settings::of(cx).template.kind == TemplateKind::Own;
    if let Outcome::Refused(code) = &outcome
        && !is_forbidden(code)
        && is_own
        && !shown.no_failed_state
    {
        let shown = DingTalkProgress {
            no_failed_state: true,
            ..shown
        };
        return fall_back(&shown, code.as_str());
    }
    let tried = shown.clone().held(cx.now);
    if is_passing(&outcome) && tried.tries < MAX_TRIES {
        return fall_back(&tried, code_of(outcome).err().unwrap_or_default());
    }
    match shown.given_up {
        Some(code) => Verdict::Refused { code },
        None => advance(outcome, after),
    }
}
