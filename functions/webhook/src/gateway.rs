//! Requests and responses of API Gateway's HTTP API, payload format 2.0: the few fields that we use.
//!
//! A library for all of AWS's HTTP events would be a tenth of the upload.
//! See [API Gateway/Lambda integrations](https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html).

use std::collections::HashMap;
use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use tieline_core::http_types::{WebhookAnswer, WebhookRequest};

/// A request.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Request {
    /// Its path, as it was sent.
    pub(crate) raw_path: String,
    #[serde(default)]
    raw_query_string: String,
    /// By name in lower case; several of a name are one, with commas.
    #[serde(default)]
    headers: HashMap<String, String>,
    /// Each as `name=value`. They are not among the headers.
    #[serde(default)]
    cookies: Vec<String>,
    request_context: RequestContext,
    #[serde(default)]
    body: Option<String>,
    #[serde(default)]
    is_base64_encoded: bool,
}

#[derive(Debug, Deserialize)]
struct RequestContext {
    http: Http,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Http {
    method: String,
    #[serde(default)]
    source_ip: Option<IpAddr>,
}

/// A response.
#[derive(Debug, Serialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Response {
    status_code: u16,
    headers: HashMap<&'static str, String>,
    body: String,
    is_base64_encoded: bool,
}

impl Request {
    /// The value of a header, by its name in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    /// The cookies as one header.
    pub(crate) fn cookies(&self) -> Option<String> {
        (!self.cookies.is_empty()).then(|| self.cookies.join("; "))
    }

    /// The client's address.
    pub(crate) const fn address(&self) -> Option<IpAddr> {
        self.request_context.http.source_ip
    }

    /// Whether the method changes something.
    pub(crate) fn changes(&self) -> bool {
        self.request_context.http.method != "GET"
    }

    /// The query, as it was sent.
    pub(crate) fn query(&self) -> &str {
        &self.raw_query_string
    }

    /// Converts it for the bridge. `None` if the body is not valid base64 though it claims to be.
    pub(crate) fn into_webhook(self) -> Option<WebhookRequest> {
        let body = self.body.unwrap_or_default();
        let body = match self.is_base64_encoded {
            true => STANDARD.decode(body).ok()?,
            false => body.into_bytes(),
        };
        Some(WebhookRequest {
            method: self.request_context.http.method,
            query: self.raw_query_string,
            headers: self.headers.into_iter().collect(),
            body,
        })
    }
}

impl Response {
    /// Too many callbacks of one bot. The platform redelivers them.
    pub(crate) fn too_many() -> Self {
        Self {
            status_code: 429,
            headers: HashMap::from([("retry-after", "1".to_owned())]),
            body: String::new(),
            is_base64_encoded: false,
        }
    }
}

impl From<WebhookAnswer> for Response {
    fn from(answer: WebhookAnswer) -> Self {
        // Our answers are nearly always text.
        let (body, is_base64_encoded) = match String::from_utf8(answer.body) {
            Ok(text) => (text, false),
            Err(error) => (STANDARD.encode(error.into_bytes()), true),
        };
        let content_type = answer.content_type.map(|it| ("content-type", it.to_string()));
        let retry_after = (answer.status == 429).then(|| ("retry-after", "60".to_owned()));
        Self {
            status_code: answer.status,
            headers: content_type.into_iter().chain(retry_after).collect(),
            body,
            is_base64_encoded,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The example of the guide, shortened.
    fn example(body: &str, is_base64_encoded: bool) -> Request {
        let told = json!({
            "version": "2.0", "routeKey": "$default", "rawPath": "/my/path", "rawQueryString": "p=a%20b&after=7",
            "cookies": ["a=1", "b=2"], "headers": { "header1": "value1", "header2": "value1,value2" },
            "queryStringParameters": { "p": "a b", "after": "7" },
            "requestContext": { "accountId": "1", "http": { "method": "POST", "path": "/my/path", "protocol": "HTTP/1.1", "sourceIp": "192.0.2.1" }, "stage": "$default" },
            "body": body, "isBase64Encoded": is_base64_encoded
        });
        serde_json::from_value(told).unwrap()
    }

    #[test]
    fn request_is_read() {
        let request = example("eyJ0ZXN0IjoiYm9keSJ9", true);
        assert_eq!(request.raw_path, "/my/path");
        assert_eq!(request.header("header2"), Some("value1,value2"));
        assert_eq!(request.query(), "p=a%20b&after=7");
        assert_eq!(request.cookies().as_deref(), Some("a=1; b=2"));
        assert_eq!(request.address(), Some([192, 0, 2, 1].into()));
        assert!(request.changes());
        let read = request.into_webhook().unwrap();
        assert_eq!((&*read.method, &*read.query), ("POST", "p=a%20b&after=7"));
        assert_eq!(read.body, br#"{"test":"body"}"#);
        assert_eq!(example("plain", false).into_webhook().unwrap().body, b"plain");
        assert!(example("not base64!", true).into_webhook().is_none());
    }

    #[test]
    fn binary_bodies_are_sent_as_base64() {
        let answer = |body: &[u8]| {
            Response::from(WebhookAnswer {
                body: body.to_vec(),
                ..WebhookAnswer::empty(200)
            })
        };
        assert_eq!(answer("好".as_bytes()).body, "好");
        let bytes = answer(&[0xff, 0xfe]);
        assert_eq!((&*bytes.body, bytes.is_base64_encoded), ("//4=", true));
    }
}
