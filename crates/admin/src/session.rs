//! Handlers of operators' sessions: the rights of a token, and the cookie that replaces it in a browser.

use axum::Json;
use axum::extract::State;
use axum::http::header::{AUTHORIZATION, HOST, SET_COOKIE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde::{Deserialize, Serialize};
use tieline_bridge::operator::session::{self, COOKIE};
use tieline_bridge::operator::{self, Denied, Identity, Operator};
use tieline_core::timestamp::Timestamp;
use tieline_store::config::token::Role;
use utoipa::ToSchema;

use crate::audit::{self, Author, Change};
use crate::auth::{self, Caller};
use crate::body::OptionalBody;
use crate::client_address::Client;
use crate::problem::Problem;
use crate::state::AdminState;

/// The rights of a token.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Session)]
pub(crate) struct SessionView {
    /// `root`, `admin` or `viewer`.
    role: &'static str,
    /// The only organization that the token may access. Null: all.
    organization: Option<String>,
    /// The id of the organization's token. Null: the root token.
    token_id: Option<String>,
    /// The token's name. Null: the root token.
    token_name: Option<String>,
    /// When the session ends. Null: the request uses a bearer token instead of a session cookie.
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
}

/// The token that opens a session. It may be sent as a bearer token instead.
#[derive(Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct NewSession {
    token: Option<String>,
}

/// Returns the rights of the request's token or session.
#[utoipa::path(get, path = "/api/v1/session", tag = "tokens", responses((status = 200, body = SessionView)))]
pub(crate) async fn get(Caller(caller): Caller) -> Json<SessionView> {
    let expires_at = caller.session.as_ref().map(|session| session.expires_at);
    Json(SessionView::of(&caller, expires_at))
}

/// Opens a session: the token, in the body or as a bearer token, is exchanged for the cookie `tieline_session` (`HttpOnly`,
/// `SameSite=Strict`, and `Secure` over HTTPS), valid for 12 hours, or until the token expires or is deleted.
#[utoipa::path(post, path = "/api/v1/session", tag = "tokens", request_body = NewSession, security((), ("bearer" = [])),
    responses((status = 200, body = SessionView, headers(("set-cookie" = String, description = "the session's cookie"))),
        (status = 403, body = Problem, description = "`cross_site`: a page of another site sent the request"),
        (status = 429, body = Problem, description = "`too_many_wrong_tokens`, with `Retry-After`")))]
pub(crate) async fn open(
    State(state): State<AdminState>,
    Client(address): Client,
    headers: HeaderMap,
    OptionalBody(new): OptionalBody<NewSession>,
) -> Result<(HeaderMap, Json<SessionView>), Problem> {
    refuse_other_sites(&headers)?;
    let header = headers.get(AUTHORIZATION).and_then(|header| header.to_str().ok());
    let given = new.token.as_deref().or_else(|| header.and_then(operator::bearer));
    let token = given.map(str::trim).filter(|token| !token.is_empty());
    let token = token.ok_or_else(Problem::unauthorized)?;
    let caller = operator::with_token(&state.world, token, address).await?;
    operator::note_use(&state.world, &caller).await;
    let opened = session::open(&state.world, &caller).ok_or_else(Problem::unauthorized)?;
    // Audit before the cookie is issued.
    audit::note(
        &state,
        &Author::of(&caller, address),
        None,
        Change::plain("session.open"),
    )
    .await?;
    let left = opened.expires_at.since(state.now()).as_secs();
    let view = SessionView::of(&caller, Some(opened.expires_at));
    Ok((cookie(&state, &headers, &opened.cookie, left), Json(view)))
}

/// Ends the session of the request's cookie, for every copy of the cookie. Without a session nothing happens.
#[utoipa::path(delete, path = "/api/v1/session", tag = "tokens",
    responses((status = 204, headers(("set-cookie" = String, description = "removes the cookie")))))]
pub(crate) async fn end(State(state): State<AdminState>, parts: Parts) -> Result<(StatusCode, HeaderMap), Problem> {
    match auth::identify(&state, &parts).await {
        Ok(
            ref caller @ Identity {
                session: Some(ref open),
                ..
            },
        ) => {
            let author = Author::of(caller, Client::of(&parts).0);
            audit::note(&state, &author, None, Change::plain("session.end")).await?;
            session::end(&state.world, open).await?;
        }
        Ok(_) | Err(Denied::Unproved) => {}
        Err(denied) => return Err(denied.into()),
    }
    Ok((StatusCode::NO_CONTENT, cookie(&state, &parts.headers, "", 0)))
}

/// Login CSRF guard: a page of another site must not be able to sign a browser in. Browsers send `Sec-Fetch-Site`, other clients don't.
fn refuse_other_sites(headers: &HeaderMap) -> Result<(), Problem> {
    let site = headers.get("sec-fetch-site").map(HeaderValue::as_bytes);
    match site {
        None | Some(b"same-origin" | b"none") => Ok(()),
        Some(_) => Err(Problem::new(
            StatusCode::FORBIDDEN,
            "cross_site",
            "a session is opened from the console's own pages only",
        )),
    }
}

fn cookie(state: &AdminState, headers: &HeaderMap, value: &str, max_age_seconds: u64) -> HeaderMap {
    let secure = if is_encrypted(state, headers) { "; Secure" } else { "" };
    let text = format!("{COOKIE}={value}; Path=/; HttpOnly; SameSite=Strict; Max-Age={max_age_seconds}{secure}");
    let header: (HeaderName, HeaderValue) = (
        SET_COOKIE,
        HeaderValue::try_from(text).expect("a sealed value consists of characters of base64"),
    );
    HeaderMap::from_iter([header])
}

/// Whether the client uses HTTPS: the public URL does, and the client isn't on this machine, where it may bypass a proxy.
fn is_encrypted(state: &AdminState, headers: &HeaderMap) -> bool {
    let host = headers
        .get(HOST)
        .and_then(|host| host.to_str().ok())
        .unwrap_or_default();
    state.world.settings.public_url.starts_with("https://") && !is_loopback(host)
}

fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next(),
        None => host.split(':').next(),
    };
    let name = name.unwrap_or_default();
    name == "localhost" || name.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
}

impl SessionView {
    fn of(caller: &Identity, expires_at: Option<Timestamp>) -> Self {
        let (role, organization) = match &caller.operator {
            Operator::Root => ("root", None),
            Operator::Member { organization, role } => (role_name(*role), Some(organization.to_string())),
        };
        Self {
            role,
            organization,
            token_id: caller.token.as_ref().map(|token| token.id.clone()),
            token_name: caller.token.as_ref().map(|token| token.name.clone()),
            expires_at,
        }
    }
}

const fn role_name(role: Role) -> &'static str {
    match role {
        Role::Admin => "admin",
        Role::Viewer => "viewer",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_hosts_are_known() {
        for host in ["localhost", "localhost:8080", "127.0.0.1:80", "[::1]:80", "[::1]"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in ["", "bridge.example", "127.0.0.1.example", "[2001:db8::1]:80"] {
            assert!(!is_loopback(host), "{host}");
        }
    }
}
