//! Mistakes that are planted between the bridge and its tables or platform, to test the oracles (mutation testing).
//!
//! Each changes the bridge's requests, or the answers it reads, to those of a bridge with that mistake, so the code needs no switch for it.

use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::http::StatusCode;
use aws_smithy_types::body::SdkBody;
use serde_json::{Map, Value, json};

use crate::connector::{copy, target};

/// A planted mistake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mistake {
    /// The claim of an event always succeeds: every receiver processes it as new.
    ClaimIsAlwaysNew,
    /// A run ends without checking for messages that arrived meanwhile.
    NoLookAgain,
    /// A run is settled by a runner that has lost its lease.
    SettleWithoutFence,
    /// A message that `/new` or `/stop` drops is ended in the ledger before it is removed from the mailbox.
    LedgerFirst,
    /// The runner doesn't wait until a message's terminal state is in the ledger.
    EndIsNotAwaited,
    /// A platform's call without an answer is taken for accepted. In `platform.rs`.
    UnansweredIsAccepted,
}

impl Mistake {
    pub(crate) const ALL: [Self; 6] = [
        Self::ClaimIsAlwaysNew,
        Self::NoLookAgain,
        Self::SettleWithoutFence,
        Self::LedgerFirst,
        Self::EndIsNotAwaited,
        Self::UnansweredIsAccepted,
    ];

    /// What a bridge with this mistake requests instead of `request`.
    pub(crate) fn plant(self, request: HttpRequest) -> Planted {
        let Some(write) = Write::read(&request) else {
            return Planted::Call(request);
        };
        match self {
            Self::ClaimIsAlwaysNew if write.is_put && write.is_of("MSG#") => {
                Planted::Call(copy(&request, &write.under_any_condition()))
            }
            Self::NoLookAgain if write.leaves_run() => Planted::Call(copy(&request, &write.under_any_version())),
            Self::SettleWithoutFence if write.leaves_run() => {
                Planted::Call(copy(&request, &write.under_any_condition()))
            }
            Self::LedgerFirst => Planted::After(write.ends_of_closing(&request), request),
            Self::EndIsNotAwaited if write.is_of("MSG#") && write.sets("st") => Planted::InBackground(request),
            _ => Planted::Call(request),
        }
    }
}

/// What is requested instead.
pub(crate) enum Planted {
    /// This request.
    Call(HttpRequest),
    /// This request, after the others.
    After(Vec<HttpRequest>, HttpRequest),
    /// This request, without waiting for it.
    InBackground(HttpRequest),
}

/// A write of one item.
struct Write {
    body: Map<String, Value>,
    is_put: bool,
}

impl Write {
    fn read(request: &HttpRequest) -> Option<Self> {
        let is_put = match target(request).rsplit_once('.')?.1 {
            "PutItem" => true,
            "UpdateItem" => false,
            _ => return None,
        };
        let body = serde_json::from_slice(request.body().bytes()?).ok()?;
        Some(Self { body, is_put })
    }

    fn is_of(&self, prefix: &str) -> bool {
        let item = &self.body[if self.is_put { "Item" } else { "Key" }];
        let (partition, sort) = (item["pk"]["S"].as_str(), item["sk"]["S"].as_str());
        partition.is_some_and(|partition| partition.starts_with(prefix)) && sort == Some(prefix.trim_end_matches('#'))
    }

    /// The clause of the update expression that begins with this word.
    fn clause(&self, word: &str) -> &str {
        let all = self.body.get("UpdateExpression").and_then(Value::as_str);
        let clause = all
            .unwrap_or_default()
            .split_once(word)
            .map_or("", |(_, clause)| clause);
        let end = [" REMOVE ", " ADD "].iter().filter_map(|next| clause.find(next)).min();
        &clause[..end.unwrap_or(clause.len())]
    }

    fn removes(&self, name: &str) -> bool {
        self.clause("REMOVE ").split(", ").any(|it| it == format!("#{name}"))
    }

    /// The value that an attribute is set to.
    fn set(&self, name: &str) -> Option<&Value> {
        let begin = format!("#{name} = ");
        let value = self.clause("SET ").split(", ").find_map(|it| it.strip_prefix(&begin))?;
        self.body.get("ExpressionAttributeValues")?.get(value)
    }

    fn sets(&self, name: &str) -> bool {
        self.set(name).is_some()
    }

    /// Whether it ends the conversation's run and begins no other.
    fn leaves_run(&self) -> bool {
        !self.is_put && self.is_of("CNV#") && self.removes("run")
    }

    fn condition(&self) -> &str {
        let condition = self.body.get("ConditionExpression").and_then(Value::as_str);
        condition.expect("a write has a condition")
    }

    /// The write with another condition, which must name every placeholder of the first one: unused placeholders are rejected.
    fn under(&self, condition: String) -> Vec<u8> {
        let mut body = self.body.clone();
        body.insert("ConditionExpression".to_owned(), condition.into());
        serde_json::to_vec(&body).expect("JSON")
    }

    fn under_any_condition(&self) -> Vec<u8> {
        // Without parentheses of its own: redundant parentheses are rejected.
        let condition = self.condition();
        self.under(format!(
            "attribute_exists(pk) OR attribute_not_exists(pk) OR {condition}"
        ))
    }

    fn under_any_version(&self) -> Vec<u8> {
        let is_version = |it: &str| it.starts_with("#n = ");
        let of_any = |it: &str| match is_version(it) {
            true => format!("({it} OR attribute_exists(pk))"),
            false => it.to_owned(),
        };
        let parts: Vec<_> = self.condition().split(" AND ").map(of_any).collect();
        self.under(parts.join(" AND "))
    }

    /// Writes of the terminal states of the messages that this write puts on the list of messages to end.
    fn ends_of_closing(&self, request: &HttpRequest) -> Vec<HttpRequest> {
        let closing = self.set("clos").filter(|_| !self.is_put && self.is_of("CNV#"));
        let closing = closing.and_then(|closing| closing["L"].as_array());
        let end = |closing: &Value| {
            let (message, end) = (closing["M"]["message"]["S"].as_str()?, &closing["M"]["end"]);
            let body = json!({
                "TableName": self.body["TableName"],
                "Key": { "pk": { "S": format!("MSG#{message}") }, "sk": { "S": "MSG" } },
                "UpdateExpression": "SET #st = :0",
                "ConditionExpression": "#st IN (:1, :2)",
                "ExpressionAttributeNames": { "#st": "st" },
                "ExpressionAttributeValues": { ":0": end, ":1": { "S": "queued" }, ":2": { "S": "running" } },
            });
            Some(copy(request, &serde_json::to_vec(&body).ok()?))
        };
        closing.into_iter().flatten().filter_map(end).collect()
    }
}

/// The response that a caller gets whose request runs in the background.
pub(crate) fn taken_for_done() -> HttpResponse {
    let mut response = HttpResponse::new(StatusCode::try_from(200).expect("a status"), SdkBody::from("{}"));
    response
        .headers_mut()
        .insert("content-type", "application/x-amz-json-1.0");
    response
}
