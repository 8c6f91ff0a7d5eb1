//! The servers of tables and queues.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_sqs::config::{Credentials, SharedCredentialsProvider};
use tieline_embedded::{Embedded, Options};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// The region and key that emulated functions use; some servers keep separate data for each.
const REGION: &str = "us-east-1";
const KEY: &str = "test";

/// DynamoDB and SQS on the loopback address.
pub struct Servers {
    /// Address of DynamoDB.
    pub dynamodb: String,
    /// Address of SQS.
    pub sqs: String,
    own: Option<Own>,
}

/// The embedded engines, as a server.
struct Own {
    serving: JoinHandle<()>,
    _dir: tempfile::TempDir,
}

impl Drop for Own {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Servers {
    /// The embedded engines on a new directory.
    ///
    /// # Errors
    /// If they can't be opened, or no port is free.
    pub async fn embedded() -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let engine = Arc::new(Embedded::open(dir.path(), Options::default())?);
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let serving = tokio::spawn(async move {
            // It ends with the test.
            let _ = engine.serve(listener, std::future::pending()).await;
        });
        Ok(Self {
            dynamodb: url.clone(),
            sqs: url,
            own: Some(Own { serving, _dir: dir }),
        })
    }

    /// Independent servers, by the environment variables of `tests/oracles.sh`.
    ///
    /// # Errors
    /// If they have not been started.
    pub fn elsewhere() -> Result<Self> {
        let started = |name: &str| {
            let url = std::env::var(name).ok().filter(|url| !url.is_empty());
            url.with_context(|| {
                format!(
                    "{name} is not set: run `tests/oracles.sh install` once, then `eval \"$(tests/oracles.sh start)\"`"
                )
            })
        };
        Ok(Self {
            dynamodb: started("TIELINE_TEST_DYNAMODB_ENDPOINT")?,
            sqs: started("TIELINE_TEST_SQS_ENDPOINT")?,
            own: None,
        })
    }

    /// Whether they are independent servers.
    #[must_use]
    pub const fn is_elsewhere(&self) -> bool {
        self.own.is_none()
    }

    pub(super) fn dynamodb_client(&self) -> aws_sdk_dynamodb::Client {
        aws_sdk_dynamodb::Client::new(&sdk(&self.dynamodb))
    }

    pub(super) fn sqs_client(&self) -> aws_sdk_sqs::Client {
        aws_sdk_sqs::Client::new(&sdk(&self.sqs))
    }
}

fn sdk(endpoint: &str) -> SdkConfig {
    let credentials = Credentials::new(KEY, KEY, None, None, "test");
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::from_static(REGION))
        .endpoint_url(endpoint)
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .build()
}
