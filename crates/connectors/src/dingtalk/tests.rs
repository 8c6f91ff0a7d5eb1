//! The shared protocol vectors, and property tests.

mod callbacks;
mod delivery;
mod frames;
mod media;
mod properties;
mod signatures;
mod tokens;

use serde_json::Value;
use tieline_core::account::{Account, ConnectionMode, Credentials, Endpoints};
use tieline_core::connector::{Connector as _, Context};
use tieline_core::ids::{IdMint, IntegrationId, OrganizationId};
use tieline_core::notice::Language;
use tieline_core::thinking_display::ThinkingDisplay;
use tieline_core::timestamp::Timestamp;

use super::DingTalk;

pub(super) const CLIENT: [(&str, &str); 2] = [("clientId", "dingtielinedemo01"), ("clientSecret", "s3cret")];

/// The vectors that every implementation of the protocol shares.
fn vectors() -> Value {
    serde_json::from_str(include_str!("vectors/dingtalk.json")).unwrap()
}

fn rows<'a>(vectors: &'a Value, group: &str, list: &str) -> &'a [Value] {
    vectors[group][list].as_array().unwrap()
}

fn field<'a>(vector: &'a Value, name: &str) -> &'a str {
    vector[name].as_str().unwrap()
}

pub(super) fn account(mode: ConnectionMode, fields: &[(&str, &str)]) -> Account {
    let credentials: Credentials = fields.iter().copied().collect();
    Account {
        integration: IntegrationId::new("int_1"),
        organization: OrganizationId::new("default"),
        mode,
        prepared: DingTalk.prepare(mode, &credentials, &Endpoints::new()).unwrap(),
        credentials,
        endpoints: Endpoints::new(),
        language: Language::Chinese,
        streaming: true,
        thinking: ThinkingDisplay::default(),
        ids: IdMint::new(&[7; 32]),
        allow_private: false,
    }
}

pub(super) fn at(account: &Account, now_ms: i64) -> Context<'_> {
    Context {
        account,
        now: Timestamp::from_millis(now_ms),
        random: [7; 32],
        welcome: None,
        unaddressed: tieline_core::connector::Unaddressed::Ignored,
    }
}
