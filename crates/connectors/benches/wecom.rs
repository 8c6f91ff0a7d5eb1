//! Throughput of one core that verifies, decrypts and decodes WeCom callbacks. `cargo bench -p tieline-connectors --bench wecom`.

#![expect(clippy::print_stdout, reason = "a measurement is for reading")]
#![expect(clippy::disallowed_methods, reason = "a measurement reads the clock")]
#![expect(clippy::unwrap_used, reason = "a measurement with wrong input must not go on")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use serde_json::Value;
use tieline_connectors::wecom::WeCom;
use tieline_core::account::{Account, ConnectionMode, Credentials, Endpoints};
use tieline_core::connector::{Connector as _, Context};
use tieline_core::http_types::WebhookRequest;
use tieline_core::ids::{IdMint, IntegrationId, OrganizationId};
use tieline_core::notice::Language;
use tieline_core::thinking_display::ThinkingDisplay;
use tieline_core::timestamp::Timestamp;

/// Length of a round; the best round counts, so that load of the machine doesn't spoil the result.
const ROUND: Duration = Duration::from_millis(500);
const ROUNDS: usize = 8;

fn main() {
    let vectors: Value = serde_json::from_str(include_str!("../src/wecom/vectors/receive-text.json")).unwrap();
    let mut vectors = vectors.as_array().unwrap().iter();
    let vector = vectors
        .find(|vector| vector["name"] == "group text with a quote; the quote is context only")
        .unwrap();
    let account = account(&vector["account"]["credentials"]);
    let request = WebhookRequest {
        method: "POST".into(),
        query: vector["request"]["query"].as_str().unwrap().into(),
        headers: Vec::new(),
        body: vector["request"]["body"].to_string().into_bytes(),
    };
    let cx = Context {
        account: &account,
        now: Timestamp::from_secs(1_760_000_400),
        random: [7; 32],
        welcome: None,
        unaddressed: tieline_core::connector::Unaddressed::Ignored,
    };
    assert_eq!(WeCom.receive(&request, &cx).unwrap().events.len(), 1);
    let rates = (0..ROUNDS).map(|_| round(&request, &cx));
    let best = rates.fold(0.0, f64::max);
    println!(
        "callbacks of {} bytes: {best:.0} per second and core",
        request.body.len()
    );
}

fn round(request: &WebhookRequest, cx: &Context<'_>) -> f64 {
    let start = Instant::now();
    let mut count = 0;
    while start.elapsed() < ROUND {
        for _ in 0..100 {
            black_box(WeCom.receive(black_box(request), cx).unwrap());
        }
        count += 100;
    }
    f64::from(count) / start.elapsed().as_secs_f64()
}

fn account(fields: &Value) -> Account {
    let fields = fields.as_object().unwrap().iter();
    let credentials: Credentials = fields
        .map(|(name, value)| (name.clone(), value.as_str().unwrap()))
        .collect();
    let mode = ConnectionMode::Webhook;
    Account {
        integration: IntegrationId::new("int_1"),
        organization: OrganizationId::new("default"),
        mode,
        prepared: WeCom.prepare(mode, &credentials, &Endpoints::new()).unwrap(),
        credentials,
        endpoints: Endpoints::new(),
        language: Language::English,
        streaming: true,
        thinking: ThinkingDisplay::default(),
        ids: IdMint::new(&[7; 32]),
        allow_private: false,
    }
}
