//! Settings of an integration, parsed from its credentials and endpoints.

use tieline_core::account::{Credentials, Endpoints, InvalidSetting};
use tieline_core::connector::Context;
use tieline_core::secret::Secret;
use url::Url;

use super::manifest::{API_BASE, TOKEN_URL, WS_URL};

/// Parsed credentials and endpoints of an integration.
pub(super) struct Settings {
    /// Stored as text: it looks like a number but isn't one.
    pub(super) app_id: String,
    pub(super) app_secret: Secret,
    /// The owner of the credentials, if the operator configured it: files can be sent only to that chat.
    pub(super) owner_uid: Option<String>,
    /// URL of the socket, without the query.
    pub(super) ws_url: Url,
    pub(super) token_url: String,
    /// Base URL for sending files.
    pub(super) api_base: String,
}

impl Settings {
    pub(super) fn read(credentials: &Credentials, endpoints: &Endpoints) -> Result<Self, InvalidSetting> {
        let owner_uid = credentials.get("ownerUid").map(str::trim);
        if owner_uid.is_some_and(|uid| !is_uid(uid)) {
            return Err(InvalidSetting {
                field: "ownerUid",
                reason: "must be the digits of a Weibo user id",
            });
        }
        let token_url = address(endpoints, "tokenUrl", TOKEN_URL)?;
        let api_base = match endpoints.get("apiBase") {
            Some(base) => base.trim_end_matches('/').to_owned(),
            // A private deployment's token must not be sent to the public one.
            None if endpoints.contains_key("tokenUrl") => token_url.origin().ascii_serialization(),
            None => API_BASE.to_owned(),
        };
        Ok(Self {
            app_id: credentials.require("appId")?.trim().to_owned(),
            app_secret: Secret::new(credentials.require("appSecret")?.trim()),
            owner_uid: owner_uid.map(str::to_owned),
            ws_url: address(endpoints, "wsUrl", WS_URL)?,
            token_url: token_url.into(),
            api_base,
        })
    }

    /// The settings that this connector's `prepare` created. `None` only if another connector's are in the context.
    pub(super) fn of<'a>(cx: &Context<'a>) -> Option<&'a Self> {
        cx.account.prepared.get()
    }
}

fn address(endpoints: &Endpoints, name: &'static str, default: &str) -> Result<Url, InvalidSetting> {
    let url = endpoints.get(name).map_or(default, String::as_str);
    Url::parse(url).map_err(|_| InvalidSetting {
        field: name,
        reason: "must be an address",
    })
}

/// Whether a text is a user id: decimal digits, no more than a 64-bit number has.
pub(super) fn is_uid(text: &str) -> bool {
    (1..=20).contains(&text.len()) && text.bytes().all(|digit| digit.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(fields: &[(&str, &str)], endpoints: &[(&str, &str)]) -> Result<Settings, &'static str> {
        let endpoints = endpoints.iter().map(|(name, url)| ((*name).into(), (*url).into()));
        Settings::read(&fields.iter().copied().collect(), &endpoints.collect()).map_err(|error| error.field)
    }

    #[test]
    fn fields_are_required_and_checked() {
        let good = [("appId", "100200300400"), ("appSecret", "s")];
        assert_eq!(read(&[], &[]).err(), Some("appId"));
        assert_eq!(read(&good[..1], &[]).err(), Some("appSecret"));
        assert_eq!(read(&good, &[("wsUrl", "no address")]).err(), Some("wsUrl"));
        let owner = |uid| read(&[good[0], good[1], ("ownerUid", uid)], &[]).err();
        assert_eq!((owner("7400000042"), owner("@me")), (None, Some("ownerUid")));
    }

    #[test]
    fn files_are_sent_to_the_token_host() {
        let base = |endpoints| read(&[("appId", "1"), ("appSecret", "s")], endpoints).unwrap().api_base;
        assert_eq!(base(&[]), API_BASE);
        assert_eq!(
            base(&[("tokenUrl", "https://im.example:8443/open/auth")]),
            "https://im.example:8443"
        );
        assert_eq!(base(&[("apiBase", "https://files.example/")]), "https://files.example");
    }
}
