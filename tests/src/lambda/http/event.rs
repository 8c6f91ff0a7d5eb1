//! The event of a request, payload format 2.0.

use std::net::SocketAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hyper::header::{CONTENT_TYPE, COOKIE, HOST, USER_AGENT};
use hyper::http::request::Parts;
use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::super::function::ACCOUNT;
use super::super::ids::trace_id;
use super::route::{Match, decode};

const API_ID: &str = "tielinetest";

/// The event for a request that matches `matched`.
pub(super) fn event<T>(
    parts: &Parts,
    body: &Bytes,
    peer: SocketAddr,
    matched: &Match<'_, T>,
    request_id: &str,
) -> Value {
    let headers = headers(parts, peer);
    let text = |name: &str| headers.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let raw_path = raw_path(parts.uri.path());
    let query = parts.uri.query().unwrap_or_default();
    let host = text(HOST.as_str());
    let domain = host.rsplit_once(':').map_or(host.as_str(), |(name, _port)| name);
    let now = OffsetDateTime::now_utc();
    let mut event = json!({
        "version": "2.0",
        "routeKey": matched.key,
        "rawPath": raw_path,
        "rawQueryString": query,
        "headers": headers,
        "requestContext": {
            "accountId": ACCOUNT,
            "apiId": API_ID,
            "domainName": domain,
            "domainPrefix": domain.split('.').next(),
            "http": {
                "method": parts.method.as_str(),
                "path": raw_path,
                "protocol": "HTTP/1.1",
                "sourceIp": peer.ip().to_string(),
                "userAgent": text(USER_AGENT.as_str()),
            },
            "requestId": request_id,
            "routeKey": matched.key,
            "stage": "$default",
            "time": clf_time(now),
            "timeEpoch": i64::try_from(now.unix_timestamp_nanos() / 1_000_000).unwrap_or(i64::MAX),
        },
        "isBase64Encoded": false,
    });
    // Empty fields are omitted, as API Gateway does.
    let cookies = cookies(parts);
    if !cookies.is_empty() {
        event["cookies"] = json!(cookies);
    }
    if !query.is_empty() {
        event["queryStringParameters"] = Value::Object(query_parameters(query));
    }
    if !matched.path_parameters.is_empty() {
        event["pathParameters"] = matched
            .path_parameters
            .iter()
            .map(|(k, v)| (k.clone(), json!(v)))
            .collect();
    }
    if !body.is_empty() {
        let (body, encoded) = encode(body, &text(CONTENT_TYPE.as_str()));
        event["body"] = Value::String(body);
        event["isBase64Encoded"] = Value::Bool(encoded);
    }
    event
}

/// Lower-case names, several values joined by commas, no cookies, and the headers that API Gateway adds.
fn headers(parts: &Parts, peer: SocketAddr) -> Map<String, Value> {
    let mut headers = Map::new();
    for name in parts.headers.keys().filter(|name| **name != COOKIE) {
        let values: Vec<_> = parts
            .headers
            .get_all(name)
            .iter()
            .map(|value| String::from_utf8_lossy(value.as_bytes()))
            .collect();
        headers.insert(name.as_str().to_owned(), Value::String(values.join(",")));
    }
    let before = headers.get("x-forwarded-for").and_then(Value::as_str);
    let forwarded = before.map_or_else(|| peer.ip().to_string(), |before| format!("{before}, {}", peer.ip()));
    headers.insert("x-forwarded-for".to_owned(), Value::String(forwarded));
    headers.insert("x-forwarded-port".to_owned(), json!("443"));
    headers.insert("x-forwarded-proto".to_owned(), json!("https"));
    headers.entry("x-amzn-trace-id").or_insert_with(|| {
        let trace = trace_id();
        json!(trace.split(';').next())
    });
    headers.entry("content-length").or_insert_with(|| json!("0"));
    headers
}

/// HTTP APIs decode the path, despite the field's name, and cut it at a decoded question mark.
fn raw_path(path: &str) -> String {
    let decoded = decode(path);
    decoded.split('?').next().unwrap_or_default().to_owned()
}

fn cookies(parts: &Parts) -> Vec<String> {
    let headers = parts.headers.get_all(COOKIE).iter();
    let lines = headers.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    lines
        .flat_map(|line| {
            line.split(';')
                .map(|cookie| cookie.trim().to_owned())
                .collect::<Vec<_>>()
        })
        .filter(|cookie| !cookie.is_empty())
        .collect()
}

fn query_parameters(query: &str) -> Map<String, Value> {
    let mut parameters = Map::new();
    for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
        let joined = match parameters.get(name.as_ref()).and_then(Value::as_str) {
            Some(before) => format!("{before},{value}"),
            None => value.into_owned(),
        };
        parameters.insert(name.into_owned(), Value::String(joined));
    }
    parameters
}

/// The body as text, or as base64 where its type doesn't say that it is text.
///
/// The list of types isn't documented. It was observed on AWS by others: a form is base64, and so is JSON under
/// another name (`application/vnd.api+json`) or a body without a type.
/// See [ministack pull request 766](https://github.com/ministackorg/ministack/pull/766).
fn encode(body: &Bytes, content_type: &str) -> (String, bool) {
    let media_type = content_type
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    let is_text = media_type.starts_with("text/")
        || ["application/json", "application/xml", "application/javascript"].contains(&media_type.as_str());
    match std::str::from_utf8(body) {
        Ok(text) if is_text => (text.to_owned(), false),
        _ => (STANDARD.encode(body), true),
    }
}

/// Time as web server logs write it: `12/Mar/2020:19:03:58 +0000`.
fn clf_time(at: OffsetDateTime) -> String {
    let month = &at.month().to_string()[..3];
    let rfc = at.format(&Rfc3339).unwrap_or_default();
    let clock = rfc.get(11..19).unwrap_or_default();
    format!("{:02}/{month}/{}:{clock} +0000", at.day(), at.year())
}

#[cfg(test)]
mod tests {
    use hyper::Request;

    use super::*;

    fn made(request: Request<()>, body: &'static [u8], parameters: &[(&str, &str)]) -> Value {
        let (parts, ()) = request.into_parts();
        let path_parameters = parameters
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect();
        let matched = Match {
            key: "POST /x/{id}",
            path_parameters,
            target: &(),
        };
        event(
            &parts,
            &Bytes::from_static(body),
            "203.0.113.9:5000".parse().unwrap(),
            &matched,
            "request-1",
        )
    }

    #[test]
    fn query_stays_raw_and_is_also_decoded() {
        let request = Request::get("/x/1?b=%20%2B&a=1&a=2&empty=&flag").body(()).unwrap();
        let event = made(request, b"", &[]);
        assert_eq!(event["rawQueryString"], "b=%20%2B&a=1&a=2&empty=&flag");
        assert_eq!(
            event["queryStringParameters"],
            json!({ "b": " +", "a": "1,2", "empty": "", "flag": "" })
        );
    }

    #[test]
    fn path_is_decoded_and_cut_at_a_question_mark() {
        let event = made(
            Request::get("/x/a%20b%3Fc?q").body(()).unwrap(),
            b"",
            &[("id", "a b?c")],
        );
        assert_eq!(event["rawPath"], "/x/a b");
        assert_eq!(event["requestContext"]["http"]["path"], "/x/a b");
        assert_eq!(event["pathParameters"], json!({ "id": "a b?c" }));
        assert_eq!(event["rawQueryString"], "q");
    }

    #[test]
    fn headers_are_joined_and_cookies_are_apart() {
        let request = Request::get("/x/1")
            .header("Host", "bridge.example:8443")
            .header("X-Two", "a")
            .header("x-two", "b")
            .header("Cookie", "a=1; b=2")
            .header("cookie", "c=3")
            .header("x-forwarded-for", "198.51.100.1")
            .header("user-agent", "probe/1");
        let event = made(request.body(()).unwrap(), b"", &[]);
        assert_eq!(event["headers"]["x-two"], "a,b");
        assert_eq!(event["headers"]["x-forwarded-for"], "198.51.100.1, 203.0.113.9");
        assert_eq!(event["headers"].get("cookie"), None);
        assert_eq!(event["cookies"], json!(["a=1", "b=2", "c=3"]));
        let context = &event["requestContext"];
        assert_eq!(context["domainName"], "bridge.example");
        assert_eq!(context["http"]["sourceIp"], "203.0.113.9");
        assert_eq!(context["http"]["userAgent"], "probe/1");
        assert_eq!(
            (&context["routeKey"], &event["routeKey"]),
            (&json!("POST /x/{id}"), &json!("POST /x/{id}"))
        );
    }

    #[test]
    fn empty_fields_are_omitted() {
        let event = made(Request::get("/x/1").body(()).unwrap(), b"", &[]);
        for key in [
            "body",
            "cookies",
            "queryStringParameters",
            "pathParameters",
            "stageVariables",
        ] {
            assert_eq!(event.get(key), None, "{key}");
        }
        assert_eq!(
            (&event["rawQueryString"], &event["isBase64Encoded"]),
            (&json!(""), &json!(false))
        );
    }

    #[test]
    fn body_is_base64_unless_its_type_says_text() {
        #[track_caller]
        fn check(content_type: Option<&str>, body: &'static [u8], expected: &str, encoded: bool) {
            let mut request = Request::post("/x/1");
            if let Some(content_type) = content_type {
                request = request.header("content-type", content_type);
            }
            let event = made(request.body(()).unwrap(), body, &[]);
            assert_eq!(
                (&event["body"], &event["isBase64Encoded"]),
                (&json!(expected), &json!(encoded))
            );
        }
        check(Some("application/json; charset=utf-8"), b"{}", "{}", false);
        check(Some("Text/XML"), b"<x/>", "<x/>", false);
        check(Some("application/xml"), b"<x/>", "<x/>", false);
        check(Some("application/x-www-form-urlencoded"), b"a=1", "YT0x", true);
        check(Some("application/cloudevents+json"), b"{}", "e30=", true);
        check(Some("application/octet-stream"), b"\xff\x00", "/wA=", true);
        check(Some("text/plain"), b"\xff", "/w==", true);
        check(None, b"{}", "e30=", true);
    }

    #[test]
    fn time_is_written_as_in_logs() {
        let at = OffsetDateTime::from_unix_timestamp(1_587_481_701).unwrap();
        assert_eq!(clf_time(at), "21/Apr/2020:15:08:21 +0000");
    }
}
