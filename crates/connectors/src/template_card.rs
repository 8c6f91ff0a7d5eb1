//! Template cards with buttons, for the platforms that share their format. A click on such a button is reported; none opens an address.

use serde_json::{Value, json};
use tieline_core::card::{self, Button};
use tieline_core::connector::Context;
use tieline_core::ids::ReplyId;
use tieline_core::notice::{Language, Notice};

/// The card with those buttons that say something to the agent. `task_id` is accepted once for ever. `None` if there are none.
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

/// What the card becomes whose button was clicked.
pub(crate) fn chosen(key: &str) -> Option<String> {
    card::chosen_label(key).map(|label| format!("✓ {label}"))
}

/// The text with the buttons that such a card can't have as lines below it: all of them without `has_card`.
pub(crate) fn with_other_buttons(text: &str, buttons: &[Button], has_card: bool, language: Language) -> String {
    let others = buttons.iter().filter(|button| !has_card || button.url().is_some());
    card::below(text, &card::button_lines(others, language))
}
