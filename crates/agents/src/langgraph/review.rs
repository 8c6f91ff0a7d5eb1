//! Interrupts of LangChain's middleware for human review: the agent wants to call tools, and each call waits for a decision.
//!
//! Their answer is a list with one decision for each call; the graph fails at anything else. Field names are in snake case in Python and
//! in camel case in JavaScript.
//!
//! See [LangChain Docs/Human-in-the-loop](https://docs.langchain.com/oss/python/langchain/human-in-the-loop).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::confirmation::is_confirmed;

/// How the call of a tool is decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Review {
    /// Approved or rejected.
    Decide,
    /// The person's answer is the tool's result.
    Respond,
}

/// The choices of a question that only asks for decisions.
pub(crate) const CHOICES: [&str; 2] = ["approve", "reject"];

/// The calls that wait for a decision. Empty for any other interrupt.
pub(crate) fn reviews(interrupt: &Value) -> Vec<Review> {
    let configs = list(interrupt, "review_configs", "reviewConfigs").iter();
    let configs = configs.filter_map(|config| {
        let name = config.get("action_name").or_else(|| config.get("actionName"))?;
        Some((name.as_str()?, list(config, "allowed_decisions", "allowedDecisions")))
    });
    let configs: BTreeMap<_, _> = configs.collect();
    let review = |call: &Value| {
        let name = call.get("name").and_then(Value::as_str).unwrap_or_default();
        let allows = |decision: &str| {
            configs
                .get(name)
                .is_some_and(|allowed| allowed.iter().any(|it| it == decision))
        };
        match allows("respond") && !allows("approve") {
            true => Review::Respond,
            false => Review::Decide,
        }
    };
    calls(interrupt).iter().map(review).collect()
}

/// The question to the person: what the agent wants to do.
pub(crate) fn prompt(interrupt: &Value) -> Option<String> {
    let prompts: Vec<String> = calls(interrupt).iter().map(describe).collect();
    (!prompts.is_empty()).then(|| prompts.join("\n\n"))
}

/// The answer that decides every call: `confirmation` is the person's words, `answer` those words with links to the attachments.
pub(crate) fn answer(reviews: &[Review], confirmation: &str, answer: &str) -> Value {
    let decide = |review: &Review| match review {
        Review::Respond => json!({"type": "respond", "message": answer}),
        Review::Decide if is_confirmed(confirmation) => json!({"type": "approve"}),
        Review::Decide => json!({"type": "reject", "message": answer}),
    };
    json!({"decisions": reviews.iter().map(decide).collect::<Vec<_>>()})
}

fn describe(call: &Value) -> String {
    let text = |field: &str| call.get(field).and_then(Value::as_str).filter(|text| !text.is_empty());
    if let Some(description) = text("description") {
        return description.to_owned();
    }
    let name = text("name").unwrap_or("?");
    match call.get("args").or_else(|| call.get("arguments")) {
        Some(args) => format!("{name}\n```json\n{args:#}\n```"),
        None => name.to_owned(),
    }
}

fn calls(interrupt: &Value) -> &[Value] {
    list(interrupt, "action_requests", "actionRequests")
}

fn list<'a>(value: &'a Value, python: &str, javascript: &str) -> &'a [Value] {
    let list = value.get(python).or_else(|| value.get(javascript));
    list.and_then(Value::as_array).map_or(&[], Vec::as_slice)
}
