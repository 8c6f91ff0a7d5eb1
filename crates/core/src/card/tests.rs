use serde_json::{Value, json};

use super::*;

fn sample() -> Value {
    json!({
        "title": "Deploy", "text": "Version **42** is ready.", "fields": [{ "name": "Stage", "value": "prod" }],
        "buttons": [{ "text": "Log", "url": "https://e.com/log" }, { "text": "Go", "value": "deploy 42" }],
    })
}

fn with(path: &str, value: Value) -> Value {
    let mut card = sample();
    *card.pointer_mut(path).unwrap() = value;
    card
}

#[test]
fn card_is_read_and_written_in_markdown() {
    let card = Card::read(&sample(), false).unwrap();
    assert_eq!(
        card.body(),
        "**Deploy**\n\nVersion **42** is ready.\n\n- **Stage**: prod"
    );
    assert_eq!(
        button_lines(&card.buttons, Language::English),
        "- [Log](https://e.com/log)\n- Go: answer deploy 42"
    );
    let stored = serde_json::to_value(&card).unwrap();
    assert_eq!(stored, sample(), "the stored shape is the one of the API");
    assert_eq!(serde_json::from_value::<Card>(stored).unwrap(), card);
    assert_eq!(Card::read(&json!({ "text": "a" }), false).unwrap().body(), "a");
}

#[test]
fn mistakes_are_reported_with_their_place() {
    let rows = [
        (json!("card"), "card must be an object"),
        (json!({}), "card.text is required"),
        (with("/text", json!(" ")), "card.text must not be empty"),
        (
            with("/text", json!("x".repeat(4001))),
            "card.text must have at most 4000 characters",
        ),
        (
            with("/title", json!("a\nb")),
            "card.title must be one line without control characters",
        ),
        (
            with("/fields/0", json!({ "name": "a" })),
            "card.fields[0].value is required",
        ),
        (
            with("/buttons/1", json!({ "text": "a" })),
            "card.buttons[1].url or value is required",
        ),
        (
            with(
                "/buttons/1",
                json!({ "text": "a", "url": "https://e.com", "value": "v" }),
            ),
            "card.buttons[1].value can't stand beside url",
        ),
        (
            with("/buttons/0/url", json!("http://e.com")),
            "card.buttons[0].url must be an https address",
        ),
        (
            with("/buttons/0/url", json!("javascript:alert(1)")),
            "card.buttons[0].url is not a valid address",
        ),
        (
            with("/buttons/0/text", json!("長".repeat(41))),
            "card.buttons[0].text must have at most 40 characters",
        ),
        (
            with("/buttons", json!(vec![json!({ "text": "a", "value": "v" }); 6])),
            "card.buttons must have at most 5 entries",
        ),
        (
            with("/buttons/0", json!({ "text": "a", "value": "v", "style": 1 })),
            "card.buttons[0].style is not a field of a card",
        ),
    ];
    for (card, expected) in rows {
        let error = Card::read(&card, false).unwrap_err();
        assert_eq!(error.to_string(), expected);
    }
    assert!(Card::read(&with("/buttons/0/url", json!("http://10.0.0.1/a")), true).is_ok());
}

#[test]
fn choices_that_fit_become_buttons() {
    let of = |choices: &[&str]| Card::of_choices(&choices.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>());
    let card = of(&["yes", " no "]).unwrap();
    assert_eq!(
        card.buttons.iter().filter_map(Button::value).collect::<Vec<_>>(),
        ["yes", "no"]
    );
    assert_eq!(button_lines(&card.buttons, Language::Chinese), "- yes\n- no");
    for unfit in [
        &[][..],
        &["a", "a"],
        &["a\nb"],
        &[""],
        &["1", "2", "3", "4", "5", "6"],
        &[&"x".repeat(41)],
    ] {
        assert_eq!(of(unfit), None, "{unfit:?}");
    }
}

#[test]
fn block_is_appended_outside_of_open_code() {
    assert_eq!(below("", "b"), "b");
    assert_eq!(below("a\n", "b"), "a\n\n\nb");
    assert_eq!(below("```\na", "b"), "```\na\n```\n\nb");
    assert_eq!(below("```\na\n```", "b"), "```\na\n```\n\nb");
}

#[test]
fn keys_of_choices_are_short_and_read_back() {
    let reply = ReplyId::new(format!("tl-{}", "x".repeat(32)));
    let key = choice_key(&reply, 4);
    assert!(key.len() <= 64, "{} bytes", key.len());
    assert_eq!(
        (read_choice_key(&key), chosen_label(&key)),
        (Some((reply.clone(), 4)), None)
    );
    let button = Card::of_choices(&["a|b".to_owned()]).unwrap().buttons.remove(0);
    let key = labelled_choice_key(&reply, 0, &button);
    assert_eq!(
        (read_choice_key(&key), chosen_label(&key)),
        (Some((reply, 0)), Some("a|b"))
    );
    for other in [
        "tl:new_session",
        "tl:choice:",
        "tl:choice:1:",
        "tl:choice:x:tl-1",
        "tl:choice:-1:tl-1",
        "tl:choice:123:tl-1",
    ] {
        assert_eq!(read_choice_key(other), None, "{other}");
    }
}
