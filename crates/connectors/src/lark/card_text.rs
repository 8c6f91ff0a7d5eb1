//! The words of a received card: in the platform's simplified form, or as the card's own JSON.
//!
//! See [Feishu Docs/卡片 JSON 结构](https://open.feishu.cn/document/uAjLw4CM/ukzMukzMukzM/feishu-cards/card-json-structure).

use serde_json::{Map, Value};

/// What the simplified form of a card of version 2.0 says in place of its content.
const UPGRADE_HINT: &str = "请升级至最新版本客户端，以查看内容";
/// Tags whose `content` is shown as text.
const TEXTS: [&str; 3] = ["plain_text", "lark_md", "markdown"];
/// Fields with visible parts of a card, in the order in which they are shown.
const PARTS: [&str; 8] = [
    "header", "title", "subtitle", "text", "fields", "body", "elements", "columns",
];

/// The card itself, if `content` holds more than its simplified form.
pub(super) fn own_json(content: &Map<String, Value>) -> Option<Value> {
    match content.get("user_dsl") {
        Some(Value::String(card)) => serde_json::from_str(card).ok(),
        Some(card @ Value::Object(_)) => Some(card.clone()),
        _ => is_own_json(content).then(|| Value::Object(content.clone())),
    }
}

/// In the simplified form, the elements are lines of nodes.
fn is_own_json(content: &Map<String, Value>) -> bool {
    let elements = content.get("elements").and_then(Value::as_array);
    content.contains_key("header")
        || content.contains_key("body")
        || elements.is_some_and(|elements| elements.iter().any(Value::is_object))
}

/// The words of a card, a line for each text. Without buttons: in a quote they do nothing.
pub(super) fn words(card: &Value) -> String {
    let mut lines = Vec::new();
    collect(card, &mut lines);
    lines.join("\n")
}

fn collect<'a>(part: &'a Value, lines: &mut Vec<&'a str>) {
    if let Value::Array(parts) = part {
        return parts.iter().for_each(|part| collect(part, lines));
    }
    let word = |field: &str| part.get(field).and_then(Value::as_str).unwrap_or_default();
    if TEXTS.contains(&word("tag")) {
        return lines.extend(Some(word("content")).filter(|content| !content.is_empty()));
    }
    let parts = PARTS.iter().filter(|_| word("tag") != "button");
    parts
        .filter_map(|name| part.get(name))
        .for_each(|part| collect(part, lines));
}

/// A simplified form's text without the hint that stands for what it leaves out.
pub(super) fn without_hint(text: &str) -> String {
    text.replace(UPGRADE_HINT, "").trim().to_owned()
}
