//! Items written by an earlier version must stay readable: these are not made by the code under test.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use tieline_core::conversation::{RunPhase, StopCause};
use tieline_core::event::ChatKind;
use tieline_core::ids::{IntegrationId, MessageId};
use tieline_core::message_state::MessageState;
use tieline_store::status::ConnectionState;
use tieline_store::{StoreError, conversation, message, status};

use crate::tables::{Fresh, NOW, at, conversation_key, fresh};

fn text(value: &str) -> AttributeValue {
    AttributeValue::S(value.to_owned())
}

fn number(value: i64) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

fn map<const N: usize>(fields: [(&str, AttributeValue); N]) -> HashMap<String, AttributeValue> {
    HashMap::from(fields.map(|(name, value)| (name.to_owned(), value)))
}

async fn put<const N: usize>(it: &Fresh, fields: [(&str, AttributeValue); N]) {
    let call = it.client.put_item().table_name(&it.tables.state);
    call.set_item(Some(map(fields))).send().await.unwrap();
}

#[tokio::test]
async fn first_message() {
    let it = fresh().await;
    let step = map([("a", number(4_000_000_000_000)), ("s", text("received"))]);
    put(
        &it,
        [
            ("pk", text("MSG#msg_1")),
            ("sk", text("MSG")),
            ("v", text("1")),
            ("ttl", number(4_002_592_000)),
            ("rp", text("tl-1")),
            ("o", text("default")),
            ("i", text("int_1")),
            ("pm", text("1")),
            ("at", number(4_000_000_000_000)),
            ("st", text("queued")),
            ("ev", text("c2VhbGVk")),
            ("steps", AttributeValue::L(vec![AttributeValue::M(step)])),
            ("rd", number(0)),
            ("n", number(1)),
        ],
    )
    .await;
    let found = message::get(&it.store, &MessageId::new("msg_1"), NOW)
        .await
        .unwrap()
        .unwrap();
    assert_eq!((found.state, found.received_at), (MessageState::Queued, NOW));
    assert_eq!((found.steps.len(), found.event.as_str()), (1, "c2VhbGVk"));
}

#[tokio::test]
async fn first_conversation() {
    let it = fresh().await;
    let key = conversation_key("room");
    let chat = map([("kind", text("direct")), ("id", text("room"))]);
    let stored_key = map([
        ("organization", text("default")),
        ("integration", text("int_1")),
        ("chat", AttributeValue::M(chat)),
        ("sender", text("lisi")),
    ]);
    let waiting = map([
        ("message", text("msg_2")),
        ("since", number(4_000_000_000_000)),
        ("session", number(1)),
    ]);
    let run = map([
        ("id", text("run_1")),
        ("messages", AttributeValue::L(vec![text("msg_1")])),
        ("session", number(1)),
        ("first", AttributeValue::Bool(true)),
        ("agent", text("agt_1")),
        ("attempt", number(1)),
        ("started_at", number(4_000_000_000_000)),
        ("phase", text("calling")),
        ("stop", text("stopped")),
    ]);
    let lease = map([
        ("o", text("a")),
        ("l", text("1")),
        ("f", number(3)),
        ("x", number(4_000_000_030_000)),
    ]);
    put(
        &it,
        [
            ("pk", text(&format!("CNV#{}", key.id()))),
            ("sk", text("CNV")),
            ("v", text("1")),
            ("key", AttributeValue::M(stored_key)),
            ("n", number(4)),
            ("pend", AttributeValue::L(vec![AttributeValue::M(waiting)])),
            ("run", AttributeValue::M(run)),
            ("lease", AttributeValue::M(lease)),
            ("at", number(4_000_000_000_000)),
        ],
    )
    .await;
    let found = conversation::load(&it.store, &key.id(), NOW).await.unwrap().unwrap();
    assert_eq!(
        (found.key.chat.kind, found.version, found.pending.len()),
        (ChatKind::Direct, 4, 1)
    );
    let run = found.run.unwrap();
    assert_eq!((run.phase, run.stop), (RunPhase::Calling, Some(StopCause::Stopped)));
    let lease = found.lease.unwrap();
    assert_eq!((lease.fence, lease.expires_at), (3, at(30)));
}

#[tokio::test]
async fn first_status() {
    let it = fresh().await;
    put(
        &it,
        [
            ("pk", text("STATUS#int_1")),
            ("sk", text("STATUS")),
            ("v", text("1")),
            ("state", text("needs_login")),
            ("last_event_at", number(4_000_000_000_000)),
        ],
    )
    .await;
    let found = status::get(&it.store, &IntegrationId::new("int_1")).await.unwrap();
    assert_eq!(
        (found.state, found.last_event_at),
        (Some(ConnectionState::NeedsLogin), Some(NOW))
    );
}

#[tokio::test]
async fn items_of_a_later_version_are_unreadable_and_not_misread() {
    let it = fresh().await;
    put(
        &it,
        [("pk", text("STATUS#int_1")), ("sk", text("STATUS")), ("v", text("2"))],
    )
    .await;
    let found = status::get(&it.store, &IntegrationId::new("int_1")).await;
    assert!(matches!(found, Err(StoreError::Unreadable { what: "status" })));
}
