//! Content of a message, by its type.
//!
//! See [Feishu Docs/接收消息内容结构](https://open.feishu.cn/document/uAjLw4CM/ukTMukTMukTM/im-v1/message/events/message_content).

use serde::Deserialize as _;
use serde_json::{Map, Value, json};
use tieline_core::event::{Part, PartKind};
use tieline_core::timestamp::Timestamp;

use super::card_text;
use super::wire::{Node, Post};

/// Text and attachments of a message. Mentions are still placeholders.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Content {
    pub text: String,
    pub parts: Vec<Part>,
}

/// Parses the content of a message. `None` if it doesn't match its type.
pub(super) fn read(message_id: &str, message_type: &str, content: &str) -> Option<Content> {
    let json: Map<String, Value> = serde_json::from_str(content).ok()?;
    let text = |field: &str| json.get(field).and_then(Value::as_str).unwrap_or_default();
    let part = |kind, resource: &str, key: &str| part(message_id, kind, resource, text(key), text("file_name"));
    let content = match message_type {
        "text" => said(text("text")),
        "post" => rich(message_id, json)?,
        "interactive" => said(&card(message_id, json)?),
        "image" => with(part(PartKind::Image, "image", "image_key")?),
        "file" => with(part(PartKind::File, "file", "file_key")?),
        "audio" => with(voice(part(PartKind::Audio, "file", "file_key")?)),
        "media" => with(part(PartKind::Video, "file", "file_key")?),
        "todo" => said(&(todo(&json) + &times(&json))),
        "vote" => said(&vote(&json)),
        _ => said(&(placeholder(message_type, &text) + &times(&json))),
    };
    Some(content)
}

fn said(text: &str) -> Content {
    Content {
        text: text.to_owned(),
        parts: Vec::new(),
    }
}

fn with(part: Part) -> Content {
    Content {
        text: String::new(),
        parts: vec![part],
    }
}

fn part(message_id: &str, kind: PartKind, resource: &str, key: &str, name: &str) -> Option<Part> {
    (!key.is_empty()).then(|| Part {
        kind,
        name: (!name.is_empty()).then(|| name.to_owned()),
        mime: None,
        size: None,
        locator: json!({ "message": message_id, "key": key, "type": resource }),
    })
}

/// Recordings are Opus, whatever their names say.
fn voice(part: Part) -> Part {
    Part {
        mime: Some("audio/opus".to_owned()),
        ..part
    }
}

/// A post, or a card in the platform's simplified form.
fn rich(message_id: &str, json: Map<String, Value>) -> Option<Content> {
    let post = Post::deserialize(Value::Object(unwrapped(json))).ok()?;
    let mut content = Content::default();
    let mut lines = vec![post.title];
    for row in &post.content {
        let mut line = String::new();
        for node in row {
            line.push_str(&words(node));
            content.parts.extend(thing(message_id, node));
        }
        lines.push(line);
    }
    content.text = lines.join("\n").trim().to_owned();
    Some(content)
}

/// The words of a card. Its pictures can't be downloaded: 234043.
fn card(message_id: &str, json: Map<String, Value>) -> Option<String> {
    let text = match card_text::own_json(&json) {
        Some(card) => card_text::words(&card),
        None => card_text::without_hint(&rich(message_id, json)?.text),
    };
    Some(if text.is_empty() {
        "[interactive]".to_owned()
    } else {
        text
    })
}

/// Some clients wrap a post in its locale.
fn unwrapped(json: Map<String, Value>) -> Map<String, Value> {
    let wrapped = !["title", "content", "elements"]
        .iter()
        .any(|key| json.contains_key(*key));
    let inner = json.values().find_map(Value::as_object).filter(|_| wrapped).cloned();
    inner.unwrap_or(json)
}

fn words(node: &Node) -> String {
    match node.tag.as_str() {
        "a" => format!("[{}]({})", node.text, node.href),
        // The id is a placeholder that the list of mentions resolves.
        "at" if node.user_id.starts_with("@_") => node.user_id.clone(),
        "at" => format!("@{}", node.user_name),
        "emotion" => format!(":{}:", node.emoji_type),
        "hr" => "---".to_owned(),
        "code_block" => format!("```{}\n{}\n```", node.language.to_lowercase(), node.text.trim_end()),
        _ => node.text.clone(),
    }
}

fn thing(message_id: &str, node: &Node) -> Option<Part> {
    match node.tag.as_str() {
        "img" => part(message_id, PartKind::Image, "image", &node.image_key, ""),
        "media" => part(message_id, PartKind::Video, "file", &node.file_key, ""),
        _ => None,
    }
}

fn todo(json: &Map<String, Value>) -> String {
    let summary = json.get("summary").and_then(Value::as_object).cloned();
    let summary = summary.and_then(|summary| rich("", summary));
    format!("[todo] {}", summary.unwrap_or_default().text)
}

/// The question, and what can be chosen.
fn vote(json: &Map<String, Value>) -> String {
    let topic = json.get("topic").and_then(Value::as_str).unwrap_or_default();
    let options = json.get("options").and_then(Value::as_array).into_iter().flatten();
    let options = options.filter_map(Value::as_str).map(|option| format!("\n- {option}"));
    format!("[vote] {topic}{}", options.collect::<String>())
}

/// When a task is due, or a meeting takes place, in brackets.
fn times(json: &Map<String, Value>) -> String {
    let time = |name| {
        let millis: i64 = json.get(name)?.as_str()?.parse().ok()?;
        (millis > 0).then(|| Timestamp::from_millis(millis).to_string())
    };
    let times: Vec<String> = ["start_time", "end_time", "due_time"]
        .into_iter()
        .filter_map(time)
        .collect();
    if times.is_empty() {
        String::new()
    } else {
        format!(" ({})", times.join(" – "))
    }
}

/// Text for content that is neither text nor a downloadable file.
fn placeholder<'a>(message_type: &str, text: &impl Fn(&str) -> &'a str) -> String {
    let told = match message_type {
        "folder" => text("file_name").to_owned(),
        "share_chat" => text("chat_id").to_owned(),
        "share_user" => text("user_id").to_owned(),
        "share_calendar_event" | "calendar" | "general_calendar" => text("summary").to_owned(),
        "location" => format!("{} ({}, {})", text("name"), text("latitude"), text("longitude")),
        "video_chat" => text("topic").to_owned(),
        "hongbao" => text("text").to_owned(),
        // Forwarded messages can only be fetched one by one, and their files not at all.
        "merge_forward" => "merged and forwarded messages".to_owned(),
        _ => String::new(),
    };
    format!("[{message_type}] {told}").trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(message_type: &str, content: &Value, text: &str, n_parts: usize) {
        let read = read("om_1", message_type, &content.to_string()).unwrap();
        assert_eq!((read.text.as_str(), read.parts.len()), (text, n_parts));
    }

    #[test]
    fn plain_text_keeps_its_placeholders() {
        check("text", &json!({ "text": "@_user_1 hi" }), "@_user_1 hi", 0);
    }

    #[test]
    fn post_becomes_lines_of_markdown_with_its_files() {
        let post = json!({ "title": "T", "content": [
            [{ "tag": "at", "user_id": "@_user_1" }, { "tag": "text", "text": " see " }, { "tag": "a", "text": "it", "href": "https://a.b" }],
            [{ "tag": "img", "image_key": "img_v3_x" }],
            [{ "tag": "media", "file_key": "file_v3_x", "image_key": "img_v3_y" }],
            [{ "tag": "code_block", "language": "RUST", "text": "fn main() {}\n" }, { "tag": "hr" }, { "tag": "emotion", "emoji_type": "OK" }],
        ]});
        let text = "T\n@_user_1 see [it](https://a.b)\n\n\n```rust\nfn main() {}\n```---:OK:";
        check("post", &post, text, 2);
        check("post", &json!({ "zh_cn": post }), text, 2);
    }

    #[test]
    fn files_have_their_download_locators() {
        let read = read("om_1", "file", r#"{"file_key":"file_v2_x","file_name":"a.pdf"}"#).unwrap();
        assert_eq!(read.parts[0].name.as_deref(), Some("a.pdf"));
        assert_eq!(
            read.parts[0].locator,
            json!({ "message": "om_1", "key": "file_v2_x", "type": "file" })
        );
        check("image", &json!({ "image_key": "img_v2_x" }), "", 1);
        check("audio", &json!({ "file_key": "file_v2_x", "duration": 2000 }), "", 1);
        check(
            "media",
            &json!({ "file_key": "f", "image_key": "i", "file_name": "a.mp4", "duration": 1 }),
            "",
            1,
        );
    }

    #[test]
    fn content_without_text_is_described() {
        check("sticker", &json!({ "file_key": "x" }), "[sticker]", 0);
        check("share_user", &json!({ "user_id": "ou_x" }), "[share_user] ou_x", 0);
        check(
            "location",
            &json!({ "name": "N", "latitude": "1", "longitude": "2" }),
            "[location] N (1, 2)",
            0,
        );
        check(
            "todo",
            &json!({ "task_id": "t", "summary": { "title": "", "content": [[{ "tag": "text", "text": "buy" }]] } }),
            "[todo] buy",
            0,
        );
        check(
            "merge_forward",
            &json!({ "content": "Merged and Forwarded Message" }),
            "[merge_forward] merged and forwarded messages",
            0,
        );
        check(
            "interactive",
            &json!({ "title": "C", "elements": [[{ "tag": "text", "text": "b" }]] }),
            "C\nb",
            0,
        );
        check(
            "interactive",
            &json!({ "title": "C", "elements": [[{ "tag": "img", "image_key": "img_v3_x" }]] }),
            "C",
            0,
        );
        check("tomorrow", &json!({}), "[tomorrow]", 0);
        let vote = json!({ "topic": "Lunch?", "options": ["Pizza", "Rice"] });
        check("vote", &vote, "[vote] Lunch?\n- Pizza\n- Rice", 0);
        let event = json!({ "summary": "Review", "start_time": "1760000000000", "end_time": "1760003600000" });
        for kind in ["calendar", "general_calendar", "share_calendar_event"] {
            let text = format!("[{kind}] Review (2025-10-09T08:53:20Z – 2025-10-09T09:53:20Z)");
            check(kind, &event, &text, 0);
        }
        check(
            "calendar",
            &json!({ "summary": "Review", "start_time": "" }),
            "[calendar] Review",
            0,
        );
        let due = json!({ "summary": { "title": "buy", "content": [] }, "due_time": "1760000000000" });
        check("todo", &due, "[todo] buy (2025-10-09T08:53:20Z)", 0);
        check(
            "video_chat",
            &json!({ "topic": "Sync", "start_time": "1760000000000" }),
            "[video_chat] Sync (2025-10-09T08:53:20Z)",
            0,
        );
    }

    #[test]
    fn cards_are_read_from_their_own_json() {
        let hint = json!([[{ "tag": "img", "image_key": "img_v3_x" }, { "tag": "text", "text": "请升级至最新版本客户端，以查看内容" }]]);
        let card = json!({ "schema": "2.0", "config": { "summary": { "content": "no" } },
            "header": { "title": { "tag": "plain_text", "content": "CPU high" } },
            "body": { "elements": [
                { "tag": "markdown", "content": "**web-1**" },
                { "tag": "column_set", "columns": [{ "tag": "column", "elements": [
                    { "tag": "div", "text": { "tag": "lark_md", "content": "Load 97 %" } },
                    { "tag": "button", "text": { "tag": "plain_text", "content": "Silence" } },
                ] }] },
            ] } });
        let text = "CPU high\n**web-1**\nLoad 97 %";
        check(
            "interactive",
            &json!({ "title": null, "elements": hint, "user_dsl": card.to_string() }),
            text,
            0,
        );
        check("interactive", &json!({ "elements": hint, "user_dsl": card }), text, 0);
        check("interactive", &card, text, 0);
        let first =
            json!({ "elements": [{ "tag": "div", "fields": [{ "text": { "tag": "lark_md", "content": "a" } }] }] });
        check("interactive", &first, "a", 0);
        check("interactive", &json!({ "title": "T", "elements": hint }), "T", 0);
        check(
            "interactive",
            &json!({ "title": null, "elements": hint }),
            "[interactive]",
            0,
        );
    }

    #[test]
    fn malformed_content_is_refused() {
        assert_eq!(read("om_1", "text", "{"), None);
        assert_eq!(read("om_1", "image", "{}"), None);
    }
}
