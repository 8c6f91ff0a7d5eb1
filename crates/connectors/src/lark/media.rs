//! Download of images, files and quoted messages.
//!
//! See [Feishu Docs/获取消息中的资源文件](https://open.feishu.cn/document/uAjLw4CM/ukTMukTMukTM/reference/im-v1/message-resource/get).

use std::time::Duration;

use tieline_core::connector::{Context, Lookup, Media, MediaError, MediaSource};
use tieline_core::event::{Part, Quoted};
use tieline_core::http_types::{Body, HttpCall, TokenPlace};
use tieline_core::ids::PlatformMessageId;

use super::compose::segment;
use super::settings::address;
use super::{api_error, quote};
use crate::disposition;

/// Timeout. Files may have up to 100 MB.
const TIMEOUT: Duration = Duration::from_secs(120);

/// Message resources and quoted messages of the platform.
#[derive(Debug)]
pub(super) struct Resources;

impl MediaSource for Resources {
    fn download(&self, part: &Part, cx: &Context<'_>) -> Option<HttpCall> {
        call(part, cx)
    }

    fn refused(&self, status: u16, body: &[u8]) -> MediaError {
        api_error::of_download(status, body)
    }

    /// The bytes are not encrypted; the name is in the header, if the message doesn't have it.
    fn open(
        &self,
        part: &Part,
        body: Vec<u8>,
        disposition: Option<&str>,
        _cx: &Context<'_>,
    ) -> Result<Media, MediaError> {
        let name = part.name.clone();
        Ok(Media {
            bytes: body,
            name: name.or_else(|| disposition.and_then(disposition::file_name)),
        })
    }

    fn quote<'a>(&self, id: &'a PlatformMessageId, cx: &Context<'a>) -> Option<Lookup<'a, Quoted>> {
        let cx = *cx;
        Some(Lookup {
            call: quote::call(id, &cx),
            read: Box::new(move |answer| quote::read(id, answer, &cx)),
        })
    }
}

/// The call that downloads `part`. Key and message must belong together.
fn call(part: &Part, cx: &Context<'_>) -> Option<HttpCall> {
    let field = |name: &str| part.locator.get(name)?.as_str().map(segment);
    let (message, key, resource) = (field("message")?, field("key")?, field("type")?);
    let path = format!("/open-apis/im/v1/messages/{message}/resources/{key}?type={resource}");
    Some(HttpCall {
        name: "media",
        method: "GET",
        url: address(cx.account, &path),
        headers: Vec::new(),
        body: Body::Empty,
        token: TokenPlace::Bearer,
        timeout: TIMEOUT,
    })
}
