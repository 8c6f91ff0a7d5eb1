//! `coze`: bots of Coze, by its chat API v3.
//!
//! The server keeps the conversation, and runs one chat of it at a time: a question sent during a running chat waits. A stream can't be
//! joined again, but the chat continues without a listener, so the next process polls for its end.
//!
//! See [Coze API/Chat](https://www.coze.com/docs/developer_guides/chat_v3) and the vendor's pages in
//! [coze-dev/coze-sdk-gen](https://github.com/coze-dev/coze-sdk-gen/tree/main/docs/api-markdown).

mod attachments;
mod chat;
mod codes;
mod read;
mod wire;

use std::time::Duration;

use serde_json::{Map, Value};
use tieline_core::agent::{AgentFailure, AgentRequest, Resume};
use tieline_core::bilingual::Bilingual;
use url::Url;

use crate::api::{Api, document};
use crate::call::{Fault, Manner};
use crate::config::{self, Field, FieldKind, InvalidConfig};
use crate::env::Env;
use crate::manifest::{CancelRequest, Manifest};
use crate::run::{End, EventSink};
use crate::settings::Settings;

use chat::Run;
use wire::{Cancel, Chat, Envelope, LastError};

const API_KEY: Field = Field {
    required: true,
    help: Bilingual {
        en: "Personal access token or OAuth access token, with the permissions chat, cancelChat, getChat, listMessage and uploadFile.",
        zh: "个人访问令牌或 OAuth 访问令牌，需有 chat、cancelChat、getChat、listMessage 和 uploadFile 权限。",
    },
    ..config::API_KEY
};
const BASE_URL: Field = Field {
    help: Bilingual {
        en: "https://api.coze.cn or https://api.coze.com, wherever the bot is, or the address of your own Coze Studio.",
        zh: "https://api.coze.cn 或 https://api.coze.com，取决于智能体所在的站点；也可以是自建 Coze Studio 的地址。",
    },
    ..config::BASE_URL
};
const BOT_ID: Field = Field {
    name: "botId",
    kind: FieldKind::Text,
    required: true,
    secret: false,
    help: Bilingual {
        en: "Id of the bot, which must be published to the API channel.",
        zh: "智能体的 ID，须已发布到 API 渠道。",
    },
};
const CUSTOM_VARIABLES: Field = Field {
    name: "customVariables",
    kind: FieldKind::TextMap,
    required: false,
    secret: false,
    help: Bilingual {
        en: "Values of the variables in the bot's prompt. `{{displayName}}` and the other facts are filled in.",
        zh: "智能体提示词中各变量的值。其中的 `{{displayName}}` 等占位符会替换为实际信息。",
    },
};
const PARAMETERS: Field = Field {
    name: "parameters",
    kind: FieldKind::Object,
    required: false,
    secret: false,
    help: Bilingual {
        en: "Values of the start node of the bot's chatflow. `{{displayName}}` and the other facts are filled in.",
        zh: "智能体对话流开始节点的各项值。其中的 `{{displayName}}` 等占位符会替换为实际信息。",
    },
};

/// The protocol's manifest.
pub static MANIFEST: Manifest = Manifest {
    word: "coze",
    name: "Coze",
    fields: &[
        BASE_URL,
        API_KEY,
        BOT_ID,
        CUSTOM_VARIABLES,
        PARAMETERS,
        config::HEADERS,
        config::IDLE_TIMEOUT,
        config::MAX_RUN,
        config::IDENTITY,
    ],
    needs_transcript: false,
    wants_inline_images: true,
    can_resume: true,
};

/// A bot of Coze.
#[derive(Clone)]
pub(crate) struct Coze {
    api: Api,
    bot: String,
    custom_variables: Map<String, Value>,
    parameters: Map<String, Value>,
    idle: Duration,
}

impl Coze {
    pub(crate) fn read(settings: &Settings<'_>) -> Result<Self, InvalidConfig> {
        Ok(Self {
            api: Api::read(settings)?,
            bot: settings.text(&BOT_ID).to_owned(),
            custom_variables: settings.object(&CUSTOM_VARIABLES),
            parameters: settings.object(&PARAMETERS),
            idle: settings.seconds(&config::IDLE_TIMEOUT),
        })
    }

    /// Whether the chat's conversation is known.
    pub(crate) const fn can_resume(resume: &Resume) -> bool {
        resume.cursor.is_some()
    }

    pub(crate) async fn ask(
        &self,
        request: &AgentRequest,
        sink: &mut EventSink,
        env: &Env,
    ) -> Result<End, AgentFailure> {
        let mut run = Run::new(self, request, sink, env);
        match &request.resume {
            Some(resume) => run.resume(resume).await,
            None => run.ask().await,
        }
    }

    /// Cancels the chat. If no event came, its id is unknown and it can't be cancelled.
    pub(crate) async fn cancel(&self, cancel: &CancelRequest, env: &Env) -> Result<(), AgentFailure> {
        match (&cancel.conversation_ref, &cancel.run_ref) {
            (Some(conversation), Some(chat)) => self.cancel_chat(conversation, chat, env).await,
            _ => Ok(()),
        }
    }

    async fn cancel_chat(&self, conversation_id: &str, chat_id: &str, env: &Env) -> Result<(), AgentFailure> {
        let url = self.api.url(&["v3", "chat", "cancel"]);
        let body = Cancel {
            conversation_id,
            chat_id,
        };
        let told = match self.api.post(&url, &body, None, Manner::cancelling(), env).await {
            Ok(response) => document::<Envelope<Value>>(response, self.idle)
                .await?
                .error()
                .map(|(error, _)| error),
            Err(fault) => Some(refusal(&fault).ok_or(fault.failure)?),
        };
        match told {
            Some(error) if codes::is_unauthorized(error.code) || codes::is_passing(error.code) => {
                Err(codes::failure_of(&error, None))
            }
            // Any other status means that the chat has ended.
            _ => Ok(()),
        }
    }

    /// Fetches a chat that can't exist: tests URL and token, and costs nothing.
    pub(crate) async fn probe(&self, env: &Env) -> Result<(), AgentFailure> {
        let url = self.chat_url(&["retrieve"], "0", "0");
        let error = match self.api.get_once(&url, env).await {
            Ok(response) => {
                let answer: Envelope<Chat> = document(response, self.idle).await?;
                answer.error().map(|(error, _)| error)
            }
            Err(fault) => Some(refusal(&fault).ok_or(fault.failure)?),
        };
        match error {
            Some(error) if codes::is_unauthorized(error.code) || codes::is_passing(error.code) => {
                Err(codes::failure_of(&error, None))
            }
            _ => Ok(()),
        }
    }

    /// URL for a request about a chat.
    fn chat_url(&self, path: &[&str], conversation: &str, chat: &str) -> Url {
        let mut url = self.api.url(&[&["v3", "chat"], path].concat());
        url.query_pairs_mut()
            .append_pair("conversation_id", conversation)
            .append_pair("chat_id", chat);
        url
    }
}

/// The error in Coze's response, if it was Coze that responded: its own code counts, not the HTTP status.
fn refusal(fault: &Fault) -> Option<LastError> {
    let code = fault.error.code.as_deref()?.parse().ok()?;
    let msg = fault.error.message.clone().unwrap_or_default();
    Some(LastError { code, msg })
}
