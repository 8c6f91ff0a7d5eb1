//! SSRF guard: the one HTTP client that calls addresses which a user or a platform gave us.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tieline_core::outbound_url::is_special;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
const MAX_IDLE_PER_HOST: usize = 64;

/// The client, built on first use: a function that makes no calls neither carries it nor reads the system's certificates.
#[derive(Debug, Clone)]
pub struct Egress {
    allow_private: bool,
    client: Arc<OnceLock<reqwest::Client>>,
}

impl Egress {
    /// A client that follows no redirects, ignores proxy variables and, unless `allow_private`, connects to no private or special address,
    /// checked **after** DNS resolution. An IP literal never reaches the resolver: [`tieline_core::outbound_url::check`] must have checked it.
    #[must_use]
    pub fn new(allow_private: bool) -> Self {
        Self {
            allow_private,
            client: Arc::default(),
        }
    }

    /// Builds the client now. For programs that will make calls: a broken TLS setup is reported at the start.
    ///
    /// # Errors
    /// If the TLS backend can't be set up.
    pub fn warm(&self) -> Result<(), reqwest::Error> {
        if self.client.get().is_none() {
            let client = build(self.allow_private)?;
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
            .get_or_init(|| build(self.allow_private).expect("TLS can be set up on this machine"))
    }
}

fn build(allow_private: bool) -> Result<reqwest::Client, reqwest::Error> {
    let builder = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_idle_timeout(IDLE_TIMEOUT)
        .pool_max_idle_per_host(MAX_IDLE_PER_HOST)
        .user_agent(concat!("tieline/", env!("CARGO_PKG_VERSION")));
    let guarded = if allow_private {
        builder
    } else {
        builder.dns_resolver(Arc::new(PublicOnly)).https_only(true)
    };
    guarded.build()
}

/// Resolves names and keeps only public addresses.
struct PublicOnly;

/// Why a name is refused.
#[derive(Debug, thiserror::Error)]
#[error("the name resolves to no public address")]
struct NoPublicAddress;

impl Resolve for PublicOnly {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let public: Vec<SocketAddr> = found.filter(|address| !is_special(address.ip())).collect();
            if public.is_empty() {
                return Err(NoPublicAddress.into());
            }
            Ok(Box::new(public.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_name_of_a_private_address_is_refused_after_resolving() {
        let guarded = Egress::new(false);
        let error = guarded.client().get("https://localhost:1/").send().await.unwrap_err();
        assert!(error.is_connect(), "{error:?}");
        assert!(format!("{error:?}").contains("NoPublicAddress"), "{error:?}");
    }

    #[tokio::test]
    async fn plain_http_is_refused() {
        assert!(
            Egress::new(false)
                .client()
                .get("http://example.com/")
                .send()
                .await
                .unwrap_err()
                .is_builder()
        );
    }
}
