//! Settings from the environment besides those that all deployables read.

use std::net::SocketAddr;

use anyhow::Context as _;

/// Address of the health endpoint.
pub(crate) const LISTEN: &str = "TIELINE_RELAY_LISTEN";
/// Only reachable from inside the container: nothing connects to the relay from outside.
const DEFAULT_LISTEN: &str = "127.0.0.1:8081";

/// Address of the health endpoint.
pub(crate) fn listen(get: impl Fn(&str) -> Option<String>) -> anyhow::Result<SocketAddr> {
    let text = get(LISTEN)
        .filter(|text| !text.is_empty())
        .unwrap_or_else(|| DEFAULT_LISTEN.to_owned());
    text.parse()
        .with_context(|| format!("{LISTEN} is not an address with a port"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_health_endpoint_listens_on_loopback_by_default() {
        assert!(listen(|_| None).is_ok_and(|address| address.ip().is_loopback()));
        assert!(listen(|_| Some("0.0.0.0:9".into())).is_ok_and(|address| address.port() == 9));
        assert!(listen(|_| Some("here".into())).is_err());
    }
}
