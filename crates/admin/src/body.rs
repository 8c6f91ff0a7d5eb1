//! Strict parsing of request bodies and queries: unknown fields are rejected, so that typing mistakes surface.

use axum::body::{Body as Content, to_bytes};
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::header::CONTENT_LENGTH;
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, Uri};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use tieline_core::json_depth::is_deeper;

use crate::problem::Problem;

/// Maximum size of a body.
pub(crate) const MAX_BODY_BYTES: usize = 1024 * 1024;

/// Maximum nesting of a body: what is stored of it is wrapped in further levels, and must be readable.
const MAX_DEPTH: usize = 64;

/// A JSON object in the body. `T` rejects unknown fields.
pub(crate) struct Body<T>(pub(crate) T);

impl<S: Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let bytes = read(request).await?;
        parse(&bytes).map(Self)
    }
}

/// Like [`Body`], but optional: an empty body, or `null`, is the default.
pub(crate) struct OptionalBody<T>(pub(crate) T);

impl<S: Sync, T: DeserializeOwned + Default> FromRequest<S> for OptionalBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let bytes = read(request).await?;
        parse_optional(&bytes).map(Self)
    }
}

/// The query. `T` rejects unknown parameters. A parameter with an empty value (`?state=`), as a form sends it, counts as absent.
pub(crate) struct Query<T>(pub(crate) T);

/// The parameter whose absence executes a request: an empty value, such as that of an unset variable of a script, must not do that.
const DRY_RUN: &str = "dryRun";

impl<S: Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        parse_query(parts.uri.query().unwrap_or_default()).map(Self)
    }
}

fn parse_query<T: DeserializeOwned>(query: &str) -> Result<T, Problem> {
    let is_empty = |parameter: &&str| {
        parameter
            .strip_suffix('=')
            .is_some_and(|name| !name.contains('=') && name != DRY_RUN)
    };
    let (empty, given): (Vec<&str>, Vec<&str>) = query.split('&').partition(is_empty);
    // Names are checked all the same.
    let unknown = empty.into_iter().find_map(|parameter| {
        let problem = deserialize_query::<T>(parameter).err();
        problem.filter(|problem| problem.code() == "unknown_field")
    });
    unknown.map_or_else(|| deserialize_query(&given.join("&")), Err)
}

fn deserialize_query<T: DeserializeOwned>(query: &str) -> Result<T, Problem> {
    let uri = Uri::try_from(format!("/?{query}")).map_err(|_| Problem::invalid("query", "can't be read"))?;
    match axum::extract::Query::<T>::try_from_uri(&uri) {
        Ok(axum::extract::Query(query)) => Ok(query),
        Err(rejection) => Err(query_problem(&rejection.body_text())),
    }
}

/// The whole body, if it isn't too large.
pub(crate) async fn read(request: Request) -> Result<Vec<u8>, Problem> {
    let (head, content) = request.into_parts();
    collect(&head.headers, content).await
}

/// Like [`read`], but for a request that was already split into parts.
pub(crate) async fn collect(headers: &HeaderMap, content: Content) -> Result<Vec<u8>, Problem> {
    if announced_length(headers).is_some_and(|length| length > MAX_BODY_BYTES) {
        return Err(too_large());
    }
    let bytes = to_bytes(content, MAX_BODY_BYTES).await.map_err(|_| too_large())?;
    Ok(bytes.into())
}

fn announced_length(headers: &HeaderMap) -> Option<usize> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn too_large() -> Problem {
    let detail = format!("the body is longer than {MAX_BODY_BYTES} bytes or broke off");
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", detail)
}

/// Reads a JSON object.
pub(crate) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let object: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(bytes).map_err(|error| {
        let detail = format!(
            "the body is not a JSON object: line {}, column {}",
            error.line(),
            error.column()
        );
        Problem::new(StatusCode::BAD_REQUEST, "invalid_body", detail)
    })?;
    let value = serde_json::Value::Object(object);
    if is_deeper(&value, MAX_DEPTH) {
        let detail = format!("the body is nested deeper than {MAX_DEPTH} levels");
        return Err(Problem::new(StatusCode::BAD_REQUEST, "invalid_body", detail));
    }
    parse_value(value)
}

/// Like [`parse`], but an empty body, or `null`, is the default.
pub(crate) fn parse_optional<T: DeserializeOwned + Default>(bytes: &[u8]) -> Result<T, Problem> {
    match bytes.trim_ascii() {
        b"" | b"null" => Ok(T::default()),
        _ => parse(bytes),
    }
}

/// Parses a JSON value that is the root of the body.
pub(crate) fn parse_value<T: DeserializeOwned>(value: serde_json::Value) -> Result<T, Problem> {
    serde_path_to_error::deserialize(value)
        .map_err(|error| explain("body", &error.path().to_string(), &error.inner().to_string()))
}

/// Reports which field of `root` is wrong and why. Serde's own text may quote the value, which may be a secret, so only the expected type
/// is kept.
fn explain(root: &str, path: &str, message: &str) -> Problem {
    let path = if path == "." || path == "?" { "" } else { path };
    if message.starts_with("unknown field") {
        let name = quoted(message).unwrap_or_default();
        let full = if path.ends_with(name) {
            path.to_owned()
        } else {
            join(path, name)
        };
        return Problem::unknown(full).allowing(listed(message));
    }
    if message.starts_with("missing field") {
        return Problem::invalid(join(path, quoted(message).unwrap_or_default()), "is required");
    }
    if message.starts_with("duplicate field") {
        return Problem::invalid(quoted(message).unwrap_or(root), "is given more than once");
    }
    let field = if path.is_empty() { root } else { path };
    match message.split_once("expected ") {
        Some(_) if message.starts_with("unknown variant") => {
            Problem::invalid(field, "has an unknown value").allowing(listed(message))
        }
        Some((_, expected)) => Problem::invalid(field, &format!("must be {}", in_words(expected))),
        None => Problem::invalid(field, "can't be used"),
    }
}

/// The alternatives that serde lists as expected.
fn listed(message: &str) -> Vec<String> {
    let (_, expected) = message.split_once("expected ").unwrap_or_default();
    expected.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// The type that serde expects, in the words of the API description.
fn in_words(expected: &str) -> &str {
    match expected {
        "u8" => "a whole number from 0 to 255",
        "u16" => "a whole number from 0 to 65535",
        "u32" => "a whole number from 0 to 4294967295",
        "u64" | "usize" => "a whole number, 0 or more",
        "a boolean" => "true or false",
        // One of several names.
        "a string" | "string or map" => "a text",
        "a sequence" => "a list",
        "a map" => "an object",
        other if other.starts_with("struct ") => "an object",
        other => other,
    }
}

fn query_problem(message: &str) -> Problem {
    const ROOT: &str = "query";
    let message = message
        .strip_prefix("Failed to deserialize query string: ")
        .unwrap_or(message);
    // If a known parameter has the wrong type, the message begins with the parameter's name.
    match message.split_once(": ") {
        Some((path, inner)) if !path.contains(' ') => explain(ROOT, path, inner),
        _ => explain(ROOT, ".", message),
    }
}

fn quoted(message: &str) -> Option<&str> {
    message.split('`').nth(1)
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    }
}

/// For patch fields that can be removed: absent is `None`, `null` is `Some(None)`.
pub(crate) fn nullable<'de, T: Deserialize<'de>, D: Deserializer<'de>>(from: D) -> Result<Option<Option<T>>, D::Error> {
    Option::<T>::deserialize(from).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    #[expect(dead_code, reason = "only the errors are looked at")]
    struct Outer {
        name: String,
        inner_part: Option<Inner>,
        level: Option<Level>,
        port: Option<u16>,
        #[serde(default, deserialize_with = "nullable")]
        welcome: Option<Option<String>>,
    }

    #[derive(Debug, Deserialize)]
    enum Level {
        High,
        Low,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only the errors are looked at")]
    struct Inner {
        users: Vec<String>,
    }

    #[track_caller]
    fn check(body: &str, code: &str, field: Option<&str>) {
        let problem = serde_json::to_value(parse::<Outer>(body.as_bytes()).unwrap_err()).unwrap();
        assert_eq!(problem["code"], code, "{problem}");
        assert_eq!(
            problem.get("field").and_then(|field| field.as_str()),
            field,
            "{problem}"
        );
        assert!(!problem.to_string().contains("hunter2"), "{problem}");
    }

    #[test]
    fn mistakes_name_the_field_and_never_the_value() {
        check(r#"{"name":"a","nmae":"hunter2"}"#, "unknown_field", Some("nmae"));
        check(
            r#"{"name":"a","innerPart":{"users":[],"x":1}}"#,
            "unknown_field",
            Some("innerPart.x"),
        );
        check(r#"{"innerPart":{"users":[]}}"#, "invalid_field", Some("name"));
        check(
            r#"{"name":"a","innerPart":{}}"#,
            "invalid_field",
            Some("innerPart.users"),
        );
        check(
            r#"{"name":"a","innerPart":{"users":"hunter2"}}"#,
            "invalid_field",
            Some("innerPart.users"),
        );
        check(
            r#"{"name":"a","innerPart":{"users":["a",1]}}"#,
            "invalid_field",
            Some("innerPart.users[1]"),
        );
        check(r#"{"name":["hunter2"]}"#, "invalid_field", Some("name"));
        check(r#"["a"]"#, "invalid_body", None);
        check(r#"{"name":"#, "invalid_body", None);
        check("", "invalid_body", None);
    }

    #[test]
    fn expected_types_are_in_words() {
        for (body, expected) in [
            (r#"{"name":1}"#, "name must be a text"),
            (r#"{"name":"a","innerPart":7}"#, "innerPart must be an object"),
            (
                r#"{"name":"a","innerPart":{"users":7}}"#,
                "innerPart.users must be a list",
            ),
            (r#"{"name":"a","level":7}"#, "level must be a text"),
            (
                r#"{"name":"a","port":"x"}"#,
                "port must be a whole number from 0 to 65535",
            ),
        ] {
            let problem = serde_json::to_value(parse::<Outer>(body.as_bytes()).unwrap_err()).unwrap();
            assert_eq!(problem["detail"], expected, "{problem}");
        }
    }

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    struct Parameters {
        search: Option<String>,
        limit: Option<usize>,
        #[serde(default)]
        dry_run: bool,
    }

    #[test]
    fn empty_parameter_counts_as_absent_if_it_is_known() {
        let read = |query: &str| parse_query::<Parameters>(query).map_err(|problem| problem.code());
        for nothing in ["", "&", "search=", "limit=&search=", "limit=&limit="] {
            assert_eq!(read(nothing), Ok(Parameters::default()), "{nothing}");
        }
        let found = Parameters {
            search: Some("=".to_owned()),
            limit: Some(2),
            dry_run: false,
        };
        assert_eq!(read("limit=&search==&limit=2"), Ok(found));
        assert_eq!(read("limt="), Err("unknown_field"));
        assert_eq!(read("search=a&limt=&limit=x"), Err("unknown_field"));
        for wrong in ["limit=x", "limit", "dryRun="] {
            assert_eq!(read(wrong), Err("invalid_field"), "{wrong}");
        }
    }

    #[test]
    fn null_and_absent_are_distinguished() {
        assert_eq!(parse::<Outer>(br#"{"name":"a"}"#).unwrap().welcome, None);
        assert_eq!(
            parse::<Outer>(br#"{"name":"a","welcome":null}"#).unwrap().welcome,
            Some(None)
        );
    }
}
