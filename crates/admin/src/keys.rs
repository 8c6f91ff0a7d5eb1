//! Rotation of the data key by the root operator.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use tieline_bridge::error_chain::chain;
use tieline_bridge::world::World;
use tieline_core::timestamp::Timestamp;
use tieline_store::data_keys::DataKeyError;
use tieline_store::rotation::{self, DataKey, Phase, Rotation};
use tokio::time::sleep;
use tracing::{error, warn};
use utoipa::{IntoParams, ToSchema};

use crate::audit::{self, Change};
use crate::auth::Root;
use crate::body::Query;
use crate::problem::Problem;
use crate::state::AdminState;

/// Time limit of one pass of resealing: a Lambda function ends after 29 s, and its other work comes first.
const PATIENCE: Duration = Duration::from_secs(12);
/// Interval between two passes of a long-lived process: a rotation because of a leaked key shouldn't wait for long.
const PERIOD: Duration = Duration::from_secs(10);
/// Interval while a rotation is in progress.
const SOON: Duration = Duration::from_secs(1);

/// The data keys, and the progress of their rotation.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Keys {
    /// All data keys, newest first.
    keys: Vec<DataKeyView>,
    phase: PhaseView,
    /// Values that were resealed with the newest key.
    n_resealed: u64,
    /// Values that no key could decrypt in the latest pass.
    n_unreadable: u64,
}

/// A data key, without the key itself.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = DataKey)]
pub(crate) struct DataKeyView {
    /// The key's version, which is stored with each value that it seals.
    version: u8,
    /// When it began, or will begin, to seal. Null: with the first start.
    #[schema(value_type = Option<String>, format = DateTime)]
    seals_from: Option<Timestamp>,
    /// When it is retired. Null: it is the newest key.
    #[schema(value_type = Option<String>, format = DateTime)]
    retired_at: Option<Timestamp>,
}

/// The phase of a rotation.
#[derive(Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = RotationPhase)]
pub(crate) enum PhaseView {
    /// No rotation: there is one key.
    Idle,
    /// The newest key doesn't seal yet, because some processes may not know it.
    Announced,
    /// Values sealed with older keys are resealed.
    Resealing,
    /// No value in the tables needs an older key; messages in queues and links may.
    Retiring,
}

/// Returns the data keys and the progress of their rotation.
#[utoipa::path(get, path = "/api/v1/keys", tag = "keys",
    responses((status = 200, body = Keys), (status = 403, body = Problem, description = "`forbidden`: this needs the root token"),
        (status = 409, body = Problem, description = "`key_not_rotatable`")))]
pub(crate) async fn show(State(state): State<AdminState>, _root: Root) -> Result<Json<Keys>, Problem> {
    let rotation = rotation::status(&state.world.store, state.now()).await?;
    Ok(Json(Keys::of(rotation)))
}

/// Options of a rotation.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct RotateQuery {
    /// Whether older keys are retired 15 minutes after the newest began to seal, because one of them is compromised. Links, sessions and
    /// the tokens of agents' callbacks become invalid then, and messages that have waited in a queue for longer are lost.
    #[serde(default)]
    retire_now: bool,
}

/// Starts to rotate the data key, or returns the rotation in progress. It continues in the background.
#[utoipa::path(post, path = "/api/v1/keys/rotate", tag = "keys", params(RotateQuery),
    responses((status = 202, body = Keys), (status = 409, body = Problem, description = "`key_not_rotatable`")))]
pub(crate) async fn rotate(
    State(state): State<AdminState>,
    Root(author): Root,
    Query(query): Query<RotateQuery>,
) -> Result<(StatusCode, Json<Keys>), Problem> {
    let change = Change::plain(if query.retire_now {
        "keys.retire_now"
    } else {
        "keys.rotate"
    });
    audit::note(&state, &author, None, change).await?;
    let mut rotation = rotation::begin(&state.world.store, state.now()).await?;
    if query.retire_now {
        rotation = rotation::retire_at_once(&state.world.store, state.now()).await?;
    }
    Ok((StatusCode::ACCEPTED, Json(Keys::of(rotation))))
}

/// Continues a rotation for a limited time. Errors are logged; the next pass retries.
pub async fn advance(world: &World) {
    if let Err(error) = rotation::advance(&world.store, world.clock.now(), PATIENCE).await {
        warn!(
            error = chain(&error),
            "rotation of the data key is interrupted; it is continued within a minute"
        );
    }
}

/// Continues rotations for as long as the process lives, and adopts a new key as soon as it seals.
pub async fn watch(world: World) {
    loop {
        let status = rotation::status(&world.store, world.clock.now()).await;
        let is_under_way = status.is_ok_and(|rotation| matches!(rotation.phase, Phase::Announced | Phase::Resealing));
        sleep(if is_under_way { SOON } else { PERIOD }).await;
        advance(&world).await;
    }
}

impl Keys {
    fn of(rotation: Rotation) -> Self {
        Self {
            keys: rotation.keys.into_iter().map(DataKeyView::of).collect(),
            phase: match rotation.phase {
                Phase::Idle => PhaseView::Idle,
                Phase::Announced => PhaseView::Announced,
                Phase::Resealing => PhaseView::Resealing,
                Phase::Retiring => PhaseView::Retiring,
            },
            n_resealed: rotation.n_resealed,
            n_unreadable: rotation.n_unreadable,
        }
    }
}

impl DataKeyView {
    fn of(key: DataKey) -> Self {
        Self {
            version: key.version,
            seals_from: key.seals_from,
            retired_at: key.retired_at,
        }
    }
}

impl From<DataKeyError> for Problem {
    fn from(failure: DataKeyError) -> Self {
        match failure {
            DataKeyError::Store(failure) => failure.into(),
            DataKeyError::Given => Self::new(
                StatusCode::CONFLICT,
                "key_not_rotatable",
                "the data key was given to the program and is not kept by it, so it can't be rotated",
            ),
            DataKeyError::NoVersionLeft => Self::new(
                StatusCode::CONFLICT,
                "key_not_rotatable",
                "every version of the data key is in use; wait until older ones are retired",
            ),
            failure => {
                error!(error = chain(&failure), "data keys can't be rotated");
                Self::unavailable("the data keys can't be reached; try again")
            }
        }
    }
}
