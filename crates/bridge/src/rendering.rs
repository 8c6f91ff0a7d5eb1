//! Renders long texts outside the async runtime, whose threads serve every tenant.
//!
//! A connector takes time in proportion to a text's length. Short texts are rendered on the spot; longer ones on threads for
//! blocking work, with bounded concurrency, so that one agent's long answer doesn't delay other tenants' events.

use std::sync::Arc;

use tieline_core::account::Account;
use tieline_core::card::Button;
use tieline_core::connector::{Connector, Context, PollRequest};
use tieline_core::http_types::WebhookAnswer;
use tieline_core::notice::Notice;
use tieline_core::reference::Reference;
use tieline_core::reply::{
    ComposeError, DesiredReply, Progress, Pulled, ReplyFile, ReplyTarget, ReplyView, Stage, Step,
};
use tieline_core::timestamp::Timestamp;

use crate::accounts::Bot;
use crate::long_text::{MAX_ON_RUNTIME, beside_runtime};

/// [`Connector::deliver`] for a text of any length.
///
/// # Errors
/// [`ComposeError`] of the connector.
pub async fn deliver(
    bot: &Bot,
    desired: &DesiredReply<'_>,
    target: &ReplyTarget,
    progress: &Progress,
    cx: &Context<'_>,
) -> Result<Step, ComposeError> {
    if desired.text.len() <= MAX_ON_RUNTIME {
        return bot.connector.deliver(desired, target, progress, cx);
    }
    let setting = Setting::of(bot, cx);
    let desired = Desired::of(desired);
    let (target, progress) = (target.clone(), progress.clone());
    beside_runtime(move || {
        setting
            .connector
            .deliver(&desired.view(), &target, &progress, &setting.context())
    })
    .await
}

/// [`tieline_core::connector::PolledReplies::final_poll_state`] for a text of any length. `None`, too, where no reply is polled.
pub async fn final_poll_state(
    bot: &Bot,
    asked: &PollRequest,
    view: &Arc<ReplyView>,
    cx: &Context<'_>,
) -> Option<Progress> {
    let polled = bot.connector.polled_replies()?;
    if view.text.len() <= MAX_ON_RUNTIME {
        return polled.final_poll_state(asked, view, cx);
    }
    let setting = Setting::of(bot, cx);
    let (asked, view) = (asked.clone(), Arc::clone(view));
    beside_runtime(move || polled.final_poll_state(&asked, &view, &setting.context())).await
}

/// [`tieline_core::connector::PolledReplies::answer_poll`] for a text of any length. Empty where no reply is polled.
pub async fn answer_poll(bot: &Bot, asked: &PollRequest, view: Arc<ReplyView>, cx: &Context<'_>) -> WebhookAnswer {
    let Some(polled) = bot.connector.polled_replies() else {
        return WebhookAnswer::empty(200);
    };
    if view.text.len() <= MAX_ON_RUNTIME {
        return polled.answer_poll(asked, Some(&view), cx);
    }
    let setting = Setting::of(bot, cx);
    let asked = asked.clone();
    beside_runtime(move || polled.answer_poll(&asked, Some(&view), &setting.context())).await
}

/// A bot and its connector's context, owned.
struct Setting {
    connector: &'static dyn Connector,
    account: Arc<Account>,
    now: Timestamp,
    random: [u8; 32],
    welcome: Option<String>,
}

impl Setting {
    fn of(bot: &Bot, cx: &Context<'_>) -> Self {
        Self {
            connector: bot.connector,
            account: Arc::clone(&bot.account),
            now: cx.now,
            random: cx.random,
            welcome: cx.welcome.map(str::to_owned),
        }
    }

    fn context(&self) -> Context<'_> {
        Context {
            account: &self.account,
            now: self.now,
            random: self.random,
            welcome: self.welcome.as_deref(),
            unaddressed: tieline_core::connector::Unaddressed::Ignored,
        }
    }
}

/// Owned version of [`DesiredReply`].
struct Desired {
    reply: tieline_core::ids::ReplyId,
    stage: Stage,
    text: String,
    reasoning: String,
    notice: Option<Notice>,
    reference: Option<Reference>,
    files: Vec<ReplyFile>,
    n_native_files: usize,
    buttons: Vec<Button>,
    link: Option<String>,
    proactive: bool,
    plain: bool,
    pulled: Option<(Timestamp, Option<Progress>)>,
}

impl Desired {
    fn of(desired: &DesiredReply<'_>) -> Self {
        Self {
            reply: desired.reply.clone(),
            stage: desired.stage,
            text: desired.text.to_owned(),
            reasoning: desired.reasoning.to_owned(),
            notice: desired.notice,
            reference: desired.reference,
            files: desired.files.to_vec(),
            n_native_files: desired.n_native_files,
            buttons: desired.buttons.to_vec(),
            link: desired.link.map(str::to_owned),
            proactive: desired.proactive,
            plain: desired.plain,
            pulled: desired
                .pulled
                .map(|pulled| (pulled.received_at, pulled.closed.cloned())),
        }
    }

    fn view(&self) -> DesiredReply<'_> {
        DesiredReply {
            reply: &self.reply,
            stage: self.stage,
            text: &self.text,
            reasoning: &self.reasoning,
            notice: self.notice,
            reference: self.reference,
            files: &self.files,
            n_native_files: self.n_native_files,
            buttons: &self.buttons,
            link: self.link.as_deref(),
            proactive: self.proactive,
            plain: self.plain,
            pulled: self.pulled.as_ref().map(|(received_at, closed)| Pulled {
                received_at: *received_at,
                closed: closed.as_ref(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread::ThreadId;

    use tieline_core::account::{ConnectionMode, Credentials, Endpoints, InvalidSetting, Prepared};
    use tieline_core::connector::{Manifest, Received, Rejection, SentCall, Verdict};
    use tieline_core::event::{Chat, ChatKind};
    use tieline_core::http_types::{ApiAnswer, WebhookRequest};
    use tieline_core::ids::{ChatId, IntegrationId, PlatformMessageId, ReplyId, SenderId};
    use tieline_core::reply::ReplyHandle;

    use super::*;
    use crate::test_support;

    /// Records the thread that it renders on; panics at texts that begin with `!`.
    struct Witness;

    static SEEN: std::sync::Mutex<Vec<(usize, ThreadId)>> = std::sync::Mutex::new(Vec::new());

    impl Connector for Witness {
        fn manifest(&self) -> &'static Manifest {
            tieline_connectors::web::Web.manifest()
        }

        fn prepare(&self, _: ConnectionMode, _: &Credentials, _: &Endpoints) -> Result<Prepared, InvalidSetting> {
            Ok(Prepared::new(()))
        }

        fn account_key(&self, _: ConnectionMode, _: &Credentials) -> Option<String> {
            None
        }

        fn receive(&self, request: &WebhookRequest, cx: &Context<'_>) -> Result<Received, Rejection> {
            tieline_connectors::web::Web.receive(request, cx)
        }

        fn deliver(
            &self,
            desired: &DesiredReply<'_>,
            _: &ReplyTarget,
            progress: &Progress,
            _: &Context<'_>,
        ) -> Result<Step, ComposeError> {
            assert!(!desired.text.starts_with('!'), "a text that no connector renders");
            assert_eq!((desired.link, progress), (Some("link"), &Progress::write(&7)));
            let seen = (desired.text.len(), std::thread::current().id());
            SEEN.lock().unwrap().push(seen);
            Ok(Step::Done)
        }

        fn classify(&self, _: &SentCall<'_>, _: &ApiAnswer, _: &Context<'_>) -> Verdict {
            Verdict::unreadable_progress()
        }
    }

    async fn render(text: &str) -> Result<Step, ComposeError> {
        let bot = test_support::bot(&Witness, ConnectionMode::Webhook, true);
        let reply = ReplyId::new("tl-1");
        let desired = DesiredReply {
            link: Some("link"),
            ..DesiredReply::new(&reply, Stage::Final, text)
        };
        let target = ReplyTarget {
            integration: IntegrationId::new("int_1"),
            chat: Chat {
                kind: ChatKind::Direct,
                id: ChatId::new("c"),
                thread: None,
            },
            asker: SenderId::new("u"),
            message: PlatformMessageId::new("m"),
            handle: ReplyHandle::default(),
            expires_at: None,
        };
        let cx = Context {
            account: &bot.account,
            now: Timestamp::from_secs(1),
            random: [7; 32],
            welcome: None,
            unaddressed: tieline_core::connector::Unaddressed::Ignored,
        };
        deliver(&bot, &desired, &target, &Progress::write(&7), &cx).await
    }

    #[tokio::test]
    async fn long_texts_are_rendered_on_another_thread() {
        for length in [MAX_ON_RUNTIME, MAX_ON_RUNTIME + 1] {
            assert_eq!(render(&"a".repeat(length)).await, Ok(Step::Done));
        }
        let here = std::thread::current().id();
        let seen = SEEN.lock().unwrap().clone();
        let on_runtime: Vec<_> = seen.iter().map(|(length, thread)| (*length, *thread == here)).collect();
        assert_eq!(on_runtime, [(MAX_ON_RUNTIME, true), (MAX_ON_RUNTIME + 1, false)]);
    }

    #[tokio::test]
    async fn panic_of_a_connector_reaches_the_caller() {
        let rendering = tokio::spawn(async { render(&"!".repeat(MAX_ON_RUNTIME + 1)).await });
        assert!(rendering.await.unwrap_err().is_panic());
    }
}
