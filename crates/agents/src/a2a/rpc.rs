//! JSON-RPC calls to one interface of an agent.

use reqwest::header::{ACCEPT, HeaderValue};
use serde_json::{Value, json};
use tieline_core::agent::AgentFailure;
use tieline_core::outbound_url;

use super::card::Endpoint;
use super::compose;
use super::wire::{Item, Method, RpcAnswer, RpcError, Version, code};
use crate::answer::{self, Answer, Events};
use crate::api;
use crate::call::{self, Manner};
use crate::env::Env;
use crate::failure;
use crate::json_api::{JsonApi, JsonCall};
use crate::rejoin::{self, Next};

/// Why a call has no result.
pub(super) enum CallError {
    Rpc(RpcError),
    Failure(AgentFailure),
}

impl From<AgentFailure> for CallError {
    fn from(failure: AgentFailure) -> Self {
        Self::Failure(failure)
    }
}

impl From<CallError> for AgentFailure {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Failure(failure) => failure,
            CallError::Rpc(RpcError { code, message }) => failure::new(
                format!("rpc_{code}"),
                format!("the agent refused the call: {message}"),
                code == code::INTERNAL,
            ),
        }
    }
}

/// The result of a call.
pub(super) enum Called {
    One(Item),
    Stream(Box<Events>),
}

/// Calls to one interface.
pub(super) struct Rpc<'a> {
    pub(super) api: JsonApi,
    pub(super) endpoint: Endpoint,
    pub(super) env: &'a Env,
}

/// Header with the protocol version. 0.3 has none.
const VERSION_HEADER: &str = "a2a-version";

impl<'a> Rpc<'a> {
    /// Calls to an interface that the card of `agent` names.
    ///
    /// The interface's URL comes from the agent: it is subject to the SSRF guard's rule for `baseUrl`, and the configured headers, which
    /// contain the key, are sent to `baseUrl`'s own origin only.
    pub(super) fn to(agent: &JsonApi, endpoint: Endpoint, env: &'a Env) -> Result<Self, AgentFailure> {
        let url = outbound_url::check(&endpoint.url, &env.allow_private).map_err(|error| {
            let message = format!("the interface in the agent's card can't be called: {error}");
            failure::new(failure::CONNECT, message, false)
        })?;
        let mut api = JsonApi {
            base: url,
            ..agent.clone()
        };
        if api.base.origin() != agent.base.origin() {
            let accept = api.headers.remove(ACCEPT);
            api.headers = accept.map(|accept| (ACCEPT, accept)).into_iter().collect();
        }
        if endpoint.version == Version::V1 {
            api.headers.insert(VERSION_HEADER, HeaderValue::from_static("1.0"));
        }
        Ok(Self { api, endpoint, env })
    }

    /// Calls a method. A question has an idempotency key.
    pub(super) async fn call(
        &self,
        method: Method,
        params: Value,
        key: Option<HeaderValue>,
        manner: Manner,
    ) -> Result<Called, CallError> {
        let method = self.endpoint.version.method(method);
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        let mut request = JsonCall::post(&[], &body)?;
        if let Some(key) = key {
            request = request.header(call::IDEMPOTENCY_KEY, key);
        }
        let send = || self.api.send(&request, manner, self.env);
        let read = |response| answer::open(response, self.api.idle);
        match call::send_and_read(manner, self.env, send, read).await? {
            Answer::Json(body) => one(api::parse(&body)?).map(Called::One),
            Answer::Events(events) => Ok(Called::Stream(events)),
        }
    }

    /// Calls a method about a task that is in progress at the agent.
    pub(super) async fn about(&self, method: Method, task: &str) -> Result<Called, CallError> {
        let mut params = compose::task_params(task, &self.endpoint);
        if method == Method::Get {
            // The person's messages are of no use to us, and may be many.
            params["historyLength"] = 0.into();
        }
        self.call(method, params, None, Manner::rejoining(self.api.idle)).await
    }
}

/// The result in a JSON-RPC response.
fn one(answer: RpcAnswer) -> Result<Item, CallError> {
    if let Some(error) = answer.error {
        return Err(CallError::Rpc(error));
    }
    let item = answer.result.and_then(Item::read);
    item.ok_or_else(|| failure::bad_answer("expected a task or a message, got another result").into())
}

/// The next event of a known type. `None` if the stream ended or its connection broke.
pub(super) async fn next_item(events: &mut Events) -> Result<Option<Item>, CallError> {
    while let Next::Event(event) = rejoin::next(events).await? {
        let answer: RpcAnswer = api::parse(event.data.as_bytes())?;
        match answer.error {
            Some(error) => return Err(CallError::Rpc(error)),
            None => {
                if let Some(item) = answer.result.and_then(Item::read) {
                    return Ok(Some(item));
                }
            }
        }
    }
    Ok(None)
}

/// Whether the agent doesn't support the method.
pub(super) fn is_unsupported(error: &RpcError) -> bool {
    matches!(error.code, code::UNSUPPORTED_OPERATION | code::METHOD_NOT_FOUND)
}
