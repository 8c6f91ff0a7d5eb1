//! A process's way to tables and queues, on which anything may happen to a call.

use std::sync::Arc;

use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponentsBuilder;
use aws_smithy_runtime_api::http::StatusCode;
use aws_smithy_types::body::SdkBody;
use serde_json::Value;
use tokio::sync::oneshot;
use tokio::time::{Duration, Instant, sleep, timeout_at};

use crate::engine::{Engine, EngineTime, at_once};
use crate::faults::{Fate, Life};
use crate::past::{self, Past};

/// The way of a reader whom nothing disturbs.
pub(crate) fn undisturbed(engine: &Engine) -> SharedHttpClient {
    client(engine, None)
}

/// The way of a process.
pub(crate) fn of_process(engine: &Engine, life: Arc<Life>) -> SharedHttpClient {
    client(engine, Some(life))
}

fn client(engine: &Engine, life: Option<Arc<Life>>) -> SharedHttpClient {
    let components = RuntimeComponentsBuilder::for_tests().build().unwrap();
    let settings = HttpConnectorSettings::builder().build();
    let inner = engine.http_client().http_connector(&settings, &components);
    let way = Way {
        inner,
        time: engine.time(),
        past: engine.past(),
        life,
    };
    SharedHttpClient::new(Client(SharedHttpConnector::new(way)))
}

#[derive(Debug)]
struct Client(SharedHttpConnector);

impl HttpClient for Client {
    fn http_connector(
        &self,
        _: &HttpConnectorSettings,
        _: &aws_smithy_runtime_api::client::runtime_components::RuntimeComponents,
    ) -> SharedHttpConnector {
        self.0.clone()
    }
}

#[derive(Debug, Clone)]
struct Way {
    inner: SharedHttpConnector,
    time: EngineTime,
    past: Arc<Past>,
    life: Option<Arc<Life>>,
}

impl HttpConnector for Way {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let way = self.clone();
        HttpConnectorFuture::new(async move {
            match way.life.clone() {
                Some(life) => way.disturbed(life, request).await,
                None => way.answer(&request).await,
            }
        })
    }
}

impl Way {
    /// A call to which something happens. Once it is on its way it is executed, whatever becomes of its caller.
    async fn disturbed(self, life: Arc<Life>, request: HttpRequest) -> Result<HttpResponse, ConnectorError> {
        life.goes_on().await;
        let fate = life.fate_of(target(&request));
        match fate {
            Fate::FailBefore => return Ok(internal_error()),
            Fate::DieBefore => return life.die().await,
            Fate::Freeze(time) => {
                life.freeze(time);
                life.goes_on().await;
            }
            Fate::Proceed | Fate::Delay(_) | Fate::FailAfter | Fate::DieAfter => {}
        }
        let lags = life.copies_lag();
        let (answerer, answered) = oneshot::channel();
        let way = self.clone();
        tokio::spawn(async move {
            if let Fate::Delay(time) = fate {
                sleep(time).await;
            }
            // A caller that has given up doesn't want the answer.
            let _ = answerer.send(way.answer_of_copies(&request, lags).await);
        });
        let answer = answered.await.expect("the call is executed");
        life.goes_on().await;
        match fate {
            Fate::FailAfter => Ok(internal_error()),
            Fate::DieAfter => life.die().await,
            _ => answer,
        }
    }

    /// The engine's answer, or that of a copy of its tables which `lags`, where a read needn't be current. `None`: there are no copies.
    async fn answer_of_copies(
        &self,
        request: &HttpRequest,
        lags: Option<bool>,
    ) -> Result<HttpResponse, ConnectorError> {
        let operation = target(request).strip_prefix("DynamoDB_20120810.");
        let (Some(operation), Some(lags)) = (operation, lags) else {
            return self.answer(request).await;
        };
        let asked: Value = serde_json::from_slice(request.body().bytes().unwrap_or_default()).unwrap_or_default();
        if let Some(key) = past::written(operation, &asked) {
            let mut read = copy(request, past::read_of(&key).to_string().as_bytes());
            read.headers_mut().insert("x-amz-target", "DynamoDB_20120810.GetItem");
            let told = self.answer_at_once(read)?;
            self.past.keep(key, &body_of(&told));
        }
        let answer = self.answer(request).await?;
        if !(lags && past::may_lag(operation, &asked)) {
            return Ok(answer);
        }
        let Some(lagging) = self.past.answer(operation, &asked, &body_of(&answer)) else {
            return Ok(answer);
        };
        Ok(json_response(200, &lagging.to_string()))
    }

    /// The engine's answer. A receive that waits looks again and again.
    async fn answer(&self, request: &HttpRequest) -> Result<HttpResponse, ConnectorError> {
        let Some((without_wait, wait)) = waiting(request) else {
            return self.answer_at_once(copy(request, request.body().bytes().unwrap_or_default()));
        };
        let until = Instant::now() + wait;
        loop {
            let answer = self.answer_at_once(copy(request, &without_wait))?;
            let is_empty =
                !String::from_utf8_lossy(answer.body().bytes().unwrap_or_default()).contains("ReceiptHandle");
            if !is_empty {
                self.time.tell_activity();
                return Ok(answer);
            }
            if Instant::now() >= until {
                return Ok(answer);
            }
            // Its end is no error: the last look follows.
            let _ = timeout_at(until, self.time.next_look()).await;
            if let Some(life) = &self.life {
                life.goes_on().await;
            }
        }
    }

    fn answer_at_once(&self, request: HttpRequest) -> Result<HttpResponse, ConnectorError> {
        self.time.set();
        let name = target(&request).strip_prefix("AmazonSQS.").unwrap_or_default();
        let acts = !(name.is_empty() || name.starts_with("Receive") || name.starts_with("Get"));
        let answer = at_once(self.inner.call(request));
        if acts {
            self.time.tell_activity();
        }
        answer
    }
}

fn target(request: &HttpRequest) -> &str {
    request.headers().get("x-amz-target").unwrap_or_default()
}

/// The body of a receive without its wait, and the wait.
fn waiting(request: &HttpRequest) -> Option<(Vec<u8>, Duration)> {
    if !target(request).ends_with(".ReceiveMessage") {
        return None;
    }
    let mut body: Value = serde_json::from_slice(request.body().bytes()?).ok()?;
    let seconds = body["WaitTimeSeconds"].as_u64().filter(|seconds| *seconds > 0)?;
    body["WaitTimeSeconds"] = 0.into();
    Some((serde_json::to_vec(&body).ok()?, Duration::from_secs(seconds)))
}

fn copy(request: &HttpRequest, body: &[u8]) -> HttpRequest {
    let mut copy = HttpRequest::new(SdkBody::from(body.to_vec()));
    copy.set_uri(request.uri().to_owned()).unwrap();
    copy.set_method(request.method()).unwrap();
    for (name, value) in request.headers() {
        copy.headers_mut().append(name.to_owned(), value.to_owned());
    }
    copy
}

fn body_of(answer: &HttpResponse) -> Value {
    serde_json::from_slice(answer.body().bytes().unwrap_or_default()).unwrap_or_default()
}

fn internal_error() -> HttpResponse {
    json_response(
        500,
        r#"{"__type":"com.amazonaws#InternalServerError","message":"simulated"}"#,
    )
}

fn json_response(status: u16, body: &str) -> HttpResponse {
    let status = StatusCode::try_from(status).expect("a status");
    let mut response = HttpResponse::new(status, SdkBody::from(body));
    response
        .headers_mut()
        .insert("content-type", "application/x-amz-json-1.0");
    response
}
