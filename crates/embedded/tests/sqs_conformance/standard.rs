//! Messages on a standard queue.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use aws_sdk_sqs::Client;
use aws_sdk_sqs::primitives::Blob;
use aws_sdk_sqs::types::{
    MessageAttributeValue, MessageSystemAttributeName as System, QueueAttributeName as Attribute,
};
use md5::{Digest as _, Md5};

use crate::bench::{Bench, expect_bodies, expect_refusal, system};

const INVALID: &[&str] = &["InvalidParameterValue"];

pub(crate) async fn a_message_is_returned_unchanged(client: Client) -> Result<()> {
    let queue = Bench::standard(&client, &[]).await?;
    let body = "línea 1\n第二行 \"quoted\" \\ 🚀\t{}";
    let sent = queue.send(body).await?;
    let digest = hex::encode(Md5::digest(body));
    ensure!(sent.md5_of_message_body() == Some(digest.as_str()));
    let message = queue.one().await?;
    ensure!(message.body() == Some(body));
    ensure!(message.md5_of_body() == Some(digest.as_str()));
    ensure!(message.message_id().is_some() && message.message_id() == sent.message_id());
    ensure!(message.receipt_handle().is_some_and(|h| !h.is_empty()));
    Ok(())
}

fn text(value: &str) -> Result<MessageAttributeValue> {
    let value = MessageAttributeValue::builder().data_type("String").string_value(value);
    Ok(value.build()?)
}

pub(crate) async fn attributes_are_returned_with_their_digest(client: Client) -> Result<()> {
    let queue = Bench::standard(&client, &[]).await?;
    let number = MessageAttributeValue::builder().data_type("Number").string_value("42");
    let binary = MessageAttributeValue::builder()
        .data_type("Binary")
        .binary_value(Blob::new([0u8, 1, 254]));
    let sent = client
        .send_message()
        .queue_url(&queue.url)
        .message_body("x")
        .message_attributes("text", text("täxt")?)
        .message_attributes("number", number.build()?)
        .message_attributes("binary", binary.build()?)
        .send()
        .await?;
    let message = queue.one().await?;
    // By the published rule: name, type, kind and value, each after its length, sorted by name.
    let mut plain = Vec::new();
    let parts: [(&str, &str, u8, &[u8]); 3] = [
        ("binary", "Binary", 2, &[0, 1, 254]),
        ("number", "Number", 1, b"42"),
        ("text", "String", 1, "täxt".as_bytes()),
    ];
    for (name, kind, marker, value) in parts {
        for part in [name.as_bytes(), kind.as_bytes()] {
            plain.extend((part.len() as u32).to_be_bytes());
            plain.extend(part);
        }
        plain.push(marker);
        plain.extend((value.len() as u32).to_be_bytes());
        plain.extend(value);
    }
    let digest = hex::encode(Md5::digest(plain));
    ensure!(
        sent.md5_of_message_attributes() == Some(digest.as_str()),
        "digest of the send"
    );
    ensure!(
        message.md5_of_message_attributes() == Some(digest.as_str()),
        "digest of the receive"
    );
    let attributes = message.message_attributes().context("attributes")?;
    ensure!(attributes["text"].string_value() == Some("täxt"));
    ensure!(attributes["number"].data_type() == "Number");
    ensure!(attributes["binary"].binary_value().map(AsRef::as_ref) == Some(&[0u8, 1, 254][..]));
    Ok(())
}

pub(crate) async fn only_requested_attributes_are_returned(client: Client) -> Result<()> {
    let queue = Bench::standard(&client, &[]).await?;
    let send = client.send_message().queue_url(&queue.url).message_body("x");
    let send = send
        .message_attributes("a.one", text("1")?)
        .message_attributes("a.two", text("2")?);
    send.message_attributes("b", text("3")?).send().await?;
    let receive = client.receive_message().queue_url(&queue.url).visibility_timeout(0);
    let none = receive.clone().send().await?.messages.unwrap_or_default();
    ensure!(none[0].message_attributes().is_none_or(|all| all.is_empty()));
    ensure!(none[0].attributes().is_none_or(|all| all.is_empty()));
    let some = receive
        .message_attribute_names("a.*")
        .send()
        .await?
        .messages
        .unwrap_or_default();
    let mut names: Vec<_> = some[0].message_attributes().context("attributes")?.keys().collect();
    names.sort();
    ensure!(names == ["a.one", "a.two"], "got {names:?}");
    Ok(())
}

pub(crate) async fn system_attributes_contain_the_delivery_history(client: Client) -> Result<()> {
    let queue = Bench::standard(&client, &[]).await?;
    queue.send("x").await?;
    let first = queue.receive_for(1, 0).await?.pop().context("a message")?;
    let second = queue.receive_for(1, 0).await?.pop().context("a message")?;
    ensure!(system(&first, System::ApproximateReceiveCount)? == "1");
    ensure!(system(&second, System::ApproximateReceiveCount)? == "2");
    let sent: i64 = system(&second, System::SentTimestamp)?.parse()?;
    let received: i64 = system(&second, System::ApproximateFirstReceiveTimestamp)?.parse()?;
    ensure!(
        sent > 1_700_000_000_000 && sent <= received,
        "sent {sent}, received {received}"
    );
    Ok(())
}

pub(crate) async fn a_received_message_is_hidden_for_its_timeout(client: Client) -> Result<()> {
    let queue = Bench::standard(&client, &[(Attribute::VisibilityTimeout, "2")]).await?;
    queue.send("x").await?;
    let started = Instant::now();
    queue.receive_until(1).await?;
    queue.expect_empty().await?;
    let again = queue.receive_until(1).await?;
    ensure!(
        started.elapsed() >= Duration::from_millis(1_500),
        "it was back too soon"
    );
    ensure!(system(&again[0], System::ApproximateReceiveCount)? == "2");
    Ok(())
}

pub(crate) async fn visibility_zero_makes_a_message_visible_at_once(client: Client) -> Result<()> {
    let queue = Bench::standard(&client, &[]).await?;
    queue.send("x").await?;
    let message = queue.one().await?;
    queue.expect_empty().await?;
    queue.set_visibility(&message, 0).await?;
    expect_bodies(&queue.receive(1).await?, &["x"])
}

pub(crate) async fn visibility_can_be_extended(client: Client) -> Result<()> {
    let queue = Bench::standard(&client, &[]).await?;
    queue.send("x").await?;
    let message = queue.receive_for(1, 1).await?.pop().context("a message")?;
    queue.set_visibility(&message, 3).await?;
    let started = Instant::now();
    queue.receive_until(1).await?;
    ensure!(
        started.elapsed() >= Duration::from_millis(2_500),
        "it was back too soon"
    );
    Ok(())
}

pub(crate) async fn a_deleted_message_is_gone_and_deleting_again_succeeds(client: Client) -> Result<()> {
    let queue = Bench::standard(&client, &[]).await?;
    queue.send("x").await?;
    let message = queue.receive_for(1, 1).await?.pop().context("a message")?;
    queue.delete(&message).await?;
    queue.delete(&message).await?;
    let receive = client.receive_message().queue_url(&queue.url).wait_time_seconds(2);
    ensure!(receive.send().await?.messages().is_empty(), "it came back");
    Ok(())
}

pub(crate) async fn a_delayed_message_is_hidden_for_its_delay(client: Client) -> Result<()> {
    let queue = Bench::standard(&client, &[]).await?;
    let started = Instant::now();
    client
        .send_message()
        .queue_url(&queue.url)
        .message_body("later")
        .delay_seconds(2)
        .send()
        .await?;
    queue.send("now").await?;
    expect_bodies(&queue.receive(10).await?, &["now"])?;
    expect_bodies(&queue.receive_until(1).await?, &["later"])?;
    ensure!(started.elapsed() >= Duration::from_millis(1_500), "it came too soon");
    Ok(())
}

pub(crate) async fn a_queue_can_delay_all_messages(client: Client) -> Result<()> {
    let queue = Bench::standard(&client, &[(Attribute::DelaySeconds, "2")]).await?;
    let started = Instant::now();
    queue.send("later").await?;
    client
        .send_message()
        .queue_url(&queue.url)
        .message_body("now")
        .delay_seconds(0)
        .send()
        .await?;
    expect_bodies(&queue.receive(10).await?, &["now"])?;
    expect_bodies(&queue.receive_until(1).await?, &["later"])?;
    ensure!(started.elapsed() >= Duration::from_millis(1_500), "it came too soon");
    Ok(())
}

pub(crate) async fn a_delay_over_900_seconds_is_refused(client: Client) -> Result<()> {
    let queue = Bench::standard(&client, &[]).await?;
    let send = client.send_message().queue_url(&queue.url).message_body("x");
    send.clone().delay_seconds(900).send().await?;
    expect_refusal(send.clone().delay_seconds(901).send().await, INVALID)?;
    expect_refusal(send.delay_seconds(-1).send().await, INVALID)
}

pub(crate) async fn a_long_poll_wakes_up_for_a_message(client: Client) -> Result<()> {
    let queue = Bench::standard(&client, &[]).await?;
    let receive = client.receive_message().queue_url(&queue.url).wait_time_seconds(20);
    let waiting = tokio::spawn(async move { receive.send().await });
    // The receive should be waiting when the message is sent; if it isn't yet, the case is easier, but not wrong.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let sent = Instant::now();
    queue.send("x").await?;
    let received = waiting.await??;
    expect_bodies(received.messages(), &["x"])?;
    ensure!(
        sent.elapsed() < Duration::from_secs(3),
        "woke up after {:?}",
        sent.elapsed()
    );
    Ok(())
}

pub(crate) async fn a_long_poll_ends_empty_after_its_time(client: Client) -> Result<()> {
    let queue = Bench::standard(&client, &[(Attribute::ReceiveMessageWaitTimeSeconds, "20")]).await?;
    let started = Instant::now();
    let receive = client.receive_message().queue_url(&queue.url).wait_time_seconds(1);
    ensure!(receive.send().await?.messages().is_empty());
    let took = started.elapsed();
    ensure!(
        took >= Duration::from_millis(900) && took < Duration::from_secs(5),
        "ended after {took:?}"
    );
    Ok(())
}

pub(crate) async fn a_too_large_message_is_refused(client: Client) -> Result<()> {
    let queue = Bench::standard(&client, &[(Attribute::MaximumMessageSize, "1024")]).await?;
    queue.send(&"x".repeat(1_024)).await?;
    let large = client
        .send_message()
        .queue_url(&queue.url)
        .message_body("x".repeat(1_025));
    expect_refusal(large.send().await, INVALID)
}

pub(crate) async fn a_mebibyte_is_accepted(client: Client) -> Result<()> {
    let queue = Bench::standard(&client, &[]).await?;
    let body = "x".repeat(1_048_576);
    queue.send(&body).await?;
    ensure!(queue.one().await?.body() == Some(body.as_str()));
    let larger = client.send_message().queue_url(&queue.url).message_body(body + "x");
    expect_refusal(larger.send().await, INVALID)
}

pub(crate) async fn a_message_group_is_accepted(client: Client) -> Result<()> {
    let queue = Bench::standard(&client, &[]).await?;
    let send = client.send_message().queue_url(&queue.url).message_group_id("tenant");
    for body in ["a", "b"] {
        send.clone().message_body(body).send().await?;
    }
    // A group locks nothing on a standard queue.
    let first = queue.one().await?;
    queue.one().await?;
    ensure!(system(&first, System::MessageGroupId)? == "tenant");
    Ok(())
}

pub(crate) async fn a_wrong_receipt_handle_is_refused(client: Client) -> Result<()> {
    let queue = Bench::standard(&client, &[]).await?;
    let delete = client
        .delete_message()
        .queue_url(&queue.url)
        .receipt_handle("not a handle");
    expect_refusal(delete.send().await, &["ReceiptHandleIsInvalid"])
}
