//! Runs a real agent server through one of our adapters and checks its answers: `ask_agent PROTOCOL CONFIG`.
//!
//! The server's agent must answer as those in `tests/sdks/agents` do. See `tests/sdks/agents.sh`.
#![expect(clippy::print_stdout, reason = "its output is its result")]

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use futures_util::StreamExt as _;
use serde_json::{Map, Value};
use tieline_agents::answer_memory::AnswerMemory;
use tieline_agents::env::{BACKOFF, Env};
use tieline_agents::protocol::{Adapter, CancelRequest, Protocol};
use tieline_core::agent::{
    AgentChat, AgentConfig, AgentEvent, AgentMessage, AgentRequest, AgentSession, AgentUser, AskedAgent,
    AskedIntegration, Draft, ReplyAddress, ReplyLimits, Resume,
};
use tieline_core::event::ChatKind;
use tieline_core::ids::{AgentId, IntegrationId, MessageId, OrganizationId, RunId, SessionId, UserId};
use tieline_core::notice::Language;
use tieline_core::outbound_url::PrivateEndpoints;
use tieline_core::secret::Secret;
use tieline_core::timestamp::Timestamp;
use tokio::time::{sleep, timeout};

/// Limit of one run.
const PATIENCE: Duration = Duration::from_secs(30);

#[tokio::main]
async fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let (protocol, config) = (
        args.next().context("the argument PROTOCOL is missing")?,
        args.next().context("the argument CONFIG is missing")?,
    );
    let config: Map<String, Value> = serde_json::from_str(&config)?;
    let adapter = Protocol::parse(&protocol, &AgentConfig::new(config))?;
    let env = Env {
        http: reqwest::Client::builder().no_proxy().build()?,
        now: Arc::new(|| Timestamp::from_secs(1_790_000_000)),
        random: Arc::new(|| 7),
        allow_private: PrivateEndpoints::Allowed,
        aws_credentials: None,
        memory: AnswerMemory::unlimited(),
        backoff: BACKOFF,
    };
    let asking = Asking {
        adapter: &adapter,
        env: &env,
    };
    asking.adapter.probe(&env).await.context("probe")?;
    asking.sessions_are_kept().await.context("sessions")?;
    asking.questions_are_answered().await.context("questions")?;
    asking.failures_are_told().await.context("failures")?;
    if adapter.manifest().can_resume {
        asking.runs_are_resumed().await.context("resuming")?;
        asking.runs_are_cancelled().await.context("cancelling")?;
    }
    println!("{protocol}: all passed");
    Ok(())
}

struct Asking<'a> {
    adapter: &'a Adapter,
    env: &'a Env,
}

/// The result of a run, or the part of it that was read.
#[derive(Debug, Default)]
struct Heard {
    draft: Draft,
    resume: Option<Resume>,
    conversation_ref: Option<String>,
    n_texts: usize,
    asked: bool,
    last: Option<AgentEvent>,
}

impl Asking<'_> {
    async fn sessions_are_kept(&self) -> Result<()> {
        let first = self.read(&request("kept", "hello", None), usize::MAX).await?;
        ensure!(
            first.draft.text == "turn 1: hello",
            "expected `turn 1: hello`, found {first:?}"
        );
        let second = self
            .read(&request("kept", "again", first.conversation_ref), usize::MAX)
            .await?;
        ensure!(
            second.draft.text == "turn 2: again",
            "expected `turn 2: again`, found {second:?}"
        );
        Ok(())
    }

    async fn questions_are_answered(&self) -> Result<()> {
        let asked = self.read(&request("asked", "ask", None), usize::MAX).await?;
        ensure!(
            asked.asked && asked.draft.text.contains("Deploy?"),
            "expected the question `Deploy?`, found {asked:?}"
        );
        let answered = self
            .read(&request("asked", "yes", asked.conversation_ref), usize::MAX)
            .await?;
        ensure!(
            answered.draft.text == "you chose yes",
            "expected `you chose yes`, found {answered:?}"
        );
        let next = self
            .read(&request("asked", "on", answered.conversation_ref), usize::MAX)
            .await?;
        ensure!(
            next.draft.text.ends_with(": on"),
            "expected a text that ends with `: on`, found {next:?}"
        );
        Ok(())
    }

    async fn failures_are_told(&self) -> Result<()> {
        let heard = self.read(&request("failed", "fail", None), usize::MAX).await?;
        ensure!(
            matches!(heard.last, Some(AgentEvent::Failed(_))),
            "expected a failed run, found {heard:?}"
        );
        Ok(())
    }

    /// In the middle of the run, after its end, and without a cursor.
    async fn runs_are_resumed(&self) -> Result<()> {
        for (session, pause, keeps_cursor) in [("middle", 0, true), ("end", 3, true), ("start", 0, false)] {
            let begun = self.read(&request(session, "slow 12", None), 3).await?;
            sleep(Duration::from_secs(pause)).await;
            let resume = begun.resume.context("the run has no reference")?;
            let cursor = resume.cursor.filter(|_| keeps_cursor);
            let text = match cursor {
                Some(_) => begun.draft.text,
                None => String::new(),
            };
            let mut request = request(session, "slow 12", None);
            request.resume = Some(Resume {
                run_ref: resume.run_ref,
                cursor,
            });
            let heard = self.read_from(&request, usize::MAX, text).await?;
            let words: Vec<String> = (0..12).map(|n| format!("w{n}")).collect();
            ensure!(heard.draft.text == words.join(" "), "{session}: {heard:?}");
            ensure!(
                matches!(heard.last, Some(AgentEvent::Completed { .. })),
                "{session}: {heard:?}"
            );
        }
        Ok(())
    }

    async fn runs_are_cancelled(&self) -> Result<()> {
        let mut asked = request("cancelled", "slow 200", None);
        let begun = self.read(&asked, 1).await?;
        let cancel = CancelRequest {
            run: asked.run.clone(),
            run_ref: begun.resume.as_ref().map(|resume| resume.run_ref.clone()),
            conversation_ref: begun.conversation_ref,
            organization: asked.organization.clone(),
            user: asked.user.id.clone(),
            is_stop: true,
        };
        self.adapter.cancel(&cancel, self.env).await?;
        self.adapter
            .cancel(&cancel, self.env)
            .await
            .context("cancelling twice")?;
        asked.resume = begun.resume;
        let heard = self.read(&asked, usize::MAX).await?;
        ensure!(!heard.draft.text.contains("w199"), "`w199` must not be in {heard:?}");
        ensure!(
            matches!(heard.last, Some(AgentEvent::Cancelled)),
            "expected a cancelled run, found {heard:?}"
        );
        Ok(())
    }

    async fn read(&self, request: &AgentRequest, n_texts: usize) -> Result<Heard> {
        self.read_from(request, n_texts, String::new()).await
    }

    /// Reads a run to its end, or until `n_texts` texts were received.
    async fn read_from(&self, request: &AgentRequest, n_texts: usize, text: String) -> Result<Heard> {
        let mut heard = Heard {
            draft: Draft {
                text,
                ..Draft::default()
            },
            ..Heard::default()
        };
        let mut run = self.adapter.run(request, Duration::ZERO, self.env);
        let reading = async {
            while let Some(event) = run.next().await {
                heard.take_event(event);
                // A cursor is sent after its text, if the protocol has cursors.
                let at_cursor = heard.resume.as_ref().is_some_and(|resume| resume.cursor.is_some());
                if heard.n_texts > n_texts || heard.n_texts == n_texts && at_cursor {
                    break;
                }
            }
        };
        if timeout(PATIENCE, reading).await.is_err() {
            bail!("the run has not ended: {heard:?}");
        }
        Ok(heard)
    }
}

impl Heard {
    fn take_event(&mut self, event: AgentEvent) {
        self.draft.apply(&event);
        match &event {
            AgentEvent::Started {
                run_ref,
                conversation_ref,
            } => {
                self.conversation_ref.clone_from(conversation_ref);
                self.resume = Some(Resume {
                    run_ref: run_ref.clone(),
                    cursor: None,
                });
            }
            AgentEvent::Cursor(cursor) => {
                if let Some(resume) = &mut self.resume {
                    resume.cursor = Some(cursor.clone());
                }
            }
            AgentEvent::TextDelta(_) | AgentEvent::TextSnapshot(_) => {
                self.n_texts += 1;
                if let Some(resume) = &mut self.resume {
                    resume.cursor = None;
                }
            }
            AgentEvent::InputRequired { .. } => self.asked = true,
            _ => {}
        }
        self.last = Some(event);
    }
}

fn request(session: &str, text: &str, conversation_ref: Option<String>) -> AgentRequest {
    AgentRequest {
        run: RunId::new(format!("run_{session}_{text}")),
        organization: OrganizationId::new("default"),
        agent: AskedAgent {
            id: AgentId::new("agt_1"),
            name: "agent".into(),
        },
        integration: AskedIntegration {
            id: IntegrationId::new("int_1"),
            name: "Help desk".into(),
        },
        session: AgentSession {
            id: SessionId::new(format!("ses_{session}")),
            number: 1,
            is_new: conversation_ref.is_none(),
            conversation_ref,
        },
        user: AgentUser {
            id: UserId::new("usr_1"),
            platform: "web".into(),
            external_id: "ann".into(),
            display_name: None,
            person: None,
            locale: Language::English,
        },
        chat: AgentChat {
            kind: ChatKind::Direct,
            id: "ann".into(),
            name: None,
            thread_id: None,
        },
        message: AgentMessage {
            id: MessageId::new(format!("msg_{session}_{text}")),
            redrives: 0,
            text: text.into(),
            answer: text.into(),
            parts: vec![],
            quoted: None,
        },
        reply: ReplyAddress {
            events_url: "https://tieline.example/api/runs/run_1/events".into(),
            token: Secret::new("rt_token"),
            expires_at: Timestamp::from_secs(1_790_003_600),
        },
        limits: ReplyLimits {
            max_text_bytes: 20_480,
            stream: true,
        },
        transcript: vec![],
        resume: None,
    }
}
