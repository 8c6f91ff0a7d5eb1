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
use tokio::time::{Duration, Instant, sleep};

use crate::engine::{Engine, EngineTime, at_once};
use crate::faults::{Fate, Life};
use crate::mistakes::{Planted, taken_for_done};
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
                Some(life) => way.mistaken(life, request).await,
                None => way.answer(&request).await,
            }
        })
    }
}

impl Way {
    /// A call as a bridge makes it in which a mistake is planted.
    async fn mistaken(self, life: Arc<Life>, request: HttpRequest) -> Result<HttpResponse, ConnectorError> {
        let Some(mistake) = life.mistake() else {
            return self.disturbed(life, request).await;
        };
        match mistake.plant(request) {
            Planted::Call(request) => self.disturbed(life, request).await,
            Planted::After(before, request) => {
                for it in before {
                    // What it couldn't do is done later.
                    let _ = self.clone().disturbed(Arc::clone(&life), it).await;
                }
                self.disturbed(life, request).await
            }
            Planted::InBackground(request) => {
                tokio::spawn(self.disturbed(life, request));
                Ok(taken_for_done())
            }
        }
    }

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

    /// The engine's answer. A receive that waits looks when there may be something.
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
            if let Some(life) = &self.life {
                life.goes_on().await;
            }
            let answer = self.answer_at_once(copy(request, &request_now))?;
            let is_empty =
                !String::from_utf8_lossy(answer.body().bytes().unwrap_or_default()).contains("ReceiptHandle");
            if !is_empty {
                self.time.tell_activity();
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
            true if is_of_queue => self.time.tell_activity(),
            true => self.time.tell_write(),
            false => {}
        }
        answer
    }
}

pub(crate) fn target(request: &HttpRequest) -> &str {
    request.headers().get("x-amz-target").unwrap_or_default()
}

/// A receive that waits for messages.
struct Waiting {
    queue: String,
    /// Its body without the wait.
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

/// The same request with another body.
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
