//! Operations on whole queues.

use anyhow::{Context as _, Result, ensure};
use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::QueueAttributeName as Attribute;

use crate::bench::{Bench, expect_refusal, fresh_name};

const NO_QUEUE: &[&str] = &["AWS.SimpleQueueService.NonExistentQueue", "QueueDoesNotExist"];

pub(crate) async fn a_created_queue_is_found_and_listed(client: Client) -> Result<()> {
    let prefix = fresh_name("listed");
    let first = Bench::create(&client, format!("{prefix}-a"), &[]).await?;
    let second = Bench::create(&client, format!("{prefix}-b"), &[]).await?;
    let found = client.get_queue_url().queue_name(format!("{prefix}-a")).send().await?;
    ensure!(found.queue_url() == Some(first.url.as_str()));
    let listed = client.list_queues().queue_name_prefix(&prefix).send().await?;
    let mut urls = listed.queue_urls().to_vec();
    urls.sort();
    ensure!(urls == [first.url, second.url], "listed {urls:?}");
    Ok(())
}

pub(crate) async fn creating_again_succeeds_unless_an_attribute_differs(client: Client) -> Result<()> {
    let name = fresh_name("again");
    let timeout = |value| [(Attribute::VisibilityTimeout, value)];
    let first = Bench::create(&client, name.clone(), &timeout("40")).await?;
    let again = Bench::create(&client, name.clone(), &timeout("40")).await?;
    ensure!(first.url == again.url);
    let other = client
        .create_queue()
        .queue_name(name)
        .attributes(Attribute::VisibilityTimeout, "41");
    expect_refusal(other.send().await, &["QueueAlreadyExists", "QueueNameExists"])
}

pub(crate) async fn attributes_can_be_read_and_changed(client: Client) -> Result<()> {
    let queue = Bench::standard(&client, &[(Attribute::DelaySeconds, "7")]).await?;
    ensure!(queue.attribute(Attribute::DelaySeconds).await? == "7");
    ensure!(queue.attribute(Attribute::VisibilityTimeout).await? == "30");
    let set = client.set_queue_attributes().queue_url(&queue.url);
    set.attributes(Attribute::VisibilityTimeout, "99").send().await?;
    ensure!(queue.attribute(Attribute::VisibilityTimeout).await? == "99");
    ensure!(queue.attribute(Attribute::DelaySeconds).await? == "7");
    let arn = queue.attribute(Attribute::QueueArn).await?;
    ensure!(arn.starts_with("arn:aws:sqs:"), "{arn}");
    let all = client
        .get_queue_attributes()
        .queue_url(&queue.url)
        .attribute_names(Attribute::All);
    let all = all.send().await?.attributes.context("attributes")?;
    ensure!(all.contains_key(&Attribute::CreatedTimestamp) && all.contains_key(&Attribute::MaximumMessageSize));
    Ok(())
}

pub(crate) async fn messages_are_counted_by_state(client: Client) -> Result<()> {
    let queue = Bench::standard(&client, &[]).await?;
    for body in ["a", "b", "c"] {
        queue.send(body).await?;
    }
    let delayed = client
        .send_message()
        .queue_url(&queue.url)
        .message_body("d")
        .delay_seconds(60);
    delayed.send().await?;
    queue.one().await?;
    for (attribute, expected) in [
        (Attribute::ApproximateNumberOfMessages, "2"),
        (Attribute::ApproximateNumberOfMessagesNotVisible, "1"),
        (Attribute::ApproximateNumberOfMessagesDelayed, "1"),
    ] {
        let value = queue.attribute(attribute.clone()).await?;
        ensure!(value == expected, "{attribute} is {value}");
    }
    Ok(())
}

pub(crate) async fn an_unknown_queue_is_refused(client: Client) -> Result<()> {
    let queue = Bench::standard(&client, &[]).await?;
    let url = format!("{}-not", queue.url);
    expect_refusal(
        client.get_queue_url().queue_name(fresh_name("not")).send().await,
        NO_QUEUE,
    )?;
    expect_refusal(client.receive_message().queue_url(&url).send().await, NO_QUEUE)?;
    expect_refusal(
        client.send_message().queue_url(&url).message_body("x").send().await,
        NO_QUEUE,
    )
}

pub(crate) async fn a_deleted_queue_is_gone(client: Client) -> Result<()> {
    let queue = Bench::standard(&client, &[]).await?;
    queue.send("x").await?;
    client.delete_queue().queue_url(&queue.url).send().await?;
    expect_refusal(client.receive_message().queue_url(&queue.url).send().await, NO_QUEUE)
}

pub(crate) async fn purging_empties_a_queue(client: Client) -> Result<()> {
    let queue = Bench::standard(&client, &[]).await?;
    for body in ["a", "b"] {
        queue.send(body).await?;
    }
    queue.one().await?;
    client.purge_queue().queue_url(&queue.url).send().await?;
    queue.expect_empty().await?;
    ensure!(
        queue
            .attribute(Attribute::ApproximateNumberOfMessagesNotVisible)
            .await?
            == "0"
    );
    queue.send("c").await?;
    ensure!(queue.one().await?.body() == Some("c"));
    Ok(())
}

pub(crate) async fn fifo_queues_need_the_fifo_suffix(client: Client) -> Result<()> {
    let bare = client.create_queue().queue_name(fresh_name("bare"));
    let refused = bare.attributes(Attribute::FifoQueue, "true").send().await;
    expect_refusal(refused, &["InvalidParameterValue"])
}
