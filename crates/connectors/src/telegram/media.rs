//! Download of attachments.
//!
//! See [Bot API/getFile](https://core.telegram.org/bots/api#getfile).

use std::time::Duration;

use serde_json::{Value, json};
use tieline_core::connector::{Context, Lookup, MediaError, MediaSource};
use tieline_core::event::Part;
use tieline_core::http_types::{ApiAnswer, Body, HttpCall, TokenPlace};

use super::api_error::{self, Meaning};
use super::settings;

/// Size of the largest file that bots can download: `file is too big` beyond.
pub(super) const MAX_BYTES: u64 = 20 * 1024 * 1024;
/// Timeout for such a file.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Files stored by the platform: an id leads to a path, and the path to the bytes.
#[derive(Debug)]
pub(super) struct Files;

impl MediaSource for Files {
    fn locate<'a>(&self, part: &'a Part, cx: &Context<'a>) -> Option<Lookup<'a, Part>> {
        let id = part.locator.get("fileId")?;
        Some(Lookup {
            call: settings::call(cx.account, "get_file", "getFile", &json!({ "file_id": id })),
            read: Box::new(move |answer| located(part, answer)),
        })
    }

    fn download(&self, part: &Part, cx: &Context<'_>) -> Option<HttpCall> {
        let path = part.locator.get("path")?.as_str()?;
        Some(HttpCall {
            name: "download",
            method: "GET",
            url: settings::url(cx.account, "/file", path),
            headers: Vec::new(),
            body: Body::Empty,
            token: TokenPlace::None,
            timeout: TIMEOUT,
        })
    }
}

fn located(part: &Part, answer: &ApiAnswer) -> Result<Part, MediaError> {
    let file = api_error::result(answer).map_err(|error| match error.meaning {
        Meaning::NotDone | Meaning::Uncertain | Meaning::TooFast => MediaError::Passing,
        _ => MediaError::Gone,
    })?;
    let path = file.get("file_path").and_then(Value::as_str);
    // A path that leaves the bot's folder doesn't come from the platform.
    let path = path.filter(|path| !path.split('/').any(|folder| folder.is_empty() || folder == ".."));
    let path = path.ok_or(MediaError::Incomplete("a path"))?;
    let name = path.rsplit('/').next().map(str::to_owned);
    Ok(Part {
        locator: json!({ "path": path }),
        name: part.name.clone().or(name),
        ..part.clone()
    })
}
