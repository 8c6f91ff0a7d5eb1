//! URL and secret of an endpoint that receives requests signed according to Standard Webhooks: notifications and mappers.

use serde_json::{Map, json};
use tieline_core::secret::Secret;
use tieline_core::webhook_signature::SigningKeys;

use crate::mask::MASK;
use crate::problem::Problem;
use crate::secret_origin;
use crate::state::AdminState;
use crate::validation::{self, Protocol};

/// Minimum length of a secret, in characters.
const MIN_SECRET_CHARS: usize = 16;

/// Validates the endpoint after a change. `group` is the path of the object that has the fields `url` and `secret`, empty for the body
/// itself. A secret that is absent, empty or masked is kept, unless the address moves to another origin.
pub(crate) fn read(
    state: &AdminState,
    group: &str,
    before: Option<(&str, &Secret)>,
    (url, secret): (&str, Option<&str>),
) -> Result<(String, Secret), Problem> {
    let field = |name: &str| secret_origin::field(group, name);
    let url = url.trim();
    validation::address(&field("url"), url, Protocol::Http, state.allow_private())?;
    let given = secret.filter(|secret| !secret.is_empty() && *secret != MASK);
    let secret = match (given, before) {
        (Some(given), _) => given,
        (None, Some((from, secret))) => {
            let before = Map::from_iter([("secret".to_owned(), json!(secret.expose()))]);
            secret_origin::check(group, &before, None, |_| true, [("url", from)], [("url", url)])?;
            secret.expose()
        }
        (None, None) => return Err(Problem::invalid(field("secret"), "is required")),
    };
    if secret.chars().count() < MIN_SECRET_CHARS {
        return Err(Problem::invalid(field("secret"), "must have at least 16 characters"));
    }
    if SigningKeys::read(&[secret]).is_err() {
        return Err(Problem::invalid(field("secret"), "must have base64 after whsec_"));
    }
    Ok((url.to_owned(), Secret::new(secret)))
}
