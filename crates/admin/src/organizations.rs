//! Handlers of organizations.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tieline_bridge::operator::Operator;
use tieline_core::ids::OrganizationId;
use tieline_core::timestamp::Timestamp;
use tieline_store::config::organization::{self, Limits, Organization};
use tieline_store::run_slots::MAX_PLACES;
use utoipa::ToSchema;

use crate::audit::{self, Change, Shown};
use crate::auth::{Caller, Root, Scope, no_organization};
use crate::body::{Body, Query, nullable};
use crate::etag::{self, IfMatch, Tagged, Versioned};
use crate::fresh::Fresh;
use crate::page::{self, List, PageQuery};
use crate::path::OrganizationInPath;
use crate::problem::{FieldErrors, Problem};
use crate::retry::until_settled;
use crate::state::AdminState;
use crate::triggers::question_limits::per_minute;
use crate::validation;

/// A tenant.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Organization)]
pub(crate) struct OrganizationView {
    id: String,
    name: String,
    limits: LimitsView,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// The entity tag, for `If-Match`.
    etag: String,
}

impl Versioned for OrganizationView {
    fn etag(&self) -> &str {
        &self.etag
    }
}

/// Limits of an organization. Null: the deployment's default.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Limits)]
pub(crate) struct LimitsView {
    /// Maximum number of concurrent runs.
    max_concurrent_runs: Option<u32>,
    /// Maximum number of questions per minute, from all people to all its bots. Null: no limit.
    max_messages_per_minute: Option<u32>,
}

/// A new organization.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct NewOrganization {
    /// 1 to 63 characters of a-z, 0-9, - and _. Can't be changed.
    id: String,
    /// Default: the id.
    name: Option<String>,
    limits: Option<LimitsPatch>,
}

/// Changes of an organization. Absent fields keep their values.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct OrganizationPatch {
    name: Option<String>,
    limits: Option<LimitsPatch>,
}

/// Changes of limits. Absent fields keep their values; null removes the limit.
#[derive(Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct LimitsPatch {
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<u32>, minimum = 1)]
    max_concurrent_runs: Option<Option<u32>>,
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<u32>, minimum = 1)]
    max_messages_per_minute: Option<Option<u32>>,
}

impl LimitsPatch {
    fn apply(&self, before: Limits) -> Result<Limits, Problem> {
        let mut errors = FieldErrors::default();
        if let Some(Some(limit)) = self.max_concurrent_runs
            && !(1..=MAX_PLACES).contains(&limit)
        {
            let reason = format!("must be from 1 to {MAX_PLACES}");
            errors.add(Problem::invalid("limits.maxConcurrentRuns", &reason));
        }
        let per_minute = self
            .max_messages_per_minute
            .and_then(|limit| errors.keep(per_minute("limits.maxMessagesPerMinute", limit)));
        errors.end()?;
        Ok(Limits {
            max_concurrent_runs: self.max_concurrent_runs.unwrap_or(before.max_concurrent_runs),
            max_messages_per_minute: per_minute.unwrap_or(before.max_messages_per_minute),
        })
    }
}

/// Lists the organizations that the token may see.
#[utoipa::path(get, path = "/api/v1/orgs", tag = "organizations", params(PageQuery),
    responses((status = 200, body = List<OrganizationView>)))]
pub(crate) async fn list(
    State(state): State<AdminState>,
    Caller(caller): Caller,
    Query(query): Query<PageQuery>,
) -> Result<Json<List<OrganizationView>>, Problem> {
    let limit = page::limit(query.limit)?;
    let (store, now) = (&state.world.store, state.now());
    let page = match caller.operator {
        Operator::Root => organization::list(store, page::cursor(query.cursor.as_deref()), limit, now).await?,
        Operator::Member { organization, .. } => tieline_store::Page {
            items: organization::get(store, &organization, now)
                .await?
                .into_iter()
                .collect(),
            cursor: None,
        },
    };
    Ok(Json(List::of(page, OrganizationView::of)))
}

/// Creates an organization. Needs the root token.
#[utoipa::path(post, path = "/api/v1/orgs", tag = "organizations", request_body = NewOrganization,
    responses((status = 201, body = OrganizationView), (status = 409, body = Problem, description = "`organization_exists`")))]
pub(crate) async fn create(
    State(state): State<AdminState>,
    Root(author): Root,
    fresh: Fresh,
    Body(new): Body<NewOrganization>,
) -> Result<Tagged<OrganizationView>, Problem> {
    let (id, name, limits) = read_new(new)?;
    let exists = || Problem::conflict("organization_exists", "an organization with this id exists already").on("id");
    // The default organization always exists, even without a record.
    if id.as_str() == organization::DEFAULT {
        return Err(exists());
    }
    let now = fresh.at();
    let store = audit::store(&state, &author, Some(&id), created(&id, &name, limits));
    let is_new = organization::create(&store, &id, &name, limits, now).await?;
    let made = organization::get(&state.world.store, &id, now)
        .await?
        .ok_or_else(no_organization)?;
    // If it has the time of this very request, an earlier attempt of the same request created it.
    let is_ours = is_new || (fresh.is_repeat() && made.created_at == now);
    if !is_ours {
        return Err(exists());
    }
    Ok(Tagged::created(OrganizationView::of(made)))
}

/// Validates a new organization and returns its id, name and limits.
pub(crate) fn read_new(new: NewOrganization) -> Result<(OrganizationId, String, Limits), Problem> {
    let mut errors = FieldErrors::default();
    let id = errors.keep(validation::chosen_id(&new.id));
    let name = errors.keep(new.name.as_deref().map_or_else(|| Ok(new.id.clone()), validation::name));
    let limits = errors.keep(new.limits.unwrap_or_default().apply(Limits::default()));
    errors.end()?;
    let id = OrganizationId::new(id.unwrap_or_default());
    Ok((id, name.unwrap_or_default(), limits.unwrap_or_default()))
}

/// Validates the changes and returns name and limits with them applied.
pub(crate) fn read_patch(before: &Organization, patch: &OrganizationPatch) -> Result<(String, Limits), Problem> {
    let mut errors = FieldErrors::default();
    let name = errors.keep(validation::name(patch.name.as_deref().unwrap_or(&before.name)));
    let limits = patch.limits.as_ref().map(|limits| limits.apply(before.limits));
    let limits = limits.and_then(|limits| errors.keep(limits));
    errors.end()?;
    Ok((name.unwrap_or_default(), limits.unwrap_or(before.limits)))
}

/// Audit entry for creating an organization.
pub(crate) fn created(id: &OrganizationId, name: &str, limits: Limits) -> Change {
    Change::of("organization.create", ("organization", id.as_str(), Some(name))).to(shown(name, limits))
}

/// Audit entry for changing an organization.
pub(crate) fn updated(before: &Organization, name: &str, limits: Limits) -> Change {
    Change::of("organization.update", ("organization", before.id.as_str(), Some(name)))
        .between(&shown(&before.name, before.limits), &shown(name, limits))
}

/// Audit entry for deleting an organization.
pub(crate) fn deleted(made: &Organization) -> Change {
    Change::of(
        "organization.delete",
        ("organization", made.id.as_str(), Some(&made.name)),
    )
    .from(shown(&made.name, made.limits))
}

/// Name and limits in the form of a file.
pub(crate) fn form(organization: &Organization, name: &str, limits: Limits) -> Map<String, Value> {
    let view = OrganizationView::of(Organization {
        name: name.to_owned(),
        limits,
        ..organization.clone()
    });
    match serde_json::to_value(view) {
        Ok(Value::Object(mut fields)) => {
            fields.retain(|name, _| name == "name" || name == "limits");
            fields
        }
        _ => Map::new(),
    }
}

/// Returns an organization.
#[utoipa::path(get, path = "/api/v1/orgs/{org}", tag = "organizations", responses((status = 200, body = OrganizationView)))]
pub(crate) async fn get(State(state): State<AdminState>, scope: Scope) -> Result<Tagged<OrganizationView>, Problem> {
    let found = organization::get(&state.world.store, &scope.organization, state.now()).await?;
    found
        .map(OrganizationView::of)
        .map(Tagged::ok)
        .ok_or_else(no_organization)
}

/// Changes an organization. Needs the root token.
#[utoipa::path(patch, path = "/api/v1/orgs/{org}", tag = "organizations", request_body = OrganizationPatch,
    responses((status = 200, body = OrganizationView)))]
pub(crate) async fn patch(
    State(state): State<AdminState>,
    Root(author): Root,
    OrganizationInPath(id): OrganizationInPath,
    if_match: IfMatch,
    Body(patch): Body<OrganizationPatch>,
) -> Result<Tagged<OrganizationView>, Problem> {
    let (store, id) = (&state.world.store, OrganizationId::new(id));
    until_settled(|| async {
        let before = organization::get(store, &id, state.now())
            .await?
            .ok_or_else(no_organization)?;
        if_match.check(&etag::of_version(before.version))?;
        let (name, limits) = read_patch(&before, &patch)?;
        let audited = audit::store(&state, &author, Some(&id), updated(&before, &name, limits));
        let after = organization::update(&audited, &before, &name, limits).await?;
        Ok(Tagged::ok(OrganizationView::of(after)))
    })
    .await
}

/// The changeable fields of an organization, for the audit log.
fn shown(name: &str, limits: Limits) -> Shown {
    audit::shown(serde_json::json!({ "name": name, "limits": LimitsView::of(limits) }))
}

impl LimitsView {
    const fn of(limits: Limits) -> Self {
        Self {
            max_concurrent_runs: limits.max_concurrent_runs,
            max_messages_per_minute: limits.max_messages_per_minute,
        }
    }
}

impl OrganizationView {
    fn of(organization: Organization) -> Self {
        Self {
            id: organization.id.to_string(),
            name: organization.name,
            limits: LimitsView::of(organization.limits),
            etag: etag::of_version(organization.version),
            created_at: organization.created_at,
        }
    }
}
