//! An agent's JSON API: calls below one base URL, with the same headers on each.

use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::multipart::Form;
use reqwest::{RequestBuilder, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tieline_core::agent::{AgentFailure, MAX_ANSWER_BYTES};
use url::Url;

use crate::answer;
use crate::call::{self, Fault, IDEMPOTENCY_KEY, Manner};
use crate::config::{self, InvalidConfig};
use crate::env::Env;
use crate::error_body::ErrorBody;
use crate::failure;
use crate::json;
use crate::settings::{self, Settings};

/// The API below `baseUrl`, called with `apiKey` as the bearer token.
#[derive(Clone)]
pub(crate) struct Api {
    base: Url,
    headers: HeaderMap,
}

impl Api {
    pub(crate) fn read(settings: &Settings<'_>) -> Result<Self, InvalidConfig> {
        Ok(Self {
            base: settings.address(&config::BASE_URL)?,
            headers: settings.bearer_headers()?,
        })
    }

    /// URL of a path below the base.
    pub(crate) fn url(&self, path: &[&str]) -> Url {
        settings::below(&self.base, path)
    }

    /// Posts JSON; questions carry an idempotency key.
    pub(crate) async fn post(
        &self,
        url: &Url,
        body: &impl Serialize,
        key: Option<HeaderValue>,
        manner: Manner,
        env: &Env,
    ) -> Result<Response, Fault> {
        let body = serde_json::to_vec(body).map(Bytes::from);
        let body = body.map_err(|_| Fault::from(failure::bad_request()))?;
        let make = || {
            let request = self.request(env.http.post(url.clone()));
            let request = request.header(CONTENT_TYPE, "application/json").body(body.clone());
            match &key {
                Some(key) => request.header(IDEMPOTENCY_KEY, key.clone()),
                None => request,
            }
        };
        call::try_send(make, manner, env).await
    }

    /// Fetches the state or the stream of a run that is in progress at the agent.
    pub(crate) async fn get(&self, url: &Url, patience: Duration, env: &Env) -> Result<Response, Fault> {
        let make = || self.request(env.http.get(url.clone()));
        call::try_send(make, Manner::rejoining(patience), env).await
    }

    /// Fetches a document once, for a probe.
    pub(crate) async fn get_once(&self, url: &Url, env: &Env) -> Result<Response, Fault> {
        let make = || self.request(env.http.get(url.clone()));
        call::try_send(make, Manner::probing(), env).await
    }

    /// Uploads a form that `make` creates for each attempt. A form that can't be built is a bad request.
    pub(crate) async fn upload(
        &self,
        url: &Url,
        make: impl Fn() -> Option<Form>,
        patience: Duration,
        env: &Env,
    ) -> Result<Response, Fault> {
        if make().is_none() {
            return Err(failure::bad_request().into());
        }
        let request = || {
            self.request(env.http.post(url.clone()))
                .multipart(make().unwrap_or_default())
        };
        call::try_send(request, Manner::asking(patience), env).await
    }

    /// Adds the headers of every call to `request`.
    pub(crate) fn request(&self, request: RequestBuilder) -> RequestBuilder {
        request.headers(self.headers.clone())
    }
}

/// Reads a response that is one JSON document. Some servers report errors with a success status.
pub(crate) async fn document<T: DeserializeOwned>(response: Response, idle: Duration) -> Result<T, AgentFailure> {
    let body = answer::whole(response, idle, MAX_ANSWER_BYTES).await?;
    parse(&body).map_err(|unexpected| ErrorBody::failure_in(&body, unexpected))
}

/// Parses a JSON document or event in the vendor's documented format.
pub(crate) fn parse<T: DeserializeOwned>(json: &[u8]) -> Result<T, AgentFailure> {
    // The parser's message may quote the answer.
    json::read(json).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        failure::bad_answer(format!(
            "expected the documented JSON, got something else at line {line}, column {column}"
        ))
    })
}
