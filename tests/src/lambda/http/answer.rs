//! Converts a function's answer into an HTTP response, payload format 2.0.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{
    CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, SET_COOKIE, TRANSFER_ENCODING,
};
use hyper::{Response, StatusCode};
use serde_json::{Map, Value};

/// Why an answer can't be turned into a response. The client sees a 500.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(super) enum Malformed {
    #[error("not JSON")]
    NotJson,
    #[error("`{0}` has a value that has no place there")]
    Field(&'static str),
}

/// Parses an answer.
///
/// JSON without a `statusCode` is itself the body of a 200. `multiValueHeaders` is not part of this format and is
/// ignored: several cookies go into `cookies`, other headers have one value.
pub(super) fn response(payload: &[u8]) -> Result<Response<Full<Bytes>>, Malformed> {
    let answer: Value = serde_json::from_slice(payload).map_err(|_| Malformed::NotJson)?;
    match answer {
        Value::Object(answer) if answer.contains_key("statusCode") => explicit(&answer),
        Value::String(text) => Ok(bare(text)),
        other => Ok(bare(other.to_string())),
    }
}

fn bare(body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn explicit(answer: &Map<String, Value>) -> Result<Response<Full<Bytes>>, Malformed> {
    let mut response = Response::new(Full::new(body(answer)?));
    *response.status_mut() = status(answer)?;
    *response.headers_mut() = headers(answer)?;
    for cookie in cookies(answer)? {
        response.headers_mut().append(SET_COOKIE, cookie);
    }
    Ok(response)
}

fn status(answer: &Map<String, Value>) -> Result<StatusCode, Malformed> {
    let code = match answer.get("statusCode") {
        Some(Value::Number(code)) => code.as_u64(),
        Some(Value::String(code)) => code.parse().ok(),
        _ => None,
    };
    let code = code
        .and_then(|code| u16::try_from(code).ok())
        .filter(|code| (100..600).contains(code));
    code.and_then(|code| StatusCode::from_u16(code).ok())
        .ok_or(Malformed::Field("statusCode"))
}

fn headers(answer: &Map<String, Value>) -> Result<HeaderMap, Malformed> {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain;charset=UTF-8"));
    for (name, value) in fields(answer, "headers")? {
        let name: HeaderName = name.parse().map_err(|_| Malformed::Field("headers"))?;
        // Length and framing are set by the API itself.
        if ![CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING].contains(&name) {
            headers.insert(name, text(value).ok_or(Malformed::Field("headers"))?);
        }
    }
    Ok(headers)
}

fn cookies(answer: &Map<String, Value>) -> Result<Vec<HeaderValue>, Malformed> {
    let cookies = match answer.get("cookies") {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Array(cookies)) => cookies,
        Some(_) => return Err(Malformed::Field("cookies")),
    };
    cookies
        .iter()
        .map(|cookie| text(cookie).ok_or(Malformed::Field("cookies")))
        .collect()
}

fn body(answer: &Map<String, Value>) -> Result<Bytes, Malformed> {
    let body = match answer.get("body") {
        None | Some(Value::Null) => "",
        Some(Value::String(body)) => body,
        Some(_) => return Err(Malformed::Field("body")),
    };
    match answer.get("isBase64Encoded") {
        Some(Value::Bool(true)) => STANDARD
            .decode(body)
            .map(Bytes::from)
            .map_err(|_| Malformed::Field("body")),
        None | Some(Value::Null | Value::Bool(false)) => Ok(Bytes::from(body.to_owned())),
        Some(_) => Err(Malformed::Field("isBase64Encoded")),
    }
}

fn fields<'a>(
    answer: &'a Map<String, Value>,
    key: &'static str,
) -> Result<impl Iterator<Item = (&'a String, &'a Value)>, Malformed> {
    match answer.get(key) {
        None | Some(Value::Null) => Ok(None.into_iter().flatten()),
        Some(Value::Object(fields)) => Ok(Some(fields).into_iter().flatten()),
        Some(_) => Err(Malformed::Field(key)),
    }
}

fn text(value: &Value) -> Option<HeaderValue> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(_) | Value::Bool(_) => value.to_string(),
        Value::Null | Value::Array(_) | Value::Object(_) => return None,
    };
    HeaderValue::from_str(&text).ok()
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;
    use serde_json::json;

    use super::*;

    async fn parts(answer: Value) -> (u16, Vec<(String, String)>, Vec<u8>) {
        let response = response(answer.to_string().as_bytes()).unwrap();
        let status = response.status().as_u16();
        let headers = response
            .headers()
            .iter()
            .map(|(k, v)| (k.to_string(), v.to_str().unwrap().to_owned()))
            .collect();
        (
            status,
            headers,
            response.into_body().collect().await.unwrap().to_bytes().to_vec(),
        )
    }

    fn header(name: &str, value: &str) -> (String, String) {
        (name.to_owned(), value.to_owned())
    }

    #[tokio::test]
    async fn bare_json_is_the_body_of_a_200() {
        let json_type = || vec![header("content-type", "application/json")];
        assert_eq!(
            parts(json!({ "a": 1 })).await,
            (200, json_type(), br#"{"a":1}"#.to_vec())
        );
        assert_eq!(parts(json!("hello")).await, (200, json_type(), b"hello".to_vec()));
    }

    #[tokio::test]
    async fn explicit_answer_sets_everything() {
        let answer = json!({
            "statusCode": 201,
            "headers": { "Content-Type": "image/png", "x-n": 7, "content-length": "99" },
            "multiValueHeaders": { "x-many": ["a", "b"] },
            "cookies": ["a=1; Path=/", "b=2"],
            "body": "/wA=",
            "isBase64Encoded": true,
        });
        let (status, headers, body) = parts(answer).await;
        assert_eq!((status, body), (201, vec![0xff, 0]));
        let expected = [
            ("content-type", "image/png"),
            ("x-n", "7"),
            ("set-cookie", "a=1; Path=/"),
            ("set-cookie", "b=2"),
        ];
        assert_eq!(headers, expected.map(|(k, v)| header(k, v)));
    }

    #[tokio::test]
    async fn status_alone_is_an_empty_text() {
        let text_type = vec![header("content-type", "text/plain;charset=UTF-8")];
        assert_eq!(
            parts(json!({ "statusCode": "204", "body": null, "cookies": [] })).await,
            (204, text_type, vec![])
        );
    }

    #[test]
    fn malformed_answers_are_refused() {
        for answer in [
            json!({ "statusCode": 99 }),
            json!({ "statusCode": "ok" }),
            json!({ "statusCode": null }),
            json!({ "statusCode": 200, "headers": [] }),
            json!({ "statusCode": 200, "headers": { "a b": "c" } }),
            json!({ "statusCode": 200, "headers": { "a": ["b"] } }),
            json!({ "statusCode": 200, "cookies": "a=1" }),
            json!({ "statusCode": 200, "body": { "a": 1 } }),
            json!({ "statusCode": 200, "body": "not base64!", "isBase64Encoded": true }),
        ] {
            assert!(
                response(answer.to_string().as_bytes()).is_err(),
                "expected a malformed answer: {answer}"
            );
        }
        assert_eq!(response(b"").unwrap_err(), Malformed::NotJson);
    }
}
