//! A platform whose deliveries a test decides.

use std::sync::LazyLock;

use tieline_connectors::wecom::WeCom;
use tieline_core::account::{ConnectionMode, Credentials, Endpoints, InvalidSetting, Prepared};
use tieline_core::connector::{Connector, Context, Manifest, Received, Rejection, SentCall, Verdict};
use tieline_core::http_types::{ApiAnswer, WebhookRequest};
use tieline_core::reply::{ComposeError, DesiredReply, Progress, ReplyTarget, Step};

/// What a platform does with replies.
pub(crate) trait FakeDelivery: Send + Sync {
    /// See [`Connector::deliver`].
    fn step(&self, wanted: &DesiredReply<'_>, done: &Progress, cx: &Context<'_>) -> Step;

    /// See [`Connector::classify`].
    fn verdict(&self, _: &SentCall<'_>) -> Verdict {
        unreachable!("nothing is sent")
    }
}

/// The code with which it refuses an answer until the person writes again.
pub(crate) const WINDOW_CLOSED: &str = "window_closed";

static MANIFEST: LazyLock<Manifest> = LazyLock::new(|| Manifest {
    refused_until_next: &[WINDOW_CLOSED],
    ..*WeCom.manifest()
});

/// A platform with WeCom's manifest and callbacks, which may refuse with [`WINDOW_CLOSED`].
pub(crate) struct FakePlatform<T>(pub(crate) T);

impl<T: FakeDelivery> Connector for FakePlatform<T> {
    fn manifest(&self) -> &'static Manifest {
        &MANIFEST
    }

    fn prepare(&self, _: ConnectionMode, _: &Credentials, _: &Endpoints) -> Result<Prepared, InvalidSetting> {
        Ok(Prepared::new(()))
    }

    fn account_key(&self, _: ConnectionMode, _: &Credentials) -> Option<String> {
        None
    }

    fn receive(&self, request: &WebhookRequest, cx: &Context<'_>) -> Result<Received, Rejection> {
        WeCom.receive(request, cx)
    }

    fn deliver(
        &self,
        wanted: &DesiredReply<'_>,
        _: &ReplyTarget,
        done: &Progress,
        cx: &Context<'_>,
    ) -> Result<Step, ComposeError> {
        Ok(self.0.step(wanted, done, cx))
    }

    fn classify(&self, sent: &SentCall<'_>, _: &ApiAnswer, _: &Context<'_>) -> Verdict {
        self.0.verdict(sent)
    }
}
