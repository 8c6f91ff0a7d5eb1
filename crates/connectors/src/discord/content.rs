//! Text of a message: what was written, and a description of stickers, polls and the embeds of apps.

use super::mentions::{self, Identity};
use super::wire::{Embed, MessageBody, Poll};

/// The type of embeds that an app wrote. All others are previews of links in the text.
///
/// See [Discord Docs/Embed Types](https://discord.com/developers/docs/resources/message#embed-object-embed-types).
const WRITTEN: &str = "rich";

/// The text of a person's message.
pub(super) fn text(body: &MessageBody, bot: Identity<'_>) -> String {
    let written = mentions::readable(&body.content, &body.mentions, bot);
    let stickers = body.sticker_items.iter().map(|it| format!("[sticker] {}", it.name));
    let polls = body.poll.iter().map(poll);
    joined([written].into_iter().chain(stickers).chain(polls))
}

/// The text of a message that is replied to or forwarded: apps often write embeds only.
pub(super) fn quoted_text(body: &MessageBody, bot: Identity<'_>) -> String {
    let embeds = body.embeds.iter().filter(|embed| embed.kind == WRITTEN);
    let embeds = embeds.map(|it| mentions::readable(&embed(it), &body.mentions, bot));
    joined([text(body, bot)].into_iter().chain(embeds))
}

fn poll(poll: &Poll) -> String {
    let answers = poll
        .answers
        .iter()
        .map(|answer| format!("- {}", answer.poll_media.text));
    let question = format!("[poll] {}", poll.question.text);
    joined([question].into_iter().chain(answers))
}

fn embed(embed: &Embed) -> String {
    let fields = embed.fields.iter().map(|it| format!("{}: {}", it.name, it.value));
    joined(
        [embed.title.clone(), embed.description.clone()]
            .into_iter()
            .chain(fields),
    )
}

/// The lines that aren't empty.
fn joined(lines: impl Iterator<Item = String>) -> String {
    let lines: Vec<String> = lines.filter(|line| !line.is_empty()).collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn body(body: Value) -> MessageBody {
        serde_json::from_value(body).unwrap()
    }

    const BOT: Identity<'_> = Identity {
        user: "500",
        roles: &[],
    };

    #[test]
    fn stickers_and_polls_are_described() {
        let sticker =
            body(json!({ "content": "", "sticker_items": [{ "id": "7", "name": "Wave", "format_type": 1 }] }));
        assert_eq!(text(&sticker, BOT), "[sticker] Wave");
        let poll = json!({ "question": { "text": "Lunch?" }, "answers": [
            { "answer_id": 1, "poll_media": { "text": "Pizza" } },
            { "answer_id": 2, "poll_media": { "text": "Rice", "emoji": { "name": "🍚" } } },
        ] });
        let poll = body(json!({ "content": "<@500> vote", "poll": poll }));
        assert_eq!(text(&poll, BOT), "vote\n[poll] Lunch?\n- Pizza\n- Rice");
    }

    #[test]
    fn embeds_of_apps_belong_to_a_quote_and_previews_of_links_do_not() {
        let alert = json!({ "type": "rich", "title": "CPU high", "description": "on <:web:1>", "color": 1,
            "fields": [{ "name": "Load", "value": "97 %", "inline": true }] });
        let preview = json!({ "type": "article", "title": "Page", "url": "https://e.com" });
        let alert = body(json!({ "content": "", "embeds": [alert, preview] }));
        assert_eq!(quoted_text(&alert, BOT), "CPU high\non :web:\nLoad: 97 %");
        assert_eq!(text(&alert, BOT), "");
    }

    #[test]
    fn odd_extras_do_not_cost_the_text() {
        let odd = json!({ "content": "hi", "embeds": [7], "sticker_items": null, "poll": { "question": 1 } });
        assert_eq!(quoted_text(&body(odd), BOT), "hi");
    }
}
