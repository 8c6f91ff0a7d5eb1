//! Messages that were received too often, and their redrive.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::QueueAttributeName as Attribute;

use crate::bench::{Bench, expect_bodies};

/// A queue that dead-letters a message after `max_receives`, and its dead-letter queue.
async fn pair(client: &Client, fifo: bool, max_receives: u32) -> Result<(Bench, Bench)> {
    let dead = match fifo {
        true => Bench::fifo(client, &[]).await?,
        false => Bench::standard(client, &[]).await?,
    };
    let arn = dead.attribute(Attribute::QueueArn).await?;
    let policy = format!(r#"{{"deadLetterTargetArn":"{arn}","maxReceiveCount":"{max_receives}"}}"#);
    let attributes = [(Attribute::RedrivePolicy, policy.as_str())];
    let queue = match fifo {
        true => Bench::fifo(client, &attributes).await?,
        false => Bench::standard(client, &attributes).await?,
    };
    Ok((queue, dead))
}

pub(crate) async fn a_standard_message_received_too_often_is_moved(client: Client) -> Result<()> {
    let (queue, dead) = pair(&client, false, 2).await?;
    let sent = queue.send("poison").await?;
    for _ in 0..2 {
        expect_bodies(&queue.receive_for(1, 0).await?, &["poison"])?;
        dead.expect_empty().await?;
    }
    queue.expect_empty().await?;
    let buried = dead.receive_until(1).await?;
    expect_bodies(&buried, &["poison"])?;
    ensure!(buried[0].message_id() == sent.message_id(), "it has another id now");
    Ok(())
}

pub(crate) async fn a_fifo_message_received_too_often_unlocks_its_group(client: Client) -> Result<()> {
    let (queue, dead) = pair(&client, true, 1).await?;
    queue.send_all("g", &["poison", "next"]).await?;
    let first = queue.one().await?;
    queue.set_visibility(&first, 0).await?;
    expect_bodies(&queue.receive(1).await?, &["next"])?;
    expect_bodies(&dead.receive_until(1).await?, &["poison"])
}

pub(crate) async fn sources_of_a_dead_letter_queue_are_listed(client: Client) -> Result<()> {
    let (queue, dead) = pair(&client, false, 2).await?;
    let listed = client
        .list_dead_letter_source_queues()
        .queue_url(&dead.url)
        .send()
        .await?;
    ensure!(listed.queue_urls() == [queue.url], "listed {:?}", listed.queue_urls());
    Ok(())
}

pub(crate) async fn a_move_task_redrives_dead_letters(client: Client) -> Result<()> {
    let (queue, dead) = pair(&client, false, 1).await?;
    for body in ["a", "b"] {
        queue.send(body).await?;
        expect_bodies(&queue.receive_for(1, 0).await?, &[body])?;
        queue.expect_empty().await?;
    }
    let arn = dead.attribute(Attribute::QueueArn).await?;
    let started = client.start_message_move_task().source_arn(&arn).send().await?;
    started.task_handle().context("a handle")?;
    let since = Instant::now();
    loop {
        let tasks = client.list_message_move_tasks().source_arn(&arn).send().await?;
        let task = tasks.results().first().context("a task")?;
        if task.status() == Some("COMPLETED") {
            ensure!(task.approximate_number_of_messages_moved() == 2, "{task:?}");
            break;
        }
        ensure!(since.elapsed() < Duration::from_secs(10), "{task:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    dead.expect_empty().await?;
    expect_bodies(&queue.receive_until(2).await?, &["a", "b"])
}
