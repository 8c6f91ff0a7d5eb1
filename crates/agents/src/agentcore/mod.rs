//! `agentcore`: agents in Amazon Bedrock AgentCore Runtime.
//!
//! AgentCore carries any JSON that the agent defines: a template says what is sent, a JSON pointer where the response has the text. A
//! session of ours is a runtime session with a derived id. An answer lives as long as its connection: a run can't be resumed, and the
//! only way to stop it, short of ending the session, is to close the connection.
//!
//! See [AgentCore API Reference/InvokeAgentRuntime](https://docs.aws.amazon.com/bedrock-agentcore/latest/APIReference/API_InvokeAgentRuntime.html).

mod payload;
mod read;
mod sign;

use std::time::Duration;

use aws_credential_types::Credentials;
use bytes::Bytes;
use reqwest::Response;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use serde_json::{Value, json};
use tieline_core::agent::{AgentEvent, AgentFailure, AgentRequest};
use tieline_core::bilingual::Bilingual;
use url::Url;

use crate::answer::{self, Answer, Events};
use crate::call::{self, Manner};
use crate::config::{self, Field, FieldKind, InvalidConfig};
use crate::env::Env;
use crate::manifest::{CancelRequest, Manifest, end_user};
use crate::run::{End, EventSink};
use crate::settings::{self, Settings};
use crate::{derived_id, failure};

use payload::Values;
use read::Reading;

const RUNTIME_ARN: Field = Field {
    name: "runtimeArn",
    kind: FieldKind::Text,
    required: true,
    secret: false,
    help: Bilingual {
        en: "ARN of the agent runtime: arn:aws:bedrock-agentcore:REGION:ACCOUNT:runtime/ID.",
        zh: "智能体运行时的 ARN：arn:aws:bedrock-agentcore:REGION:ACCOUNT:runtime/ID。",
    },
};
const QUALIFIER: Field = Field {
    name: "qualifier",
    kind: FieldKind::Text,
    required: false,
    secret: false,
    help: Bilingual {
        en: "Endpoint or version of the runtime; DEFAULT if absent.",
        zh: "运行时的端点或版本；不填则为 DEFAULT。",
    },
};
const PAYLOAD_TEMPLATE: Field = Field {
    name: "payloadTemplate",
    kind: FieldKind::Template,
    required: false,
    secret: false,
    help: Bilingual {
        en: "JSON that is sent; {\"prompt\":\"{{text}}\"} if absent. Placeholders: {{text}}, {{displayName}} and the other \
           facts; a string that is only {{files}} becomes the list of attachments.",
        zh: "发送的 JSON；不填则为 {\"prompt\":\"{{text}}\"}。可用占位符：{{text}}、{{displayName}} 等；内容仅为 {{files}} 的字符串会变成附件列表。",
    },
};
const TEXT_POINTER: Field = Field {
    name: "textPointer",
    kind: FieldKind::Text,
    required: false,
    secret: false,
    help: Bilingual {
        en: "JSON pointer to the text in each event, such as /delta/text. If absent, it is looked for where the usual frameworks have it.",
        zh: "各事件中文本的 JSON 指针，例如 /delta/text。不填则在常见框架放置文本的位置查找。",
    },
};
const AUTH: Field = Field {
    name: "auth",
    kind: FieldKind::Choice(&["sigv4", "bearer"]),
    required: false,
    secret: false,
    help: Bilingual {
        en: "How calls are authorized: signed with AWS credentials, or apiKey as a bearer token.",
        zh: "调用的鉴权方式：用 AWS 凭据签名，或以 apiKey 作为 Bearer 令牌。",
    },
};
const ACCESS_KEY_ID: Field = Field {
    name: "accessKeyId",
    kind: FieldKind::Text,
    required: false,
    secret: false,
    help: Bilingual {
        en: "AWS access key for sigv4. If absent, the bridge's own role signs.",
        zh: "sigv4 所用的 AWS 访问密钥。不填则由网桥自己的角色签名。",
    },
};
const SECRET_ACCESS_KEY: Field = Field {
    name: "secretAccessKey",
    kind: FieldKind::Text,
    required: false,
    secret: true,
    help: Bilingual {
        en: "The secret of accessKeyId.",
        zh: "accessKeyId 对应的密钥。",
    },
};
const BASE_URL: Field = Field {
    name: "baseUrl",
    kind: FieldKind::Address,
    required: false,
    secret: false,
    help: Bilingual {
        en: "Another address than that of the ARN's region, such as a VPC endpoint.",
        zh: "代替 ARN 所在区域的其他地址，例如 VPC 终端节点。",
    },
};
const STOP_ENDS_SESSION: Field = Field {
    name: "stopEndsSession",
    kind: FieldKind::Flag,
    required: false,
    secret: false,
    help: Bilingual {
        en: "Whether stopping an answer ends the runtime session, with all that the agent remembers in it.",
        zh: "停止回答时是否结束运行时会话；智能体在其中记住的内容会一并丢失。",
    },
};

/// The protocol's manifest.
pub static MANIFEST: Manifest = Manifest {
    word: "agentcore",
    name: "Amazon Bedrock AgentCore",
    fields: &[
        RUNTIME_ARN,
        QUALIFIER,
        AUTH,
        config::API_KEY,
        ACCESS_KEY_ID,
        SECRET_ACCESS_KEY,
        PAYLOAD_TEMPLATE,
        TEXT_POINTER,
        STOP_ENDS_SESSION,
        BASE_URL,
        config::IDLE_TIMEOUT,
        config::MAX_RUN,
        config::IDENTITY,
    ],
    needs_transcript: false,
    wants_inline_images: false,
    can_resume: false,
};

const SESSION_HEADER: &str = "x-amzn-bedrock-agentcore-runtime-session-id";
const USER_HEADER: &str = "x-amzn-bedrock-agentcore-runtime-user-id";

/// An agent runtime.
#[derive(Clone)]
pub(crate) struct AgentCore {
    invocations: Url,
    stop: Url,
    region: String,
    auth: Auth,
    template: Value,
    text_pointer: String,
    stop_ends_session: bool,
    idle: Duration,
}

#[derive(Clone)]
enum Auth {
    Bearer(HeaderValue),
    Signed(Credentials),
    /// Signed with the credentials of this process.
    SignedByProcess,
}

impl AgentCore {
    pub(crate) fn read(settings: &Settings<'_>) -> Result<Self, InvalidConfig> {
        let arn = settings.text(&RUNTIME_ARN);
        let (region, suffix) = region_of(arn).ok_or_else(|| {
            config::invalid(
                RUNTIME_ARN.name,
                "must be like arn:aws:bedrock-agentcore:REGION:ACCOUNT:runtime/ID",
            )
        })?;
        let base = match settings.text(&BASE_URL) {
            "" => Url::parse(&format!("https://bedrock-agentcore.{region}.{suffix}")),
            _ => Ok(settings.address(&BASE_URL)?),
        };
        let base = base.map_err(|_| config::invalid(RUNTIME_ARN.name, "has an invalid region"))?;
        let auth = auth(settings)?;
        if matches!(auth, Auth::SignedByProcess) && !is_of_the_service(&base, region, suffix) {
            let detail = "needs accessKeyId and secretAccessKey, or an endpoint of the service: the bridge's own credentials are sent nowhere else";
            return Err(config::invalid(BASE_URL.name, detail));
        }
        let qualifier = match settings.text(&QUALIFIER) {
            "" => "DEFAULT",
            qualifier => qualifier,
        };
        let text_pointer = settings.text(&TEXT_POINTER).to_owned();
        if !text_pointer.is_empty() && !text_pointer.starts_with('/') {
            return Err(config::invalid(TEXT_POINTER.name, "must begin with /"));
        }
        Ok(Self {
            invocations: operation(&base, arn, "invocations", qualifier),
            stop: operation(&base, arn, "stopruntimesession", qualifier),
            region: region.to_owned(),
            auth,
            template: settings
                .template(&PAYLOAD_TEMPLATE)
                .unwrap_or_else(payload::default_template),
            text_pointer,
            stop_ends_session: settings.flag(&STOP_ENDS_SESSION),
            idle: settings.seconds(&config::IDLE_TIMEOUT),
        })
    }

    pub(crate) async fn ask(
        &self,
        request: &AgentRequest,
        sink: &mut EventSink,
        env: &Env,
    ) -> Result<End, AgentFailure> {
        let session = session_id(request.organization.as_str(), request.session.id.as_str());
        let user = end_user(&request.organization, &request.user.id);
        // Emitted before the call: the session id is known already, and cancelling needs nothing else.
        sink.emit(AgentEvent::Started {
            run_ref: session.clone(),
            conversation_ref: Some(session.clone()),
        })
        .await?;
        let payload = Values::of(request, &self.template).fill(&self.template)?;
        let manner = Manner::asking(self.idle);
        let response = self
            .post(&self.invocations, &payload, &session, Some(&user), manner, env)
            .await?;
        let mut reading = Reading::new(&self.text_pointer);
        match answer::open(response, self.idle).await? {
            Answer::Json(body) => Ok(End::Completed {
                final_text: Some(reading.whole(&body)?),
            }),
            Answer::Events(events) => streamed(events, &mut reading, sink).await,
        }
    }

    /// Ends the session if a person has stopped the run and the settings say so. The run itself was stopped by closing the connection.
    pub(crate) async fn cancel(&self, cancel: &CancelRequest, env: &Env) -> Result<(), AgentFailure> {
        let Some(session) = cancel
            .run_ref
            .as_deref()
            .filter(|_| self.stop_ends_session && cancel.is_stop)
        else {
            return Ok(());
        };
        let token = derived_id::hex_digest(&["agentcore stop", session, cancel.run.as_str()]);
        let body = json!({ "clientToken": token });
        match self
            .post(&self.stop, &body, session, None, Manner::cancelling(), env)
            .await
        {
            Err(failure) if failure.code == "http_404" => Ok(()),
            sent => sent.map(|_| ()),
        }
    }

    /// Sends a short question and closes the connection at the first byte of the answer: the only way to test credentials, runtime and
    /// qualifier.
    pub(crate) async fn probe(&self, env: &Env) -> Result<(), AgentFailure> {
        let payload = Values::probe().fill(&self.template)?;
        let session = session_id("probe", &(env.now)().to_string());
        let manner = Manner::probing();
        let response = self
            .post(&self.invocations, &payload, &session, Some("probe"), manner, env)
            .await?;
        let mut reading = Reading::new(&self.text_pointer);
        match answer::open(response, self.idle).await? {
            Answer::Json(body) => reading.whole(&body).map(|_| ()),
            Answer::Events(mut events) => match events.next().await? {
                Some(event) => reading.event(&event.data).map(|_| ()),
                None => Err(failure::incomplete()),
            },
        }
    }

    async fn post(
        &self,
        url: &Url,
        body: &Value,
        session: &str,
        user: Option<&str>,
        manner: Manner,
        env: &Env,
    ) -> Result<Response, AgentFailure> {
        let body = Bytes::from(body.to_string());
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(ACCEPT, HeaderValue::from_static("text/event-stream, application/json"));
        for (name, value) in [(SESSION_HEADER, Some(session)), (USER_HEADER, user)] {
            if let Some(value) = value.and_then(|value| HeaderValue::from_str(value).ok()) {
                headers.insert(name, value);
            }
        }
        let credentials = match &self.auth {
            Auth::Bearer(token) => {
                headers.insert(AUTHORIZATION, token.clone());
                None
            }
            Auth::Signed(credentials) => Some(credentials.clone()),
            Auth::SignedByProcess => Some(sign::process_credentials(env).await?),
        };
        let make = || {
            let request = env.http.post(url.clone()).headers(headers.clone()).body(body.clone());
            // Signed for each attempt: a signature is valid for a few minutes.
            let signature = credentials.as_ref().map(|credentials| {
                let now = (env.now)();
                sign::headers(credentials, &self.region, url, &headers, &body, now).unwrap_or_default()
            });
            request.headers(signature.unwrap_or_default())
        };
        call::send(make, manner, env).await
    }
}

/// Reads a streamed answer. AgentCore closes the stream after the last event; nothing else marks the end.
async fn streamed(mut events: Box<Events>, reading: &mut Reading, sink: &mut EventSink) -> Result<End, AgentFailure> {
    while let Some(event) = events.next().await? {
        if let Some(event) = reading.event(&event.data)? {
            sink.emit(event).await?;
        }
    }
    Ok(End::Completed { final_text: None })
}

fn auth(settings: &Settings<'_>) -> Result<Auth, InvalidConfig> {
    let (key, secret) = (settings.text(&ACCESS_KEY_ID), settings.text(&SECRET_ACCESS_KEY));
    match (settings.choice(&AUTH), settings.text(&config::API_KEY), key, secret) {
        ("bearer", "", ..) => Err(config::invalid(config::API_KEY.name, "is required when auth is bearer")),
        ("bearer", token, ..) => {
            let token = settings::sensitive(&format!("Bearer {token}"));
            let token = token.map_err(|_| config::invalid(config::API_KEY.name, "can't be sent as a header"))?;
            Ok(Auth::Bearer(token))
        }
        (_, _, "", "") => Ok(Auth::SignedByProcess),
        (_, _, "", _) => Err(config::invalid(ACCESS_KEY_ID.name, "is required with secretAccessKey")),
        (_, _, _, "") => Err(config::invalid(SECRET_ACCESS_KEY.name, "is required with accessKeyId")),
        _ => Ok(Auth::Signed(Credentials::new(key, secret, None, None, "settings"))),
    }
}

/// Whether an address is the service's in the region, public or of a VPC. Other hosts of AWS may be anybody's.
fn is_of_the_service(url: &Url, region: &str, suffix: &str) -> bool {
    let host = url.host_str().unwrap_or_default();
    let is_of_vpc = || host.ends_with(&format!(".bedrock-agentcore.{region}.vpce.{suffix}"));
    url.scheme() == "https" && (host == format!("bedrock-agentcore.{region}.{suffix}") || is_of_vpc())
}

/// The region in an ARN, and the domain of its partition.
fn region_of(arn: &str) -> Option<(&str, &'static str)> {
    let parts: Vec<&str> = arn.splitn(6, ':').collect();
    let ["arn", partition, "bedrock-agentcore", region, account, resource] = parts.as_slice() else {
        return None;
    };
    let is_region = !region.is_empty()
        && region
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    let id = resource.strip_prefix("runtime/")?;
    let is_id = !id.is_empty()
        && id
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '/' | ':'));
    let is_account = account.len() == 12 && account.chars().all(|c| c.is_ascii_digit());
    let suffix = match *partition {
        "aws" | "aws-us-gov" => "amazonaws.com",
        "aws-cn" => "amazonaws.com.cn",
        _ => return None,
    };
    (is_region && is_id && is_account).then_some((region, suffix))
}

/// URL of an operation. The ARN is one segment of the path, so its separators are escaped.
fn operation(base: &Url, arn: &str, name: &str, qualifier: &str) -> Url {
    let mut url = base.clone();
    let arn = arn.replace(':', "%3A").replace('/', "%2F");
    let below = url.path().trim_end_matches('/').to_owned();
    url.set_path(&format!("{below}/runtimes/{arn}/{name}"));
    url.query_pairs_mut().append_pair("qualifier", qualifier);
    url
}

/// The runtime session id of a session: derived, so that every process gets the same one; 33 to 256 characters.
fn session_id(organization: &str, session: &str) -> String {
    format!(
        "tl-{}",
        derived_id::hex_digest(&["agentcore session", organization, session])
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn region_is_read_from_the_arn() {
        let arn = "arn:aws:bedrock-agentcore:us-west-2:123456789012:runtime/my_agent-a1B2";
        assert_eq!(region_of(arn), Some(("us-west-2", "amazonaws.com")));
        assert_eq!(
            region_of(&arn.replace("arn:aws:", "arn:aws-cn:")),
            Some(("us-west-2", "amazonaws.com.cn"))
        );
        for wrong in [
            "",
            "my_agent",
            "arn:aws:lambda:us-west-2:123456789012:function:x",
            "arn:aws:bedrock-agentcore:us-west-2:123456789012:memory/x",
            "arn:aws:bedrock-agentcore:evil.example/x:123456789012:runtime/x",
            "arn:aws:bedrock-agentcore:us-west-2:1:runtime/x",
        ] {
            assert_eq!(region_of(wrong), None, "{wrong}");
        }
        let base = Url::parse("https://vpce.example/x/").unwrap();
        let expected = "https://vpce.example/x/runtimes/arn%3Aaws%3Abedrock-agentcore%3Aus-west-2%3A123456789012%3Aruntime%2Fmy_agent-a1B2/invocations?qualifier=DEFAULT";
        assert_eq!(operation(&base, arn, "invocations", "DEFAULT").as_str(), expected);
    }
}
