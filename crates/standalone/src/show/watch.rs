//! `tieline get -w`: keeps printing changes.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;
use tokio::time::sleep;

use super::{Names, draw, fetch, is_for_people, row};
use crate::args::Get;
use crate::client::{ApiError, Client};
use crate::{output, terminal};

/// Poll interval.
const PAUSE: Duration = Duration::from_secs(2);
/// Maximum number of consecutive failed requests, as during a restart of the bridge.
const MAX_FAILURES: u32 = 30;

/// Prints new and changed resources, until interrupted.
pub(super) async fn follow(client: &Client, args: &Get, shown: Vec<Value>) -> anyhow::Result<()> {
    let mut known = by_id(args, &shown);
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
        let changed = changes(args, &known, &seen);
        show(client, args, &changed).await?;
        known = by_id(args, &seen);
    }
}

fn may_pass(error: &anyhow::Error) -> bool {
    error.downcast_ref::<ApiError>().is_some_and(ApiError::may_pass)
}

/// What each item looked like, by its id.
fn by_id(args: &Get, items: &[Value]) -> BTreeMap<String, Value> {
    let items = items.iter();
    items.map(|item| (id(item).to_owned(), compared(args, item))).collect()
}

/// The part of an item whose change is printed: its row in a table; for programs everything but the uptime, which always changes.
fn compared(args: &Get, item: &Value) -> Value {
    if is_for_people(args) {
        return row(args, item, &Names::default()).into();
    }
    let mut item = item.clone();
    if let Some(Value::Object(status)) = item.get_mut("status") {
        status.remove("uptimeSeconds");
    }
    item
}

fn id(item: &Value) -> &str {
    let found = item["id"].as_str().or_else(|| item["platform"].as_str());
    found.unwrap_or_default()
}

fn changes(args: &Get, known: &BTreeMap<String, Value>, seen: &[Value]) -> Vec<Value> {
    let is_new = |item: &&Value| known.get(id(item)) != Some(&compared(args, item));
    seen.iter().filter(is_new).cloned().collect()
}

/// Without column titles: the table above has them.
async fn show(client: &Client, args: &Get, changed: &[Value]) -> anyhow::Result<()> {
    for item in changed {
        if !output::structured(item, args.kind, args.output)? {
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
    use crate::args::Output;
    use crate::kind::Kind;
    use crate::show::tests::args;

    #[test]
    fn only_new_and_changed_resources_are_printed() {
        let args = args(Kind::Messages, Output::Json);
        let known = [
            json!({ "id": "a", "state": "queued" }),
            json!({ "id": "b", "state": "answered" }),
        ];
        let seen = [
            json!({ "id": "a", "state": "answered" }),
            json!({ "id": "b", "state": "answered" }),
            json!({ "id": "c", "state": "queued" }),
        ];
        assert_eq!(
            changes(&args, &by_id(&args, &known), &seen),
            [seen[0].clone(), seen[2].clone()]
        );
    }

    #[test]
    fn uptime_is_not_a_change() {
        let bot = |state: &str, uptime: u64| json!({ "id": "a", "status": { "state": state, "uptimeSeconds": uptime, "since": uptime } });
        for output in [Output::Table, Output::Wide] {
            let args = args(Kind::Integrations, output);
            let known = by_id(&args, &[bot("connected", 1)]);
            assert!(changes(&args, &known, &[bot("connected", 3)]).is_empty(), "{output:?}");
            assert_eq!(changes(&args, &known, &[bot("retrying", 3)]).len(), 1, "{output:?}");
        }
        let args = args(Kind::Integrations, Output::Yaml);
        let bot = |uptime: u64, name: &str| json!({ "id": "a", "name": name, "status": { "uptimeSeconds": uptime } });
        let known = by_id(&args, &[bot(1, "A")]);
        assert!(changes(&args, &known, &[bot(3, "A")]).is_empty());
        assert_eq!(changes(&args, &known, &[bot(3, "B")]), [bot(3, "B")]);
    }
}
