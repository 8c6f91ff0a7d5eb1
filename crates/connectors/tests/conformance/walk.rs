//! Executes one vector. `Err` says what failed; `Ok` what it covered, for the list of what each folder must cover.

use serde::Deserialize as _;
use serde_json::{Value, json};
use tieline_core::account::Account;
use tieline_core::connector::{Answer, Connector, Context, PollRequest, SentCall, Verdict};
use tieline_core::event::Event;
use tieline_core::reply::{Progress, ReplyTarget, ReplyView, Step};
use tieline_core::stream::{Begin, Effect, SocketAddress, StreamSession};

use crate::case::{Case, StepCase, WantedOwned};
use crate::show;

/// Words for what a vector has covered: `text`, `part`, `rejected`, `accepted`, ...
pub(crate) type Seen = Vec<String>;

pub(crate) fn play(kind: &str, connector: &dyn Connector, case: Case) -> Result<Seen, String> {
    let account = case.account.build(connector)?;
    match kind {
        "receive" => receive(connector, case, &account),
        "compose" => compose(connector, &case, &account),
        "classify" => classify(connector, &case, &account),
        "stream" => stream(connector, &case, &account),
        other => Err(format!("no such kind of vector: {other}")),
    }
}

fn same(expected: &Value, actual: &Value) -> Result<(), String> {
    show::difference(expected, actual).map_or(Ok(()), Err)
}

fn seen_in(events: &[Event], seen: &mut Seen) {
    for event in events {
        match event {
            Event::Message(message) if message.parts.is_empty() => seen.push("text".into()),
            Event::Message(_) => seen.push("part".into()),
            Event::Overheard(_) => seen.push("overheard".into()),
            Event::CardAction(_) => seen.push("card action".into()),
            Event::Feedback(_) => seen.push("feedback".into()),
            Event::Recalled(_) => seen.push("recalled".into()),
            Event::ChatMoved(_) => seen.push("chat moved".into()),
        }
    }
}

fn receive(connector: &dyn Connector, mut case: Case, account: &Account) -> Result<Seen, String> {
    let reply = case.reply.take().map(|reply| reply.build());
    let cx = case.context(account, None);
    let request = case.request.as_ref().ok_or("`request` is missing")?.build();
    let received = match connector.receive(&request, &cx) {
        Ok(received) => received,
        Err(rejection) => {
            let actual = show::rejection(rejection);
            same(&case.expect, &actual)?;
            return Ok(vec![format!(
                "rejected {}",
                actual["rejected"].as_str().unwrap_or_default()
            )]);
        }
    };
    let mut seen = Seen::new();
    seen_in(&received.events, &mut seen);
    let mut actual = json!({
        "events": received.events.iter().map(show::event).collect::<Value>(),
        "answer": show::answer(&received.answer),
        "remark": received.remark.map(show::remark),
    });
    if let Some(remark) = received.remark {
        seen.extend(
            show::remark(remark)
                .as_object()
                .into_iter()
                .flatten()
                .map(|(word, _)| word.clone()),
        );
    } else if received.events.is_empty() {
        seen.push("answer".into());
    }
    if let Answer::Polled(newest) = &received.answer {
        actual["written"] = poll(connector, newest, reply, &cx);
    }
    same(&case.expect, &actual)?;
    Ok(seen)
}

/// The response to a poll, and the final state that it stores, as in the bridge.
fn poll(connector: &dyn Connector, newest: &PollRequest, mut reply: Option<ReplyView>, cx: &Context<'_>) -> Value {
    if let Some(reply) = reply.as_mut().filter(|reply| reply.closed.is_none()) {
        reply.closed = connector
            .polled_replies()
            .and_then(|polled| polled.final_poll_state(newest, reply, cx));
    }
    let polled = connector
        .polled_replies()
        .expect("a connector that answers polls says how");
    let mut shown = show::webhook_answer(&polled.answer_poll(newest, reply.as_ref(), cx));
    shown["closed"] = json!(reply.and_then(|reply| reply.closed));
    shown
}

/// Applies a step's changes to the desired state, for this and later steps.
fn change(wanted: &mut Value, step: &StepCase) {
    if let (Value::Object(wanted), Value::Object(changes)) = (wanted, &step.wanted) {
        wanted.extend(changes.clone());
    }
}

fn target(case: &Case, account: &Account) -> Result<ReplyTarget, String> {
    Ok(case.target.as_ref().ok_or("`target` is missing")?.build(account))
}

/// Progress as another process reads it.
fn stored(progress: &Progress) -> Result<Progress, String> {
    let text = serde_json::to_string(progress).map_err(|error| error.to_string())?;
    serde_json::from_str(&text).map_err(|error| error.to_string())
}

fn compose(connector: &dyn Connector, case: &Case, account: &Account) -> Result<Seen, String> {
    let to = target(case, account)?;
    let mut wanted = case.wanted.clone();
    let mut progress = Progress::default();
    let mut seen = Seen::new();
    for (at, step) in case.steps.iter().enumerate() {
        let place = |text: String| format!("step {at}{text}");
        change(&mut wanted, step);
        let cx = case.context(account, step.now);
        let owned = WantedOwned::new(&wanted, &to, account).map_err(place)?;
        let next = connector.deliver(&owned.view(), &to, &progress, &cx);
        same(&step.expect, &show::step(&next)).map_err(place)?;
        let (Ok(Step::Call { call, on_success }), Some(answer)) = (next, &step.answer) else {
            continue;
        };
        let sent = SentCall {
            call: &call,
            progress: &progress,
            on_success: &on_success,
        };
        let verdict = connector.classify(&sent, &answer.build(), &cx);
        let actual = show::verdict(&verdict);
        same(step.verdict.as_ref().unwrap_or(&json!({ "accepted": {} })), &actual)
            .map_err(|text| format!("step {at}, verdict{text}"))?;
        seen.extend(actual.as_object().into_iter().flatten().map(|(word, _)| word.clone()));
        if let Verdict::Accepted(next)
        | Verdict::FallBack { progress: next, .. }
        | Verdict::Resting { progress: next, .. }
        | Verdict::Closed { progress: next, .. } = verdict
        {
            progress = stored(&next)?;
        }
    }
    Ok(seen)
}

/// Each step is a response to the same first call.
fn classify(connector: &dyn Connector, case: &Case, account: &Account) -> Result<Seen, String> {
    let to = target(case, account)?;
    let owned = WantedOwned::new(&case.wanted, &to, account)?;
    let cx = case.context(account, None);
    let progress = Progress::default();
    let next = connector.deliver(&owned.view(), &to, &progress, &cx);
    same(&case.expect, &show::step(&next))?;
    let Ok(Step::Call { call, on_success }) = next else {
        return Err("`deliver` makes no call".into());
    };
    let mut seen = Seen::new();
    for (at, step) in case.steps.iter().enumerate() {
        let answer = step.answer.as_ref().ok_or("a step has no `answer`")?.build();
        let sent = SentCall {
            call: &call,
            progress: &progress,
            on_success: &on_success,
        };
        let verdict = connector.classify(&sent, &answer, &cx);
        let actual = show::verdict(&verdict);
        let expected = step.verdict.as_ref().ok_or("a step has no `verdict`")?;
        same(expected, &actual).map_err(|text| format!("answer {at}{text}"))?;
        seen.extend(actual.as_object().into_iter().flatten().map(|(word, _)| word.clone()));
    }
    Ok(seen)
}

/// Without steps, `expect` describes the begin: `{begin, address}`, the latter read from the `answer` of the only step, if any.
fn stream(connector: &dyn Connector, case: &Case, account: &Account) -> Result<Seen, String> {
    let protocol = connector.stream().ok_or("the connector has no long connection")?;
    let cx = case.context(account, None);
    let begin = protocol.begin(&cx);
    same(&case.expect, &json!({ "begin": show::begin(&begin) }))?;
    let Some(address) = address(case, begin) else {
        return begin_by_asking(protocol, case, account);
    };
    let mut session = protocol.session(&address, &cx);
    let mut seen = Seen::new();
    for (at, step) in case.steps.iter().enumerate() {
        let effects = drive(session.as_mut(), case, step, account).map_err(|text| format!("step {at}: {text}"))?;
        let actual: Value = effects.iter().map(show::effect).collect();
        same(&step.expect, &actual).map_err(|text| format!("step {at}{text}"))?;
        if let Some(wake_at) = step.wake_at {
            same(&json!(wake_at), &json!(session.wake_at())).map_err(|text| format!("step {at}, wake{text}"))?;
        }
        for effect in &effects {
            if let Effect::Deliver { events, .. } = effect {
                seen_in(events, &mut seen);
            }
            let shown = show::effect(effect);
            seen.extend(
                shown
                    .as_object()
                    .into_iter()
                    .flatten()
                    .map(|(word, _)| format!("effect {word}")),
            );
        }
    }
    Ok(seen)
}

/// The socket address of a case's connection. `None`: its steps are responses to the call that requests the address.
pub(crate) fn address(case: &Case, begin: Begin) -> Option<SocketAddress> {
    match (&case.address, begin) {
        (Some(address), _) => Some(address.build()),
        (None, Begin::Connect(address) | Begin::Authorize(address, _)) => Some(address),
        (None, Begin::Ask(_)) => None,
        (None, Begin::Poll) => Some(SocketAddress {
            url: String::new(),
            headers: Vec::new(),
            note: String::new(),
        }),
    }
}

/// Rows of responses to the call that requests the address.
fn begin_by_asking(
    protocol: &dyn tieline_core::stream::StreamProtocol,
    case: &Case,
    account: &Account,
) -> Result<Seen, String> {
    for (at, step) in case.steps.iter().enumerate() {
        let cx = case.context(account, step.now);
        let answer = step
            .answer
            .as_ref()
            .ok_or("a step has no `answer`, and the case no `address`")?;
        let actual = match protocol.address(&answer.build(), &cx) {
            Ok(address) => json!({ "address": show::address(&address) }),
            Err(refusal) => json!({ "refused": show::refusal(&refusal) }),
        };
        same(&step.expect, &actual).map_err(|text| format!("step {at}{text}"))?;
    }
    Ok(vec!["begin".into()])
}

pub(crate) fn drive(
    session: &mut dyn StreamSession,
    case: &Case,
    step: &StepCase,
    account: &Account,
) -> Result<Vec<Effect>, &'static str> {
    let cx = case.context(account, step.now);
    if step.open {
        return Ok(session.on_open(&cx));
    }
    if let Some(frame) = &step.frame {
        return Ok(session.on_frame(frame.build(), &cx));
    }
    if step.pong {
        return Ok(session.on_pong(&cx));
    }
    if step.time {
        return Ok(session.on_time(&cx));
    }
    if let Some(token) = step.stored {
        return Ok(session.on_stored(token, &cx));
    }
    if let Some(call) = &step.call {
        return Ok(session.on_call(&call.id, call.build(), &cx));
    }
    if let Some(answer) = &step.fetched {
        return Ok(session.on_fetched(answer.build(), &cx));
    }
    if step.close {
        return Ok(session.on_close(&cx));
    }
    if let Some(code) = step.closed {
        return Ok(session.on_closed(code, "", &cx));
    }
    Err("a step has one of `open`, `frame`, `pong`, `time`, `stored`, `call`, `fetched`, `closed`, `close`")
}

/// The vectors in a file: one, or a list.
pub(crate) fn read(text: &str) -> Result<Vec<Case>, String> {
    let value: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let cases = match value {
        Value::Array(cases) => cases,
        one => vec![one],
    };
    cases
        .into_iter()
        .map(|case| {
            let name = case["name"].as_str().unwrap_or("a vector without name").to_owned();
            Case::deserialize(case).map_err(|error| format!("{name}: {error}"))
        })
        .collect()
}
