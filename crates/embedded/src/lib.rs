//! In-process DynamoDB and SQS, for the standalone program and for tests.
//!
//! [`Embedded`] serves the two protocols from files in one directory, or from memory: tables by the engine of the crate
//! `dynoxide-rs`, queues by an engine of our own, both on SQLite. Ordinary AWS SDK clients reach it without a socket through
//! [`Embedded::http_client`], with less work through [`Embedded::direct_tables`], other programs through [`Embedded::serve`]:
//!
//! ```no_run
//! # fn f() -> Result<(), tieline_embedded::OpenError> {
//! use tieline_embedded::{Embedded, ENDPOINT_URL, Options};
//!
//! let embedded = Embedded::open("tieline-data".as_ref(), Options::default())?;
//! let http_client = embedded.http_client();
//! // aws_sdk_sqs::Config::builder().http_client(http_client).endpoint_url(ENDPOINT_URL), and
//! // .region(REGION), .credentials_provider(Credentials::new(ACCESS_KEY_ID, SECRET_ACCESS_KEY, None, None, "embedded"))
//! # Ok(())
//! # }
//! ```
//!
//! Acknowledged writes survive the death of the process at any moment; see [`Durability`] for the death of the machine.

mod alive;
mod answer;
mod clock;
mod connector;
mod dynamodb;
mod embedded;
mod engines;
mod observer;
mod open;
mod server;
mod sqs;

pub use self::clock::Clock;
pub use self::dynamodb::DirectTables;
pub use self::embedded::{ACCESS_KEY_ID, Embedded, REGION, SECRET_ACCESS_KEY};
pub use self::engines::ENDPOINT_URL;
pub use self::observer::{CrashPoint, Moment, Observer, Service, Verdict};
pub use self::open::{Durability, InHand, OpenError, Options, StorageThread};

use self::answer::Answer;
