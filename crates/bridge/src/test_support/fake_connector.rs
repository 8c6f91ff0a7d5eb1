//! A connector that serves files and quotes, and answers polls.

use std::time::Duration;

use tieline_connectors::web::Web;
use tieline_core::account::{ConnectionMode, Credentials, Endpoints, InvalidSetting, Prepared};
use tieline_core::connector::{
    Connector, Context, Lookup, Manifest, Media, MediaError, MediaSource, PollRequest, PolledReplies, Received,
    Rejection, SentCall, Verdict,
};
use tieline_core::event::{Part, Quoted};
use tieline_core::http_types::{ApiAnswer, Body, HttpCall, TokenPlace, WebhookAnswer, WebhookRequest};
use tieline_core::ids::PlatformMessageId;
use tieline_core::reply::{ComposeError, DesiredReply, Progress, ReplyTarget, ReplyView, Step};

/// Most bytes of an attachment that can be downloaded.
pub(crate) const MAX_MEDIA_BYTES: u64 = 20 * 1024 * 1024;

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
            max_media_bytes: Some(MAX_MEDIA_BYTES),
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

/// A lookup whose answer's text is given to `found`. A rate limit and a failure of the platform are transient.
fn lookup<'a, T>(url: String, found: impl Fn(String) -> T + Send + Sync + 'a) -> Lookup<'a, T> {
    Lookup {
        call: get("lookup", url),
        read: Box::new(move |answer| match answer {
            ApiAnswer::Answered { status: 200, body, .. } => Ok(found(String::from_utf8_lossy(body).into_owned())),
            ApiAnswer::Answered { status: 400..=428, .. } => Err(MediaError::Gone),
            _ => Err(MediaError::Passing),
        }),
    }
}

fn get(name: &'static str, url: String) -> HttpCall {
    HttpCall {
        name,
        method: "GET",
        url,
        headers: Vec::new(),
        body: Body::Empty,
        token: TokenPlace::None,
        timeout: Duration::from_secs(5),
    }
}

impl MediaSource for FakeConnector {
    /// A part with `{"lookup": address}` is served at the same address once that was asked for.
    fn locate<'a>(&self, part: &'a Part, _: &Context<'a>) -> Option<Lookup<'a, Part>> {
        let url = part.locator.get("lookup")?.as_str()?.to_owned();
        let located = Part {
            locator: url.clone().into(),
            ..part.clone()
        };
        Some(lookup(url, move |_| located.clone()))
    }

    /// The id of a quoted message is its address.
    fn quote<'a>(&self, id: &'a PlatformMessageId, _: &Context<'a>) -> Option<Lookup<'a, Quoted>> {
        Some(lookup(id.to_string(), |text| Quoted {
            text,
            parts: Vec::new(),
        }))
    }

    fn download(&self, part: &Part, _: &Context<'_>) -> Option<HttpCall> {
        Some(get("media", part.locator.as_str()?.to_owned()))
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
