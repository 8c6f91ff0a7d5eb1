//! Cards, version 2.0. They must not contain unknown properties, so each one here is documented.
//!
//! See [Feishu Docs/卡片 JSON 2.0 结构](https://open.feishu.cn/document/uAjLw4CM/ukzMukzMukzM/feishu-cards/card-json-v2-structure).

use serde_json::{Value, json};

/// Id of the element with the text.
pub(super) const TEXT: &str = "stream_md";
/// Longest summary for the list of chats, in characters.
const SUMMARY: usize = 60;

/// A card whose text will be streamed.
pub(super) fn streaming(text: &str, summary: &str) -> Value {
    let config = json!({
        "streaming_mode": true,
        "update_multi": true,
        "summary": { "content": summary },
        "streaming_config": {
            "print_frequency_ms": { "default": 70 },
            "print_step": { "default": 1 },
            "print_strategy": "fast",
        },
    });
    card(&config, text, Vec::new())
}

/// A card that is not streamed.
pub(super) fn still(text: &str, buttons: Vec<Value>) -> Value {
    let config = json!({ "streaming_mode": false, "update_multi": true, "summary": { "content": summary(text) } });
    card(&config, text, buttons)
}

fn card(config: &Value, text: &str, buttons: Vec<Value>) -> Value {
    let mut elements = vec![json!({ "tag": "markdown", "element_id": TEXT, "content": text })];
    elements.extend(buttons);
    json!({ "schema": "2.0", "config": config, "body": { "elements": elements } })
}

/// Settings that end or resume streaming.
pub(super) fn settings(open: bool, summary: &str) -> Value {
    json!({ "config": { "streaming_mode": open, "summary": { "content": summary } } })
}

/// Summary for the list of chats: the first words, without markup.
pub(super) fn summary(text: &str) -> String {
    let plain: String = text
        .lines()
        .map(|line| line.trim_start_matches(['#', '>', '-', '*', '+', ' ', '|']))
        .filter(|line| !line.trim().is_empty() && !line.starts_with("```"))
        .flat_map(|line| line.chars().chain([' ']))
        .filter(|c| !matches!(c, '*' | '`' | '|'))
        .take(SUMMARY)
        .collect();
    plain.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summary_is_short_and_plain() {
        assert_eq!(
            summary("# 订单 **42**\n\n```sh\nls\n```\n- 已发货"),
            "订单 42 ls 已发货"
        );
        assert_eq!(summary(&"长".repeat(100)).chars().count(), SUMMARY);
        assert_eq!(summary(""), "");
    }
}
