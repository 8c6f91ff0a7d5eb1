//! Scheduled messages: stored together with their place among those that are due.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::{BehaviorVersion, Credentials, Region};
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_runtime_api::http::StatusCode;
use aws_smithy_types::body::SdkBody;
use tieline_core::ids::{ChatId, IntegrationId};
use tieline_embedded::{ACCESS_KEY_ID, ENDPOINT_URL, Embedded, Options, REGION, SECRET_ACCESS_KEY};
use tieline_store::scheduled::{self, Audience, Content, Scheduled, State};
use tieline_store::{Keyring, Store, Tables, create_missing};

use crate::tables::{NOW, fresh, organization};

fn later() -> Scheduled {
    Scheduled {
        id: "sch_1".to_owned(),
        organization: organization(),
        integration: IntegrationId::new("int_1"),
        at: NOW.after(Duration::from_mins(1)),
        to: Audience::Chat(ChatId::new("ops")),
        content: Content::Text("stand-up".to_owned()),
        state: State::Waiting,
        n_said: 0,
        cursor: None,
        begun: false,
        created_at: NOW,
        version: 1,
    }
}

/// How many are due, and whether the message is stored.
async fn left(store: &Store) -> (usize, bool) {
    let due = scheduled::due(store, 10, NOW.after(Duration::from_hours(1)))
        .await
        .unwrap();
    let found = scheduled::get(store, &organization(), "sch_1", NOW).await.unwrap();
    (due.len(), found.is_some())
}

#[tokio::test]
async fn message_is_created_once() {
    let fresh = fresh().await;
    for _ in 0..2 {
        scheduled::create(&fresh.store, &later()).await.unwrap();
        assert_eq!(left(&fresh.store).await, (1, true));
    }
}

/// A client that loses the answer to the write which has stored the message. Before the client repeats that write, another process erases the message.
#[derive(Debug, Clone)]
struct ErasedMeanwhile {
    inner: SharedHttpClient,
    other_process: Store,
    is_erased: Arc<AtomicBool>,
}

impl HttpClient for ErasedMeanwhile {
    fn http_connector(&self, settings: &HttpConnectorSettings, components: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(Connector {
            inner: self.inner.http_connector(settings, components),
            client: self.clone(),
        })
    }
}

#[derive(Debug, Clone)]
struct Connector {
    inner: SharedHttpConnector,
    client: ErasedMeanwhile,
}

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let Self { inner, client } = self.clone();
        HttpConnectorFuture::new(async move {
            let answer = inner.call(request).await?;
            let store = &client.other_process;
            let stored = scheduled::get(store, &organization(), "sch_1", NOW).await.unwrap();
            let Some(stored) = stored.filter(|_| !client.is_erased.swap(true, Ordering::Relaxed)) else {
                return Ok(answer);
            };
            scheduled::delete(store, &stored).await.unwrap();
            Ok(HttpResponse::new(StatusCode::try_from(500).unwrap(), SdkBody::empty()))
        })
    }
}

#[tokio::test]
async fn erased_message_does_not_come_back_by_a_repeated_write() {
    let engine = Embedded::in_memory(Options::default()).unwrap();
    let config = aws_sdk_dynamodb::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(REGION))
        .credentials_provider(Credentials::new(ACCESS_KEY_ID, SECRET_ACCESS_KEY, None, None, "test"))
        .endpoint_url(ENDPOINT_URL);
    let tables = Tables::with_prefix("test-");
    let store_of = |http: SharedHttpClient| {
        let client = Client::from_conf(config.clone().http_client(http).build());
        (
            client.clone(),
            Store::new(client, tables.clone(), Keyring::new([7; 32])),
        )
    };
    let (client, other_process) = store_of(engine.http_client());
    create_missing(&client, &tables).await.unwrap();
    let erased = ErasedMeanwhile {
        inner: engine.http_client(),
        other_process: other_process.clone(),
        is_erased: Arc::default(),
    };
    let (_, store) = store_of(SharedHttpClient::new(erased.clone()));
    scheduled::create(&store, &later()).await.unwrap();
    assert!(erased.is_erased.load(Ordering::Relaxed));
    assert_eq!(left(&other_process).await, (0, false));
}
