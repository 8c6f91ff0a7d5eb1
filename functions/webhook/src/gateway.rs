//! Requests and responses of API Gateway's HTTP API and of function URLs, payload format 2.0: the few fields that we use.
//!
//! A library for all of AWS's HTTP events would be a tenth of the upload.
//! See [API Gateway/Lambda integrations](https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html)
//! and [Lambda/Invoking function URLs](https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html).

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

/// A header of every response: browsers must not guess another content type.
const NO_SNIFFING: (&str, &str) = ("x-content-type-options", "nosniff");

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
            headers: headers([("retry-after", "1".to_owned())]),
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
            headers: headers(content_type.into_iter().chain(retry_after)),
            body,
            is_base64_encoded,
        }
    }
}

fn headers(own: impl IntoIterator<Item = (&'static str, String)>) -> HashMap<&'static str, String> {
    let (name, value) = NO_SNIFFING;
    own.into_iter().chain([(name, value.to_owned())]).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The example of the guide, shortened.
    fn example(body: &str, is_base64_encoded: bool) -> Request {
        let event = json!({
            "version": "2.0", "routeKey": "$default", "rawPath": "/my/path", "rawQueryString": "p=a%20b&after=7",
            "cookies": ["a=1", "b=2"], "headers": { "header1": "value1", "header2": "value1,value2" },
            "queryStringParameters": { "p": "a b", "after": "7" },
            "requestContext": { "accountId": "1", "http": { "method": "POST", "path": "/my/path", "protocol": "HTTP/1.1", "sourceIp": "192.0.2.1" }, "stage": "$default" },
            "body": body, "isBase64Encoded": is_base64_encoded
        });
        serde_json::from_value(event).unwrap()
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

    /// Request of a function URL with a callback of WeCom, after the example in Lambda's guide. Fields that only API Gateway sets are null or `$default`.
    fn by_function_url() -> Request {
        let domain = "abcdefghijklmnopqrstuvwxyz012345.lambda-url.us-east-1.on.aws";
        let query = "msg_signature=5c45ff5e21c57e6ad56bac8758b79b1d9ac89fd3&timestamp=1409659589&nonce=263014780&echostr=a%2Bb%3D%3D";
        let event = json!({
            "version": "2.0", "routeKey": "$default", "rawPath": "/api/wecom/webhook/int_1", "rawQueryString": query, "cookies": ["a=1"],
            "headers": {
                "host": domain, "content-type": "application/octet-stream", "content-length": "18", "x-forwarded-for": "2001:db8::7",
                "x-forwarded-port": "443", "x-forwarded-proto": "https", "x-amzn-tls-version": "TLSv1.3", "x-amzn-trace-id": "Root=1-5e6722a7-cc56xmpl46db7ae02d4da47e"
            },
            "queryStringParameters": { "msg_signature": "5c45ff5e21c57e6ad56bac8758b79b1d9ac89fd3", "timestamp": "1409659589", "nonce": "263014780", "echostr": "a+b==" },
            "requestContext": {
                "accountId": "anonymous", "apiId": "abcdefghijklmnopqrstuvwxyz012345", "authentication": null, "authorizer": null,
                "domainName": domain, "domainPrefix": "abcdefghijklmnopqrstuvwxyz012345",
                "http": { "method": "POST", "path": "/api/wecom/webhook/int_1", "protocol": "HTTP/1.1", "sourceIp": "2001:db8::7", "userAgent": "Mozilla/4.0" },
                "requestId": "e1506fd5-9e7b-434f-bd42-4f8fa224b599", "routeKey": "$default", "stage": "$default",
                "time": "12/Mar/2020:19:03:58 +0000", "timeEpoch": 1_583_348_638_390_i64
            },
            "body": "eyJ0ZXN0IjoiYm9keSJ9", "pathParameters": null, "isBase64Encoded": true, "stageVariables": null
        });
        serde_json::from_value(event).unwrap()
    }

    #[test]
    fn request_of_a_function_url_is_parsed_like_one_of_the_http_api() {
        let request = by_function_url();
        assert_eq!(
            request.raw_path, "/api/wecom/webhook/int_1",
            "the path has no stage prefix"
        );
        assert_eq!(
            request.address(),
            Some("2001:db8::7".parse().unwrap()),
            "function URLs support IPv6"
        );
        assert_eq!(request.cookies().as_deref(), Some("a=1"));
        assert_eq!(request.header("content-type"), Some("application/octet-stream"));
        let read = request.into_webhook().unwrap();
        assert_eq!(read.method, "POST");
        assert!(
            read.query.ends_with("&echostr=a%2Bb%3D%3D"),
            "the signed query is unchanged"
        );
        assert_eq!(read.body, br#"{"test":"body"}"#);
    }

    #[test]
    fn request_of_a_function_url_without_a_body_is_parsed() {
        let event = json!({
            "version": "2.0", "routeKey": "$default", "rawPath": "/", "rawQueryString": "", "headers": {},
            "requestContext": { "accountId": "anonymous", "http": { "method": "GET", "path": "/", "protocol": "HTTP/1.1", "sourceIp": "192.0.2.1", "userAgent": "agent" } },
            "body": null, "isBase64Encoded": false
        });
        let request: Request = serde_json::from_value(event).unwrap();
        assert!(!request.changes());
        assert_eq!(request.into_webhook().unwrap().body, b"");
    }

    #[test]
    fn no_response_lets_browsers_guess_its_type() {
        let typed = WebhookAnswer {
            content_type: Some("text/plain"),
            ..WebhookAnswer::empty(200)
        };
        let answers = [typed, WebhookAnswer::empty(429), WebhookAnswer::empty(404)];
        for response in answers.map(Response::from).into_iter().chain([Response::too_many()]) {
            assert_eq!(response.headers["x-content-type-options"], "nosniff", "{response:?}");
        }
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
