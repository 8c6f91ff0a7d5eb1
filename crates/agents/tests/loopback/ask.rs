//! Helpers for asking an agent.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::StreamExt as _;
use serde_json::Value;
use tieline_agents::answer_memory::AnswerMemory;
use tieline_agents::env::Env;
use tieline_agents::protocol::{Adapter, Protocol};
use tieline_core::agent::{
    AgentChat, AgentConfig, AgentEvent, AgentFailure, AgentMessage, AgentRequest, AgentSession, AgentUser, AskedAgent,
    AskedIntegration, Draft, ReplyAddress, ReplyLimits,
};
use tieline_core::backoff::Backoff;
use tieline_core::event::ChatKind;
use tieline_core::ids::{AgentId, IntegrationId, MessageId, OrganizationId, RunId, SessionId, UserId};
use tieline_core::notice::Language;
use tieline_core::outbound_url::PrivateEndpoints;
use tieline_core::secret::Secret;
use tieline_core::timestamp::Timestamp;
use tokio::time::timeout;

use crate::server::Server;

/// Time of the first question; each reading of the clock is a second later.
pub const NOON: i64 = 1_760_000_400;

/// An environment with a deterministic clock and random source: each counts its calls.
pub fn env() -> Env {
    let looks = AtomicUsize::new(0);
    Env {
        http: reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .unwrap(),
        now: Arc::new(move || {
            let look = looks.fetch_add(1, Ordering::SeqCst);
            Timestamp::from_secs(NOON + i64::try_from(look).unwrap())
        }),
        random: Arc::new(|| 7),
        allow_private: PrivateEndpoints::Allowed,
        aws_credentials: None,
        memory: AnswerMemory::unlimited(),
        backoff: Backoff {
            base: Duration::from_millis(4),
            cap: Duration::from_millis(8),
        },
    }
}

pub fn adapter(protocol: &str, config: Value) -> Adapter {
    Protocol::parse(protocol, &AgentConfig::new(config.as_object().unwrap().clone())).unwrap()
}

pub fn request(text: &str) -> AgentRequest {
    AgentRequest {
        run: RunId::new("run_1"),
        organization: OrganizationId::new("default"),
        agent: AskedAgent {
            id: AgentId::new("agt_1"),
            name: "Echo".into(),
        },
        integration: AskedIntegration {
            id: IntegrationId::new("int_1"),
            name: "Help desk".into(),
        },
        session: AgentSession {
            id: SessionId::new("ses_1"),
            number: 3,
            is_new: true,
            conversation_ref: None,
        },
        user: AgentUser {
            id: UserId::new("usr_1"),
            platform: "wecom".into(),
            external_id: "zhangsan".into(),
            display_name: None,
            person: None,
            locale: Language::Chinese,
        },
        chat: AgentChat {
            kind: ChatKind::Direct,
            id: "zhangsan".into(),
            name: None,
            thread_id: None,
        },
        message: AgentMessage {
            id: MessageId::new("msg_1"),
            redrives: 0,
            text: text.into(),
            answer: text.into(),
            parts: vec![],
            quoted: None,
        },
        reply: ReplyAddress {
            events_url: "https://tieline.example/api/runs/run_1/events".into(),
            token: Secret::new("rt_token"),
            expires_at: Timestamp::parse("2026-01-02T03:04:05Z").unwrap(),
        },
        limits: ReplyLimits {
            max_text_bytes: 20480,
            stream: true,
        },
        transcript: vec![],
        resume: None,
    }
}

/// All events of a run. Checks that exactly the last one ends it.
pub async fn ask(adapter: &Adapter, request: &AgentRequest, env: &Env) -> Vec<AgentEvent> {
    let run = adapter.run(request, Duration::ZERO, env).collect::<Vec<_>>();
    let events = timeout(Duration::from_secs(30), run).await.expect("the run ends");
    let ends = |event: &AgentEvent| event.is_terminal() || *event == AgentEvent::Deferred;
    let n_ends = events.iter().filter(|event| ends(event)).count();
    assert!(n_ends == 1 && events.last().is_some_and(ends), "{events:?}");
    events
}

pub fn text(text: &str) -> AgentEvent {
    AgentEvent::TextDelta(text.into())
}

pub fn completed() -> AgentEvent {
    AgentEvent::Completed { final_text: None }
}

/// The failure that ended the run.
#[track_caller]
pub fn failure(events: &[AgentEvent]) -> &AgentFailure {
    match events.last() {
        Some(AgentEvent::Failed(failure)) => failure,
        _ => panic!("no failure: {events:?}"),
    }
}

/// The text that the chat shows at the end.
pub fn shown(events: &[AgentEvent]) -> String {
    let mut draft = Draft::default();
    for event in events {
        draft.apply(event);
    }
    let buttons = draft.card.iter().flat_map(|card| &card.buttons);
    let choices = buttons.filter_map(|button| button.value());
    choices.fold(draft.text, |shown, choice| format!("{shown}\n- {choice}"))
}

/// The conversation references, in the order of the events.
pub fn conversation(events: &[AgentEvent]) -> Vec<Option<&str>> {
    let refs = events.iter().filter_map(|event| match event {
        AgentEvent::Started { conversation_ref, .. } => Some(conversation_ref.as_deref()),
        _ => None,
    });
    refs.collect()
}

/// Methods and paths of the calls that the server received.
pub fn targets(server: &Server) -> Vec<String> {
    server.calls().iter().map(|call| call.target().to_owned()).collect()
}
