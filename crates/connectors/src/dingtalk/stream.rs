//! Long connection ("Stream"): a ticket opens a socket, and every frame is acknowledged.
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
/// Messages to a person whom the robot represents. Not subscribed to, but handled the same way.
const TOPIC_DELEGATE: &str = "/v1.0/im/bot/messages/delegate";
/// Clicks on cards.
const TOPIC_CARD: &str = "/v1.0/card/instances/callback";
/// Allowed hosts of a connection's endpoint.
const SOCKET_HOSTS: &[&str] = &[".dingtalk.com", ".dingtalk.io"];

/// Interval between two pings.
const PING: Duration = Duration::from_secs(20);
/// Time limit for a pong, after which the connection is suspected dead.
const PONG_WITHIN: Duration = Duration::from_secs(5);
/// A 401 may be a fault of the platform: delay before the first retry.
const FIRST_RETRY: Duration = Duration::from_secs(60);

/// See [`StreamProtocol`].
pub(super) struct Stream;

impl StreamProtocol for Stream {
    /// Every attempt requests a new ticket: a ticket is valid for 90 s and opens one connection.
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

    /// A shorter interval was seen to cut healthy connections.
    fn keepalive(&self) -> Option<Keepalive> {
        Some(Keepalive {
            every: PING,
            missed: 2,
            silence: Duration::from_secs(60),
        })
    }
}

/// Delay between two attempts while the platform refuses for a reason that only the operator can fix: an IP address that isn't on the allow
/// list, an application that isn't published or not in Stream mode, a used-up monthly quota.
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
