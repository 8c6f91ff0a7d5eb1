//! Template cards with buttons, for platforms that share their format. Clicks on the buttons are reported; none opens a URL.

use serde_json::{Value, json};
use tieline_core::card::{self, Button};
use tieline_core::connector::Context;
use tieline_core::ids::ReplyId;
use tieline_core::notice::{Language, Notice};

/// A card with those buttons that send a text to the agent. A `task_id` is accepted only once. `None` if there are no such buttons.
pub(crate) fn choices(reply: &ReplyId, buttons: &[Button], task_id: &str, cx: &Context<'_>) -> Option<Value> {
    let choices = buttons
        .iter()
        .enumerate()
        .filter(|(_, button)| button.value().is_some());
    let list: Vec<_> = choices
        .map(|(number, button)| {
            let key = card::labelled_choice_key(reply, number, button);
            json!({ "text": button.text, "style": 1, "key": key })
        })
        .collect();
    (!list.is_empty()).then(|| {
        json!({
            "card_type": "button_interaction",
            "main_title": { "title": Notice::Choose.text(cx.account.language) },
            "button_list": list,
            "task_id": task_id,
        })
    })
}

/// Text of a card after its button was clicked: the marked label.
pub(crate) fn chosen(key: &str) -> Option<String> {
    card::chosen_label(key).map(|label| format!("✓ {label}"))
}

/// Appends to the text, as lines, the buttons that such a card can't have; all buttons without `has_card`.
pub(crate) fn with_other_buttons(text: &str, buttons: &[Button], has_card: bool, language: Language) -> String {
    let others = buttons.iter().filter(|button| !has_card || button.url().is_some());
    card::below(text, &card::button_lines(others, language))
}
