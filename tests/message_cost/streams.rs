//! Cost of an answer that is streamed for 20 seconds, by platform.

use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};
use tieline_bridge::operator::Operator;
use tieline_bridge::receive::receive;
use tieline_bridge::world::{World, random};
use tieline_core::account::ConnectionMode;
use tieline_core::agent::{Agent, AgentConfig};
use tieline_core::http_types::WebhookRequest;
use tieline_core::ids::{AgentId, IntegrationId, OrganizationId, TriggerId, fresh};
use tieline_core::notice::Language;
use tieline_core::thinking_display::ThinkingDisplay;
use tieline_core::trigger::{Trigger, TriggerSettings};
use tieline_store::config::integration::{IntegrationSettings, NewIntegration};
use tieline_store::config::organization::DEFAULT;
use tieline_store::config::trigger::Rival;
use tieline_store::config::{agent, integration, trigger};
use tieline_tests::agents::{FakeAgent, Manner};
use tieline_tests::outbound::Speaker;
use tieline_tests::{dingtalk, lark, wecom};
use tokio::time::{Instant, sleep};

use super::{Bridge, LATER, check_units, note};
use crate::counting::Bill;

/// How long the answer grows, and in how many pieces: about the speed of a model.
const GROWS: Duration = Duration::from_secs(20);
const N_PIECES: u32 = 80;
/// Twelve characters, 36 bytes.
pub(crate) const PIECE: &str = "今天的天气很好，适合散步";
/// Interval at which a platform polls an answer.
const POLL: Duration = Duration::from_secs(1);
const APP: &str = "app1";
/// Slack for a busy machine: frames depend on the clock.
const SLACK: f64 = 3.0;

/// Cost of a streamed answer.
#[derive(Debug, Serialize)]
pub(crate) struct Streamed {
    #[serde(flatten)]
    pub(crate) bill: Bill,
    /// Whether a relay holds the bot's connection and runs its agent.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) relayed: bool,
    /// Number of calls to the platform's API.
    pub(crate) platform_calls: usize,
    /// Bytes of their bodies.
    pub(crate) platform_bytes: usize,
    /// Number of polls by the platform.
    pub(crate) polls: usize,
    /// Bytes of the responses to them.
    pub(crate) poll_bytes: usize,
}

#[tokio::test(flavor = "multi_thread")]
async fn cost_of_a_streamed_answer_is_as_recorded() {
    // Boxed: the futures would otherwise be on the stack of one thread.
    tokio::join!(
        Box::pin(on_lark()),
        Box::pin(on_dingtalk()),
        Box::pin(on_wecom_callbacks())
    );
}

async fn on_lark() {
    let platform = lark::Platform::start().await;
    platform.add_app(APP, "s3");
    let mut bridge = Bridge::start().await;
    let bot = set_up(
        &bridge.world,
        &platform.as_integration(APP, "Bot", "webhook"),
        true,
        ConnectionMode::Webhook,
    )
    .await;
    let person = Speaker::alone("ou_1");
    let say = |text: &str| platform.request(APP, &platform.text(APP, &person, text));
    bridge.say(&bot, "lark", &say("warm up")).await;
    bridge.work().await;
    bridge.settle().await;
    let n_before = platform.calls().len();
    bridge.say(&bot, "lark", &say("weather")).await;
    bridge.work().await;
    let calls = platform.calls();
    let sent: Vec<_> = calls[n_before..].iter().map(|call| &call.body).collect();
    let bill = bridge.settle().await;
    assert_eq!(platform.complaints(), Vec::<String>::new());
    assert_eq!(platform.bubbles().last().unwrap().text(), whole());
    compare("lark", Streamed::pushed(bill, &sent), SLACK);
}

async fn on_dingtalk() {
    let platform = dingtalk::Platform::start().await;
    platform.add_app(APP, "s3");
    let mut bridge = Bridge::start().await;
    let bot = set_up(
        &bridge.world,
        &platform.as_integration(APP, "Bot", "webhook"),
        true,
        ConnectionMode::Webhook,
    )
    .await;
    let person = Speaker::alone("user1");
    let say = |text: &str| platform.request(APP, &platform.text(APP, &person, text));
    bridge.say(&bot, "dingtalk", &say("warm up")).await;
    bridge.work().await;
    bridge.settle().await;
    let n_before = platform.calls().len();
    bridge.say(&bot, "dingtalk", &say("weather")).await;
    bridge.work().await;
    let calls = platform.calls();
    let sent: Vec<_> = calls[n_before..].iter().map(|call| &call.body).collect();
    let bill = bridge.settle().await;
    assert_eq!(platform.complaints(), Vec::<String>::new());
    assert_eq!(platform.bubbles().last().unwrap().text(), whole());
    compare("dingtalk", Streamed::pushed(bill, &sent), SLACK);
}

async fn on_wecom_callbacks() {
    let platform = wecom::Bot::new(wecom::Cipher::fresh(), String::new());
    let responses = wecom::ResponseServer::start().await;
    let mut bridge = Bridge::start().await;
    let mut wanted = platform.as_integration("Bot");
    wanted["endpoints"] = json!({ "responseBase": responses.url });
    let bot = set_up(&bridge.world, &wanted, true, ConnectionMode::Webhook).await;
    let person = Speaker::alone("user1");
    let said = |id: &str, text: &str| platform.text(&person, id, text, &responses.url_for(id));
    let posted = async |bridge: &Bridge, message: &Value| -> (Value, usize) {
        let (query, body, nonce) = platform.cipher.callback(&message.to_string());
        let request = WebhookRequest {
            method: "POST".to_owned(),
            query,
            headers: Vec::new(),
            body: body.into_bytes(),
        };
        let answer = bridge.say(&bot, "wecom", &request).await;
        let reply = platform
            .cipher
            .open_reply(std::str::from_utf8(&answer).unwrap(), &nonce)
            .unwrap();
        (serde_json::from_str(&reply).unwrap(), answer.len())
    };
    for (id, text) in [("m0", "warm up"), ("m1", "weather")] {
        bridge.counting.take();
        let (first, _) = posted(&bridge, &said(id, text)).await;
        let stream = first["stream"]["id"].as_str().unwrap().to_owned();
        let polling = async {
            let (mut polls, mut poll_bytes) = (0, 0);
            let mut next = Instant::now();
            loop {
                next += POLL;
                sleep(next.saturating_duration_since(Instant::now())).await;
                let (shown, n_bytes) = posted(&bridge, &platform.poll(&person, &stream)).await;
                polls += 1;
                poll_bytes += n_bytes;
                if shown["stream"]["finish"] == true {
                    break (
                        polls,
                        poll_bytes,
                        shown["stream"]["content"].as_str().unwrap().to_owned(),
                    );
                }
            }
        };
        let ((), (polls, poll_bytes, content)) = tokio::join!(bridge.work(), polling);
        let bill = bridge.settle().await;
        if text == "weather" {
            assert_eq!(content, whole());
            let streamed = Streamed {
                bill,
                relayed: false,
                platform_calls: 0,
                platform_bytes: 0,
                polls,
                poll_bytes,
            };
            compare("wecom_callback", streamed, SLACK);
        }
    }
}

/// The whole answer.
pub(crate) fn whole() -> String {
    PIECE.repeat(usize::try_from(N_PIECES).unwrap())
}

/// The events that the agent streams.
fn events(text: &str) -> Option<Vec<Value>> {
    let n_pieces = if text == "weather" { N_PIECES } else { 1 };
    let pieces = (0..n_pieces).map(|_| json!({ "type": "text.delta", "text": PIECE }));
    Some(pieces.chain([json!({ "type": "completed" })]).collect())
}

impl Streamed {
    fn pushed(bill: Bill, bodies: &[&Value]) -> Self {
        Self {
            bill,
            relayed: false,
            platform_calls: bodies.len(),
            platform_bytes: bodies.iter().map(|body| body.to_string().len()).sum(),
            polls: 0,
            poll_bytes: 0,
        }
    }
}

pub(crate) fn compare(platform: &str, streamed: Streamed, slack: f64) {
    let value = serde_json::to_value(&streamed).unwrap();
    if let Some(noted) = note(&["stream", platform], value) {
        check_units(&noted, &streamed.bill, slack);
    }
}

/// Creates a bot of the platform with a streaming agent.
pub(crate) async fn set_up(world: &World, wanted: &Value, streaming: bool, mode: ConnectionMode) -> IntegrationId {
    let now = world.clock.now();
    let agent = FakeAgent::start(Manner {
        between: GROWS / N_PIECES,
        events,
        ..Manner::default()
    })
    .await;
    let ask = agent.as_webhook("Streaming");
    let organization = OrganizationId::new(DEFAULT);
    let asked = Agent {
        id: AgentId::new(fresh("agt", random())),
        name: "Streaming".to_owned(),
        organization: organization.clone(),
        protocol: ask["protocol"].as_str().unwrap().to_owned(),
        config: AgentConfig::new(ask["config"].as_object().unwrap().clone()),
    };
    let asked = agent::create(&world.store, asked, now).await.unwrap();
    let fields = |of: &str| -> Vec<(String, String)> {
        let fields = wanted[of].as_object().into_iter().flatten();
        fields
            .map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned()))
            .collect()
    };
    let new = NewIntegration {
        id: IntegrationId::new(fresh("int", random())),
        organization: organization.clone(),
        platform: wanted["platform"].as_str().unwrap().to_owned(),
        id_key: random(),
    };
    let settings = IntegrationSettings {
        name: "Bot".to_owned(),
        mode,
        credentials: fields("credentials").into_iter().collect(),
        endpoints: fields("endpoints").into_iter().collect(),
        language: Language::default(),
        streaming,
        thinking: ThinkingDisplay::default(),
        allowed_agents: None,
        enabled: true,
        account_key: None,
    };
    let bot = integration::create(&world.store, new, settings, now).await.unwrap();
    let binding = Trigger {
        id: TriggerId::new(fresh("trg", random())),
        organization,
        integration: bot.id.clone(),
        agent: asked.agent.id,
        enabled: true,
        settings: TriggerSettings::default(),
    };
    trigger::create(&world.store, binding, Rival::Respect, now)
        .await
        .unwrap();
    bot.id
}

impl Bridge {
    /// Delivers a request of the platform. Returns the body of the response.
    async fn say(&self, bot: &IntegrationId, platform: &str, request: &WebhookRequest) -> Vec<u8> {
        let answer = receive(&self.world, platform, bot, request, Some(&Operator::Root)).await;
        assert_eq!(answer.status, 200);
        answer.body
    }

    /// Lets every watchdog be received. Returns the calls since the last time.
    async fn settle(&mut self) -> Bill {
        self.pass(LATER);
        self.work().await;
        self.bill()
    }

    /// The calls since the last time.
    pub(crate) fn bill(&self) -> Bill {
        let mut all = self.counting.take();
        for polling in super::POLLING {
            all.calls.remove(polling);
        }
        all
    }
}
