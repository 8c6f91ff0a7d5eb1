//! Tables of one test, and fixtures for them.

use std::collections::HashMap;
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use tieline_core::conversation::{Conversation, ConversationKey, Lease, Owner, RunState};
use tieline_core::event::{Chat, ChatKind};
use tieline_core::ids::{
    AgentId, ChatId, ConversationId, IntegrationId, MessageId, OrganizationId, PlatformMessageId, ReplyId, RunId,
    SenderId,
};
use tieline_core::mailbox::Pending;
use tieline_core::message_state::{LedgerStep, MessageState};
use tieline_core::timestamp::Timestamp;
use tieline_embedded::{ACCESS_KEY_ID, ENDPOINT_URL, Embedded, Options, REGION, SECRET_ACCESS_KEY};
use tieline_store::message::MessageRecord;
use tieline_store::reply::{About, ReplyRecord};
use tieline_store::{Keyring, Store, Tables, create_missing};

/// Far in the future: a table deletes by its own clock what has expired.
pub(crate) const NOW: Timestamp = Timestamp::from_secs(4_000_000_000);
pub(crate) const DAY: Duration = Duration::from_hours(24);

/// A store with tables of its own. The engine lives as long as this.
pub(crate) struct Fresh {
    pub(crate) store: Store,
    pub(crate) client: Client,
    pub(crate) tables: Tables,
    _engine: Option<Embedded>,
}

/// Replaces the version of the key that has sealed the continuation items by one that no process has.
pub(crate) async fn lose_key_of_pieces(client: &Client, table: &str) {
    let all = client.scan().table_name(table).send().await.unwrap();
    let is_piece = |item: &&HashMap<String, AttributeValue>| item["sk"].as_s().unwrap() == "PIECE";
    for mut item in all.items().iter().filter(is_piece).cloned() {
        let mut sealed = item["b"].as_b().unwrap().clone().into_inner();
        sealed[0] = 5;
        item.insert("b".to_owned(), AttributeValue::B(Blob::new(sealed)));
        let put = client.put_item().table_name(table).set_item(Some(item));
        put.send().await.unwrap();
    }
}

pub(crate) async fn fresh() -> Fresh {
    let config = aws_sdk_dynamodb::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(REGION))
        .credentials_provider(Credentials::new(ACCESS_KEY_ID, SECRET_ACCESS_KEY, None, None, "test"));
    let (config, engine) = match std::env::var("TIELINE_TEST_DYNAMODB_ENDPOINT") {
        Ok(endpoint) => (config.endpoint_url(endpoint), None),
        Err(_) => {
            let engine = Embedded::in_memory(Options::default()).unwrap();
            let config = config.endpoint_url(ENDPOINT_URL).http_client(engine.http_client());
            (config, Some(engine))
        }
    };
    let client = Client::from_conf(config.build());
    let mut random = [0; 8];
    getrandom::fill(&mut random).unwrap();
    let tables = Tables::with_prefix(&format!("test-{:x}-", u64::from_ne_bytes(random)));
    create_missing(&client, &tables).await.unwrap();
    Fresh {
        store: Store::new(client.clone(), tables.clone(), Keyring::new([7; 32])),
        client,
        tables,
        _engine: engine,
    }
}

/// The same tables, opened with another key.
pub(crate) fn with_other_key(fresh: &Fresh) -> Store {
    Store::new(fresh.client.clone(), fresh.tables.clone(), Keyring::new([8; 32]))
}

pub(crate) fn organization() -> OrganizationId {
    OrganizationId::new("default")
}

pub(crate) fn integration() -> IntegrationId {
    IntegrationId::new("int_1")
}

pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_secs(4_000_000_000 + seconds)
}

pub(crate) fn message(name: &str) -> MessageRecord {
    MessageRecord {
        id: MessageId::new(format!("msg_{name}")),
        reply: ReplyId::new(format!("tl-{name}")),
        organization: organization(),
        integration: integration(),
        account: None,
        platform_message: PlatformMessageId::new(name),
        conversation: Some(ConversationId::new("cnv_1")),
        session: None,
        sender: None,
        received_at: NOW,
        state: MessageState::Queued,
        event: "c2VhbGVk".to_owned(),
        run: None,
        run_messages: Vec::new(),
        reason: None,
        steps: vec![LedgerStep::new(NOW, "received")],
        redrives: 0,
        version: 1,
    }
}

pub(crate) fn conversation_key(chat: &str) -> ConversationKey {
    ConversationKey {
        organization: organization(),
        integration: integration(),
        chat: Chat {
            kind: ChatKind::Direct,
            id: ChatId::new(chat),
            thread: None,
        },
        sender: Some(SenderId::new("lisi")),
    }
}

/// A conversation that is not in the table yet.
pub(crate) fn conversation(chat: &str) -> Conversation {
    Conversation::new(conversation_key(chat), NOW)
}

pub(crate) fn waiting(name: &str) -> Pending {
    Pending {
        message: MessageId::new(format!("msg_{name}")),
        since: NOW,
        session: 1,
        urgent: false,
        behind_run: false,
        sent_at: None,
        album: None,
    }
}

pub(crate) fn run_state(name: &str) -> RunState {
    let messages = vec![MessageId::new("msg_1")];
    RunState::new(
        RunId::new(format!("run_{name}")),
        messages,
        1,
        AgentId::new("agt_1"),
        NOW,
    )
}

pub(crate) fn owner(node: &str, life: &str) -> Owner {
    Owner {
        node: node.to_owned(),
        life: life.to_owned(),
    }
}

pub(crate) fn lease(owner: &Owner, fence: u64, expires_at: Timestamp) -> Lease {
    Lease {
        owner: owner.clone(),
        fence,
        expires_at,
    }
}

pub(crate) fn reply(name: &str) -> ReplyRecord {
    ReplyRecord::blank(&About {
        reply: &ReplyId::new(format!("tl-{name}")),
        organization: &organization(),
        integration: &integration(),
        conversation: &ConversationId::new("cnv_1"),
        message: &MessageId::new(format!("msg_{name}")),
        asker: &SenderId::new("lisi"),
        received_at: NOW,
    })
}

/// Runs all concurrently and returns the outcome of each.
pub(crate) async fn race<F>(contenders: impl IntoIterator<Item = F>) -> Vec<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    let running: Vec<_> = contenders.into_iter().map(tokio::spawn).collect();
    let mut outcomes = Vec::new();
    for task in running {
        outcomes.push(task.await.unwrap());
    }
    outcomes
}
