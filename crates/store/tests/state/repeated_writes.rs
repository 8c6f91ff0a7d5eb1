//! Writes whose answer was lost: the client repeats them, and what was erased in between doesn't come back.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::{BehaviorVersion, Credentials, Region};
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_runtime_api::http::StatusCode;
use aws_smithy_types::body::SdkBody;
use futures_util::future::BoxFuture;
use tieline_core::ids::SenderId;
use tieline_embedded::{ACCESS_KEY_ID, ENDPOINT_URL, Embedded, Options, REGION, SECRET_ACCESS_KEY};
use tieline_store::config::user::{self, User};
use tieline_store::file;
use tieline_store::reply::{self, ReplyRecord};
use tieline_store::{Keyring, Store, StoreError, Tables, create_missing, erase, scheduled};

use crate::scheduled::{later, left};
use crate::tables::{NOW, integration, message, organization, reply};

/// Erases what was just stored. Returns whether it was there.
type Erasure = Arc<dyn Fn(Store) -> BoxFuture<'static, bool> + Send + Sync>;

/// A client that loses the answer to the write which has stored something. Before the client repeats that write, another process erases it.
#[derive(Clone)]
struct ErasedMeanwhile {
    inner: SharedHttpClient,
    other_process: Store,
    erase: Erasure,
    is_erased: Arc<AtomicBool>,
}

impl fmt::Debug for ErasedMeanwhile {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("ErasedMeanwhile")
    }
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
            if client.is_erased.load(Ordering::Relaxed) || !(client.erase)(client.other_process.clone()).await {
                return Ok(answer);
            }
            client.is_erased.store(true, Ordering::Relaxed);
            Ok(HttpResponse::new(StatusCode::try_from(500).unwrap(), SdkBody::empty()))
        })
    }
}

/// A client that keeps a copy of each write, for its late repetition.
#[derive(Clone)]
struct Recording {
    inner: SharedHttpClient,
    writes: Arc<Mutex<Vec<(SharedHttpConnector, HttpRequest)>>>,
}

impl fmt::Debug for Recording {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Recording")
    }
}

impl HttpClient for Recording {
    fn http_connector(&self, settings: &HttpConnectorSettings, components: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(RecordingConnector {
            inner: self.inner.http_connector(settings, components),
            client: self.clone(),
        })
    }
}

#[derive(Debug, Clone)]
struct RecordingConnector {
    inner: SharedHttpConnector,
    client: Recording,
}

impl HttpConnector for RecordingConnector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let target = request.headers().get("x-amz-target").unwrap_or_default();
        if target.ends_with("Item") && !target.ends_with("GetItem") {
            let copy = (self.inner.clone(), request.try_clone().unwrap());
            self.client.writes.lock().unwrap().push(copy);
        }
        self.inner.call(request)
    }
}

/// The store of a process that calls the tables through `http`.
async fn store_of(http: SharedHttpClient) -> Store {
    let config = aws_sdk_dynamodb::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(REGION))
        .credentials_provider(Credentials::new(ACCESS_KEY_ID, SECRET_ACCESS_KEY, None, None, "test"))
        .endpoint_url(ENDPOINT_URL);
    let tables = Tables::with_prefix("test-");
    let client = Client::from_conf(config.http_client(http).build());
    create_missing(&client, &tables).await.unwrap();
    Store::new(client, tables, Keyring::new([7; 32]))
}

/// Stores something that is erased before the client repeats the write. Returns the store of the other process.
async fn store_while_erased(engine: &Embedded, store_it: impl AsyncFnOnce(&Store), erase: Erasure) -> Store {
    let other_process = store_of(engine.http_client()).await;
    let erased = ErasedMeanwhile {
        inner: engine.http_client(),
        other_process: other_process.clone(),
        erase,
        is_erased: Arc::default(),
    };
    let store = store_of(SharedHttpClient::new(erased.clone())).await;
    store_it(&store).await;
    assert!(erased.is_erased.load(Ordering::Relaxed));
    other_process
}

#[tokio::test]
async fn erased_scheduled_message_does_not_come_back() {
    let erase: Erasure = Arc::new(|store| {
        Box::pin(async move {
            let stored = scheduled::get(&store, &organization(), "sch_1", NOW).await.unwrap();
            let Some(stored) = stored else { return false };
            scheduled::delete(&store, &stored).await.unwrap();
            true
        })
    });
    let create = async |store: &Store| scheduled::create(store, &later()).await.unwrap();
    let engine = Embedded::in_memory(Options::default()).unwrap();
    let store = store_while_erased(&engine, create, erase).await;
    assert_eq!(left(&store).await, (0, false));
}

fn lisi() -> User {
    User::first_contact(&organization(), &integration(), "wecom", &SenderId::new("lisi"), NOW)
}

#[tokio::test]
async fn erased_person_does_not_come_back() {
    let erase: Erasure = Arc::new(|store| {
        Box::pin(async move {
            let stored = user::get(&store, &organization(), &lisi().id).await.unwrap();
            let Some(stored) = stored else { return false };
            user::delete(&store, &stored).await.unwrap();
            true
        })
    });
    let ensure = async |store: &Store| {
        user::ensure(store, &lisi()).await.unwrap();
    };
    let engine = Embedded::in_memory(Options::default()).unwrap();
    let store = store_while_erased(&engine, ensure, erase).await;
    assert_eq!(user::get(&store, &organization(), &lisi().id).await.unwrap(), None);
}

/// A process that has read the message before stores its attachment while the rest of it is erased.
#[tokio::test]
async fn file_stored_during_the_erasure_of_its_message_is_erased() {
    let (id, label) = ("fil_1", (None, "image/png"));
    let was_there = Arc::new(AtomicBool::new(false));
    let n_calls_since = Arc::new(AtomicUsize::new(0));
    let store_again: Erasure = Arc::new(move |store| {
        let (was_there, n_calls_since) = (Arc::clone(&was_there), Arc::clone(&n_calls_since));
        Box::pin(async move {
            if file::size(&store, id, NOW).await.unwrap().is_some() {
                was_there.store(true, Ordering::Relaxed);
                return false;
            }
            // Not after the first deletion, which is repeated.
            if !was_there.load(Ordering::Relaxed) || n_calls_since.fetch_add(1, Ordering::Relaxed) < 1 {
                return false;
            }
            file::put(&store, id, label, b"png", later().at).await.unwrap();
            true
        })
    });
    let erase_it = async |store: &Store| {
        file::put(store, id, label, b"png", later().at).await.unwrap();
        erase::message(store, &organization(), &message("1"), &[id.to_owned()], NOW)
            .await
            .unwrap();
    };
    let engine = Embedded::in_memory(Options::default()).unwrap();
    let store = store_while_erased(&engine, erase_it, store_again).await;
    assert_eq!(file::size(&store, id, NOW).await.unwrap(), None);
}

/// Every write of the erasure takes effect once more, the last one first, and only then the first write of a process that was frozen before it.
#[tokio::test]
async fn reply_stays_erased_after_late_repetitions() {
    let engine = Embedded::in_memory(Options::default()).unwrap();
    let recording = Recording {
        inner: engine.http_client(),
        writes: Arc::default(),
    };
    let store = store_of(SharedHttpClient::new(recording.clone())).await;
    let message = message("1");
    let first = ReplyRecord {
        id: message.reply.clone(),
        ..reply("1")
    };
    reply::save(&store, None, &mut first.clone(), NOW).await.unwrap();
    recording.writes.lock().unwrap().clear();
    erase::message(&store, &organization(), &message, &[], NOW)
        .await
        .unwrap();
    let late = std::mem::take(&mut *recording.writes.lock().unwrap());
    assert!(!late.is_empty());
    for (connector, request) in late.into_iter().rev() {
        connector.call(request).await.unwrap();
    }
    let saved = reply::save(&store, None, &mut first.clone(), NOW).await;
    assert!(matches!(saved, Err(StoreError::Conflict)), "{saved:?}");
}
