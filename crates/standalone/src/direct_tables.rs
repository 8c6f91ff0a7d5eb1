//! Adapter that lets the store call the embedded tables directly, without an SDK client in between.

use aws_sdk_dynamodb::operation::batch_get_item::{BatchGetItemInput, BatchGetItemOutput};
use aws_sdk_dynamodb::operation::get_item::{GetItemInput, GetItemOutput};
use aws_sdk_dynamodb::operation::put_item::{PutItemInput, PutItemOutput};
use aws_sdk_dynamodb::operation::query::{QueryInput, QueryOutput};
use aws_sdk_dynamodb::operation::update_item::{UpdateItemInput, UpdateItemOutput};
use tieline_embedded::DirectTables;
use tieline_store::DirectCall;

/// The embedded tables.
#[derive(Debug)]
pub(crate) struct EmbeddedTables(pub(crate) DirectTables);

impl tieline_store::DirectTables for EmbeddedTables {
    fn get_item(&self, asked: GetItemInput) -> DirectCall<'_, GetItemOutput> {
        Box::pin(self.0.get_item(asked))
    }

    fn put_item(&self, asked: PutItemInput) -> DirectCall<'_, PutItemOutput> {
        Box::pin(self.0.put_item(asked))
    }

    fn update_item(&self, asked: UpdateItemInput) -> DirectCall<'_, UpdateItemOutput> {
        Box::pin(self.0.update_item(asked))
    }

    fn query(&self, asked: QueryInput) -> DirectCall<'_, QueryOutput> {
        Box::pin(self.0.query(asked))
    }

    fn batch_get_item(&self, asked: BatchGetItemInput) -> DirectCall<'_, BatchGetItemOutput> {
        Box::pin(self.0.batch_get_item(asked))
    }
}
