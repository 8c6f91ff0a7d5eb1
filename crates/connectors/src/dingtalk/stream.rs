//! The long connection: a ticket, a socket, frames, each answered with an acknowledgement.
//!
//! See [Developerpedia/Stream 协议](https://opensource.dingtalk.com/developerpedia/docs/learn/stream/protocol).

use std::time::Duration;

use serde_json::json;
use tieline_core::connector::Context;
use tieline_core::http_types::{ApiAnswer, HttpCall};
use tieline_core::stream::{Begin, Keepalive, Refusal, SocketAddress, StreamProtocol, StreamSession};
use url::Url;

use super::api_error::{self, Outcome};
use super::wire::Connection;
use super::{call, settings};

mod ack;
mod session;

/// Messages to the robot.
const TOPIC_ROBOT: &str = "/v1.0/im/bot/messages/get";
/// Messages to a person whom the robot represents. Not subscribed to, but handled alike.
const TOPIC_DELEGATE: &str = "/v1.0/im/bot/messages/delegate";
/// Clicks on cards.
const TOPIC_CARD: &str = "/v1.0/card/instances/callback";
/// Hosts that the endpoint of a connection may have.
const SOCKET_HOSTS: &[&str] = &[".dingtalk.com", ".dingtalk.io"];

/// Between two Pings.
const PING: Duration = Duration::from_secs(20);
/// How long a Pong may take before the connection is in doubt.
const PONG_WITHIN: Duration = Duration::from_secs(5);
/// A 401 may be a fault of the platform: the first retry comes this soon.
const FIRST_RETRY: Duration = Duration::from_secs(60);

/// See [`StreamProtocol`].
pub(super) struct Stream;

impl StreamProtocol for Stream {
    /// Every attempt asks for a ticket of its own: it lives 90 s and opens one connection.
    fn begin(&self, cx: &Context<'_>) -> Begin {
        let settings = settings::of(cx);
        let body = json!({
            "clientId": settings.client_id,
            "clientSecret": settings.client_secret.expose(),
            "subscriptions": [
                { "type": "EVENT", "topic": "*" },
                { "type": "CALLBACK", "topic": TOPIC_ROBOT },
                { "type": "CALLBACK", "topic": TOPIC_CARD },
            ],
            "ua": concat!("tieline-relay/", env!("CARGO_PKG_VERSION")),
        });
        Begin::Ask(HttpCall {
            timeout: Duration::from_secs(10),
            ..call::open_api(cx, "open_connection", "POST", "/v1.0/gateway/connections/open", &body)
        })
    }

    fn address(&self, answer: &ApiAnswer, cx: &Context<'_>) -> Result<SocketAddress, Refusal> {
        let passing = |code: &str| Refusal::Passing {
            code: code.to_owned(),
            retry_after: None,
        };
        let body = match Outcome::of_api(answer) {
            Outcome::Ok(body) => body,
            outcome => return Err(refusal(answer, outcome)),
        };
        let connection: Connection = serde_json::from_value(body).map_err(|_| passing("no_endpoint"))?;
        if !cx.account.may_call(&connection.endpoint, SOCKET_HOSTS) {
            return Err(passing("foreign_endpoint"));
        }
        let mut url = Url::parse(&connection.endpoint).map_err(|_| passing("no_endpoint"))?;
        url.query_pairs_mut().append_pair("ticket", &connection.ticket);
        Ok(SocketAddress {
            url: url.into(),
            headers: Vec::new(),
            note: String::new(),
        })
    }

    fn longest_silence(&self) -> Option<Duration> {
        Some(PING + PONG_WITHIN)
    }

    fn session(&self, _address: &SocketAddress, cx: &Context<'_>) -> Box<dyn StreamSession> {
        Box::new(session::Session::new(cx.now))
    }

    fn first_retry_after_refusal(&self) -> Option<Duration> {
        Some(FIRST_RETRY)
    }

    /// Shorter was seen to cut healthy connections.
    fn keepalive(&self) -> Option<Keepalive> {
        Some(Keepalive {
            every: PING,
            missed: 2,
            silence: Duration::from_secs(60),
        })
    }
}

/// Between two attempts while the platform refuses for what only the operator can mend: an address that isn't on the list, an
/// application that isn't published or not in Stream mode, a used-up month.
const OPERATOR_WAIT: Duration = Duration::from_secs(60);

fn refusal(answer: &ApiAnswer, outcome: Outcome) -> Refusal {
    if let Some(code) = api_error::credentials_refused(answer) {
        return Refusal::Credentials { code };
    }
    let passing = |code: &str| Refusal::Passing {
        code: code.to_owned(),
        retry_after: None,
    };
    match outcome {
        Outcome::Refused(code) => Refusal::Passing {
            code,
            retry_after: Some(OPERATOR_WAIT),
        },
        Outcome::Throttled { after, code } => Refusal::Passing {
            code,
            retry_after: Some(after),
        },
        Outcome::Busy(code) => passing(&code),
        Outcome::NotSent => passing("not_sent"),
        Outcome::TokenExpired => passing("unauthorized"),
        Outcome::Lost | Outcome::Ok(_) => passing("no_answer"),
    }
}
