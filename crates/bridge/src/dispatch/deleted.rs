//! Events of deleted integrations, which were received before the deletion.

use tieline_core::envelope::EnvelopeV1;
use tieline_core::event::Event;
use tieline_core::message_state::{LedgerStep, MessageState};
use tieline_store::message::{self, Claim, Ending};

use super::{DispatchError, received};
use crate::world::World;

/// Records a message to an integration that is deleted, so that the ledger tells why it has no answer.
pub(super) async fn refuse(world: &World, envelope: &EnvelopeV1, event: Event) -> Result<(), DispatchError> {
    if !matches!(event, Event::Message(_)) {
        return Ok(());
    }
    let mut refused = received(world, envelope, event, None);
    // Nothing can run it.
    refused.event = String::new();
    refused.state = MessageState::Refused;
    refused.reason = Some(message::INTEGRATION_DELETED.to_owned());
    let step = LedgerStep::new(world.clock.now(), refused.state.as_str()).code(message::INTEGRATION_DELETED);
    refused.steps.push(step.clone());
    let before = match message::claim(&world.store, &refused).await? {
        Claim::New => {
            world.metrics.message("none", MessageState::Refused);
            return Ok(());
        }
        Claim::Seen(before) => before,
    };
    // Claimed before the integration was deleted, by a process that died. One in a run is ended by its run.
    if before.state == MessageState::Queued && before.run.is_none() {
        let ending = Ending {
            state: refused.state,
            reason: refused.reason,
            run: None,
            session: None,
            steps: vec![step],
        };
        message::finish(&world.store, &before.id, &ending).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use tieline_core::ids::MessageId;
    use tieline_store::config::integration;
    use tieline_store::message::MessageRecord;

    use super::*;
    use crate::dispatch::dispatch;
    use crate::run::fixture::PolledFixture;

    /// Dispatches an event of an integration that was deleted, twice, and returns its record.
    async fn record_after(it: &PolledFixture, id: &MessageId) -> MessageRecord {
        let (world, now) = (&it.world, it.world.clock.now());
        let bot = integration::get(&world.store, &it.message.integration)
            .await
            .unwrap()
            .unwrap();
        integration::delete(&world.store, &bot, now).await.unwrap();
        let event = crate::event_of(world, &it.message).unwrap().unwrap();
        let envelope = EnvelopeV1 {
            organization: it.message.organization.clone(),
            integration: it.message.integration.clone(),
            account: None,
            message: id.clone(),
            reply: it.message.reply.clone(),
            received_at: now,
            event: crate::sealed_event(world, id, event),
            event_file: None,
        };
        for _ in 0..2 {
            assert!(dispatch(world, &envelope).await.unwrap().is_none());
        }
        message::get(&world.store, id, now).await.unwrap().unwrap()
    }

    #[tokio::test]
    async fn message_to_a_deleted_integration_is_in_the_ledger_with_the_reason() {
        let it = PolledFixture::with(|message| message.state = MessageState::Answered).await;
        let record = record_after(&it, &MessageId::new("msg_late")).await;
        let end = (record.state, record.reason.as_deref());
        assert_eq!(end, (MessageState::Refused, Some(message::INTEGRATION_DELETED)));
        assert_eq!((record.sender, &*record.event), (it.message.sender.clone(), ""));
        let steps: Vec<_> = record.steps.iter().map(|step| &*step.step).collect();
        assert_eq!(steps, ["received", "dispatched", "refused"]);
    }

    #[tokio::test]
    async fn message_that_was_claimed_before_its_integration_was_deleted_ends() {
        let it = PolledFixture::with(|message| message.state = MessageState::Queued).await;
        let record = record_after(&it, &it.message.id).await;
        let end = (record.state, record.reason.as_deref());
        assert_eq!(end, (MessageState::Refused, Some(message::INTEGRATION_DELETED)));
    }
}
