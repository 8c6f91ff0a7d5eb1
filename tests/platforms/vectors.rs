//! Every vector of a webhook request goes through the bridge's public entry point, with a real store, queue and clock: signed requests are
//! answered and queued, unsigned ones all get the same response.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use tieline_bridge::clock::Clock;
use tieline_bridge::receive::receive;
use tieline_bridge::world::World;
use tieline_core::http_types::WebhookRequest;
use tieline_core::timestamp::Timestamp;
use tieline_core::trigger::{GroupMessages, TriggerSettings};
use tieline_queue::receive::{MAX_BATCH, delete, receive as take};
use tieline_tests::agents::Manner;

use crate::test_bridge::TestBridge;

/// The key of all accounts in the vectors.
pub(crate) const ID_KEY: [u8; 32] = [7; 32];
/// Vectors at the exact limit of a time, which need a stopped clock. Here the clock runs.
const AT_THE_LIMIT: [&str; 1] = ["signed but an hour ahead"];
/// Our own channel: its requests are authenticated by an operator's token, not by the connector.
const OWN_CHANNEL: &str = "web";

/// Vector files of webhook requests, with their platform.
fn files() -> Vec<(String, PathBuf)> {
    let connectors = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/connectors/src");
    let mut found = Vec::new();
    for folder in std::fs::read_dir(connectors).unwrap().map(|it| it.unwrap().path()) {
        let platform = folder.file_name().unwrap().to_str().unwrap().to_owned();
        let Ok(vectors) = std::fs::read_dir(folder.join("vectors")) else {
            continue;
        };
        let paths = vectors.map(|it| it.unwrap().path());
        let of_requests = paths.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with("receive-"));
        found.extend(of_requests.map(|path| (platform.clone(), path)));
    }
    found.sort();
    found
}

fn texts(value: &Value) -> BTreeMap<String, String> {
    let fields = value.as_object().into_iter().flatten();
    fields
        .map(|(name, value)| (name.clone(), value.as_str().unwrap_or_default().to_owned()))
        .collect()
}

fn request(case: &Value) -> WebhookRequest {
    let given = &case["request"];
    let body = match (&given["bodyHex"], &given["body"]) {
        (Value::String(hex), _) => hex::decode(hex).unwrap(),
        (_, Value::Null) => Vec::new(),
        (_, Value::String(text)) => text.clone().into_bytes(),
        (_, json) => json.to_string().into_bytes(),
    };
    WebhookRequest {
        method: given["method"].as_str().unwrap_or("POST").to_owned(),
        query: given["query"].as_str().unwrap_or_default().to_owned(),
        headers: texts(&given["headers"]).into_iter().collect(),
        body,
    }
}

fn settings(case: &Value) -> TriggerSettings {
    TriggerSettings {
        welcome: case["welcome"].as_str().map(str::to_owned),
        group_context: u32::from(case["unaddressed"] == "kept"),
        group_messages: match case["unaddressed"] == "answered" {
            true => GroupMessages::All,
            false => GroupMessages::Mentioned,
        },
        ..TriggerSettings::default()
    }
}

/// Number of events in the inbound queue.
pub(crate) async fn n_queued(world: &World) -> usize {
    let (queues, url) = (&world.queues, &world.queues.urls().inbound);
    let mut n_queued = 0;
    loop {
        let received = take::<Value>(queues, url, MAX_BATCH, Duration::ZERO).await.unwrap();
        if received.is_empty() {
            return n_queued;
        }
        n_queued += received.len();
        let receipts: Vec<_> = received.into_iter().map(|it| it.receipt).collect();
        delete(queues, url, &receipts).await.unwrap();
    }
}

/// Runs a case. Returns the difference from what is expected.
async fn play(platform: &'static str, case: &Value) -> Result<(), String> {
    let now = Timestamp::parse(case["now"].as_str().unwrap()).unwrap();
    let account = &case["account"];
    let fields = |name: &str| account.get(name).cloned().unwrap_or_else(|| json!({}));
    let integration = json!({ "connectionMode": account["mode"], "credentials": fields("credentials"), "endpoints": fields("endpoints") });
    let bridge = TestBridge::keyed(Manner::default(), platform, &integration, settings(case), ID_KEY).await;
    let world = World {
        clock: Clock::starting_at(now),
        ..bridge.world.clone()
    };
    let answer = receive(&world, platform, &bridge.bot, &request(case), None).await;
    let (n_queued, expect) = (n_queued(&world).await, &case["expect"]);
    // A field that a vector doesn't name is not checked.
    let n_expected = match &expect["events"] {
        Value::Array(events) => events.len(),
        _ if expect.get("rejected").is_some() => 0,
        _ => n_queued,
    };
    let status = match (&expect["rejected"], &expect["answer"]["status"]) {
        (Value::Null, Value::Number(status)) => status.as_u64().map(|status| u16::try_from(status).unwrap()),
        (Value::Null, _) => None,
        _ => Some(401),
    };
    if status.is_some_and(|status| status != answer.status) {
        return Err(format!("answered {}, not {status:?}", answer.status));
    }
    if n_queued != n_expected {
        return Err(format!("{n_queued} events are queued, not {n_expected}"));
    }
    Ok(())
}

#[tokio::test]
async fn every_request_vector_passes_through_the_public_entry_point() {
    let (mut failures, mut n_played) = (Vec::new(), 0);
    for (platform, path) in files() {
        if platform == OWN_CHANNEL {
            continue;
        }
        let platform: &'static str = platform.leak();
        let read: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        let cases = match read {
            Value::Array(cases) => cases,
            case => vec![case],
        };
        for case in &cases {
            // Vectors about polls need a reply's record, which the connector's own test provides.
            let is_at_limit = AT_THE_LIMIT.iter().any(|name| case["name"] == *name);
            if case.get("reply").is_some() || is_at_limit {
                continue;
            }
            n_played += 1;
            if let Err(failure) = play(platform, case).await {
                failures.push(format!("{}: {}: {failure}", path.display(), case["name"]));
            }
        }
    }
    assert!(failures.is_empty(), "\n{}\n", failures.join("\n"));
    assert!(n_played > 350, "only {n_played} vectors were found");
}
