//! Counts the calls to tables and queues as AWS would bill them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use serde::Serialize;
use serde_json::Value;

/// Counted calls and units.
#[derive(Debug, Default, Clone, PartialEq, Serialize)]
pub(crate) struct Bill {
    /// Write units of the tables, including indexes.
    pub(crate) write_units: f64,
    /// Read units of the tables.
    pub(crate) read_units: f64,
    /// Number of calls by operation.
    pub(crate) calls: BTreeMap<String, f64>,
    /// Messages sent to `inbound.fifo`.
    pub(crate) events: f64,
    /// Messages sent to `work`.
    pub(crate) wake_ups: f64,
    /// Messages sent to the queues of relay shards.
    #[serde(skip_serializing_if = "is_none")]
    pub(crate) for_relays: f64,
}

fn is_none(n: &f64) -> bool {
    *n == 0.0
}

impl Bill {
    /// The average for one of `n` messages.
    pub(crate) fn each(&self, n: usize) -> Self {
        let n = f64::from(u32::try_from(n).unwrap());
        let share = |total: f64| (total / n * 100.0).round() / 100.0;
        Self {
            write_units: share(self.write_units),
            read_units: share(self.read_units),
            calls: self.calls.iter().map(|(name, n)| (name.clone(), share(*n))).collect(),
            events: share(self.events),
            wake_ups: share(self.wake_ups),
            for_relays: share(self.for_relays),
        }
    }
}

/// An HTTP client that counts the calls and forwards them.
#[derive(Debug, Clone)]
pub(crate) struct Counting {
    inner: SharedHttpClient,
    bill: Arc<Mutex<Bill>>,
}

impl Counting {
    pub(crate) fn before(inner: SharedHttpClient) -> Self {
        Self {
            inner,
            bill: Arc::default(),
        }
    }

    /// The calls since the last time; resets the count.
    pub(crate) fn take(&self) -> Bill {
        std::mem::take(&mut *self.bill.lock().unwrap())
    }
}

impl HttpClient for Counting {
    fn http_connector(&self, settings: &HttpConnectorSettings, parts: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(Connector {
            inner: self.inner.http_connector(settings, parts),
            bill: Arc::clone(&self.bill),
        })
    }
}

#[derive(Debug)]
struct Connector {
    inner: SharedHttpConnector,
    bill: Arc<Mutex<Bill>>,
}

impl HttpConnector for Connector {
    fn call(&self, mut request: HttpRequest) -> HttpConnectorFuture {
        let target = request.headers().get("x-amz-target").unwrap_or_default().to_owned();
        let mut asked: Value = serde_json::from_slice(request.body().bytes().unwrap_or(b"{}")).unwrap();
        if target.starts_with("DynamoDB_") {
            asked["ReturnConsumedCapacity"] = "TOTAL".into();
            *request.body_mut() = SdkBody::from(asked.to_string());
        }
        let answer = self.inner.call(request);
        let bill = Arc::clone(&self.bill);
        HttpConnectorFuture::new(async move {
            let answer = answer.await?;
            count(&mut bill.lock().unwrap(), &target, &asked, &answer);
            Ok(answer)
        })
    }
}

fn count(bill: &mut Bill, target: &str, asked: &Value, answer: &HttpResponse) {
    if is_upkeep(asked) {
        return;
    }
    let operation = target.split_once('.').map_or(target, |(_, operation)| operation);
    // Messages are counted for FIFO queues too.
    let is_counted =
        operation != "SendMessageBatch" || asked["QueueUrl"].as_str().is_some_and(|url| url.ends_with("work"));
    if is_counted {
        *bill.calls.entry(operation.to_owned()).or_default() += 1.0;
    }
    let answered: Value = serde_json::from_slice(answer.body().bytes().unwrap_or(b"{}")).unwrap_or_default();
    let units = match &answered["ConsumedCapacity"] {
        Value::Array(tables) => tables.iter().map(units_of).sum(),
        one => units_of(one),
    };
    match operation {
        "GetItem" | "Query" | "BatchGetItem" => bill.read_units += units,
        "PutItem" | "UpdateItem" | "DeleteItem" | "BatchWriteItem" | "TransactWriteItems" => {
            // A failed condition is billed as a write of the existing item, whose size is not reported.
            bill.write_units += if answer.status().is_success() { units } else { 1.0 };
        }
        "SendMessage" => bill.add_messages(asked, 1.0),
        "SendMessageBatch" => {
            let n = asked["Entries"].as_array().map_or(0, Vec::len);
            bill.add_messages(asked, f64::from(u32::try_from(n).unwrap()));
        }
        _ => {}
    }
}

/// Whether a call renews a relay's shard lease: these calls don't depend on messages, and are part of the monthly cost.
fn is_upkeep(asked: &Value) -> bool {
    let of_leases = asked["TableName"]
        .as_str()
        .is_some_and(|table| table.ends_with("leases"));
    let partition = asked["ExpressionAttributeValues"][":p"]["S"].as_str();
    let key = asked["Key"]["pk"]["S"].as_str();
    of_leases || partition.or(key).is_some_and(|pk| pk.starts_with("LIVE"))
}

fn units_of(consumed: &Value) -> f64 {
    consumed["CapacityUnits"].as_f64().unwrap_or_default()
}

impl Bill {
    fn add_messages(&mut self, asked: &Value, n: f64) {
        let url = asked["QueueUrl"].as_str().unwrap_or_default();
        if url.ends_with("inbound.fifo") {
            self.events += n;
        } else if url.ends_with("work") {
            self.wake_ups += n;
        } else if url.contains("relay-") {
            self.for_relays += n;
        }
    }
}
