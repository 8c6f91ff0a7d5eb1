//! Replies: of any length, with final values that stay.

use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use tieline_core::agent::{AgentEvent, AgentFailure, AskedQuestion, Draft, MAX_ANSWER_BYTES, Resume};
use tieline_core::ids::ReplyId;
use tieline_core::notice::Notice;
use tieline_core::reply::{FilesProgress, Progress, ReplyFile, Stage};
use tieline_store::erase;
use tieline_store::reply::{self, Outcome, ReplyRecord};
use tieline_store::{Store, StoreError};

use crate::tables::{DAY, Fresh, NOW, at, fresh, lease, message, owner, race, reply, with_other_key};

async fn load(store: &Store) -> ReplyRecord {
    reply::get(store, &ReplyId::new("tl-1"), NOW).await.unwrap().unwrap()
}

async fn save(
    store: &Store,
    before: Option<&ReplyRecord>,
    with: impl FnOnce(&mut ReplyRecord),
) -> Result<ReplyRecord, StoreError> {
    let mut after = before.cloned().unwrap_or_else(|| reply("1"));
    with(&mut after);
    reply::save(store, before, &mut after, NOW).await.map(|()| after)
}

fn say(stage: Stage, text: &str) -> impl FnOnce(&mut ReplyRecord) {
    move |it| {
        it.stage = stage;
        it.text = text.to_owned();
    }
}

/// A question to the person, as the answer's text ends with it.
fn asked(prompt: &str) -> Option<AskedQuestion> {
    let mut draft = Draft::default();
    draft.apply(&AgentEvent::InputRequired {
        prompt: prompt.into(),
        choices: Vec::new(),
        resume_ref: None,
    });
    draft.question
}

fn refused<T: std::fmt::Debug>(outcome: &Result<T, StoreError>) -> bool {
    matches!(outcome, Err(StoreError::Conflict))
}

#[tokio::test]
async fn a_reply_round_trips() {
    let it = fresh().await;
    let first = save(&it.store, None, |_| {}).await.unwrap();
    assert_eq!(first.version, 1);
    assert_eq!(load(&it.store).await, first);
    let failure = AgentFailure {
        code: "http_500".into(),
        message: "agent is down".into(),
        retryable: true,
    };
    let second = save(&it.store, Some(&first), |it| {
        it.stage = Stage::Final;
        it.text = "你好 😀".into();
        it.reasoning = "hm".into();
        it.sent_files = FilesProgress {
            settled: 1,
            as_links: vec![0],
            current: Progress::write(&"key"),
            ..FilesProgress::default()
        };
        it.files = vec![ReplyFile {
            url: "https://example.com/a".into(),
            name: "a".into(),
            mime: "text/plain".into(),
        }];
        it.question = asked("Send it?");
        it.notice = Some(Notice::Incomplete);
        it.outcome = Some(Outcome::Failed(failure));
        it.progress = Progress::write(&serde_json::json!({"card": "c", "ratio": 0.1, "none": null, "n": 3}));
        it.pace.sent(at(1));
        it.pace.slowed(None, at(1), Duration::from_secs(2));
        it.same_as = Some(ReplyId::new("tl-2"));
        it.resume = Some(Resume {
            run_ref: "r".into(),
            cursor: None,
        });
        it.delivered = true;
        it.lease = Some(lease(&owner("a", "1"), 3, at(30)));
        it.fence = 3;
    })
    .await
    .unwrap();
    assert_eq!(second.version, 2);
    assert_eq!(load(&it.store).await, second);
    let emptied = save(&it.store, Some(&second), |it| {
        it.notice = None;
        it.resume = None;
        it.lease = None;
        it.delivered = false;
    })
    .await
    .unwrap();
    assert_eq!(load(&it.store).await, emptied);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_save_wins_per_version() {
    let it = fresh().await;
    let first = save(&it.store, None, |_| {}).await.unwrap();
    let saves = (0..20).map(|n| {
        let (store, first) = (it.store.clone(), first.clone());
        async move { save(&store, Some(&first), say(Stage::Growing, &n.to_string())).await }
    });
    let outcomes = race(saves).await;
    assert_eq!(outcomes.iter().filter(|outcome| refused(outcome)).count(), 19);
    let winner = outcomes.into_iter().find_map(Result::ok).unwrap();
    assert_eq!(load(&it.store).await, winner);
    assert!(refused(&save(&it.store, None, |_| {}).await));
}

#[tokio::test]
async fn late_growing_text_does_not_replace_the_final_text() {
    let it = fresh().await;
    let first = save(&it.store, None, say(Stage::Growing, "a")).await.unwrap();
    let last = save(&it.store, Some(&first), say(Stage::Final, "abc")).await.unwrap();
    assert!(refused(&save(&it.store, Some(&first), say(Stage::Growing, "ab")).await));
    assert!(refused(&save(&it.store, Some(&last), say(Stage::Growing, "ab")).await));
    assert!(refused(&save(&it.store, Some(&last), say(Stage::Thinking, "")).await));
    assert_eq!(load(&it.store).await, last);
}

#[tokio::test]
async fn holder_with_an_old_fence_is_refused() {
    let it = fresh().await;
    let first = save(&it.store, None, |it| it.fence = 1).await.unwrap();
    let newer = save(&it.store, Some(&first), |it| it.fence = 2).await.unwrap();
    assert!(refused(&save(&it.store, Some(&newer), |it| it.fence = 1).await));
    assert_eq!(load(&it.store).await, newer);
}

#[tokio::test(flavor = "multi_thread")]
async fn polling_is_closed_once() {
    let it = fresh().await;
    let first = save(&it.store, None, say(Stage::Growing, "a")).await.unwrap();
    let closes = (0..20).map(|n| {
        let (store, id) = (it.store.clone(), first.id.clone());
        async move { reply::close(&store, &id, &Progress::write(&n), NOW).await.unwrap() }
    });
    let ends = race(closes).await;
    assert!(ends.iter().all(|end| *end == ends[0]));
    assert_eq!(load(&it.store).await.closed.as_ref(), Some(&ends[0]));
}

#[tokio::test]
async fn polling_can_be_closed_with_empty_progress() {
    let it = fresh().await;
    let first = save(&it.store, None, say(Stage::Growing, "a")).await.unwrap();
    let nothing = Progress::default();
    assert_eq!(
        reply::close(&it.store, &first.id, &nothing, NOW).await.unwrap(),
        nothing
    );
    assert_eq!(load(&it.store).await.closed, Some(nothing.clone()));
    let late = Progress::write(&1);
    assert_eq!(reply::close(&it.store, &first.id, &late, NOW).await.unwrap(), nothing);
}

#[tokio::test]
async fn closing_polling_does_not_conflict_with_the_runner() {
    let it = fresh().await;
    let first = save(&it.store, None, say(Stage::Growing, "a")).await.unwrap();
    let end = Progress::write(&"shown");
    reply::close(&it.store, &first.id, &end, NOW).await.unwrap();
    // The runner has not seen it, and doesn't undo it.
    let second = save(&it.store, Some(&first), say(Stage::Final, "ab")).await.unwrap();
    let now = load(&it.store).await;
    assert_eq!(now.closed, Some(end));
    assert_eq!((now.version, now.text.as_str()), (second.version, "ab"));
    let cleared = save(&it.store, Some(&now), |it| it.closed = None).await.unwrap();
    assert_eq!(cleared.closed, now.closed);
    assert_eq!(load(&it.store).await.closed, now.closed);
}

#[tokio::test]
async fn only_an_existing_reply_can_be_closed() {
    let it = fresh().await;
    let (id, end) = (ReplyId::new("tl-1"), Progress::write(&1));
    assert!(refused(&reply::close(&it.store, &id, &end, NOW).await));
    save(&it.store, None, |_| {}).await.unwrap();
    assert!(refused(&reply::close(&it.store, &id, &end, NOW.after(DAY * 7)).await));
}

#[tokio::test]
async fn reply_to_show_instead_is_set_once() {
    let it = fresh().await;
    let first = save(&it.store, None, |_| {}).await.unwrap();
    let other = Some(ReplyId::new("tl-2"));
    let merged = save(&it.store, Some(&first), |it| it.same_as.clone_from(&other))
        .await
        .unwrap();
    let cleared = save(&it.store, Some(&merged), |it| it.same_as = None).await.unwrap();
    assert_eq!(cleared.same_as, other);
    assert_eq!(load(&it.store).await.same_as, other);
}

/// A redriven message may be dispatched to another conversation, whose lease was acquired less often.
#[tokio::test]
async fn restarted_reply_resets_its_fencing_token() {
    let it = fresh().await;
    let mut before = reply("r");
    before.fence = 1800;
    reply::save(&it.store, None, &mut before, NOW).await.unwrap();
    let mut restarted = ReplyRecord {
        fence: 0,
        ..before.clone()
    };
    reply::restart(&it.store, &before, &mut restarted, NOW).await.unwrap();
    let mut held = ReplyRecord {
        fence: 2,
        ..restarted.clone()
    };
    reply::save(&it.store, Some(&restarted), &mut held, NOW).await.unwrap();
}

#[tokio::test]
async fn restarted_reply_starts_from_the_beginning() {
    let it = fresh().await;
    let last = save(&it.store, None, say(Stage::Final, "sorry")).await.unwrap();
    reply::close(&it.store, &last.id, &Progress::write(&1), NOW)
        .await
        .unwrap();
    let before = load(&it.store).await;
    let mut restarted = ReplyRecord {
        version: before.version,
        ..reply("1")
    };
    reply::restart(&it.store, &before, &mut restarted, NOW).await.unwrap();
    assert_eq!(restarted.version, 2);
    assert_eq!(load(&it.store).await, restarted);
    assert!(refused(&reply::restart(&it.store, &before, &mut restarted, NOW).await));
}

/// The attribute that stores the outcome.
async fn kept_outcome(it: &Fresh) -> AttributeValue {
    let call = it.client.get_item().table_name(&it.tables.state);
    let call = call.key("pk", AttributeValue::S("RPL#tl-1".to_owned()));
    let found = call
        .key("sk", AttributeValue::S("RPL".to_owned()))
        .send()
        .await
        .unwrap();
    found.item.unwrap()["out"].clone()
}

fn failed(message: &str) -> Outcome {
    Outcome::Failed(AgentFailure {
        code: "own".to_owned(),
        message: message.to_owned(),
        retryable: false,
    })
}

#[tokio::test]
async fn message_of_a_failed_agent_is_sealed() {
    let it = fresh().await;
    let created = save(&it.store, None, |it| it.outcome = Some(failed("you said: hello")))
        .await
        .unwrap();
    assert!(!format!("{:?}", kept_outcome(&it).await).contains("hello"));
    assert_eq!(load(&it.store).await, created);
    let changed = save(&it.store, Some(&created), |it| {
        it.outcome = Some(failed("you said: hello again"))
    })
    .await
    .unwrap();
    assert!(!format!("{:?}", kept_outcome(&it).await).contains("hello"));
    assert_eq!(load(&it.store).await, changed);
}

#[tokio::test]
async fn unsealed_failure_message_of_an_earlier_version_is_read() {
    let it = fresh().await;
    save(&it.store, None, |it| it.outcome = Some(failed(""))).await.unwrap();
    let kept = kept_outcome(&it).await;
    let mut inner = kept.as_m().unwrap()["failed"].as_m().unwrap().clone();
    inner.insert("message".to_owned(), AttributeValue::S("as it was".to_owned()));
    let old = AttributeValue::M([("failed".to_owned(), AttributeValue::M(inner))].into());
    let call = it.client.update_item().table_name(&it.tables.state);
    let call = call.key("pk", AttributeValue::S("RPL#tl-1".to_owned()));
    let call = call.key("sk", AttributeValue::S("RPL".to_owned()));
    let call = call
        .update_expression("SET #o = :o")
        .expression_attribute_names("#o", "out");
    call.expression_attribute_values(":o", old).send().await.unwrap();
    assert_eq!(load(&it.store).await.outcome, Some(failed("as it was")));
}

#[tokio::test]
async fn longest_answer_round_trips() {
    let it = fresh().await;
    let text = "四字成语。abc\n\"".repeat(MAX_ANSWER_BYTES / 20);
    let first = save(&it.store, None, say(Stage::Growing, &text)).await.unwrap();
    assert_eq!(load(&it.store).await, first);
    let shorter = save(&it.store, Some(&first), say(Stage::Final, "short")).await.unwrap();
    assert_eq!(load(&it.store).await, shorter);
}

async fn n_pieces(it: &Fresh) -> usize {
    let mut start = None;
    let mut n_pieces = 0;
    loop {
        let page = it
            .client
            .scan()
            .table_name(&it.tables.state)
            .set_exclusive_start_key(start);
        let page = page.send().await.unwrap();
        let is_piece = |item: &&_| {
            let item: &std::collections::HashMap<String, AttributeValue> = item;
            item["sk"].as_s().unwrap() == "PIECE"
        };
        n_pieces += page.items().iter().filter(is_piece).count();
        start = page.last_evaluated_key;
        if start.is_none() {
            return n_pieces;
        }
    }
}

#[tokio::test]
async fn growing_text_is_not_written_again() {
    let it = fresh().await;
    let mut record = save(&it.store, None, |_| {}).await.unwrap();
    for n in 1..=6 {
        let text = "0123456789".repeat(8_000 * n);
        record = save(&it.store, Some(&record), |it| {
            it.stage = Stage::Growing;
            it.text = text;
            it.progress = Progress::write(&n);
        })
        .await
        .unwrap();
        assert_eq!(load(&it.store).await, record);
    }
    assert_eq!(n_pieces(&it).await, 480_000 / (64 * 1024));
}

/// Approximate size of a reply's own item: writes are charged by it.
async fn n_bytes_of_item(it: &Fresh) -> usize {
    let scan = it.client.scan().table_name(&it.tables.state).send().await.unwrap();
    let own = scan.items().iter().find(|item| item["sk"].as_s().unwrap() == "RPL");
    let bytes = |value: &AttributeValue| match value {
        AttributeValue::B(bytes) => bytes.as_ref().len(),
        AttributeValue::S(text) => text.len(),
        _ => 8,
    };
    let parts = |value: &AttributeValue| match value {
        AttributeValue::M(fields) => fields.values().map(bytes).sum(),
        other => bytes(other),
    };
    own.unwrap().iter().map(|(name, value)| name.len() + parts(value)).sum()
}

#[tokio::test]
async fn progress_of_a_long_final_text_is_recorded_without_the_text() {
    let it = fresh().await;
    let text = "0123456789".repeat(300);
    let growing = save(&it.store, None, say(Stage::Growing, &text)).await.unwrap();
    assert_eq!(n_pieces(&it).await, 0, "what grows is written again anyway");
    let mut record = save(&it.store, Some(&growing), say(Stage::Final, &text)).await.unwrap();
    for n in 1..4 {
        let progress = Progress::write(&n);
        record = save(&it.store, Some(&record), |it| it.progress = progress)
            .await
            .unwrap();
        assert_eq!(load(&it.store).await, record);
        assert_eq!(n_pieces(&it).await, 1);
        assert!(n_bytes_of_item(&it).await < 1024);
    }
}

#[tokio::test]
async fn a_final_text_is_kept_as_long_as_its_reply() {
    let it = fresh().await;
    let text = "0123456789".repeat(300);
    let mut before = save(&it.store, None, say(Stage::Final, &text)).await.unwrap();
    for (day, n_written) in [(0, 1), (3, 2)] {
        let mut after = before.clone();
        after.progress = Progress::write(&day);
        let now = NOW.after(DAY * day);
        reply::save(&it.store, Some(&before), &mut after, now).await.unwrap();
        let found = reply::get(&it.store, &before.id, now).await.unwrap();
        assert_eq!(found.as_ref(), Some(&after));
        assert_eq!(n_pieces(&it).await, n_written);
        before = after;
    }
}

#[tokio::test]
async fn a_lost_race_does_not_change_a_long_text() {
    let it = fresh().await;
    let long = |letter: &str| letter.repeat(200_000);
    let first = save(&it.store, None, say(Stage::Growing, &long("a"))).await.unwrap();
    let second = save(&it.store, Some(&first), say(Stage::Growing, &long("b")))
        .await
        .unwrap();
    assert!(refused(
        &save(&it.store, Some(&first), say(Stage::Growing, &long("c"))).await
    ));
    assert_eq!(load(&it.store).await, second);
}

#[tokio::test]
async fn expired_reply_is_absent_and_can_be_created_again() {
    let it = fresh().await;
    let first = save(&it.store, None, say(Stage::Final, &"a".repeat(200_000)))
        .await
        .unwrap();
    let later = NOW.after(DAY * 7);
    assert_eq!(
        reply::get(&it.store, &first.id, later.before(DAY)).await.unwrap(),
        Some(first.clone())
    );
    assert_eq!(reply::get(&it.store, &first.id, later).await.unwrap(), None);
    let mut restarted = reply("1");
    reply::save(&it.store, None, &mut restarted, later).await.unwrap();
    assert_eq!(reply::get(&it.store, &first.id, later).await.unwrap(), Some(restarted));
}

#[tokio::test]
async fn sealed_body_can_not_be_opened_with_another_key_or_for_another_reply() {
    let it = fresh().await;
    let secret = "what was said";
    save(&it.store, None, say(Stage::Final, secret)).await.unwrap();
    let other = reply::get(&with_other_key(&it), &ReplyId::new("tl-1"), NOW).await;
    assert!(matches!(other, Err(StoreError::Unsealable)));
    let scan = it.client.scan().table_name(&it.tables.state).send().await.unwrap();
    let mut item = scan.items()[0].clone();
    assert!(!format!("{item:?}").contains(secret));
    let moved = aws_sdk_dynamodb::types::AttributeValue::S("RPL#tl-2".into());
    item.insert("pk".into(), moved);
    let put = it.client.put_item().table_name(&it.tables.state).set_item(Some(item));
    put.send().await.unwrap();
    let moved = reply::get(&it.store, &ReplyId::new("tl-2"), NOW).await;
    assert!(matches!(moved, Err(StoreError::Unsealable)));
}

/// A process that was frozen since before a message was erased writes neither its first reply nor a newer version of it.
#[tokio::test]
async fn reply_of_an_erased_message_is_not_written() {
    let it = fresh().await;
    for is_stored in [false, true] {
        let message = message(if is_stored { "1" } else { "2" });
        let mut before = ReplyRecord {
            id: message.reply.clone(),
            text: "an answer".to_owned(),
            ..reply("1")
        };
        if is_stored {
            reply::save(&it.store, None, &mut before, NOW).await.unwrap();
        }
        erase::message(&it.store, &message.organization, &message, &[], NOW)
            .await
            .unwrap();
        let mut late = ReplyRecord {
            text: "a longer answer".to_owned(),
            fence: 9,
            ..before.clone()
        };
        let known = is_stored.then_some(&before);
        let saved = reply::save(&it.store, known, &mut late, at(60)).await;
        assert!(matches!(saved, Err(StoreError::Conflict)), "{saved:?}");
        let left = reply::get(&it.store, &message.reply, at(60)).await.unwrap().unwrap();
        assert!(
            left.delivered && left.text.is_empty() && left.asker.as_str().is_empty(),
            "{left:?}"
        );
    }
}
