//! The HTTP client by which a process calls tables and queues, with fault injection.

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
use tokio::time::{Duration, Instant};

use crate::engine::{Engine, EngineTime, at_once};
use crate::faults::{ProcessRun, with_fault};
use crate::mistakes::{Planted, taken_for_done};
use crate::past::{self, Past};

/// A client without faults, for readers of the results.
pub(crate) fn without_faults(engine: &Engine) -> SharedHttpClient {
    client(engine, None)
}

/// The client of a process, with its faults.
pub(crate) fn of_process(engine: &Engine, process_run: Arc<ProcessRun>) -> SharedHttpClient {
    client(engine, Some(process_run))
}

fn client(engine: &Engine, process_run: Option<Arc<ProcessRun>>) -> SharedHttpClient {
    let components = RuntimeComponentsBuilder::for_tests().build().unwrap();
    let settings = HttpConnectorSettings::builder().build();
    let inner = engine.http_client().http_connector(&settings, &components);
    let connector = FaultyConnector {
        inner,
        time: engine.time(),
        past: engine.past(),
        process_run,
    };
    SharedHttpClient::new(Client(SharedHttpConnector::new(connector)))
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
struct FaultyConnector {
    inner: SharedHttpConnector,
    time: EngineTime,
    past: Arc<Past>,
    process_run: Option<Arc<ProcessRun>>,
}

impl HttpConnector for FaultyConnector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let connector = self.clone();
        HttpConnectorFuture::new(async move {
            match connector.process_run.clone() {
                Some(process_run) => connector.call_with_mistake(process_run, request).await,
                None => connector.answer(&request).await,
            }
        })
    }
}

impl FaultyConnector {
    /// Calls as a bridge with the planted mistake would, if there is one.
    async fn call_with_mistake(
        self,
        process_run: Arc<ProcessRun>,
        request: HttpRequest,
    ) -> Result<HttpResponse, ConnectorError> {
        let Some(mistake) = process_run.mistake() else {
            return self.call_with_fault(process_run, request).await;
        };
        match mistake.plant(request) {
            Planted::Call(request) => self.call_with_fault(process_run, request).await,
            Planted::After(before, request) => {
                for it in before {
                    // If this fails, the bridge does it later.
                    let _ = self.clone().call_with_fault(Arc::clone(&process_run), it).await;
                }
                self.call_with_fault(process_run, request).await
            }
            Planted::InBackground(request) => {
                tokio::spawn(self.call_with_fault(process_run, request));
                Ok(taken_for_done())
            }
        }
    }

    /// Executes a call with the fault that is drawn for it.
    async fn call_with_fault(
        self,
        process_run: Arc<ProcessRun>,
        request: HttpRequest,
    ) -> Result<HttpResponse, ConnectorError> {
        let called = target(&request).to_owned();
        let in_replica = Arc::clone(&process_run);
        let executed = async move {
            let lags = in_replica.replica_lags();
            self.answer_of_replica(&request, lags).await
        };
        with_fault(process_run, &called, Duration::MAX, executed, || Ok(internal_error())).await
    }

    /// The engine's answer, or a stale one where the read is eventually consistent and a replica `lags`. `None`: there are no replicas.
    async fn answer_of_replica(
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

    /// The engine's answer. A long poll is repeated when there may be a message.
    async fn answer(&self, request: &HttpRequest) -> Result<HttpResponse, ConnectorError> {
        let Some(Waiting {
            queue,
            request_now,
            wait,
        }) = waiting(request)
        else {
            return self.answer_at_once(copy(request, request.body().bytes().unwrap_or_default()));
        };
        let until = Instant::now() + wait;
        loop {
            self.time.message_in(&queue, until).await;
            if let Some(process_run) = &self.process_run {
                process_run.until_running().await;
            }
            let answer = self.answer_at_once(copy(request, &request_now))?;
            let is_empty =
                !String::from_utf8_lossy(answer.body().bytes().unwrap_or_default()).contains("ReceiptHandle");
            if !is_empty {
                self.time.notify_activity();
                return Ok(answer);
            }
            if Instant::now() >= until {
                return Ok(answer);
            }
        }
    }

    fn answer_at_once(&self, request: HttpRequest) -> Result<HttpResponse, ConnectorError> {
        self.time.set();
        let (service, name) = target(&request).split_once('.').unwrap_or_default();
        let is_of_queue = service == "AmazonSQS";
        let acts = !["Receive", "Get", "BatchGet", "Query"]
            .iter()
            .any(|it| name.starts_with(it));
        let answer = at_once(self.inner.call(request));
        match acts {
            true if is_of_queue => self.time.notify_activity(),
            true => self.time.count_write(),
            false => {}
        }
        answer
    }
}

pub(crate) fn target(request: &HttpRequest) -> &str {
    request.headers().get("x-amz-target").unwrap_or_default()
}

/// A long poll for messages.
struct Waiting {
    queue: String,
    /// The request's body without the wait.
    request_now: Vec<u8>,
    wait: Duration,
}

fn waiting(request: &HttpRequest) -> Option<Waiting> {
    if !target(request).ends_with(".ReceiveMessage") {
        return None;
    }
    let mut body: Value = serde_json::from_slice(request.body().bytes()?).ok()?;
    let seconds = body["WaitTimeSeconds"].as_u64().filter(|seconds| *seconds > 0)?;
    body["WaitTimeSeconds"] = 0.into();
    Some(Waiting {
        queue: body["QueueUrl"].as_str()?.rsplit('/').next()?.to_owned(),
        request_now: serde_json::to_vec(&body).ok()?,
        wait: Duration::from_secs(seconds),
    })
}

/// A copy of a request with another body.
pub(crate) fn copy(request: &HttpRequest, body: &[u8]) -> HttpRequest {
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
