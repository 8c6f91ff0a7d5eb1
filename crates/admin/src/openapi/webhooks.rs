//! What this deployment posts to programs of others: the `webhooks` of the description.

use serde_json::{Value, json};

/// The webhooks, by name. The posted types are in `crates/agents/src/webhook/wire.rs` and `notify/message.rs`.
pub(super) fn webhooks() -> Value {
    json!({
        "agentRequest": { "post": {
            "operationId": "webhook_agent_request",
            "tags": ["webhooks"],
            "summary": "Asks an agent with the protocol `webhook`.",
            "description": "`message.created` asks a question, `run.cancelled` stops a run, `ping` tests the agent. Other types and fields may \
                be added: ignore unknown ones.",
            "security": [],
            "parameters": signature(),
            "requestBody": { "required": true, "content": { "application/json": {
                "schema": { "oneOf": [question(), cancelled(), ping()] },
                "example": question_example(),
            } } },
            "responses": {
                "200": {
                    "description": "The answer: in full, or as a stream whose `data:` lines are events, the last one `completed`, \
                        `failed` or `cancelled`",
                    "content": {
                        "application/json": {
                            "schema": object(&["text"], json!({
                                "text": { "type": "string" },
                                "card": { "type": "object", "description": "Shown below the text." },
                            })),
                            "example": { "text": "Good morning!" },
                        },
                        "text/event-stream": {
                            "schema": { "type": "string" },
                            "example": "data: {\"type\":\"text.delta\",\"text\":\"Good morning!\"}\n\ndata: {\"type\":\"completed\"}\n\n",
                        },
                    },
                },
                "202": { "description": "The answer follows as events, posted to `reply.eventsUrl` with `reply.token`" },
                "204": { "description": "Enough for `run.cancelled` and `ping`" },
                "4XX": { "description": "Refused for good, except 429, which is retried" },
                "5XX": { "description": "Retried, with the same `webhook-id`" },
            },
        } },
        "notification": { "post": {
            "operationId": "webhook_notification",
            "tags": ["webhooks"],
            "summary": "Notifies the operators of an organization.",
            "description": "Sent to the webhook set with `PATCH /api/v1/orgs/{org}/notify`, when a bot is down or its answers fail, and when \
                it works again.",
            "security": [],
            "parameters": signature(),
            "requestBody": { "required": true, "content": { "application/json": {
                "schema": notification(),
                "example": notification_example(),
            } } },
            "responses": {
                "2XX": { "description": "Received" },
                "default": { "description": "Retried with backoff, 8 times within about three hours, with the same `webhook-id`" },
            },
        } },
    })
}

/// The headers of Standard Webhooks.
fn signature() -> Value {
    let header = |name: &str, description: &str, example: &str| {
        json!({ "name": name, "in": "header", "required": true, "description": description,
            "schema": { "type": "string" }, "example": example })
    };
    json!([
        header(
            "webhook-id",
            "The same on every attempt: the idempotency key of the receiver.",
            "msg_2f8a"
        ),
        header(
            "webhook-timestamp",
            "Seconds since 1970. Reject requests older than five minutes.",
            "1763800000"
        ),
        header(
            "webhook-signature",
            "`v1,` and the base64 of the HMAC-SHA256 of `{webhook-id}.{webhook-timestamp}.{body}`. Several, separated by spaces, while \
             secrets are rotated.",
            "v1,K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4="
        ),
    ])
}

fn object(required: &[&str], properties: Value) -> Value {
    json!({ "type": "object", "required": required, "properties": properties })
}

fn text() -> Value {
    json!({ "type": "string" })
}

fn text_or_null() -> Value {
    json!({ "type": ["string", "null"] })
}

fn time() -> Value {
    json!({ "type": "string", "format": "date-time" })
}

fn question() -> Value {
    let named = || object(&["id", "name"], json!({ "id": text(), "name": text() }));
    let part = object(
        &["type", "url", "mime", "name"],
        json!({ "type": { "enum": ["image", "audio", "video", "file"] }, "url": text(), "mime": text_or_null(), "name": text_or_null(),
            "unavailable": { "type": "boolean", "description": "Only present if true." } }),
    );
    let parts = || json!({ "type": "array", "items": part });
    let person = object(
        &["id", "name", "email"],
        json!({ "id": text(), "name": text(), "email": text_or_null() }),
    );
    let quoted = json!({ "type": ["object", "null"], "required": ["text", "parts"],
        "properties": { "text": text(), "parts": parts() } });
    object(
        &[
            "type",
            "version",
            "runId",
            "organization",
            "agent",
            "integration",
            "session",
            "user",
            "chat",
            "message",
            "reply",
            "limits",
        ],
        json!({
            "type": { "const": "message.created" },
            "version": { "type": "integer" },
            "runId": text(),
            "organization": text(),
            "agent": named(),
            "integration": named(),
            "session": object(&["id", "number", "isNew"],
                json!({ "id": text(), "number": { "type": "integer" }, "isNew": { "type": "boolean" } })),
            "user": object(&["id", "platform", "externalId", "displayName", "locale"],
                json!({ "id": text(), "platform": text(), "externalId": text(), "displayName": text_or_null(), "locale": text(),
                    "person": person })),
            "chat": object(&["type", "id", "threadId"],
                json!({ "type": { "enum": ["direct", "group"] }, "id": text(), "name": text(), "threadId": text_or_null() })),
            "message": object(&["id", "text", "parts", "quoted"],
                json!({ "id": text(), "text": text(), "parts": parts(), "quoted": quoted })),
            "reply": object(&["eventsUrl", "token", "expiresAt"],
                json!({ "eventsUrl": text(), "token": text(), "expiresAt": time() })),
            "limits": object(&["maxTextBytes", "stream"],
                json!({ "maxTextBytes": { "type": "integer" }, "stream": { "type": "boolean" } })),
        }),
    )
}

fn cancelled() -> Value {
    object(
        &["type", "version", "runId"],
        json!({ "type": { "const": "run.cancelled" }, "version": { "type": "integer" }, "runId": text() }),
    )
}

fn ping() -> Value {
    object(
        &["type", "version"],
        json!({ "type": { "const": "ping" }, "version": { "type": "integer" } }),
    )
}

fn question_example() -> Value {
    serde_json::from_str(include_str!("agent_request.json")).expect("the example is JSON")
}

fn notification() -> Value {
    let event = object(
        &["type", "url"],
        json!({
            "type": { "type": "string",
                "description": "`bot_down`, `bot_back`, `answers_failing`, `answers_back`, `dead_letters`, `test`; more may be added." },
            "integrationId": text(), "name": text(), "platform": text(), "state": text(), "reason": text_or_null(),
            "next": { "type": ["string", "null"], "description": "The operator's next step." },
            "since": time(),
            "count": { "type": "integer", "description": "The number of dead letters." },
            "url": { "type": "string", "description": "The page of the console that shows it." },
        }),
    );
    object(
        &["id", "at", "organization", "text", "events", "more"],
        json!({
            "id": text(), "at": time(), "organization": text(),
            "text": { "type": "string", "description": "For people, one line per event." },
            "events": { "type": "array", "items": event },
            "more": { "type": "integer", "description": "Number of events that are not listed." },
        }),
    )
}

fn notification_example() -> Value {
    serde_json::from_str(include_str!("notification.json")).expect("the example is JSON")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether the schema requires each field that the value must have, and describes each field that it has.
    #[track_caller]
    fn check(path: &str, schema: &Value, value: &Value) {
        match value {
            Value::Object(fields) => {
                for (name, value) in fields {
                    let below = &schema["properties"][name];
                    assert!(below.is_object(), "{path}.{name} is not described");
                    check(&format!("{path}.{name}"), below, value);
                }
                for name in schema["required"].as_array().into_iter().flatten() {
                    assert!(fields.contains_key(name.as_str().unwrap()), "{path} lacks {name}");
                }
            }
            Value::Array(values) => values.iter().for_each(|value| check(path, &schema["items"], value)),
            _ => {}
        }
    }

    /// The JSON in a page, from `start` to the line of `end`.
    fn in_page(page: &str, start: &str, end: &str) -> Value {
        let from = page.find(start).unwrap();
        let length = page[from..].find(end).unwrap() + end.len();
        serde_json::from_str(&page[from..from + length]).unwrap()
    }

    #[test]
    fn schemas_describe_what_the_documents_show() {
        let agents = include_str!("../../../../docs/agents.md");
        let shown = in_page(agents, "{\"type\":\"message.created\"", "\"stream\":true}}");
        check("question", &question(), &shown);
        check("question", &question(), &question_example());
        let one_machine = include_str!("../../../../docs/one-machine.md");
        let shown = in_page(one_machine, "{\"id\": \"ntf_", "}]}");
        check("notification", &notification(), &shown);
        check("notification", &notification(), &notification_example());
    }
}
