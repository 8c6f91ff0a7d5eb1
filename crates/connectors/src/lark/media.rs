//! Images and files of messages.
//!
//! See [Feishu Docs/获取消息中的资源文件](https://open.feishu.cn/document/uAjLw4CM/ukTMukTMukTM/reference/im-v1/message-resource/get).

use std::time::Duration;

use tieline_core::connector::{Context, Media};
use tieline_core::event::Part;
use tieline_core::http_types::{Body, HttpCall, TokenPlace};

use super::compose::segment;
use super::settings::address;
use crate::disposition;

/// Up to 100 MB are given.
const TIMEOUT: Duration = Duration::from_secs(120);

/// The call that downloads `part`. Key and message must belong together.
pub(super) fn call(part: &Part, cx: &Context<'_>) -> Option<HttpCall> {
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

/// The bytes are plain; the name stands in the header, if the message didn't tell it.
pub(super) fn open(part: &Part, body: Vec<u8>, disposition: Option<&str>) -> Media {
    let name = part.name.clone();
    Media {
        bytes: body,
        name: name.or_else(|| disposition.and_then(disposition::file_name)),
    }
}
