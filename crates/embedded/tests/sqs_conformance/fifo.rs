//! Messages on a FIFO queue: order, group lock, deduplication.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::{
    MessageSystemAttributeName as System, QueueAttributeName as Attribute, SendMessageBatchRequestEntry,
};

use crate::bench::{Bench, expect_bodies, expect_refusal, system};

pub(crate) async fn a_group_keeps_its_order(client: Client) -> Result<()> {
    let queue = Bench::fifo(&client, &[]).await?;
    let sent: Vec<String> = (0..20).map(|i| format!("m{i:02}")).collect();
    for body in &sent {
        queue.send_fifo("g", body, body).await?;
    }
    for expected in &sent {
        let message = queue.one().await?;
        ensure!(
            message.body() == Some(expected),
            "got {:?}, expected {expected}",
            message.body()
        );
        ensure!(system(&message, System::MessageGroupId)? == "g");
        ensure!(system(&message, System::MessageDeduplicationId)? == *expected);
        queue.delete(&message).await?;
    }
    queue.expect_empty().await
}

pub(crate) async fn a_group_in_flight_is_locked_others_are_not(client: Client) -> Result<()> {
    let queue = Bench::fifo(&client, &[]).await?;
    queue.send_all("g", &["g1", "g2"]).await?;
    let first = queue.one().await?;
    queue.expect_empty().await?;
    queue.send_all("h", &["h1"]).await?;
    expect_bodies(&queue.receive(10).await?, &["h1"])?;
    queue.delete(&first).await?;
    expect_bodies(&queue.receive(10).await?, &["g2"])
}

pub(crate) async fn one_receive_returns_many_of_a_group(client: Client) -> Result<()> {
    let queue = Bench::fifo(&client, &[]).await?;
    queue.send_all("g", &["1", "2", "3"]).await?;
    expect_bodies(&queue.receive(10).await?, &["1", "2", "3"])?;
    queue.expect_empty().await
}

pub(crate) async fn sequence_numbers_rise(client: Client) -> Result<()> {
    let queue = Bench::fifo(&client, &[]).await?;
    let mut last = 0;
    for id in ["a", "b", "c"] {
        let sent = queue.send_fifo("g", id, id).await?;
        let number: u128 = sent.sequence_number().context("a sequence number")?.parse()?;
        ensure!(number > last, "{number} after {last}");
        last = number;
        let message = queue.one().await?;
        ensure!(system(&message, System::SequenceNumber)?.parse::<u128>()? == number);
        queue.delete(&message).await?;
    }
    Ok(())
}

pub(crate) async fn a_repeated_id_returns_the_first_message(client: Client) -> Result<()> {
    let queue = Bench::fifo(&client, &[]).await?;
    let first = queue.send_fifo("g", "same", "first").await?;
    let second = queue.send_fifo("g", "same", "second").await?;
    ensure!(first.message_id().is_some() && first.message_id() == second.message_id());
    ensure!(first.sequence_number() == second.sequence_number());
    expect_bodies(&queue.receive(10).await?, &["first"])
}

pub(crate) async fn an_id_is_remembered_after_its_message_is_deleted(client: Client) -> Result<()> {
    let queue = Bench::fifo(&client, &[]).await?;
    let first = queue.send_fifo("g", "same", "first").await?;
    let message = queue.one().await?;
    queue.delete(&message).await?;
    let second = queue.send_fifo("g", "same", "second").await?;
    ensure!(first.message_id() == second.message_id());
    queue.expect_empty().await
}

pub(crate) async fn ids_are_per_queue_by_default(client: Client) -> Result<()> {
    let queue = Bench::fifo(&client, &[]).await?;
    queue.send_fifo("g", "same", "first").await?;
    queue.send_fifo("h", "same", "second").await?;
    expect_bodies(&queue.receive(10).await?, &["first"])
}

pub(crate) async fn ids_can_be_per_group(client: Client) -> Result<()> {
    let per_group = [
        (Attribute::DeduplicationScope, "messageGroup"),
        (Attribute::FifoThroughputLimit, "perMessageGroupId"),
    ];
    let queue = Bench::fifo(&client, &per_group).await?;
    queue.send_fifo("g", "same", "first").await?;
    queue.send_fifo("h", "same", "second").await?;
    queue.send_fifo("h", "same", "third").await?;
    let received = queue.receive_until(2).await?;
    expect_bodies(&received, &["first", "second"])?;
    queue.expect_empty().await
}

pub(crate) async fn equal_bodies_are_one_message_with_content_deduplication(client: Client) -> Result<()> {
    let queue = Bench::fifo(&client, &[(Attribute::ContentBasedDeduplication, "true")]).await?;
    let send = client.send_message().queue_url(&queue.url).message_group_id("g");
    for body in ["same", "same", "other"] {
        send.clone().message_body(body).send().await?;
    }
    // An explicit id takes precedence.
    send.message_body("same").message_deduplication_id("id").send().await?;
    expect_bodies(&queue.receive(10).await?, &["same", "other", "same"])
}

pub(crate) async fn no_deduplication_id_is_refused(client: Client) -> Result<()> {
    let queue = Bench::fifo(&client, &[]).await?;
    let send = client
        .send_message()
        .queue_url(&queue.url)
        .message_body("x")
        .message_group_id("g");
    expect_refusal(send.send().await, &["InvalidParameterValue"])
}

pub(crate) async fn no_group_is_refused(client: Client) -> Result<()> {
    let queue = Bench::fifo(&client, &[]).await?;
    let send = client
        .send_message()
        .queue_url(&queue.url)
        .message_body("x")
        .message_deduplication_id("i");
    expect_refusal(send.send().await, &["MissingParameter"])
}

pub(crate) async fn a_delay_per_message_is_refused(client: Client) -> Result<()> {
    let queue = Bench::fifo(&client, &[]).await?;
    let send = client
        .send_message()
        .queue_url(&queue.url)
        .message_body("x")
        .delay_seconds(1);
    let send = send.message_group_id("g").message_deduplication_id("i");
    expect_refusal(send.send().await, &["InvalidParameterValue"])
}

pub(crate) async fn order_survives_visibility_zero(client: Client) -> Result<()> {
    let queue = Bench::fifo(&client, &[]).await?;
    queue.send_all("g", &["1", "2", "3"]).await?;
    let first = queue.one().await?;
    queue.set_visibility(&first, 0).await?;
    expect_bodies(&queue.receive(10).await?, &["1", "2", "3"])
}

pub(crate) async fn order_survives_a_partial_delete(client: Client) -> Result<()> {
    let queue = Bench::fifo(&client, &[]).await?;
    queue.send_all("g", &["1", "2", "3", "4"]).await?;
    let batch = queue.receive(3).await?;
    expect_bodies(&batch, &["1", "2", "3"])?;
    queue.delete(&batch[0]).await?;
    queue.set_visibility(&batch[1], 0).await?;
    // The third is still in flight, so the group is still locked.
    queue.expect_empty().await?;
    queue.set_visibility(&batch[2], 0).await?;
    expect_bodies(&queue.receive(10).await?, &["2", "3", "4"])
}

pub(crate) async fn order_survives_an_expired_receive(client: Client) -> Result<()> {
    let queue = Bench::fifo(&client, &[]).await?;
    queue.send_all("g", &["1", "2"]).await?;
    expect_bodies(&queue.receive_for(1, 1).await?, &["1"])?;
    expect_bodies(&queue.receive_until(2).await?, &["1", "2"])
}

pub(crate) async fn an_expired_receipt_is_refused(client: Client) -> Result<()> {
    let queue = Bench::fifo(&client, &[]).await?;
    queue.send_all("g", &["1"]).await?;
    let old = queue.receive_for(1, 1).await?.pop().context("a message")?;
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    let delete = client.delete_message().queue_url(&queue.url);
    let refused = delete.set_receipt_handle(old.receipt_handle.clone()).send().await;
    expect_refusal(refused, &["InvalidParameterValue"])?;
    expect_bodies(&queue.receive(1).await?, &["1"])
}

pub(crate) async fn duplicates_in_one_batch_are_one_message(client: Client) -> Result<()> {
    let queue = Bench::fifo(&client, &[]).await?;
    let entry = |id: &str, dedup: &str| {
        let entry = SendMessageBatchRequestEntry::builder()
            .id(id)
            .message_body(id)
            .message_group_id("g");
        entry.message_deduplication_id(dedup).build()
    };
    let batch = client.send_message_batch().queue_url(&queue.url);
    let sent = batch
        .entries(entry("a", "1")?)
        .entries(entry("b", "1")?)
        .entries(entry("c", "2")?)
        .send()
        .await?;
    ensure!(sent.successful().len() == 3, "{:?}", sent.failed());
    expect_bodies(&queue.receive(10).await?, &["a", "c"])
}
