//! An agent's HTTP API: calls with JSON bodies and responses, below one base URL.

use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Method, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tieline_core::agent::AgentFailure;
use url::Url;

use crate::answer::{self, Answer, Events};
use crate::call::{self, Manner};
use crate::env::Env;
use crate::error_body::ErrorBody;
use crate::settings;
use crate::{api, failure};

/// Base URL, headers of every call, and the idle timeout.
#[derive(Clone)]
pub(crate) struct JsonApi {
    pub(crate) base: Url,
    pub(crate) headers: HeaderMap,
    pub(crate) idle: Duration,
}

/// One call.
pub(crate) struct JsonCall<'a> {
    method: Method,
    path: &'a [&'a str],
    query: &'a [(&'a str, &'a str)],
    headers: HeaderMap,
    body: Option<Bytes>,
}

impl<'a> JsonCall<'a> {
    pub(crate) fn get(path: &'a [&'a str]) -> Self {
        Self::new(Method::GET, path, None)
    }

    pub(crate) fn post(path: &'a [&'a str], body: &impl Serialize) -> Result<Self, AgentFailure> {
        let body = serde_json::to_vec(body);
        let body =
            body.map_err(|_| failure::new(failure::AGENT_ERROR, "the request can't be written as JSON", false))?;
        Ok(Self::new(Method::POST, path, Some(Bytes::from(body))))
    }

    fn new(method: Method, path: &'a [&'a str], body: Option<Bytes>) -> Self {
        let mut headers = HeaderMap::new();
        if body.is_some() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        Self {
            method,
            path,
            query: &[],
            headers,
            body,
        }
    }

    pub(crate) fn query(self, query: &'a [(&'a str, &'a str)]) -> Self {
        Self { query, ..self }
    }

    pub(crate) fn header(mut self, name: &'static str, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }
}

impl JsonApi {
    /// Sends a call, with the retries that `manner` allows.
    pub(crate) async fn send(
        &self,
        request: &JsonCall<'_>,
        manner: Manner,
        env: &Env,
    ) -> Result<Response, AgentFailure> {
        // The base itself keeps its trailing slash.
        let mut url = match request.path {
            [] => self.base.clone(),
            path => settings::below(&self.base, path),
        };
        if !request.query.is_empty() {
            url.query_pairs_mut().extend_pairs(request.query);
        }
        let make = || {
            let sent = env.http.request(request.method.clone(), url.clone());
            let sent = sent.headers(self.headers.clone()).headers(request.headers.clone());
            match &request.body {
                Some(body) => sent.body(body.clone()),
                None => sent,
            }
        };
        call::send(make, manner, env).await
    }

    /// Sends a call and reads the response as JSON.
    pub(crate) async fn json<T: DeserializeOwned>(
        &self,
        request: &JsonCall<'_>,
        manner: Manner,
        env: &Env,
    ) -> Result<T, AgentFailure> {
        let send = || self.send(request, manner, env);
        let read = |response| api::document(response, self.idle);
        call::send_and_read(manner, env, send, read).await
    }

    /// Opens a response as server-sent events. `None` if the connection broke before the first event.
    pub(crate) async fn events(&self, response: Response) -> Result<Option<Box<Events>>, AgentFailure> {
        match answer::open(response, self.idle).await {
            Ok(Answer::Events(events)) => Ok(Some(events)),
            Ok(Answer::Json(body)) => {
                let unexpected = failure::bad_answer("expected server-sent events, got JSON");
                Err(ErrorBody::failure_in(&body, unexpected))
            }
            Err(failure) if failure.code == failure::BROKEN => Ok(None),
            Err(failure) => Err(failure),
        }
    }
}
