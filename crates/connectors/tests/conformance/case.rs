//! Format of a vector, and values of its placeholders.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;
use tieline_core::account::{Account, ConnectionMode, Credentials, Endpoints};
use tieline_core::card::Button;
use tieline_core::connector::{Connector, Context, Unaddressed};
use tieline_core::event::{Chat, ChatKind};
use tieline_core::http_types::{ApiAnswer, SocketCall, WebhookRequest};
use tieline_core::ids::{
    ChatId, IdMint, IntegrationId, OrganizationId, PlatformMessageId, ReplyId, SenderId, ThreadId,
};
use tieline_core::notice::{Language, Notice};
use tieline_core::reply::{DesiredReply, Progress, Pulled, ReplyFile, ReplyHandle, ReplyTarget, ReplyView, Stage};
use tieline_core::stream::{Frame, SocketAddress};
use tieline_core::timestamp::Timestamp;

/// One vector. The file's kind decides which fields are used; a field unknown to every kind is an error.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Case {
    pub name: String,
    /// Source of the facts: a page of the vendor, a capture.
    #[serde(rename = "source")]
    _source: String,
    pub now: Timestamp,
    pub account: AccountCase,
    /// 32 bytes in hex; all 7 if absent.
    pub random: Option<String>,
    pub welcome: Option<String>,
    /// What happens to messages that don't address the bot: `kept` or `answered`; ignored if absent.
    pub unaddressed: Option<String>,
    /// receive: the request from the platform.
    pub request: Option<RequestCase>,
    /// receive: the reply record that the bridge has for `Answer::Polled`.
    pub reply: Option<ReplyCase>,
    /// compose, classify: the desired state of the chat. A step may change parts of it.
    #[serde(default)]
    pub wanted: Value,
    pub target: Option<TargetCase>,
    /// classify: rows of responses to the call that `deliver` makes. compose, stream: the steps, in order.
    #[serde(default)]
    pub steps: Vec<StepCase>,
    /// stream: the URL of the socket.
    pub address: Option<AddressCase>,
    #[serde(default)]
    pub expect: Value,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct AccountCase {
    mode: ConnectionMode,
    #[serde(default)]
    credentials: BTreeMap<String, String>,
    #[serde(default)]
    endpoints: Endpoints,
    language: Option<Language>,
    streaming: Option<bool>,
    #[serde(default)]
    allow_private: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct RequestCase {
    method: Option<String>,
    #[serde(default)]
    query: String,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    /// A string is sent unchanged, anything else as JSON.
    #[serde(default)]
    body: Value,
    /// A binary body.
    body_hex: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ReplyCase {
    stage: Stage,
    #[serde(default)]
    text: Text,
    #[serde(default)]
    reasoning: String,
    notice: Option<Notice>,
    #[serde(default)]
    files: Vec<ReplyFile>,
    #[serde(default)]
    version: u64,
    asker: String,
    received_at: Timestamp,
    link: Option<String>,
    closed: Option<Progress>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WantedCase {
    reply: Option<String>,
    stage: Stage,
    #[serde(default)]
    text: Text,
    #[serde(default)]
    reasoning: String,
    notice: Option<Notice>,
    #[serde(default)]
    files: Vec<ReplyFile>,
    #[serde(default)]
    n_native_files: usize,
    #[serde(default)]
    buttons: Vec<Button>,
    link: Option<String>,
    #[serde(default)]
    proactive: bool,
    #[serde(default)]
    plain: bool,
    pulled: Option<PulledCase>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct PulledCase {
    received_at: Timestamp,
    closed: Option<Progress>,
}

/// Literal text, or a short text repeated many times.
#[derive(Deserialize)]
#[serde(untagged)]
enum Text {
    Plain(String),
    Repeated { repeat: String, times: usize },
}

impl Default for Text {
    fn default() -> Self {
        Self::Plain(String::new())
    }
}

impl Text {
    fn into_string(self) -> String {
        match self {
            Self::Plain(text) => text,
            Self::Repeated { repeat, times } => repeat.repeat(times),
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct TargetCase {
    chat: ChatCase,
    asker: String,
    message: String,
    #[serde(default)]
    handle: Value,
    expires_at: Option<Timestamp>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ChatCase {
    kind: ChatKind,
    id: String,
    thread: Option<String>,
}

/// One step of a compose, classify or stream vector.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct StepCase {
    pub now: Option<Timestamp>,
    /// compose: fields of `wanted` that change here, for this and later steps.
    #[serde(default)]
    pub wanted: Value,
    /// compose, classify: the platform's response to the call.
    pub answer: Option<AnswerCase>,
    /// compose, classify: the verdict of `classify`.
    pub verdict: Option<Value>,
    /// stream: the socket opens.
    #[serde(default)]
    pub open: bool,
    /// stream: a frame arrives.
    pub frame: Option<FrameCase>,
    /// stream: a Pong frame arrives.
    #[serde(default)]
    pub pong: bool,
    /// stream: the time of `wake_at` is reached.
    #[serde(default)]
    pub time: bool,
    /// stream: the events of this token are stored in the queue.
    pub stored: Option<u64>,
    /// stream: a runner sends a call.
    pub call: Option<CallCase>,
    /// stream: the response to a long poll's call.
    pub fetched: Option<AnswerCase>,
    /// stream: the platform closes the socket with this code.
    pub closed: Option<u16>,
    /// stream: we are about to close the connection.
    #[serde(default)]
    pub close: bool,
    /// stream: the time at which the session wants to be woken after this step.
    pub wake_at: Option<Timestamp>,
    /// compose: the step of `deliver`. stream: the effects.
    #[serde(default)]
    pub expect: Value,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct CallCase {
    pub id: String,
    name: String,
    lane: String,
    frame: Value,
    #[serde(default)]
    replaceable: bool,
    expires_at: Timestamp,
}

/// A string is `"not_sent"` or `"unknown"`.
#[derive(Deserialize)]
#[serde(untagged)]
pub(crate) enum AnswerCase {
    Answered(AnsweredCase),
    Lost(LostCase),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct AnsweredCase {
    status: Option<u16>,
    retry_after_s: Option<u64>,
    /// A string is the body itself, anything else is JSON.
    #[serde(default)]
    body: Value,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum LostCase {
    NotSent,
    Unknown,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) enum FrameCase {
    Text(String),
    Json(Value),
    Hex(String),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct AddressCase {
    url: String,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    note: String,
}

impl AccountCase {
    pub(crate) fn build(&self, connector: &dyn Connector) -> Result<Account, String> {
        let credentials: Credentials = self.credentials.clone().into_iter().collect();
        let prepared = connector
            .prepare(self.mode, &credentials, &self.endpoints)
            .map_err(|error| format!("account can't be prepared: {error}"))?;
        Ok(Account {
            integration: IntegrationId::new("int_1"),
            organization: OrganizationId::new("default"),
            mode: self.mode,
            credentials,
            prepared,
            endpoints: self.endpoints.clone(),
            language: self.language.unwrap_or_default(),
            streaming: self.streaming.unwrap_or(true),
            thinking: tieline_core::thinking_display::ThinkingDisplay::default(),
            ids: IdMint::new(&[7; 32]),
            allow_private: self.allow_private,
        })
    }
}

impl Case {
    fn unaddressed(&self) -> Unaddressed {
        match self.unaddressed.as_deref() {
            None => Unaddressed::Ignored,
            Some("kept") => Unaddressed::Kept,
            Some("answered") => Unaddressed::Answered,
            Some(other) => panic!("`unaddressed` can't be {other}"),
        }
    }

    pub(crate) fn context<'a>(&'a self, account: &'a Account, now: Option<Timestamp>) -> Context<'a> {
        let mut random = [7; 32];
        if let Some(hex) = &self.random {
            hex::decode_to_slice(hex, &mut random).expect("`random` is 32 bytes in hex");
        }
        Context {
            account,
            now: now.unwrap_or(self.now),
            random,
            welcome: self.welcome.as_deref(),
            unaddressed: self.unaddressed(),
        }
    }
}

impl RequestCase {
    pub(crate) fn build(&self) -> WebhookRequest {
        let body = match &self.body_hex {
            Some(hex) => hex::decode(hex).expect("`bodyHex` is hex"),
            None => bytes(&self.body),
        };
        WebhookRequest {
            method: self.method.clone().unwrap_or_else(|| "POST".into()),
            query: self.query.clone(),
            headers: self.headers.clone().into_iter().collect(),
            body,
        }
    }
}

fn bytes(body: &Value) -> Vec<u8> {
    match body {
        Value::Null => Vec::new(),
        Value::String(text) => text.clone().into_bytes(),
        json => json.to_string().into_bytes(),
    }
}

impl ReplyCase {
    pub(crate) fn build(self) -> ReplyView {
        ReplyView {
            stage: self.stage,
            text: self.text.into_string(),
            reasoning: self.reasoning,
            notice: self.notice,
            reference: None,
            files: self.files,
            version: self.version,
            asker: SenderId::new(self.asker),
            received_at: self.received_at,
            rest_follows: true,
            link: self.link,
            closed: self.closed,
        }
    }
}

/// Owned data that a [`DesiredReply`] borrows.
pub(crate) struct WantedOwned {
    reply: ReplyId,
    case: WantedCase,
    text: String,
}

impl WantedOwned {
    /// Without `reply`, the reply's id is the one that the account derives from the target's message.
    pub(crate) fn new(wanted: &Value, target: &ReplyTarget, account: &Account) -> Result<Self, String> {
        let mut case = WantedCase::deserialize(wanted).map_err(|error| format!("wanted: {error}"))?;
        let reply = case.reply.take();
        let reply = reply.map_or_else(|| account.ids.reply(&target.message), ReplyId::new);
        let text = std::mem::take(&mut case.text).into_string();
        Ok(Self { reply, case, text })
    }

    pub(crate) fn view(&self) -> DesiredReply<'_> {
        DesiredReply {
            reply: &self.reply,
            stage: self.case.stage,
            text: &self.text,
            reasoning: &self.case.reasoning,
            notice: self.case.notice,
            reference: None,
            files: &self.case.files,
            n_native_files: self.case.n_native_files,
            buttons: &self.case.buttons,
            link: self.case.link.as_deref(),
            proactive: self.case.proactive,
            plain: self.case.plain,
            pulled: self.case.pulled.as_ref().map(|pulled| Pulled {
                received_at: pulled.received_at,
                closed: pulled.closed.as_ref(),
            }),
        }
    }
}

impl TargetCase {
    pub(crate) fn build(&self, account: &Account) -> ReplyTarget {
        ReplyTarget {
            integration: account.integration.clone(),
            chat: Chat {
                kind: self.chat.kind,
                id: ChatId::new(self.chat.id.clone()),
                thread: self.chat.thread.clone().map(ThreadId::new),
            },
            asker: SenderId::new(self.asker.clone()),
            message: PlatformMessageId::new(self.message.clone()),
            handle: ReplyHandle::new(self.handle.clone()),
            expires_at: self.expires_at,
        }
    }
}

impl CallCase {
    pub(crate) fn build(&self) -> SocketCall {
        SocketCall {
            name: self.name.clone(),
            lane: self.lane.clone(),
            frame: self.frame.clone(),
            replaceable: self.replaceable,
            expires_at: self.expires_at,
        }
    }
}

impl AnswerCase {
    pub(crate) fn build(&self) -> ApiAnswer {
        match self {
            Self::Answered(answer) => ApiAnswer::Answered {
                status: answer.status.unwrap_or(200),
                retry_after_s: answer.retry_after_s,
                body: bytes(&answer.body),
            },
            Self::Lost(LostCase::NotSent) => ApiAnswer::NotSent,
            Self::Lost(LostCase::Unknown) => ApiAnswer::Unknown,
        }
    }
}

impl FrameCase {
    pub(crate) fn build(&self) -> Frame {
        match self {
            Self::Text(text) => Frame::Text(text.clone()),
            Self::Json(json) => Frame::Text(json.to_string()),
            Self::Hex(hex) => Frame::Binary(hex::decode(hex).expect("`hex` is hex")),
        }
    }
}

impl AddressCase {
    pub(crate) fn build(&self) -> SocketAddress {
        SocketAddress {
            url: self.url.clone(),
            headers: self.headers.clone().into_iter().collect(),
            note: self.note.clone(),
        }
    }
}
