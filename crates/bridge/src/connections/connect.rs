//! Opening a connection: where to, in its turn, and only while the bot is ours.

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
use super::poll::{self, Poll};
use crate::courier;

/// Opens a connection, after this many failures in a row.
pub(super) async fn open(desk: BotContext, failures: u32) -> Result<Box<Connection>, Loss> {
    // Another relay may hold the bot by now.
    desk.house.lease.valid().await;
    let gate = desk.house.gates.of(desk.platform(), &desk.bot.account);
    let place = gate.acquire_owned().await.map_err(|_| Loss::passing("shutting_down"))?;
    // Opening takes ten kilobytes, which those who wait at the gate do without.
    Box::pin(open_now(&desk, place, failures)).await
}

async fn open_now(desk: &BotContext, place: OwnedSemaphorePermit, failures: u32) -> Result<Box<Connection>, Loss> {
    let address = match resumed(desk, failures).await? {
        Some(address) => Some(address),
        None => find(desk).await?,
    };
    let Some(address) = address else {
        let session = desk.protocol.session(&poll::address(desk).await?, &desk.context());
        return Ok(Connection::polling(Poll::new(place), session));
    };
    let allow_private = desk.house.world.settings.allow_private;
    let max = desk.protocol.max_message_bytes();
    let socket = match dial::dial(&address, max, &desk.house.tls, allow_private).await {
        Ok(socket) => socket,
        Err(DialError::Answered { status, headers }) => {
            let refusal = desk.protocol.handshake_failed(status, &headers, &desk.context());
            desk.heed(&refusal).await;
            return Err(Loss::Failed(refusal));
        }
        Err(DialError::Unreachable(code)) => return Err(Loss::passing(code)),
        Err(DialError::Forbidden) => return Err(forbidden()),
    };
    let cx = desk.context();
    let session = desk.protocol.session(&address, &cx);
    let pulse = desk
        .protocol
        .keepalive()
        .map(|keepalive| KeepaliveTimer::new(keepalive, cx.now));
    Ok(Connection::new(socket, session, pulse))
}

/// Where the session that an earlier connection left goes on, if there is one.
async fn resumed(desk: &BotContext, failures: u32) -> Result<Option<SocketAddress>, Loss> {
    if !desk.protocol.resumes() {
        return Ok(None);
    }
    // Also where the session can't go on: from now on no earlier holder can save a cursor.
    let cursor = poll::address(desk).await?.note;
    Ok(desk.protocol.resume(&cursor, failures, &desk.context()))
}

/// Where to connect. `None`: nowhere, the platform is polled.
async fn find(desk: &BotContext) -> Result<Option<SocketAddress>, Loss> {
    let world = &desk.house.world;
    let address = match desk.protocol.begin(&desk.context()) {
        Begin::Connect(address) => address,
        Begin::Poll => return Ok(None),
        Begin::Authorize(address, place) => {
            let token = courier::access_token(world, &desk.bot).await.map_err(no_token)?;
            authorized(address, place, &token).ok_or_else(forbidden)?
        }
        Begin::Ask(call) => {
            if outbound_url::check(&call.url, world.settings.allow_private).is_err() {
                return Err(forbidden());
            }
            let answer = courier::send(world, &desk.bot, &call).await;
            let answer = answer.map_err(|error| Loss::passing(error.to_string()))?;
            let address = desk.protocol.address(&answer, &desk.context());
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

/// Settings that name an address which may not be called: trying again at once changes nothing.
fn forbidden() -> Loss {
    Loss::Failed(Refusal::Credentials {
        code: "address_not_allowed".to_owned(),
    })
}
