use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;
use tieline_core::account::ConnectionMode;
use tieline_core::connector::Connector;
use tieline_core::event::{Chat, ChatKind, PartKind, Sender};
use tieline_core::http_types::{Body, HttpCall, TokenPlace};
use tieline_core::ids::{ChatId, PlatformMessageId, SenderId};
use tieline_core::reply::{ReplyHandle, ReplyTarget};
use tieline_embedded::Embedded;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::time::sleep;

use super::fetch::moved;
use super::*;
use crate::memory_budget::MemoryPermit;
use crate::run::fixture::PolledFixture;
use crate::test_support::{self, FakeConnector};
use crate::world::LeastRate;

const MIB: usize = 1024 * 1024;

#[track_caller]
fn check(place: &str, expected: Option<(&str, bool)>) {
    let call = HttpCall {
        name: "media",
        method: "GET",
        url: "https://a.example/x/y?z".to_owned(),
        headers: vec![("k".to_owned(), "v".to_owned())],
        body: Body::Empty,
        token: TokenPlace::Bearer,
        timeout: Duration::from_secs(1),
    };
    let call = moved(call, place, false);
    let told = call.as_ref().map(|call| {
        let is_proved = call.token == TokenPlace::Bearer;
        assert_eq!(is_proved, !call.headers.is_empty());
        (call.url.as_str(), is_proved)
    });
    assert_eq!(told, expected);
}

#[test]
fn redirects_send_credentials_only_to_the_same_origin() {
    check("/z", Some(("https://a.example/z", true)));
    check("z", Some(("https://a.example/x/z", true)));
    check("https://b.example/z", Some(("https://b.example/z", false)));
    check("http://a.example/z", Some(("https://a.example/z", true)));
    check("http://b.example/z", Some(("https://b.example/z", false)));
    check("//b.example", Some(("https://b.example/", false)));
    check("https://", None);
}

static SHELF: FakeConnector = FakeConnector::LASTING;
static REGISTRY: &[&dyn Connector] = &[&SHELF];

/// A bridge, and a server that announces this many bytes and sends as many.
struct Fixture {
    _engine: Embedded,
    world: World,
    bot: Bot,
    address: SocketAddr,
    n_asked: Arc<AtomicUsize>,
}

async fn fixture(announced: Option<usize>, n_bytes: usize) -> Fixture {
    let (engine, mut world) = test_support::world(REGISTRY).await;
    let mut settings = (*world.settings).clone();
    settings.file_patience = Duration::from_secs(2);
    world.settings = Arc::new(settings);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let n_asked = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&n_asked);
    let length = announced
        .map(|n| format!("content-length: {n}\r\n"))
        .unwrap_or_default();
    let answer = [
        format!("HTTP/1.1 200 OK\r\n{length}connection: close\r\n\r\n").into_bytes(),
        vec![1; n_bytes],
    ]
    .concat();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            counter.fetch_add(1, Ordering::Relaxed);
            let answer = answer.clone();
            tokio::spawn(async move {
                let _ = socket.read(&mut [0; 4096]).await;
                let _ = socket.write_all(&answer).await;
            });
        }
    });
    Fixture {
        _engine: engine,
        world,
        bot: test_support::bot(&SHELF, ConnectionMode::Webhook, true),
        address,
        n_asked,
    }
}

impl Fixture {
    /// Fetches the file while others hold the whole budget but `free` bytes.
    async fn fetch(&self, free: usize) -> Result<usize, FetchError> {
        let others = self.world.settings.max_passing_bytes - free;
        let _others = self.take_for_others(others).await.unwrap();
        let fetched = fetch_for_link(&self.world, &self.bot, &self.part()).await?;
        Ok(fetched.bytes.len())
    }

    /// The file at the server.
    fn part(&self) -> Part {
        Part {
            kind: PartKind::File,
            name: None,
            mime: None,
            size: None,
            locator: json!(format!("http://{}/", self.address)),
        }
    }

    /// Takes permits for two organizations, which may have half of the budget each.
    async fn take_for_others(&self, n_bytes: usize) -> Option<[MemoryPermit; 2]> {
        let take = async |id: &str, n_bytes| {
            let organization = OrganizationId::new(id);
            self.world
                .file_budget
                .take(&organization, n_bytes, Duration::ZERO)
                .await
        };
        Some([
            take("first", n_bytes / 2).await?,
            take("second", n_bytes - n_bytes / 2).await?,
        ])
    }

    fn n_asked(&self) -> usize {
        self.n_asked.load(Ordering::Relaxed)
    }
}

#[tokio::test]
async fn file_of_announced_length_takes_no_more_memory_budget_than_that() {
    let it = fixture(Some(3 * MIB), 3 * MIB).await;
    assert_eq!(it.fetch(3 * MIB).await.unwrap(), 3 * MIB);
    assert!(matches!(it.fetch(2 * MIB).await, Err(FetchError::NoRoom(_))));
}

#[tokio::test]
async fn file_of_unknown_length_takes_its_maximum_memory_budget() {
    let it = fixture(None, 3 * MIB).await;
    assert!(matches!(it.fetch(3 * MIB).await, Err(FetchError::NoRoom(_))));
    let most = it.world.settings.max_file_bytes;
    assert_eq!(it.fetch(most).await.unwrap(), 3 * MIB);
}

#[tokio::test]
async fn file_of_excessive_announced_length_is_refused_at_once() {
    let it = fixture(Some(1024 * MIB), 0).await;
    let most = it.world.settings.max_file_bytes;
    let refused = it.fetch(MIB).await;
    assert!(matches!(refused, Err(FetchError::Download(DownloadError::TooLong(max))) if max == most));
    assert_eq!(it.n_asked(), 1);
}

fn with_inline_picture(bot: &Bot, bytes: &[u8]) -> Event {
    let (id, sender) = (PlatformMessageId::new("m1"), SenderId::new("u1"));
    Event::Message(Message {
        id: id.clone(),
        sender: Sender {
            id: sender.clone(),
            name: None,
        },
        sent_at: None,
        text: String::new(),
        parts: vec![Part::inline(
            PartKind::Image,
            Some("a.png".to_owned()),
            Some("text/plain".to_owned()),
            bytes,
        )],
        quoted: None,
        chat_name: None,
        refers_to: None,
        topic_root: None,
        album: None,
        target: ReplyTarget {
            integration: bot.account.integration.clone(),
            chat: Chat {
                kind: ChatKind::Direct,
                id: ChatId::new("u1"),
                thread: None,
            },
            asker: sender,
            message: id,
            handle: ReplyHandle::default(),
            expires_at: None,
        },
    })
}

#[tokio::test]
async fn inline_file_of_a_message_is_stored_and_read_back() {
    let it = fixture(None, 0).await;
    let png = [&b"\x89PNG\r\n\x1a\n"[..], &[7; 100_000]].concat();
    let mut event = with_inline_picture(&it.bot, &png);
    let files = take_inline(&it.bot, &mut event);
    let Event::Message(message) = &event else {
        unreachable!()
    };
    assert!(message.parts[0].is_inline() && message.parts[0].locator.to_string().len() < 50);
    let id = it.bot.account.ids.message(&message.id);
    let place = PartRef::Message(0);
    let room = async || {
        it.world
            .image_budget
            .take(&it.bot.account.organization, MIB, Duration::ZERO)
            .await
            .unwrap()
    };
    let early = fetch_inline(&it.world, &id, place, MIB, room().await).await;
    assert!(matches!(early, Err(FetchError::Gone)));
    // Twice, as after a queue call without a response.
    for _ in 0..2 {
        store_inline(&it.world.store, &files, it.world.clock.now())
            .await
            .unwrap();
    }
    let found = fetch_inline(&it.world, &id, place, MIB, room().await).await.unwrap();
    assert_eq!(
        (found.bytes.as_ref(), found.name.as_deref()),
        (png.as_slice(), Some("a.png"))
    );
    assert_eq!(found.mime, "image/png", "the bytes tell, not the platform");
    let small = fetch_inline(&it.world, &id, place, 1000, room().await).await;
    assert!(matches!(small, Err(FetchError::Download(DownloadError::TooLong(1000)))));
    let other = fetch_inline(&it.world, &id, PartRef::Quote(0), MIB, room().await).await;
    assert!(matches!(other, Err(FetchError::Gone)));
    assert_eq!(
        open_part(&it.world, &it.bot.account.organization, &id, place)
            .await
            .unwrap()
            .bytes
            .len(),
        png.len()
    );
    assert_eq!(it.n_asked(), 0);
}

/// A process that has read the message before the erasure downloads its attachment after it.
#[tokio::test]
async fn attachment_of_an_erased_message_is_not_kept() {
    let it = fixture(Some(3), 3).await;
    let (world, now) = (&it.world, it.world.clock.now());
    let keep = async |id: &str| {
        let place = PartRef::Message(0);
        let message = MessageId::new(id);
        let kept = keep_part(world, &it.bot, &message, &it.part(), place, Duration::from_secs(9)).await;
        (
            kept,
            file::label(&world.store, &kept_id(&message, place), now).await.unwrap(),
        )
    };
    for (id, platform_id) in [("msg_present", "m1"), ("msg_erased", "")] {
        let record = MessageRecord {
            id: MessageId::new(id),
            platform_message: PlatformMessageId::new(platform_id),
            ..PolledFixture::with(|_| {}).await.message
        };
        message::claim(&world.store, &record).await.unwrap();
    }
    assert!(matches!(keep("msg_present").await, (Ok(_), Some(_))));
    let (kept, left) = keep("msg_erased").await;
    assert!(matches!(kept, Err(FetchError::Gone)), "{kept:?}");
    assert_eq!(left, None);
}

#[tokio::test]
async fn a_download_that_trickles_is_given_up() {
    let mut it = fixture(None, 0).await;
    let mut settings = (*it.world.settings).clone();
    settings.least_download = LeastRate {
        n_bytes: 64 * 1024,
        window: Duration::from_millis(300),
    };
    settings.file_patience = Duration::from_secs(60);
    it.world.settings = Arc::new(settings);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    it.address = listener.local_addr().unwrap();
    // Fast enough for three windows, then one byte at a time.
    tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let _ = socket.read(&mut [0; 4096]).await;
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", MIB - 1);
        let _ = socket.write_all(head.as_bytes()).await;
        for _ in 0..6 {
            let _ = socket.write_all(&[1; 64 * 1024]).await;
            sleep(Duration::from_millis(150)).await;
        }
        while socket.write_all(&[1]).await.is_ok() {
            sleep(Duration::from_millis(10)).await;
        }
    });
    let fetched = it.fetch(MIB).await;
    assert!(
        matches!(fetched, Err(FetchError::Download(DownloadError::TooSlow))),
        "{:?}",
        fetched.err()
    );
    let all = it.world.settings.max_passing_bytes;
    assert!(it.take_for_others(all).await.is_some(), "it still holds memory");
}
