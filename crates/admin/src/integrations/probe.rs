//! Tests an integration by calling the platform.

use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use tieline_bridge::accounts::{self, Bot};
use tieline_bridge::cooldown::PERMISSION_MISSING;
use tieline_bridge::courier;
use tieline_bridge::probe::{self, Probed};
use tieline_core::account::ConnectionMode;
use tieline_core::connector::ModeManifest;
use tieline_core::notice::Language;
use tieline_core::outbound_url::{self, PrivateEndpoints};
use tieline_store::config::integration::IntegrationRecord;
use tieline_store::log::{self, Level, LogEntry};
use tieline_store::status::{self as store_status, ConnectionState};
use tokio::time::timeout;
use utoipa::ToSchema;

use super::{find, status, view};
use crate::auth::Scope;
use crate::path::Id;
use crate::problem::Problem;
use crate::state::AdminState;
use crate::texts::{InLanguage, Text};

/// Timeout for one address.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);
/// Timeout for the platform to accept or refuse the credentials. A request waits at most half a minute in all.
const CREDENTIALS_PATIENCE: Duration = Duration::from_secs(10);

/// How many log entries are examined, and how far back.
const MAX_LOG: usize = 100;
const DAY: Duration = Duration::from_hours(24);

/// Result of a test.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct IntegrationTest {
    /// Whether every check is ok.
    ok: bool,
    checks: Vec<TestCheck>,
}

/// One check of a test.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TestCheck {
    /// `settings`, `credentials`, `reachability`, `callback_url`, `permissions`
    name: &'static str,
    ok: bool,
    /// The result in one sentence.
    detail: String,
    millis: u64,
}

/// Tests an integration: its settings, its credentials, the platform's addresses, our callback address, permissions.
#[utoipa::path(post, path = "/api/v1/orgs/{org}/integrations/{id}/test", tag = "integrations",
    responses((status = 200, body = IntegrationTest)))]
pub(crate) async fn test(
    State(state): State<AdminState>,
    scope: Scope,
    Id(id): Id,
    InLanguage(language): InLanguage,
) -> Result<Json<IntegrationTest>, Problem> {
    let record = find(&state, &scope, &id).await?;
    let mut checks = Vec::new();
    match accounts::open(&state.world, &record) {
        Ok(bot) => ask_all(&state, &record, &bot, &mut checks).await?,
        Err(error) => {
            let why = status::unusable_because(&error);
            checks.push(Check {
                name: "settings",
                ok: false,
                detail: Text::new("test_settings_wrong").with("why", why),
                millis: 0,
            });
        }
    }
    Ok(Json(IntegrationTest {
        ok: checks.iter().all(|check| check.ok),
        checks: checks.iter().map(|check| check.render(language)).collect(),
    }))
}

/// A check whose sentence isn't rendered in a language yet.
struct Check {
    name: &'static str,
    ok: bool,
    detail: Text,
    millis: u64,
}

impl Check {
    fn render(&self, language: Language) -> TestCheck {
        TestCheck {
            name: self.name,
            ok: self.ok,
            detail: self.detail.render(language),
            millis: self.millis,
        }
    }
}

async fn ask_all(
    state: &AdminState,
    record: &IntegrationRecord,
    bot: &Bot,
    checks: &mut Vec<Check>,
) -> Result<(), Problem> {
    checks.push(timed("settings", async { (true, Text::new("test_settings_fine")) }).await);
    let begun = Instant::now();
    let (ok, detail) = credentials(state, record, bot).await?;
    checks.push(Check {
        name: "credentials",
        ok,
        detail,
        millis: millis_since(begun),
    });
    let Some(mode) = bot.connector.manifest().mode(record.mode) else {
        return Ok(());
    };
    for (_, address) in addresses(mode, bot) {
        checks.push(timed("reachability", reach(state, &address)).await);
    }
    if record.mode == ConnectionMode::Webhook && !status::is_own_channel(state, record) {
        checks.push(timed("callback_url", callback(state, record)).await);
    }
    if !mode.permissions.is_empty() {
        let begun = Instant::now();
        let (ok, detail) = permissions(state, record, (mode, bot)).await?;
        checks.push(Check {
            name: "permissions",
            ok,
            detail,
            millis: millis_since(begun),
        });
    }
    Ok(())
}

/// Whether the bot has the permissions that it needs. Few platforms list them; some others name the missing one when they refuse a call
/// because of it, which is in the log then and counts until the integration is changed or restarted.
async fn permissions(
    state: &AdminState,
    record: &IntegrationRecord,
    (mode, bot): (&ModeManifest, &Bot),
) -> Result<(bool, Text), Problem> {
    let text = |code, permissions| Text::new(code).with("permissions", permissions);
    // What the platform says counts more than what it refused before: it may have granted that since.
    if let Some(missing) = missing_permissions(state, bot).await {
        return Ok(match missing.is_empty() {
            true => (true, text("test_permissions_granted", mode.permissions.join(", "))),
            false => (false, text("permissions_not_granted", missing.join(", "))),
        });
    }
    let now = state.world.clock.now();
    let log = log::list(&state.world.store, &record.id, Level::Warn, None, MAX_LOG, now).await?;
    let is_fresh = |entry: &&LogEntry| {
        entry.code == PERMISSION_MISSING && now.since(entry.at) < DAY && entry.at >= record.updated_at
    };
    Ok(match log.items.into_iter().find(|entry| is_fresh(&entry)) {
        Some(missed) => (false, text("test_permission_missing", missed.message)),
        None => (true, text("test_permissions_fine", mode.permissions.join(", "))),
    })
}

/// The permissions that the platform reports as not granted. `None`: it can't be asked, or doesn't answer in time.
pub(super) async fn missing_permissions(state: &AdminState, bot: &Bot) -> Option<Vec<&'static str>> {
    let asked = probe::missing_permissions(&state.world, bot);
    timeout(PATIENCE, asked).await.ok().flatten()
}

/// Asks the platform whether the credentials work. `None`: timeout.
pub(super) async fn ask(state: &AdminState, record: &IntegrationRecord, bot: &Bot) -> Result<Option<Probed>, Problem> {
    courier::forget_token(&state.world, bot).await;
    match timeout(CREDENTIALS_PATIENCE, probe::probe(&state.world, bot, record)).await {
        Ok(probed) => Ok(Some(probed?)),
        Err(_) => Ok(None),
    }
}

/// The code with which the platform refused the credentials of the bot's connection, if it did.
pub(super) async fn refused_on_connection(
    state: &AdminState,
    record: &IntegrationRecord,
) -> Result<Option<String>, Problem> {
    let shard = state.world.shard_of(&record.id);
    let reported = store_status::seen(&state.world.store, &record.id, shard, state.now()).await?;
    let error = reported.last_error.or(reported.credentials_refused);
    let is_refused = reported.reason.as_deref() == Some("config_invalid");
    Ok(error.filter(|_| is_refused).map(|error| error.code))
}

/// Whether the credentials work, with a sentence that explains the result.
pub(super) async fn credentials(
    state: &AdminState,
    record: &IntegrationRecord,
    bot: &Bot,
) -> Result<(bool, Text), Problem> {
    let Some(probed) = ask(state, record, bot).await? else {
        let seconds = CREDENTIALS_PATIENCE.as_secs();
        return Ok((false, Text::new("test_platform_slow").with("seconds", seconds)));
    };
    Ok(match probed {
        Probed::Works => (true, Text::new("test_credentials_fine")),
        Probed::Untold if record.mode == ConnectionMode::LongConnection => on_connection(state, record).await?,
        Probed::Untold => (true, Text::new("test_credentials_untold")),
        Probed::Refused { code } => (false, refused(&code)),
        Probed::Unavailable { code } => (false, Text::new("test_platform_fails").with("code", code)),
    })
}

/// What the bot's connection shows about the credentials, for platforms that accept them there and nowhere else. Opening another connection
/// for the test would displace the bot's own.
async fn on_connection(state: &AdminState, record: &IntegrationRecord) -> Result<(bool, Text), Problem> {
    let shard = state.world.shard_of(&record.id);
    let reported = store_status::seen(&state.world.store, &record.id, shard, state.now()).await?;
    Ok(match (reported.state, reported.reason.as_deref()) {
        (Some(ConnectionState::Connected), _) => (true, Text::new("test_connection_up")),
        (_, Some("config_invalid")) => {
            let code = reported.last_error.map(|error| error.code);
            (false, refused(code.as_deref().unwrap_or("config_invalid")))
        }
        _ => (true, Text::new("test_connection_down")),
    })
}

fn refused(code: &str) -> Text {
    Text::new("test_credentials_refused").with("code", code)
}

/// The effective addresses of a mode, converted to HTTP, with their fields.
pub(super) fn addresses(mode: &ModeManifest, bot: &Bot) -> Vec<(&'static str, String)> {
    let all = mode.endpoints.iter().map(|endpoint| {
        let address = bot.account.endpoint(endpoint.name, endpoint.default);
        let address = match address.strip_prefix("ws") {
            Some(rest) => format!("http{rest}"),
            None => address.to_owned(),
        };
        (endpoint.name, address)
    });
    all.filter(|(_, address)| !address.is_empty()).collect()
}

/// Any response counts: it shows that a server is there.
async fn reach(state: &AdminState, url: &str) -> (bool, Text) {
    let host = host_of(url);
    if outbound_url::check(url, state.allow_private()).is_err() {
        return (false, Text::new("test_host_forbidden").with("host", host));
    }
    match state.world.http.client().get(url).timeout(PATIENCE).send().await {
        Ok(_) => (true, Text::new("test_host_answers").with("host", host)),
        Err(error) if error.is_timeout() => {
            let text = Text::new("test_host_slow").with("host", host);
            (false, text.with("seconds", PATIENCE.as_secs()))
        }
        Err(_) => (false, Text::new("test_host_unreachable").with("host", host)),
    }
}

/// The host of an address. The parts before and after it may be secret.
pub(super) fn host_of(url: &str) -> String {
    let host = url.split("://").nth(1).and_then(|rest| rest.split(['/', '?']).next());
    host.unwrap_or("the address").to_owned()
}

/// Why an address can't be reached. `None`: a server answers.
pub(super) async fn unreachable(state: &AdminState, url: &str) -> Option<Text> {
    if outbound_url::check(url, state.allow_private()).is_err() {
        return Some(Text::new("unreachable_forbidden"));
    }
    match state.world.http.client().get(url).timeout(PATIENCE).send().await {
        Ok(_) => None,
        Err(error) if error.is_timeout() => Some(Text::new("unreachable_timeout").with("seconds", PATIENCE.as_secs())),
        Err(_) => Some(Text::new("unreachable_refused")),
    }
}

async fn callback(state: &AdminState, record: &IntegrationRecord) -> (bool, Text) {
    let url = view::callback_url(state, record);
    if outbound_url::check(&url, &PrivateEndpoints::Refused).is_err() {
        // In a local test deployment this is fine.
        return (
            state.allow_private().allows_plain(),
            Text::new("test_url_private").with("url", url),
        );
    }
    match state.world.http.client().get(&url).timeout(PATIENCE).send().await {
        Ok(answer) if answer.status().is_success() => (true, Text::new("test_host_answers").with("host", url)),
        Ok(answer) => {
            let text = Text::new("test_url_of_another").with("url", url);
            (false, text.with("status", answer.status().as_u16()))
        }
        Err(_) => (false, Text::new("test_host_unreachable").with("host", url)),
    }
}

async fn timed(name: &'static str, check: impl Future<Output = (bool, Text)>) -> Check {
    let begun = Instant::now();
    let (ok, detail) = check.await;
    Check {
        name,
        ok,
        detail,
        millis: millis_since(begun),
    }
}

pub(super) fn millis_since(begun: Instant) -> u64 {
    u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX)
}
