//! A client of the management API, on this machine or on a deployed stack.

mod api_error;
mod token;

use std::time::Duration;

use anyhow::Context as _;
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use tieline_core::secret::Secret;
use url::Url;

use crate::args::Bridge;
use crate::kind::Kind;

use self::api_error::read;
use self::token::is_loopback;

pub use self::api_error::ApiError;

/// Longer than the bridge holds a long poll.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Maximum page size of the API.
const PAGE: usize = 200;

/// HTTP client of the management API, for one operator and organization.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    base: Url,
    token: Secret,
    organization: String,
}

impl Client {
    /// A client configured by the command line.
    ///
    /// # Errors
    /// If there is no token, or TLS can't be set up.
    pub fn new(bridge: &Bridge) -> anyhow::Result<Self> {
        let base = Url::parse(&bridge.url).context("TIELINE_URL is not an address")?;
        let token = token::find(bridge, &base)?;
        Self::with(base, token, &bridge.org)
    }

    /// A client for a bridge at `base`.
    ///
    /// # Errors
    /// If TLS can't be set up.
    pub fn with(base: Url, token: Secret, organization: &str) -> anyhow::Result<Self> {
        let builder = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(ANSWER_TIMEOUT)
            .user_agent(concat!("tieline/", env!("CARGO_PKG_VERSION")));
        // The operator's proxy may be needed for a stack in the cloud, never for this machine.
        let builder = if is_loopback(&base) {
            builder.no_proxy()
        } else {
            builder
        };
        Ok(Self {
            http: builder.build().context("can't set up TLS")?,
            base,
            token,
            organization: organization.to_owned(),
        })
    }

    /// The same operator and bridge, with another organization.
    #[must_use]
    pub fn within(&self, organization: &str) -> Self {
        Self {
            organization: organization.to_owned(),
            ..self.clone()
        }
    }

    /// The organization that requests refer to.
    #[must_use]
    pub fn organization(&self) -> &str {
        &self.organization
    }

    /// Gets `/api/v1/orgs/{org}/{path}`.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn get(&self, path: &[&str], query: &[(&str, &str)]) -> Result<Value, ApiError> {
        self.send(self.request(Method::GET, &self.own(path)).query(query)).await
    }

    /// Posts to `/api/v1/orgs/{org}/{path}`.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn post(&self, path: &[&str], body: &Value) -> Result<Value, ApiError> {
        self.send(self.request(Method::POST, &self.own(path)).json(body)).await
    }

    /// Posts to `/api/v1/orgs/{org}/{path}` with a query.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn post_with(&self, path: &[&str], query: &[(&str, &str)], body: &Value) -> Result<Value, ApiError> {
        self.send(self.request(Method::POST, &self.own(path)).query(query).json(body))
            .await
    }

    /// Deletes `/api/v1/orgs/{org}/{path}`.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn delete(&self, path: &[&str], query: &[(&str, &str)]) -> Result<(), ApiError> {
        let request = self.request(Method::DELETE, &self.own(path)).query(query);
        self.send(request).await.map(drop)
    }

    /// Patches `/api/v1/orgs/{org}/{path}`.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn patch(&self, path: &[&str], body: &Value) -> Result<Value, ApiError> {
        self.send(self.request(Method::PATCH, &self.own(path)).json(body)).await
    }

    /// Patches `/api/v1/orgs/{org}/{path}` with a query.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn patch_with(&self, path: &[&str], query: &[(&str, &str)], body: &Value) -> Result<Value, ApiError> {
        self.send(self.request(Method::PATCH, &self.own(path)).query(query).json(body))
            .await
    }

    /// Gets a text at `/api/v1/orgs/{org}/{path}`.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn text(&self, path: &[&str], query: &[(&str, &str)]) -> Result<String, ApiError> {
        let (status, body) = self
            .fetch(self.request(Method::GET, &self.own(path)).query(query))
            .await?;
        if status.is_success() {
            return Ok(String::from_utf8_lossy(&body).into_owned());
        }
        let strange = ApiError::Strange {
            base: self.base.to_string(),
            status: status.as_u16(),
        };
        Err(read(&self.base, status, &body).err().unwrap_or(strange))
    }

    /// Gets a path outside any organization.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn get_root(&self, path: &[&str], query: &[(&str, &str)]) -> Result<Value, ApiError> {
        self.send(self.request(Method::GET, path).query(query)).await
    }

    /// Posts to a path outside any organization.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn post_root(&self, path: &[&str], body: &Value) -> Result<Value, ApiError> {
        self.send(self.request(Method::POST, path).json(body)).await
    }

    /// Posts to a path outside any organization, with a query.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn post_root_with(&self, path: &[&str], query: &[(&str, &str)]) -> Result<Value, ApiError> {
        self.send(self.request(Method::POST, path).query(query).json(&Value::Null))
            .await
    }

    /// All resources of a kind in the organization.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn all(&self, kind: Kind) -> Result<Vec<Value>, ApiError> {
        Ok(self.list(&self.own(&[kind.plural()]), &[], usize::MAX).await?.0)
    }

    /// At most `limit` items of a list, and whether there are more.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn list(
        &self,
        path: &[&str],
        query: &[(&str, &str)],
        limit: usize,
    ) -> Result<(Vec<Value>, bool), ApiError> {
        let mut items = Vec::new();
        let mut cursor = String::new();
        loop {
            let wanted = PAGE.min(limit - items.len()).to_string();
            let mut query = query.to_vec();
            query.push(("limit", &wanted));
            if !cursor.is_empty() {
                query.push(("cursor", &cursor));
            }
            let mut page = self.send(self.request(Method::GET, path).query(&query)).await?;
            if let Some(Value::Array(found)) = page.get_mut("items").map(Value::take) {
                items.extend(found);
            }
            let next = page["nextCursor"].as_str().unwrap_or_default().to_owned();
            if next.is_empty() || next == cursor || items.len() >= limit {
                return Ok((items, !next.is_empty()));
            }
            cursor = next;
        }
    }

    /// The resource with this id, else the one with this name.
    ///
    /// # Errors
    /// If there is none.
    pub async fn find(&self, kind: Kind, which: &str) -> anyhow::Result<Value> {
        match self.get(&[kind.plural(), which], &[]).await {
            Err(error) if error.is_missing() && kind.is_named() => {}
            Err(error) if error.is_missing() => {
                anyhow::bail!("there is no {} {which:?}", kind.singular());
            }
            found => return Ok(found?),
        }
        let known = self.all(kind).await?;
        let found = known.into_iter().find(|item| item["name"] == which);
        found.with_context(|| {
            let (kind, organization) = (kind.singular(), &self.organization);
            format!("there is no {kind} with the id or name {which:?} in the organization {organization:?}")
        })
    }

    /// The path of a resource in the organization.
    #[must_use]
    pub fn own<'a>(&'a self, path: &[&'a str]) -> Vec<&'a str> {
        let own = ["api", "v1", "orgs", &self.organization];
        own.iter().chain(path).copied().collect()
    }

    fn request(&self, method: Method, path: &[&str]) -> RequestBuilder {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            // Each segment is escaped: a name from the command line can't change the path.
            segments.pop_if_empty().extend(path);
        }
        self.http.request(method, url).bearer_auth(self.token.expose())
    }

    async fn send(&self, request: RequestBuilder) -> Result<Value, ApiError> {
        let (status, body) = self.fetch(request).await?;
        read(&self.base, status, &body)
    }

    async fn fetch(&self, request: RequestBuilder) -> Result<(StatusCode, Vec<u8>), ApiError> {
        let unreachable = |source: reqwest::Error| ApiError::Unreachable {
            base: self.base.to_string(),
            source: source.without_url(),
        };
        let response = request.send().await.map_err(unreachable)?;
        let status = response.status();
        let body = response.bytes().await.map_err(unreachable)?;
        Ok((status, body.into()))
    }
}

/// An empty body.
#[must_use]
pub fn nothing() -> Value {
    json!({})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_escaped_in_the_path() {
        let base = Url::parse("https://x.example.com/stage/").unwrap();
        let client = Client::with(base, Secret::new("t"), "a/b").unwrap();
        let request = client
            .request(Method::GET, &client.own(&["agents", "../x?y"]))
            .build()
            .unwrap();
        assert_eq!(
            request.url().as_str(),
            "https://x.example.com/stage/api/v1/orgs/a%2Fb/agents/..%2Fx%3Fy"
        );
    }
}
