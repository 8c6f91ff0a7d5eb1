//! SSRF guard: the one HTTP client that calls addresses which a user or a platform gave us.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tieline_core::outbound_url::PrivateEndpoints;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
const MAX_IDLE_PER_HOST: usize = 64;

/// The client, built on first use: a function that makes no calls neither carries it nor reads the system's certificates.
#[derive(Debug, Clone)]
pub struct Egress {
    allowed: PrivateEndpoints,
    client: Arc<OnceLock<reqwest::Client>>,
    #[cfg(feature = "seeded")]
    simulated: Option<Arc<dyn crate::seeded::SimulatedPlatform>>,
}

impl Egress {
    /// A client that follows no redirects, ignores proxy variables and connects to no private or special address that is not `allowed`,
    /// checked **after** DNS resolution. An IP literal never reaches the resolver: [`tieline_core::outbound_url::check`] must have checked it.
    #[must_use]
    pub fn new(allowed: PrivateEndpoints) -> Self {
        Self {
            allowed,
            client: Arc::default(),
            #[cfg(feature = "seeded")]
            simulated: None,
        }
    }

    /// The same client, but a simulated platform answers the calls of connectors.
    #[cfg(feature = "seeded")]
    #[must_use]
    pub fn to_simulated(self, platform: Arc<dyn crate::seeded::SimulatedPlatform>) -> Self {
        Self {
            simulated: Some(platform),
            ..self
        }
    }

    /// The simulated platform, if there is one.
    #[cfg(feature = "seeded")]
    pub(crate) fn simulated(&self) -> Option<&dyn crate::seeded::SimulatedPlatform> {
        self.simulated.as_deref()
    }

    /// Builds the client now. For programs that will make calls: a broken TLS setup is reported at the start.
    ///
    /// # Errors
    /// If the TLS backend can't be set up.
    pub fn warm(&self) -> Result<(), reqwest::Error> {
        if self.client.get().is_none() {
            let client = build(&self.allowed)?;
            self.client.get_or_init(|| client);
        }
        Ok(())
    }

    /// The client.
    ///
    /// # Panics
    /// If the TLS backend can't be set up, which [`Self::warm`] reports.
    #[must_use]
    pub fn client(&self) -> &reqwest::Client {
        self.client
            .get_or_init(|| build(&self.allowed).expect("TLS can be set up on this machine"))
    }
}

fn build(allowed: &PrivateEndpoints) -> Result<reqwest::Client, reqwest::Error> {
    let builder = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_idle_timeout(IDLE_TIMEOUT)
        .pool_max_idle_per_host(MAX_IDLE_PER_HOST)
        .user_agent(concat!("tieline/", env!("CARGO_PKG_VERSION")));
    let builder = builder.https_only(!allowed.allows_plain());
    match allowed {
        PrivateEndpoints::Allowed => builder,
        PrivateEndpoints::Refused | PrivateEndpoints::Within(_) => {
            builder.dns_resolver(Arc::new(Guarded(allowed.clone())))
        }
    }
    .build()
}

/// Resolves names and keeps only addresses that may be called.
struct Guarded(PrivateEndpoints);

/// Why a name is refused.
#[derive(Debug, thiserror::Error)]
#[error("the name resolves to no address that may be called")]
struct NoAllowedAddress;

impl Resolve for Guarded {
    fn resolve(&self, name: Name) -> Resolving {
        let allowed = self.0.clone();
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let found: Vec<SocketAddr> = found.filter(|address| allowed.may_call(address.ip())).collect();
            if found.is_empty() {
                return Err(NoAllowedAddress.into());
            }
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_name_of_a_private_address_is_refused_after_resolving() {
        let guarded = Egress::new(PrivateEndpoints::Refused);
        let error = guarded.client().get("https://localhost:1/").send().await.unwrap_err();
        assert!(error.is_connect(), "{error:?}");
        assert!(format!("{error:?}").contains("NoAllowedAddress"), "{error:?}");
    }

    /// Nothing listens on port 1.
    #[tokio::test]
    async fn a_name_of_a_listed_address_is_called() {
        for (networks, is_refused) in [("127.0.0.0/8,::1", false), ("10.0.0.0/8", true)] {
            let guarded = Egress::new(PrivateEndpoints::within(networks).unwrap());
            let error = guarded.client().get("http://localhost:1/").send().await.unwrap_err();
            assert!(error.is_connect(), "{error:?}");
            assert_eq!(
                format!("{error:?}").contains("NoAllowedAddress"),
                is_refused,
                "{error:?}"
            );
        }
    }

    #[tokio::test]
    async fn plain_http_is_refused() {
        assert!(
            Egress::new(PrivateEndpoints::Refused)
                .client()
                .get("http://example.com/")
                .send()
                .await
                .unwrap_err()
                .is_builder()
        );
    }
}
