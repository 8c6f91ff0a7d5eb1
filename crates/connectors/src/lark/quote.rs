//! Quoted and forwarded messages: the event has only their id.
//!
//! See [Feishu Docs/获取指定消息的内容](https://open.feishu.cn/document/uAjLw4CM/ukTMukTMukTM/reference/im-v1/message/get).

use serde::Deserialize as _;
use serde_json::Value;
use tieline_core::connector::{Context, MediaError};
use tieline_core::event::Quoted;
use tieline_core::http_types::{ApiAnswer, Body, HttpCall, TokenPlace};
use tieline_core::ids::PlatformMessageId;

use super::compose::segment;
use super::content::{self, Content};
use super::settings::{Settings, address};
use super::wire::{Mention, ToldMention, ToldMessage, UserId};
use super::{CALL_TIMEOUT, api_error, mentions};

/// The call that fetches a message. Of a card its own JSON is requested: the simplified form lacks what newer cards say.
pub(super) fn call(id: &PlatformMessageId, cx: &Context<'_>) -> HttpCall {
    let message = segment(id.as_str());
    let path = format!("/open-apis/im/v1/messages/{message}?card_msg_content_type=user_card_content");
    HttpCall {
        name: "read_message",
        method: "GET",
        url: address(cx.account, &path),
        headers: Vec::new(),
        body: Body::Empty,
        token: TokenPlace::Bearer,
        timeout: CALL_TIMEOUT,
    }
}

/// The content of the message, or of the messages forwarded in it, in order.
pub(super) fn read(id: &PlatformMessageId, answer: &ApiAnswer, cx: &Context<'_>) -> Result<Quoted, MediaError> {
    let body = api_error::accepted(answer)?;
    let items = body.data.get("items").and_then(Value::as_array);
    let items: Vec<ToldMessage> = items
        .into_iter()
        .flatten()
        .filter_map(|item| ToldMessage::deserialize(item).ok())
        .collect();
    let bot = Settings::of(cx.account).bot.as_deref();
    let children: Vec<String> = items.iter().filter_map(|item| child(item, bot)).collect();
    if !children.is_empty() {
        return Ok(Quoted {
            text: children.join("\n"),
            parts: Vec::new(),
        });
    }
    let asked = items.iter().find(|item| item.message_id == id.as_str());
    let said = asked.and_then(|item| said(item, bot)).ok_or(MediaError::Gone)?;
    Ok(Quoted {
        text: said.text,
        parts: said.parts,
    })
}

/// A forwarded message as one line with its sender. Its files can't be downloaded: 234043.
fn child(item: &ToldMessage, bot: Option<&str>) -> Option<String> {
    // A container inside a container stands for its children, which follow.
    if item.upper_message_id.is_empty() || item.msg_type == "merge_forward" {
        return None;
    }
    let said = said(item, bot)?;
    let text = match said.parts.first() {
        Some(_) => format!("{} [{}]", said.text, item.msg_type),
        None => said.text,
    };
    Some(format!("{}: {}", item.sender.id, text.trim()))
}

fn said(item: &ToldMessage, bot: Option<&str>) -> Option<Content> {
    let content = content::read(&item.message_id, &item.msg_type, &item.body.content).filter(|_| !item.deleted)?;
    let mentions: Vec<Mention> = item.mentions.iter().map(as_in_events).collect();
    Some(Content {
        text: mentions::named(&content.text, &mentions, bot),
        parts: content.parts,
    })
}

fn as_in_events(mention: &ToldMention) -> Mention {
    Mention {
        key: mention.key.clone(),
        id: UserId {
            open_id: mention.id.clone(),
            ..UserId::default()
        },
        mentioned_type: String::new(),
        name: mention.name.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tieline_core::account::ConnectionMode;

    use super::super::fixture::{NOW, account, context};
    use super::*;

    fn told(status: u16, body: &Value) -> Result<Quoted, MediaError> {
        let account = account(ConnectionMode::Webhook, &[("botOpenId", "ou_bot")]);
        let answer = ApiAnswer::Answered {
            status,
            retry_after_s: None,
            body: body.to_string().into_bytes(),
        };
        read(&PlatformMessageId::new("om_1"), &answer, &context(&account, NOW))
    }

    fn item(id: &str, upper: &str, kind: &str, content: &Value) -> Value {
        json!({ "message_id": id, "upper_message_id": upper, "msg_type": kind, "deleted": false, "sender": { "id": "ou_tom",
                "id_type": "open_id", "sender_type": "user" }, "body": { "content": content.to_string() },
                "mentions": [{ "key": "@_user_1", "id": "ou_bot", "id_type": "open_id", "name": "Tieline" }] })
    }

    fn items(items: &[Value]) -> Value {
        json!({ "code": 0, "msg": "success", "data": { "items": items } })
    }

    #[test]
    fn quoted_message_is_parsed_like_a_received_one() {
        let text = told(
            200,
            &items(&[item("om_1", "", "text", &json!({ "text": "@_user_1 order 42" }))]),
        );
        assert_eq!(text.unwrap().text, "order 42");
        let file = json!({ "file_key": "file_1", "file_name": "a.pdf" });
        let file = told(200, &items(&[item("om_1", "", "file", &file)])).unwrap();
        assert_eq!(
            file.parts[0].locator,
            json!({ "message": "om_1", "key": "file_1", "type": "file" })
        );
    }

    #[test]
    fn cards_are_read_whichever_app_sent_them() {
        let alert = json!({ "title": "CPU high", "elements": [[{ "tag": "text", "text": "web-1" }]] });
        let own = json!({ "schema": "2.0", "body": { "elements": [{ "tag": "markdown", "content": "Ready on **Friday**" }] } });
        let answer = json!({ "title": "", "elements": [[{ "tag": "text", "text": "请升级至最新版本客户端，以查看内容" }]],
                             "user_dsl": own.to_string() });
        let of = |app: &str, card: &Value| {
            let mut item = item("om_1", "", "interactive", card);
            item["sender"] = json!({ "id": app, "id_type": "app_id", "sender_type": "app" });
            told(200, &items(&[item])).unwrap().text
        };
        assert_eq!(of("cli_0000000000000000", &alert), "CPU high\nweb-1");
        // In a group, the session of the person who quotes it need not contain the answer.
        assert_eq!(of("cli_a1b2c3d4e5f60718", &answer), "Ready on **Friday**");
    }

    #[test]
    fn forwarded_messages_keep_their_order_without_files() {
        let all = items(&[
            item(
                "om_1",
                "",
                "merge_forward",
                &json!({ "content": "Merged and Forwarded Message" }),
            ),
            item("om_2", "om_1", "text", &json!({ "text": "one" })),
            item(
                "om_3",
                "om_1",
                "merge_forward",
                &json!({ "content": "Merged and Forwarded Message" }),
            ),
            item("om_4", "om_3", "image", &json!({ "image_key": "img_1" })),
        ]);
        let expected = Quoted {
            text: "ou_tom: one\nou_tom: [image]".to_owned(),
            parts: Vec::new(),
        };
        assert_eq!(told(200, &all), Ok(expected));
    }

    #[test]
    fn fetch_errors_of_quotes_name_their_cause() {
        assert_eq!(told(200, &items(&[])), Err(MediaError::Gone));
        assert_eq!(
            told(400, &json!({ "code": 230_110, "msg": "deleted" })),
            Err(MediaError::Gone)
        );
        assert_eq!(
            told(400, &json!({ "code": 99_991_663, "msg": "token" })),
            Err(MediaError::TokenExpired)
        );
        assert_eq!(
            told(429, &json!({ "code": 99_991_400, "msg": "limit" })),
            Err(MediaError::Passing)
        );
        assert_eq!(told(502, &json!("bad gateway")), Err(MediaError::Passing));
    }
}
