//! Mapper of an organization: an endpoint that resolves a platform account to a known person.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tieline_bridge::error_chain::chain;
use tieline_bridge::mapper as bridge_mapper;
use tieline_core::mapper::UnknownPolicy;
use tieline_store::config::integration;
use tieline_store::config::organization::{self, Mapper, Organization};
use utoipa::ToSchema;

use crate::audit::{Change, Shown};
use crate::auth::{Scope, no_organization};
use crate::body::Body;
use crate::etag::{self, IfMatch, Tagged, Versioned};
use crate::mask::MASK;
use crate::path::Id;
use crate::problem::Problem;
use crate::retry::until_settled;
use crate::state::AdminState;
use crate::users::{self, UserView};
use crate::{schema, signed_endpoint};

/// The mapper of an organization. All fields are null if there is none.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Mapper)]
pub(crate) struct MapperView {
    url: Option<String>,
    /// Masked.
    secret: Option<&'static str>,
    #[schema(value_type = Option<schema::UnknownPolicy>)]
    unknown: Option<UnknownPolicy>,
    /// The entity tag, for `If-Match`.
    etag: String,
}

/// Changes of a mapper. Absent fields keep their values.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct MapperPatch {
    /// The address that receives the signed `POST`. Required if there is no mapper yet.
    url: Option<String>,
    /// At least 16 characters; `whsec_` and base64, or any text. Absent, empty or `***` keeps the old one.
    #[schema(write_only)]
    secret: Option<String>,
    /// What happens to messages of people the mapper doesn't know. Default: `allow`.
    #[schema(value_type = Option<schema::UnknownPolicy>)]
    unknown: Option<UnknownPolicy>,
}

/// Result of asking the mapper about a person.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct MapperResult {
    /// Whether it answered.
    ok: bool,
    /// Why it didn't answer.
    detail: Option<String>,
    /// The person as stored now.
    user: UserView,
}

impl Versioned for MapperView {
    fn etag(&self) -> &str {
        &self.etag
    }
}

/// Returns the mapper of the organization.
#[utoipa::path(get, path = "/api/v1/orgs/{org}/mapper", tag = "users", responses((status = 200, body = MapperView)))]
pub(crate) async fn get(State(state): State<AdminState>, scope: Scope) -> Result<Tagged<MapperView>, Problem> {
    Ok(Tagged::ok(MapperView::of(&find(&state, &scope).await?)))
}

/// Sets the endpoint that resolves a platform account to a known person.
#[utoipa::path(patch, path = "/api/v1/orgs/{org}/mapper", tag = "users", request_body = MapperPatch,
    responses((status = 200, body = MapperView)))]
pub(crate) async fn patch(
    State(state): State<AdminState>,
    scope: Scope,
    if_match: IfMatch,
    Body(patch): Body<MapperPatch>,
) -> Result<Tagged<MapperView>, Problem> {
    until_settled(|| async {
        let before = find(&state, &scope).await?;
        if_match.check(&etag_of(&before))?;
        let after = read_patch(&state, "", before.mapper.as_ref(), &patch)?;
        let store = scope.audited(&state, changed(&before, Some(&after)));
        let after = organization::set_mapper(&store, &before, Some(after)).await?;
        Ok(Tagged::ok(MapperView::of(&after)))
    })
    .await
}

/// Removes the mapper. Links that it made stay; unknown people are no longer refused.
#[utoipa::path(delete, path = "/api/v1/orgs/{org}/mapper", tag = "users", responses((status = 204)))]
pub(crate) async fn delete(
    State(state): State<AdminState>,
    scope: Scope,
    if_match: IfMatch,
) -> Result<StatusCode, Problem> {
    until_settled(|| async {
        let before = find(&state, &scope).await?;
        if_match.check(&etag_of(&before))?;
        if before.mapper.is_some() {
            let store = scope.audited(&state, changed(&before, None));
            organization::set_mapper(&store, &before, None).await?;
        }
        Ok(())
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Asks the mapper about a person now, bypassing the cache. A link that an operator made stays.
#[utoipa::path(post, path = "/api/v1/orgs/{org}/users/{id}/map", tag = "users",
    responses((status = 200, body = MapperResult),
        (status = 404, body = Problem, description = "`user_not_found`, `integration_not_found`"),
        (status = 409, body = Problem, description = "`mapper_not_set`")))]
pub(crate) async fn map(
    State(state): State<AdminState>,
    scope: Scope,
    Id(id): Id,
) -> Result<Json<MapperResult>, Problem> {
    let organization = find(&state, &scope).await?;
    let not_set = || Problem::conflict("mapper_not_set", "the organization has no mapper");
    let mapper = organization.mapper.as_ref().ok_or_else(not_set)?;
    let person = users::find(&state, &scope, &id).await?;
    let bot = integration::get(&state.world.store, &person.integration).await?;
    let bot = bot.filter(|bot| bot.organization == scope.organization);
    let bot = bot.ok_or_else(Problem::integration_not_found)?;
    let version = organization.mapper_version;
    scope
        .note(&state, Change::of("user.map", users::target(&person)))
        .await?;
    let (person, error) = bridge_mapper::ask_now(&state.world, (mapper, version), &bot, person).await?;
    Ok(Json(MapperResult {
        ok: error.is_none(),
        detail: error.map(|error| chain(&error)),
        user: UserView::of(person.ok_or_else(users::missing)?),
    }))
}

async fn find(state: &AdminState, scope: &Scope) -> Result<Organization, Problem> {
    let found = organization::get(&state.world.store, &scope.organization, state.now()).await?;
    found.ok_or_else(no_organization)
}

/// Validates the changes and returns the mapper with them applied. `group` is the path of the object with the fields.
pub(crate) fn read_patch(
    state: &AdminState,
    group: &str,
    before: Option<&Mapper>,
    patch: &MapperPatch,
) -> Result<Mapper, Problem> {
    let url = patch.url.as_deref().or(before.map(|before| &*before.url));
    let url = url.ok_or_else(|| Problem::invalid(crate::secret_origin::field(group, "url"), "is required"))?;
    let kept = before.map(|before| (&*before.url, &before.secret));
    let (url, secret) = signed_endpoint::read(state, group, kept, (url, patch.secret.as_deref()))?;
    let unknown = patch.unknown.or(before.map(|before| before.unknown));
    Ok(Mapper {
        url,
        secret,
        unknown: unknown.unwrap_or_default(),
    })
}

/// Audit entry for changing a mapper.
pub(crate) fn changed(before: &Organization, after: Option<&Mapper>) -> Change {
    let target = ("organization", before.id.as_str(), Some(&*before.name));
    match after {
        Some(after) => Change::of("mapper.update", target).between(&shown(before.mapper.as_ref()), &shown(Some(after))),
        None => Change::of("mapper.delete", target).from(shown(before.mapper.as_ref())),
    }
}

/// The mapper in the form of a file, with its secret: only for comparing.
pub(crate) fn form(mapper: Option<&Mapper>) -> Map<String, Value> {
    let fields = mapper.map(|mapper| fields(mapper, mapper.secret.expose()));
    fields.map_or_else(Map::new, |fields| Map::from_iter([("mapper".to_owned(), fields)]))
}

/// The mapper in the form of a file, with `***` instead of the secret.
pub(crate) fn masked(mapper: Option<&Mapper>) -> Map<String, Value> {
    let fields = mapper.map(|mapper| fields(mapper, MASK));
    fields.map_or_else(Map::new, |fields| Map::from_iter([("mapper".to_owned(), fields)]))
}

fn fields(mapper: &Mapper, secret: &str) -> Value {
    json!({ "url": mapper.url, "secret": secret, "unknown": mapper.unknown })
}

fn shown(mapper: Option<&Mapper>) -> Shown {
    let Some(mapper) = mapper else {
        return crate::audit::shown(json!({}));
    };
    Shown {
        view: json!({ "mapper": fields(mapper, MASK) }),
        secrets: Map::from_iter([("mapper".to_owned(), json!({ "secret": mapper.secret.expose() }))]),
    }
}

fn etag_of(organization: &Organization) -> String {
    etag::of_version(organization.mapper_version)
}

impl MapperView {
    fn of(organization: &Organization) -> Self {
        let mapper = organization.mapper.as_ref();
        Self {
            url: mapper.map(|mapper| mapper.url.clone()),
            secret: mapper.map(|_| MASK),
            unknown: mapper.map(|mapper| mapper.unknown),
            etag: etag_of(organization),
        }
    }
}
