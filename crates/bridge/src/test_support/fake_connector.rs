//! A connector that serves files, and answers polls.

use std::time::Duration;

use tieline_connectors::web::Web;
use tieline_core::account::{ConnectionMode, Credentials, Endpoints, InvalidSetting, Prepared};
use tieline_core::connector::{
    Connector, Context, Manifest, Media, MediaError, MediaSource, PollRequest, PolledReplies, Received, Rejection,
    SentCall, Verdict,
};
use tieline_core::event::Part;
use tieline_core::http_types::{ApiAnswer, Body, HttpCall, TokenPlace, WebhookAnswer, WebhookRequest};
use tieline_core::reply::{ComposeError, DesiredReply, Progress, ReplyTarget, ReplyView, Step};

/// A connector whose locators of parts are plain addresses.
pub(crate) struct FakeConnector {
    /// Whether it serves them only for a while.
    pub(crate) is_short_lived: bool,
}

impl FakeConnector {
    /// Serves files for ever.
    pub(crate) const LASTING: Self = Self { is_short_lived: false };
}

impl Connector for FakeConnector {
    fn manifest(&self) -> &'static Manifest {
        Box::leak(Box::new(Manifest {
            media_is_short_lived: self.is_short_lived,
            tasks_from_outside: false,
            ..*Web.manifest()
        }))
    }

    fn prepare(&self, _: ConnectionMode, _: &Credentials, _: &Endpoints) -> Result<Prepared, InvalidSetting> {
        Ok(Prepared::new(()))
    }

    fn account_key(&self, _: ConnectionMode, _: &Credentials) -> Option<String> {
        None
    }

    fn receive(&self, request: &WebhookRequest, cx: &Context<'_>) -> Result<Received, Rejection> {
        Web.receive(request, cx)
    }

    fn deliver(
        &self,
        _: &DesiredReply<'_>,
        _: &ReplyTarget,
        _: &Progress,
        _: &Context<'_>,
    ) -> Result<Step, ComposeError> {
        Ok(Step::Done)
    }

    fn classify(&self, _: &SentCall<'_>, _: &ApiAnswer, _: &Context<'_>) -> Verdict {
        Verdict::Refused {
            code: "nothing is pushed".to_owned(),
        }
    }

    fn media(&self) -> Option<&dyn MediaSource> {
        Some(self)
    }

    fn polled_replies(&self) -> Option<&dyn PolledReplies> {
        Some(self)
    }
}

/// Every poll ends polling, with the version that it has read.
impl PolledReplies for FakeConnector {
    fn answer_poll(&self, _: &PollRequest, reply: Option<&ReplyView>, _: &Context<'_>) -> WebhookAnswer {
        WebhookAnswer::json(&reply.map(|reply| &reply.text))
    }

    fn final_poll_state(&self, _: &PollRequest, reply: &ReplyView, _: &Context<'_>) -> Option<Progress> {
        Some(Progress::write(&reply.version))
    }
}

impl MediaSource for FakeConnector {
    fn download(&self, part: &Part, _: &Context<'_>) -> Option<HttpCall> {
        Some(HttpCall {
            name: "media",
            method: "GET",
            url: part.locator.as_str()?.to_owned(),
            headers: Vec::new(),
            body: Body::Empty,
            token: TokenPlace::None,
            timeout: Duration::from_secs(5),
        })
    }

    fn open(
        &self,
        part: &Part,
        body: Vec<u8>,
        disposition: Option<&str>,
        _: &Context<'_>,
    ) -> Result<Media, MediaError> {
        Ok(Media {
            bytes: body,
            name: part.name.clone().or_else(|| disposition.map(str::to_owned)),
        })
    }
}
