//! Attachments of messages: their location on the CDN, and their decryption.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tieline_core::account::Account;
use tieline_core::connector::{Media, MediaError};
use tieline_core::event::{Part, PartKind};
use tieline_core::http_types::{Body, HttpCall, TokenPlace};

use super::call::encoded;
use super::cipher::{self, Key};
use super::settings::{CDN_BASE, HOSTS};
use super::wire::CdnMedia;

/// Timeout of a download.
const DOWNLOAD: Duration = Duration::from_secs(60);

/// Location and key of a file.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Locator {
    param: String,
    /// In hexadecimal; preferred.
    #[serde(skip_serializing_if = "Option::is_none")]
    hex_key: Option<String>,
    /// In base64.
    #[serde(skip_serializing_if = "Option::is_none")]
    base64_key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
}

impl Locator {
    /// `None` if the file has no location.
    pub(super) fn new(media: CdnMedia, hex_key: Option<String>) -> Option<Self> {
        let some = |text: String| Some(text).filter(|text| !text.is_empty());
        let locator = Self {
            param: media.encrypt_query_param,
            hex_key: hex_key.and_then(some),
            base64_key: some(media.aes_key),
            url: media.full_url.and_then(some),
        };
        (!locator.param.is_empty() || locator.url.is_some()).then_some(locator)
    }

    pub(super) fn into_value(self) -> Value {
        serde_json::to_value(self).expect("a locator serializes as JSON")
    }

    fn of(part: &Part) -> Option<Self> {
        Self::deserialize(&part.locator).ok()
    }

    fn key(&self) -> Result<Option<Key>, MediaError> {
        match (&self.hex_key, &self.base64_key) {
            (Some(text), _) => Key::from_hex(text).map(Some),
            (None, Some(text)) => Key::from_base64(text).map(Some),
            (None, None) => Ok(None),
        }
    }

    /// The URL that the platform returned, if it is at one of the platform's hosts; else the CDN's URL for the file's parameter.
    fn address(&self, account: &Account) -> Option<String> {
        if let Some(url) = self.url.as_ref().filter(|url| account.may_call(url, HOSTS)) {
            return Some(url.clone());
        }
        let base = account.endpoint("cdnBase", CDN_BASE);
        let param = encoded(&self.param);
        (!param.is_empty()).then(|| format!("{base}/download?encrypted_query_param={param}"))
    }
}

/// The call for downloading a part.
pub(super) fn download(part: &Part, account: &Account) -> Option<HttpCall> {
    Some(HttpCall {
        name: "download",
        method: "GET",
        url: Locator::of(part)?.address(account)?,
        headers: Vec::new(),
        body: Body::Empty,
        token: TokenPlace::None,
        timeout: DOWNLOAD,
    })
}

/// Decrypts a downloaded part.
pub(super) fn open(part: &Part, body: Vec<u8>) -> Result<Media, MediaError> {
    let locator = Locator::of(part).ok_or(MediaError::Incomplete("address"))?;
    let bytes = match locator.key()? {
        Some(key) => cipher::decrypt(key, body)?,
        // Only pictures may be unencrypted.
        None if part.kind == PartKind::Image => body,
        None => return Err(MediaError::Incomplete("key")),
    };
    Ok(Media {
        bytes,
        name: part.name.clone(),
    })
}
