//! Clients of the tables: over the network, or in the same process.

use std::fmt;
use std::sync::Arc;

use aws_sdk_dynamodb::error::{BuildError, SdkError};
use aws_sdk_dynamodb::operation::batch_get_item::builders::BatchGetItemInputBuilder;
use aws_sdk_dynamodb::operation::batch_get_item::{BatchGetItemInput, BatchGetItemOutput};
use aws_sdk_dynamodb::operation::get_item::builders::GetItemInputBuilder;
use aws_sdk_dynamodb::operation::get_item::{GetItemError, GetItemInput, GetItemOutput};
use aws_sdk_dynamodb::operation::put_item::builders::PutItemInputBuilder;
use aws_sdk_dynamodb::operation::put_item::{PutItemInput, PutItemOutput};
use aws_sdk_dynamodb::operation::query::builders::QueryInputBuilder;
use aws_sdk_dynamodb::operation::query::{QueryInput, QueryOutput};
use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemInputBuilder;
use aws_sdk_dynamodb::operation::update_item::{UpdateItemInput, UpdateItemOutput};
use aws_sdk_dynamodb::{Client, Error};
use futures_util::future::BoxFuture;

/// The result of a call in the same process. Its errors are those of the API, and are not retried.
pub type DirectCall<'a, A> = BoxFuture<'a, Result<A, Error>>;

/// Tables in the same process: the calls on the path of a message, without HTTP, JSON and the retries that a network needs.
pub trait DirectTables: fmt::Debug + Send + Sync {
    /// Reads an item.
    fn get_item(&self, asked: GetItemInput) -> DirectCall<'_, GetItemOutput>;
    /// Writes an item as a whole.
    fn put_item(&self, asked: PutItemInput) -> DirectCall<'_, PutItemOutput>;
    /// Changes an item.
    fn update_item(&self, asked: UpdateItemInput) -> DirectCall<'_, UpdateItemOutput>;
    /// Queries a page of a partition.
    fn query(&self, asked: QueryInput) -> DirectCall<'_, QueryOutput>;
    /// Reads items by their keys.
    fn batch_get_item(&self, asked: BatchGetItemInput) -> DirectCall<'_, BatchGetItemOutput>;
}

/// Calls the tables. Cheap to clone.
#[derive(Debug, Clone)]
pub struct TableClient {
    /// For rare calls, and for all calls over the network.
    pub(crate) sdk: Client,
    direct: Option<Arc<dyn DirectTables>>,
}

impl From<Client> for TableClient {
    fn from(sdk: Client) -> Self {
        Self { sdk, direct: None }
    }
}

impl TableClient {
    /// Calls the same tables in-process where possible.
    #[must_use]
    pub fn directly(self, tables: Arc<dyn DirectTables>) -> Self {
        Self {
            direct: Some(tables),
            ..self
        }
    }

    pub(crate) async fn get_item(&self, asked: GetItemInputBuilder) -> Result<GetItemOutput, Error> {
        match &self.direct {
            Some(tables) => tables.get_item(asked.build().map_err(incomplete)?).await,
            None => Ok(Box::pin(asked.send_with(&self.sdk)).await?),
        }
    }

    pub(crate) async fn put_item(&self, asked: PutItemInputBuilder) -> Result<PutItemOutput, Error> {
        match &self.direct {
            Some(tables) => tables.put_item(asked.build().map_err(incomplete)?).await,
            None => Ok(Box::pin(asked.send_with(&self.sdk)).await?),
        }
    }

    pub(crate) async fn update_item(&self, asked: UpdateItemInputBuilder) -> Result<UpdateItemOutput, Error> {
        match &self.direct {
            Some(tables) => tables.update_item(asked.build().map_err(incomplete)?).await,
            None => Ok(Box::pin(asked.send_with(&self.sdk)).await?),
        }
    }

    pub(crate) async fn query(&self, asked: QueryInputBuilder) -> Result<QueryOutput, Error> {
        match &self.direct {
            Some(tables) => tables.query(asked.build().map_err(incomplete)?).await,
            None => Ok(Box::pin(asked.send_with(&self.sdk)).await?),
        }
    }

    pub(crate) async fn batch_get_item(&self, asked: BatchGetItemInputBuilder) -> Result<BatchGetItemOutput, Error> {
        match &self.direct {
            Some(tables) => tables.batch_get_item(asked.build().map_err(incomplete)?).await,
            None => Ok(Box::pin(asked.send_with(&self.sdk)).await?),
        }
    }
}

/// The error for a call that lacks a field, like that of the SDK's client.
fn incomplete(error: BuildError) -> Error {
    SdkError::<GetItemError>::construction_failure(error).into()
}
