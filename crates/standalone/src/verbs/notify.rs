//! Where an organization's operators are notified of incidents.

use std::process::ExitCode;

use serde_json::{Map, Value, json};

use super::lifecycle::{left_alone, text};
use crate::args::{NotifyChat, NotifyEnd, NotifyLanguage, NotifyOf, NotifyWebhook};
use crate::client::{self, Client};
use crate::confirm::{self, Answer};
use crate::doctor::integration_id;
use crate::terminal::{self, one_line};

const OFF: &str = "notifications are off";

/// Prints where notifications go.
///
/// # Errors
/// If they can't be fetched.
pub async fn show_notify(args: NotifyOf) -> anyhow::Result<ExitCode> {
    let client = Client::new(&args.bridge)?;
    let set = client.get(&["notify"], &[]).await?;
    for line in lines(&set) {
        terminal::line(&line)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn lines(set: &Value) -> Vec<String> {
    let field = |value: &Value| one_line(value.as_str().unwrap_or_default());
    let chat = &set["chat"];
    let to = match (&set["webhook"]["url"], chat["chatId"].is_null()) {
        (Value::String(url), _) => format!("to the webhook {}", one_line(url)),
        _ if is_off(set) => return vec![OFF.to_owned()],
        (_, false) => format!(
            "into the chat {} by {}",
            field(&chat["chatId"]),
            field(&chat["integrationId"])
        ),
        (_, true) => format!("to {} by {}", field(&chat["userId"]), field(&chat["integrationId"])),
    };
    let mut lines = vec![format!("notifications go {to}, in {}", field(&set["language"]))];
    let last = &set["lastAttempt"];
    if !last.is_null() {
        let became = match &last["error"] {
            Value::String(error) => format!("failed: {}", one_line(error)),
            _ if last["messageId"].is_string() => format!("being delivered as {}", field(&last["messageId"])),
            _ => "sent".to_owned(),
        };
        lines.push(format!("newest attempt {}: {became}", field(&last["at"])));
    }
    if let Some(waiting) = set["waiting"].as_u64().filter(|waiting| *waiting > 0) {
        lines.push(format!("{waiting} waiting"));
    }
    lines
}

fn is_off(set: &Value) -> bool {
    set["webhook"]["url"].is_null() && set["chat"].is_null()
}

/// Sets a webhook as the destination of notifications.
///
/// # Errors
/// If the bridge rejects it.
pub async fn notify_webhook(args: NotifyWebhook) -> anyhow::Result<ExitCode> {
    let client = Client::new(&args.bridge)?;
    let mut webhook = Map::from_iter([("url".to_owned(), json!(args.address))]);
    webhook.extend(args.secret.map(|secret| ("secret".to_owned(), json!(secret))));
    save(&client, json!({ "webhook": webhook }), args.language).await
}

/// Sets a chat, written to by a bot, as the destination of notifications.
///
/// # Errors
/// As [`notify_webhook`].
pub async fn notify_chat(args: NotifyChat) -> anyhow::Result<ExitCode> {
    let client = Client::new(&args.bridge)?;
    let id = integration_id(&client, &args.integration).await?;
    let mut chat = args.recipient.body();
    chat["integrationId"] = json!(id);
    save(&client, json!({ "chat": chat }), args.language).await
}

async fn save(client: &Client, mut body: Value, language: Option<NotifyLanguage>) -> anyhow::Result<ExitCode> {
    if let Some(language) = language {
        body["language"] = json!(language.tag());
    }
    let set = client.patch(&["notify"], &body).await?;
    for line in lines(&set).into_iter().take(1) {
        terminal::line(&line)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Sends a test notification.
///
/// # Errors
/// If there are no settings.
pub async fn test_notify(args: NotifyOf) -> anyhow::Result<ExitCode> {
    let client = Client::new(&args.bridge)?;
    let sent = client.post(&["notify", "test"], &client::nothing()).await?;
    if sent["ok"] == true {
        terminal::line("sent")?;
        return Ok(ExitCode::SUCCESS);
    }
    terminal::line(&format!("not sent: {}", text(&sent["detail"])))?;
    Ok(ExitCode::FAILURE)
}

/// Turns notifications off.
///
/// # Errors
/// If the bridge rejects it; if there is no terminal to confirm it.
pub async fn end_notify(args: NotifyEnd) -> anyhow::Result<ExitCode> {
    let client = Client::new(&args.bridge)?;
    let set = client.get(&["notify"], &[]).await?;
    if is_off(&set) {
        terminal::line(OFF)?;
        return Ok(ExitCode::SUCCESS);
    }
    let is_about = lines(&set).join("\n    ");
    let what = format!("end the notifications of {}\n    {is_about}", client.organization());
    if confirm::ask(&what, args.consent.yes)? == Answer::No {
        return left_alone();
    }
    client.delete(&["notify"], &[]).await?;
    terminal::line("notifications ended")?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newest_attempt_is_sent_only_once_its_message_is_delivered() {
        let newest = |last: Value| {
            let chat = json!({ "integrationId": "int_1", "chatId": "c" });
            let set = json!({ "webhook": null, "chat": chat, "language": "en", "lastAttempt": last });
            lines(&set).remove(1)
        };
        let at = "2026-11-23T09:00:00Z";
        let pending = newest(json!({ "at": at, "error": null, "messageId": "msg_1" }));
        assert_eq!(pending, format!("newest attempt {at}: being delivered as msg_1"));
        let failed = newest(json!({ "at": at, "error": "403", "messageId": null }));
        assert_eq!(failed, format!("newest attempt {at}: failed: 403"));
        let sent = newest(json!({ "at": at, "error": null, "messageId": null }));
        assert_eq!(sent, format!("newest attempt {at}: sent"));
    }
}
