//! The surfaces that show text: they read different parts of Markdown.

/// What a text is shown on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Surface {
    /// A card's markdown element.
    Card,
    /// A card that has refused its tables: they are shown as code.
    CardWithoutTables,
    /// A post's `md` node, which knows no tables.
    Post,
    /// A text message.
    Text,
}

impl Surface {
    pub(super) const fn is_card(self) -> bool {
        matches!(self, Self::Card | Self::CardWithoutTables)
    }
}
