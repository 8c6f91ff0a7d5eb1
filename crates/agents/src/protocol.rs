//! All agent protocols, behind one interface.

use std::fmt;
use std::time::Duration;

use serde_json::Value;
use tieline_core::agent::{AgentConfig, AgentFailure, AgentRequest, Resume};
use tieline_core::ids::{OrganizationId, UserId};
use tieline_core::notice::Language;
use tieline_core::outbound_url;
use tieline_core::secret::Secret;
use tokio::time::timeout;

use crate::a2a::A2a;
use crate::agentcore::AgentCore;
use crate::call::PROBE_PATIENCE;
use crate::config::{self, InvalidConfig, UnknownProtocol};
use crate::coze::Coze;
use crate::dify::Dify;
use crate::echo::Echo;
use crate::env::Env;
use crate::facts;
use crate::failure;
use crate::langgraph::Langgraph;
use crate::manifest::end_user;
use crate::openai_chat::OpenaiChat;
use crate::openai_responses::OpenaiResponses;
use crate::run::{End, EventSink, Run, redact, without_question};
use crate::settings::Settings;
use crate::webhook::Webhook;
use crate::xpert::Xpert;

pub use crate::manifest::{CancelRequest, History, Manifest};

/// Most mistakes in an agent's settings that are reported.
const MAX_MISTAKES: usize = 100;

/// Length of a speaker's alias: enough to tell the people of one chat apart.
const ALIAS_CHARS: usize = 12;

/// An agent protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// Bots of Coze.
    Coze,
    /// Chat apps of Dify.
    Dify,
    /// Agent2Agent.
    A2a,
    /// Amazon Bedrock AgentCore Runtime.
    AgentCore,
    /// Threads of Xpert AI.
    Xpert,
    /// Answers with the text it was given.
    Echo,
    /// Runs of a LangGraph Agent Server.
    Langgraph,
    /// Chat Completions.
    OpenaiChat,
    /// The Responses API.
    OpenaiResponses,
    /// Our own contract.
    Webhook,
}

impl Protocol {
    /// All of them.
    pub const ALL: &'static [Self] = &[
        Self::Echo,
        Self::OpenaiChat,
        Self::OpenaiResponses,
        Self::Dify,
        Self::Langgraph,
        Self::Xpert,
        Self::AgentCore,
        Self::A2a,
        Self::Coze,
        Self::Webhook,
    ];

    /// Returns the protocol of this word.
    #[must_use]
    pub fn named(word: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .copied()
            .find(|protocol| protocol.manifest().word == word)
    }

    fn unknown(word: &str) -> InvalidConfig {
        let known = Self::ALL.iter().map(|protocol| protocol.manifest().word);
        InvalidConfig::UnknownProtocol(UnknownProtocol {
            word: word.to_owned(),
            known: known.collect(),
        })
    }

    /// The protocol's manifest.
    #[must_use]
    pub const fn manifest(self) -> &'static Manifest {
        match self {
            Self::Coze => &crate::coze::MANIFEST,
            Self::Dify => &crate::dify::MANIFEST,
            Self::A2a => &crate::a2a::MANIFEST,
            Self::AgentCore => &crate::agentcore::MANIFEST,
            Self::Xpert => &crate::xpert::MANIFEST,
            Self::Echo => &crate::echo::MANIFEST,
            Self::Langgraph => &crate::langgraph::MANIFEST,
            Self::OpenaiChat => &crate::openai_chat::MANIFEST,
            Self::OpenaiResponses => &crate::openai_responses::MANIFEST,
            Self::Webhook => &crate::webhook::MANIFEST,
        }
    }

    /// Validates and parses an agent's settings.
    ///
    /// Doesn't check whether private addresses or plain HTTP are allowed; that is up to the caller: see [`Adapter::addresses`].
    ///
    /// # Errors
    /// [`InvalidConfig`] with the name of the invalid field.
    pub fn parse(word: &str, config: &AgentConfig) -> Result<Adapter, InvalidConfig> {
        let protocol = Self::named(word).ok_or_else(|| Self::unknown(word))?;
        let settings = Settings::check(protocol.manifest().fields, config)?;
        Ok(Adapter {
            protocol,
            max_run: settings.seconds(&config::MAX_RUN),
            is_pseudonymous: settings.choice(&config::IDENTITY) == "pseudonym",
            addresses: settings.addresses(),
            secrets: settings.secrets(),
            wire: match protocol {
                Self::Coze => Wire::Coze(Coze::read(&settings)?),
                Self::Dify => Wire::Dify(Dify::read(&settings)?),
                Self::A2a => Wire::A2a(A2a::read(&settings)?),
                Self::AgentCore => Wire::AgentCore(AgentCore::read(&settings)?),
                Self::Xpert => Wire::Xpert(Xpert::read(&settings)?),
                Self::Echo => Wire::Echo(Echo::read(&settings)),
                Self::Langgraph => Wire::Langgraph(Langgraph::read(&settings)?),
                Self::OpenaiChat => Wire::OpenaiChat(OpenaiChat::read(&settings)?),
                Self::OpenaiResponses => Wire::OpenaiResponses(OpenaiResponses::read(&settings)?),
                Self::Webhook => Wire::Webhook(Webhook::read(&settings)?),
            },
        })
    }

    /// Like [`Self::parse`], but reports everything that is wrong, up to 100 mistakes.
    ///
    /// # Errors
    /// [`InvalidConfig`]s, at least one.
    pub fn parse_all(word: &str, config: &AgentConfig) -> Result<Adapter, Vec<InvalidConfig>> {
        Self::parse(word, config).map_err(|first| {
            let fields = Self::named(word).map(|protocol| protocol.manifest().fields);
            let fields = fields.into_iter();
            let mistakes = fields.flat_map(|fields| Settings::mistakes_in(fields, config));
            let mistakes: Vec<_> = mistakes.take(MAX_MISTAKES).collect();
            // Those that only the protocol itself finds are found one at a time.
            if mistakes.is_empty() { vec![first] } else { mistakes }
        })
    }

    /// Names of the fields whose values are masked in every API response. A value may be a text, a list or an object.
    pub fn secret_fields(self) -> impl Iterator<Item = &'static str> {
        self.manifest()
            .fields
            .iter()
            .filter(|field| field.secret)
            .map(|field| field.name)
    }

    /// The JSON Schema of `config`, described in `language`.
    #[must_use]
    pub fn schema(self, language: Language) -> Value {
        config::schema(self.manifest().fields, language)
    }
}

/// An agent with validated settings. `Debug` prints only its protocol.
#[derive(Clone)]
pub struct Adapter {
    protocol: Protocol,
    max_run: Duration,
    is_pseudonymous: bool,
    addresses: Vec<String>,
    secrets: Vec<Secret>,
    wire: Wire,
}

#[derive(Clone)]
enum Wire {
    Coze(Coze),
    Dify(Dify),
    A2a(A2a),
    AgentCore(AgentCore),
    Xpert(Xpert),
    Echo(Echo),
    Langgraph(Langgraph),
    OpenaiChat(OpenaiChat),
    OpenaiResponses(OpenaiResponses),
    Webhook(Webhook),
}

impl fmt::Debug for Adapter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Adapter({:?})", self.protocol)
    }
}

impl Adapter {
    /// The protocol.
    #[must_use]
    pub const fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// The protocol's manifest.
    #[must_use]
    pub const fn manifest(&self) -> &'static Manifest {
        self.protocol.manifest()
    }

    /// Every URL in the settings, as written, for the SSRF guard's rule on private addresses.
    pub fn addresses(&self) -> impl Iterator<Item = &str> {
        self.addresses.iter().map(String::as_str)
    }

    /// How much of a session's history it can use.
    #[must_use]
    pub fn history(&self) -> History {
        match &self.wire {
            Wire::OpenaiChat(chat) => chat.history(),
            _ => History::default(),
        }
    }

    /// Time limit of a run.
    #[must_use]
    pub const fn max_run(&self) -> Duration {
        self.max_run
    }

    /// Alias of a speaker for an agent that must not learn names: the beginning of the `userId` that it gets. `None` for an agent that may
    /// learn them.
    #[must_use]
    pub fn speaker_alias(&self, organization: &OrganizationId, user: &UserId) -> Option<String> {
        let digest = self.is_pseudonymous.then(|| end_user(organization, user))?;
        Some(digest.chars().take(ALIAS_CHARS).collect())
    }

    /// Whether another process can continue reading the run that `resume` identifies. Depends on settings and kind of agent.
    #[must_use]
    pub const fn can_resume(&self, resume: &Resume) -> bool {
        match &self.wire {
            Wire::Coze(_) => Coze::can_resume(resume),
            Wire::Dify(_) => Dify::can_resume(resume),
            Wire::A2a(_) | Wire::Langgraph(_) | Wire::Xpert(_) => true,
            Wire::AgentCore(_) | Wire::Echo(_) | Wire::OpenaiChat(_) | Wire::Webhook(_) => false,
            Wire::OpenaiResponses(responses) => responses.can_resume(),
        }
    }

    /// Asks the agent. `ran_for` is the time that earlier processes spent on this run.
    pub fn run<'a>(&'a self, request: &'a AgentRequest, ran_for: Duration, env: &'a Env) -> Run<'a> {
        Run::new(env.memory.clone(), move |mut sink| async move {
            let disguised = self.is_pseudonymous.then(|| facts::pseudonymous(request));
            let request = disguised.as_ref().unwrap_or(request);
            let time_left = self.max_run.saturating_sub(ran_for);
            let ended = timeout(time_left, self.ask(request, &mut sink, env)).await;
            let ended = ended.unwrap_or_else(|_| Err(failure::max_run(self.max_run)));
            // An agent may have got the person's words alone. They are a part of the text, which is therefore removed first.
            let question = [&request.message.text, &request.message.answer];
            let ended = ended.map_err(|failure| {
                question
                    .into_iter()
                    .fold(failure, |it, text| without_question(it, text))
            });
            sink.last_event(ended, &self.secrets)
        })
    }

    /// SSRF guard for literal addresses: they were checked when they were saved, but perhaps by another rule.
    fn may_be_called(&self, env: &Env) -> Result<(), AgentFailure> {
        let refused = self
            .addresses()
            .find_map(|it| outbound_url::check(it, &env.allow_private).err());
        refused.map_or(Ok(()), |error| {
            Err(failure::new(
                failure::CONNECT,
                format!("the agent's address can't be called: {error}"),
                false,
            ))
        })
    }

    async fn ask(&self, request: &AgentRequest, sink: &mut EventSink, env: &Env) -> Result<End, AgentFailure> {
        self.may_be_called(env)?;
        match &self.wire {
            Wire::Coze(coze) => coze.ask(request, sink, env).await,
            Wire::Dify(dify) => dify.ask(request, sink, env).await,
            Wire::Echo(echo) => echo.ask(request, sink).await,
            Wire::A2a(agent) => agent.ask(request, sink, env).await,
            Wire::AgentCore(runtime) => runtime.ask(request, sink, env).await,
            Wire::Xpert(server) => server.ask(request, sink, env).await,
            Wire::Langgraph(server) => server.ask(request, sink, env).await,
            Wire::OpenaiChat(chat) => chat.ask(request, sink, env).await,
            Wire::OpenaiResponses(responses) => responses.ask(request, sink, env).await,
            Wire::Webhook(webhook) => webhook.ask(request, sink, env).await,
        }
    }

    /// Cancels a run at the agent. Drop the run first: for most protocols that is all.
    ///
    /// # Errors
    /// [`AgentFailure`] if the call fails.
    pub async fn cancel(&self, cancel: &CancelRequest, env: &Env) -> Result<(), AgentFailure> {
        self.may_be_called(env)?;
        let told = match &self.wire {
            Wire::Coze(coze) => coze.cancel(cancel, env).await,
            Wire::Dify(dify) => dify.cancel(cancel, env).await,
            // Closing the connection has stopped it.
            Wire::Echo(_) | Wire::OpenaiChat(_) => Ok(()),
            Wire::OpenaiResponses(responses) => responses.cancel(cancel, env).await,
            Wire::A2a(agent) => agent.cancel(cancel, env).await,
            Wire::AgentCore(runtime) => runtime.cancel(cancel, env).await,
            Wire::Xpert(server) => server.cancel(cancel, env).await,
            Wire::Langgraph(server) => server.cancel(cancel, env).await,
            Wire::Webhook(webhook) => webhook.cancel(cancel, env).await,
        };
        told.map_err(|failure| redact(failure, &self.secrets))
    }

    /// Probes the agent once, within 20 s.
    ///
    /// # Errors
    /// [`AgentFailure`] that says what is wrong, for the operator. It may quote the agent, which was sent no person's text.
    pub async fn probe(&self, env: &Env) -> Result<(), AgentFailure> {
        let probe = async {
            self.may_be_called(env)?;
            match &self.wire {
                Wire::Coze(coze) => coze.probe(env).await,
                Wire::Dify(dify) => dify.probe(env).await,
                Wire::Echo(_) => Ok(()),
                Wire::A2a(agent) => agent.probe(env).await,
                Wire::AgentCore(runtime) => runtime.probe(env).await,
                Wire::Xpert(server) => server.probe(env).await,
                Wire::Langgraph(server) => server.probe(env).await,
                Wire::OpenaiChat(chat) => chat.probe(env).await,
                Wire::OpenaiResponses(responses) => responses.probe(env).await,
                Wire::Webhook(webhook) => webhook.probe(env).await,
            }
        };
        let probed = timeout(PROBE_PATIENCE, probe).await;
        probed
            .unwrap_or_else(|_| Err(failure::idle_timeout(PROBE_PATIENCE)))
            .map_err(|failure| redact(failure, &self.secrets))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parse(word: &str, config: Value) -> Result<Adapter, InvalidConfig> {
        Protocol::parse(word, &AgentConfig::new(config.as_object().unwrap().clone()))
    }

    #[test]
    fn every_protocol_is_found_by_its_word() {
        for protocol in Protocol::ALL {
            assert_eq!(Protocol::named(protocol.manifest().word), Some(*protocol));
        }
    }

    /// A file of settings is filled in before its protocols are known.
    #[test]
    fn field_is_typed_in_every_protocol_or_in_none() {
        let fields = || Protocol::ALL.iter().flat_map(|protocol| protocol.manifest().fields);
        for field in fields() {
            let mut same = fields().filter(|other| other.name == field.name);
            assert!(
                same.all(|other| other.kind.is_typed() == field.kind.is_typed()),
                "{}",
                field.name
            );
        }
    }

    #[test]
    fn unknown_protocol_lists_the_known_ones() {
        let message = parse("ECHO", json!({})).unwrap_err().to_string();
        assert!(
            message.starts_with("unknown protocol `ECHO`; known protocols: echo, openai_chat, "),
            "{message}"
        );
        assert!(message.ends_with("webhook"), "{message}");
    }

    #[test]
    fn addresses_and_secret_fields_are_reported() {
        let chat = parse("openai_chat", json!({"baseUrl": "https://a.example/v1", "model": "m"})).unwrap();
        assert_eq!(chat.addresses().collect::<Vec<_>>(), ["https://a.example/v1"]);
        assert_eq!(
            Protocol::OpenaiChat.secret_fields().collect::<Vec<_>>(),
            ["apiKey", "headers"]
        );
        assert_eq!(
            Protocol::Webhook.secret_fields().collect::<Vec<_>>(),
            ["secret", "headers"]
        );
    }

    #[test]
    fn history_is_as_long_as_the_window() {
        let config =
            json!({"baseUrl": "https://a.example/v1", "model": "m", "historyMessages": 7, "historyTokens": 100});
        let history = parse("openai_chat", config).unwrap().history();
        assert_eq!((history.max_turns, history.max_bytes), (3, 1200));
        let none = json!({"baseUrl": "https://a.example/v1", "model": "m", "historyMessages": 0});
        assert_eq!(parse("openai_chat", none).unwrap().history().max_turns, 0);
        assert_eq!(parse("echo", json!({})).unwrap().history(), History::default());
    }

    #[test]
    fn debug_output_contains_no_secret() {
        let chat = json!({"baseUrl": "https://a.example/v1?key=s3cret", "apiKey": "s3cret", "headers": {"x-key": "s3cret"}, "model": "m"});
        let hook = json!({"url": "https://a.example?key=s3cret", "secret": ["s3cret"], "headers": {"x-key": "s3cret"}});
        for (word, config) in [("openai_chat", chat), ("webhook", hook)] {
            let printed = format!("{:?}", parse(word, config).unwrap());
            assert!(!printed.contains("s3cret"), "{printed}");
        }
    }
}
