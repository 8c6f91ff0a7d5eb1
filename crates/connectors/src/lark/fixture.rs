//! Test fixtures of this folder: the platform's vectors and an account.

use serde_json::Value;
use tieline_core::account::{Account, ConnectionMode, Credentials, Endpoints};
use tieline_core::connector::{Connector as _, Context};
use tieline_core::ids::{IdMint, IntegrationId, OrganizationId};
use tieline_core::notice::Language;
use tieline_core::thinking_display::ThinkingDisplay;
use tieline_core::timestamp::Timestamp;

use super::Lark;

pub(super) const NOW: Timestamp = Timestamp::from_millis(1_760_000_010_000);

/// The vectors from the platform's protocol notes.
pub(super) fn vectors() -> Value {
    serde_json::from_str(include_str!("vectors/upstream.json")).unwrap()
}

pub(super) fn text<'a>(vector: &'a Value, field: &str) -> &'a str {
    vector[field].as_str().unwrap()
}

pub(super) fn list<'a>(vectors: &'a Value, name: &str, n: usize) -> &'a [Value] {
    let list = vectors[name].as_array().unwrap();
    assert_eq!(list.len(), n, "{name}");
    list
}

/// An account of the vectors' app, with additional credentials.
pub(super) fn account(mode: ConnectionMode, more: &[(&str, &str)]) -> Account {
    let fixed = [
        ("appId", "cli_a1b2c3d4e5f60718"),
        ("appSecret", "0123456789abcdef0123456789abcdef"),
        ("verificationToken", "vTok3nTieline0001xyzABCDEFGHIJKL"),
    ];
    let credentials: Credentials = fixed.iter().chain(more).copied().collect();
    let endpoints = Endpoints::new();
    Account {
        integration: IntegrationId::new("int_1"),
        organization: OrganizationId::new("default"),
        mode,
        prepared: Lark.prepare(mode, &credentials, &endpoints).unwrap(),
        credentials,
        endpoints,
        language: Language::Chinese,
        streaming: true,
        thinking: ThinkingDisplay::default(),
        ids: IdMint::new(&[7; 32]),
        allow_private: false,
    }
}

pub(super) fn context(account: &Account, now: Timestamp) -> Context<'_> {
    Context {
        account,
        now,
        random: [7; 32],
        welcome: None,
        unaddressed: tieline_core::connector::Unaddressed::Ignored,
    }
}
