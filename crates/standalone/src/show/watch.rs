//! `tieline get -w`: keeps printing changes.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;
use tokio::time::sleep;

use super::{Names, draw, fetch};
use crate::args::Get;
use crate::client::{ApiError, Client};
use crate::{output, terminal};

/// Poll interval.
const PAUSE: Duration = Duration::from_secs(2);
/// Maximum number of consecutive failed requests, as during a restart of the bridge.
const MAX_FAILURES: u32 = 30;

/// Prints new and changed resources, until interrupted.
pub(super) async fn follow(client: &Client, args: &Get, shown: Vec<Value>) -> anyhow::Result<()> {
    let mut known = by_id(shown);
    let mut n_failures = 0;
    loop {
        sleep(PAUSE).await;
        let seen = match fetch(client, args).await {
            Err(error) if may_pass(&error) && n_failures < MAX_FAILURES => {
                n_failures += 1;
                continue;
            }
            seen => seen?.0,
        };
        n_failures = 0;
        let changed = changes(&known, &seen);
        show(client, args, &changed).await?;
        known = by_id(seen);
    }
}

fn may_pass(error: &anyhow::Error) -> bool {
    error.downcast_ref::<ApiError>().is_some_and(ApiError::may_pass)
}

fn by_id(items: Vec<Value>) -> BTreeMap<String, Value> {
    let items = items.into_iter();
    items.map(|item| (id(&item).to_owned(), item)).collect()
}

fn id(item: &Value) -> &str {
    let found = item["id"].as_str().or_else(|| item["platform"].as_str());
    found.unwrap_or_default()
}

fn changes(known: &BTreeMap<String, Value>, seen: &[Value]) -> Vec<Value> {
    let is_new = |item: &&Value| known.get(id(item)) != Some(*item);
    seen.iter().filter(is_new).cloned().collect()
}

/// Without column titles: the table above has them.
async fn show(client: &Client, args: &Get, changed: &[Value]) -> anyhow::Result<()> {
    for item in changed {
        if !output::structured(item, args.output)? {
            let names = Names::look(client, args.kind).await?;
            let drawn = draw(args, std::slice::from_ref(item), &names);
            terminal::line(drawn.lines().nth(1).unwrap_or_default())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_new_and_changed_resources_are_printed() {
        let known = by_id(vec![
            json!({ "id": "a", "state": "queued" }),
            json!({ "id": "b", "state": "answered" }),
        ]);
        let seen = [
            json!({ "id": "a", "state": "answered" }),
            json!({ "id": "b", "state": "answered" }),
            json!({ "id": "c", "state": "queued" }),
        ];
        assert_eq!(changes(&known, &seen), [seen[0].clone(), seen[2].clone()]);
    }
}
