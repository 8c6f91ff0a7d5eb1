use serde_json::{Value, json};
use tieline_core::account::{Account, ConnectionMode, Credentials};
use tieline_core::connector::Connector as _;
use tieline_core::ids::{IdMint, IntegrationId, OrganizationId};
use tieline_core::notice::Language;
use tieline_core::stream::{Effect, Frame};
use tieline_core::thinking_display::ThinkingDisplay;
use tieline_core::timestamp::Timestamp;

use super::cursor::Resumable;
use super::*;
use crate::discord::Discord;

const MAIN: &str = "wss://gateway.discord.gg/?v=10&encoding=json";
const NAMED: &str = "wss://gateway-us-east1-b.discord.gg/?v=10&encoding=json";

/// With what is known of the Message Content Intent, or nothing if it is empty.
fn account(content: &str) -> Account {
    let known = Some(("messageContent", content)).filter(|_| !content.is_empty());
    let fields = [("botToken", "t"), ("applicationId", "139")].into_iter().chain(known);
    let credentials: Credentials = fields.collect();
    let mode = ConnectionMode::LongConnection;
    Account {
        integration: IntegrationId::new("int_1"),
        organization: OrganizationId::new("default"),
        mode,
        prepared: Discord
            .prepare(mode, &credentials, &std::collections::BTreeMap::default())
            .unwrap(),
        credentials,
        endpoints: std::collections::BTreeMap::default(),
        language: Language::English,
        streaming: true,
        thinking: ThinkingDisplay::default(),
        ids: IdMint::new(&[7; 32]),
        allow_private: false,
    }
}

fn context(account: &Account) -> Context<'_> {
    Context {
        account,
        now: Timestamp::from_secs(0),
        random: [0; 32],
        welcome: None,
        unaddressed: tieline_core::connector::Unaddressed::Ignored,
    }
}

fn cursor(url: &str) -> Cursor {
    Cursor {
        gateway: "wss://gateway.discord.gg".into(),
        session: Some(Resumable {
            id: "s1".into(),
            url: url.into(),
            sequence: 7,
            bot: "139".into(),
            has_content: true,
            ..Resumable::default()
        }),
        ..Cursor::default()
    }
}

/// How long a refusal of the gateway's URL asks to wait.
#[track_caller]
fn check_wait(status: u16, retry_after_s: Option<u64>, body: &str, expected: Option<u64>) {
    let account = account("yes");
    let answer = ApiAnswer::Answered {
        status,
        retry_after_s,
        body: body.as_bytes().to_vec(),
    };
    let refusal = Gateway.address(&answer, &context(&account));
    let expected = passing(&format!("http_{status}"), expected.map(Duration::from_secs));
    assert_eq!(refusal.err(), Some(expected));
}

#[test]
fn ban_of_the_address_stops_connecting_for_ten_minutes() {
    for status in [403, 429] {
        check_wait(status, None, "<html>", Some(600));
        check_wait(status, Some(5), "<html>", Some(600));
        check_wait(status, Some(3600), "<html>", Some(3600));
        check_wait(status, Some(5), r#"{"message":"You are being rate limited."}"#, Some(5));
    }
    check_wait(502, None, "<html>", None);
}

#[track_caller]
fn check(cursor: &str, failures: u32, content: &str, expected: Option<&str>) {
    let account = account(content);
    let resumed = Gateway.resume(cursor, failures, &context(&account));
    assert_eq!(resumed.map(|address| address.url).as_deref(), expected);
}

#[test]
fn session_resumes_at_the_named_url_then_at_the_main_url() {
    let saved = cursor("wss://gateway-us-east1-b.discord.gg").write();
    for (failures, expected) in [(0, Some(NAMED)), (2, Some(NAMED)), (3, Some(MAIN)), (4, None)] {
        check(&saved, failures, "yes", expected);
    }
}

#[test]
fn foreign_gateway_urls_are_refused() {
    check(
        &cursor("wss://gateway.discord.gg.evil.example").write(),
        0,
        "yes",
        Some(MAIN),
    );
    let elsewhere = Cursor {
        gateway: "wss://evil.example".into(),
        ..cursor("")
    };
    check(&elsewhere.write(), 0, "yes", None);
}

#[test]
fn changed_intent_starts_a_new_session() {
    check(&cursor("").write(), 0, "no", None);
}

#[test]
fn refused_intent_is_omitted_from_the_next_session() {
    let without = Cursor {
        session: None,
        without_content: true,
        ..cursor("")
    };
    check(&without.write(), 1, "yes", Some(MAIN));
    check(
        &Cursor {
            without_content: false,
            ..without
        }
        .write(),
        1,
        "yes",
        None,
    );
    check("", 0, "yes", None);
    check("not a cursor", 0, "yes", None);
}

#[test]
fn enabled_intent_is_requested_by_the_next_session() {
    let account = account("no");
    let cx = context(&account);
    let mut session = Session::new(
        Cursor {
            session: None,
            ..cursor("")
        },
        false,
    );
    let ready =
        json!({ "session_id": "s2", "resume_gateway_url": "wss://gateway.discord.gg", "user": { "id": "139" } });
    session.on_frame(event(1, "READY", &ready), &cx);
    let due = session.wake_at().unwrap();
    let later = Context {
        now: due,
        ..context(&account)
    };
    let effects = session.on_time(&later);
    assert!(
        matches!(&effects[..], [Effect::Respond(call)] if call.url.ends_with("/applications/@me")),
        "{effects:?}"
    );
    let application = |flags: u64| ApiAnswer::Answered {
        status: 200,
        retry_after_s: None,
        body: json!({ "id": "139", "flags": flags }).to_string().into_bytes(),
    };
    assert_eq!(session.on_fetched(application(0), &later), []);
    assert_eq!(session.on_fetched(ApiAnswer::Unknown, &later), []);
    assert!(session.wake_at().unwrap() > due);
    let effects = session.on_fetched(application(1 << 19), &later);
    let [Effect::SaveCursor(saved), Effect::Reconnect { .. }] = &effects[..] else {
        panic!("{effects:?}")
    };
    let address = Gateway.resume(saved, 1, &cx).unwrap();
    assert_eq!(address.url, MAIN);
    let mut next = Session::new(Cursor::read(&address.note).unwrap(), false);
    let hello = json!({ "op": 10, "d": { "heartbeat_interval": 45_000 } });
    let effects = next.on_frame(Frame::Text(hello.to_string()), &cx);
    let [Effect::Send(Frame::Text(identify))] = &effects[..] else {
        panic!("{effects:?}")
    };
    let identify: Value = serde_json::from_str(identify).unwrap();
    assert_eq!(identify["d"]["intents"], 37377);
    next.on_frame(event(1, "READY", &ready), &cx);
    let effects = next.on_close(&cx);
    let [Effect::SaveCursor(saved)] = &effects[..] else {
        panic!("{effects:?}")
    };
    assert!(Gateway.resume(saved, 1, &cx).is_some());
}

#[test]
fn intent_refused_although_it_seemed_enabled_is_checked_again_after_an_hour() {
    let account = account("no");
    let cx = context(&account);
    let enabled = Cursor {
        session: None,
        content_enabled: true,
        ..cursor("")
    };
    let mut session = Session::new(enabled, false);
    let effects = session.on_closed(4014, "", &cx);
    let [Effect::SaveCursor(saved), Effect::Reconnect { .. }] = &effects[..] else {
        panic!("{effects:?}")
    };
    let address = Gateway.resume(saved, 1, &cx).unwrap();
    let mut next = Session::new(Cursor::read(&address.note).unwrap(), false);
    let ready =
        json!({ "session_id": "s2", "resume_gateway_url": "wss://gateway.discord.gg", "user": { "id": "139" } });
    next.on_frame(event(1, "READY", &ready), &cx);
    assert_eq!(next.wake_at(), Some(cx.now.after(Duration::from_hours(1))));
    let effects = next.on_close(&cx);
    let [Effect::SaveCursor(saved)] = &effects[..] else {
        panic!("{effects:?}")
    };
    let resumed = Gateway.resume(saved, 1, &cx).map(|address| address.url);
    assert_eq!(
        resumed.as_deref(),
        Some(MAIN),
        "a new session would miss what came meanwhile"
    );
}

#[test]
fn intent_is_requested_unless_it_is_known_to_be_disabled() {
    for (content, expected) in [("", true), ("yes", true), ("no", false)] {
        assert_eq!(wants_content(&context(&account(content))), expected, "{content}");
    }
}

/// A frame of the gateway with an event.
fn event(sequence: usize, name: &str, payload: &Value) -> Frame {
    Frame::Text(json!({ "op": 0, "s": sequence, "t": name, "d": payload }).to_string())
}

#[test]
fn role_mentions_are_recognized_in_every_server() {
    const SERVERS: usize = 2500;
    let account = account("yes");
    let cx = context(&account);
    let mut session = Session::new(cursor(""), true);
    let role = |server: usize| (1_391_000_000_000_000_000 + server).to_string();
    for server in 0..SERVERS {
        let roles = json!({ "roles": [{ "id": role(server), "tags": { "bot_id": "139" } }] });
        session.on_frame(event(8 + server, "GUILD_CREATE", &roles), &cx);
    }
    for server in [0, 255, 256, SERVERS - 1] {
        let message = json!({
            "id": format!("14{server}"), "channel_id": "140", "guild_id": "77", "type": 0,
            "author": { "id": "31", "username": "mia" }, "content": format!("<@&{}> status?", role(server)),
            "mention_roles": [role(server)], "timestamp": "2026-09-20T08:15:30.123000+00:00",
        });
        let effects = session.on_frame(event(9000 + server, "MESSAGE_CREATE", &message), &cx);
        assert!(matches!(effects[..], [Effect::Deliver { .. }]), "{server}: {effects:?}");
    }
    let effects = session.on_close(&cx);
    let [Effect::SaveCursor(saved)] = &effects[..] else {
        panic!("nothing is saved: {effects:?}")
    };
    let stored = Cursor::read(saved).and_then(|cursor| cursor.session).unwrap();
    assert_eq!(stored.roles.len(), cursor::MAX_STORED_ROLES);
}
