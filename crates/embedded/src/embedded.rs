//! Opening, serving and closing both engines.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use aws_smithy_runtime_api::client::http::SharedHttpClient;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::alive::Alive;
use crate::connector::Client;
use crate::dynamodb::{DirectTables, Tables};
use crate::engines::Engines;
use crate::open::{OpenError, Options};
use crate::server;
use crate::sqs::Sqs;

/// Region for an SDK client.
pub const REGION: &str = "us-east-1";
/// Access key for an SDK client. Signatures are not checked.
pub const ACCESS_KEY_ID: &str = "embedded";
/// Secret that belongs to [`ACCESS_KEY_ID`]. Not secret.
pub const SECRET_ACCESS_KEY: &str = "embedded";

/// DynamoDB and SQS, open on one directory or in memory.
///
/// Closes when dropped; calls of clients that live longer then fail as if the server had gone.
#[derive(Debug)]
pub struct Embedded {
    engines: Arc<Engines>,
}

impl Embedded {
    /// Opens the directory `dir` exclusively, and creates it if it is missing.
    ///
    /// # Errors
    /// [`OpenError::InUse`] if another engine uses the directory, other variants if it can't be read or written. Blocks for a few
    /// milliseconds, or for seconds if the directory is in use.
    pub fn open(dir: &Path, options: Options) -> Result<Self, OpenError> {
        fs::create_dir_all(dir).map_err(OpenError::Directory)?;
        // The queues first: the lock on their file protects the tables too.
        Self::start(Some(dir), options)
    }

    /// Opens new, empty engines in memory.
    ///
    /// # Errors
    /// [`OpenError`] if the operating system has no memory or no thread left.
    pub fn in_memory(options: Options) -> Result<Self, OpenError> {
        Self::start(None, options)
    }

    fn start(dir: Option<&Path>, options: Options) -> Result<Self, OpenError> {
        let Options {
            durability,
            clock,
            in_hand,
            thread,
            observer,
        } = options;
        let queues = dir.map(|dir| dir.join("queues.sqlite"));
        let has_ended = watch::Sender::new(false);
        let alive = || Alive::new(has_ended.clone());
        let sqs = Sqs::open(queues.as_deref(), durability, clock, in_hand, (thread, alive()))?;
        let tables = match Tables::open(
            dir.map(|d| d.join("tables.sqlite")).as_deref(),
            durability,
            (thread, alive()),
        ) {
            Ok(tables) => tables,
            Err(error) => {
                sqs.close();
                return Err(error);
            }
        };
        let engines = Engines {
            sqs,
            tables,
            observer,
            n_changes: AtomicU64::new(0),
            is_gone: watch::Sender::new(false),
            has_ended,
        };
        Ok(Self {
            engines: Arc::new(engines),
        })
    }

    /// HTTP client that brings the calls of `aws-sdk-dynamodb` and `aws-sdk-sqs` here without a socket.
    ///
    /// The client's configuration still needs an endpoint, a region and credentials; see [`crate::ENDPOINT_URL`], [`REGION`],
    /// [`ACCESS_KEY_ID`]. Its timeouts and retries work as usual.
    pub fn http_client(&self) -> SharedHttpClient {
        SharedHttpClient::new(Client::new(Arc::clone(&self.engines)))
    }

    /// The tables without an SDK client. `None` if there is an observer, because observers see requests of the protocol.
    #[must_use]
    pub fn direct_tables(&self) -> Option<DirectTables> {
        let is_observed = self.engines.observer.is_some();
        (!is_observed).then(|| DirectTables::new(Arc::clone(&self.engines)))
    }

    /// Serves both services over HTTP on `listener` until `shutdown` is ready and the requests in flight are answered.
    ///
    /// Waiting receives are then answered empty at once. Signatures are not checked: listen on the loopback address only.
    ///
    /// # Errors
    /// An IO error of the listener.
    pub async fn serve(
        &self,
        listener: TcpListener,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> std::io::Result<()> {
        server::serve(Arc::clone(&self.engines), listener, shutdown).await
    }

    /// Makes the queues check again what is due. Call it after a test's [`Clock`](crate::Clock) jumped.
    pub fn wake(&self) {
        self.engines.sqs.wake();
    }

    /// When the queue of this name can next deliver a message, in milliseconds of the queues' clock: now, if it has a visible one. `None`:
    /// not without another call.
    ///
    /// Only available if storage works on its [callers' threads](crate::StorageThread::Callers).
    pub fn next_message_ms(&self, queue: &str) -> Option<i64> {
        self.engines.sqs.next_message_ms(queue)
    }

    /// Waits until a storage thread has ended without [`close`](Self::close), for example because its file can't be read any more. Every
    /// call fails from then on; the log has the cause.
    pub async fn ended(&self) {
        // The sender lives as long as `self`, so nothing else can end the wait.
        let _ = self.engines.has_ended.subscribe().wait_for(|ended| *ended).await;
    }

    /// Finishes the calls queued so far, closes the files and ends. Later calls fail.
    pub async fn close(self) {
        let engines = Arc::clone(&self.engines);
        // Joins the storage threads, which may take as long as a checkpoint.
        if tokio::task::spawn_blocking(move || engines.close()).await.is_err() {
            tracing::error!("closing the storage panicked");
        }
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        self.engines.close();
    }
}
