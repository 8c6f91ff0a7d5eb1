//! A client of the management API, on this machine or on a deployed stack.

use std::fs;
use std::net::IpAddr;
use std::time::Duration;

use anyhow::Context as _;
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use tieline_core::secret::Secret;
use url::{Host, Url};

use crate::args::Bridge;
use crate::data::ADMIN_TOKEN;
use crate::kind::Kind;

/// Longer than a bridge keeps a poll waiting.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Most items of a page, as the API has it.
const PAGE: usize = 200;

/// An operator's way to a bridge.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    base: Url,
    token: Secret,
    organization: String,
}

/// Why a bridge gave no answer that can be used.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// Nobody listens there, or not in time.
    #[error("can't reach the bridge at {base}; is it running, and is TIELINE_URL right?")]
    Unreachable {
        /// Where we looked.
        base: String,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// The token isn't one.
    #[error("the bridge at {base} doesn't know this token; set TIELINE_ADMIN_TOKEN")]
    Unauthorized {
        /// Whom we asked.
        base: String,
    },
    /// The bridge refused, and says why.
    #[error("{sentence}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// The stable word.
        code: String,
        /// What it says, for people.
        sentence: String,
        /// All that it says.
        problem: Box<Value>,
    },
    /// The bridge, or somebody in front of it, can't answer for now.
    #[error("{base} answered {status}: the bridge, or what stands in front of it, can't answer now; try again later")]
    Failing {
        /// Who answered.
        base: String,
        /// With which HTTP status.
        status: u16,
    },
    /// Something answered that is no bridge.
    #[error("{base} answered {status} in words that no bridge would use; is TIELINE_URL right?")]
    Strange {
        /// Who answered.
        base: String,
        /// With which HTTP status.
        status: u16,
    },
}

impl ApiError {
    /// The stable word of a refusal.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Refused { code, .. } => Some(code),
            _ => None,
        }
    }

    /// What a refusal says beside its sentence, such as `impact`.
    #[must_use]
    pub fn member(&self, name: &str) -> Option<&Value> {
        match self {
            Self::Refused { problem, .. } => problem.get(name),
            _ => None,
        }
    }

    /// Whether it may pass by itself, as while a bridge restarts.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Failing { .. } => true,
            Self::Refused { status, code, .. } => *status == 503 && code == "unavailable",
            Self::Unauthorized { .. } | Self::Strange { .. } => false,
        }
    }

    /// Whether there is no such thing.
    #[must_use]
    pub const fn is_missing(&self) -> bool {
        matches!(self, Self::Refused { status: 404, .. })
    }
}

impl Client {
    /// A client as the command line says.
    ///
    /// # Errors
    /// If there is no token, or TLS can't be set up.
    pub fn new(bridge: &Bridge) -> anyhow::Result<Self> {
        let base = Url::parse(&bridge.url).context("TIELINE_URL is not an address")?;
        let token = token(bridge, &base)?;
        Self::with(base, token, &bridge.org)
    }

    /// A client of a bridge at `base`.
    ///
    /// # Errors
    /// If TLS can't be set up.
    pub fn with(base: Url, token: Secret, organization: &str) -> anyhow::Result<Self> {
        let builder = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(ANSWER_TIMEOUT)
            .user_agent(concat!("tieline/", env!("CARGO_PKG_VERSION")));
        // A proxy of the operator's may lead to a stack in the cloud, never to this machine.
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

    /// The same operator in another organization.
    #[must_use]
    pub fn within(&self, organization: &str) -> Self {
        Self {
            organization: organization.to_owned(),
            ..self.clone()
        }
    }

    /// The organization it works in.
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

    /// Gets a path outside of any organization.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn get_root(&self, path: &[&str], query: &[(&str, &str)]) -> Result<Value, ApiError> {
        self.send(self.request(Method::GET, path).query(query)).await
    }

    /// Posts to a path outside of any organization.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn post_root(&self, path: &[&str], body: &Value) -> Result<Value, ApiError> {
        self.send(self.request(Method::POST, path).json(body)).await
    }

    /// All items of a kind in the organization.
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

    /// The thing with this id, else the one with this name.
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

    /// The path of something in the organization.
    #[must_use]
    pub fn own<'a>(&'a self, path: &[&'a str]) -> Vec<&'a str> {
        let own = ["api", "v1", "orgs", &self.organization];
        own.iter().chain(path).copied().collect()
    }

    fn request(&self, method: Method, path: &[&str]) -> RequestBuilder {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            // Each segment is escaped: a name from the command line can't leave its place.
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

/// What an answer says, if it is a bridge's.
fn read(base: &Url, status: StatusCode, body: &[u8]) -> Result<Value, ApiError> {
    let base = base.to_string();
    if status == StatusCode::UNAUTHORIZED {
        return Err(ApiError::Unauthorized { base });
    }
    if status.is_success() && body.is_empty() {
        return Ok(Value::Null);
    }
    let answer = serde_json::from_slice::<Value>(body).ok();
    if status.is_success()
        && let Some(answer) = answer
    {
        return Ok(answer);
    }
    let status = status.as_u16();
    Err(match answer.and_then(|problem| refused(status, &problem)) {
        Some(refused) => refused,
        // Without a word of ours: a proxy's page, or our own empty answer to a platform.
        None if status >= 500 => ApiError::Failing { base, status },
        None => ApiError::Strange { base, status },
    })
}

/// What a problem says, as one sentence.
fn refused(status: u16, problem: &Value) -> Option<ApiError> {
    let code = problem["code"].as_str()?;
    let said = problem["detail"].as_str().or_else(|| problem["title"].as_str());
    let mut sentence = said.unwrap_or("refused").trim_end_matches('.').to_owned();
    let field = problem["field"].as_str().unwrap_or_default();
    if !sentence.contains(field) {
        sentence = format!("{field}: {sentence}");
    }
    if let Some(rival) = rival(&problem["boundTo"]) {
        sentence = format!("{sentence}; bound to {rival}");
    }
    Some(ApiError::Refused {
        status,
        code: code.to_owned(),
        sentence: format!("{sentence} ({code})"),
        problem: Box::new(problem.clone()),
    })
}

/// Who has what was asked for, from the most to the least telling.
fn rival(bound_to: &Value) -> Option<String> {
    let of = |kind: &str, field: &str| Some(format!("{kind} {}", bound_to[field].as_str()?));
    let agent = of("agent", "agentName").or_else(|| of("agent", "agentId"));
    let all = [of("trigger", "triggerId"), of("integration", "integrationId"), agent];
    let named: Vec<String> = all.into_iter().flatten().collect();
    (!named.is_empty()).then(|| named.join(", "))
}

fn token(bridge: &Bridge, base: &Url) -> anyhow::Result<Secret> {
    if let Some(given) = bridge.admin_token.as_deref().filter(|given| !given.is_empty()) {
        return Ok(Secret::new(given));
    }
    // Only to this machine: the token of a bridge here is nothing to show to one elsewhere.
    let path = bridge.data_dir.join(ADMIN_TOKEN);
    let looked = "looked at --admin-token and TIELINE_ADMIN_TOKEN, which are not set";
    if !is_loopback(base) {
        let host = base.host_str().unwrap_or_default();
        let file = "the token in the data directory is for a bridge on this machine only";
        anyhow::bail!("no token to sign in with at {host}: {looked}; {file}");
    }
    match fs::read_to_string(&path) {
        Ok(text) => Ok(Secret::new(text.trim())),
        Err(error) => {
            let path = std::path::absolute(&path).unwrap_or(path);
            let file = format!("and at the file {} ({error})", path.display());
            anyhow::bail!("no token to sign in with: {looked}, {file}; --data-dir names another data directory")
        }
    }
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => IpAddr::from(address).is_loopback(),
        Some(Host::Ipv6(address)) => IpAddr::from(address).is_loopback(),
        None => false,
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

    fn bridge(url: &str, dir: &std::path::Path) -> Bridge {
        Bridge {
            url: url.to_owned(),
            admin_token: None,
            org: "default".to_owned(),
            data_dir: dir.to_owned(),
        }
    }

    #[test]
    fn the_kept_token_is_shown_to_this_machine_only() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(ADMIN_TOKEN), "tla_kept\n").unwrap();
        for url in ["http://127.0.0.1:8080", "http://localhost:1", "http://[::1]:9"] {
            assert!(Client::new(&bridge(url, dir.path())).unwrap().token.matches("tla_kept"));
        }
        for url in ["https://bridge.example.com", "http://127.0.0.1.example.com"] {
            let error = Client::new(&bridge(url, dir.path())).unwrap_err().to_string();
            assert!(error.contains("TIELINE_ADMIN_TOKEN"), "{error}");
        }
    }

    #[test]
    fn a_missing_token_is_explained_with_the_places_that_were_looked_at() {
        let dir = tempfile::tempdir().unwrap();
        let error = Client::new(&bridge("http://127.0.0.1:1", dir.path()))
            .unwrap_err()
            .to_string();
        let path = dir.path().join(ADMIN_TOKEN).display().to_string();
        for place in ["--admin-token", "TIELINE_ADMIN_TOKEN", &path, "--data-dir"] {
            assert!(error.contains(place), "{place}: {error}");
        }
    }

    #[test]
    fn problems_read_as_sentences() {
        #[track_caller]
        fn check(problem: Value, expected: &str) {
            assert_eq!(refused(400, &problem).unwrap().to_string(), expected);
        }
        check(
            json!({ "code": "invalid_field", "detail": "name is required", "field": "name" }),
            "name is required (invalid_field)",
        );
        check(
            json!({ "code": "invalid_field", "title": "Can't be used.", "field": "config.baseUrl" }),
            "config.baseUrl: Can't be used (invalid_field)",
        );
        check(
            json!({ "code": "integration_already_bound", "detail": "another trigger has it",
                "boundTo": { "triggerId": "trg_1", "agentId": "agt_1", "agentName": "Echo" } }),
            "another trigger has it; bound to trigger trg_1, agent Echo (integration_already_bound)",
        );
        check(
            json!({ "code": "account_in_use", "detail": "taken", "boundTo": { "integrationId": "int_1" } }),
            "taken; bound to integration int_1 (account_in_use)",
        );
    }

    #[test]
    fn what_may_pass_is_told_from_what_is_no_bridge() {
        #[track_caller]
        fn check(status: u16, body: &str, may_pass: bool, expected: &str) {
            let base = Url::parse("https://x.example.com").unwrap();
            let error = read(&base, StatusCode::from_u16(status).unwrap(), body.as_bytes()).unwrap_err();
            assert_eq!((error.may_pass(), &*error.to_string()), (may_pass, expected));
        }
        let failing = |status| {
            format!(
                "https://x.example.com/ answered {status}: the bridge, or what stands in front of it, can't answer now; try again later"
            )
        };
        check(502, "<html>Bad Gateway</html>", true, &failing(502));
        check(503, "", true, &failing(503));
        check(
            504,
            r#"{ "message": "Endpoint request timed out" }"#,
            true,
            &failing(504),
        );
        let busy = r#"{ "code": "unavailable", "detail": "the store can't be reached; try again" }"#;
        check(503, busy, true, "the store can't be reached; try again (unavailable)");
        let broken = r#"{ "code": "internal", "detail": "something stored can't be read" }"#;
        check(500, broken, false, "something stored can't be read (internal)");
        let strange = |status| {
            format!("https://x.example.com/ answered {status} in words that no bridge would use; is TIELINE_URL right?")
        };
        check(404, "<html>Not Found</html>", false, &strange(404));
        check(200, "<html>Welcome</html>", false, &strange(200));
    }

    #[test]
    fn names_stay_in_their_place_of_the_path() {
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
