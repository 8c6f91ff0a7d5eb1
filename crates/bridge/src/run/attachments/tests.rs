use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;
use tieline_core::account::ConnectionMode;
use tieline_core::connector::Connector;
use tieline_core::ids::{IntegrationId, MessageId, OrganizationId, PlatformMessageId, ReplyId};
use tieline_core::message_state::MessageState;
use tieline_embedded::Embedded;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;
use crate::test_support::{self, FakeConnector, MAX_MEDIA_BYTES};
use crate::world::Settings;

/// File name that the server sends: as some platforms do, in raw UTF-8.
const NAME: &str = "报告.bin";
const MIB: usize = 1024 * 1024;

static LASTING: FakeConnector = FakeConnector::LASTING;
static REGISTRY: &[&dyn Connector] = &[&LASTING];
static FLEETING: FakeConnector = FakeConnector { is_short_lived: true };

/// Answers every request at `/N` with N bytes, redirects `/to/PLACE` there, and counts requests.
#[derive(Clone)]
struct Warehouse {
    address: SocketAddr,
    n_served: Arc<AtomicUsize>,
}

impl Warehouse {
    async fn open() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let warehouse = Self {
            address: listener.local_addr().unwrap(),
            n_served: Arc::default(),
        };
        let counter = Arc::clone(&warehouse.n_served);
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(serve(socket, Arc::clone(&counter)));
            }
        });
        warehouse
    }

    fn part(&self, kind: PartKind, path: &str) -> Part {
        Part {
            kind,
            name: None,
            mime: None,
            size: None,
            locator: json!(format!("http://{}/{path}", self.address)),
        }
    }

    fn n_served(&self) -> usize {
        self.n_served.load(Ordering::Relaxed)
    }
}

async fn serve(mut socket: tokio::net::TcpStream, n_served: Arc<AtomicUsize>) {
    let mut head = vec![0; 4096];
    let n = socket.read(&mut head).await.unwrap_or_default();
    let head = String::from_utf8_lossy(&head[..n]).into_owned();
    let path = head.split(' ').nth(1).unwrap_or_default().trim_start_matches('/');
    n_served.fetch_add(1, Ordering::Relaxed);
    let moved =
        |place| format!("HTTP/1.1 302 Found\r\nlocation: {place}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    let answer = match path.parse() {
        _ if path.starts_with("to/") => moved(&path[3..]).into_bytes(),
        Ok(n_bytes) => [
            format!("HTTP/1.1 200 OK\r\ncontent-length: {n_bytes}\r\ncontent-disposition: {NAME}\r\nconnection: close\r\n\r\n")
                .into_bytes(),
            vec![1; n_bytes],
        ]
        .concat(),
        Err(_) => b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".to_vec(),
    };
    let _ = socket.write_all(&answer).await;
}

struct Fixture {
    _engine: Embedded,
    world: World,
    bot: Bot,
    warehouse: Warehouse,
}

async fn fixture() -> Fixture {
    let (engine, world) = test_support::world(REGISTRY).await;
    Fixture {
        _engine: engine,
        world,
        bot: test_support::bot(&LASTING, ConnectionMode::Webhook, true),
        warehouse: Warehouse::open().await,
    }
}

fn record(world: &World) -> MessageRecord {
    MessageRecord {
        id: MessageId::new("msg_1"),
        reply: ReplyId::new("tl-1"),
        organization: OrganizationId::new("default"),
        integration: IntegrationId::new("int_1"),
        account: None,
        platform_message: PlatformMessageId::new("1"),
        conversation: None,
        session: None,
        sender: None,
        received_at: world.clock.now(),
        state: MessageState::Queued,
        event: String::new(),
        run: None,
        run_messages: Vec::new(),
        reason: None,
        steps: Vec::new(),
        redrives: 0,
        version: 1,
    }
}

impl Fixture {
    async fn pack(&self, inline: bool, parts: &[Part]) -> Vec<AgentPart> {
        let record = record(&self.world);
        let mut attachments = Attachments::new(&self.world, &self.bot, inline);
        let mut packed = Vec::new();
        for (at, part) in parts.iter().enumerate() {
            packed.push(attachments.part(&record, part, PartRef::Message(at)).await);
        }
        packed
    }

    fn pictures(&self, sizes: &[usize]) -> Vec<Part> {
        let picture = |size: &usize| self.warehouse.part(PartKind::Image, &size.to_string());
        sizes.iter().map(picture).collect()
    }
}

fn sizes(packed: &[AgentPart]) -> Vec<Option<usize>> {
    packed
        .iter()
        .map(|part| part.inline.as_ref().map(bytes::Bytes::len))
        .collect()
}

#[tokio::test]
async fn pictures_of_a_run_share_one_budget_and_the_rest_goes_by_link() {
    let it = fixture().await;
    let packed = it.pack(true, &it.pictures(&[5 * MIB, 5 * MIB, 2 * MIB])).await;
    assert_eq!(sizes(&packed), [Some(5 * MIB), None, Some(2 * MIB)]);
    assert!(
        packed
            .iter()
            .all(|part| part.url.starts_with("https://bridge.example/"))
    );
    let many = it.pack(true, &it.pictures(&[1; MAX_PICTURES + 2])).await;
    assert_eq!(sizes(&many).iter().flatten().count(), MAX_PICTURES);
}

#[tokio::test]
async fn agent_that_wants_no_pictures_gets_links() {
    let it = fixture().await;
    assert_eq!(sizes(&it.pack(false, &it.pictures(&[1])).await), [None]);
    assert_eq!(it.warehouse.n_served(), 0);
}

#[tokio::test]
async fn pictures_of_all_runs_share_the_memory_budget_of_the_process() {
    let it = fixture().await;
    let picture = it.pictures(&[1]);
    let held = it.pack(true, &picture).await;
    // Others hold the whole budget but what a small picture first takes.
    let free = it.world.settings.max_picture_bytes - FIRST_ROOM;
    let others = it
        .world
        .image_budget
        .take(&OrganizationId::new("others"), free, Duration::ZERO)
        .await;
    assert!(others.is_some());
    assert_eq!(sizes(&it.pack(true, &picture).await), [None]);
    drop(held);
    assert_eq!(sizes(&it.pack(true, &picture).await), [Some(1)]);
}

#[tokio::test]
async fn picture_redirects_are_followed_three_times() {
    let it = fixture().await;
    let at = |path: &str| it.warehouse.part(PartKind::Image, path);
    let parts = [at("to//7"), at("to//to//to//7"), at("to//to//to//to//7")];
    assert_eq!(sizes(&it.pack(true, &parts).await), [Some(7), Some(7), None]);
    assert_eq!(it.warehouse.n_served(), 2 + 4 + 4);
}

#[tokio::test]
async fn picture_redirected_to_a_forbidden_address_is_not_followed() {
    let it = fixture().await;
    let away = it.warehouse.part(PartKind::Image, "to/ftp://127.0.0.1/7");
    assert_eq!(sizes(&it.pack(true, &[away]).await), [None]);
    assert_eq!(it.warehouse.n_served(), 1);
}

fn token(part: &AgentPart) -> &str {
    part.url.rsplit('/').next().unwrap()
}

#[tokio::test]
async fn short_lived_media_is_prefetched_for_its_link() {
    let mut it = fixture().await;
    it.bot.connector = &FLEETING;
    let parts = [
        it.warehouse.part(PartKind::File, "5"),
        it.warehouse.part(PartKind::File, "none"),
        it.warehouse.part(PartKind::Image, &(MAX_PICTURE_BYTES + 1).to_string()),
    ];
    let packed = it.pack(true, &parts).await;
    let lost: Vec<bool> = packed.iter().map(|part| part.unavailable).collect();
    assert_eq!(lost, [false, true, false]);
    let label = |part: &AgentPart| (part.mime.clone(), part.name.clone());
    let known = (Some("application/octet-stream".to_owned()), Some(NAME.to_owned()));
    assert_eq!(label(&packed[0]), known);
    let n_served = it.warehouse.n_served();
    let file = media::open(&it.world, token(&packed[0])).await.unwrap();
    assert_eq!((file.bytes.len(), it.warehouse.n_served()), (5, n_served));
    // The run may be restarted.
    let again = it.pack(false, &parts[..1]).await;
    assert!(!again[0].unavailable);
    assert_eq!(label(&again[0]), known);
    assert_eq!(it.warehouse.n_served(), n_served);
}

#[tokio::test]
async fn picture_that_the_platform_refuses_is_unavailable() {
    let it = fixture().await;
    let picture = |path: &str| it.warehouse.part(PartKind::Image, path);
    let parts = [
        picture("none"),
        picture("7"),
        picture(&(MAX_PICTURE_BYTES + 1).to_string()),
    ];
    let lost = |packed: Vec<AgentPart>| packed.iter().map(|part| part.unavailable).collect::<Vec<_>>();
    assert_eq!(lost(it.pack(true, &parts).await), [true, false, false]);
    // Not fetched yet, so its link is all that is known.
    assert_eq!(lost(it.pack(false, &parts[..1]).await), [false]);
}

#[tokio::test]
async fn file_larger_than_what_can_be_downloaded_is_unavailable() {
    let mut it = fixture().await;
    let announced = |size: u64| Part {
        size: Some(size),
        ..it.warehouse.part(PartKind::File, "7")
    };
    let parts = [MIB as u64, MIB as u64 + 1, MAX_MEDIA_BYTES, MAX_MEDIA_BYTES + 1].map(announced);
    let lost = |packed: Vec<AgentPart>| packed.iter().map(|part| part.unavailable).collect::<Vec<_>>();
    assert_eq!(lost(it.pack(false, &parts).await), [false, false, false, true]);
    it.set(|settings| settings.max_file_bytes = MIB);
    assert_eq!(lost(it.pack(false, &parts).await), [false, true, true, true]);
    assert_eq!(it.warehouse.n_served(), 0);
}

#[tokio::test]
async fn lasting_media_is_fetched_when_its_link_is_followed() {
    let it = fixture().await;
    let packed = it.pack(false, &[it.warehouse.part(PartKind::File, "none")]).await;
    assert!(!packed[0].unavailable);
    assert_eq!(it.warehouse.n_served(), 0);
}

impl Fixture {
    fn set(&mut self, change: impl FnOnce(&mut Settings)) {
        let mut settings = (*self.world.settings).clone();
        change(&mut settings);
        self.world.settings = Arc::new(settings);
    }
}

fn is_too_long(opened: &Result<Fetched, media::FetchError>) -> bool {
    matches!(
        opened,
        Err(media::FetchError::Download(crate::courier::DownloadError::TooLong(_)))
    )
}

#[tokio::test]
async fn link_serves_no_more_than_the_response_limit() {
    let mut it = fixture().await;
    it.bot.connector = &FLEETING;
    let part = it.warehouse.part(PartKind::File, &(2 * MIB).to_string());
    let packed = it.pack(false, std::slice::from_ref(&part)).await;
    it.set(|settings| settings.max_file_bytes = MIB);
    assert!(is_too_long(&media::open(&it.world, token(&packed[0])).await));
    assert!(is_too_long(&media::fetch_for_link(&it.world, &it.bot, &part).await));
}

#[tokio::test]
async fn long_file_is_fetched_again_with_a_larger_permit() {
    let it = fixture().await;
    let part = it.warehouse.part(PartKind::File, &(9 * MIB).to_string());
    let fetched = media::fetch_for_link(&it.world, &it.bot, &part).await.unwrap();
    assert_eq!((fetched.bytes.len(), it.warehouse.n_served()), (9 * MIB, 2));
}

#[tokio::test]
async fn links_wait_for_memory_budget_only_within_their_time_limit() {
    let mut it = fixture().await;
    it.set(|settings| settings.file_patience = Duration::from_millis(900));
    let all = it
        .world
        .file_budget
        .take(
            &OrganizationId::new("others"),
            it.world.settings.max_passing_bytes,
            Duration::ZERO,
        )
        .await;
    assert!(all.is_some());
    let part = it.warehouse.part(PartKind::File, "1");
    let waited = media::fetch_for_link(&it.world, &it.bot, &part).await;
    assert!(matches!(waited, Err(media::FetchError::NoRoom(_))));
    drop(all);
    assert!(media::fetch_for_link(&it.world, &it.bot, &part).await.is_ok());
}
