//! Generates the OpenAPI description.

use axum::http::StatusCode;
use serde_json::json;
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::Type;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{ContentBuilder, Object, PathItem, Ref, RefOr, Required, Response, ResponseBuilder};
use utoipa::{Modify, OpenApi};

use tieline_bridge::operator::session::COOKIE;

use super::extra_routes::ExtraRoutes;
use super::webhooks;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Tieline management API",
        description = "Connects chat bots to AI agents. Lists are pages of `items` with a `nextCursor`. Errors are \
            `application/problem+json` with a stable `code`. Unknown fields are refused. Times are RFC 3339 in UTC.",
    ),
    security(("bearer" = []), ("session" = [])),
    modifiers(&BearerToken),
)]
struct Head;

struct BearerToken;

impl Modify for BearerToken {
    fn modify(&self, description: &mut utoipa::openapi::OpenApi) {
        let scheme = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some(
                "The root token, or one made with `POST /api/v1/orgs/{org}/tokens`.",
            ))
            .build();
        let components = description.components.get_or_insert_default();
        components.add_security_scheme("bearer", SecurityScheme::Http(scheme));
        let cookie = ApiKeyValue::with_description(
            COOKIE,
            "Made with `POST /api/v1/session`. Requests that change something need the header `X-Tieline-Request` with any value.",
        );
        components.add_security_scheme("session", SecurityScheme::ApiKey(ApiKey::Cookie(cookie)));
    }
}

/// The description as indented JSON.
fn generated() -> String {
    let mut description = super::described(Head::openapi().merge_from(ExtraRoutes::openapi()));
    for (address, item) in &mut description.paths.paths {
        describe_ids(address, item);
        if address.starts_with("/api/v1/") {
            describe_refusals(address, item);
            describe_headers(address, item);
        }
        name_problems(item);
        name_operations(address, item);
        describe_answers(item);
    }
    let mut json = serde_json::to_value(&description).expect("a description serializes as JSON");
    // Relative to the address of the description, so that it is right behind every proxy.
    json["servers"] = json!([{ "url": "/", "description": "This deployment" }]);
    json["webhooks"] = webhooks::webhooks();
    format!("{json:#}\n")
}

#[test]
fn the_description_is_what_the_code_describes() {
    let generated = generated();
    if std::env::var_os("TIELINE_UPDATE").is_some() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/src/openapi/description.json");
        return std::fs::write(file, generated).unwrap();
    }
    let differing = generated.lines().zip(super::DESCRIPTION.lines()).enumerate();
    if let Some((at, (generated, stored))) = differing.into_iter().find(|(_, (one, other))| one != other) {
        panic!(
            "line {}: expected {generated:?}, found {stored:?}; write it with TIELINE_UPDATE=1",
            at + 1
        );
    }
    assert_eq!(generated.len(), super::DESCRIPTION.len());
}

/// Describes the ids in a path, which the handlers read by name.
fn describe_ids(address: &str, item: &mut PathItem) {
    let operations = [&mut item.get, &mut item.post, &mut item.patch, &mut item.delete];
    for operation in operations.into_iter().flatten() {
        let parameters = operation.parameters.get_or_insert_default();
        parameters.retain(|known| !matches!(known, RefOr::T(known) if known.parameter_in == ParameterIn::Path));
        parameters.splice(0..0, ids_in(address));
    }
}

/// Adds the error responses that every operation of operators can return.
fn describe_refusals(address: &str, item: &mut PathItem) {
    let is_nested = address.contains('{');
    let reads = item.get.iter_mut().map(|operation| (operation, false));
    let others = [&mut item.post, &mut item.patch, &mut item.delete];
    let writes = others.into_iter().flatten().map(|operation| (operation, true));
    for (operation, writes) in reads.chain(writes) {
        let refusals = [
            ("400", true, "A field or parameter is unknown or invalid"),
            ("401", true, "No token or session, or an invalid one"),
            (
                "429",
                true,
                "`too_many_wrong_tokens`: too many wrong tokens from this address, with `Retry-After`",
            ),
            ("403", writes, "The token's role is read-only"),
            ("404", is_nested, "No resource with this id in this organization"),
        ];
        for (status, applies, description) in refusals {
            let known = &mut operation.responses.responses;
            if applies && !known.contains_key(status) {
                known.insert(status.to_owned(), RefOr::T(refusal(description)));
            }
        }
    }
}

/// Describes the headers that many operations accept, and the responses they cause.
fn describe_headers(address: &str, item: &mut PathItem) {
    // Tokens can't be changed, so they have no versions.
    let has_versions = (address.ends_with("{id}") && !address.ends_with("/tokens/{id}"))
        || address.ends_with("{org}")
        || address.ends_with("/notify")
        || address.ends_with("/mapper");
    for operation in [&mut item.patch, &mut item.delete].into_iter().flatten() {
        operation
            .parameters
            .get_or_insert_default()
            .push(header(GUARD, GUARD_HELP));
        if has_versions {
            let parameters = operation.parameters.get_or_insert_default();
            parameters.push(header(
                "If-Match",
                "The `etag` of the version that the change is based on.",
            ));
            let description = "`precondition_failed`: the resource has another version than `If-Match` names";
            let known = &mut operation.responses.responses;
            known
                .entry("412".to_owned())
                .or_insert_with(|| RefOr::T(refusal(description)));
        }
    }
    if let Some(operation) = item.post.as_mut().filter(|_| address != "/api/v1/session") {
        let parameters = operation.parameters.get_or_insert_default();
        parameters.push(header(GUARD, GUARD_HELP));
        let help = "1 to 255 visible ASCII characters. Within 24 hours the same request with the same key has the same answer, \
            with `Idempotent-Replayed: true`, and is not processed again. Answers 401, 403, 409, 429 and 5xx are not stored: \
            after them the request is processed again.";
        parameters.push(header("Idempotency-Key", help));
        let known = &mut operation.responses.responses;
        let reused = "`idempotency_key_reused`: another request had this `Idempotency-Key`";
        let malformed = "A field or header is unknown or invalid";
        known
            .entry("400".to_owned())
            .or_insert_with(|| RefOr::T(refusal(malformed)));
        known
            .entry("422".to_owned())
            .or_insert_with(|| RefOr::T(refusal(reused)));
        let in_use = "`idempotency_key_in_use`: a request with this `Idempotency-Key` is being processed";
        known
            .entry("409".to_owned())
            .or_insert_with(|| RefOr::T(refusal(in_use)));
    }
}

/// The CSRF guard header: required by a change that is authenticated with a session cookie.
const GUARD: &str = "X-Tieline-Request";
const GUARD_HELP: &str = "Any value. Needed with the session's cookie, for no form of another site can send it.";

fn header(name: &str, help: &str) -> RefOr<Parameter> {
    let header = ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Header)
        .required(Required::False)
        .description(Some(help))
        .schema(Some(Object::with_type(Type::String)));
    RefOr::T(header.build())
}

fn refusal(description: &str) -> Response {
    let problem = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem")));
    ResponseBuilder::new()
        .description(description)
        .content(PLAIN, problem.build())
        .build()
}

/// Content type of JSON bodies, which the description uses by default.
const PLAIN: &str = "application/json";

/// Sets the content type of problems to the one they are sent with.
fn name_problems(item: &mut PathItem) {
    let operations = [&mut item.get, &mut item.post, &mut item.patch, &mut item.delete];
    for operation in operations.into_iter().flatten() {
        for (status, response) in &mut operation.responses.responses {
            if let RefOr::T(response) = response
                && status.starts_with(['4', '5'])
                && let Some(problem) = response.content.shift_remove(PLAIN)
            {
                response.content.insert("application/problem+json".to_owned(), problem);
            }
        }
    }
}

/// Gives every operation a unique id, which client generators use as function name: the words of its path and the name of its handler, such
/// as `integrations_list`.
fn name_operations(address: &str, item: &mut PathItem) {
    let words = address
        .split('/')
        .filter(|word| !word.is_empty() && !word.starts_with('{'));
    let words: Vec<&str> = words.filter(|word| !["api", "v1"].contains(word)).collect();
    let words = match words[..] {
        ["orgs", _, ..] => &words[1..],
        _ => &words[..],
    };
    let operations = [&mut item.get, &mut item.post, &mut item.patch, &mut item.delete];
    for operation in operations.into_iter().flatten() {
        let function = operation.operation_id.take();
        let function = function.as_deref().filter(|name| words.last() != Some(name));
        let name: Vec<&str> = words.iter().copied().chain(function).collect();
        operation.operation_id = Some(name.join("_").replace(['-', '.', ':'], "_"));
    }
}

/// Adds a description to every response: the OpenAPI standard requires one, even if the schema says it all.
fn describe_answers(item: &mut PathItem) {
    let operations = [&mut item.get, &mut item.post, &mut item.patch, &mut item.delete];
    for operation in operations.into_iter().flatten() {
        for (status, response) in &mut operation.responses.responses {
            if let RefOr::T(response) = response
                && response.description.is_empty()
            {
                let status = StatusCode::from_bytes(status.as_bytes()).ok();
                let reason = status.and_then(|status| status.canonical_reason());
                reason.unwrap_or("Answer").clone_into(&mut response.description);
            }
        }
    }
}

fn ids_in(address: &str) -> impl Iterator<Item = RefOr<Parameter>> {
    let parts = address.split('/');
    let names = parts.filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    names.map(|name| {
        let id = ParameterBuilder::new()
            .name(name)
            .parameter_in(ParameterIn::Path)
            .required(Required::True)
            .schema(Some(Object::with_type(Type::String)));
        RefOr::T(id.build())
    })
}
