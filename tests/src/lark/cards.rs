//! Card JSON 2.0, where an unknown property is an error.

use std::collections::HashSet;

use serde_json::Value;

use super::api::{Refused, refuse};

/// Limit of a card's size.
pub(super) const MAX_CARD_BYTES: usize = 30_000;
/// Limit of the Markdown tables in a card, as measured with the vendor's plugin.
const MAX_TABLES: usize = 3;

/// Checks a card and returns its readable text.
pub(super) fn check(card: &Value) -> Result<String, Refused> {
    if card["schema"] != "2.0" {
        return Err(refuse(300_303, "the card's schema is not 2.0"));
    }
    only(card, &["schema", "config", "card_link", "header", "body"])?;
    only(
        &card["config"],
        &[
            "streaming_mode",
            "streaming_config",
            "summary",
            "update_multi",
            "enable_forward",
            "width_mode",
            "locales",
            "style",
        ],
    )?;
    if card["config"]["update_multi"] == false {
        return Err(refuse(300_302, "update_multi is false"));
    }
    only(&card["body"], &["elements", "direction", "padding"])?;
    if card.to_string().len() > MAX_CARD_BYTES {
        return Err(refuse(200_860, "the card is larger than 30 KB"));
    }
    let elements = card["body"]["elements"].as_array();
    let elements = elements.ok_or_else(|| refuse(200_621, "no elements"))?;
    let mut ids = HashSet::new();
    let mut texts = Vec::new();
    for element in elements {
        walk(element, &mut ids, &mut texts)?;
    }
    let text = texts.join("\n");
    check_markdown(&text)?;
    Ok(text)
}

/// Checks the Markdown of a card.
pub(super) fn check_markdown(text: &str) -> Result<(), Refused> {
    let mut fenced = false;
    let mut tables = 0;
    for line in text.lines() {
        let line = line.trim();
        if line.starts_with("```") {
            fenced = !fenced;
        }
        let rule = line.starts_with('|') && line.contains("---") && line.chars().all(|c| "|-: ".contains(c));
        tables += usize::from(rule && !fenced);
        if !fenced && (line.contains("<at ") || line.contains("](http://127") && line.contains('!')) {
            return Err(refuse(
                230_099,
                "Failed to create card content, ext=ErrCode: 100290; ErrMsg: bad at",
            ));
        }
    }
    if tables > MAX_TABLES {
        let text = "Failed to create card content, ext=ErrCode: 11310; ErrMsg: card table number over limit; ErrorValue: table; ";
        return Err(refuse(230_099, text));
    }
    Ok(())
}

/// The text of an element that is a Markdown component.
pub(super) fn element<'a>(card: &'a mut Value, id: &str) -> Option<&'a mut Value> {
    let elements = card["body"]["elements"].as_array_mut()?;
    elements.iter_mut().find(|element| element["element_id"] == id)
}

/// The buttons of a card, in order.
pub(super) fn buttons(card: &Value) -> Vec<Value> {
    let inner = ["body", "elements", "columns"]
        .iter()
        .flat_map(|name| match &card[*name] {
            Value::Array(items) => items.iter().flat_map(buttons).collect(),
            inner => buttons_of(inner),
        });
    let own = (card["tag"] == "button").then(|| card.clone());
    own.into_iter().chain(inner).collect()
}

/// The callback value of a button, if clicks on it are reported.
pub(super) fn callback_of(button: &Value) -> Option<Value> {
    let behaviors = button["behaviors"].as_array().into_iter().flatten();
    let mut callbacks = behaviors.filter(|it| it["type"] == "callback");
    callbacks.next().map(|it| it["value"].clone())
}

fn buttons_of(inner: &Value) -> Vec<Value> {
    if inner.is_object() { buttons(inner) } else { Vec::new() }
}

fn walk(element: &Value, ids: &mut HashSet<String>, texts: &mut Vec<String>) -> Result<(), Refused> {
    if let Some(id) = element["element_id"].as_str() {
        let legal = id.len() <= 20
            && id.starts_with(|c: char| c.is_ascii_alphabetic())
            && id.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if !legal || !ids.insert(id.to_owned()) {
            return Err(refuse(300_301, format!("element_id {id}")));
        }
    }
    match element["tag"].as_str().unwrap_or_default() {
        "markdown" => {
            only(
                element,
                &["tag", "element_id", "content", "text_align", "text_size", "margin"],
            )?;
            texts.push(element["content"].as_str().unwrap_or_default().to_owned());
        }
        "hr" => {}
        "button" => {
            let known = [
                "tag",
                "element_id",
                "type",
                "size",
                "width",
                "text",
                "behaviors",
                "confirm",
                "disabled",
                "name",
                "margin",
            ];
            only(element, &known)?;
            check_button(element)?;
        }
        "column_set" | "column" | "collapsible_panel" => {
            let inner = if element["columns"].is_array() {
                &element["columns"]
            } else {
                &element["elements"]
            };
            for element in inner.as_array().into_iter().flatten() {
                walk(element, ids, texts)?;
            }
        }
        other => return Err(refuse(200_861, format!("tag {other} is not supported in 2.0"))),
    }
    Ok(())
}

fn check_button(button: &Value) -> Result<(), Refused> {
    let label = button["text"]["content"].as_str().unwrap_or_default();
    if button["text"]["tag"] != "plain_text" || label.is_empty() {
        return Err(refuse(300_301, "a button without a label"));
    }
    for behavior in button["behaviors"].as_array().into_iter().flatten() {
        let is_right = match behavior["type"].as_str() {
            Some("callback") => behavior["value"].is_object() || behavior["value"].is_string(),
            Some("open_url") => behavior["default_url"]
                .as_str()
                .is_some_and(|url| url.starts_with("http")),
            _ => false,
        };
        if !is_right {
            return Err(refuse(300_301, format!("behavior {behavior}")));
        }
    }
    Ok(())
}

fn only(value: &Value, known: &[&str]) -> Result<(), Refused> {
    let unknown = value
        .as_object()
        .and_then(|it| it.keys().find(|key| !known.contains(&key.as_str())));
    match unknown {
        Some(unknown) => Err(refuse(200_621, format!("unknown property {unknown}"))),
        None => Ok(()),
    }
}
