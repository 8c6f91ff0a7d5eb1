//! One call of a delivery, made only if this process and its lease last until its outcome is recorded.

use std::time::Duration;

use tieline_core::connector::TokenError;
use tieline_core::http_types::{ApiAnswer, ApiCall};
use tokio::time::Instant;

use super::{DeliverError, ReplyDelivery};
use crate::connections::relay_call;
use crate::courier;
use crate::media::upload;

/// Timeout of a call over a socket.
const SOCKET_LIMIT: Duration = Duration::from_secs(15);
/// Time reserved for recording the outcome of a call.
const RECORDING: Duration = Duration::from_secs(3);

/// Outcome of a call.
pub(super) enum Sent {
    Answer(ApiAnswer),
    NoToken(TokenError),
    NoTime,
}

impl ReplyDelivery<'_> {
    pub(super) async fn send(&mut self, call: &ApiCall) -> Result<Sent, DeliverError> {
        let limit = match call {
            ApiCall::Http(call) => call.timeout,
            ApiCall::Socket(_) => SOCKET_LIMIT,
        };
        if !self.has_time_for(limit) {
            return Ok(Sent::NoTime);
        }
        let token = match call {
            ApiCall::Http(call) => {
                let fetching = courier::token_for(self.world, self.bot, call);
                self.while_recording(fetching).await
            }
            ApiCall::Socket(_) => Ok(None),
        };
        let token = match token {
            Ok(token) => token,
            Err(error) => return Ok(Sent::NoToken(error)),
        };
        // Checked again: fetching the token may have taken long, and a new holder of the reply would send the call too.
        if !self.has_time_for(limit) {
            return Ok(Sent::NoTime);
        }
        self.ensure_lease(limit).await?;
        let (world, bot) = (self.world, self.bot);
        Ok(Sent::Answer(match call {
            ApiCall::Http(call) => {
                let sending = upload::send(world, bot, call, token.as_ref());
                self.while_recording(sending).await
            }
            ApiCall::Socket(call) => {
                let reply = self.record.id.clone();
                let mut tries = std::mem::take(&mut self.tries);
                let sending = Box::pin(relay_call::send(world, bot, &reply, call, &mut tries));
                let answer = self.while_recording(sending).await;
                self.tries = tries;
                answer
            }
        }))
    }

    /// Whether this process lives until a call with this timeout is answered and its outcome is recorded.
    fn has_time_for(&self, limit: Duration) -> bool {
        self.process_ends
            .is_none_or(|end| Instant::now() + limit + RECORDING < end)
    }

    /// Ensures that no other process can hold the reply for as long as the call may take.
    async fn ensure_lease(&mut self, limit: Duration) -> Result<(), DeliverError> {
        if let Some(hold) = &self.hold {
            // A call that may take longer than a fresh lease is covered by the heartbeats that renew the lease meanwhile.
            let settings = &self.world.settings;
            let needed = limit.min(settings.lease.saturating_sub(settings.heartbeat));
            if !hold.ensure(needed, settings.heartbeat).await {
                return Err(DeliverError::Lost);
            }
        }
        let needed_until = self.now().after(limit + RECORDING);
        match &mut self.record.lease {
            // No heartbeat renews the lease of a reply, and the call may take longer than a fresh one lasts. Saving fails if another process has
            // acquired it.
            Some(lease) if lease.expires_at < needed_until => {
                lease.expires_at = needed_until;
                self.save().await
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use tieline_core::account::ConnectionMode;
    use tieline_core::conversation::{Lease, Owner};
    use tieline_core::event::Event;
    use tieline_core::http_types::{Body, HttpCall, TokenPlace};
    use tieline_store::reply::{self, ReplyRecord};

    use super::*;
    use crate::run::fixture::PolledFixture;
    use crate::test_support::{self, FakeConnector};

    /// Files are sent by calls that may take longer than a lease lasts.
    #[tokio::test]
    async fn lease_of_a_reply_outlasts_a_long_call() {
        let it = PolledFixture::with(|_| {}).await;
        let (world, limit) = (&it.world, Duration::from_secs(60));
        let (now, before) = (world.clock.now(), it.reply().await);
        let lease = Lease {
            owner: world.settings.owner.clone(),
            fence: before.version + 1,
            expires_at: now.after(world.settings.lease),
        };
        let mut record = ReplyRecord {
            lease: Some(lease),
            ..before.clone()
        };
        reply::save(&world.store, Some(&before), &mut record, now)
            .await
            .unwrap();
        let bot = test_support::bot(&FakeConnector::LASTING, ConnectionMode::Webhook, true);
        let Some(Event::Message(asked)) = crate::event_of(world, &it.message).unwrap() else {
            panic!("no message");
        };
        let mut showing = ReplyDelivery::new(world, &bot, &asked.target, Some(record.clone()), || record);
        // Nothing listens there.
        let call = ApiCall::Http(HttpCall {
            name: "send_file",
            method: "POST",
            url: "http://127.0.0.1:1/".to_owned(),
            headers: Vec::new(),
            body: Body::Empty,
            token: TokenPlace::None,
            timeout: limit,
        });
        showing.send(&call).await.unwrap();
        let lease = it.reply().await.lease.unwrap();
        let other = Owner {
            node: "other".to_owned(),
            life: "1".to_owned(),
        };
        assert!(!lease.is_free(&other, now.after(limit + RECORDING - Duration::from_millis(1))));
        assert!(!lease.is_free(&other, now), "the clock of its holder counts as wrong");
        assert!(lease.is_free(&other, world.clock.now().after(limit + RECORDING)));
    }
}
