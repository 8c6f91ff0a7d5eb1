//! Telegram's particularities, from a webhook request to what the chat shows.

use std::time::Duration;

use serde_json::{Value, json};
use tieline_bridge::{accounts, media, probe, registration};
use tieline_core::ids::ChatId;
use tieline_core::message_state::MessageState;
use tieline_core::notice::{Language, Notice};
use tieline_core::trigger::TriggerSettings;
use tieline_store::config::integration;
use tieline_tests::outbound::Speaker;
use tieline_tests::platform::Upload;
use tieline_tests::telegram::{Answer, Platform};
use tokio::time::{sleep, timeout};

use crate::test_bridge::{PATIENCE, TestBridge};

/// The caption of an album with three pictures.
const CAPTION: &str = "What are these?";
const PICTURES: &[Upload] = &[Upload::PICTURE; 3];

struct Bot {
    bridge: TestBridge,
    platform: Platform,
    token: String,
}

impl Bot {
    async fn start() -> Self {
        Self::start_with(TriggerSettings::default()).await
    }

    async fn start_with(trigger: TriggerSettings) -> Self {
        let platform = Platform::start().await;
        let token = platform.add_bot(7_012_345_678, "tieline_demo_bot");
        let settings = platform.as_integration(&token, "Bot", "webhook");
        let bridge = TestBridge::open("telegram", &settings, trigger).await;
        let bot = Self {
            bridge,
            platform,
            token,
        };
        bot.register().await;
        bot
    }

    /// Registers the integration, as when an operator saves it.
    async fn register(&self) {
        let world = &self.bridge.world;
        let record = integration::look_up(&world.store, &self.bridge.bot, world.clock.now()).await;
        let record = record.unwrap().unwrap().integration;
        let bot = accounts::open(world, &record).unwrap();
        let url = format!("http://127.0.0.1:1/api/telegram/webhook/{}", self.bridge.bot);
        assert_eq!(registration::register(world, &bot, &url).await, Vec::<String>::new());
        probe::probe(world, &bot, &record).await.unwrap();
    }

    /// Delivers the platform's queued updates, and works until nothing is due.
    async fn work(&self) {
        while let Some(request) = self.platform.next_request(&self.token) {
            assert_eq!(self.bridge.receive(&request).await.status, 200);
        }
        self.bridge.work().await;
    }

    /// Works until the agent has been asked `n_times`: gathered messages are not due at once.
    async fn work_until_asked(&self, n_times: usize) {
        let working = async {
            while self.bridge.agent.seen().len() < n_times {
                self.work().await;
                sleep(Duration::from_millis(50)).await;
            }
        };
        timeout(PATIENCE, working).await.expect("the agent is asked");
        self.work().await;
    }

    /// What the agent was asked, and the number of attachments of each question.
    fn questions(&self) -> Vec<(String, usize)> {
        let seen = self.bridge.agent.seen().into_iter();
        let messages = seen.map(|seen| seen.body["message"].clone());
        let question = |message: Value| {
            let n_parts = message["parts"].as_array().map_or(0, Vec::len);
            (message["text"].as_str().unwrap_or_default().to_owned(), n_parts)
        };
        messages.map(question).collect()
    }

    async fn say(&self, from: &Speaker, text: &str) {
        self.platform.text(&self.token, from, text, true);
        self.work().await;
    }

    fn shown(&self) -> Vec<String> {
        let shown = self.platform.bubbles();
        shown.iter().map(|bubble| bubble.text().to_owned()).collect()
    }

    fn sent(&self) -> Vec<Value> {
        let calls = self.platform.calls().into_iter();
        calls
            .filter(|call| call.method == "sendMessage")
            .map(|call| call.body)
            .collect()
    }

    #[track_caller]
    fn nothing_wrong(&self) {
        assert_eq!(self.platform.complaints(), Vec::<String>::new());
    }
}

#[tokio::test]
async fn registration_is_idempotent() {
    let bot = Bot::start().await;
    let (url, secret) = bot.platform.webhook(&bot.token).unwrap();
    assert!(url.ends_with(bot.bridge.bot.as_str()) && secret.is_some());
    bot.register().await;
    assert_eq!(
        bot.platform.webhook(&bot.token).unwrap().1,
        secret,
        "the secret must not change: requests in flight carry it"
    );
    let menu = ["new", "stop", "status", "help"];
    for language in ["", "zh"] {
        assert_eq!(bot.platform.commands(&bot.token, language), menu);
    }
    bot.nothing_wrong();
}

#[tokio::test]
async fn click_on_the_button_is_answered_and_starts_a_session() {
    let bot = Bot::start().await;
    let lisi = Speaker::alone("1001");
    bot.say(&lisi, "one").await;
    bot.say(&lisi, "/new").await;
    let query = bot.platform.press(&bot.token, &lisi).unwrap();
    bot.work().await;
    assert!(bot.platform.is_answered(&bot.token, &query));
    bot.say(&lisi, "two").await;
    let new = Notice::NewSession.text(Language::English);
    assert_eq!(bot.shown(), ["echo: one", new, new, "echo: two"]);
    let sessions = bot
        .bridge
        .agent
        .seen()
        .into_iter()
        .map(|seen| seen.body["session"]["number"].clone());
    assert_eq!(sessions.collect::<Vec<_>>(), [json!(1), json!(3)]);
    bot.nothing_wrong();
}

#[tokio::test]
async fn answer_follows_a_group_that_became_a_supergroup() {
    let bot = Bot::start().await;
    bot.platform
        .text(&bot.token, &Speaker::in_group("1001", "-400"), "hello", true);
    bot.platform.migrate(&bot.token, -400, -1_009_988);
    bot.work().await;
    let bubbles = bot.platform.bubbles();
    assert_eq!(
        (bubbles[0].chat.as_str(), bubbles[0].text()),
        ("-1009988", "echo: hello")
    );
    bot.nothing_wrong();
}

#[tokio::test]
async fn session_and_access_list_follow_a_group_that_became_a_supergroup() {
    let mut trigger = TriggerSettings::default();
    trigger.access.chats = vec![ChatId::new("-400")];
    let bot = Bot::start_with(trigger).await;
    bot.say(&Speaker::in_group("1001", "-400"), "one").await;
    bot.platform.migrate(&bot.token, -400, -1_009_988);
    for (chat, text) in [("-1009988", "two"), ("-1009989", "elsewhere"), ("-1009988", "three")] {
        bot.say(&Speaker::in_group("1001", chat), text).await;
    }
    let not_allowed = Notice::NotAllowed.text(Language::English);
    assert_eq!(bot.shown(), ["echo: one", "echo: two", not_allowed, "echo: three"]);
    let seen = bot.bridge.agent.seen().into_iter();
    let sessions: Vec<_> = seen.map(|seen| seen.body["session"].clone()).collect();
    let is_first: Vec<_> = sessions.iter().map(|session| &session["isNew"]).collect();
    assert_eq!(is_first, [true, false, false]);
    assert!(
        sessions.iter().all(|session| session["id"] == sessions[0]["id"]),
        "{sessions:?}"
    );
    bot.nothing_wrong();
}

#[tokio::test]
async fn session_is_kept_by_choosing_its_agent_in_a_group_that_became_a_supergroup() {
    let trigger = TriggerSettings {
        agent_choice: true,
        ..TriggerSettings::default()
    };
    let bot = Bot::start_with(trigger).await;
    bot.say(&Speaker::in_group("1001", "-400"), "one").await;
    bot.platform.migrate(&bot.token, -400, -1_009_988);
    for text in ["/agent Counting", "two"] {
        bot.say(&Speaker::in_group("1001", "-1009988"), text).await;
    }
    let seen = bot.bridge.agent.seen().into_iter();
    let is_first: Vec<_> = seen.map(|seen| seen.body["session"]["isNew"].clone()).collect();
    assert_eq!(is_first, [true, false]);
    bot.nothing_wrong();
}

#[tokio::test]
async fn answer_stays_in_its_topic_and_quotes_the_question() {
    let bot = Bot::start().await;
    let topic = bot.platform.open_topic(&bot.token, -1_003);
    let lisi = Speaker::in_group("1001", "-1003");
    let fields = json!({ "text": "@tieline_demo_bot hello", "entities": [{ "type": "mention", "offset": 0, "length": 17 }],
        "message_thread_id": topic, "is_topic_message": true });
    bot.platform.say(&bot.token, &lisi, fields);
    bot.work().await;
    assert_eq!(bot.shown(), ["echo: hello"]);
    assert_eq!(bot.sent()[0]["message_thread_id"], topic);
    assert!(bot.platform.bubbles()[0].answers.is_some());
    bot.nothing_wrong();
}

#[tokio::test]
async fn delivery_of_a_blocked_bot_fails_at_once() {
    let bot = Bot::start().await;
    bot.platform.text(&bot.token, &Speaker::alone("1001"), "hello", true);
    bot.platform.block(&bot.token, 1001);
    bot.work().await;
    let ledger = bot.bridge.ledger().await;
    assert_eq!(ledger[0].state, MessageState::Failed);
    assert_eq!(ledger[0].reason.as_deref(), Some("bot_blocked"));
    assert_eq!(bot.sent().len(), 1);
}

#[tokio::test]
async fn voice_message_reaches_the_agent_by_link() {
    let bot = Bot::start().await;
    let voice = json!({ "voice": { "file_id": "AwAC-v1", "file_unique_id": "u", "duration": 7, "mime_type": "audio/ogg", "file_size": 8 } });
    bot.platform.say(&bot.token, &Speaker::alone("1001"), voice);
    bot.work().await;
    let seen = bot.bridge.agent.seen();
    let part = &seen[0].body["message"]["parts"][0];
    assert_eq!(part["type"], "audio");
    let link = part["url"].as_str().unwrap();
    assert!(!link.contains(&bot.token), "the platform's address holds the token");
    let fetched = media::open(&bot.bridge.world, link.rsplit('/').next().unwrap())
        .await
        .unwrap();
    assert_eq!(fetched.bytes, "bytes of documents/AwAC-v1.bin");
    bot.nothing_wrong();
}

#[tokio::test]
async fn answer_with_rejected_formatting_is_sent_as_plain_text() {
    let bot = Bot::start().await;
    let refused = Answer::Refused(400, "Bad Request: can't parse entities: bad", Value::Null);
    bot.platform.fail_once("sendMessage", refused);
    bot.say(&Speaker::alone("1001"), "**bold**").await;
    assert_eq!(bot.shown(), ["echo: bold"]);
    bot.nothing_wrong();
}

#[tokio::test]
async fn redelivered_album_is_asked_once() {
    let bot = Bot::start().await;
    let lisi = Speaker::alone("1001");
    bot.platform.album(&bot.token, &lisi, CAPTION, PICTURES);
    let requests: Vec<_> = std::iter::from_fn(|| bot.platform.next_request(&bot.token)).collect();
    assert_eq!(requests.len(), 3);
    // Each part is dispatched before the next one is received.
    for request in requests.iter().chain(&requests) {
        assert_eq!(bot.bridge.receive(request).await.status, 200);
        bot.bridge.work().await;
    }
    assert_eq!(bot.questions(), [], "the album must wait for more parts");
    bot.work_until_asked(1).await;
    for request in &requests {
        assert_eq!(bot.bridge.receive(request).await.status, 200);
    }
    // The next message is not part of the album.
    bot.say(&lisi, "Thanks.").await;
    assert_eq!(bot.questions(), [(CAPTION.to_owned(), 3), ("Thanks.".to_owned(), 0)]);
    assert_eq!(bot.shown(), [format!("echo: {CAPTION}"), "echo: Thanks.".to_owned()]);
    let ledger = bot.bridge.ledger().await;
    assert!(ledger.iter().all(|it| it.state == MessageState::Answered));
    assert_eq!(ledger.len(), 4);
    bot.nothing_wrong();
}

#[tokio::test]
async fn album_in_a_group_belongs_to_its_caption() {
    let bot = Bot::start().await;
    let lisi = Speaker::in_group("1001", "-1003");
    bot.platform.album(&bot.token, &lisi, CAPTION, PICTURES);
    let unaddressed = json!({ "photo": [{ "file_id": "AgACAgI-other", "file_unique_id": "u", "width": 8, "height": 8 }],
        "media_group_id": "13900000000000" });
    bot.platform.say(&bot.token, &lisi, unaddressed);
    bot.work_until_asked(1).await;
    assert_eq!(bot.questions(), [(CAPTION.to_owned(), 3)]);
    assert_eq!(
        bot.bridge.ledger().await.len(),
        3,
        "a message without a mention must not be stored"
    );
    bot.platform.switch_privacy_on(&bot.token);
    bot.platform.album(&bot.token, &lisi, CAPTION, PICTURES);
    bot.work_until_asked(2).await;
    assert_eq!(bot.questions()[1..], [(CAPTION.to_owned(), 1)]);
    bot.nothing_wrong();
}
