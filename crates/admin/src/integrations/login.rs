//! Scan-code login, for platforms whose credentials are obtained that way.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use tieline_bridge::login::{self, LoginError};
use tieline_bridge::operator;
use tieline_core::timestamp::Timestamp;
use tieline_store::login::LoginRecord;
use utoipa::ToSchema;

use super::status::unusable_because;
use super::{find, view};
use crate::audit::Change;
use crate::auth::{Caller, Scope};
use crate::body::OptionalBody;
use crate::path::Id;
use crate::problem::Problem;
use crate::state::AdminState;

/// Maximum length of a verification code, in characters.
const MAX_VERIFY_CODE: usize = 32;

/// The state of a login.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Login {
    /// `not_started`, `waiting`, `scanned`, `verify_code_needed`, `confirmed`, `expired` or `refused`.
    state: &'static str,
    /// The text of the QR code. The person who scans it owns the bot, so a viewer's token doesn't see it.
    qr_url: Option<String>,
    /// When the QR code expires.
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
    /// Why the login was refused.
    code: Option<String>,
}

/// Input that starts or continues a login.
#[derive(Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = LoginRequest)]
pub(crate) struct LoginBody {
    /// The digits that the app shows, if the state is `verify_code_needed`. Absent: starts a new login.
    verify_code: Option<String>,
}

/// Starts a scan-code login, or submits the digits that it asks for.
#[utoipa::path(post, path = "/api/v1/orgs/{org}/integrations/{id}/login", tag = "integrations", request_body = LoginBody,
    responses((status = 200, body = Login),
        (status = 409, body = Problem, description = "`login_not_offered`: the platform's credentials are typed in; \
            `no_code_asked`: the login asks for no digits"),
        (status = 502, body = Problem, description = "`platform_unavailable`")))]
pub(crate) async fn start(
    State(state): State<AdminState>,
    scope: Scope,
    Id(id): Id,
    OptionalBody(body): OptionalBody<LoginBody>,
) -> Result<Json<Login>, Problem> {
    let record = find(&state, &scope, &id).await?;
    let change = Change::of("integration.login", view::target(&record));
    scope.note(&state, change).await?;
    let login = match body.verify_code.as_deref().map(str::trim) {
        Some(digits) => {
            check(digits)?;
            login::verify(&state.world, &record, digits).await
        }
        None => login::start(&state.world, &record).await.map(Some),
    };
    Ok(Json(Login::of(login.map_err(explain)?)))
}

/// Returns the state of a scan-code login. The platform is asked first, which may take 20 seconds.
#[utoipa::path(get, path = "/api/v1/orgs/{org}/integrations/{id}/login", tag = "integrations",
    responses((status = 200, body = Login), (status = 409, body = Problem, description = "`login_not_offered`")))]
pub(crate) async fn get(
    State(state): State<AdminState>,
    scope: Scope,
    Caller(caller): Caller,
    Id(id): Id,
) -> Result<Json<Login>, Problem> {
    let record = find(&state, &scope, &id).await?;
    if operator::may_write(&caller.operator, &scope.organization) {
        let login = login::follow(&state.world, &record).await;
        return Ok(Json(Login::of(login.map_err(explain)?)));
    }
    let login = login::look(&state.world, &record).await;
    Ok(Json(Login {
        qr_url: None,
        ..Login::of(login.map_err(explain)?)
    }))
}

impl Login {
    fn of(login: Option<LoginRecord>) -> Self {
        let Some(login) = login else {
            return Self {
                state: "not_started",
                qr_url: None,
                expires_at: None,
                code: None,
            };
        };
        Self {
            state: login.state.as_str(),
            qr_url: Some(login.qr_url).filter(|_| !login.state.is_over()),
            expires_at: Some(login.expires_at),
            code: login.code,
        }
    }
}

fn check(digits: &str) -> Result<(), Problem> {
    let fits = (1..=MAX_VERIFY_CODE).contains(&digits.len());
    if fits && digits.chars().all(|c| c.is_ascii_alphanumeric()) {
        return Ok(());
    }
    Err(Problem::invalid(
        "verifyCode",
        "must be 1 to 32 ASCII letters or digits",
    ))
}

fn explain(error: LoginError) -> Problem {
    match error {
        LoginError::NotOffered => {
            let detail = "the credentials of this platform are typed in, not obtained by a login";
            Problem::conflict("login_not_offered", detail)
        }
        LoginError::NoCodeAsked => Problem::conflict("no_code_asked", "the login does not ask for a code"),
        LoginError::Unavailable { code } => {
            let detail = format!("the platform can't log the bot in at the moment: {code}");
            Problem::new(StatusCode::BAD_GATEWAY, "platform_unavailable", detail)
        }
        LoginError::Account(error) => Problem::conflict("config_invalid", unusable_because(&error)),
        LoginError::Store(error) => error.into(),
    }
}
