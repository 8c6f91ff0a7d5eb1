//! Download of attachments.

use tieline_core::connector::{Context, MediaSource};
use tieline_core::event::Part;
use tieline_core::http_types::HttpCall;

use super::call;
use super::settings::CDN_HOSTS;

/// Attachments on the platform's CDN. Their URLs are signed for about a day.
pub(super) struct Attachments;

impl MediaSource for Attachments {
    fn download(&self, part: &Part, cx: &Context<'_>) -> Option<HttpCall> {
        let url = part.locator.get("url")?.as_str()?;
        let allowed = cx.account.may_call(url, CDN_HOSTS);
        allowed.then(|| call::bare("download", "GET", url.to_owned(), None))
    }
}
