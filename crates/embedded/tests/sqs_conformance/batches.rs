//! Batches of up to ten messages.

use anyhow::{Result, ensure};
use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::{
    ChangeMessageVisibilityBatchRequestEntry, DeleteMessageBatchRequestEntry, SendMessageBatchRequestEntry as Entry,
};

use crate::bench::{Bench, bodies, expect_refusal};

fn entry(id: &str, body: &str) -> Entry {
    let entry = Entry::builder().id(id).message_body(body);
    entry.build().expect("id and body are set")
}

pub(crate) async fn ten_messages_go_through_in_batches(client: Client) -> Result<()> {
    let queue = Bench::standard(&client, &[]).await?;
    let names: Vec<String> = (0..10).map(|i| format!("m{i}")).collect();
    let entries = names.iter().map(|name| entry(name, name)).collect();
    let sent = client
        .send_message_batch()
        .queue_url(&queue.url)
        .set_entries(Some(entries))
        .send()
        .await?;
    ensure!(sent.successful().len() == 10 && sent.failed().is_empty());
    let received = queue.receive_until(10).await?;
    let mut got = bodies(&received);
    got.sort();
    ensure!(got == names, "got {got:?}");
    let entries = received.iter().enumerate().map(|(at, message)| {
        let entry = DeleteMessageBatchRequestEntry::builder().id(at.to_string());
        entry.set_receipt_handle(message.receipt_handle.clone()).build()
    });
    let entries = entries.collect::<Result<_, _>>()?;
    let deleted = client
        .delete_message_batch()
        .queue_url(&queue.url)
        .set_entries(Some(entries))
        .send()
        .await?;
    ensure!(deleted.successful().len() == 10 && deleted.failed().is_empty());
    Ok(())
}

pub(crate) async fn one_bad_entry_fails_alone(client: Client) -> Result<()> {
    let queue = Bench::standard(&client, &[]).await?;
    let bad = Entry::builder()
        .id("bad")
        .message_body("x")
        .delay_seconds(901)
        .build()?;
    let batch = client.send_message_batch().queue_url(&queue.url);
    let sent = batch
        .entries(entry("good", "good"))
        .entries(bad)
        .entries(entry("also", "also"))
        .send()
        .await?;
    let good: Vec<_> = sent.successful().iter().map(|e| e.id()).collect();
    ensure!(good == ["good", "also"], "accepted {good:?}");
    let failed = &sent.failed()[0];
    ensure!(
        failed.id() == "bad" && failed.sender_fault() && failed.code() == "InvalidParameterValue",
        "{failed:?}"
    );
    ensure!(queue.receive_until(2).await?.len() == 2);
    Ok(())
}

pub(crate) async fn one_bad_receipt_fails_alone(client: Client) -> Result<()> {
    let queue = Bench::standard(&client, &[]).await?;
    queue.send("x").await?;
    let message = queue.one().await?;
    let entry = |id: &str, handle: &str| {
        DeleteMessageBatchRequestEntry::builder()
            .id(id)
            .receipt_handle(handle)
            .build()
    };
    let delete = client.delete_message_batch().queue_url(&queue.url);
    let delete = delete.entries(entry("bad", "not a handle")?);
    let delete = delete.entries(entry("good", message.receipt_handle().unwrap_or_default())?);
    let deleted = delete.send().await?;
    ensure!(deleted.successful().len() == 1 && deleted.successful()[0].id() == "good");
    ensure!(deleted.failed().len() == 1 && deleted.failed()[0].code() == "ReceiptHandleIsInvalid");
    Ok(())
}

pub(crate) async fn too_many_no_or_duplicate_entries_are_refused(client: Client) -> Result<()> {
    let queue = Bench::standard(&client, &[]).await?;
    let send = |entries| {
        client
            .send_message_batch()
            .queue_url(&queue.url)
            .set_entries(Some(entries))
            .send()
    };
    let eleven = (0..11).map(|i| entry(&format!("m{i}"), "x")).collect();
    let prefix = "AWS.SimpleQueueService.";
    for (entries, code) in [
        (eleven, "TooManyEntriesInBatchRequest"),
        (Vec::new(), "EmptyBatchRequest"),
        (vec![entry("a", "x"), entry("a", "y")], "BatchEntryIdsNotDistinct"),
        (vec![entry("a b", "x")], "InvalidBatchEntryId"),
    ] {
        expect_refusal(send(entries).await, &[code, &format!("{prefix}{code}")])?;
    }
    queue.expect_empty().await
}

pub(crate) async fn visibility_changes_in_a_batch(client: Client) -> Result<()> {
    let queue = Bench::standard(&client, &[]).await?;
    queue.send("a").await?;
    queue.send("b").await?;
    let received = queue.receive_until(2).await?;
    let entries = received.iter().enumerate().map(|(at, message)| {
        let entry = ChangeMessageVisibilityBatchRequestEntry::builder()
            .id(at.to_string())
            .visibility_timeout(0);
        entry.set_receipt_handle(message.receipt_handle.clone()).build()
    });
    let entries = entries.collect::<Result<_, _>>()?;
    let change = client.change_message_visibility_batch().queue_url(&queue.url);
    let changed = change.set_entries(Some(entries)).send().await?;
    ensure!(changed.successful().len() == 2 && changed.failed().is_empty());
    ensure!(queue.receive_until(2).await?.len() == 2);
    Ok(())
}
