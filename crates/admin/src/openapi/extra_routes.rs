//! Routes that are served outside this crate or need no handler of their own. Only for the OpenAPI description.
#![expect(dead_code, reason = "only described, never called or made")]

use utoipa::{OpenApi, ToSchema};

use crate::problem::Problem;

/// A message sent on our own channel, `web`.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
struct WebMessage {
    text: String,
    chat_id: String,
    sender_id: String,
    /// The caller's own id of the message, an idempotency key: messages with the same id are one message.
    message_id: Option<String>,
}

/// An accepted message on our own channel.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
struct WebAccepted {
    /// The message in the ledger.
    message_id: String,
    reply_id: String,
}

/// A reply on our own channel.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
struct WebReply {
    text: String,
    /// Whether the reply is complete.
    done: bool,
    /// Grows with every change.
    version: u64,
}

/// Answers a platform's verification request to a callback address. Without parameters it is a probe and returns `ok`, for any id.
#[utoipa::path(get, path = "/api/{platform}/webhook/{integrationId}", tag = "platforms", security(()),
    responses((status = 200, body = String, content_type = "text/plain", description = "what the platform wants to hear"),
        (status = 401, description = "not proved, or no such integration: an empty body")))]
fn verify() {}

/// Receives a platform's events, at most 1 MiB, authenticated in the platform's own way and in its own format. On our own channel, `web`,
/// an operator's token authenticates, and the format is the one described here.
#[utoipa::path(post, path = "/api/{platform}/webhook/{integrationId}", tag = "platforms", security((), ("bearer" = []), ("session" = [])),
    request_body = WebMessage,
    responses((status = 200, body = WebAccepted, description = "taken in; a platform gets what it wants to hear"),
        (status = 400, body = Problem, description = "`invalid_body`, `invalid_field`, `unknown_field`: on our own channel only",
            content_type = "application/problem+json"),
        (status = 401, description = "not proved, or no such integration: an empty body"),
        (status = 413, description = "longer than 1 MiB"),
        (status = 503, description = "not taken in: send it again")))]
fn receive() {}

/// Long poll for the newest state of a reply on our own channel: waits up to 20 s for a version newer than `after`.
#[utoipa::path(get, path = "/api/web/replies/{replyId}", tag = "platforms",
    params(("after" = Option<u64>, Query, description = "The version that the caller has seen; 0 if absent.")),
    responses((status = 200, body = WebReply),
        (status = 400, body = Problem, description = "`invalid_field`, `unknown_field`",
            content_type = "application/problem+json"),
        (status = 401, body = Problem, description = "`unauthorized`", content_type = "application/problem+json"),
        (status = 429, body = Problem, description = "`too_many_long_polls`, `too_many_wrong_tokens`, with `Retry-After`",
            content_type = "application/problem+json"),
        (status = 404, body = Problem, description = "`reply_not_found`", content_type = "application/problem+json")))]
fn follow() {}

/// Health check: reports that this service answers.
#[utoipa::path(get, path = "/healthz", tag = "service", security(()),
    responses((status = 200, body = String, content_type = "text/plain")))]
fn health() {}

/// Returns this description.
#[utoipa::path(get, path = "/api/openapi.json", tag = "service", security(()), responses((status = 200, body = Object)))]
fn description() {}

#[derive(OpenApi)]
#[openapi(paths(verify, receive, follow, health, description))]
pub(super) struct ExtraRoutes;
