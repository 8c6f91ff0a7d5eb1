//! The agent card: which interface to call.

use serde::{Deserialize, Serialize};
use tieline_core::agent::AgentFailure;

use super::wire::{Card, Version};
use crate::failure;

/// The protocol binding that this adapter supports.
const JSON_RPC: &str = "JSONRPC";

/// An interface of an agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Endpoint {
    pub(crate) url: String,
    pub(crate) version: Version,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) tenant: Option<String>,
    /// Whether answers can be streamed.
    pub(crate) streams: bool,
}

/// Chooses the first JSON-RPC interface of a version that we support and that `only` allows.
pub(crate) fn choose(card: &Card, only: Option<Version>) -> Result<Endpoint, AgentFailure> {
    let allowed = |version: &Version| only.is_none_or(|only| only == *version);
    let streams = card.capabilities.streaming;
    let newer = card.supported_interfaces.iter().filter_map(|it| {
        let version = Version::of(&it.protocol_version).filter(allowed)?;
        (it.protocol_binding == JSON_RPC).then(|| Endpoint {
            url: it.url.clone(),
            version,
            tenant: it.tenant.clone().filter(|tenant| !tenant.is_empty()),
            streams,
        })
    });
    let older = || {
        // Cards before 0.2.5 have no version.
        let version = Version::of(card.protocol_version.as_deref().unwrap_or("0.2")).filter(allowed)?;
        let main = card
            .url
            .as_deref()
            .filter(|_| is_json_rpc(card.preferred_transport.as_deref()));
        let others = card.additional_interfaces.iter().filter(|it| it.transport == JSON_RPC);
        let url = main.or_else(|| others.map(|it| it.url.as_str()).next())?;
        Some(Endpoint {
            url: url.to_owned(),
            version,
            tenant: None,
            streams,
        })
    };
    newer.into_iter().next().or_else(older).ok_or_else(|| {
        let message = "the agent's card offers no JSON-RPC interface of version 1.0 or 0.3 that the settings allow";
        failure::new(failure::BAD_ANSWER, message, false)
    })
}

fn is_json_rpc(transport: Option<&str>) -> bool {
    transport.is_none_or(|transport| transport == JSON_RPC)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn chosen(card: Value, only: Option<Version>) -> Option<(String, Version)> {
        let card: Card = serde_json::from_value(card).unwrap();
        choose(&card, only).ok().map(|it| (it.url, it.version))
    }

    #[test]
    fn first_supported_interface_is_chosen() {
        let card = json!({"supportedInterfaces": [
            {"url": "https://a/grpc", "protocolBinding": "GRPC", "protocolVersion": "1.0"},
            {"url": "https://a/v2", "protocolBinding": "JSONRPC", "protocolVersion": "2.0"},
            {"url": "https://a/v1", "protocolBinding": "JSONRPC", "protocolVersion": "1.0"},
            {"url": "https://a/v03", "protocolBinding": "JSONRPC", "protocolVersion": "0.3"},
        ]});
        assert_eq!(chosen(card.clone(), None), Some(("https://a/v1".into(), Version::V1)));
        assert_eq!(
            chosen(card, Some(Version::V03)),
            Some(("https://a/v03".into(), Version::V03))
        );
    }

    #[test]
    fn older_cards_have_one_url_and_optional_others() {
        let both = json!({"url": "https://a/old", "protocolVersion": "0.3.0", "supportedInterfaces": [
            {"url": "https://a/new", "protocolBinding": "JSONRPC", "protocolVersion": "1.0"}]});
        assert_eq!(chosen(both.clone(), None), Some(("https://a/new".into(), Version::V1)));
        assert_eq!(
            chosen(both, Some(Version::V03)),
            Some(("https://a/old".into(), Version::V03))
        );
        let other = json!({"url": "https://a/grpc", "preferredTransport": "GRPC", "protocolVersion": "0.3.0",
            "additionalInterfaces": [{"url": "https://a/rpc", "transport": "JSONRPC"}]});
        assert_eq!(chosen(other, None), Some(("https://a/rpc".into(), Version::V03)));
        assert_eq!(
            chosen(json!({"url": "https://a"}), None),
            Some(("https://a".into(), Version::V03))
        );
        assert_eq!(chosen(json!({"name": "x"}), None), None);
        assert_eq!(
            chosen(json!({"url": "https://a", "preferredTransport": "GRPC"}), None),
            None
        );
    }
}
