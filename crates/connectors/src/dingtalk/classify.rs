//! Converts platform responses to verdicts.

use std::time::Duration;

use serde_json::Value;
use tieline_core::connector::{Context, LimitScope, Planned, SentCall, Verdict};
use tieline_core::http_types::ApiAnswer;
use tieline_core::reply::Progress;
use tieline_core::timestamp::Timestamp;

use super::api_error::Outcome;
use super::card;
use super::progress::{Call, CardState, DingTalkProgress, Withheld};
use super::settings::{self, TemplateKind};

/// Number of attempts of an idempotent call before another way is tried.
const MAX_TRIES: u8 = 3;
/// How often the message size is halved when the platform finds a message too long.
const MAX_SHRINKS: u8 = 4;
/// Cooldown of cards after the platform refused them as such.
const CARDS_REST: Duration = Duration::from_mins(30);
/// Time for which a `sessionWebhook` is blocked after its rate limit was exceeded.
///
/// See [DingTalk Docs/自定义机器人发送群消息](https://open.dingtalk.com/document/development/custom-robots-send-group-messages).
const WEBHOOK_BLOCK: Duration = Duration::from_secs(600);

/// Name of the way over a `sessionWebhook`, which the platform closes for all of a bot's replies.
pub(super) const WEBHOOK: &str = "session_webhook";

/// Classifies the response to a call that [`super::compose::deliver`] made.
pub(super) fn classify(sent: &SentCall<'_>, answer: &ApiAnswer, cx: &Context<'_>) -> Verdict {
    let Planned {
        before,
        on_success: mut after,
    }: Planned<DingTalkProgress> = match sent.read() {
        Ok(planned) => planned,
        Err(verdict) => return verdict,
    };
    match after.call.take() {
        None => Verdict::unreadable_progress(),
        Some(Call::LossNotice) => loss_notified(Outcome::of_api(answer), before),
        Some(Call::Message {
            over_webhook,
            has_link,
            has_api,
        }) => {
            let sending = Sending {
                before,
                after,
                has_link,
                has_api,
                now: cx.now,
            };
            match over_webhook {
                true => webhook(answer, &sending),
                false => sent_by_api(Outcome::of_api(answer), &sending),
            }
        }
        Some(call) => about_card(call, answer, before, after, cx),
    }
}

fn about_card(
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

fn accepted(shown: &DingTalkProgress) -> Verdict {
    Verdict::Accepted(Progress::write(shown))
}

fn fall_back(shown: &DingTalkProgress, code: impl Into<String>) -> Verdict {
    Verdict::FallBack {
        progress: Progress::write(shown),
        code: code.into(),
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

/// A message that was sent: progress without it and with it.
struct Sending {
    before: DingTalkProgress,
    after: DingTalkProgress,
    /// Whether the whole answer can be read through a link.
    has_link: bool,
    /// Whether the chat can be reached through the API too.
    has_api: bool,
    now: Timestamp,
}

/// Classifies the API's response to a message.
fn sent_by_api(outcome: Outcome, sending: &Sending) -> Verdict {
    match outcome {
        Outcome::Ok(body) => delivered(&body, sending),
        Outcome::NotSent => Verdict::Retry {
            code: "not_sent".to_owned(),
        },
        // Messages aren't idempotent, so one is not repeated if it may have been sent.
        Outcome::Lost => refused(sending, "no_answer"),
        Outcome::Refused(code) | Outcome::Busy(code) if is_too_long(&code) => shrunk(sending, code),
        Outcome::Busy(code) if may_be_sent(&code) => refused(sending, code),
        Outcome::Busy(code) => Verdict::Retry { code },
        Outcome::Throttled { after, code } => Verdict::SlowDown {
            retry_after: Some(after),
            code,
            scope: LimitScope::Bot,
        },
        Outcome::TokenExpired => Verdict::TokenExpired,
        Outcome::Refused(code) if code.starts_with("contain.") => withheld(sending, code),
        Outcome::Refused(code) => refused(sending, code),
    }
}

/// No message can be sent. A card that took no text is marked first.
fn refused(sending: &Sending, code: impl Into<String>) -> Verdict {
    given_up(sending.before.clone(), code.into())
}

fn given_up(shown: DingTalkProgress, code: String) -> Verdict {
    if shown.card != CardState::Stuck {
        return Verdict::Refused { code };
    }
    let shown = DingTalkProgress {
        given_up: Some(code.clone()),
        ..shown
    };
    fall_back(&shown, code)
}

/// A `sessionWebhook` may have sent the message, so it isn't repeated: if the API reaches the chat, a notice says that the answer may be
/// missing.
fn unconfirmed(sending: &Sending, code: String) -> Verdict {
    if !sending.has_api {
        return refused(sending, code);
    }
    let shown = DingTalkProgress {
        unconfirmed: Some(code.clone()),
        ..sending.before.clone()
    };
    fall_back(&shown, code)
}

/// The notice was sent, or can't be: either way the answer itself stays unconfirmed.
fn loss_notified(outcome: Outcome, shown: DingTalkProgress) -> Verdict {
    match outcome {
        Outcome::TokenExpired => Verdict::TokenExpired,
        Outcome::Throttled { after, code } => Verdict::SlowDown {
            retry_after: Some(after),
            code,
            scope: LimitScope::Bot,
        },
        Outcome::NotSent => Verdict::Retry {
            code: "not_sent".to_owned(),
        },
        Outcome::Busy(code) if !may_be_sent(&code) => Verdict::Retry { code },
        Outcome::Ok(_) | Outcome::Busy(_) | Outcome::Lost | Outcome::Refused(_) => {
            let code = shown.unconfirmed.clone().unwrap_or_default();
            given_up(shown, code)
        }
    }
}

/// The platform's moderation blocks the content: an allowed notice says so.
///
/// See [DingTalk Docs/自定义机器人发送群消息](https://open.dingtalk.com/document/development/custom-robots-send-group-messages).
fn withheld(sending: &Sending, code: String) -> Verdict {
    let next = match sending.before.withheld {
        Withheld::No => Withheld::Answer,
        Withheld::Answer if sending.has_link => Withheld::Link,
        Withheld::Answer | Withheld::Link => return refused(sending, code),
    };
    let shown = DingTalkProgress {
        withheld: next,
        ..sending.before.clone()
    };
    fall_back(&shown, code)
}

/// A batch call succeeds even if its only recipient got nothing.
fn delivered(body: &Value, sending: &Sending) -> Verdict {
    let has = |list: &str| body[list].as_array().is_some_and(|ids| !ids.is_empty());
    if has("invalidStaffIdList") {
        return refused(sending, "invalidStaffIdList");
    }
    if has("flowControlledStaffIdList") {
        return Verdict::SlowDown {
            retry_after: None,
            code: "flowControlledStaffIdList".to_owned(),
            scope: LimitScope::Chat,
        };
    }
    accepted(&sending.after)
}

/// Whether the platform failed after it may have sent the message: its processing limit of 3 s was exceeded, or it reports an unknown
/// outcome. A failure before that, at a gateway, has no effect.
///
/// See [DingTalk Docs/机器人发送群聊消息](https://open.dingtalk.com/document/development/the-robot-sends-a-group-message).
fn may_be_sent(code: &str) -> bool {
    matches!(
        code,
        "500" | "504" | "system.error" | "unknownError" | "unknown.send.result"
    )
}

fn is_too_long(code: &str) -> bool {
    code.ends_with("msgParam.tooLong")
}

fn shrunk(sending: &Sending, code: String) -> Verdict {
    let mut shown = sending.before.clone();
    if shown.shrunk >= MAX_SHRINKS {
        return refused(sending, code);
    }
    shown.shrunk += 1;
    fall_back(&shown, code)
}

/// Classifies a response of a `sessionWebhook`: the status is 200 even if refused; `errcode` decides.
///
/// See [DingTalk Docs/自定义机器人发送群消息](https://open.dingtalk.com/document/development/custom-robots-send-group-messages).
fn webhook(answer: &ApiAnswer, sending: &Sending) -> Verdict {
    let (status, retry_after_s) = match answer {
        ApiAnswer::NotSent => {
            return Verdict::Retry {
                code: "not_sent".to_owned(),
            };
        }
        ApiAnswer::Unknown => return unconfirmed(sending, "no_answer".to_owned()),
        ApiAnswer::Answered {
            status, retry_after_s, ..
        } => (*status, *retry_after_s),
    };
    let errcode = answer.json().and_then(|body| errcode(&body["errcode"]));
    match (errcode, status) {
        (Some(code), _) => by_errcode(code, sending),
        (None, 429) => Verdict::SlowDown {
            retry_after: retry_after_s.map(Duration::from_secs),
            code: "429".to_owned(),
            // A session webhook belongs to one chat.
            scope: LimitScope::Chat,
        },
        (None, 500 | 504) => unconfirmed(sending, status.to_string()),
        (None, 500..) => Verdict::Retry {
            code: status.to_string(),
        },
        (None, _) => closed(sending, status.to_string()),
    }
}

fn errcode(value: &Value) -> Option<i64> {
    match value {
        Value::Number(number) => number.as_i64(),
        Value::String(text) => text.parse().ok(),
        _ => None,
    }
}

fn by_errcode(code: i64, sending: &Sending) -> Verdict {
    let word = code.to_string();
    match code {
        0 => accepted(&sending.after),
        -1 => Verdict::Retry { code: word },
        // The group is dissolved: no other way works either.
        400_013 => refused(sending, word),
        430_101..=430_104 => withheld(sending, word),
        // Too long.
        460_101 | 101_002 => shrunk(sending, word),
        // Rate limit exceeded: the `sessionWebhook` is blocked for a while, the API is not.
        410_100 | 130_101 => {
            let rests = sending
                .before
                .clone()
                .with_webhook_at_rest(sending.now.after(WEBHOOK_BLOCK));
            Verdict::Resting {
                progress: Progress::write(&rests),
                code: word,
                way: WEBHOOK,
                rest: WEBHOOK_BLOCK,
            }
        }
        _ => closed(sending, word),
    }
}

/// The `sessionWebhook` is closed for good: another way is tried.
fn closed(sending: &Sending, code: String) -> Verdict {
    let shown = DingTalkProgress {
        webhook_closed: true,
        ..sending.before.clone()
    };
    fall_back(&shown, code)
}
