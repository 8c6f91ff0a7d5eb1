//! Pagination of lists.

use serde::{Deserialize, Serialize};
use tieline_store::Page;
use utoipa::{IntoParams, ToSchema};

use crate::problem::Problem;

/// Default number of items per page.
const DEFAULT_LIMIT: usize = 50;
/// Maximum number of items per page.
const MAX_LIMIT: usize = 200;

/// Pagination parameters.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct PageQuery {
    /// `nextCursor` of the page before.
    pub(crate) cursor: Option<String>,
    /// Most items of the page: 1 to 200, 50 if absent.
    pub(crate) limit: Option<usize>,
}

/// Pagination parameters of a list of existing or of deleted resources.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct KeptQuery {
    /// Lists resources deleted in the last 30 days instead, which `restore` brings back.
    #[serde(default)]
    pub(crate) deleted: bool,
    /// `nextCursor` of the page before.
    pub(crate) cursor: Option<String>,
    /// Most items of the page: 1 to 200, 50 if absent.
    pub(crate) limit: Option<usize>,
}

/// One page of a list.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct List<T> {
    /// The items.
    pub(crate) items: Vec<T>,
    /// Cursor of the next page; null on the last one.
    pub(crate) next_cursor: Option<String>,
}

impl<T> List<T> {
    /// A page with each item converted by `show`.
    pub(crate) fn of<R>(page: Page<R>, show: impl FnMut(R) -> T) -> Self {
        Self {
            items: page.items.into_iter().map(show).collect(),
            next_cursor: page.cursor,
        }
    }
}

/// Validates the page size.
pub(crate) fn limit(asked: Option<usize>) -> Result<usize, Problem> {
    match asked {
        None => Ok(DEFAULT_LIMIT),
        Some(0) => Err(Problem::invalid("limit", "must be at least 1")),
        Some(limit) => Ok(limit.min(MAX_LIMIT)),
    }
}

/// The cursor, if there is one.
pub(crate) fn cursor(asked: Option<&str>) -> Option<&str> {
    asked.filter(|cursor| !cursor.is_empty())
}
