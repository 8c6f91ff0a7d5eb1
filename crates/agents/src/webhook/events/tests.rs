use super::*;

#[track_caller]
fn check(data: &str, expected: AgentEvent) {
    assert_eq!(read(data).unwrap(), Some(expected), "{data}");
}

#[test]
fn every_type_is_read() {
    let some = |text: &str| Some(text.to_owned());
    check(
        r#"{"type":"run.started","runRef":"r","conversationRef":"c"}"#,
        AgentEvent::Started {
            run_ref: "r".into(),
            conversation_ref: some("c"),
        },
    );
    check(r#"{"type":"text.delta","text":"a"}"#, AgentEvent::TextDelta("a".into()));
    check(
        r#"{"type":"text.snapshot","text":"a","extra":1}"#,
        AgentEvent::TextSnapshot("a".into()),
    );
    check(
        r#"{"text":"a","type":"reasoning.delta"}"#,
        AgentEvent::ReasoningDelta("a".into()),
    );
    check(
        r#"{"type":"progress","label":"l","state":"s"}"#,
        AgentEvent::Progress {
            label: "l".into(),
            state: "s".into(),
        },
    );
    let card = r#"{"text":"t","buttons":[{"text":"Go","value":"v"}]}"#;
    check(
        &format!(r#"{{"type":"card","card":{card}}}"#),
        AgentEvent::Card(serde_json::from_str(card).unwrap()),
    );
    let input = AgentEvent::InputRequired {
        prompt: "p".into(),
        choices: vec!["y".into()],
        resume_ref: some("f"),
    };
    check(
        r#"{"type":"input.required","prompt":"p","choices":["y"],"resumeRef":"f"}"#,
        input,
    );
    check(r#"{"type":"cursor","value":"7"}"#, AgentEvent::Cursor("7".into()));
    check(r#"{"type":"completed"}"#, AgentEvent::Completed { final_text: None });
    check(
        r#"{"type":"completed","finalText":"a"}"#,
        AgentEvent::Completed { final_text: some("a") },
    );
    check(r#"{"type":"cancelled"}"#, AgentEvent::Cancelled);
}

#[test]
fn references_are_bounded() {
    let (fits, long) = ("r".repeat(MAX_REF_BYTES), "r".repeat(MAX_REF_BYTES + 1));
    let events = |text: &str| {
        [
            format!(r#"{{"type":"run.started","runRef":"{text}"}}"#),
            format!(r#"{{"type":"run.started","runRef":"r","conversationRef":"{text}"}}"#),
            format!(r#"{{"type":"input.required","prompt":"p","resumeRef":"{text}"}}"#),
            format!(r#"{{"type":"cursor","value":"{text}"}}"#),
        ]
    };
    for (fits, long) in events(&fits).iter().zip(&events(&long)) {
        assert!(read(fits).is_ok_and(|event| event.is_some()));
        assert!(matches!(read(long), Err(InvalidEvents::Event { .. })));
    }
}

#[test]
fn file_is_a_url_or_bytes() {
    let (name, mime) = ("n".to_owned(), "text/plain".to_owned());
    let url = "https://x.example/n".to_owned();
    let by_address = AgentEvent::File(ReplyFile {
        url,
        name: name.clone(),
        mime: mime.clone(),
    });
    check(
        r#"{"type":"file","url":"https://x.example/n","name":"n","mime":"text/plain"}"#,
        by_address,
    );
    let by_content = AgentEvent::FileBytes {
        bytes: vec![0, 255],
        name,
        mime,
    };
    check(
        r#"{"type":"file","bytes":"AP8=","name":"n","mime":"text/plain"}"#,
        by_content,
    );
    for wrong in [
        r#"{"type":"file"}"#,
        r#"{"type":"file","bytes":"*"}"#,
        r#"{"type":"file","url":"u","bytes":"AA=="}"#,
    ] {
        assert_eq!(
            read(wrong),
            Err(InvalidEvents::Event { kind: "file".into() }),
            "{wrong}"
        );
    }
}

#[test]
fn failure_keeps_a_plain_code_only() {
    check(
        r#"{"type":"failed","code":"quota","message":"m","retryable":true}"#,
        AgentEvent::Failed(failure::new("quota", "m", true)),
    );
    check(
        r#"{"type":"failed","code":"you said so"}"#,
        AgentEvent::Failed(failure::new(failure::AGENT_ERROR, "", false)),
    );
}

/// Languages with typed objects write absent fields as null.
#[test]
fn optional_field_may_be_null() {
    check(
        r#"{"type":"progress","label":"l","state":null}"#,
        AgentEvent::Progress {
            label: "l".into(),
            state: String::new(),
        },
    );
    assert!(read(r#"{"type":"input.required","prompt":"p","choices":null,"resumeRef":null}"#).is_ok());
    check(
        r#"{"type":"failed","code":null,"message":null,"retryable":null}"#,
        AgentEvent::Failed(failure::new(failure::AGENT_ERROR, "", false)),
    );
    assert!(read(r#"{"type":"progress","label":null}"#).is_err());
}

#[test]
fn unknown_types_are_ignored_and_broken_ones_are_not() {
    assert_eq!(read(r#"{"type":"usage","tokens":{"in":5}}"#), Ok(None));
    assert_eq!(read(" "), Ok(None));
    assert_eq!(
        read(r#"{"type":"text.delta"}"#),
        Err(InvalidEvents::Event {
            kind: "text.delta".into()
        })
    );
    assert_eq!(read("{\n]"), Err(InvalidEvents::NotJson { line: 2, column: 1 }));
    assert!(read("5").is_err() && read(r#"{"type":5}"#).is_err());
}

#[test]
fn callback_is_one_or_a_list() {
    let text = |seq, text: &str| Numbered {
        seq,
        event: Some(AgentEvent::TextDelta(text.into())),
        json: format!(r#"{{"text":"{text}","type":"text.delta"}}"#),
    };
    let unknown = |seq| Numbered {
        seq,
        event: None,
        json: r#"{"type":"new.thing"}"#.to_owned(),
    };
    let one = br#"{"seq":1,"event":{"type":"text.delta","text":"a"}}"#;
    assert_eq!(parse(one), Ok(vec![text(1, "a")]));
    let list = br#"[{"seq":3,"event":{"type":"new.thing"}},{"seq":2,"event":{"type":"text.delta","text":"b"}}]"#;
    assert_eq!(parse(list), Ok(vec![unknown(3), text(2, "b")]));
    assert_eq!(parse(b"[]"), Ok(vec![]));
}

#[test]
fn half_an_emoji_is_replaced_and_the_stored_event_is_readable() {
    let half = r#"{"type":"text.delta","text":"a\ud83d"}"#;
    check(half, AgentEvent::TextDelta("a\u{fffd}".into()));
    let taken = parse(format!(r#"[{{"seq":1,"event":{half}}}]"#).as_bytes()).unwrap();
    assert_eq!(read(&taken[0].json), Ok(taken[0].event.clone()));
}

#[track_caller]
fn check_error(body: &str, expected: &str) {
    assert_eq!(parse(body.as_bytes()).unwrap_err().to_string(), expected);
}

#[test]
fn errors_of_a_callback_name_the_invalid_field() {
    check_error(
        r#"{"seq":0,"event":{"type":"cancelled"}}"#,
        "seq must be a whole number from 1",
    );
    check_error(r#"{"event":{"type":"cancelled"}}"#, "seq must be a whole number from 1");
    check_error(r#"{"seq":1}"#, "event is required");
    check_error(r#"{"seq":1,"event":{}}"#, "event must be an object with a type");
    check_error(
        r#"{"seq":1,"events":[],"event":{}}"#,
        "events is not a field of a callback",
    );
    check_error(
        r#"[{"seq":1,"event":{"type":"progress"}}]"#,
        "event of type progress does not have the documented fields, or has a reference of over 2048 bytes",
    );
    check_error("7", "body must be an object or a list of objects");
    check_error("", "not JSON: line 1, column 0");
}

proptest::proptest! {
    #[test]
    fn any_body_is_read_without_a_panic(body: Vec<u8>) {
        let _ = parse(&body);
    }
}
