//! `kill -9` at any moment: acknowledged messages are there exactly once, deduplication ids are still known.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType,
};
use aws_sdk_sqs::config::retry::RetryConfig;
use aws_sdk_sqs::config::{BehaviorVersion, Credentials, Region, SharedHttpClient};
use aws_sdk_sqs::types::{Message, QueueAttributeName as Attribute};
use tokio::net::TcpListener;

use tieline_embedded::{ACCESS_KEY_ID, ENDPOINT_URL, Embedded, Options, REGION, SECRET_ACCESS_KEY};

const DIR: &str = "TIELINE_TEST_KILL_DIR";
const ADDRESS_MARK: &str = "listening on ";
const N_SENDERS: u64 = 8;

/// Not a test of its own: the process that `a_killed_engine_keeps_acknowledged_messages` starts from this very program, and kills.
#[tokio::test(flavor = "multi_thread")]
async fn the_process_to_be_killed() {
    let Some(dir) = std::env::var_os(DIR) else { return };
    let embedded = Embedded::open(Path::new(&dir), Options::default()).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    #[expect(clippy::print_stdout, reason = "the parent reads it")]
    {
        println!("\n{ADDRESS_MARK}{}", listener.local_addr().unwrap());
    }
    embedded.serve(listener, std::future::pending()).await.unwrap();
}

/// Kills its process on drop, also when the test fails.
struct Victim(Child);

impl Victim {
    fn start(dir: &Path) -> (Self, String) {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "the_process_to_be_killed", "--nocapture"])
            .env(DIR, dir)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let victim = Self(child);
        let address = lines
            .map_while(Result::ok)
            .find_map(|line| Some(line.split_once(ADDRESS_MARK)?.1.to_owned()));
        (victim, format!("http://{}", address.unwrap()))
    }

    /// SIGKILL: no destructor runs, no buffer is written.
    fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

#[derive(Clone)]
struct Clients {
    sqs: aws_sdk_sqs::Client,
    dynamodb: aws_sdk_dynamodb::Client,
}

impl Clients {
    fn new(url: &str, http_client: Option<SharedHttpClient>) -> Self {
        let credentials = || Credentials::new(ACCESS_KEY_ID, SECRET_ACCESS_KEY, None, None, "embedded");
        let mut sqs = aws_sdk_sqs::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(REGION))
            .credentials_provider(credentials())
            .retry_config(RetryConfig::disabled())
            .endpoint_url(url);
        sqs.set_http_client(http_client.clone());
        let mut dynamodb = aws_sdk_dynamodb::Config::builder()
            .behavior_version(aws_sdk_dynamodb::config::BehaviorVersion::latest())
            .region(aws_sdk_dynamodb::config::Region::new(REGION))
            .credentials_provider(credentials())
            .retry_config(aws_sdk_dynamodb::config::retry::RetryConfig::disabled())
            .endpoint_url(url);
        dynamodb.set_http_client(http_client);
        Self {
            sqs: aws_sdk_sqs::Client::from_conf(sqs.build()),
            dynamodb: aws_sdk_dynamodb::Client::from_conf(dynamodb.build()),
        }
    }

    async fn make_queue(&self) -> String {
        let create = self
            .sqs
            .create_queue()
            .queue_name("kill.fifo")
            .attributes(Attribute::FifoQueue, "true");
        create.send().await.unwrap().queue_url.unwrap()
    }

    async fn make_table(&self) {
        let key = AttributeDefinition::builder()
            .attribute_name("pk")
            .attribute_type(ScalarAttributeType::S);
        let schema = KeySchemaElement::builder().attribute_name("pk").key_type(KeyType::Hash);
        let create = self
            .dynamodb
            .create_table()
            .table_name("kill")
            .billing_mode(BillingMode::PayPerRequest);
        let create = create
            .attribute_definitions(key.build().unwrap())
            .key_schema(schema.build().unwrap());
        create.send().await.unwrap();
    }

    /// Sends a message. Returns its id if it was accepted.
    async fn send(&self, queue: &str, group: &str, body: &str) -> Option<String> {
        let send = self.sqs.send_message().queue_url(queue).message_body(body);
        let sent = send.message_group_id(group).message_deduplication_id(body).send().await;
        sent.ok()?.message_id
    }

    async fn receive(&self, queue: &str, most: i32, visibility_s: i32) -> Vec<Message> {
        let receive = self.sqs.receive_message().queue_url(queue).max_number_of_messages(most);
        let received = receive.visibility_timeout(visibility_s).send().await;
        received.unwrap().messages.unwrap_or_default()
    }

    async fn delete(&self, queue: &str, message: &Message) {
        let delete = self.sqs.delete_message().queue_url(queue);
        delete
            .set_receipt_handle(message.receipt_handle.clone())
            .send()
            .await
            .unwrap();
    }
}

/// Body of each acknowledged message, with its id.
type Acknowledged = Arc<Mutex<BTreeMap<String, String>>>;

/// Sends and puts until the server is gone. Each sender has a group of its own, with rising numbers.
async fn work(clients: Clients, queue: String, sender: u64, sent: Acknowledged, put: Acknowledged) {
    for number in 0.. {
        let body = format!("s{sender}-{number:06}");
        let Some(id) = clients.send(&queue, &format!("g{sender}"), &body).await else {
            return;
        };
        sent.lock().unwrap().insert(body.clone(), id.clone());
        let item = clients
            .dynamodb
            .put_item()
            .table_name("kill")
            .item("pk", AttributeValue::S(body.clone()));
        if item.send().await.is_err() {
            return;
        }
        put.lock().unwrap().insert(body, id);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_engine_keeps_acknowledged_messages() {
    for seed in 1..=5u64 {
        // Spread over the time of the first checkpoints; the same in every run.
        let moment = Duration::from_millis(50 + seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) % 450);
        kill_after(moment).await;
    }
}

async fn kill_after(moment: Duration) {
    let dir = tempfile::tempdir().unwrap();
    let (victim, url) = Victim::start(dir.path());
    let clients = Clients::new(&url, None);
    let queue = clients.make_queue().await;
    clients.make_table().await;
    for body in ["held", "behind"] {
        clients.send(&queue, "locked", body).await.unwrap();
    }
    let held = clients.receive(&queue, 1, 600).await;
    assert_eq!(held[0].body(), Some("held"));

    let (sent, put) = (Acknowledged::default(), Acknowledged::default());
    let senders = (0..N_SENDERS).map(|sender| {
        let work = work(
            clients.clone(),
            queue.clone(),
            sender,
            Arc::clone(&sent),
            Arc::clone(&put),
        );
        tokio::spawn(work)
    });
    let senders: Vec<_> = senders.collect();
    tokio::time::sleep(moment).await;
    victim.kill();
    for sender in senders {
        sender.await.unwrap();
    }
    let (sent, put) = (sent.lock().unwrap().clone(), put.lock().unwrap().clone());
    assert!(
        !sent.is_empty() && !put.is_empty(),
        "nothing was done within {moment:?}"
    );

    let embedded = Embedded::open(dir.path(), Options::default()).unwrap();
    let clients = Clients::new(ENDPOINT_URL, Some(embedded.http_client()));
    check_queue(&clients, &queue, &sent).await;
    check_table(&clients, &put).await;
    // The receipt from before the crash is still valid, and only deleting with it unlocks the group.
    clients.delete(&queue, &held[0]).await;
    let behind = clients.receive(&queue, 10, 600).await;
    assert_eq!(behind.len(), 1);
    assert_eq!(behind[0].body(), Some("behind"));
}

async fn check_queue(clients: &Clients, queue: &str, sent: &BTreeMap<String, String>) {
    let mut there: BTreeMap<String, String> = BTreeMap::new();
    let mut last: BTreeMap<String, String> = BTreeMap::new();
    loop {
        let batch = clients.receive(queue, 10, 600).await;
        if batch.is_empty() {
            break;
        }
        for message in &batch {
            let (body, id) = (message.body().unwrap(), message.message_id().unwrap());
            assert_ne!(body, "behind", "its group is locked");
            let earlier = there.insert(body.into(), id.into());
            assert!(earlier.is_none(), "{body} is there twice");
            let before = last.insert(body[..2].into(), body.into());
            assert!(before.as_deref() < Some(body), "{body} came after {before:?}");
            clients.delete(queue, message).await;
        }
    }
    for (body, id) in sent {
        assert_eq!(there.get(body), Some(id), "{body} was acknowledged");
    }
    // Each sender had at most one send in flight.
    assert!(there.len() as u64 <= sent.len() as u64 + N_SENDERS);
    // All are deleted, but their ids are known: a repeated send returns the same message id and adds no message.
    for (body, id) in sent.iter().step_by(7) {
        let again = clients.send(queue, &format!("g{}", &body[1..2]), body).await;
        assert_eq!(again.as_ref(), Some(id));
    }
    assert!(clients.receive(queue, 10, 600).await.is_empty());
}

async fn check_table(clients: &Clients, put: &BTreeMap<String, String>) {
    for body in put.keys() {
        let get = clients
            .dynamodb
            .get_item()
            .table_name("kill")
            .key("pk", AttributeValue::S(body.clone()));
        assert!(get.send().await.unwrap().item.is_some(), "{body} was acknowledged");
    }
}
