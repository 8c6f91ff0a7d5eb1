//! QR code login: credentials that a platform issues when a person scans a QR code with its app.

use crate::account::Credentials;
use crate::connector::context::Context;
use crate::http_types::{ApiAnswer, HttpCall};
use crate::timestamp::Timestamp;

/// QR code login of a platform. Pure; the bridge keeps the state between the calls.
pub trait ScanLogin: Sync {
    /// The call that requests a QR code. `signed_out`: the platform has ended the account's current login, if it has one.
    fn start(&self, signed_out: bool, cx: &Context<'_>) -> HttpCall;

    /// Reads the answer to [`ScanLogin::start`].
    ///
    /// # Errors
    /// [`LoginError`] if the answer has no code.
    fn read_code(&self, answer: &ApiAnswer, cx: &Context<'_>) -> Result<LoginCode, LoginError>;

    /// The call that asks for the state of a code. `ticket` is that of the code, or of the latest [`LoginProgress::Moved`];
    /// `verify_code` are the digits that the operator typed after [`LoginProgress::VerifyCodeNeeded`].
    fn poll(&self, ticket: &str, verify_code: Option<&str>, cx: &Context<'_>) -> HttpCall;

    /// Reads the answer to [`ScanLogin::poll`]. No answer in time is [`LoginProgress::Waiting`].
    ///
    /// # Errors
    /// [`LoginError`] if it can't be understood: the poll is repeated.
    fn read_progress(&self, ticket: &str, answer: &ApiAnswer, cx: &Context<'_>) -> Result<LoginProgress, LoginError>;
}

/// A QR code to be scanned.
#[derive(Clone, PartialEq, Eq)]
pub struct LoginCode {
    /// The text of the QR code. The person who scans it becomes the owner of the bot.
    pub qr_url: String,
    /// What the connector needs to poll the code's state, in its own format.
    pub ticket: String,
    /// When the code expires.
    pub expires_at: Timestamp,
}

impl std::fmt::Debug for LoginCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LoginCode(..)")
    }
}

/// State of a QR code.
#[derive(Debug, Clone, PartialEq)]
pub enum LoginProgress {
    /// Nothing new.
    Waiting,
    /// Scanned; the person has yet to confirm.
    Scanned,
    /// The app shows digits that the operator has to type.
    VerifyCodeNeeded,
    /// To be polled with this ticket from now on.
    Moved {
        /// The new ticket.
        ticket: String,
    },
    /// Confirmed, with the credentials that [`crate::connector::Connector::prepare`] gets from now on.
    Confirmed(Credentials),
    /// Confirmed: the person is logged in already with the credentials that the account has.
    AlreadyConfirmed,
    /// The code has expired, or can't be used any more.
    Expired,
    /// The platform refuses, or its answer contains something forbidden.
    Refused {
        /// The platform's code, or ours.
        code: String,
    },
}

/// Why the platform's answer can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the platform can't log the bot in at the moment: {code}")]
pub struct LoginError {
    /// The platform's code, or what happened.
    pub code: String,
}
