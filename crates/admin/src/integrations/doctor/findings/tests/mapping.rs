//! The check `user_mapping`.

use tieline_store::message::{PROACTIVE, UNKNOWN_PERSON};

use super::*;

#[test]
fn unreachable_mapper_unknown_people_and_withheld_senders_are_distinguished() {
    let of = |findings: Vec<Finding>| {
        let found = findings
            .into_iter()
            .find(|finding| finding.name == "user_mapping")
            .unwrap();
        (found.level, words(&found))
    };
    let with = |mapper: Option<Result<(), String>>, messages: Vec<MessageRecord>| {
        let facts = Facts {
            mapper,
            messages,
            ..healthy()
        };
        of(all(&facts))
    };
    assert_eq!(with(None, Vec::new()).0, Level::Ok);
    assert_eq!(with(Some(Ok(())), Vec::new()).0, Level::Ok);
    let sent = |sender: Option<&str>, state, reason| MessageRecord {
        sender: sender.map(SenderId::new),
        ..message(99_990, state, reason)
    };
    let refused = sent(Some("lisi"), MessageState::Refused, Some(UNKNOWN_PERSON));
    let (level, text) = with(Some(Ok(())), vec![refused.clone()]);
    assert!(level == Level::Warning && text.contains("lisi"), "{text}");
    let (level, text) = with(Some(Err("timeout".to_owned())), vec![refused]);
    assert!(level == Level::Failed && text.contains("timeout"), "{text}");
    let nameless = sent(None, MessageState::Answered, None);
    let (level, text) = with(None, vec![nameless.clone()]);
    assert!(
        level == Level::Warning && text.contains("did not tell who wrote"),
        "{text}"
    );
    let proactive = MessageRecord {
        reason: Some(PROACTIVE.to_owned()),
        ..nameless.clone()
    };
    assert_eq!(with(None, vec![proactive]).0, Level::Ok);
    let erased = MessageRecord {
        platform_message: PlatformMessageId::new(""),
        ..nameless
    };
    assert_eq!(with(None, vec![undelivered_own("chat not found"), erased]).0, Level::Ok);
    let facts = Facts {
        mapper: Some(Err("timeout".to_owned())),
        ..healthy()
    };
    check(&facts, Some("user_mapping"));
}
