//! Throughput of the engines through the AWS SDK: `load [memory|file] [in-process|http]`.
//!
//! Run it with `--release`; each figure is measured over about two seconds.

#![expect(clippy::print_stdout, reason = "its output is what it is for")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, KeySchemaElement, KeyType, Put, ScalarAttributeType,
    TransactWriteItem,
};
use aws_sdk_sqs::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_sqs::types::{DeleteMessageBatchRequestEntry, QueueAttributeName};
use tieline_embedded::{ACCESS_KEY_ID, ENDPOINT_URL, Embedded, Options, REGION, SECRET_ACCESS_KEY};
use tokio::net::TcpListener;

const WINDOW: Duration = Duration::from_secs(2);
const BODY_BYTES: usize = 1_000;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let has = |word: &str| args.iter().any(|a| a == word);
    let dir = tempfile::tempdir()?;
    let embedded = Arc::new(match has("memory") {
        true => Embedded::in_memory(Options::default())?,
        false => Embedded::open(dir.path(), Options::default())?,
    });
    let (sqs, dynamodb) = if has("http") {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let served = Arc::clone(&embedded);
        tokio::spawn(async move { served.serve(listener, std::future::pending()).await });
        clients(&url, None)
    } else {
        clients(ENDPOINT_URL, Some(&embedded))
    };
    println!("{:<44}{:>12}{:>14}{:>14}", "operation", "per second", "mean", "worst");
    if !has("dynamodb") {
        queues(&sqs).await?;
    }
    if !has("sqs") {
        tables(&dynamodb).await?;
    }
    Ok(())
}

fn clients(url: &str, embedded: Option<&Embedded>) -> (aws_sdk_sqs::Client, aws_sdk_dynamodb::Client) {
    let credentials = || Credentials::new(ACCESS_KEY_ID, SECRET_ACCESS_KEY, None, None, "embedded");
    let mut sqs = aws_sdk_sqs::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(REGION))
        .credentials_provider(credentials())
        .endpoint_url(url);
    let mut dynamodb = aws_sdk_dynamodb::Config::builder()
        .behavior_version(aws_sdk_dynamodb::config::BehaviorVersion::latest())
        .region(aws_sdk_dynamodb::config::Region::new(REGION))
        .credentials_provider(credentials())
        .endpoint_url(url);
    if let Some(embedded) = embedded {
        sqs = sqs.http_client(embedded.http_client());
        dynamodb = dynamodb.http_client(embedded.http_client());
    }
    (
        aws_sdk_sqs::Client::from_conf(sqs.build()),
        aws_sdk_dynamodb::Client::from_conf(dynamodb.build()),
    )
}

/// Repeats `work` in `n_callers` tasks for the length of the window. `work` returns the number of operations that it did.
async fn measure<W, F>(name: &str, n_callers: u64, work: W) -> anyhow::Result<()>
where
    W: Fn(u64) -> F + Clone + Send + 'static,
    F: Future<Output = anyhow::Result<u64>> + Send,
{
    let (n_done, worst_us, ticket) = (
        Arc::<AtomicU64>::default(),
        Arc::<AtomicU64>::default(),
        Arc::<AtomicU64>::default(),
    );
    let (start, mut callers) = (Instant::now(), Vec::new());
    let n_calls = Arc::<AtomicU64>::default();
    for _ in 0..n_callers {
        let (n_done, worst_us, ticket, n_calls, work) = (
            n_done.clone(),
            worst_us.clone(),
            ticket.clone(),
            n_calls.clone(),
            work.clone(),
        );
        callers.push(tokio::spawn(async move {
            while start.elapsed() < WINDOW {
                let began = Instant::now();
                let done = work(ticket.fetch_add(1, Ordering::Relaxed)).await?;
                if done == 0 {
                    break;
                }
                n_calls.fetch_add(1, Ordering::Relaxed);
                n_done.fetch_add(done, Ordering::Relaxed);
                worst_us.fetch_max(began.elapsed().as_micros() as u64, Ordering::Relaxed);
            }
            anyhow::Ok(())
        }));
    }
    for caller in callers {
        caller.await??;
    }
    let elapsed = start.elapsed();
    let per_second = n_done.load(Ordering::Relaxed) as f64 / elapsed.as_secs_f64();
    let mean = elapsed.as_micros() as f64 * n_callers as f64 / n_calls.load(Ordering::Relaxed).max(1) as f64;
    let label = format!("{name}, {n_callers} callers");
    let worst_ms = worst_us.load(Ordering::Relaxed) as f64 / 1e3;
    println!("{label:<44}{per_second:>10.0}/s{mean:>11.0} us{worst_ms:>11.1} ms");
    Ok(())
}

async fn queues(sqs: &aws_sdk_sqs::Client) -> anyhow::Result<()> {
    let body: Arc<str> = "x".repeat(BODY_BYTES).into();
    for kind in ["standard", "fifo"] {
        let url = make_queue(sqs, kind).await?;
        for n_callers in [1, 32] {
            let (client, queue, body) = (sqs.clone(), url.clone(), body.clone());
            let is_fifo = kind == "fifo";
            measure(&format!("{kind}: SendMessage"), n_callers, move |n| {
                let (client, queue, body) = (client.clone(), queue.clone(), body.clone());
                async move {
                    let send = client.send_message().queue_url(queue).message_body(&*body);
                    let send = match is_fifo {
                        true => send
                            .message_group_id(format!("g{}", n % 500))
                            .message_deduplication_id(format!("{n_callers}-{n}")),
                        false => send,
                    };
                    send.send().await?;
                    Ok(1)
                }
            })
            .await?;
        }
        for (most, n_callers) in [(1, 1), (10, 1), (1, 32), (10, 32)] {
            let (client, queue) = (sqs.clone(), url.clone());
            measure(
                &format!("{kind}: ReceiveMessage({most}) + delete"),
                n_callers,
                move |_| {
                    let (client, queue) = (client.clone(), queue.clone());
                    async move { receive_and_delete(&client, &queue, most).await }
                },
            )
            .await?;
        }
        let (client, queue) = (sqs.clone(), url.clone());
        measure(&format!("{kind}: send + receive(1) + delete"), 32, move |n| {
            let (client, queue, body) = (client.clone(), queue.clone(), "x".repeat(BODY_BYTES));
            async move {
                let send = client.send_message().queue_url(&queue).message_body(body);
                let send = match queue.ends_with(".fifo") {
                    true => send
                        .message_group_id(format!("g{}", n % 500))
                        .message_deduplication_id(format!("m-{n}")),
                    false => send,
                };
                send.send().await?;
                receive_and_delete(&client, &queue, 1).await?;
                Ok(1)
            }
        })
        .await?;
    }
    Ok(())
}

async fn make_queue(sqs: &aws_sdk_sqs::Client, kind: &str) -> anyhow::Result<String> {
    let create = sqs.create_queue();
    let create = match kind {
        "fifo" => create
            .queue_name("load.fifo")
            .attributes(QueueAttributeName::FifoQueue, "true"),
        _ => create.queue_name("load"),
    };
    create.send().await?.queue_url.context("a created queue has a URL")
}

async fn receive_and_delete(client: &aws_sdk_sqs::Client, queue: &str, most: i32) -> anyhow::Result<u64> {
    let received = client
        .receive_message()
        .queue_url(queue)
        .max_number_of_messages(most)
        .send()
        .await?;
    let messages = received.messages.unwrap_or_default();
    let Some(first) = messages.first() else { return Ok(0) };
    if most == 1 {
        let delete = client.delete_message().queue_url(queue);
        delete.set_receipt_handle(first.receipt_handle.clone()).send().await?;
        return Ok(1);
    }
    let mut delete = client.delete_message_batch().queue_url(queue);
    for (at, message) in messages.iter().enumerate() {
        let entry = DeleteMessageBatchRequestEntry::builder().id(at.to_string());
        delete = delete.entries(entry.set_receipt_handle(message.receipt_handle.clone()).build()?);
    }
    delete.send().await?;
    Ok(messages.len() as u64)
}

async fn tables(dynamodb: &aws_sdk_dynamodb::Client) -> anyhow::Result<()> {
    let key = AttributeDefinition::builder()
        .attribute_name("pk")
        .attribute_type(ScalarAttributeType::S);
    let schema = KeySchemaElement::builder().attribute_name("pk").key_type(KeyType::Hash);
    dynamodb
        .create_table()
        .table_name("load")
        .attribute_definitions(key.build()?)
        .key_schema(schema.build()?)
        .billing_mode(BillingMode::PayPerRequest)
        .send()
        .await?;
    let text = AttributeValue::S("x".repeat(BODY_BYTES));
    for n_callers in [1, 32] {
        let (client, value) = (dynamodb.clone(), text.clone());
        measure("PutItem", n_callers, move |n| {
            let put = client
                .put_item()
                .table_name("load")
                .item("pk", key_of(n))
                .item("v", value.clone());
            async move { Ok(put.send().await.map(|_| 1)?) }
        })
        .await?;
        let client = dynamodb.clone();
        measure("GetItem", n_callers, move |n| {
            let get = client.get_item().table_name("load").key("pk", key_of(n));
            async move { Ok(get.send().await.map(|_| 1)?) }
        })
        .await?;
        let client = dynamodb.clone();
        measure("UpdateItem with condition", n_callers, move |n| {
            let update = client
                .update_item()
                .table_name("load")
                .key("pk", key_of(n))
                .update_expression("SET n = if_not_exists(n, :zero) + :one")
                .condition_expression("attribute_not_exists(gone)")
                .expression_attribute_values(":zero", AttributeValue::N("0".into()))
                .expression_attribute_values(":one", AttributeValue::N("1".into()));
            async move { Ok(update.send().await.map(|_| 1)?) }
        })
        .await?;
        let (client, value) = (dynamodb.clone(), text.clone());
        measure("TransactWriteItems, 2 puts", n_callers, move |n| {
            let put = |suffix: &str| {
                let put = Put::builder().table_name("load").item("v", value.clone());
                let put = put.item("pk", AttributeValue::S(format!("t{}{suffix}", n % 1_000)));
                Ok::<_, anyhow::Error>(TransactWriteItem::builder().put(put.build()?).build())
            };
            let both = put("a").and_then(|a| Ok((a, put("b")?)));
            let client = client.clone();
            async move {
                let (a, b) = both?;
                Ok(client
                    .transact_write_items()
                    .transact_items(a)
                    .transact_items(b)
                    .send()
                    .await
                    .map(|_| 1)?)
            }
        })
        .await?;
    }
    Ok(())
}

fn key_of(n: u64) -> AttributeValue {
    AttributeValue::S(format!("k{}", n % 10_000))
}
