//! Reads of the tables by the processes of a test: recorded, and failed if the test asks for it.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use serde_json::Value;

/// A read of an item, or a query of a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TableRead {
    /// Name of the process.
    pub(crate) node: String,
    /// `GetItem` or `Query`.
    pub(crate) operation: String,
    pub(crate) partition: String,
}

/// The recorded reads, and the partitions whose queries fail.
#[derive(Debug, Clone, Default)]
pub(crate) struct TableReads {
    made: Arc<Mutex<Vec<TableRead>>>,
    failing: Arc<Mutex<BTreeSet<String>>>,
}

impl TableReads {
    /// Removes and returns the recorded reads.
    pub(crate) fn take(&self) -> Vec<TableRead> {
        std::mem::take(&mut *self.made.lock().unwrap())
    }

    /// Makes queries of a partition fail, or work again.
    pub(crate) fn fail(&self, partition: &str, fails: bool) {
        let mut failing = self.failing.lock().unwrap();
        if fails {
            failing.insert(partition.to_owned());
        } else {
            failing.remove(partition);
        }
    }

    /// HTTP client of a process, which records its reads of the tables.
    pub(crate) fn client(&self, node: &str, inner: SharedHttpClient) -> SharedHttpClient {
        SharedHttpClient::new(Recording {
            reads: self.clone(),
            node: node.to_owned(),
            inner,
        })
    }

    /// Records a request that is a read. Returns whether it must fail.
    fn record(&self, node: &str, request: &HttpRequest) -> bool {
        let target = request.headers().get("x-amz-target").unwrap_or_default();
        let Some((_, operation @ ("GetItem" | "Query"))) = target.split_once('.') else {
            return false;
        };
        let asked: Value = serde_json::from_slice(request.body().bytes().unwrap()).unwrap();
        let partition = asked["ExpressionAttributeValues"][":p"]["S"].as_str();
        let partition = partition
            .or_else(|| asked["Key"]["pk"]["S"].as_str())
            .unwrap_or_default();
        self.made.lock().unwrap().push(TableRead {
            node: node.to_owned(),
            operation: operation.to_owned(),
            partition: partition.to_owned(),
        });
        operation == "Query" && self.failing.lock().unwrap().contains(partition)
    }
}

#[derive(Debug)]
struct Recording<C> {
    reads: TableReads,
    node: String,
    inner: C,
}

impl HttpClient for Recording<SharedHttpClient> {
    fn http_connector(&self, settings: &HttpConnectorSettings, parts: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(Recording {
            reads: self.reads.clone(),
            node: self.node.clone(),
            inner: self.inner.http_connector(settings, parts),
        })
    }
}

impl HttpConnector for Recording<SharedHttpConnector> {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        if self.reads.record(&self.node, &request) {
            // The SDK does not retry this kind of error.
            return HttpConnectorFuture::ready(Err(ConnectorError::user("the partition can't be read".into())));
        }
        self.inner.call(request)
    }
}
