//! HTTP client for the AWS SDK that never leaves the process.

use std::sync::Arc;

use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_runtime_api::http::StatusCode;
use aws_smithy_types::body::SdkBody;

use crate::Answer;
use crate::engines::{ENDPOINT_URL, Engines, Gone};

/// HTTP client that returns the same connector to every SDK client.
#[derive(Debug)]
pub(crate) struct Client(SharedHttpConnector);

impl Client {
    pub(crate) fn new(engines: Arc<Engines>) -> Self {
        Self(SharedHttpConnector::new(Connector { engines }))
    }
}

impl HttpClient for Client {
    // Connect and read timeouts have no meaning here; the SDK itself enforces the timeout of the whole call.
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        self.0.clone()
    }
}

#[derive(Debug)]
struct Connector {
    engines: Arc<Engines>,
}

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let engines = Arc::clone(&self.engines);
        HttpConnectorFuture::new(async move {
            let target = request.headers().get("x-amz-target").unwrap_or_default();
            let body = request.body().bytes().unwrap_or_default();
            match engines.call(target, body, ENDPOINT_URL).await {
                Ok(answer) => respond(answer),
                Err(gone) => Err(broken(gone)),
            }
        })
    }
}

fn respond(answer: Answer) -> Result<HttpResponse, ConnectorError> {
    let status = StatusCode::try_from(answer.status).map_err(|error| ConnectorError::other(error.into(), None))?;
    let mut response = HttpResponse::new(status, SdkBody::from(answer.body));
    let headers = response.headers_mut();
    headers.insert("content-type", Answer::CONTENT_TYPE);
    if let Some(error) = answer.query_error {
        headers.insert("x-amzn-query-error", error);
    }
    Ok(response)
}

fn broken(gone: Gone) -> ConnectorError {
    ConnectorError::io(gone.into())
}
