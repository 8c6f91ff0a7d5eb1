//! A whole organization as one file: apply and export.
//!
//! The server parses the file, so that every mistake is reported with its line. It validates the whole file before the first write, and
//! compares secrets, which only the server sees. Resources that the file doesn't name stay, unless `prune` is set.

mod attempt;
mod change;
mod current;
mod difference;
mod execute;
mod expand;
pub(crate) mod export;
mod file;
mod forms;
mod mistakes;
mod plan;
mod positions;
mod source;

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Request, State};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tieline_bridge::operator::{self, Operator};
use tieline_core::ids::OrganizationId;
use utoipa::{IntoParams, ToSchema};

use self::change::{Action, Change};
use self::current::Current;
pub use self::export::json_text;
use self::file::OrganizationEntry;
use self::mistakes::{Mistake, Mistakes};
use self::plan::Wanted;
use self::positions::Positions;
use crate::audit::Author;
use crate::auth::{Caller, Scope, no_organization};
use crate::body::{self, Query};
use crate::client_address::Client;
use crate::fresh::Fresh;
use crate::path::OrganizationInPath;
use crate::problem::Problem;
use crate::retry::until_settled;
use crate::state::AdminState;

/// Options of applying a file.
#[derive(Debug, Clone, Copy, Default, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ApplyQuery {
    /// Dry run: the file is only checked and compared, nothing changes.
    #[serde(default)]
    #[param(required = false)]
    dry_run: bool,
    /// Whether agents, integrations and triggers that the file doesn't name are deleted.
    #[serde(default)]
    #[param(required = false)]
    prune: bool,
}

/// A file and the values of its variables.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ApplyRequest {
    /// The file's text: YAML or JSON.
    file: String,
    /// Values of the `${NAME}` variables in the file, by name.
    #[serde(default)]
    variables: BTreeMap<String, String>,
}

/// The changes that applying a file makes, or in a dry run would make.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Applied {
    dry_run: bool,
    created: usize,
    updated: usize,
    unchanged: usize,
    deleted: usize,
    /// In the order in which they are made.
    changes: Vec<Change>,
}

/// A rejected file. `errors` lists its mistakes with their lines, in file order; of more than 100, the first 100 that were found.
#[derive(Serialize, ToSchema)]
pub(crate) struct InvalidFile {
    #[serde(flatten)]
    problem: Problem,
    errors: Vec<Mistake>,
}

/// Applies a file to an organization, all or nothing, and returns the changes. Resources that the file doesn't name stay.
///
/// The body is the file as YAML (or JSON), or a JSON object of the file's text and its variables. A file has the lists `agents`,
/// `integrations` and `triggers`, at its top or below `organizations`; of `organizations`, the one in the path is applied. A file that
/// names an organization that doesn't exist yet creates it; this needs the root token.
#[utoipa::path(post, path = "/api/v1/orgs/{org}/apply", tag = "organizations", params(ApplyQuery),
    request_body(content((ApplyRequest = "application/json"), (String = "application/yaml"))),
    responses((status = 200, body = Applied),
        (status = 400, body = InvalidFile, description = "`invalid_file`, with `errors`: nothing was changed"),
        (status = 409, body = Problem, description = "`conflict`, `account_in_use`, `name_taken`, `in_use`: nothing was changed. \
            `applied_in_part`, with `applied`: not everything that was written before the conflict could be taken back")))]
pub(crate) async fn apply(
    State(state): State<AdminState>,
    Caller(caller): Caller,
    Client(address): Client,
    OrganizationInPath(id): OrganizationInPath,
    Query(query): Query<ApplyQuery>,
    fresh: Fresh,
    request: Request,
) -> Result<Json<Applied>, Problem> {
    let scope = Scope {
        organization: OrganizationId::new(id),
        author: Author::of(&caller, address),
    };
    authorize(&caller.operator, &scope.organization)?;
    let request = read(request).await?;
    let source = source::read(&request.file).map_err(mistakes::unreadable)?;
    let (value, positions) = (source.value, source.positions);
    let (filled, mut early) = fill(&value, &request.variables, &positions);
    let entry = file::read(scope.organization.as_str(), (filled, value), &mut early);
    let Some(entry) = entry else {
        return Err(early.into_problem());
    };
    let wanted = Wanted {
        scope: &scope,
        fresh: &fresh,
        entry: &entry,
        is_root: caller.operator == Operator::Root,
        prune: query.prune,
    };
    until_settled(|| attempt(&state, &wanted, early.clone(), query.dry_run))
        .await
        .map(Json)
}

fn authorize(caller: &Operator, id: &OrganizationId) -> Result<(), Problem> {
    if !operator::may_read(caller, id) {
        return Err(no_organization());
    }
    if !operator::may_write(caller, id) {
        return Err(Problem::forbidden("this token is read-only"));
    }
    Ok(())
}

/// The file's text with its variables, or the text alone if the body isn't a JSON object with a `file`.
async fn read(request: Request) -> Result<ApplyRequest, Problem> {
    let bytes = body::read(request).await?;
    let is_envelope = serde_json::from_slice::<Value>(&bytes).is_ok_and(|body| body.get("file").is_some());
    if is_envelope {
        return body::parse(&bytes);
    }
    let file = String::from_utf8(bytes).map_err(|error| {
        let line = error.as_bytes()[..error.utf8_error().valid_up_to()]
            .iter()
            .filter(|byte| **byte == b'\n')
            .count()
            + 1;
        let detail = format!("the file is not UTF-8: line {line}");
        Problem::new(axum::http::StatusCode::BAD_REQUEST, "invalid_body", detail)
    })?;
    Ok(ApplyRequest {
        file,
        variables: BTreeMap::new(),
    })
}

/// Expands the variables of one text of a file, as the server does. Those without a value stay as written.
#[must_use]
pub fn expanded(text: &str, variables: &BTreeMap<String, String>) -> String {
    expand::expand_text(text, &|name| variables.get(name).cloned())
}

fn fill<'a>(value: &Value, variables: &BTreeMap<String, String>, positions: &'a Positions) -> (Value, Mistakes<'a>) {
    let mut mistakes = Mistakes::new(positions);
    let expanded = expand::expand(value, &|name| variables.get(name).cloned());
    for (field, names) in &expanded.missing {
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let reason = match names.as_slice() {
            [one] => format!("names the variable {one}, which is not set; `$${{` is a plain `${{`"),
            several => format!(
                "names the variables {}, which are not set; `$${{` is a plain `${{`",
                several.join(", ")
            ),
        };
        mistakes.invalid(field, &reason);
    }
    if expanded.is_too_long {
        mistakes.invalid("", "the file is too long with its variables filled in");
    }
    (expanded.value, mistakes)
}

async fn attempt(
    state: &AdminState,
    wanted: &Wanted<'_>,
    mut mistakes: Mistakes<'_>,
    dry_run: bool,
) -> Result<Applied, Problem> {
    let current = Current::read(state, &wanted.scope.organization).await?;
    if current.organization.is_none() && (!wanted.is_root || !names_itself(wanted.entry)) {
        return Err(no_organization());
    }
    let plan = plan::plan(state, wanted, &current, &mut mistakes).await?;
    if !mistakes.is_empty() {
        return Err(mistakes.into_problem());
    }
    let unchanged = plan.n_unchanged;
    let changes = if dry_run {
        let changes = plan.steps.into_iter().map(|(_, change)| change.planned());
        changes.filter(Change::is_shown).collect()
    } else {
        execute::execute(state, wanted.scope, plan).await?
    };
    Ok(Applied::of(dry_run, unchanged, changes))
}

fn names_itself(entry: &OrganizationEntry) -> bool {
    !entry.at.is_empty()
}

impl Applied {
    fn of(dry_run: bool, unchanged: usize, changes: Vec<Change>) -> Self {
        let count = |action| changes.iter().filter(|change| change.action() == action).count();
        Self {
            dry_run,
            created: count(Action::Create),
            updated: count(Action::Update),
            unchanged,
            deleted: count(Action::Delete),
            changes,
        }
    }
}
