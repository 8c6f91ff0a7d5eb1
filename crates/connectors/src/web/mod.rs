//! Our own chat page: the console's playground and `tieline chat`.
//!
//! The caller is an operator, authenticated by the bridge. A message is posted as JSON; the growing reply is fetched by long polling for
//! a version newer than the last one seen. Nothing is pushed.

mod manifest;
mod wire;

use tieline_core::account::{ConnectionMode, Credentials, Endpoints, InvalidSetting, Prepared};
use tieline_core::connector::{
    Answer, Connector, Context, Manifest, PollRequest, PolledReplies, Received, Rejection, SentCall, Verdict,
};
use tieline_core::event::{Chat, ChatKind, Event, Message, Sender};
use tieline_core::http_types::{ApiAnswer, WebhookAnswer, WebhookRequest};
use tieline_core::ids::{ChatId, PlatformMessageId, SenderId};
use tieline_core::notice::Notice;
use tieline_core::reply::{ComposeError, DesiredReply, Progress, ReplyHandle, ReplyTarget, ReplyView, Stage, Step};

use crate::markdown;
use wire::{Accepted, Said, State};

/// Connector of our own chat page.
#[derive(Debug, Clone, Copy)]
pub struct Web;

impl Connector for Web {
    fn manifest(&self) -> &'static Manifest {
        &manifest::MANIFEST
    }

    fn prepare(
        &self,
        _mode: ConnectionMode,
        _credentials: &Credentials,
        _endpoints: &Endpoints,
    ) -> Result<Prepared, InvalidSetting> {
        Ok(Prepared::new(()))
    }

    fn account_key(&self, _mode: ConnectionMode, _credentials: &Credentials) -> Option<String> {
        None
    }

    fn receive(&self, request: &WebhookRequest, cx: &Context<'_>) -> Result<Received, Rejection> {
        Ok(match wire::read(&request.body) {
            Ok(said) => received(said, cx),
            Err(mistakes) => Received::only(mistakes.answer()),
        })
    }

    fn deliver(
        &self,
        _wanted: &DesiredReply<'_>,
        _to: &ReplyTarget,
        _done: &Progress,
        _cx: &Context<'_>,
    ) -> Result<Step, ComposeError> {
        Ok(Step::Done)
    }

    fn classify(&self, _sent: &SentCall<'_>, _answer: &ApiAnswer, _cx: &Context<'_>) -> Verdict {
        Verdict::Refused {
            code: "nothing is pushed".to_owned(),
        }
    }

    fn polled_replies(&self) -> Option<&dyn PolledReplies> {
        Some(self)
    }
}

impl PolledReplies for Web {
    fn answer_poll(&self, asked: &PollRequest, reply: Option<&ReplyView>, cx: &Context<'_>) -> WebhookAnswer {
        match reply {
            Some(reply) => state(reply, cx).answer(),
            // The reply has not started yet.
            None if cx.account.ids.made("tl-", asked.reply.as_str()) => State::default().answer(),
            None => WebhookAnswer::problem(404, "reply_not_found", "There is no such reply."),
        }
    }
}

fn received(said: Said, cx: &Context<'_>) -> Received {
    let id = PlatformMessageId::new(said.message_id.unwrap_or_else(|| hex::encode(&cx.random[..16])));
    let asker = SenderId::new(said.sender_id);
    let accepted = Accepted {
        message_id: cx.account.ids.message(&id),
        reply_id: cx.account.ids.reply(&id),
    };
    let target = ReplyTarget {
        integration: cx.account.integration.clone(),
        chat: Chat {
            kind: ChatKind::Direct,
            id: ChatId::new(said.chat_id),
            thread: None,
        },
        asker: asker.clone(),
        message: id.clone(),
        handle: ReplyHandle::default(),
        expires_at: None,
    };
    Received {
        events: vec![Event::Message(Message {
            id,
            sender: Sender { id: asker, name: None },
            sent_at: None,
            text: said.text,
            parts: Vec::new(),
            quoted: None,
            chat_name: None,
            refers_to: None,
            topic_root: None,
            album: None,
            target,
        })],
        answer: Answer::Fixed(accepted.answer()),
        remark: None,
    }
}

/// The reply as its reader gets it: the notice is below the text, or replaces it.
fn state<'a>(reply: &'a ReplyView, cx: &Context<'_>) -> State<'a> {
    let done = reply.stage == Stage::Final;
    let text = match done {
        true => markdown::with_files(&reply.text, &reply.files),
        false if cx.account.streaming => reply.text.as_str().into(),
        false => "".into(),
    };
    let notice = match reply.notice {
        None if done && text.trim().is_empty() => Some(Notice::EmptyAnswer),
        notice => notice,
    };
    let text = match notice.map(|notice| notice.referring(reply.reference, cx.account.language)) {
        None => text,
        Some(sentence) if text.is_empty() => sentence,
        Some(sentence) => format!("{text}\n\n{sentence}").into(),
    };
    State {
        reasoning: if text.is_empty() && !done { &reply.reasoning } else { "" },
        text,
        done,
        version: reply.version,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use tieline_core::account::Account;
    use tieline_core::connector::PollWait;
    use tieline_core::ids::{IdMint, IntegrationId, OrganizationId, ReplyId};
    use tieline_core::notice::Language;
    use tieline_core::thinking_display::ThinkingDisplay;
    use tieline_core::timestamp::Timestamp;

    use super::*;

    fn account() -> Account {
        Account {
            integration: IntegrationId::new("int_1"),
            organization: OrganizationId::new("default"),
            mode: ConnectionMode::Webhook,
            credentials: Credentials::default(),
            prepared: Prepared::new(()),
            endpoints: Endpoints::new(),
            language: Language::English,
            streaming: true,
            thinking: ThinkingDisplay::default(),
            ids: IdMint::new(&[7; 32]),
            allow_private: false,
        }
    }

    fn context(account: &Account) -> Context<'_> {
        Context {
            account,
            now: Timestamp::from_secs(1),
            random: [7; 32],
            welcome: None,
            unaddressed: tieline_core::connector::Unaddressed::Ignored,
        }
    }

    #[track_caller]
    fn check(stage: Stage, text: &str, notice: Option<Notice>, streaming: bool, expected: &str) {
        let mut account = account();
        account.streaming = streaming;
        let view = ReplyView {
            stage,
            text: text.to_owned(),
            reasoning: String::new(),
            notice,
            reference: None,
            files: Vec::new(),
            version: 4,
            asker: SenderId::new("u1"),
            received_at: Timestamp::from_secs(1),
            rest_follows: true,
            link: None,
            closed: None,
        };
        let answer = Web.answer_poll(&asked("tl-x"), Some(&view), &context(&account));
        let done = stage == Stage::Final;
        let actual: Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(actual, json!({ "text": expected, "done": done, "version": 4 }));
    }

    fn asked(reply: &str) -> PollRequest {
        PollRequest {
            reply: ReplyId::new(reply),
            asker: SenderId::new("u1"),
            first: false,
            note: String::new(),
            wait: PollWait::Newer(3),
        }
    }

    #[test]
    fn latest_state_shows_text_and_notices() {
        let failed = Notice::AgentFailed.text(Language::English);
        check(Stage::Thinking, "", None, true, "");
        check(Stage::Growing, "Hel", None, true, "Hel");
        check(Stage::Growing, "Hel", None, false, "");
        check(Stage::Final, "Hello", None, false, "Hello");
        check(Stage::Final, "", Some(Notice::AgentFailed), true, failed);
        check(
            Stage::Final,
            "Half",
            Some(Notice::AgentFailed),
            true,
            &format!("Half\n\n{failed}"),
        );
        check(
            Stage::Final,
            " ",
            None,
            true,
            &format!(" \n\n{}", Notice::EmptyAnswer.text(Language::English)),
        );
    }

    #[test]
    fn own_reply_not_started_yet_is_empty_and_unknown_ones_are_not_found() {
        let account = account();
        let own = account.ids.reply(&PlatformMessageId::new("m1"));
        let answer = Web.answer_poll(&asked(own.as_str()), None, &context(&account));
        let body: Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(body, json!({ "text": "", "done": false, "version": 0 }));
        assert_eq!(Web.answer_poll(&asked("tl-x"), None, &context(&account)).status, 404);
    }

    #[test]
    fn same_message_gives_the_same_ids() {
        let account = account();
        let request = WebhookRequest {
            body: json!({ "text": "hi", "chatId": "c", "senderId": "u", "messageId": "m" })
                .to_string()
                .into_bytes(),
            ..WebhookRequest::default()
        };
        let first = Web.receive(&request, &context(&account)).unwrap();
        assert_eq!(Web.receive(&request, &context(&account)).unwrap(), first);
    }
}
