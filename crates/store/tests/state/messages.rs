//! Claims and the ledger.

use std::collections::HashMap;
use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use tieline_core::ids::{
    ConversationId, IntegrationId, MessageId, OrganizationId, PlatformMessageId, RunId, SessionId, fresh as fresh_id,
};
use tieline_core::message_state::{LedgerStep, MessageState};
use tieline_store::StoreError;
use tieline_store::erase;
use tieline_store::message::{self, Claim, Ending, Filter, MessageRecord, Traffic};

use crate::tables::{self, DAY, Fresh, NOW, at, conversation, fresh, message, organization, race, run_state};

fn ending(state: MessageState) -> Ending {
    Ending {
        state,
        reason: None,
        run: None,
        session: None,
        steps: vec![LedgerStep::new(at(5), state.as_str())],
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_fifty_claims_is_new() {
    let it = fresh().await;
    let claims = (0..50).map(|_| {
        let store = it.store.clone();
        async move { message::claim(&store, &message("1")).await.unwrap() }
    });
    let claims = race(claims).await;
    let n_new = claims.iter().filter(|claim| **claim == Claim::New).count();
    assert_eq!(n_new, 1);
    let seen = Claim::Seen(Box::new(message("1")));
    assert_eq!(claims.iter().filter(|claim| **claim == seen).count(), 49);
}

#[tokio::test]
async fn record_round_trips() {
    let it = fresh().await;
    let full = MessageRecord {
        session: Some((SessionId::new("ses_1"), 3)),
        account: Some("0123456789abcdef".into()),
        run: Some(RunId::new("run_1")),
        run_messages: vec![MessageId::new("msg_0"), MessageId::new("msg_1")],
        reason: Some("stale".into()),
        steps: vec![LedgerStep::new(at(1), "result").code("429").attempt(2)],
        redrives: 2,
        version: 9,
        ..message("1")
    };
    message::claim(&it.store, &full).await.unwrap();
    assert_eq!(message::get(&it.store, &full.id, NOW).await.unwrap(), Some(full));
    assert_eq!(
        message::get(&it.store, &MessageId::new("msg_2"), NOW).await.unwrap(),
        None
    );
}

#[tokio::test]
async fn event_too_long_for_an_item_round_trips() {
    let it = fresh().await;
    let long = MessageRecord {
        event: "é7".repeat(350_000),
        ..message("1")
    };
    assert_eq!(message::claim(&it.store, &long).await.unwrap(), Claim::New);
    let seen = Claim::Seen(Box::new(long.clone()));
    assert_eq!(message::claim(&it.store, &message("1")).await.unwrap(), seen);
    assert_eq!(message::get(&it.store, &long.id, NOW).await.unwrap(), Some(long));
}

/// Pieces expire before a message that is redriven long after its receipt.
#[tokio::test]
async fn a_message_whose_event_lost_a_piece_has_no_event() {
    let it = fresh().await;
    let long = MessageRecord {
        event: "é7".repeat(350_000),
        ..message("1")
    };
    message::claim(&it.store, &long).await.unwrap();
    message::claim(&it.store, &message("2")).await.unwrap();
    let table = it.tables.state.as_str();
    let all = it.client.scan().table_name(table).send().await.unwrap();
    let is_piece = |item: &&HashMap<String, AttributeValue>| item["sk"].as_s().unwrap() == "PIECE";
    let pieces: Vec<_> = all.items().iter().filter(is_piece).collect();
    let delete = it.client.delete_item().table_name(table);
    let delete = delete.key("pk", pieces[0]["pk"].clone());
    delete.key("sk", pieces[0]["sk"].clone()).send().await.unwrap();
    let bare = MessageRecord {
        event: String::new(),
        ..long.clone()
    };
    assert_eq!(message::get(&it.store, &long.id, NOW).await.unwrap(), Some(bare));
    let filter = Filter {
        integration: Some(long.integration.clone()),
        ..Filter::default()
    };
    let page = message::list(&it.store, &organization(), &filter, None, 9, NOW).await;
    assert_eq!(page.unwrap().items.len(), 2);
}

#[tokio::test]
async fn long_event_whose_key_is_lost_counts_as_none_and_a_young_one_is_an_error() {
    let it = fresh().await;
    let long = MessageRecord {
        event: "é7".repeat(350_000),
        ..message("1")
    };
    message::claim(&it.store, &long).await.unwrap();
    message::claim(&it.store, &message("2")).await.unwrap();
    tables::lose_key_of_pieces(&it.client, &it.tables.state).await;
    let filter = Filter {
        integration: Some(long.integration.clone()),
        ..Filter::default()
    };
    let list = async |now| message::list(&it.store, &organization(), &filter, None, 9, now).await;
    let minutes = |n| long.received_at.after(Duration::from_mins(n));
    let young = list(minutes(59)).await;
    assert!(matches!(young, Err(StoreError::UnknownKey)), "{young:?}");
    assert_eq!(list(minutes(61)).await.unwrap().items.len(), 2);
    let found = message::get(&it.store, &long.id, minutes(61)).await.unwrap().unwrap();
    assert_eq!(found.event, "");
}

#[tokio::test]
async fn expired_message_is_absent_and_can_be_claimed_again() {
    let it = fresh().await;
    message::claim(&it.store, &message("1")).await.unwrap();
    let id = MessageId::new("msg_1");
    assert!(
        message::get(&it.store, &id, NOW.after(DAY * 30).before(DAY))
            .await
            .unwrap()
            .is_some()
    );
    let later = NOW.after(DAY * 30);
    assert_eq!(message::get(&it.store, &id, later).await.unwrap(), None);
    assert_eq!(message::get_many(&it.store, &[id], later).await.unwrap(), vec![]);
    let again = MessageRecord {
        received_at: later,
        ..message("1")
    };
    assert_eq!(message::claim(&it.store, &again).await.unwrap(), Claim::New);
}

#[tokio::test]
async fn many_messages_are_read_in_the_requested_order() {
    let it = fresh().await;
    for at in 0..230 {
        message::claim(&it.store, &message(&at.to_string())).await.unwrap();
    }
    let mut ids: Vec<_> = (0..230).rev().map(|at| MessageId::new(format!("msg_{at}"))).collect();
    ids.insert(3, MessageId::new("msg_unknown"));
    ids.push(ids[0].clone());
    let found = message::get_many(&it.store, &ids, NOW).await.unwrap();
    ids.remove(3);
    let found: Vec<_> = found.into_iter().map(|record| record.id).collect();
    assert_eq!(found, ids);
}

#[tokio::test(flavor = "multi_thread")]
async fn message_ends_once() {
    let it = fresh().await;
    let id = message("1").id;
    message::claim(&it.store, &message("1")).await.unwrap();
    let endings = [MessageState::Answered, MessageState::Failed, MessageState::Stopped];
    let outcomes = race(endings.map(|state| {
        let (store, id) = (it.store.clone(), id.clone());
        async move { message::finish(&store, &id, &ending(state)).await.unwrap() }
    }))
    .await;
    assert_eq!(outcomes.iter().filter(|won| **won).count(), 1);
    let record = message::get(&it.store, &id, NOW).await.unwrap().unwrap();
    let won = outcomes.iter().position(|won| *won).unwrap();
    assert_eq!(record.state, endings[won]);
    assert_eq!(record.steps.len(), 2);
    assert_eq!(record.steps[1].step, endings[won].as_str());
    assert_eq!(record.version, 2);
}

#[tokio::test]
async fn running_is_not_the_end() {
    let it = fresh().await;
    let id = message("1").id;
    message::claim(&it.store, &message("1")).await.unwrap();
    let running = Ending {
        run: Some(RunId::new("run_1")),
        session: Some((SessionId::new("ses_1"), 4)),
        ..ending(MessageState::Running)
    };
    assert!(message::finish(&it.store, &id, &running).await.unwrap());
    let answered = Ending {
        reason: Some("why".into()),
        ..ending(MessageState::Answered)
    };
    assert!(message::finish(&it.store, &id, &answered).await.unwrap());
    let record = message::get(&it.store, &id, NOW).await.unwrap().unwrap();
    assert_eq!(record.run, Some(RunId::new("run_1")));
    assert_eq!(record.session, Some((SessionId::new("ses_1"), 4)));
    assert_eq!(record.reason.as_deref(), Some("why"));
    assert!(
        !message::finish(&it.store, &MessageId::new("msg_2"), &answered)
            .await
            .unwrap()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn noted_steps_accumulate() {
    let it = fresh().await;
    let id = message("1").id;
    message::claim(&it.store, &message("1")).await.unwrap();
    race((0..20).map(|n| {
        let (store, id) = (it.store.clone(), id.clone());
        async move {
            message::note(&store, &id, &[LedgerStep::new(at(n), "tried")])
                .await
                .unwrap()
        }
    }))
    .await;
    let record = message::get(&it.store, &id, NOW).await.unwrap().unwrap();
    assert_eq!(record.steps.len(), 21);
    assert_eq!(record.state, MessageState::Queued);
    message::note(&it.store, &MessageId::new("msg_2"), &record.steps)
        .await
        .unwrap();
    assert_eq!(
        message::get(&it.store, &MessageId::new("msg_2"), NOW).await.unwrap(),
        None
    );
}

#[tokio::test]
async fn steps_are_limited_but_the_end_is_recorded() {
    let it = fresh().await;
    let id = message("1").id;
    message::claim(&it.store, &message("1")).await.unwrap();
    for _ in 0..30 {
        let steps = vec![LedgerStep::new(NOW, "tried"); 10];
        message::note(&it.store, &id, &steps).await.unwrap();
    }
    assert!(
        message::finish(&it.store, &id, &ending(MessageState::Failed))
            .await
            .unwrap()
    );
    let record = message::get(&it.store, &id, NOW).await.unwrap().unwrap();
    assert!((200..=210).contains(&record.steps.len()), "{}", record.steps.len());
    assert_eq!(record.steps.last().unwrap().step, "failed");
}

#[tokio::test]
async fn only_a_failed_message_is_reopened() {
    let it = fresh().await;
    let id = message("1").id;
    message::claim(&it.store, &message("1")).await.unwrap();
    assert!(!message::reopen(&it.store, &id, 0, at(9)).await.unwrap());
    let failed = Ending {
        reason: Some("connect".into()),
        ..ending(MessageState::Failed)
    };
    message::finish(&it.store, &id, &failed).await.unwrap();
    assert!(message::reopen(&it.store, &id, 0, at(9)).await.unwrap());
    assert!(!message::reopen(&it.store, &id, 0, at(9)).await.unwrap());
    // It fails again: a redrive of its first failure is too late.
    message::finish(&it.store, &id, &failed).await.unwrap();
    assert!(!message::reopen(&it.store, &id, 0, at(9)).await.unwrap());
    assert!(message::reopen(&it.store, &id, 1, at(9)).await.unwrap());
    let record = message::get(&it.store, &id, NOW).await.unwrap().unwrap();
    assert_eq!(
        (record.state, record.redrives, record.reason),
        (MessageState::Queued, 2, None)
    );
    assert!(
        message::finish(&it.store, &id, &ending(MessageState::Answered))
            .await
            .unwrap()
    );
}

async fn ledger(it: &Fresh) {
    for at_second in 0..12 {
        let name = format!("{at_second}");
        let record = MessageRecord {
            integration: IntegrationId::new(format!("int_{}", at_second % 3)),
            organization: OrganizationId::new(if at_second % 3 == 2 { "other" } else { "default" }),
            conversation: Some(ConversationId::new(format!("cnv_{}", at_second % 2))),
            received_at: at(at_second),
            ..message(&name)
        };
        message::claim(&it.store, &record).await.unwrap();
    }
}

async fn names(it: &Fresh, filter: &Filter, limit: usize) -> Vec<String> {
    let mut names = Vec::new();
    let mut cursor = None;
    for _ in 0..20 {
        let page = message::list(&it.store, &organization(), filter, cursor.as_deref(), limit, at(20)).await;
        let page = page.unwrap();
        assert!(page.items.len() <= limit);
        names.extend(page.items.into_iter().map(|record| record.platform_message.to_string()));
        cursor = page.cursor;
        if cursor.is_none() {
            return names;
        }
    }
    panic!("the list has no end");
}

#[tokio::test]
async fn ledger_lists_newest_first_page_by_page() {
    let it = fresh().await;
    ledger(&it).await;
    let of = |name: &str| Filter {
        integration: Some(IntegrationId::new(name)),
        ..Filter::default()
    };
    for limit in [1, 2, 3, 4, 100] {
        assert_eq!(names(&it, &of("int_0"), limit).await, ["9", "6", "3", "0"]);
    }
    // The integration belongs to another organization.
    assert_eq!(names(&it, &of("int_2"), 100).await, [""; 0]);
}

#[tokio::test]
async fn ledger_filters_by_state_and_conversation() {
    let it = fresh().await;
    ledger(&it).await;
    message::finish(&it.store, &MessageId::new("msg_6"), &ending(MessageState::Answered))
        .await
        .unwrap();
    let filter = Filter {
        integration: Some(IntegrationId::new("int_0")),
        ..Filter::default()
    };
    let answered = Filter {
        state: Some(MessageState::Answered),
        ..filter.clone()
    };
    let odd = Filter {
        conversation: Some(ConversationId::new("cnv_1")),
        ..filter
    };
    for limit in [1, 100] {
        assert_eq!(names(&it, &answered, limit).await, ["6"]);
        assert_eq!(names(&it, &odd, limit).await, ["9", "3"]);
    }
}

#[tokio::test]
async fn a_cursor_leads_to_another_matching_message() {
    let it = fresh().await;
    ledger(&it).await;
    message::finish(&it.store, &MessageId::new("msg_6"), &ending(MessageState::Answered))
        .await
        .unwrap();
    let all = Filter {
        integration: Some(IntegrationId::new("int_0")),
        ..Filter::default()
    };
    let answered = Filter {
        state: Some(MessageState::Answered),
        ..all.clone()
    };
    let odd = Filter {
        conversation: Some(ConversationId::new("cnv_1")),
        ..all.clone()
    };
    for (filter, limit, n_found, has_more) in [
        (&answered, 1, 1, false),
        (&odd, 1, 1, true),
        (&odd, 2, 2, false),
        (&all, 3, 3, true),
        (&all, 4, 4, false),
    ] {
        let page = message::list(&it.store, &organization(), filter, None, limit, at(20)).await;
        let page = page.unwrap();
        assert_eq!(
            (page.items.len(), page.cursor.is_some()),
            (n_found, has_more),
            "{filter:?}"
        );
    }
}

/// Creates an integration of the organization.
async fn enter(it: &Fresh, integration: &str) {
    let key = |text: &str| aws_sdk_dynamodb::types::AttributeValue::S(text.to_owned());
    let entry = it.client.put_item().table_name(&it.tables.config);
    let entry = entry
        .item("pk", key("ORG#default"))
        .item("sk", key(&format!("INT#{integration}")));
    entry.send().await.unwrap();
}

#[tokio::test]
async fn ledger_of_an_organization_merges_its_integrations() {
    let it = fresh().await;
    ledger(&it).await;
    for integration in ["int_0", "int_1"] {
        enter(&it, integration).await;
    }
    for limit in [1, 3, 100] {
        let expected = ["10", "9", "7", "6", "4", "3", "1", "0"];
        assert_eq!(names(&it, &Filter::default(), limit).await, expected);
    }
}

#[tokio::test]
async fn messages_of_a_conversation_that_is_not_stored_are_listed() {
    let it = fresh().await;
    ledger(&it).await;
    enter(&it, "int_0").await;
    let of = |name: &str| Filter {
        conversation: Some(ConversationId::new(name)),
        ..Filter::default()
    };
    for limit in [1, 100] {
        assert_eq!(names(&it, &of("cnv_1"), limit).await, ["9", "3"]);
        assert_eq!(names(&it, &of("cnv_nothing"), limit).await, [""; 0]);
    }
}

#[tokio::test]
async fn the_run_of_its_conversation_makes_a_message_running() {
    let it = fresh().await;
    let conversation = conversation("c");
    let key = conversation.key.clone();
    for name in ["1", "2"] {
        let record = MessageRecord {
            conversation: Some(key.id()),
            integration: key.integration.clone(),
            ..message(name)
        };
        message::claim(&it.store, &record).await.unwrap();
    }
    let mut after = conversation.clone();
    after.run = Some(run_state("1"));
    tieline_store::conversation::save(&it.store, &conversation, &mut after)
        .await
        .unwrap();
    let shown = message::show(&it.store, &MessageId::new("msg_1"), NOW)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (shown.state, shown.run),
        (MessageState::Running, after.run.map(|run| run.id))
    );
    for (state, expected) in [(MessageState::Running, "1"), (MessageState::Queued, "2")] {
        let filter = Filter {
            integration: Some(key.integration.clone()),
            conversation: None,
            state: Some(state),
            ..Filter::default()
        };
        assert_eq!(names(&it, &filter, 10).await, [expected]);
    }
    // Once it has ended, its own record is used.
    message::finish(&it.store, &MessageId::new("msg_1"), &ending(MessageState::Answered))
        .await
        .unwrap();
    let shown = message::show(&it.store, &MessageId::new("msg_1"), NOW)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(shown.state, MessageState::Answered);
}

#[tokio::test]
async fn invalid_cursor_is_refused() {
    let it = fresh().await;
    for cursor in ["", "!", "_w"] {
        let page = message::list(&it.store, &organization(), &Filter::default(), Some(cursor), 5, NOW).await;
        assert!(
            matches!(page, Err(StoreError::Unreadable { what: "cursor" })),
            "{cursor}"
        );
    }
}

#[tokio::test]
async fn dropped_event_is_deleted_and_the_record_stays() {
    let it = fresh().await;
    message::claim(&it.store, &message("1")).await.unwrap();
    let id = MessageId::new("msg_1");
    let done = message::finish_and_forget(&it.store, &id, &ending(MessageState::Answered)).await;
    assert!(done.unwrap());
    let found = message::get(&it.store, &id, NOW).await.unwrap().unwrap();
    assert_eq!((found.event.as_str(), found.state), ("", MessageState::Answered));
    assert_eq!(found.platform_message, message("1").platform_message);
    // Claimed again, it is recognized.
    let Claim::Seen(seen) = message::claim(&it.store, &message("1")).await.unwrap() else {
        panic!("claimed twice");
    };
    assert!(seen.state.is_terminal());
}

#[tokio::test]
async fn traffic_is_derived_from_the_newest_messages() {
    let it = fresh().await;
    let integration = message("1").integration;
    assert_eq!(
        message::traffic(&it.store, &integration, NOW).await.unwrap(),
        Traffic::default()
    );
    for (name, received) in [("1", 1), ("2", 3)] {
        let record = MessageRecord {
            received_at: at(received),
            ..message(name)
        };
        message::claim(&it.store, &record).await.unwrap();
    }
    let answered = Ending {
        steps: vec![LedgerStep::new(at(2), "delivered"), LedgerStep::new(at(2), "answered")],
        ..ending(MessageState::Answered)
    };
    message::finish(&it.store, &MessageId::new("msg_1"), &answered)
        .await
        .unwrap();
    let found = message::traffic(&it.store, &integration, NOW).await.unwrap();
    assert_eq!(
        (found.heard, found.said, found.failed),
        (Some(at(3)), Some(at(2)), None)
    );
}

#[tokio::test]
async fn newest_failed_answer_is_reported_with_the_agents_message() {
    let it = fresh().await;
    let integration = message("1").integration;
    for (name, received) in [("1", 1), ("2", 3)] {
        let record = MessageRecord {
            received_at: at(received),
            ..message(name)
        };
        message::claim(&it.store, &record).await.unwrap();
    }
    let result = LedgerStep::new(at(4), "result")
        .code("http_500")
        .detail("out of memory");
    let failed = Ending {
        steps: vec![
            result,
            LedgerStep::new(at(4), "delivered"),
            LedgerStep::new(at(5), "failed"),
        ],
        reason: Some("http_500".to_owned()),
        ..ending(MessageState::Failed)
    };
    let (first, second) = (MessageId::new("msg_1"), MessageId::new("msg_2"));
    message::finish(&it.store, &second, &failed).await.unwrap();
    let found = message::traffic(&it.store, &integration, NOW).await.unwrap();
    let failure = found.failed.unwrap();
    assert_eq!((failure.message, failure.at, failure.is_agents), (second, at(5), true));
    assert_eq!(
        (failure.code.as_str(), failure.detail.as_deref()),
        ("http_500", Some("out of memory"))
    );
    // The message that ended later counts, though it was received earlier.
    let answered = Ending {
        steps: vec![LedgerStep::new(at(6), "delivered"), LedgerStep::new(at(6), "answered")],
        ..ending(MessageState::Answered)
    };
    message::finish(&it.store, &first, &answered).await.unwrap();
    let found = message::traffic(&it.store, &integration, NOW).await.unwrap();
    assert_eq!(found.failed, None);
}

#[test]
fn the_first_text_is_counted_from_the_start_of_its_own_run() {
    let after = |steps: &[(i64, &str)]| {
        let record = MessageRecord {
            steps: steps
                .iter()
                .map(|(second, step)| LedgerStep::new(at(*second), step))
                .collect(),
            ..message("1")
        };
        record.first_text_after().map(|wait| wait.as_secs())
    };
    assert_eq!(after(&[(1, "run_started"), (3, "first_text")]), Some(2));
    let failed = [(1, "run_started"), (5, "failed"), (170, "redriven")];
    let again = [(171, "run_started"), (174, "first_text"), (175, "answered")];
    assert_eq!(after(&[failed, again].concat()), Some(3));
    let silent = [(180, "redriven"), (181, "run_started"), (190, "failed")];
    assert_eq!(after(&[failed, again, silent].concat()), Some(3));
    assert_eq!(after(&[(1, "run_started"), (5, "failed")]), None);
    assert_eq!(after(&[]), None);
}

#[tokio::test]
async fn an_empty_answer_counts_until_a_good_one_or_if_there_are_many() {
    let it = fresh().await;
    let integration = message("1").integration;
    let end = async |second: i64, is_empty: bool| {
        let record = MessageRecord {
            received_at: at(second),
            ..message(&second.to_string())
        };
        message::claim(&it.store, &record).await.unwrap();
        let result = LedgerStep::new(at(second), "result");
        let result = match is_empty {
            true => result.code(message::EMPTY_ANSWER),
            false => result,
        };
        let answered = Ending {
            steps: vec![result, LedgerStep::new(at(second), "answered")],
            ..ending(MessageState::Answered)
        };
        message::finish(&it.store, &record.id, &answered).await.unwrap();
        let found = message::traffic(&it.store, &integration, at(100)).await.unwrap();
        assert_eq!(found.failed, None);
        found.troubles.empty_answer_at
    };
    assert_eq!(end(1, true).await, Some(at(1)));
    assert_eq!(end(2, false).await, None);
    assert_eq!(end(3, true).await, Some(at(3)));
    assert_eq!(end(4, false).await, None);
    assert_eq!(end(5, true).await, Some(at(5)));
    // The third within the hour: the agent does it again and again.
    assert_eq!(end(6, false).await, Some(at(5)));
    assert_eq!(end(7, false).await, Some(at(5)));
    // Three good answers in a row: its cause is removed.
    assert_eq!(end(8, false).await, None);
}

#[tokio::test]
async fn many_failures_are_over_once_several_answers_followed() {
    let it = fresh().await;
    let integration = message("1").integration;
    let end = async |second: i64, state: MessageState| {
        let record = MessageRecord {
            received_at: at(second),
            ..message(&second.to_string())
        };
        message::claim(&it.store, &record).await.unwrap();
        let ended = Ending {
            steps: vec![LedgerStep::new(at(second), state.as_str())],
            ..ending(state)
        };
        message::finish(&it.store, &record.id, &ended).await.unwrap();
        let found = message::traffic(&it.store, &integration, at(100)).await.unwrap();
        found.failed.map(|failed| failed.at)
    };
    for second in 1..=3 {
        assert_eq!(end(second, MessageState::Failed).await, Some(at(second)));
    }
    assert_eq!(end(4, MessageState::Answered).await, Some(at(3)));
    // What was not to be answered proves nothing.
    assert_eq!(end(5, MessageState::Commanded).await, Some(at(3)));
    assert_eq!(end(6, MessageState::Answered).await, Some(at(3)));
    assert_eq!(end(7, MessageState::Answered).await, None);
    assert_eq!(end(8, MessageState::Failed).await, Some(at(8)));
}

#[tokio::test]
async fn proactive_and_recalled_messages_are_no_traffic() {
    let it = fresh().await;
    let integration = message("1").integration;
    for second in 1..50 {
        let record = MessageRecord {
            received_at: at(second),
            reason: (second > 1).then(|| message::PROACTIVE.to_owned()),
            state: MessageState::Commanded,
            ..message(&second.to_string())
        };
        message::claim(&it.store, &record).await.unwrap();
    }
    // Of these only the recall was received.
    for second in 50..99 {
        let record = MessageRecord {
            received_at: at(second),
            reason: Some(message::RECALLED.to_owned()),
            state: MessageState::Stopped,
            conversation: None,
            ..message(&second.to_string())
        };
        message::claim(&it.store, &record).await.unwrap();
    }
    let found = message::traffic(&it.store, &integration, NOW).await.unwrap();
    assert_eq!((found.heard, found.said), (Some(at(1)), None));
}

#[tokio::test]
async fn undelivered_proactive_message_is_shown_as_failed() {
    let it = fresh().await;
    let own = MessageRecord {
        platform_message: PlatformMessageId::new(fresh_id(message::OWN_ID, [7; 12])),
        sender: None,
        state: MessageState::Commanded,
        reason: Some(message::PROACTIVE.to_owned()),
        ..message("1")
    };
    message::claim(&it.store, &own).await.unwrap();
    let state = async || {
        let shown = message::show(&it.store, &own.id, NOW).await.unwrap().unwrap();
        assert!(shown.is_proactive() && !shown.is_erased(), "{shown:?}");
        (shown.state, shown.reason)
    };
    let as_it_was = (MessageState::Commanded, own.reason.clone());
    assert_eq!(state().await, as_it_was);
    let refused = LedgerStep::new(at(2), message::DELIVERY_REFUSED).code("403");
    message::note(&it.store, &own.id, &[refused]).await.unwrap();
    assert_eq!(state().await, (MessageState::Failed, Some("403".to_owned())));
    erase::message(&it.store, &own.organization, &own, &[], NOW)
        .await
        .unwrap();
    assert_eq!(state().await, (MessageState::Failed, Some("403".to_owned())));
    message::note_resent(&it.store, &own.id, NOW).await.unwrap();
    assert_eq!(state().await, as_it_was);
}
