//! Simulated platform with all possible faults, and a simulated bridge that delivers a reply to it.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};
use tieline_core::account::{Account, ConnectionMode};
use tieline_core::connector::{Connector as _, SentCall, Verdict};
use tieline_core::event::{Chat, ChatKind};
use tieline_core::http_types::{ApiAnswer, ApiCall, Body, HttpCall};
use tieline_core::ids::{ChatId, IntegrationId, PlatformMessageId, ReplyId, SenderId, ThreadId};
use tieline_core::reply::{ReplyHandle, Step};
use tieline_core::timestamp::Timestamp;

use super::super::Lark;
use super::super::fixture::{NOW, account, context};
use super::*;

/// Outcome of one call.
#[derive(Debug, Clone)]
enum Luck {
    Works,
    /// The call succeeds, but its response is lost.
    Unheard,
    Lost,
    Fails(i64),
}

#[derive(Default)]
struct Entity {
    text: String,
    sequence: u64,
    open: bool,
    sent: bool,
}

/// The platform, as documented.
#[derive(Default)]
struct Platform {
    entities: BTreeMap<String, Entity>,
    /// Messages in the chat: a card entity or a text.
    messages: Vec<(Option<String>, String)>,
    by_uuid: BTreeMap<String, usize>,
    changes: BTreeMap<String, Result<Value, i64>>,
    /// Whether a change repeated with the same uuid gets the same response as the first time.
    repeats: bool,
    reactions: usize,
}

impl Platform {
    fn call(&mut self, call: &HttpCall) -> Result<Value, i64> {
        let body: Value = match &call.body {
            Body::Json(text) => serde_json::from_str(text).unwrap(),
            _ => json!({}),
        };
        let path: Vec<_> = call.url.split('/').skip(4).collect();
        match (call.name, &path[..]) {
            ("react", _) => {
                self.reactions += 1;
                Ok(json!({ "reaction_id": "r1" }))
            }
            ("unreact", _) => {
                self.reactions = self.reactions.checked_sub(1).ok_or(231_011)?;
                Ok(json!({}))
            }
            ("create_card", _) => Ok(self.create(&body)),
            ("send_card" | "send", _) => self.send(&body),
            ("patch", [.., message]) => self.patch(message, &body),
            (name, ["cardkit", "v1", "cards", card, ..]) => self.change(name, card, &body),
            (name, _) => panic!("{name}: {}", call.url),
        }
    }

    fn create(&mut self, body: &Value) -> Value {
        let card = parsed(&body["data"]);
        let id = format!("card{}", self.entities.len());
        let entity = Entity {
            text: text_of(&card),
            open: card["config"]["streaming_mode"] == json!(true),
            ..Entity::default()
        };
        self.entities.insert(id.clone(), entity);
        json!({ "card_id": id })
    }

    fn send(&mut self, body: &Value) -> Result<Value, i64> {
        let uuid = body["uuid"].as_str().unwrap();
        assert!(uuid.len() <= 50);
        if let Some(message) = self.by_uuid.get(uuid) {
            return Ok(json!({ "message_id": format!("om_out{message}") }));
        }
        let limit = if body["msg_type"] == "text" { 150_000 } else { 30_000 };
        assert!(body.to_string().len() <= limit, "too large for a message");
        let content = parsed(&body["content"]);
        let message = match body["msg_type"].as_str() {
            Some("interactive") if content["type"] == "card" => {
                let id = content["data"]["card_id"].as_str().unwrap();
                let entity = self.entities.get_mut(id).ok_or(230_001)?;
                assert!(!std::mem::replace(&mut entity.sent, true), "an entity is sent once");
                (Some(id.to_owned()), String::new())
            }
            Some("interactive") => (None, text_of(&content)),
            Some("post") => (
                None,
                content["zh_cn"]["content"][0][0]["text"].as_str().unwrap().to_owned(),
            ),
            _ => (None, content["text"].as_str().unwrap().to_owned()),
        };
        self.messages.push(message);
        self.by_uuid.insert(uuid.to_owned(), self.messages.len() - 1);
        Ok(json!({ "message_id": format!("om_out{}", self.messages.len() - 1) }))
    }

    fn patch(&mut self, message: &str, body: &Value) -> Result<Value, i64> {
        let message: usize = message.strip_prefix("om_out").unwrap().parse().unwrap();
        assert!(
            self.messages[message].0.is_none(),
            "an entity is not changed as a message"
        );
        self.messages[message].1 = text_of(&parsed(&body["content"]));
        Ok(json!({}))
    }

    fn change(&mut self, name: &str, card: &str, body: &Value) -> Result<Value, i64> {
        let change = format!("{card} {}", body["uuid"]);
        if let Some(answer) = self.changes.get(&change) {
            return if self.repeats { answer.clone() } else { Err(200_770) };
        }
        let answer = self.changed(name, card, body);
        self.changes.insert(change, answer.clone());
        answer
    }

    fn changed(&mut self, name: &str, card: &str, body: &Value) -> Result<Value, i64> {
        let entity = self.entities.get_mut(card).unwrap();
        let sequence = body["sequence"].as_u64().unwrap();
        if sequence <= entity.sequence {
            return Err(300_317);
        }
        match name {
            "write_card" if !entity.open => return Err(300_309),
            "write_card" => entity.text = body["content"].as_str().unwrap().to_owned(),
            "replace_card" => {
                let card = parsed(&body["card"]["data"]);
                entity.text = text_of(&card);
                entity.open = card["config"]["streaming_mode"] == json!(true);
            }
            _ => entity.open = parsed(&body["settings"])["config"]["streaming_mode"] == json!(true),
        }
        entity.sequence = sequence;
        Ok(json!({}))
    }

    fn texts(&self) -> Vec<String> {
        let shown = |message: &(Option<String>, String)| match message {
            (Some(card), _) => self.entities[card].text.clone(),
            (None, text) => text.clone(),
        };
        self.messages.iter().map(shown).collect()
    }

    /// Streaming ends by itself after 10 minutes; the list of chats still shows that the card is being written.
    fn pass(&mut self, minutes: u64) {
        if minutes >= 10 {
            self.entities.values_mut().for_each(|entity| entity.open = false);
        }
    }
}

fn parsed(json: &Value) -> Value {
    serde_json::from_str(json.as_str().unwrap()).unwrap()
}

fn text_of(card: &Value) -> String {
    let text = &card["body"]["elements"][0]["content"];
    text.as_str().unwrap().to_owned()
}

struct Bridge {
    account: Account,
    to: ReplyTarget,
    reply: ReplyId,
    platform: Platform,
    progress: Progress,
    now: Timestamp,
    luck: Vec<Luck>,
    /// Whether the richer way is in its cooldown.
    plain: bool,
}

/// How a delivery ended.
#[derive(Debug, PartialEq)]
enum End {
    Done,
    Refused,
}

impl Bridge {
    fn new(luck: Vec<Luck>) -> Self {
        let account = account(ConnectionMode::LongConnection, &[]);
        let to = ReplyTarget {
            integration: IntegrationId::new("int_1"),
            chat: Chat {
                kind: ChatKind::Group,
                id: ChatId::new("oc_1"),
                thread: Some(ThreadId::new("omt_1")),
            },
            asker: SenderId::new("ou_1"),
            message: PlatformMessageId::new("om_1"),
            handle: ReplyHandle::new(json!({ "root": "om_0" })),
            expires_at: None,
        };
        Self {
            account,
            to,
            reply: ReplyId::new("tl-1"),
            platform: Platform::default(),
            progress: Progress::default(),
            now: NOW,
            luck,
            plain: false,
        }
    }

    /// Delivers one stage. Stages before the final one are abandoned at the first error, as the bridge may do.
    fn deliver(&mut self, stage: Stage, text: &str) -> End {
        for _ in 0..400 {
            let desired = DesiredReply {
                plain: self.plain,
                ..DesiredReply::new(&self.reply, stage, text)
            };
            let cx = context(&self.account, self.now);
            let (call, on_success) = match Lark.deliver(&desired, &self.to, &self.progress, &cx) {
                Ok(Step::Call { call, on_success }) => (call, on_success),
                Ok(Step::Wait { until }) if stage == Stage::Final => {
                    self.now = until;
                    continue;
                }
                Ok(_) => return End::Done,
                Err(_) => return End::Refused,
            };
            let answer = answer(&mut self.platform, &mut self.luck, &call);
            let sent = SentCall {
                call: &call,
                progress: &self.progress,
                on_success: &on_success,
            };
            match Lark.classify(&sent, &answer, &cx) {
                Verdict::Accepted(progress) | Verdict::FallBack { progress, .. } => self.progress = progress,
                Verdict::Closed { progress, .. } => {
                    self.progress = progress;
                    self.plain = true;
                }
                Verdict::Refused { .. } => return End::Refused,
                _ if stage != Stage::Final => return End::Done,
                _ => {}
            }
        }
        panic!("no end: {:?}", self.progress)
    }
}

fn answer(platform: &mut Platform, luck: &mut Vec<Luck>, call: &ApiCall) -> ApiAnswer {
    let ApiCall::Http(http) = call else {
        panic!("not over HTTP")
    };
    let outcome = match luck.pop().unwrap_or(Luck::Works) {
        Luck::Lost => return ApiAnswer::Unknown,
        Luck::Unheard => {
            let _ = platform.call(http);
            return ApiAnswer::Unknown;
        }
        Luck::Fails(code) => Err(code),
        Luck::Works => platform.call(http),
    };
    let (status, body) = match outcome {
        Ok(data) => (200, json!({ "code": 0, "data": data })),
        Err(code) => (400, json!({ "code": code, "msg": "x" })),
    };
    ApiAnswer::Answered {
        status,
        retry_after_s: None,
        body: body.to_string().into_bytes(),
    }
}

fn luck(bad: u32) -> impl Strategy<Value = Luck> {
    let codes = vec![
        99_991_400, 99_991_672, 230_020, 230_049, 200_220, 300_317, 300_309, 200_850, 200_810, 200_770, 300_120,
        200_860, 300_305, 300_311, 230_025, 230_031, 10_002, 230_071, 99_991_663,
    ];
    prop_oneof![
        10 => Just(Luck::Works),
        bad => Just(Luck::Unheard),
        bad => Just(Luck::Lost),
        2 * bad => prop::sample::select(codes).prop_map(Luck::Fails),
    ]
}

/// Numbered words, so that a missing one is detected.
fn words(n: usize) -> String {
    (0..n).map(|n| format!("w{n}w {}\n\n", "长".repeat(100))).collect()
}

fn holds(shown: &str, full_text: &str) -> bool {
    let mut shown = shown.split_whitespace().filter(|word| word.starts_with('w'));
    full_text
        .split_whitespace()
        .filter(|word| word.starts_with('w'))
        .all(|word| shown.any(|shown| shown == word))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn whole_text_is_delivered_despite_faults(
        luck in prop::collection::vec(luck(1), 0..60),
        growth in prop::collection::vec((1usize..80, 0u64..14), 0..8),
        repeats in any::<bool>(),
    ) {
        let mut bridge = Bridge::new(luck);
        bridge.platform.repeats = repeats;
        let mut n_words = 1;
        bridge.deliver(Stage::Thinking, "");
        for (more, minutes) in growth {
            n_words += more;
            bridge.now = bridge.now.after(Duration::from_secs(60 * minutes));
            bridge.platform.pass(minutes);
            if bridge.deliver(Stage::Growing, &words(n_words)) == End::Refused {
                return Ok(());
            }
        }
        let full_text = words(n_words + 3);
        if bridge.deliver(Stage::Final, &full_text) == End::Refused {
            return Ok(());
        }
        let shown = bridge.platform.texts().join("\n");
        prop_assert!(holds(&shown, &full_text), "not all of it is shown: {shown}");
        // Delivering again changes nothing, at any stage.
        let before = bridge.progress.clone();
        prop_assert_eq!(bridge.deliver(Stage::Final, &full_text), End::Done);
        prop_assert_eq!(bridge.deliver(Stage::Growing, "late"), End::Done);
        prop_assert_eq!(bridge.progress, before);
    }

    #[test]
    fn without_faults_nothing_is_duplicated_or_left_open(
        growth in prop::collection::vec((1usize..80, 0u64..14), 0..8),
    ) {
        let mut bridge = Bridge::new(Vec::new());
        let mut n_words = 1;
        bridge.deliver(Stage::Thinking, "");
        prop_assert_eq!(bridge.platform.reactions, 1);
        for (more, minutes) in growth {
            n_words += more;
            bridge.now = bridge.now.after(Duration::from_secs(60 * minutes));
            bridge.platform.pass(minutes);
            prop_assert_eq!(bridge.deliver(Stage::Growing, &words(n_words)), End::Done);
        }
        let full_text = words(n_words + 3);
        prop_assert_eq!(bridge.deliver(Stage::Final, &full_text), End::Done);
        let shown = bridge.platform.texts().join("\n\n");
        prop_assert_eq!(shown.trim(), full_text.trim());
        prop_assert_eq!(bridge.platform.reactions, 0);
        prop_assert!(bridge.platform.entities.values().all(|entity| entity.sent && !entity.open));
    }
}

#[test]
fn inline_picture_is_shown_as_its_label() {
    let text = format!("See ![chart](data:image/png;base64,{}) above.", "AAAA".repeat(25_000));
    let mut bridge = Bridge::new(Vec::new());
    for shown in [40, 30_000, text.len() - 8] {
        bridge.deliver(Stage::Growing, &text[..shown]);
        assert_eq!(bridge.platform.texts(), ["See chart"]);
    }
    bridge.deliver(Stage::Final, &text);
    assert_eq!(bridge.platform.texts(), ["See chart above."]);
}

#[test]
fn reaction_is_removed_from_a_message_without_an_answer() {
    let mut bridge = Bridge::new(Vec::new());
    bridge.deliver(Stage::Thinking, "");
    assert_eq!(bridge.platform.reactions, 1);
    for _ in 0..2 {
        assert_eq!(bridge.deliver(Stage::Final, ""), End::Done);
        assert_eq!((bridge.platform.reactions, bridge.platform.texts().len()), (0, 0));
    }
}

#[test]
fn reaction_is_removed_at_the_end_after_transient_failures() {
    for (failed, left) in [
        (vec![Luck::Fails(99_991_400)], 0),
        (vec![Luck::Lost; 2], 0),
        (vec![Luck::Unheard], 0),
        // After three failures the answer is complete nonetheless.
        (vec![Luck::Fails(99_991_400); 3], 1),
    ] {
        let mut bridge = Bridge::new(Vec::new());
        bridge.deliver(Stage::Thinking, "");
        // In reverse order: the message is sent, then the removal fails.
        let (n_failed, before) = (failed.len() as u64, bridge.now);
        bridge.luck = [failed.clone(), vec![Luck::Works]].concat();
        assert_eq!(bridge.deliver(Stage::Final, "whole"), End::Done);
        let label = format!("{failed:?}");
        assert_eq!(
            (bridge.platform.reactions, bridge.platform.texts()),
            (left, vec!["whole".to_owned()]),
            "{label}"
        );
        assert!(bridge.now.since(before) <= Duration::from_secs(2 * n_failed), "{label}");
        let done = bridge.progress.clone();
        assert_eq!(bridge.deliver(Stage::Final, "whole"), End::Done);
        assert_eq!(bridge.progress, done, "{label}");
    }
}

#[test]
fn failed_removal_of_the_reaction_does_not_delay_a_growing_text() {
    let mut bridge = Bridge::new(Vec::new());
    bridge.deliver(Stage::Thinking, "");
    bridge.luck = vec![Luck::Lost, Luck::Works, Luck::Works];
    bridge.deliver(Stage::Growing, "who");
    bridge.deliver(Stage::Growing, "whol");
    assert_eq!(
        (bridge.platform.reactions, bridge.platform.texts()),
        (1, vec!["whol".to_owned()])
    );
    let before = bridge.now;
    assert_eq!(bridge.deliver(Stage::Final, "whole"), End::Done);
    assert_eq!(
        (bridge.platform.reactions, bridge.platform.texts()),
        (0, vec!["whole".to_owned()])
    );
    assert_eq!(bridge.now.since(before), Duration::from_secs(2), "it is removed last");
}

#[test]
fn restarted_answer_is_not_deduplicated() {
    let mut bridge = Bridge::new(Vec::new());
    bridge.deliver(Stage::Final, "whole");
    bridge.progress = Lark.restart(&bridge.progress).unwrap();
    assert_eq!(bridge.deliver(Stage::Final, "whole"), End::Done);
    assert_eq!(bridge.platform.texts(), ["whole", "whole"]);
}

#[test]
fn card_with_an_internal_fault_is_changed_a_second_later() {
    let mut bridge = Bridge::new(Vec::new());
    bridge.deliver(Stage::Growing, "who");
    bridge.luck = vec![Luck::Fails(300_120); 3];
    let before = bridge.now;
    assert_eq!(bridge.deliver(Stage::Growing, "whol"), End::Done);
    assert_eq!(bridge.luck.len(), 2, "an update is not repeated at once");
    assert_eq!(bridge.deliver(Stage::Final, "whole"), End::Done);
    assert_eq!(bridge.now.since(before), Duration::from_secs(3));
    assert_eq!(bridge.platform.texts(), ["whole"], "it is the same card");
    // A fault that stays ends the card: the text goes into another message.
    let mut bridge = Bridge::new(Vec::new());
    bridge.deliver(Stage::Growing, "who");
    bridge.luck = vec![Luck::Fails(300_120); 7];
    let before = bridge.now;
    assert_eq!(bridge.deliver(Stage::Final, "whole"), End::Done);
    assert_eq!(bridge.now.since(before), Duration::from_secs(6));
    assert_eq!(bridge.platform.texts(), ["who", "whole"]);
}

#[test]
fn card_is_changed_a_second_after_a_click() {
    // More clicks than other refusals of a card are tolerated.
    for n_clicks in [1, 20] {
        let mut bridge = Bridge::new(Vec::new());
        bridge.deliver(Stage::Growing, "who");
        bridge.luck = vec![Luck::Fails(200_810); n_clicks];
        let before = bridge.now;
        assert_eq!(bridge.deliver(Stage::Growing, "whol"), End::Done);
        assert_eq!(bridge.luck.len(), n_clicks - 1, "an update is not repeated at once");
        assert_eq!(bridge.deliver(Stage::Final, "whole"), End::Done);
        assert_eq!(bridge.now.since(before), Duration::from_secs(n_clicks as u64));
        assert_eq!(bridge.platform.texts(), ["whole"], "it is the same card");
    }
    // The card is given up after a minute: the text goes into another message.
    let mut bridge = Bridge::new(Vec::new());
    bridge.deliver(Stage::Growing, "who");
    bridge.luck = vec![Luck::Fails(200_810); 61];
    assert_eq!(bridge.deliver(Stage::Final, "whole"), End::Done);
    assert_eq!(bridge.platform.texts(), ["who", "whole"]);
}

#[test]
fn growing_text_is_not_deduplicated() {
    for repeats in [false, true] {
        // In reverse order: reaction, card, its message and the removal of the reaction succeed, then the response to the first write is
        // lost.
        let mut bridge = Bridge::new(vec![Luck::Unheard, Luck::Works, Luck::Works, Luck::Works, Luck::Works]);
        bridge.platform.repeats = repeats;
        bridge.deliver(Stage::Thinking, "");
        bridge.deliver(Stage::Growing, "w");
        bridge.deliver(Stage::Growing, "who");
        assert_eq!(bridge.platform.texts(), ["who"]);
        let before = bridge.progress.clone();
        assert_eq!(bridge.deliver(Stage::Final, "whole"), End::Done);
        assert_eq!(bridge.platform.texts(), ["whole"]);
        // The same text again is a repetition.
        let n_changes = bridge.platform.changes.len();
        bridge.progress = before;
        assert_eq!(bridge.deliver(Stage::Final, "whole"), End::Done);
        assert_eq!(bridge.platform.texts(), ["whole"]);
        if repeats {
            assert_eq!(bridge.platform.changes.len(), n_changes, "under the same names");
        }
    }
}

#[test]
fn missing_permission_is_named_and_streaming_cools_down() {
    let no_scope = vec![Luck::Fails(99_991_672), Luck::Works];
    let mut bridge = Bridge::new(no_scope);
    bridge.deliver(Stage::Thinking, "");
    bridge.deliver(Stage::Growing, "whole");
    assert!(bridge.plain, "the way is closed");
    let mut next = Bridge::new(Vec::new());
    next.plain = true;
    assert_eq!(next.deliver(Stage::Growing, "who"), End::Done);
    assert_eq!(next.deliver(Stage::Final, "whole"), End::Done);
    assert_eq!(
        (next.platform.entities.len(), next.platform.texts()),
        (0, vec!["whole".to_owned()])
    );
    // A card that is already streaming is kept.
    let mut begun = Bridge::new(Vec::new());
    begun.deliver(Stage::Growing, "who");
    begun.plain = true;
    assert_eq!(begun.deliver(Stage::Final, "whole"), End::Done);
    assert_eq!(
        (begun.platform.entities.len(), begun.platform.texts()),
        (1, vec!["whole".to_owned()])
    );
}

#[test]
fn holder_with_an_old_record_replaces_unrecorded_text() {
    let mut bridge = Bridge::new(Vec::new());
    bridge.deliver(Stage::Growing, "one");
    let recorded = bridge.progress.clone();
    for n in 2..12 {
        bridge.now = bridge.now.after(Duration::from_millis(500));
        bridge.deliver(Stage::Growing, &words(n));
        assert!(
            Lark.is_repeatable(&recorded, &bridge.progress),
            "growth can be shown again"
        );
    }
    // The process crashes, and the agent gives another answer.
    bridge.progress = recorded.clone();
    bridge.now = bridge.now.after(Duration::from_secs(30));
    assert_eq!(bridge.deliver(Stage::Final, "another answer"), End::Done);
    assert_eq!(bridge.platform.texts(), ["another answer"]);
    assert!(
        bridge.platform.changes.values().all(Result::is_ok),
        "its numbers are higher than those that it doesn't know"
    );
    assert!(
        !Lark.is_repeatable(&recorded, &bridge.progress),
        "a card that is closed must be known as closed"
    );
}

#[test]
fn crash_between_call_and_record_duplicates_nothing() {
    let mut bridge = Bridge::new(Vec::new());
    bridge.deliver(Stage::Thinking, "");
    let before = bridge.progress.clone();
    bridge.deliver(Stage::Final, "whole");
    // Another process knows only the stored progress.
    bridge.progress = before;
    assert_eq!(bridge.deliver(Stage::Final, "whole"), End::Done);
    assert_eq!(bridge.platform.texts(), ["whole"]);
}
