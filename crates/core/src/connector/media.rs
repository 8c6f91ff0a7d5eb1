//! Attachments and quoted messages that a platform serves on request.

use super::Context;
use crate::event::{Part, Quoted};
use crate::http_types::{ApiAnswer, HttpCall};
use crate::ids::PlatformMessageId;

/// Download of attachments and of quoted messages.
pub trait MediaSource: Sync {
    /// For a platform that reveals a part's address only on request: the lookup, answered with the part and a locator that
    /// [`MediaSource::download`] accepts. `None`: the locator is complete.
    fn locate<'a>(&self, part: &'a Part, cx: &Context<'a>) -> Option<Lookup<'a, Part>> {
        let _ = (part, cx);
        None
    }

    /// The call that downloads a part. `None` if the locator is not one of this platform.
    fn download(&self, part: &Part, cx: &Context<'_>) -> Option<HttpCall>;

    /// Reads why a download was refused, from the response's status and the beginning of its body. By default from the status alone, for
    /// files in a plain storage.
    fn refused(&self, status: u16, body: &[u8]) -> MediaError {
        let _ = body;
        match status {
            429 | 500..=599 => MediaError::Passing,
            _ => MediaError::Gone,
        }
    }

    /// Turns the downloaded body (and its `Content-Disposition`) of a part into its plain bytes and name.
    ///
    /// # Errors
    /// [`MediaError`] if the bytes are not what the locator promises.
    fn open(
        &self,
        part: &Part,
        body: Vec<u8>,
        disposition: Option<&str>,
        cx: &Context<'_>,
    ) -> Result<Media, MediaError> {
        let _ = (disposition, cx);
        Ok(Media {
            bytes: body,
            name: part.name.clone(),
        })
    }

    /// For a platform that sends only the id of a quoted or forwarded message: the lookup of its content.
    fn quote<'a>(&self, id: &'a PlatformMessageId, cx: &Context<'a>) -> Option<Lookup<'a, Quoted>> {
        let _ = (id, cx);
        None
    }
}

/// A call that asks the platform about a part or a message, and the reader of its answer.
pub struct Lookup<'a, T> {
    /// The call.
    pub call: HttpCall,
    /// Reads the answer. [`MediaError`] if it doesn't contain what was asked for.
    pub read: LookupReader<'a, T>,
}

/// Reads the answer to a [`Lookup`].
pub type LookupReader<'a, T> = Box<dyn Fn(&ApiAnswer) -> Result<T, MediaError> + Send + Sync + 'a>;

impl<T> std::fmt::Debug for Lookup<'_, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lookup")
            .field("call", &self.call.name)
            .finish_non_exhaustive()
    }
}

/// A part's plain bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Media {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// The file name, if the download revealed it.
    pub name: Option<String>,
}

/// Why a part's bytes can't be fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MediaError {
    /// They don't decrypt.
    #[error("media can't be decrypted: {0}")]
    BadCipher(&'static str),
    /// The locator lacks something.
    #[error("media locator lacks {0}")]
    Incomplete(&'static str),
    /// The platform doesn't serve it: expired, deleted, not accessible to the bot.
    #[error("the platform does not serve the media")]
    Gone,
    /// The access token has expired: get a new one and retry.
    #[error("the access token has expired")]
    TokenExpired,
    /// A transient failure: retry with backoff.
    #[error("the media can't be fetched at the moment")]
    Passing,
}
