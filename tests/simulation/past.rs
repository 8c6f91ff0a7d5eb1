//! Previous versions of items, which eventually consistent reads may still return.

use std::collections::HashMap;
use std::sync::Mutex;

use serde_json::{Value, json};
use tokio::time::{Duration, Instant};

/// How long an overwritten version may be read. Replicas of a table usually agree within a second.
const LAG: Duration = Duration::from_secs(2);

/// A table's name, and the partition and sort key of an item.
type Key = (String, String, String);

/// Recently overwritten versions of items.
#[derive(Debug, Default)]
pub(crate) struct Past(Mutex<HashMap<Key, (Instant, Option<Value>)>>);

impl Past {
    /// Stores the version that `told`, a read of the item, contains: the item is about to be written.
    pub(crate) fn keep(&self, key: Key, told: &Value) {
        let item = told.get("Item").cloned();
        self.0.lock().unwrap().insert(key, (Instant::now(), item));
    }

    /// The previous version of an item that was written within the lag.
    fn of(&self, key: &Key) -> Option<Option<Value>> {
        let overwritten = self.0.lock().unwrap();
        let (at, item) = overwritten.get(key)?;
        (at.elapsed() < LAG).then(|| item.clone())
    }

    /// The answer of a lagging replica. `None` if the replica is up to date.
    pub(crate) fn answer(&self, operation: &str, asked: &Value, newest: &Value) -> Option<Value> {
        match operation {
            "GetItem" => {
                let before = self.of(&key_of(asked, &asked["Key"])?)?;
                Some(before.map_or_else(|| json!({}), |item| json!({ "Item": item })))
            }
            "BatchGetItem" => self.batch(asked, newest),
            _ => None,
        }
    }

    fn batch(&self, asked: &Value, newest: &Value) -> Option<Value> {
        let mut lagging = newest.clone();
        let mut differs = false;
        for (table, of_table) in asked["RequestItems"].as_object()? {
            let found = lagging["Responses"][table].as_array_mut()?;
            for wanted in of_table["Keys"].as_array()? {
                let Some(before) = self.of(&key_in(table, wanted)?) else {
                    continue;
                };
                differs = true;
                found.retain(|item| (&item["pk"], &item["sk"]) != (&wanted["pk"], &wanted["sk"]));
                found.extend(before);
            }
        }
        differs.then_some(lagging)
    }
}

/// The key of the item that a write is about. `None` if it writes several items.
pub(crate) fn written(operation: &str, asked: &Value) -> Option<Key> {
    match operation {
        "PutItem" => key_of(asked, &asked["Item"]),
        "UpdateItem" | "DeleteItem" => key_of(asked, &asked["Key"]),
        _ => None,
    }
}

/// The read of that item.
pub(crate) fn read_of((table, pk, sk): &Key) -> Value {
    json!({ "TableName": table, "Key": { "pk": { "S": pk }, "sk": { "S": sk } }, "ConsistentRead": true })
}

/// Whether a read is eventually consistent, so that a lagging replica may answer it.
pub(crate) fn may_lag(operation: &str, asked: &Value) -> bool {
    let is_strong = |of: &Value| of["ConsistentRead"] == true;
    match operation {
        // Projections are excluded: only whole items are stored.
        "GetItem" => !is_strong(asked) && asked["ProjectionExpression"].is_null(),
        "BatchGetItem" => {
            let tables = asked["RequestItems"].as_object();
            tables.is_some_and(|tables| !tables.values().any(is_strong))
        }
        _ => false,
    }
}

fn key_of(asked: &Value, item: &Value) -> Option<Key> {
    key_in(asked["TableName"].as_str()?, item)
}

fn key_in(table: &str, item: &Value) -> Option<Key> {
    let of = |name: &str| Some(item[name]["S"].as_str()?.to_owned());
    Some((table.to_owned(), of("pk")?, of("sk")?))
}
