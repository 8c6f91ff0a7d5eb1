//! Opens a connection: finds the address, waits for its turn at the connect limiter, and connects only while the bot's lease is held.

use std::sync::Arc;

use tieline_core::connection_state::Loss;
use tieline_core::connector::TokenError;
use tieline_core::http_types::{AccessToken, TokenPlace};
use tieline_core::keepalive::KeepaliveTimer;
use tieline_core::outbound_url;
use tieline_core::stream::{Begin, Refusal, SocketAddress};
use tokio::sync::OwnedSemaphorePermit;
use url::Url;

use super::bot_context::BotContext;
use super::connection::Connection;
use super::dial::{self, DialError};
use super::frame_memory::FrameShare;
use super::poll::{self, Poll};
use crate::courier;

/// Opens a connection after `failures` failures in a row.
pub(super) async fn open(context: BotContext, failures: u32) -> Result<Box<Connection>, Loss> {
    // Another relay may hold the bot by now.
    context.shared.lease.valid().await;
    let gate = context.shared.gates.of(context.platform(), &context.bot.account);
    let place = gate.acquire_owned().await.map_err(|_| Loss::passing("shutting_down"))?;
    // Opening takes ten kilobytes, which tasks that wait for the connect limiter do without.
    Box::pin(open_now(&context, place, failures)).await
}

async fn open_now(context: &BotContext, place: OwnedSemaphorePermit, failures: u32) -> Result<Box<Connection>, Loss> {
    let address = match resumed(context, failures).await? {
        Some(address) => Some(address),
        None => find(context).await?,
    };
    let Some(address) = address else {
        let session = context
            .protocol
            .session(&poll::address(context).await?, &context.context());
        return Ok(Connection::polling(Poll::new(place), session));
    };
    let allowed = &context.shared.world.settings.allow_private;
    let max = context.protocol.max_message_bytes();
    let frames = FrameShare {
        budget: Arc::clone(&context.shared.frame_budget),
        organization: context.bot.account.organization.clone(),
    };
    let socket = match dial::dial(&address, max, &context.shared.tls, allowed, frames).await {
        Ok(socket) => socket,
        Err(DialError::Answered { status, headers }) => {
            let refusal = context.protocol.handshake_failed(status, &headers, &context.context());
            context.heed(&refusal).await;
            return Err(Loss::Failed(refusal));
        }
        Err(DialError::Unreachable(code)) => return Err(Loss::passing(code)),
        Err(DialError::Forbidden) => return Err(forbidden()),
    };
    let cx = context.context();
    let session = context.protocol.session(&address, &cx);
    let pulse = context
        .protocol
        .keepalive()
        .map(|keepalive| KeepaliveTimer::new(keepalive, cx.now));
    Ok(Connection::new(socket, session, pulse))
}

/// Where to resume the session that an earlier connection left, if there is one.
async fn resumed(context: &BotContext, failures: u32) -> Result<Option<SocketAddress>, Loss> {
    if !context.protocol.resumes() {
        return Ok(None);
    }
    // Also if the session can't be resumed: from now on no earlier holder can save a cursor.
    let cursor = poll::address(context).await?.note;
    Ok(context.protocol.resume(&cursor, failures, &context.context()))
}

/// Where to connect. `None`: nowhere, since the platform is polled.
async fn find(context: &BotContext) -> Result<Option<SocketAddress>, Loss> {
    let world = &context.shared.world;
    let address = match context.protocol.begin(&context.context()) {
        Begin::Connect(address) => address,
        Begin::Poll => return Ok(None),
        Begin::Authorize(address, place) => {
            let token = courier::access_token(world, &context.bot).await.map_err(no_token)?;
            authorized(address, place, &token).ok_or_else(forbidden)?
        }
        Begin::Ask(call) => {
            if outbound_url::check(&call.url, &world.settings.allow_private).is_err() {
                return Err(forbidden());
            }
            let answer = courier::send(world, &context.bot, &call).await;
            let answer = answer.map_err(|error| Loss::passing(error.to_string()))?;
            let address = context.protocol.address(&answer, &context.context());
            address.map_err(Loss::Failed)?
        }
    };
    Ok(Some(address))
}

fn no_token(error: TokenError) -> Loss {
    match error {
        TokenError::Refused { code } => Loss::Failed(Refusal::Credentials { code }),
        TokenError::Unavailable { code } => Loss::passing(code),
    }
}

/// The address with the access token in its place. `None` if it isn't an address.
fn authorized(mut address: SocketAddress, place: TokenPlace, token: &AccessToken) -> Option<SocketAddress> {
    let token = token.token.expose();
    match place {
        TokenPlace::None => {}
        TokenPlace::Query(name) => {
            let mut url = Url::parse(&address.url).ok()?;
            url.query_pairs_mut().append_pair(name, token);
            address.url = url.into();
        }
        TokenPlace::Bearer => address
            .headers
            .push(("authorization".to_owned(), format!("Bearer {token}"))),
        TokenPlace::Header(name) => address.headers.push((name.to_owned(), token.to_owned())),
    }
    Some(address)
}

/// The settings name an address that may not be called: retrying at once changes nothing.
fn forbidden() -> Loss {
    Loss::Failed(Refusal::Credentials {
        code: "address_not_allowed".to_owned(),
    })
}
