//! The platform's error codes that we act on. Every other one is permanent.
//!
//! See [Feishu Docs/通用错误码](https://open.feishu.cn/document/ukTMukTMukTM/ugjM14COyUjL4ITN),
//! [发送消息](https://open.feishu.cn/document/uAjLw4CM/ukTMukTMukTM/reference/im-v1/message/create) and
//! [流式更新文本](https://open.feishu.cn/document/uAjLw4CM/ukTMukTMukTM/cardkit-v1/card-element/content).

/// What a code asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    /// The access token is not valid any more.
    Token,
    /// Too fast, or too many at once.
    Busy,
    /// The platform's own trouble, or something that is just happening.
    Passing,
    /// The message that is answered is withdrawn, deleted or not visible.
    TargetGone,
    /// The chat takes no replies in topics.
    NoTopic,
    /// The chat or the person can't be reached, or not by this bot.
    Unreachable,
    /// The text itself is refused.
    Withheld,
    /// The text is too long.
    TooLong,
    /// More tables or elements than a card holds.
    TooManyTables,
    /// Streaming has ended: it can be switched on again.
    StreamClosed,
    /// Somebody is just clicking on the card.
    Clicking,
    /// The sequence number, or the idempotency key, is used up: the next one.
    Sequence,
    /// This card takes no more.
    CardFull,
    /// Not this way.
    Other,
}

/// Success.
pub(super) const OK: i64 = 0;
/// The bot lacks a permission.
pub(super) const SCOPE_MISSING: i64 = 99_991_672;
/// The code under which the platform wraps a card's faults; the fault itself is in the message.
const CARD_FAULT: i64 = 230_099;

pub(super) fn meaning(code: i64, message: &str) -> Meaning {
    match code {
        99_991_663 | 99_991_664 | 99_991_665 | 99_991_671 => Meaning::Token,
        99_991_400 | 11_232 | 230_020 => Meaning::Busy,
        230_049 => Meaning::Passing,
        // 231003 is the reactions' word for it.
        230_011 | 230_019 | 230_050 | 230_110 | 231_003 => Meaning::TargetGone,
        230_071 | 230_072 => Meaning::NoTopic,
        99_991_662 | 99_991_401 | 99_991_403 => Meaning::Unreachable,
        230_002 | 230_006 | 230_013 | 230_015 | 230_017 | 230_018 => Meaning::Unreachable,
        230_027 | 230_029 | 230_034 | 230_035 | 230_036 | 230_038 | 230_053 => Meaning::Unreachable,
        230_075 | 232_009 | 99_992_351 | 99_992_361 => Meaning::Unreachable,
        230_022 | 230_028 => Meaning::Withheld,
        230_025 => Meaning::TooLong,
        200_510 | 200_850 | 300_309 => Meaning::StreamClosed,
        200_810 => Meaning::Clicking,
        200_770 | 300_120 | 300_317 => Meaning::Sequence,
        200_740 | 200_750 | 200_860 | 300_305 | 230_031 => Meaning::CardFull,
        CARD_FAULT => card_fault(message),
        _ => Meaning::Other,
    }
}

/// `Failed to create card content, ext=ErrCode: 11310; ErrMsg: card table number over limit; ErrorValue: table; `
fn card_fault(message: &str) -> Meaning {
    let inner = message.split_once("ErrCode:").map(|(_, rest)| rest.trim_start());
    let digits = inner.and_then(|rest| rest.split(|c: char| !c.is_ascii_digit()).next());
    match digits.and_then(|digits| digits.parse::<i64>().ok()) {
        Some(11_310) if message.contains("table") => Meaning::TooManyTables,
        Some(11_310) => Meaning::TooLong,
        Some(code) if code != CARD_FAULT => match meaning(code, "") {
            Meaning::CardFull => Meaning::TooLong,
            inner => inner,
        },
        _ => Meaning::Other,
    }
}

/// Whether asking again may help.
pub(super) fn is_passing(code: i64) -> bool {
    matches!(meaning(code, ""), Meaning::Busy | Meaning::Passing)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn card_faults_are_read_from_the_message() {
        let tables = "Failed to create card content, ext=ErrCode: 11310; ErrMsg: card table number over limit; ErrorValue: table; ";
        assert_eq!(meaning(230_099, tables), Meaning::TooManyTables);
        assert_eq!(
            meaning(230_099, "ext=ErrCode: 11310; ErrMsg: element exceeds the limit"),
            Meaning::TooLong
        );
        assert_eq!(meaning(230_099, "ext=ErrCode: 100290; ErrMsg: bad at"), Meaning::Other);
        assert_eq!(meaning(230_099, "ext=ErrCode: 230099; "), Meaning::Other);
        assert_eq!(meaning(230_099, ""), Meaning::Other);
    }
}
