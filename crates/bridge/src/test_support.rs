//! Support for unit tests: in-process tables and queues, and a bot of any connector.

mod fake_connector;
mod fake_platform;

use std::sync::Arc;

use aws_sdk_sqs::config::SharedHttpClient;
use tieline_core::account::{Account, ConnectionMode, Credentials, Endpoints, Prepared};
use tieline_core::connector::Connector;
use tieline_core::conversation::Owner;
use tieline_core::ids::{ConversationId, IdMint, IntegrationId, MessageId, OrganizationId, ReplyId, SenderId};
use tieline_core::notice::Language;
use tieline_core::outbound_url::PrivateEndpoints;
use tieline_core::thinking_display::ThinkingDisplay;
use tieline_core::timestamp::Timestamp;
use tieline_embedded::{ACCESS_KEY_ID, ENDPOINT_URL, Embedded, REGION, SECRET_ACCESS_KEY};
use tieline_queue::{Queues, definitions};
use tieline_store::reply::{About, ReplyRecord};
use tieline_store::{Keyring, Store, Tables, create_missing};

use crate::accounts::Bot;
use crate::clock::Clock;
use crate::world::{Registry, Settings, World};

pub(crate) use fake_connector::{FakeConnector, MAX_MEDIA_BYTES};
pub(crate) use fake_platform::{FakeDelivery, FakePlatform, WINDOW_CLOSED};

/// A process with embedded tables and queues of its own, and their engine.
pub(crate) async fn world(registry: Registry) -> (Embedded, World) {
    let engine = Embedded::in_memory(tieline_embedded::Options::default()).unwrap();
    let world = world_over(engine.http_client(), registry).await;
    (engine, world)
}

/// A process whose tables and queues are reached through `client`.
pub(crate) async fn world_over(client: SharedHttpClient, registry: Registry) -> World {
    let (dynamo, sqs) = clients(client);
    let tables = Tables::with_prefix("test-");
    create_missing(&dynamo, &tables).await.unwrap();
    let urls = definitions::create_missing(&sqs, "test-", 1).await.unwrap();
    let owner = Owner {
        node: "test".to_owned(),
        life: "1".to_owned(),
    };
    let settings = Settings {
        allow_private: PrivateEndpoints::Allowed,
        ..Settings::new("https://bridge.example".to_owned(), owner)
    };
    let store = Store::new(dynamo, tables, Keyring::new([7; 32]));
    World::new(store, Queues::new(sqs, urls), registry, Clock::system(), settings)
}

/// Clients of the tables and the queues that are reached through `client`.
pub(crate) fn clients(client: SharedHttpClient) -> (aws_sdk_dynamodb::Client, aws_sdk_sqs::Client) {
    let credentials = aws_sdk_sqs::config::Credentials::new(ACCESS_KEY_ID, SECRET_ACCESS_KEY, None, None, "test");
    let sdk = aws_config::SdkConfig::builder()
        .behavior_version(aws_config::BehaviorVersion::latest())
        .region(aws_config::Region::from_static(REGION))
        .endpoint_url(ENDPOINT_URL)
        .credentials_provider(aws_sdk_sqs::config::SharedCredentialsProvider::new(credentials))
        .http_client(client)
        .build();
    (aws_sdk_dynamodb::Client::new(&sdk), aws_sdk_sqs::Client::new(&sdk))
}

/// A bot without credentials.
pub(crate) fn bot(connector: &'static dyn Connector, mode: ConnectionMode, streaming: bool) -> Bot {
    let account = Account {
        integration: IntegrationId::new("int_1"),
        organization: OrganizationId::new("default"),
        mode,
        credentials: Credentials::default(),
        prepared: Prepared::new(()),
        endpoints: Endpoints::default(),
        language: Language::English,
        streaming,
        thinking: ThinkingDisplay::default(),
        ids: IdMint::new(&[7; 32]),
        allow_private: true,
    };
    Bot {
        connector,
        account: Arc::new(account),
        account_mark: None,
    }
}

/// The record of a reply that says nothing yet.
pub(crate) fn blank_reply(received_at: Timestamp) -> ReplyRecord {
    ReplyRecord::blank(&About {
        reply: &ReplyId::new("tl-1"),
        organization: &OrganizationId::new("default"),
        integration: &IntegrationId::new("int_1"),
        conversation: &ConversationId::new("cnv_1"),
        message: &MessageId::new("msg_1"),
        asker: &SenderId::new("lisi"),
        received_at,
    })
}
