//! Tables and queues of one test, and processes over them.

use aws_sdk_sqs::config::Credentials;
use tieline_bridge::clock::Clock;
use tieline_bridge::world::{Settings, World};
use tieline_connectors::registry;
use tieline_core::conversation::Owner;
use tieline_embedded::{ACCESS_KEY_ID, ENDPOINT_URL, Embedded, Options, REGION, SECRET_ACCESS_KEY};
use tieline_queue::{Queues, Urls, definitions};
use tieline_store::{Keyring, Store, Tables, create_missing};

/// Tables and queues of one test.
pub(crate) struct Place {
    pub(crate) sqs: aws_sdk_sqs::Client,
    dynamo: aws_sdk_dynamodb::Client,
    tables: Tables,
    urls: Urls,
    _engine: Embedded,
}

impl Place {
    pub(crate) async fn new() -> Self {
        let engine = Embedded::in_memory(Options::default()).unwrap();
        let keys = Credentials::new(ACCESS_KEY_ID, SECRET_ACCESS_KEY, None, None, "test");
        let sdk = aws_config::SdkConfig::builder()
            .behavior_version(aws_config::BehaviorVersion::latest())
            .region(aws_config::Region::from_static(REGION))
            .endpoint_url(ENDPOINT_URL)
            .credentials_provider(aws_sdk_sqs::config::SharedCredentialsProvider::new(keys))
            .http_client(engine.http_client())
            .build();
        let (dynamo, sqs) = (aws_sdk_dynamodb::Client::new(&sdk), aws_sdk_sqs::Client::new(&sdk));
        let tables = Tables::with_prefix("test-");
        create_missing(&dynamo, &tables).await.unwrap();
        let urls = definitions::create_missing(&sqs, "test-", 1).await.unwrap();
        Self {
            sqs,
            dynamo,
            tables,
            urls,
            _engine: engine,
        }
    }

    /// The world of one more process.
    pub(crate) fn world(&self) -> World {
        let owner = Owner {
            node: "node".to_owned(),
            life: "life".to_owned(),
        };
        let mut settings = Settings::new("https://bridge.example".to_owned(), owner);
        settings.allow_private = true;
        World::new(
            Store::new(self.dynamo.clone(), self.tables.clone(), Keyring::new([7; 32])),
            Queues::new(self.sqs.clone(), self.urls.clone()),
            registry::ALL,
            Clock::system(),
            settings,
        )
    }
}
