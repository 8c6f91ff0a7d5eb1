//! The simulator refuses what the Bot API refuses.

use reqwest::Client;
use serde_json::{Value, json};

use super::Platform;
use crate::outbound::Speaker;

struct Bot {
    platform: Platform,
    token: String,
}

impl Bot {
    async fn start() -> Self {
        let platform = Platform::start().await;
        let token = platform.add_bot(7, "demo_bot");
        // A person has started the bot, and the bot is in a group.
        platform.text(&token, &Speaker::alone("5"), "hi", false);
        platform.text(&token, &Speaker::in_group("5", "-100"), "hi", true);
        Self { platform, token }
    }

    async fn call(&self, method: &str, body: &Value) -> Value {
        let url = format!("{}/bot{}/{method}", self.platform.url(), self.token);
        let client = Client::builder().no_proxy().build().unwrap();
        client.post(url).json(body).send().await.unwrap().json().await.unwrap()
    }

    #[track_caller]
    fn refused(answer: &Value, code: u16, text: &str) {
        assert_eq!(
            (&answer["ok"], &answer["error_code"]),
            (&json!(false), &json!(code)),
            "{answer}"
        );
        assert!(
            answer["description"].as_str().unwrap().contains(text),
            "expected `{text}` in the description of {answer}"
        );
    }
}

#[tokio::test]
async fn messages_are_checked() {
    let bot = Bot::start().await;
    let send = async |body: Value| bot.call("sendMessage", &body).await;
    Bot::refused(&send(json!({ "chat_id": 6, "text": "a" })).await, 400, "chat not found");
    Bot::refused(
        &send(json!({ "chat_id": 5, "text": " " })).await,
        400,
        "message text is empty",
    );
    Bot::refused(
        &send(json!({ "chat_id": 5, "text": "字".repeat(4097) })).await,
        400,
        "too long",
    );
    Bot::refused(
        &send(json!({ "chat_id": 5, "text": "😀".repeat(2049) })).await,
        400,
        "too long",
    );
    let outside = json!([{ "type": "bold", "offset": 0, "length": 2 }]);
    Bot::refused(
        &send(json!({ "chat_id": 5, "text": "a", "entities": outside })).await,
        400,
        "can't parse entities",
    );
    let crossing =
        json!([{ "type": "bold", "offset": 0, "length": 2 }, { "type": "italic", "offset": 1, "length": 2 }]);
    Bot::refused(
        &send(json!({ "chat_id": 5, "text": "abc", "entities": crossing })).await,
        400,
        "overlap",
    );
    Bot::refused(
        &send(json!({ "chat_id": -100, "message_thread_id": 1, "text": "a" })).await,
        400,
        "message thread not found",
    );
    let long = json!({ "inline_keyboard": [[{ "text": "a", "callback_data": "x".repeat(65) }]] });
    Bot::refused(
        &send(json!({ "chat_id": 5, "text": "a", "reply_markup": long })).await,
        400,
        "BUTTON_DATA_INVALID",
    );
    assert_eq!(
        send(json!({ "chat_id": 5, "text": "a", "colour": 1 })).await["ok"],
        true
    );
    assert!(
        bot.platform
            .complaints()
            .iter()
            .any(|it| it.contains("unknown field colour"))
    );
}

#[tokio::test]
async fn edits_and_drafts_are_checked() {
    let bot = Bot::start().await;
    let sent = bot.call("sendMessage", &json!({ "chat_id": 5, "text": "a" })).await;
    let id = sent["result"]["message_id"].clone();
    let same = bot
        .call(
            "editMessageText",
            &json!({ "chat_id": 5, "message_id": id, "text": "a" }),
        )
        .await;
    Bot::refused(&same, 400, "message is not modified");
    let gone = bot
        .call(
            "editMessageText",
            &json!({ "chat_id": 5, "message_id": 99, "text": "b" }),
        )
        .await;
    Bot::refused(&gone, 400, "message to edit not found");
    let draft = async |chat: i64, id: i64| {
        bot.call(
            "sendMessageDraft",
            &json!({ "chat_id": chat, "draft_id": id, "text": "b" }),
        )
        .await
    };
    Bot::refused(&draft(-100, 1).await, 400, "TEXTDRAFT_PEER_INVALID");
    Bot::refused(&draft(5, 0).await, 400, "non-zero");
    assert_eq!(draft(5, 1).await["ok"], true);
    bot.call("sendMessage", &json!({ "chat_id": 5, "text": "b c" })).await;
    let shown: Vec<_> = bot.platform.bubbles().into_iter().map(|it| it.states).collect();
    assert_eq!(shown, [vec!["a".to_owned()], vec!["b".to_owned(), "b c".to_owned()]]);
}

#[tokio::test]
async fn updates_are_confirmed_by_offset_and_exclude_webhooks() {
    let bot = Bot::start().await;
    let fetch =
        async |offset: i64| bot.call("getUpdates", &json!({ "offset": offset, "limit": 1 })).await["result"].clone();
    let first = fetch(0).await;
    assert_eq!(first.as_array().unwrap().len(), 1);
    let id = first[0]["update_id"].as_i64().unwrap();
    assert_eq!(fetch(0).await, first, "what isn't confirmed comes again");
    assert_ne!(fetch(id + 1).await, first);
    bot.platform.set_foreign_webhook(&bot.token, "http://127.0.0.1:1/");
    Bot::refused(&bot.call("getUpdates", &json!({})).await, 409, "webhook is active");
    let plain = bot
        .call(
            "setWebhook",
            &json!({ "url": "http://example.com/", "secret_token": "s" }),
        )
        .await;
    Bot::refused(&plain, 400, "HTTPS");
    let secret = bot
        .call(
            "setWebhook",
            &json!({ "url": "https://example.com/", "secret_token": "s s" }),
        )
        .await;
    Bot::refused(&secret, 400, "unallowed characters");
}

#[tokio::test]
async fn second_poller_ends_the_first() {
    let bot = Bot::start().await;
    bot.call("getUpdates", &json!({ "offset": 999_999_999 })).await;
    let wait = json!({ "timeout": 20 });
    let (first, ()) = tokio::join!(bot.call("getUpdates", &wait), async {
        let waits = || bot.platform.calls().len() >= 2;
        crate::test_bridge::until("the first poll", waits).await;
        bot.call("getUpdates", &json!({})).await;
    });
    Bot::refused(&first, 409, "terminated by other getUpdates request");
}

#[tokio::test]
async fn groups_take_twenty_messages_a_minute() {
    let bot = Bot::start().await;
    for n in 0..20 {
        let sent = bot
            .call("sendMessage", &json!({ "chat_id": -100, "text": n.to_string() }))
            .await;
        assert_eq!(sent["ok"], true, "{sent}");
    }
    let fast = bot.call("sendMessage", &json!({ "chat_id": -100, "text": "a" })).await;
    Bot::refused(&fast, 429, "retry after");
    bot.call("sendMessage", &json!({ "chat_id": -100, "text": "a" })).await;
    assert!(
        bot.platform
            .complaints()
            .iter()
            .any(|it| it.contains("before retry_after"))
    );
}
