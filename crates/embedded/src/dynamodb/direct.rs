//! Calls with the SDK's own types, but without its client, HTTP and JSON: these take more time than the tables themselves.
//!
//! Supports only what single items and queries need; conditions and filters as expressions, not in the API's legacy form.

use std::collections::HashMap;
use std::sync::Arc;

use aws_sdk_dynamodb::Error;
use aws_sdk_dynamodb::error::ErrorMetadata;
use aws_sdk_dynamodb::operation::batch_get_item::{BatchGetItemInput, BatchGetItemOutput};
use aws_sdk_dynamodb::operation::get_item::{GetItemError, GetItemInput, GetItemOutput};
use aws_sdk_dynamodb::operation::put_item::{PutItemInput, PutItemOutput};
use aws_sdk_dynamodb::operation::query::{QueryInput, QueryOutput};
use aws_sdk_dynamodb::operation::update_item::{UpdateItemInput, UpdateItemOutput};
use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::error::{ConditionalCheckFailedException, InternalServerError, ResourceNotFoundException};
use aws_sdk_dynamodb::types::{AttributeValue, KeysAndAttributes};
use dynoxide::DynoxideError;
use dynoxide::actions::{batch_get_item, get_item, put_item, query, update_item};
use dynoxide::types::AttributeValue as Stored;

use super::errors;
use super::worker::{Result as EngineResult, Worker};
use crate::engines::Engines;

/// The tables, for callers in the same process.
#[derive(Debug, Clone)]
pub struct DirectTables(Arc<Engines>);

impl DirectTables {
    pub(crate) const fn new(engines: Arc<Engines>) -> Self {
        Self(engines)
    }

    /// Reads an item.
    ///
    /// # Errors
    /// Those of the API.
    pub async fn get_item(&self, asked: GetItemInput) -> Result<GetItemOutput, Error> {
        let request = get_item::GetItemRequest {
            table_name: asked.table_name.unwrap_or_default(),
            key: stored_item(asked.key.unwrap_or_default()),
            consistent_read: asked.consistent_read,
            projection_expression: asked.projection_expression,
            expression_attribute_names: asked.expression_attribute_names,
            attributes_to_get: asked.attributes_to_get,
            ..Default::default()
        };
        let found = self.run("GetItem", move |worker| worker.db.get_item(request)).await?;
        Ok(GetItemOutput::builder().set_item(found.item.map(item)).build())
    }

    /// Writes an item as a whole.
    ///
    /// # Errors
    /// Those of the API.
    pub async fn put_item(&self, asked: PutItemInput) -> Result<PutItemOutput, Error> {
        if asked.expected.is_some() || asked.conditional_operator.is_some() {
            return Err(older_form());
        }
        let request = put_item::PutItemRequest {
            table_name: asked.table_name.unwrap_or_default(),
            item: stored_item(asked.item.unwrap_or_default()),
            return_values: asked.return_values.as_ref().map(name),
            condition_expression: asked.condition_expression,
            expression_attribute_names: asked.expression_attribute_names,
            expression_attribute_values: asked.expression_attribute_values.map(stored_item),
            return_values_on_condition_check_failure: asked.return_values_on_condition_check_failure.as_ref().map(name),
            ..Default::default()
        };
        let done = self.run("PutItem", move |worker| worker.db.put_item(request)).await?;
        Ok(PutItemOutput::builder()
            .set_attributes(done.attributes.map(item))
            .build())
    }

    /// Changes an item.
    ///
    /// # Errors
    /// Those of the API.
    pub async fn update_item(&self, asked: UpdateItemInput) -> Result<UpdateItemOutput, Error> {
        let is_older = asked.expected.is_some() || asked.attribute_updates.is_some();
        if is_older || asked.conditional_operator.is_some() {
            return Err(older_form());
        }
        let request = update_item::UpdateItemRequest {
            table_name: asked.table_name.unwrap_or_default(),
            key: stored_item(asked.key.unwrap_or_default()),
            update_expression: asked.update_expression,
            condition_expression: asked.condition_expression,
            expression_attribute_names: asked.expression_attribute_names,
            expression_attribute_values: asked.expression_attribute_values.map(stored_item),
            return_values: asked.return_values.as_ref().map(name),
            return_values_on_condition_check_failure: asked.return_values_on_condition_check_failure.as_ref().map(name),
            ..Default::default()
        };
        let done = self
            .run("UpdateItem", move |worker| worker.db.update_item(request))
            .await?;
        Ok(UpdateItemOutput::builder()
            .set_attributes(done.attributes.map(item))
            .build())
    }

    /// Reads one page of a partition.
    ///
    /// # Errors
    /// Those of the API.
    pub async fn query(&self, asked: QueryInput) -> Result<QueryOutput, Error> {
        let is_older = asked.key_conditions.is_some() || asked.query_filter.is_some();
        if is_older || asked.conditional_operator.is_some() {
            return Err(older_form());
        }
        let request = query::QueryRequest {
            table_name: asked.table_name.unwrap_or_default(),
            key_condition_expression: asked.key_condition_expression,
            filter_expression: asked.filter_expression,
            projection_expression: asked.projection_expression,
            expression_attribute_names: asked.expression_attribute_names,
            expression_attribute_values: asked.expression_attribute_values.map(stored_item),
            scan_index_forward: asked.scan_index_forward.unwrap_or(true),
            // A negative limit becomes 0, which the engine refuses as well.
            limit: asked.limit.map(|limit| usize::try_from(limit).unwrap_or_default()),
            exclusive_start_key: asked.exclusive_start_key.map(stored_item),
            select: asked.select.as_ref().map(name),
            consistent_read: asked.consistent_read,
            index_name: asked.index_name,
            attributes_to_get: asked.attributes_to_get,
            ..Default::default()
        };
        let page = self.run("Query", move |worker| worker.db.query(request)).await?;
        let output = QueryOutput::builder()
            .set_items(page.items.map(|items| items.into_iter().map(item).collect()))
            .count(count(page.count))
            .scanned_count(count(page.scanned_count))
            .set_last_evaluated_key(page.last_evaluated_key.map(item));
        Ok(output.build())
    }

    /// Reads items by their keys. More than the tables read at once come back as unprocessed keys.
    ///
    /// # Errors
    /// Those of the API.
    pub async fn batch_get_item(&self, asked: BatchGetItemInput) -> Result<BatchGetItemOutput, Error> {
        let tables = asked.request_items.unwrap_or_default();
        let request = batch_get_item::BatchGetItemRequest {
            request_items: tables
                .into_iter()
                .map(|(table, keys)| (table, stored_keys(keys)))
                .collect(),
            ..Default::default()
        };
        let found = self
            .run("BatchGetItem", move |worker| worker.db.batch_get_item(request))
            .await?;
        let tables = found.responses.into_iter();
        let responses = tables.map(|(table, items)| (table, items.into_iter().map(item).collect()));
        let mut unprocessed = HashMap::new();
        for (table, left) in found.unprocessed_keys {
            let left = serde_json::from_value(left).map_err(|error| unreadable(&error))?;
            unprocessed.insert(table, keys(left));
        }
        let output = BatchGetItemOutput::builder()
            .set_responses(Some(responses.collect()))
            .set_unprocessed_keys(Some(unprocessed));
        Ok(output.build())
    }

    async fn run<A: Send + 'static>(
        &self,
        operation: &'static str,
        run: impl FnOnce(&mut Worker) -> EngineResult<A> + Send + 'static,
    ) -> Result<A, Error> {
        if *self.0.is_gone.borrow() {
            let closed = DynoxideError::InternalServerError("table storage is closed".into());
            return Err(sdk_error(operation, closed));
        }
        let done = self.0.tables.run(run).await;
        done.map_err(|error| sdk_error(operation, error))
    }
}

fn older_form() -> Error {
    GetItemError::generic(meta("ValidationException", "conditions are expressions here")).into()
}

/// The error as the SDK would have read it from a server's response.
fn sdk_error(operation: &'static str, error: DynoxideError) -> Error {
    if error.status_code() >= 500 {
        errors::log(operation, &error);
        let failed = InternalServerError::builder().meta(meta("InternalServerError", "internal error"));
        return Error::InternalServerError(failed.build());
    }
    let error = errors::enveloped(operation, error);
    let message = error.to_string();
    let (_, code) = error.error_type().rsplit_once('#').unwrap_or_default();
    let meta = meta(code, &message);
    match error {
        DynoxideError::ConditionalCheckFailedException(_, found) => {
            let refused = ConditionalCheckFailedException::builder().message(message).meta(meta);
            Error::ConditionalCheckFailedException(refused.set_item(found.map(item)).build())
        }
        DynoxideError::ResourceNotFoundException(_) => {
            let unknown = ResourceNotFoundException::builder().message(message).meta(meta);
            Error::ResourceNotFoundException(unknown.build())
        }
        // The SDK has no error type for the other errors of these calls.
        _ => GetItemError::generic(meta).into(),
    }
}

fn meta(code: &str, message: &str) -> ErrorMetadata {
    ErrorMetadata::builder().code(code).message(message).build()
}

fn unreadable(error: &serde_json::Error) -> Error {
    let error = DynoxideError::InternalServerError(error.to_string());
    sdk_error("BatchGetItem", error)
}

fn count(n: usize) -> i32 {
    i32::try_from(n).unwrap_or(i32::MAX)
}

fn name(value: &impl ToString) -> String {
    value.to_string()
}

fn stored_keys(keys: KeysAndAttributes) -> batch_get_item::KeysAndAttributes {
    batch_get_item::KeysAndAttributes {
        keys: keys.keys.into_iter().map(stored_item).collect(),
        projection_expression: keys.projection_expression,
        expression_attribute_names: keys.expression_attribute_names,
        consistent_read: keys.consistent_read,
        attributes_to_get: keys.attributes_to_get,
    }
}

fn keys(keys: batch_get_item::KeysAndAttributes) -> KeysAndAttributes {
    KeysAndAttributes::builder()
        .set_keys(Some(keys.keys.into_iter().map(item).collect()))
        .set_projection_expression(keys.projection_expression)
        .set_expression_attribute_names(keys.expression_attribute_names)
        .set_consistent_read(keys.consistent_read)
        .set_attributes_to_get(keys.attributes_to_get)
        .build()
        .expect("keys are set")
}

fn stored_item(item: HashMap<String, AttributeValue>) -> HashMap<String, Stored> {
    item.into_iter().map(|(name, value)| (name, stored(value))).collect()
}

fn item(item: HashMap<String, Stored>) -> HashMap<String, AttributeValue> {
    item.into_iter().map(|(name, value)| (name, attribute(value))).collect()
}

fn stored(value: AttributeValue) -> Stored {
    match value {
        AttributeValue::S(text) => Stored::S(text),
        AttributeValue::N(number) => Stored::N(number),
        AttributeValue::B(bytes) => Stored::B(bytes.into_inner()),
        AttributeValue::Bool(is) => Stored::BOOL(is),
        AttributeValue::Null(is) => Stored::NULL(is),
        AttributeValue::Ss(texts) => Stored::SS(texts),
        AttributeValue::Ns(numbers) => Stored::NS(numbers),
        AttributeValue::Bs(all) => Stored::BS(all.into_iter().map(Blob::into_inner).collect()),
        AttributeValue::L(values) => Stored::L(values.into_iter().map(stored).collect()),
        AttributeValue::M(values) => Stored::M(stored_item(values)),
        // A type that the service may add one day. The tables refuse `NULL: false`.
        _ => Stored::NULL(false),
    }
}

fn attribute(value: Stored) -> AttributeValue {
    match value {
        Stored::S(text) => AttributeValue::S(text),
        Stored::N(number) => AttributeValue::N(number),
        Stored::B(bytes) => AttributeValue::B(Blob::new(bytes)),
        Stored::BOOL(is) => AttributeValue::Bool(is),
        Stored::NULL(is) => AttributeValue::Null(is),
        Stored::SS(texts) => AttributeValue::Ss(texts),
        Stored::NS(numbers) => AttributeValue::Ns(numbers),
        Stored::BS(all) => AttributeValue::Bs(all.into_iter().map(Blob::new).collect()),
        Stored::L(values) => AttributeValue::L(values.into_iter().map(attribute).collect()),
        Stored::M(values) => AttributeValue::M(item(values)),
    }
}
