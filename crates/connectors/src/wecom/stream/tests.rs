use proptest::prelude::*;
use tieline_core::account::{Account, ConnectionMode, Credentials, Endpoints};
use tieline_core::connector::Connector as _;
use tieline_core::ids::{IdMint, IntegrationId, OrganizationId};
use tieline_core::notice::Language;
use tieline_core::thinking_display::ThinkingDisplay;

use super::*;
use crate::wecom::WeCom;

fn account() -> Account {
    let credentials: Credentials = [("botId", "aibA1"), ("secret", "S")].into_iter().collect();
    let mode = ConnectionMode::LongConnection;
    Account {
        integration: IntegrationId::new("int_1"),
        organization: OrganizationId::new("default"),
        mode,
        prepared: WeCom
            .prepare(mode, &credentials, &Endpoints::new())
            .expect("both fields are there"),
        credentials,
        endpoints: Endpoints::new(),
        language: Language::English,
        streaming: true,
        thinking: ThinkingDisplay::default(),
        ids: IdMint::new(&[7; 32]),
        allow_private: false,
    }
}

fn at(account: &Account, millis: i64) -> Context<'_> {
    Context {
        account,
        now: Timestamp::from_millis(millis),
        random: [7; 32],
        welcome: Some("hi"),
        unaddressed: tieline_core::connector::Unaddressed::Ignored,
    }
}

fn up(account: &Account) -> Session {
    let mut session = Session::default();
    let effects = session.on_open(&at(account, 0));
    let Some(Effect::Send(Frame::Text(subscribe))) = effects.first() else {
        panic!("no subscription: {effects:?}");
    };
    let subscribe: SocketFrame<'_> = serde_json::from_str(subscribe).expect("our frames are JSON");
    let answer = json!({ "headers": { "req_id": subscribe.req_id() }, "errcode": 0 }).to_string();
    assert!(
        session
            .on_frame(Frame::Text(answer), &at(account, 0))
            .contains(&Effect::Up)
    );
    session
}

#[test]
fn only_the_answer_to_the_subscription_counts_as_one() {
    let account = account();
    let cx = at(&account, 0);
    let mut session = Session::default();
    session.on_open(&cx);
    let others = [
        json!({}),
        json!({ "errcode": 0 }),
        json!({ "cmd": "aibot_notice" }),
        json!({ "cmd": "aibot_notice", "headers": { "req_id": "r1" }, "body": {} }),
        json!({ "headers": { "req_id": "r1" }, "errcode": 0 }),
        json!({ "headers": { "req_id": "r1" }, "errcode": 853_000 }),
    ];
    for other in others {
        let effects = session.on_frame(Frame::Text(other.to_string()), &cx);
        assert!(
            matches!(effects[..], [Effect::Remark(Remark::Ignored(_))]),
            "{other}: {effects:?}"
        );
        assert!(matches!(session.phase, Phase::Subscribing { .. }));
    }
    let effects = session.on_frame(Frame::Text(json!({ "errcode": 40058 }).to_string()), &cx);
    assert!(matches!(effects[..], [Effect::Refused(_)]), "{effects:?}");
}

/// Inputs of a session.
#[derive(Debug, Clone)]
enum Happening {
    Call { lane: u8, replaceable: bool, life_ms: i64 },
    Acknowledged { lane: u8, code: i64 },
    Nameless,
    Passes { millis: i64 },
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        4 => (0u8..3, any::<bool>(), 0i64..20_000).prop_map(|(lane, replaceable, life_ms)| Happening::Call { lane, replaceable, life_ms }),
        4 => (0u8..3, prop_oneof![Just(0i64), Just(45009i64)]).prop_map(|(lane, code)| Happening::Acknowledged { lane, code }),
        1 => Just(Happening::Nameless),
        2 => (0i64..7_000).prop_map(|millis| Happening::Passes { millis }),
    ]
}

fn call(lane: u8, replaceable: bool, expires_at: Timestamp) -> SocketCall {
    SocketCall {
        name: "stream".into(),
        lane: format!("r{lane}"),
        frame: json!({ "cmd": "aibot_respond_msg", "reqId": format!("r{lane}"), "body": {} }),
        replaceable,
        expires_at,
    }
}

proptest! {
    /// Each call gets exactly one outcome, and no lane has two frames in flight.
    #[test]
    fn every_call_is_answered_once(happenings in prop::collection::vec(happening(), 0..60)) {
        let account = account();
        let mut session = up(&account);
        let (mut now, mut calls) = (0, 0);
        let mut answered = std::collections::BTreeMap::new();
        let mut flying = [0i32; 3];
        let mut watch = |effects: Vec<Effect>, flying: &mut [i32; 3]| {
            for effect in effects {
                match effect {
                    Effect::Answer { call_id, answer } => {
                        let lane = call_id.as_bytes()[0] - b'0';
                        *answered.entry(call_id).or_insert(0) += 1;
                        flying[lane as usize] -= i32::from(answer != ApiAnswer::NotSent);
                    }
                    Effect::Send(Frame::Text(text)) if text.contains("aibot_respond_msg") => {
                        let frame: SocketFrame<'_> = serde_json::from_str(&text).expect("our frames are JSON");
                        let lane = frame.req_id().expect("it has an id").as_bytes()[1] - b'0';
                        flying[lane as usize] += 1;
                        assert!(flying[lane as usize] <= 1, "two frames in flight");
                    }
                    _ => {}
                }
            }
        };
        for happening in happenings {
            let effects = match happening {
                Happening::Call { lane, replaceable, life_ms } => {
                    calls += 1;
                    let call = call(lane, replaceable, Timestamp::from_millis(now + life_ms));
                    session.on_call(&format!("{lane}-{calls}"), call, &at(&account, now))
                }
                Happening::Acknowledged { lane, code } => {
                    let frame = json!({ "headers": { "req_id": format!("r{lane}") }, "errcode": code });
                    session.on_frame(Frame::Text(frame.to_string()), &at(&account, now))
                }
                Happening::Nameless => session.on_frame(Frame::Text("{\"errcode\":40058}".into()), &at(&account, now)),
                Happening::Passes { millis } => {
                    now += millis;
                    session.on_time(&at(&account, now))
                }
            };
            watch(effects, &mut flying);
        }
        watch(session.on_close(&at(&account, now)), &mut flying);
        prop_assert_eq!(answered.len(), calls);
        prop_assert!(answered.values().all(|times| *times == 1), "{:?}", answered);
        prop_assert_eq!(flying, [0; 3]);
    }

    #[test]
    fn any_frame_is_handled_without_panic(text in "\\PC{0,60}", bytes in prop::collection::vec(any::<u8>(), 0..60), cut in any::<prop::sample::Index>()) {
        let account = account();
        let mut session = up(&account);
        let cx = at(&account, 1);
        session.on_frame(Frame::Text(text.clone()), &cx);
        session.on_frame(Frame::Binary(bytes), &cx);
        let frame = json!({ "cmd": "aibot_msg_callback", "headers": { "req_id": text }, "body": { "msgid": text, "msgtype": "text", "from": { "userid": "u" }, "text": { "content": text } } }).to_string();
        let mut cut = cut.index(frame.len());
        while !frame.is_char_boundary(cut) {
            cut -= 1;
        }
        session.on_frame(Frame::Text(frame[..cut].to_owned()), &cx);
        session.on_frame(Frame::Text(frame), &cx);
    }
}
