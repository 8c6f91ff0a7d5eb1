//! What operators must be shown for a cause.

/// A bot into which a cause was injected.
pub(crate) struct Injected {
    /// The integration's id.
    pub(crate) integration: String,
    pub(crate) expected: Expected,
}

/// What status, doctor, log and overview show.
pub(crate) struct Expected {
    /// The doctor's check that is reported as the cause.
    pub(crate) check: &'static str,
    pub(crate) level: &'static str,
    /// The suggested action that fixes the cause.
    pub(crate) action: &'static str,
    /// Parts of the cause's text: a host, a field, a code.
    pub(crate) parts: Vec<String>,
    /// State and reason in the status.
    pub(crate) status: (&'static str, Option<&'static str>),
    /// Prefix of the code of the line in the log. `None`: the cause leaves no line.
    pub(crate) log: Option<&'static str>,
    /// The action on the overview. `None`: the bot is not listed there, because an operator chose that state, or because it still answers.
    pub(crate) overview: Option<&'static str>,
}

impl Expected {
    /// A check that fails, for a bot that is connected.
    pub(crate) fn failed(check: &'static str, action: &'static str, parts: &[&str]) -> Self {
        Self {
            check,
            level: "failed",
            action,
            parts: parts.iter().map(|&part| part.to_owned()).collect(),
            status: ("connected", None),
            log: None,
            overview: None,
        }
    }

    /// A check that warns.
    pub(crate) fn warning(check: &'static str, action: &'static str, parts: &[&str]) -> Self {
        Self {
            level: "warning",
            ..Self::failed(check, action, parts)
        }
    }

    pub(crate) fn status(self, state: &'static str, reason: Option<&'static str>) -> Self {
        Self {
            status: (state, reason),
            ..self
        }
    }

    pub(crate) fn log(self, code: &'static str) -> Self {
        Self {
            log: Some(code),
            ..self
        }
    }

    pub(crate) fn overview(self, action: &'static str) -> Self {
        Self {
            overview: Some(action),
            ..self
        }
    }

    /// Attaches the expectation to the bot.
    pub(crate) fn of(self, integration: impl Into<String>) -> Injected {
        Injected {
            integration: integration.into(),
            expected: self,
        }
    }
}
