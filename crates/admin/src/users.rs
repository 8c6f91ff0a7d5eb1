//! Handlers of people, who are recorded at their first message.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tieline_bridge::forget::{self, Forgotten};
use tieline_core::ids::{UserId, digest};
use tieline_core::mapper::{MapperAnswer, Mapping};
use tieline_core::timestamp::Timestamp;
use tieline_store::config::user::{self, User, UserChange};
use utoipa::ToSchema;

use crate::audit::{self, Change};
use crate::auth::Scope;
use crate::body::{Body, Query, nullable};
use crate::etag::{IfMatch, Tagged, Versioned};
use crate::mask::MASK;
use crate::page::{self, List, PageQuery};
use crate::path::Id;
use crate::problem::{FieldErrors, Problem};
use crate::retry::until_settled;
use crate::state::AdminState;
use crate::{schema, validation};

/// A person, identified by one platform account.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = User)]
pub(crate) struct UserView {
    id: String,
    platform: String,
    integration_id: String,
    /// The platform's own id of the person.
    external_id: String,
    name: String,
    email: String,
    /// The platform that the person comes from.
    source: String,
    /// The known person behind the account, according to an operator or the organization's mapper.
    linked: Option<String>,
    /// Who made the link.
    #[schema(value_type = Option<schema::LinkedBy>)]
    linked_by: Option<&'static str>,
    /// Whether the person was admitted by pairing.
    admitted: bool,
    /// The mapper's answer about the account. Null: it was never asked.
    mapping: Option<MappingView>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// The entity tag, for `If-Match`.
    etag: String,
}

/// A mapper's answer about an account.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Mapping)]
pub(crate) struct MappingView {
    /// Its last answer. Null: none yet.
    #[schema(value_type = Option<schema::MapperAnswer>)]
    answer: Option<&'static str>,
    #[schema(value_type = Option<String>, format = DateTime)]
    answered_at: Option<Timestamp>,
    /// Why a later attempt to ask it failed.
    error: Option<String>,
    /// The time after which the person's next message asks it again.
    #[schema(value_type = String, format = DateTime)]
    next_at: Timestamp,
}

impl Versioned for UserView {
    fn etag(&self) -> &str {
        &self.etag
    }
}

/// Changes of a person. Absent fields keep their values.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct UserPatch {
    name: Option<String>,
    email: Option<String>,
    /// The known person behind the account, in the operator's own words: at most 200 characters. Null or empty removes the link, including a mapper's, which is then asked
    /// again.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<String>)]
    linked: Option<Option<String>>,
    /// Whether the person is admitted where a trigger has `access.pairing`.
    admitted: Option<bool>,
}

/// Lists the people of an organization.
#[utoipa::path(get, path = "/api/v1/orgs/{org}/users", tag = "users", params(PageQuery),
    responses((status = 200, body = List<UserView>)))]
pub(crate) async fn list(
    State(state): State<AdminState>,
    scope: Scope,
    Query(query): Query<PageQuery>,
) -> Result<Json<List<UserView>>, Problem> {
    let limit = page::limit(query.limit)?;
    let cursor = page::cursor(query.cursor.as_deref());
    let page = user::list(&state.world.store, &scope.organization, cursor, limit).await?;
    Ok(Json(List::of(page, UserView::of)))
}

/// Returns a person.
#[utoipa::path(get, path = "/api/v1/orgs/{org}/users/{id}", tag = "users", responses((status = 200, body = UserView)))]
pub(crate) async fn get(
    State(state): State<AdminState>,
    scope: Scope,
    Id(id): Id,
) -> Result<Tagged<UserView>, Problem> {
    find(&state, &scope, &id).await.map(UserView::of).map(Tagged::ok)
}

/// Changes a person's record, or links them to a known person.
#[utoipa::path(patch, path = "/api/v1/orgs/{org}/users/{id}", tag = "users", request_body = UserPatch,
    responses((status = 200, body = UserView)))]
pub(crate) async fn patch(
    State(state): State<AdminState>,
    scope: Scope,
    Id(id): Id,
    if_match: IfMatch,
    Body(patch): Body<UserPatch>,
) -> Result<Tagged<UserView>, Problem> {
    let mut errors = FieldErrors::default();
    let change = UserChange {
        name: patch.name.and_then(|name| errors.keep(validation::name(&name))),
        email: patch.email.and_then(|text| errors.keep(email(text))),
        linked: patch.linked.and_then(|person| {
            let read = person.map_or(Ok(None), |person| validation::known_person(&person));
            errors.keep(read)
        }),
        admitted: patch.admitted,
    };
    errors.end()?;
    until_settled(|| async {
        let before = find(&state, &scope, &id).await?;
        if_match.check(&etag_of(&before))?;
        let after = before.clone().with(change.clone());
        if after == before {
            return Ok(Tagged::ok(UserView::of(before)));
        }
        let store = scope.audited(&state, updated(&before, &after));
        let changed = user::change(&store, &before, change.clone()).await?;
        state.world.known_users.evict_facts(&changed.id);
        Ok(Tagged::ok(UserView::of(changed)))
    })
    .await
}

/// Erases a person: their messages and the answers, messages sent or scheduled to them alone, transcripts, tasks and names. At the next contact they are a stranger.
///
/// A large ledger takes a while; if the call is interrupted, repeating it continues where it stopped.
#[utoipa::path(delete, path = "/api/v1/orgs/{org}/users/{id}", tag = "users", responses((status = 204),
    (status = 409, body = Problem, description = "`user_busy`: an answer to the person has not stopped within 10 s, or a scheduled message is being sent to them")))]
pub(crate) async fn delete(
    State(state): State<AdminState>,
    scope: Scope,
    Id(id): Id,
    if_match: IfMatch,
) -> Result<StatusCode, Problem> {
    until_settled(|| async {
        let before = find(&state, &scope, &id).await?;
        if_match.check(&etag_of(&before))?;
        let store = scope.audited(&state, Change::of("user.delete", target(&before)));
        match forget::forget(&state.world, &store, &before).await? {
            Forgotten::Done => Ok(StatusCode::NO_CONTENT),
            Forgotten::Busy => {
                let detail =
                    "an answer or a scheduled message to this person is in progress; try again when it has ended";
                Err(Problem::conflict("user_busy", detail))
            }
        }
    })
    .await
}

pub(crate) async fn find(state: &AdminState, scope: &Scope, id: &str) -> Result<User, Problem> {
    let found = user::get(&state.world.store, &scope.organization, &UserId::new(id)).await?;
    found.ok_or_else(missing)
}

/// The target of an audit entry: only the person's id, which is a digest, because the log outlives a person who is erased.
pub(crate) fn target(user: &User) -> (&'static str, &str, Option<&str>) {
    ("user", user.id.as_str(), None)
}

/// Audit entry for changing a person: which fields change, without personal data.
fn updated(before: &User, after: &User) -> Change {
    let masked = |text: Option<&str>| text.map_or(Value::Null, |_| Value::from(MASK));
    let fields = [
        ("name", Some(&*before.name), Some(&*after.name)),
        ("email", Some(&*before.email), Some(&*after.email)),
        ("linked", before.linked.as_deref(), after.linked.as_deref()),
    ];
    let (mut was, mut is) = (Map::new(), Map::new());
    for (field, old, new) in fields.into_iter().filter(|(_, old, new)| old != new) {
        was.insert(field.to_owned(), masked(old));
        is.insert(field.to_owned(), masked(new));
    }
    if before.admitted != after.admitted {
        was.insert("admitted".to_owned(), before.admitted.into());
        is.insert("admitted".to_owned(), after.admitted.into());
    }
    Change::of("user.update", target(before))
        .from(audit::shown(Value::Object(was)))
        .to(audit::shown(Value::Object(is)))
}

/// The entity tag of a person: a digest of the changeable fields.
fn etag_of(user: &User) -> String {
    let (linked, is_linked) = user.linked.as_deref().map_or(("", "0"), |linked| (linked, "1"));
    let admitted = if user.admitted { "1" } else { "0" };
    format!(
        "\"{}\"",
        &digest(&[
            &user.name,
            &user.email,
            linked,
            is_linked,
            admitted,
            &user.mapping_version.to_string()
        ])[..16]
    )
}

pub(crate) fn missing() -> Problem {
    Problem::not_found("user_not_found", "user")
}

fn email(text: String) -> Result<String, Problem> {
    let looks_right = text.len() <= 254
        && text
            .split_once('@')
            .is_some_and(|(who, host)| !who.is_empty() && !host.is_empty());
    if looks_right && !text.contains(char::is_whitespace) {
        Ok(text)
    } else {
        Err(Problem::invalid("email", "must be a mail address"))
    }
}

impl UserView {
    pub(crate) fn of(user: User) -> Self {
        let linked_by = match (&user.linked, user.linked_to()) {
            (Some(_), _) => Some("operator"),
            (None, Some(_)) => Some("mapper"),
            (None, None) => None,
        };
        Self {
            etag: etag_of(&user),
            id: user.id.to_string(),
            integration_id: user.integration.to_string(),
            name: user.known_name().to_owned(),
            email: user.known_email().unwrap_or(&user.email).to_owned(),
            linked: user.linked_to().map(str::to_owned),
            linked_by,
            mapping: user.mapping.map(MappingView::of),
            platform: user.platform,
            source: user.source,
            admitted: user.admitted,
            external_id: user.external_id,
            created_at: user.created_at,
        }
    }
}

impl MappingView {
    fn of(mapping: Mapping) -> Self {
        Self {
            answer: mapping.answer.map(|answer| match answer {
                MapperAnswer::Person(_) => "person",
                MapperAnswer::Unknown => "unknown",
            }),
            answered_at: mapping.answered_at,
            error: mapping.error,
            next_at: mapping.next_at,
        }
    }
}
