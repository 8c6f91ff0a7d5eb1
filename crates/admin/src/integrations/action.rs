//! Actions that console and command line offer for a finding.

/// An action that console and command line can carry out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    Start,
    Restart,
    EditSettings,
    EditCredentials,
    CreateTrigger,
    EditTrigger,
    EditAccess,
    EnableTrigger,
    Login,
    EditAgent,
    TestAgent,
    Redrive,
    CopyCallbackUrl,
    SetPublicUrl,
    ViewLog,
    ViewMessage,
    EditOrganization,
}

impl Action {
    /// All actions.
    #[cfg(test)]
    pub(crate) const ALL: [Self; 17] = [
        Self::Start,
        Self::Restart,
        Self::EditSettings,
        Self::EditCredentials,
        Self::CreateTrigger,
        Self::EditTrigger,
        Self::EditAccess,
        Self::EnableTrigger,
        Self::Login,
        Self::EditAgent,
        Self::TestAgent,
        Self::Redrive,
        Self::CopyCallbackUrl,
        Self::SetPublicUrl,
        Self::ViewLog,
        Self::ViewMessage,
        Self::EditOrganization,
    ];

    /// Its stable code.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Restart => "restart",
            Self::EditSettings => "edit_settings",
            Self::EditCredentials => "edit_credentials",
            Self::CreateTrigger => "create_trigger",
            Self::EditTrigger => "edit_trigger",
            Self::EditAccess => "edit_access",
            Self::EnableTrigger => "enable_trigger",
            Self::Login => "login",
            Self::EditAgent => "edit_agent",
            Self::TestAgent => "test_agent",
            Self::Redrive => "redrive",
            Self::CopyCallbackUrl => "copy_callback_url",
            Self::SetPublicUrl => "set_public_url",
            Self::ViewLog => "view_log",
            Self::ViewMessage => "view_message",
            Self::EditOrganization => "edit_organization",
        }
    }
}
