//! Surfaces that show text: each supports a different part of Markdown.

/// A surface that shows text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Surface {
    /// A card's markdown element.
    Card,
    /// A card whose tables were refused: they are shown as code.
    CardWithoutTables,
    /// A post's `md` node, which doesn't support tables.
    Post,
    /// A text message.
    Text,
}

impl Surface {
    pub(super) const fn is_card(self) -> bool {
        matches!(self, Self::Card | Self::CardWithoutTables)
    }
}
