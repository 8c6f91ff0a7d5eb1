//! Calls that upload a file which has to be fetched first.

use tieline_core::http_types::{AccessToken, ApiAnswer, Body, FILE_NOT_FETCHED, FILE_TOO_LARGE, HttpCall};
use tracing::info;

use super::FetchError;
use super::fetch::fetch_address;
use crate::accounts::Bot;
use crate::courier::{self, DownloadError};
use crate::error_chain::chain;
use crate::world::World;

/// Sends a call with its access token. If its body is a file at an address ([`Body::FileAt`]), that is fetched first.
pub(crate) async fn send(world: &World, bot: &Bot, call: &HttpCall, token: Option<&AccessToken>) -> ApiAnswer {
    let Body::FileAt { url, max_bytes, .. } = &call.body else {
        return courier::send_with(world, bot, call, token, None).await;
    };
    // Both steps must fit into the time limit of the call.
    let half = call.timeout / 2;
    match fetch_address(world, bot, url, *max_bytes, half).await {
        Ok(file) => {
            let call = HttpCall {
                timeout: half,
                ..call.clone()
            };
            courier::send_with(world, bot, &call, token, Some(file.bytes)).await
        }
        Err(error) => {
            info!(account.id = %bot.account.integration, call = call.name, error = chain(&error), "file of a call can't be fetched");
            let status = match error {
                FetchError::Download(DownloadError::TooLong(_) | DownloadError::Announced(_)) => FILE_TOO_LARGE,
                _ => FILE_NOT_FETCHED,
            };
            ApiAnswer::Answered {
                status,
                retry_after_s: None,
                body: Vec::new(),
            }
        }
    }
}
