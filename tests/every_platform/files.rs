//! Pictures and files that agents send.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{LazyLock, OnceLock};
use std::time::Duration;

use anyhow::ensure;
use axum::Router;
use axum::routing::get;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tieline_tests::agents::Manner;
use tieline_tests::outbound::{Speaker, stays, until};
use tieline_tests::platform::Upload;
use tieline_tests::uploads::SentFile;
use tokio::sync::Semaphore;

use crate::test_bridge::{Bot, PATIENCE, TestBridge};

/// Size of a file that no platform accepts.
const HUGE: usize = 64 << 20;
const DOCUMENT: &[u8] = b"%PDF-1.4 a document of the agent\n";

/// Address of the file server, as a static because an agent's answer is a plain function.
static FILES: OnceLock<SocketAddr> = OnceLock::new();
/// Number of requests for the file that waits for [`GATE`].
static N_WAITING: AtomicUsize = AtomicUsize::new(0);
static GATE: Semaphore = Semaphore::const_new(0);

fn file(name: &str, mime: &str, bytes: &[u8]) -> Value {
    json!({ "type": "file", "bytes": STANDARD.encode(bytes), "name": name, "mime": mime })
}

fn file_at(name: &str, mime: &str) -> Value {
    let address = FILES.get().expect("the file server must run before an agent is asked");
    json!({ "type": "file", "url": format!("http://{address}/{name}"), "name": name, "mime": mime })
}

/// A text for more messages than some platforms allow for an answer.
static LONG_TEXT: LazyLock<String> = LazyLock::new(|| "一句没有尽头的话，".repeat(900));

fn picture() -> Value {
    file("pixel.png", "image/png", Upload::PICTURE.bytes)
}

/// More pictures than some platforms allow messages for an answer.
const N_MANY: usize = 6;

fn many_name(number: usize) -> String {
    format!("page-{number}.png")
}

/// Serves files on a thread of its own, which the tests of this process share.
fn serve_files() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    listener.set_nonblocking(true).unwrap();
    let served = Router::new()
        .route("/huge.pdf", get(async || vec![0_u8; HUGE]))
        .route("/second.png", get(second))
        .route("/third.png", get(async || Upload::PICTURE.bytes));
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            axum::serve(listener, served).await
        })
    });
    address
}

/// An agent that sends files in four ways: deliverable ones, undeliverable ones, one at a time, and some while the bridge is killed.
fn with_files() -> Manner {
    FILES.get_or_init(serve_files);
    Manner {
        events: |text| {
            let (text, files) = match text {
                "files" => (
                    "Here they are.",
                    vec![picture(), file("报告 1.pdf", "application/pdf", DOCUMENT)],
                ),
                "lost" => (
                    "Some are lost.",
                    vec![
                        file_at("gone.pdf", "application/pdf"),
                        file_at("huge.pdf", "application/pdf"),
                        file("broken.png", "image/png", b"no picture at all"),
                    ],
                ),
                "alone" => ("", vec![picture()]),
                "many" => (
                    "Here they all are.",
                    (1..=N_MANY)
                        .map(|number| file(&many_name(number), "image/png", Upload::PICTURE.bytes))
                        .collect(),
                ),
                "full" => (&**LONG_TEXT, vec![picture()]),
                "slow" => (
                    "One by one.",
                    vec![
                        picture(),
                        file_at("second.png", "image/png"),
                        file_at("third.png", "image/png"),
                    ],
                ),
                _ => return None,
            };
            let mut events = vec![json!({ "type": "text.delta", "text": text })];
            events.extend(files);
            events.push(json!({ "type": "completed" }));
            Some(events)
        },
        ..Manner::default()
    }
}

async fn second() -> &'static [u8] {
    N_WAITING.fetch_add(1, Ordering::SeqCst);
    drop(GATE.acquire().await);
    Upload::PICTURE.bytes
}

fn n_files(files: &[SentFile], bytes: &[u8], is_picture: bool) -> usize {
    let these = files.iter().filter(|file| file.bytes == bytes);
    these.filter(|file| file.is_picture == is_picture).count()
}

/// The chat's texts without what simulators show for files.
fn words(bot: &Bot, chat: &Speaker) -> String {
    let mut texts = bot.texts(chat);
    texts.retain(|text| !text.starts_with('[') || text.contains("]("));
    texts.join("\n")
}

#[tokio::test]
async fn file_of_an_agent_arrives_as_a_file_or_as_a_link_with_its_name() {
    let test = TestBridge::open(with_files()).await;
    test.play(async |bot| {
        bot.agent_speaks_our_contract().await?;
        let lisi = Speaker::alone("1001");
        bot.say(&lisi, "files");
        let features = bot.simulator.features();
        let is_attached = features.sends_files && !features.sends_pictures;
        let arrived = || {
            let (files, words) = (bot.simulator.files(&lisi), words(bot, &lisi));
            let picture = match features.sends_pictures || is_attached {
                true => n_files(&files, Upload::PICTURE.bytes, !is_attached) == 1 && !words.contains("pixel.png"),
                false => words.contains("pixel.png"),
            };
            let document = match features.sends_files {
                true => {
                    let named = files.iter().any(|file| file.name == "报告 1.pdf");
                    n_files(&files, DOCUMENT, false) == 1 && named && !words.contains("报告")
                }
                false => words.contains("报告 1.pdf"),
            };
            picture && document && words.contains("Here they are.")
        };
        bot.wait_until("picture and document", arrived).await.map_err(|error| {
            let (files, words) = (bot.simulator.files(&lisi), words(bot, &lisi));
            error.context(format!("{words} {files:?}"))
        })?;
        bot.say(&lisi, "alone");
        let again = || match features.sends_pictures || is_attached {
            true => n_files(&bot.simulator.files(&lisi), Upload::PICTURE.bytes, !is_attached) == 2,
            false => words(bot, &lisi).matches("pixel.png").count() == 2,
        };
        bot.wait_until("the picture alone", again).await
    })
    .await;
}

#[tokio::test]
async fn file_that_cannot_be_sent_is_a_link_with_its_name() {
    let mut test = TestBridge::open(with_files()).await;
    // Only the platform can tell that it is not a picture.
    test.forgiven = &["234011", "IMAGE_PROCESS_FAILED", "40005"];
    test.play(async |bot| {
        bot.agent_speaks_our_contract().await?;
        let lisi = Speaker::alone("1001");
        bot.say(&lisi, "lost");
        let features = bot.simulator.features();
        let names = ["gone.pdf", "huge.pdf"];
        let arrived = || {
            let words = words(bot, &lisi);
            let broken = match features.sends_files {
                // Refused as a picture, then accepted as a file, where a file may have any type.
                true => {
                    let files = bot.simulator.files(&lisi);
                    n_files(&files, b"no picture at all", false) == 1 || words.matches("broken.png").count() == 1
                }
                false => words.matches("broken.png").count() == 1,
            };
            broken && names.iter().all(|name| words.contains(name)) && words.contains("Some are lost.")
        };
        bot.wait_until("links", arrived).await.map_err(|error| {
            let (files, words) = (bot.simulator.files(&lisi), words(bot, &lisi));
            error.context(format!("{words} {files:?}"))
        })?;
        let words = words(bot, &lisi);
        ensure!(
            words.matches("Some are lost.").count() == 1,
            "the text should be shown once: {words}"
        );
        if features.sends_files {
            let path = format!("/api/v1/orgs/default/integrations/{}/logs", bot.id);
            let log = bot.console.get(&path).await?.to_string();
            ensure!(
                log.contains("file_not_sent"),
                "the log should have file_not_sent: {log}"
            );
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn picture_for_which_no_message_is_left_is_missing_in_the_ledger_too() {
    let mut test = TestBridge::open(with_files()).await;
    test.bots.retain(|bot| bot.simulator.features().sends_pictures);
    test.forgiven = &["more messages than a message of the person allows"];
    test.play(async |bot| {
        bot.agent_speaks_our_contract().await?;
        let lisi = Speaker::alone("1001");
        bot.say(&lisi, "full");
        let list = format!("/api/v1/orgs/default/messages?integrationId={}&state=answered", bot.id);
        let answered = bot.console.first(&list).await?;
        let path = format!(
            "/api/v1/orgs/default/messages/{}",
            answered["id"].as_str().unwrap_or_default()
        );
        let steps = bot.console.get(&path).await?["steps"].to_string();
        let is_missing = steps.contains("files_not_sent");
        let is_shown = || {
            let files = bot.simulator.files(&lisi);
            files.iter().any(|file| file.bytes == Upload::PICTURE.bytes) || words(bot, &lisi).contains("pixel.png")
        };
        if is_missing {
            ensure!(
                !is_shown(),
                "the picture is shown, but the ledger says otherwise: {steps}"
            );
            return Ok(());
        }
        bot.wait_until("the picture", is_shown)
            .await
            .map_err(|error| error.context(steps))
    })
    .await;
}

#[tokio::test]
async fn picture_beyond_the_messages_of_an_answer_is_a_link_in_its_text() {
    let mut test = TestBridge::open(with_files()).await;
    test.bots.retain(|bot| bot.simulator.features().sends_pictures);
    test.play(async |bot| {
        bot.agent_speaks_our_contract().await?;
        let lisi = Speaker::alone("1001");
        bot.say(&lisi, "many");
        let all = || {
            let n_sent = n_files(&bot.simulator.files(&lisi), Upload::PICTURE.bytes, true);
            let words = words(bot, &lisi);
            let n_links = (1..=N_MANY)
                .filter(|number| words.contains(&many_name(*number)))
                .count();
            n_sent + n_links == N_MANY && words.contains("Here they all are.")
        };
        bot.wait_until("each picture, sent or as a link", all).await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_bridge_continues_with_the_next_file() {
    let mut test = TestBridge::open(with_files()).await;
    test.bots.retain(|bot| bot.simulator.features().sends_files);
    let lisi = Speaker::alone("1001");
    for bot in &test.bots {
        bot.agent_speaks_our_contract().await.unwrap();
        bot.say(&lisi, "slow");
    }
    let all_wait = || (N_WAITING.load(Ordering::SeqCst) >= test.bots.len()).then_some(());
    until("second files", PATIENCE, all_wait).await.unwrap();
    tokio::task::block_in_place(|| test.bridge.restart()).unwrap();
    GATE.add_permits(1);
    test.play(async |bot| {
        let arrived = || {
            let files = bot.simulator.files(&lisi);
            let has = |name: &str| files.iter().any(|file| file.name == name) || words(bot, &lisi).contains(name);
            ["pixel.png", "second.png", "third.png"].into_iter().all(has)
        };
        bot.wait_until("all files", arrived).await?;
        let goes_on = || bot.simulator.files(&lisi).len() <= 3;
        stays("no file twice", Duration::from_secs(2), goes_on).await?;
        let names: Vec<_> = bot.simulator.files(&lisi).into_iter().map(|file| file.name).collect();
        ensure!(
            names.first().is_some_and(|name| name == "pixel.png"),
            "expected pixel.png first, found {names:?}"
        );
        ensure!(
            names.last().is_some_and(|name| name == "third.png"),
            "expected third.png last, found {names:?}"
        );
        let texts = words(bot, &lisi);
        ensure!(
            texts.matches("One by one.").count() == 1,
            "the text should be shown once: {texts}"
        );
        Ok(())
    })
    .await;
}
