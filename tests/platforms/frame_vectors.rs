//! Every vector of an event from a socket or a long poll is sent like the platform's own frames: from the simulator's connection to the
//! bridge's. Messages are queued, everything else is not, and the connection stays open.

use std::time::Duration;

use serde_json::{Value, json};
use tieline_bridge::clock::Clock;
use tieline_bridge::connections::{Connections, Options};
use tieline_bridge::world::World;
use tieline_core::timestamp::Timestamp;
use tieline_core::trigger::{GroupMessages, TriggerSettings};
use tieline_tests::agents::Manner;
use tieline_tests::outbound::Speaker;
use tieline_tests::{dingtalk, discord, lark, wechat, weibo};
use tokio::time::{Instant, sleep};

use crate::test_bridge::{PATIENCE, TestBridge};
use crate::vectors::{ID_KEY, n_queued};

/// A vector, and the number of events that it causes.
struct Case {
    name: String,
    n_events: usize,
    vector: Value,
}

/// The vectors of a section.
fn cases(vectors: &Value, section: &str, n_events: impl Fn(&Value) -> usize) -> Vec<Case> {
    let vectors = vectors[section].as_array().unwrap();
    let name = |vector: &Value| vector["id"].as_str().or(vector["name"].as_str()).unwrap().to_owned();
    let case = |vector: &Value| Case {
        name: name(vector),
        n_events: n_events(vector),
        vector: vector.clone(),
    };
    vectors.iter().map(case).collect()
}

/// Vectors that state whether they are accepted.
fn accepted_or_not(vectors: &Value) -> Vec<Case> {
    // Includes "accept_without_attachment".
    let is_accepted = |vector: &Value| {
        let outcome = vector["expect"]["outcome"].as_str().unwrap();
        usize::from(outcome.starts_with("accept"))
    };
    let mut all = cases(vectors, "accept", is_accepted);
    all.extend(cases(vectors, "hostile", is_accepted));
    all
}

/// Time at which the platforms' vectors were written, whose clicks would be too old now.
const WRITTEN_AT: Timestamp = Timestamp::from_secs(1_760_000_110);

/// A bridge that holds the bot's connection, with a trigger that also accepts group messages without a mention.
async fn connected(
    clock: Clock,
    platform: &'static str,
    integration: &Value,
    is_connected: impl Fn() -> bool,
) -> (TestBridge, Connections) {
    let settings = TriggerSettings {
        group_messages: GroupMessages::All,
        ..TriggerSettings::default()
    };
    let bridge = TestBridge::keyed(Manner::default(), platform, integration, settings, ID_KEY).await;
    let world = World {
        clock,
        ..bridge.world.clone()
    };
    let connections = Connections::start(world, Options::default()).unwrap();
    let began = Instant::now();
    while !is_connected() {
        assert!(began.elapsed() < PATIENCE, "{platform} is not connected");
        sleep(Duration::from_millis(10)).await;
    }
    (bridge, connections)
}

/// Sends each vector, followed by a message that is always queued.
async fn play((bridge, connections): (TestBridge, Connections), all: &[Case], push: impl Fn(&Case), say: impl Fn()) {
    let mut failures = Vec::new();
    for case in all {
        push(case);
        say();
        let (mut found, began) = (0, Instant::now());
        while found < case.n_events + 1 && began.elapsed() < PATIENCE {
            found += n_queued(&bridge.world).await;
            sleep(Duration::from_millis(10)).await;
        }
        if found != case.n_events + 1 {
            failures.push(format!(
                "{}: {found} events, not {} plus the message after it",
                case.name, case.n_events
            ));
        }
    }
    // By then, everything that was received is in the queue.
    connections.stop().await;
    let left = n_queued(&bridge.world).await;
    if left > 0 {
        failures.push(format!("{left} events more than that"));
    }
    assert!(failures.is_empty(), "\n{}\n", failures.join("\n"));
}

/// The body of a vector as it is on the wire.
fn body(vector: &Value) -> String {
    if let Some(raw) = vector["body_raw"].as_str() {
        return raw.to_owned();
    }
    let Some(unit) = vector["repeat"]["unit"].as_str() else {
        return vector["body"].to_string();
    };
    let n = usize::try_from(vector["repeat"]["count"].as_u64().unwrap()).unwrap();
    vector["body_template"]
        .to_string()
        .replace("{{REPEAT}}", &unit.repeat(n))
}

#[tokio::test]
async fn weibos_frames_are_read_as_the_vectors_say() {
    let vectors = include_str!("../../crates/connectors/src/weibo/vectors/weibo.json");
    let vectors: Value = serde_json::from_str(vectors).unwrap();
    let platform = weibo::Platform::start().await;
    let integration = platform.as_integration("Bot");
    let held = connected(Clock::system(), "weibo", &integration, || platform.counts().0 > 0).await;
    let push = |case: &Case| platform.push(&body(&case.vector)).unwrap();
    let marker = Speaker::alone("1001");
    let say = || platform.push(&platform.text(&marker, "more").to_string()).unwrap();
    play(held, &accepted_or_not(&vectors), push, say).await;
    assert_eq!(platform.counts().2, 1, "the connection must stay open");
}

#[tokio::test]
async fn wechats_messages_are_read_as_the_vectors_say() {
    let vectors = include_str!("../../crates/connectors/src/wechat/vectors/ilink.json");
    let vectors: Value = serde_json::from_str(vectors).unwrap();
    let account = |name: &str| vectors["account"][name].as_str().unwrap();
    let (person, bot) = (account("ilink_user_id"), account("ilink_bot_id"));
    let platform = wechat::Platform::start().await;
    platform.add_bot("BT-demo", bot, person);
    let mut integration = platform.as_integration("Bot");
    integration["credentials"] = json!({ "botToken": "BT-demo", "botId": bot, "userId": person });
    let held = connected(Clock::system(), "wechat", &integration, || platform.is_polled(person)).await;
    let push = |case: &Case| platform.push(person, case.vector["body"].clone());
    let owner = Speaker::alone(person);
    let say = || {
        platform.say(&owner, "more");
    };
    play(held, &accepted_or_not(&vectors), push, say).await;
}

#[tokio::test]
async fn discords_frames_are_read_as_the_vectors_say() {
    // The vectors' bot has the simulator's identity.
    const APP: &str = "1390000000000000500";
    let platform = discord::Platform::start().await;
    platform.add_app(APP, "MTM5.t0k3n");
    let (user, role) = platform.identity(APP);
    let vectors = include_str!("../../crates/connectors/src/discord/vectors/gateway.json");
    let vectors = vectors.replace(APP, &user).replace("1391000000000000600", &role);
    let vectors: Value = serde_json::from_str(&vectors).unwrap();
    let mut integration = platform.as_integration(APP, "Bot", "long_connection");
    integration["credentials"]["botUserId"] = json!(user);
    integration["credentials"]["messageContent"] = json!("yes");
    let held = connected(Clock::system(), "discord", &integration, || {
        platform.connections(APP).0 > 0
    })
    .await;
    let push = |case: &Case| match (&case.vector["body"], case.vector["body_raw"].as_str()) {
        (_, Some(raw)) => platform.push_text(APP, raw),
        (frame, _) if frame["op"] == 0 => {
            let name = frame["t"].as_str().unwrap();
            platform.push_event(APP, name, &frame["d"]).unwrap();
        }
        (frame, _) => platform.push_text(APP, &frame.to_string()),
    };
    let marker = Speaker::alone("1001");
    let say = || {
        let message = platform.message(APP, &marker, "more", true);
        platform.push_message(APP, &message).unwrap();
    };
    play(held, &accepted_or_not(&vectors), push, say).await;
}

#[tokio::test]
async fn dingtalks_frames_are_read_as_the_vectors_say() {
    const APP: &str = "dingtielinedemo01";
    let vectors = include_str!("../../crates/connectors/src/dingtalk/vectors/dingtalk.json");
    let vectors: Value = serde_json::from_str(vectors).unwrap();
    let platform = dingtalk::Platform::start().await;
    platform.add_app(APP, "s3");
    let integration = platform.as_integration(APP, "Bot", "long_connection");
    let held = connected(Clock::starting_at(WRITTEN_AT), "dingtalk", &integration, || {
        platform.connections(APP).0 > 0
    })
    .await;
    let n_events = |vector: &Value| match vector["name"].as_str().unwrap() {
        // Accepted: the person gets a notice that the message can't be read.
        "bot_unknown_msgtype" => 1,
        // Here the queue accepts the event.
        "bot_queue_unavailable" => 1,
        // A rating is an event.
        "card_callback_with_update" => 1,
        // Ignored: recalls change nothing that the bridge shows.
        "event_recall" => 0,
        _ => usize::from(vector["then"].as_str().unwrap().starts_with("enqueue")),
    };
    let all = cases(&vectors, "stream_frames", n_events);
    let push = |case: &Case| platform.push_text(APP, case.vector["frame_text"].as_str().unwrap());
    let marker = Speaker::alone("1001");
    let say = || {
        platform.push(APP, &platform.text(APP, &marker, "more")).unwrap();
    };
    play(held, &all, push, say).await;
}

#[tokio::test]
async fn larks_frames_are_read_as_the_vectors_say() {
    const APP: &str = "cli_a1b2c3d4e5f60718";
    let vectors = include_str!("../../crates/connectors/src/lark/vectors/upstream.json");
    let vectors: Value = serde_json::from_str(vectors).unwrap();
    let platform = lark::Platform::start().await;
    platform.add_app(APP, "s3");
    let integration = platform.as_integration(APP, "Bot", "long_connection");
    let held = connected(Clock::starting_at(WRITTEN_AT), "lark", &integration, || {
        platform.connections(APP).0 > 0
    })
    .await;
    // The parts of a message are one event, once the last part is there. It is the message of the single frame again.
    let n_events = |vector: &Value| {
        let name = vector["name"].as_str().unwrap();
        usize::from(["event_part_1_of_2", "callback_single"].contains(&name))
    };
    let mut all = cases(&vectors, "frames", n_events);
    all.retain(|case| case.vector["direction"] == "server_to_client");
    all.sort_by_key(|case| case.name == "event_single");
    all.extend(cases(&vectors, "frames_semantic", |_| 0));
    all.extend(cases(&vectors, "frames_invalid", |_| 0));
    let push = |case: &Case| platform.push_bytes(APP, &hex::decode(case.vector["hex"].as_str().unwrap()).unwrap());
    let marker = Speaker::alone("1001");
    let say = || {
        platform.push(APP, &platform.text(APP, &marker, "more")).unwrap();
    };
    play(held, &all, push, say).await;
}
