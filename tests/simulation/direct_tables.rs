//! The tables of a process that calls them directly, as the standalone program does, with fault injection.

use std::fmt::Debug;
use std::sync::Arc;

use aws_sdk_dynamodb::Error;
use aws_sdk_dynamodb::operation::batch_get_item::{BatchGetItemInput, BatchGetItemOutput};
use aws_sdk_dynamodb::operation::get_item::{GetItemInput, GetItemOutput};
use aws_sdk_dynamodb::operation::put_item::{PutItemInput, PutItemOutput};
use aws_sdk_dynamodb::operation::query::{QueryInput, QueryOutput};
use aws_sdk_dynamodb::operation::update_item::{UpdateItemInput, UpdateItemOutput};
use aws_sdk_dynamodb::types::error::InternalServerError;
use tieline_embedded::DirectTables;
use tieline_store::DirectCall;
use tokio::time::Duration;

use crate::engine::{Engine, EngineTime, at_once};
use crate::faults::{ProcessRun, with_fault};

/// Tables without faults, for readers of the results.
pub(crate) fn without_faults(engine: &Engine) -> Arc<dyn tieline_store::DirectTables> {
    Arc::new(FaultyTables::new(engine, None))
}

/// The tables of a process, with its faults.
pub(crate) fn of_process(engine: &Engine, process_run: Arc<ProcessRun>) -> Arc<dyn tieline_store::DirectTables> {
    Arc::new(FaultyTables::new(engine, Some(process_run)))
}

#[derive(Debug)]
struct FaultyTables {
    tables: DirectTables,
    time: EngineTime,
    process_run: Option<Arc<ProcessRun>>,
}

impl FaultyTables {
    fn new(engine: &Engine, process_run: Option<Arc<ProcessRun>>) -> Self {
        Self {
            tables: engine.direct_tables(),
            time: engine.time(),
            process_run,
        }
    }

    fn call<A, F>(
        &self,
        operation: &'static str,
        call: impl FnOnce(DirectTables) -> F + Send + 'static,
    ) -> DirectCall<'_, A>
    where
        A: Debug + Send + 'static,
        F: Future<Output = Result<A, Error>>,
    {
        let (tables, time) = (self.tables.clone(), self.time.clone());
        let executed = async move {
            time.set();
            let answer = at_once(call(tables));
            if matches!(operation, "PutItem" | "UpdateItem") {
                time.count_write();
            }
            answer
        };
        let process_run = self.process_run.clone();
        Box::pin(async move {
            match process_run {
                Some(process_run) => {
                    let target = format!("DynamoDB_20120810.{operation}");
                    with_fault(process_run, &target, Duration::MAX, executed, internal_error).await
                }
                None => executed.await,
            }
        })
    }
}

impl tieline_store::DirectTables for FaultyTables {
    fn get_item(&self, asked: GetItemInput) -> DirectCall<'_, GetItemOutput> {
        self.call("GetItem", |tables| async move { tables.get_item(asked).await })
    }

    fn put_item(&self, asked: PutItemInput) -> DirectCall<'_, PutItemOutput> {
        self.call("PutItem", |tables| async move { tables.put_item(asked).await })
    }

    fn update_item(&self, asked: UpdateItemInput) -> DirectCall<'_, UpdateItemOutput> {
        self.call("UpdateItem", |tables| async move { tables.update_item(asked).await })
    }

    fn query(&self, asked: QueryInput) -> DirectCall<'_, QueryOutput> {
        self.call("Query", |tables| async move { tables.query(asked).await })
    }

    fn batch_get_item(&self, asked: BatchGetItemInput) -> DirectCall<'_, BatchGetItemOutput> {
        self.call(
            "BatchGetItem",
            |tables| async move { tables.batch_get_item(asked).await },
        )
    }
}

#[expect(clippy::result_large_err, reason = "it is the SDK's error")]
fn internal_error<A>() -> Result<A, Error> {
    let failed = InternalServerError::builder().message("simulated").build();
    Err(Error::InternalServerError(failed))
}
