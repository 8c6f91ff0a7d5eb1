//! Credentials in use: short-lived access tokens, and whether the platform accepts the credentials at all.

use super::Context;
use crate::account::Credentials;
use crate::http_types::{AccessToken, ApiAnswer, HttpCall};

/// Exchange of credentials for short-lived access tokens.
pub trait TokenExchange: Sync {
    /// The call that requests a token.
    fn request(&self, cx: &Context<'_>) -> HttpCall;

    /// Reads the answer.
    ///
    /// # Errors
    /// [`TokenError`] if there is no token in it.
    fn read(&self, answer: &ApiAnswer, cx: &Context<'_>) -> Result<AccessToken, TokenError>;
}

/// Why there is no access token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// The credentials are wrong: a retry changes nothing.
    #[error("the platform refuses the credentials: code {code}")]
    Refused {
        /// The platform's code.
        code: String,
    },
    /// A transient failure.
    #[error("no access token: {code}")]
    Unavailable {
        /// The platform's code, or what happened.
        code: String,
    },
}

/// A call that shows whether the credentials work, and the reader of its answer.
#[derive(Debug, Clone)]
pub struct Probe {
    /// The call. It changes nothing on the platform.
    pub call: HttpCall,
    /// Reads the answer: facts about the bot (its own id, by which mentions of it are recognized, say). They are stored beside the
    /// credentials and passed to [`super::Connector::prepare`] from then on; connectors must work without them, if less well.
    pub read: fn(&ApiAnswer) -> Result<Credentials, TokenError>,
    /// Whether such a fact is still unknown, so that messages are read less well than they could be.
    pub is_needed: bool,
}

/// Reads the answer of a probe by its HTTP status alone.
///
/// # Errors
/// [`TokenError::Refused`] for 401 and 403, [`TokenError::Unavailable`] for everything else but success.
pub fn probe_by_status(answer: &ApiAnswer) -> Result<Credentials, TokenError> {
    match answer {
        ApiAnswer::Answered { status: 200..=299, .. } => Ok(Credentials::default()),
        ApiAnswer::Answered { status: 401 | 403, .. } => Err(TokenError::Refused {
            code: "unauthorized".to_owned(),
        }),
        ApiAnswer::Answered { status, .. } => Err(TokenError::Unavailable {
            code: status.to_string(),
        }),
        ApiAnswer::NotSent | ApiAnswer::Unknown => Err(TokenError::Unavailable {
            code: "unreachable".to_owned(),
        }),
    }
}
