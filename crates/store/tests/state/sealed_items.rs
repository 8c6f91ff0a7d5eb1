//! One item of every kind with sealed values: written, and read again.

use std::time::Duration;

use crate::tables::{self, NOW, at, organization};
use tieline_core::account::{ConnectionMode, Credentials};
use tieline_core::agent::{Agent, AgentConfig};
use tieline_core::conversation::Heard;
use tieline_core::conversation::task::Task;
use tieline_core::event::Sender;
use tieline_core::http_types::{AccessToken, ApiAnswer};
use tieline_core::ids::{AgentId, ConversationId, MessageId, RunId, SenderId, SessionId, UserId};
use tieline_core::mapper::UnknownPolicy;
use tieline_core::notice::Language;
use tieline_core::reply::Progress;
use tieline_core::secret::Secret;
use tieline_core::thinking_display::ThinkingDisplay;
use tieline_store::audit::{self, Actor, AuditEntry, Trail};
use tieline_store::config::agent;
use tieline_store::config::integration::{self, IntegrationSettings, NewIntegration};
use tieline_store::config::notify::{self, NotifyChannel};
use tieline_store::config::organization::{self, Mapper};
use tieline_store::deadletter::{self, DeadLetter};
use tieline_store::login::{self, LoginRecord, LoginState};
use tieline_store::notifications::{self, Outgoing};
use tieline_store::run::{self, NewEvent, RunRecord};
use tieline_store::scheduled::{self, Scheduled};
use tieline_store::transcript::{self, NewTurn};
use tieline_store::{
    Store, conversation, erase, file, idempotency, message, overheard, pairing, poll_cursor, relay_answers, reply,
    token_cache,
};

/// Longer than a value that fits into its item.
const LONG: usize = 200_000;

/// The kinds of items with sealed values.
pub(crate) const KINDS: [&str; 24] = [
    "AGT", "ATK", "AUDIT", "CALL", "CNV", "CUR", "DLQ", "FILE", "GUESS", "HEARD", "SCHED", "IDEM", "INT", "LINK",
    "LOGIN", "MSG", "NOTIFY", "ORG", "PAIR", "PIECE", "RPL", "RUN", "SES", "TRASH",
];

/// Writes one of each kind.
pub(crate) async fn fill(store: &Store) {
    fill_config(store).await;
    fill_state(store).await;
    fill_answers(store).await;
}

async fn fill_config(store: &Store) {
    let settings = IntegrationSettings {
        name: "bot".to_owned(),
        mode: ConnectionMode::LongConnection,
        credentials: Credentials::from_iter([("secret", "s3cret")]),
        endpoints: std::iter::empty::<(String, String)>().collect(),
        language: Language::English,
        streaming: true,
        thinking: ThinkingDisplay::default(),
        allowed_agents: None,
        enabled: true,
        account_key: None,
    };
    let new = NewIntegration {
        id: tables::integration(),
        organization: organization(),
        platform: "lark".to_owned(),
        id_key: [9; 32],
    };
    integration::create(store, new, settings, NOW).await.unwrap();
    for id in ["agt_1", "agt_2"] {
        let config = serde_json::json!({"apiKey": "k3y"});
        let new = Agent {
            id: AgentId::new(id),
            organization: organization(),
            name: id.to_owned(),
            protocol: "echo".to_owned(),
            config: AgentConfig::new(config.as_object().unwrap().clone()),
        };
        let made = agent::create(store, new, NOW).await.unwrap();
        if id == "agt_2" {
            agent::delete(store, &made, NOW).await.unwrap();
        }
    }
    let owner = organization::get(store, &organization(), NOW).await.unwrap().unwrap();
    let mapper = Mapper {
        url: "https://people.example".to_owned(),
        secret: Secret::new("a secret of the tests"),
        unknown: UnknownPolicy::Refuse,
    };
    organization::set_mapper(store, &owner, Some(mapper)).await.unwrap();
    let channel = NotifyChannel::Webhook {
        url: "https://ops.example/hook".to_owned(),
        secret: Secret::new("whsec_cmF3"),
    };
    let saved = notify::save(store, None, &organization(), channel, Language::English).await;
    saved.unwrap();
}

async fn fill_state(store: &Store) {
    let mut conversation = tables::conversation("chat");
    conversation.tasks.tasks.push(Task {
        number: 1,
        name: "a person's words".to_owned(),
        session: None,
    });
    let before = conversation.clone();
    conversation::save(store, &before, &mut conversation).await.unwrap();
    poll_cursor::save(store, &tables::integration(), "token", 1, "cursor")
        .await
        .unwrap();
    let token = AccessToken {
        token: Secret::new("t"),
        expires_at: at(100),
    };
    token_cache::put(store, &tables::integration(), "src", &token)
        .await
        .unwrap();
    relay_answers::record(store, "call", &ApiAnswer::NotSent, at(60), NOW)
        .await
        .unwrap();
    let book = pairing::load(store, &tables::integration(), NOW).await.unwrap();
    pairing::save(store, &tables::integration(), &book, NOW).await.unwrap();
    let user = UserId::new("usr_1");
    let guesses = pairing::load_guesses(store, &user, NOW).await.unwrap();
    pairing::save_guesses(store, &user, &guesses, NOW).await.unwrap();
    pairing::create_link(store, &organization(), "code", "person", NOW, at(60))
        .await
        .unwrap();
    let chat = tables::conversation_key("g").chat;
    let place = overheard::Place {
        integration: &tables::integration(),
        chat: &chat,
        received_at: NOW,
        message: &MessageId::new("msg_1"),
        user: &user,
    };
    let sender = Sender {
        id: SenderId::new("lisi"),
        name: None,
    };
    let said = overheard::Overheard {
        sender,
        text: "a person's words".to_owned(),
    };
    overheard::put(store, place, &said, at(1000)).await.unwrap();
    scheduled::create(store, &later()).await.unwrap();
    let mut begun = LoginRecord {
        state: LoginState::Waiting,
        code: None,
        qr_url: "https://example.com/q/1".to_owned(),
        ticket: "t".to_owned(),
        expires_at: at(300),
        polled_until: None,
        version: 0,
    };
    login::put(store, &tables::integration(), &mut begun, NOW)
        .await
        .unwrap();
    let mut waiting = notifications::get(store, &organization()).await.unwrap();
    waiting.outbox.push(Outgoing {
        id: "ntf_1".to_owned(),
        at: NOW,
        attempts: 1,
        next_at: NOW,
        body: "an agent's own words".to_owned(),
    });
    notifications::save(store, &organization(), &mut waiting).await.unwrap();
    audit::append(store, &trail()).await.unwrap();
}

async fn fill_answers(store: &Store) {
    let sealed = |name: &str, n_bytes: usize| {
        let mut record = tables::message(name);
        let event = format!("{{{}}}", " ".repeat(n_bytes - 2));
        record.event = store.keyring().seal(event.as_bytes(), record.id.as_str());
        record
    };
    message::claim(store, &sealed("short", 10)).await.unwrap();
    message::claim(store, &sealed("long", LONG)).await.unwrap();
    // What is left of it is a tombstone of its reply.
    let erased = sealed("erased", 10);
    message::claim(store, &erased).await.unwrap();
    erase::message(store, &erased.organization, &erased, &[], NOW)
        .await
        .unwrap();
    let mut answer = tables::reply("one");
    answer.text = "x".repeat(LONG);
    answer.closed = Some(Progress::default());
    reply::save(store, None, &mut answer, NOW).await.unwrap();
    let head = RunRecord {
        id: RunId::new("run_1"),
        organization: organization(),
        integration: tables::integration(),
        conversation: ConversationId::new("cnv_1"),
        started_at: NOW,
        closed: false,
        end: None,
        n_events: 0,
        n_bytes: 0,
        last_seq: 0,
    };
    run::open_run(store, &head).await.unwrap();
    let mut head = run::get_run(store, &head.id, NOW).await.unwrap().unwrap();
    let json = format!("\"{}\"", "x".repeat(LONG));
    let event = NewEvent {
        seq: 1,
        json: &json,
        ends: false,
    };
    run::append_event(store, &mut head, &event).await.unwrap();
    let turn = NewTurn {
        user: "?",
        assistant: &"x".repeat(LONG),
    };
    let session = SessionId::new("ses_1");
    transcript::put(store, &session, &RunId::new("run_1"), NOW, turn)
        .await
        .unwrap();
    deadletter::put(store, &letter()).await.unwrap();
    let bytes = vec![7; LONG];
    file::put(store, "fil_1", (Some("a.txt"), "text/plain"), &bytes, at(1000))
        .await
        .unwrap();
    for key in ["answered", "running"] {
        let claim = idempotency::claim(store, ("root", key), &["POST"], [1; 64], NOW)
            .await
            .unwrap();
        let idempotency::Claim::Mine(claimed) = claim else {
            panic!("{claim:?}");
        };
        if key == "answered" {
            idempotency::answer(store, &claimed, &idempotent_answer())
                .await
                .unwrap();
        }
    }
}

fn idempotent_answer() -> idempotency::Answer {
    idempotency::Answer {
        status: 201,
        headers: Vec::new(),
        body: "{\"token\":\"tl_secret\"}".to_owned(),
    }
}

fn later() -> Scheduled {
    Scheduled {
        id: "sch_1".to_owned(),
        organization: organization(),
        integration: tables::integration(),
        at: at(500),
        to: scheduled::Audience::Linked,
        content: scheduled::Content::Text("an operator's words".to_owned()),
        state: scheduled::State::Waiting,
        n_said: 0,
        cursor: None,
        begun: false,
        created_at: NOW,
        version: 1,
    }
}

fn letter() -> DeadLetter {
    DeadLetter {
        message: MessageId::new("msg_1"),
        organization: organization(),
        integration: None,
        conversation: None,
        received_at: NOW,
        failed_at: NOW,
        reason: "connect".into(),
        body: Some("what a platform sent".to_owned()),
    }
}

fn trail() -> Trail {
    Trail {
        entry: AuditEntry {
            id: "aud_1".to_owned(),
            at: NOW,
            organization: Some(organization()),
            actor: Actor {
                role: "root".to_owned(),
                token_id: None,
                token_name: None,
            },
            address: None,
            action: "agent.update".to_owned(),
            target: None,
            before: None,
            after: None,
        },
        lines: Vec::new(),
    }
}

/// Settings were once accepted that are nested deeper than a parser goes.
#[tokio::test]
async fn unreadable_audit_entry_hides_no_other() {
    let it = tables::fresh().await;
    let deep = (0..130).fold(serde_json::json!(1), |value, _| serde_json::json!([value]));
    let mut unreadable = trail();
    unreadable.entry.id = "aud_deep".to_owned();
    unreadable.entry.after = Some(deep);
    for trail in [&unreadable, &trail()] {
        audit::append(&it.store, trail).await.unwrap();
    }
    let found = audit::list(&it.store, None, (None, None), (None, 10), NOW)
        .await
        .unwrap();
    let shown = found.items.iter().map(|it| (it.id.as_str(), it.action.as_str(), it.at));
    let expected = [("aud_deep", "unreadable", NOW), ("aud_1", "agent.update", NOW)];
    assert_eq!(shown.collect::<Vec<_>>(), expected);
}

/// Reads everything that [`fill`] wrote.
pub(crate) async fn check(store: &Store) {
    let (org, int) = (organization(), tables::integration());
    let bot = integration::get(store, &int).await.unwrap().unwrap();
    let (credentials, id_key) = bot.unseal(store.keyring()).unwrap();
    assert_eq!((credentials.get("secret"), id_key), (Some("s3cret"), [9; 32]));
    assert!(agent::get(store, &org, &AgentId::new("agt_1")).await.unwrap().is_some());
    let deleted = agent::get_deleted(store, &org, &AgentId::new("agt_2"), NOW)
        .await
        .unwrap();
    assert!(deleted.is_some());
    let found = organization::get(store, &org, NOW).await.unwrap().unwrap();
    assert_eq!(found.mapper.unwrap().secret.expose(), "a secret of the tests");
    let channel = notify::get(store, &org).await.unwrap().unwrap().channel;
    assert!(matches!(channel, NotifyChannel::Webhook { secret, .. } if secret.expose() == "whsec_cmF3"));
    let id = tables::conversation_key("chat").id();
    let found = conversation::load(store, &id, NOW).await.unwrap().unwrap();
    assert_eq!(found.tasks.tasks[0].name, "a person's words");
    let cursor = poll_cursor::take_over(store, &int, "token", 1).await.unwrap();
    assert_eq!(cursor.as_deref(), Some("cursor"));
    assert!(token_cache::get(store, &int, "src", NOW).await.unwrap().is_some());
    assert!(relay_answers::answer(store, "call", NOW).await.unwrap().is_some());
    pairing::load(store, &int, NOW).await.unwrap();
    let user = UserId::new("usr_1");
    pairing::load_guesses(store, &user, NOW).await.unwrap();
    let person = pairing::take_link(store, &org, "code", &user, NOW).await.unwrap();
    assert_eq!(person.as_deref(), Some("person"));
    let heard = Heard {
        from: at(-1),
        to: at(1),
    };
    let chat = tables::conversation_key("g").chat;
    let heard = overheard::latest(store, &int, &chat, heard, 9, NOW).await.unwrap();
    assert_eq!(heard[0].1.text, "a person's words");
    let scheduled = scheduled::get(store, &org, "sch_1", NOW).await.unwrap().unwrap();
    let scheduled = scheduled.open(store, Duration::ZERO).unwrap();
    assert_eq!(scheduled, Some(later()));
    assert_eq!(login::get(store, &int, NOW).await.unwrap().unwrap().ticket, "t");
    let waiting = notifications::get(store, &org).await.unwrap();
    assert_eq!(waiting.outbox[0].body, "an agent's own words");
    let entries = audit::list(store, Some(&org), (None, None), (None, 10), NOW)
        .await
        .unwrap();
    assert_eq!(entries.items, [trail().entry]);
    check_answers(store).await;
}

async fn check_answers(store: &Store) {
    let event = async |name| {
        let found = message::get(store, &tables::message(name).id, NOW).await.unwrap();
        found.unwrap().event
    };
    for (name, n_bytes) in [("short", 10), ("long", LONG)] {
        let opened = store
            .keyring()
            .open(&event(name).await, tables::message(name).id.as_str());
        assert_eq!(opened.unwrap().len(), n_bytes);
    }
    let answer = reply::get(store, &tables::reply("one").id, NOW).await.unwrap().unwrap();
    assert_eq!((answer.text.len(), answer.closed), (LONG, Some(Progress::default())));
    let erased = reply::get(store, &tables::message("erased").reply, NOW).await.unwrap();
    assert_eq!(erased.unwrap().text, "");
    let events = run::events_after(store, &RunId::new("run_1"), 0).await.unwrap();
    assert_eq!(events[0].1.len(), LONG + 2);
    let turns = transcript::latest(store, &SessionId::new("ses_1"), 9, usize::MAX, NOW)
        .await
        .unwrap();
    assert_eq!(turns[0].assistant.len(), LONG);
    let letters = deadletter::list(store, &organization(), None, 9, NOW).await.unwrap();
    assert_eq!(letters.items, [letter()]);
    let found = file::get(store, "fil_1", NOW).await.unwrap().unwrap();
    assert_eq!((found.name.as_deref(), found.bytes.len()), (Some("a.txt"), LONG));
    let answered = idempotency::claim(store, ("root", "answered"), &["POST"], [2; 64], NOW).await;
    assert_eq!(answered.unwrap(), idempotency::Claim::Answered(idempotent_answer()));
    let late = NOW.after(idempotency::LEASE);
    let running = idempotency::claim(store, ("root", "running"), &["POST"], [2; 64], late).await;
    assert!(matches!(running.unwrap(), idempotency::Claim::Mine(claimed) if claimed.seed == [1; 64]));
}
