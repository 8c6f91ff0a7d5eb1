//! Texts shown to people who ask to use a bot, approve others, or link themselves.

use crate::notice::Language;
use crate::quiet_hours::QuietHours;

/// A text about access to a bot and its limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PeopleReply {
    /// A stranger's code.
    PairingCode(String),
    /// Too many strangers are waiting already.
    PairingFull,
    /// A stranger was let in.
    Approved(String),
    /// The pairing code is unknown, used or expired.
    WrongCode,
    /// The code for linking is unknown, used or expired.
    WrongLinkCode,
    /// Guesses are checked again after so many seconds.
    GuessLater(u64),
    /// Only people who are linked may approve others.
    OnlyLinked,
    /// The command needs a pairing code.
    CodeMissing,
    /// The command needs a code for linking.
    LinkCodeMissing,
    /// The person is linked now.
    Linked(String),
    /// The bot answers no questions during these hours.
    Quiet(QuietHours),
    /// The person asks too often, and may again after so many seconds.
    TooOften(u64),
    /// All people together ask too often, and may again after so many seconds.
    TooMany(u64),
    /// The organization's mapper doesn't know the person.
    UnknownPerson,
}

impl PeopleReply {
    /// The text.
    #[must_use]
    pub fn text(&self, language: Language) -> String {
        match language {
            Language::English => self.english(),
            Language::Chinese => self.chinese(),
        }
    }

    fn english(&self) -> String {
        match self {
            Self::PairingCode(code) => format!(
                "We haven't met yet. Please give this code to your administrator, or to a colleague who already uses this bot: {code}\nIt is good for one hour. Once it is approved, just write again."
            ),
            Self::PairingFull => "We haven't met yet, and others are waiting to be let in. Please try again in an hour, or ask your administrator.".to_owned(),
            Self::Approved(name) => format!("Thank you. {name} may use this bot now."),
            Self::WrongCode => "This code is not valid: it may be mistyped, used already, or older than an hour.".to_owned(),
            Self::WrongLinkCode => "This code is not valid: it may be mistyped, used already, or older than a day. Please ask your administrator for a new one.".to_owned(),
            Self::GuessLater(seconds) => format!("Too many wrong codes. Please try again in {seconds} s."),
            Self::OnlyLinked => "Only people whom the administrator has linked can approve others.".to_owned(),
            Self::CodeMissing => "Please put the code after the command.".to_owned(),
            Self::LinkCodeMissing => "Please put the code from your administrator after the command.".to_owned(),
            Self::Linked(person) => format!("Done. You are linked to {person}."),
            Self::Quiet(hours) => format!("This bot answers no questions at these hours: {hours}. Please ask again later."),
            Self::TooOften(seconds) => {
                format!("You are asking faster than this bot may answer. Please try again in {seconds} s.")
            }
            Self::TooMany(seconds) => format!("Too many questions at the moment. Please try again in {seconds} s."),
            Self::UnknownPerson => {
                "This bot answers people whom your organization knows, and your account is not among them. Please ask your administrator.".to_owned()
            }
        }
    }

    fn chinese(&self) -> String {
        match self {
            Self::PairingCode(code) => format!(
                "我们还不认识。请将此配对码交给管理员，或已在使用本机器人的同事：{code}\n有效期一小时。批准后直接再发消息即可。"
            ),
            Self::PairingFull => "我们还不认识，且已有其他人在等待批准。请一小时后再试，或联系管理员。".to_owned(),
            Self::Approved(name) => format!("谢谢，{name} 现在可以使用本机器人了。"),
            Self::WrongCode => "配对码无效：可能输入有误、已被使用，或已超过一小时。".to_owned(),
            Self::WrongLinkCode => {
                "关联码无效：可能输入有误、已被使用，或已超过一天。请向管理员索取新的关联码。".to_owned()
            }
            Self::GuessLater(seconds) => format!("错误次数过多，请在 {seconds} 秒后重试。"),
            Self::OnlyLinked => "只有已由管理员关联身份的人员才能批准他人。".to_owned(),
            Self::CodeMissing => "请在命令后附上配对码。".to_owned(),
            Self::LinkCodeMissing => "请在命令后附上关联码。".to_owned(),
            Self::Linked(person) => format!("完成，您已关联为 {person}。"),
            Self::Quiet(hours) => format!("本机器人在以下时段不回答问题：{hours}。请稍后再问。"),
            Self::TooOften(seconds) => format!("您的提问过于频繁，请在 {seconds} 秒后重试。"),
            Self::TooMany(seconds) => format!("当前提问过多，请在 {seconds} 秒后重试。"),
            Self::UnknownPerson => "本机器人仅回答本组织已登记的人员，未能识别您的账号。请联系管理员。".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_for_linking_have_texts_of_their_own() {
        for reply in [PeopleReply::WrongLinkCode, PeopleReply::LinkCodeMissing] {
            assert!(!reply.english().contains("hour"), "{}", reply.english());
            let chinese = reply.chinese();
            assert!(chinese.contains("关联码") && !chinese.contains("配对码"), "{chinese}");
        }
        for reply in [PeopleReply::WrongCode, PeopleReply::CodeMissing] {
            assert!(reply.chinese().contains("配对码"), "{}", reply.chinese());
        }
    }
}
