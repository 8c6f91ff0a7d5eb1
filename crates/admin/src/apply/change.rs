//! The changes that applying a file makes, without secrets.

use serde::Serialize;
use utoipa::ToSchema;

use super::difference::FieldChange;
use crate::integrations::impact::Impact;

/// An object that is created, changed or deleted.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Change {
    action: Action,
    kind: Kind,
    /// For a trigger: its integration and its agent.
    name: String,
    /// Null if it has no id yet.
    id: Option<String>,
    fields: Vec<FieldChange>,
    /// Of what is deleted: who is affected.
    #[serde(skip_serializing_if = "Option::is_none")]
    impact: Option<Impact>,
}

/// What is done to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Action {
    Create,
    Update,
    Delete,
}

/// The kind of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = AppliedKind)]
pub(crate) enum Kind {
    Organization,
    Agent,
    Integration,
    Trigger,
    Notify,
}

impl Change {
    pub(super) fn created(kind: Kind, name: &str, id: Option<&str>, fields: Vec<FieldChange>) -> Self {
        Self {
            action: Action::Create,
            kind,
            name: name.to_owned(),
            id: id.map(str::to_owned),
            fields,
            impact: None,
        }
    }

    pub(super) fn updated(kind: Kind, name: &str, id: &str, fields: Vec<FieldChange>) -> Self {
        Self {
            action: Action::Update,
            ..Self::created(kind, name, Some(id), fields)
        }
    }

    pub(super) fn deleted(kind: Kind, name: &str, id: &str) -> Self {
        Self {
            action: Action::Delete,
            ..Self::created(kind, name, Some(id), Vec::new())
        }
    }

    pub(super) fn affecting(self, impact: Impact) -> Self {
        Self {
            impact: Some(impact),
            ..self
        }
    }

    /// Like `self`, but for a dry run: an id that was only generated for the plan is left out.
    pub(super) fn planned(self) -> Self {
        match self.action {
            Action::Create => Self { id: None, ..self },
            Action::Update | Action::Delete => self,
        }
    }

    /// Whether it is shown: a write that only prepares another one changes no field of the file's.
    pub(super) fn is_shown(&self) -> bool {
        self.action != Action::Update || !self.fields.is_empty()
    }

    pub(super) const fn action(&self) -> Action {
        self.action
    }

    /// The name of the object in messages.
    pub(super) fn title(&self) -> String {
        let kind = match self.kind {
            Kind::Organization => "organization",
            Kind::Agent => "agent",
            Kind::Integration => "integration",
            Kind::Trigger => "trigger",
            Kind::Notify => "notifications of",
        };
        format!("{kind} {}", self.name)
    }
}
