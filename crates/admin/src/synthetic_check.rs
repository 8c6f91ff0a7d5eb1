//! Synthetic check (canary): an end-to-end message that takes the same path as a person's and must be answered.
//!
//! It is sent to the address that platforms call, and its answer is polled at the public address, so that domain, firewall, API, functions,
//! queues and tables all take part. It detects failures that no other metric shows in time, such as a runner that hangs. Its bot and its echo
//! agent belong to an organization of their own, created on demand.

use std::time::Duration;

use serde_json::{Value, json};
use tieline_bridge::error_chain::chain;
use tieline_bridge::operator::session::{self, COOKIE, GUARD_HEADER};
use tieline_bridge::operator::{Identity, Operator, TokenName};
use tieline_bridge::world::{World, random};
use tieline_core::account::{ConnectionMode, Credentials, Endpoints};
use tieline_core::agent::{Agent, AgentConfig};
use tieline_core::connector::Proof;
use tieline_core::ids::{AgentId, IntegrationId, OrganizationId, TriggerId, fresh};
use tieline_core::notice::Language;
use tieline_core::thinking_display::ThinkingDisplay;
use tieline_core::timestamp::Timestamp;
use tieline_core::trigger::{Trigger, TriggerSettings};
use tieline_store::StoreError;
use tieline_store::config::agent::{self, AgentError};
use tieline_store::config::integration::{self, IntegrationError, IntegrationSettings, NewIntegration};
use tieline_store::config::organization::{self, Limits};
use tieline_store::config::token::{self, NewToken, Role};
use tieline_store::config::trigger::{self, Rival, TriggerError};
use tokio::time::{sleep, timeout};
use tracing::{error, info, warn};

/// The check's organization and the name of everything in it.
const ORGANIZATION: &str = "tieline-check";
const NAME: &str = "Synthetic check";
/// Fixed ids, so that processes that create the same resource concurrently create it once.
const INTEGRATION: &str = "int_c4ec00000000000000000001";
const AGENT: &str = "agt_c4ec00000000000000000001";
const TRIGGER: &str = "trg_c4ec00000000000000000001";
const TOKEN: &str = "tok_c4ec00000000000000000001";

/// Timeout of one attempt. A Lambda function ends after 29 s, and there are [`TRIES`] attempts.
const PATIENCE: Duration = Duration::from_secs(12);
/// Transient failures, such as the replacement of a function, must not page anyone.
const TRIES: u32 = 2;
/// Lifetime of the session that the check opens for itself.
const SESSION: Duration = Duration::from_mins(5);
/// Pause between two polls for the answer, if the bridge itself doesn't wait.
const PAUSE: Duration = Duration::from_millis(200);

/// Why a check failed.
#[derive(Debug, thiserror::Error)]
enum CheckError {
    #[error("the check's bot can't be created")]
    Agent(#[from] AgentError),
    #[error("the check's bot can't be created")]
    Integration(#[from] IntegrationError),
    #[error("the check's bot can't be created")]
    Trigger(#[from] TriggerError),
    #[error("the table can't be read or written")]
    Store(#[from] StoreError),
    #[error("no channel of this process accepts messages of operators")]
    NoChannel,
    #[error("the public address can't be called: {0}")]
    Call(String),
    #[error("the public address answered with status {0}")]
    Status(u16),
    #[error("the public address returned a response that is not the bridge's")]
    Foreign,
    #[error("no answer to the message within {} s", PATIENCE.as_secs())]
    NoAnswer,
    #[error("the answer is not the echo of the message")]
    WrongAnswer,
}

/// Runs one check, and counts whether it failed ([`Metric::FailedChecks`](tieline_bridge::metrics::Metric::FailedChecks)).
pub async fn run(world: &World) {
    let mut is_failed = true;
    for nth in 1..=TRIES {
        match timeout(PATIENCE, check(world))
            .await
            .unwrap_or(Err(CheckError::NoAnswer))
        {
            Ok(()) => {
                info!("synthetic check passed");
                is_failed = false;
                break;
            }
            Err(failure) if nth < TRIES => warn!(error = chain(&failure), "synthetic check failed; trying again"),
            Err(failure) => error!(error = chain(&failure), "synthetic check failed"),
        }
    }
    world.metrics.check(is_failed);
}

async fn check(world: &World) -> Result<(), CheckError> {
    let platform = world.registry.iter().map(|it| it.manifest());
    let platform = platform.into_iter().find(|it| it.proof == Proof::Operator);
    let platform = platform.ok_or(CheckError::NoChannel)?.platform;
    ensure_bot(world, platform).await?;
    let cookie = cookie(world).await?;

    let text = fresh("check", random());
    let body = json!({ "text": text, "chatId": "check", "senderId": "check" });
    let url = format!(
        "{}/api/{platform}/webhook/{INTEGRATION}",
        world.settings.callback_base()
    );
    let post = world.http.client().post(url).header("content-type", "application/json");
    let said = call(post.body(body.to_string()), &cookie).await?;
    let reply = said["replyId"].as_str().ok_or(CheckError::Foreign)?.to_owned();
    let mut version = 0;
    loop {
        let url = format!(
            "{}/api/{platform}/replies/{reply}?after={version}",
            world.settings.public_url
        );
        let shown = call(world.http.client().get(url), &cookie).await?;
        if shown["done"] == true {
            let is_echo = shown["text"].as_str().is_some_and(|answer| answer.contains(&text));
            return if is_echo { Ok(()) } else { Err(CheckError::WrongAnswer) };
        }
        version = shown["version"].as_u64().ok_or(CheckError::Foreign)?;
        sleep(PAUSE).await;
    }
}

/// Calls the deployment's own public address as the check's operator.
async fn call(request: reqwest::RequestBuilder, cookie: &str) -> Result<Value, CheckError> {
    let request = request
        .header("cookie", format!("{COOKIE}={cookie}"))
        .header(GUARD_HEADER, "1");
    let failed = |failure: reqwest::Error| CheckError::Call(chain(&failure.without_url()));
    let answer = request.send().await.map_err(failed)?;
    if !answer.status().is_success() {
        return Err(CheckError::Status(answer.status().as_u16()));
    }
    let body = answer.bytes().await.map_err(failed)?;
    serde_json::from_slice(&body).map_err(|_| CheckError::Foreign)
}

/// Creates the parts of the bot that are missing. Parts created by another process, or by an earlier attempt, are reused.
async fn ensure_bot(world: &World, platform: &str) -> Result<(), CheckError> {
    let (store, now) = (&world.store, world.clock.now());
    let bound = integration::look_up(store, &IntegrationId::new(INTEGRATION), now).await?;
    if bound.is_some_and(|bound| bound.trigger.is_some()) {
        return Ok(());
    }
    let organization = OrganizationId::new(ORGANIZATION);
    organization::create(store, &organization, NAME, Limits::default(), now).await?;
    match agent::create(store, echo(&organization), now).await {
        Ok(_) | Err(AgentError::NameTaken(_) | AgentError::Store(StoreError::Conflict)) => {}
        Err(error) => return Err(error.into()),
    }
    let new = NewIntegration {
        id: IntegrationId::new(INTEGRATION),
        organization: organization.clone(),
        platform: platform.to_owned(),
        id_key: random(),
    };
    match integration::create(store, new, settings(), now).await {
        Ok(_) | Err(IntegrationError::NameTaken(_) | IntegrationError::Store(StoreError::Conflict)) => {}
        Err(error) => return Err(error.into()),
    }
    match trigger::create(store, binding(organization), Rival::Respect, now).await {
        Ok(_) | Err(TriggerError::AlreadyBound(_) | TriggerError::Store(StoreError::Conflict)) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn echo(organization: &OrganizationId) -> Agent {
    Agent {
        id: AgentId::new(AGENT),
        organization: organization.clone(),
        name: NAME.to_owned(),
        protocol: "echo".to_owned(),
        config: AgentConfig::default(),
    }
}

fn settings() -> IntegrationSettings {
    IntegrationSettings {
        name: NAME.to_owned(),
        mode: ConnectionMode::Webhook,
        credentials: Credentials::default(),
        endpoints: Endpoints::default(),
        language: Language::English,
        streaming: false,
        thinking: ThinkingDisplay::default(),
        allowed_agents: None,
        enabled: true,
        account_key: None,
    }
}

fn binding(organization: OrganizationId) -> Trigger {
    Trigger {
        id: TriggerId::new(TRIGGER),
        organization,
        integration: IntegrationId::new(INTEGRATION),
        agent: AgentId::new(AGENT),
        enabled: true,
        settings: TriggerSettings::default(),
    }
}

/// A session of a few minutes in the check's organization, so that the credential sent to the public address is short-lived and limited to
/// it.
async fn cookie(world: &World) -> Result<String, CheckError> {
    let (store, now) = (&world.store, world.clock.now());
    let organization = OrganizationId::new(ORGANIZATION);
    if token::get(store, &organization, TOKEN).await?.is_none() {
        // The token itself is dropped: sessions only need its record, and end with it.
        let secret = fresh("tok", random());
        match token::create(store, &organization, check_token(&secret), now).await {
            Ok(_) | Err(StoreError::Conflict) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let opened = session::open(world, &identity(organization, now.after(SESSION)));
    opened.map(|opened| opened.cookie).ok_or(CheckError::Foreign)
}

const fn check_token(secret: &str) -> NewToken<'_> {
    NewToken {
        id: TOKEN,
        token: secret,
        name: NAME,
        role: Role::Admin,
        expires_at: None,
    }
}

fn identity(organization: OrganizationId, expires_at: Timestamp) -> Identity {
    Identity {
        operator: Operator::Member {
            organization,
            role: Role::Admin,
        },
        token: Some(TokenName {
            id: TOKEN.to_owned(),
            name: NAME.to_owned(),
            expires_at: Some(expires_at),
        }),
        session: None,
    }
}
