//! A bridge, an operator, an agent, and a platform in one of its modes.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tieline_tests::console::Console;
use tieline_tests::outbound::{Bubble, Speaker, until};
use tieline_tests::process::Bridge;
use tieline_tests::wecom::{Bot, Cipher, ResponseServer, mentioning};
use tieline_tests::{dingtalk, lark, wecom_socket};

use crate::agent::{Agent, Asked};

/// Limit of every wait on this machine.
pub(crate) const SOON: Duration = Duration::from_secs(30);

/// The six modes of the bots of the three platforms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    WecomCallback,
    WecomSocket,
    LarkWebhook,
    LarkSocket,
    DingTalkHttp,
    DingTalkStream,
}

impl Mode {
    const fn word(self) -> &'static str {
        match self {
            Self::WecomCallback | Self::LarkWebhook | Self::DingTalkHttp => "webhook",
            Self::WecomSocket | Self::LarkSocket | Self::DingTalkStream => "long_connection",
        }
    }

    fn has_socket(self) -> bool {
        self.word() == "long_connection"
    }
}

/// The simulator of a platform.
#[derive(Clone)]
pub(crate) enum Platform {
    WecomCallback(Callback),
    WecomSocket(wecom_socket::Platform),
    Lark(lark::Platform),
    DingTalk(dingtalk::Platform),
}

/// The simulator of WeCom's callbacks, with the states of its answers.
#[derive(Clone)]
pub(crate) struct Callback {
    cipher: Cipher,
    responses: ResponseServer,
    shown: Arc<Mutex<Vec<Bubble>>>,
    wrong: Arc<Mutex<Vec<String>>>,
    count: Arc<Mutex<u64>>,
}

impl Platform {
    pub(crate) async fn start(mode: Mode) -> Self {
        match mode {
            Mode::WecomCallback => Self::WecomCallback(Callback {
                cipher: Cipher::fresh(),
                responses: ResponseServer::start().await,
                shown: Arc::default(),
                wrong: Arc::default(),
                count: Arc::default(),
            }),
            Mode::WecomSocket => Self::WecomSocket(wecom_socket::Platform::start().await),
            Mode::LarkWebhook | Mode::LarkSocket => Self::Lark(lark::Platform::start().await),
            Mode::DingTalkHttp | Mode::DingTalkStream => Self::DingTalk(dingtalk::Platform::start().await),
        }
    }

    fn add(&self, bot: &str, mode: Mode, name: &str) -> Value {
        match self {
            Self::WecomCallback(it) => {
                let mut settings = Bot::new(it.cipher.clone(), String::new()).as_integration(name);
                settings["endpoints"] = json!({ "apiBase": it.responses.url });
                settings
            }
            Self::WecomSocket(it) => {
                it.add_bot(bot, "s3");
                it.as_integration(bot, name)
            }
            Self::Lark(it) => {
                it.add_app(bot, "s3");
                it.as_integration(bot, name, mode.word())
            }
            Self::DingTalk(it) => {
                it.add_app(bot, "s3");
                it.as_integration(bot, name, mode.word())
            }
        }
    }

    pub(crate) fn bubbles(&self) -> Vec<Bubble> {
        match self {
            Self::WecomCallback(it) => it.bubbles(),
            Self::WecomSocket(it) => it.bubbles(),
            Self::Lark(it) => it.bubbles(),
            Self::DingTalk(it) => it.bubbles(),
        }
    }

    pub(crate) fn complaints(&self) -> Vec<String> {
        match self {
            Self::WecomCallback(it) => {
                let mut all = it.wrong.lock().unwrap_or_else(PoisonError::into_inner).clone();
                all.extend(it.responses.refused());
                all
            }
            Self::WecomSocket(it) => it.complaints(),
            Self::Lark(it) => it.complaints(),
            Self::DingTalk(it) => it.complaints(),
        }
    }

    async fn connected(&self, bot: &str) -> anyhow::Result<()> {
        match self {
            Self::WecomCallback(_) => Ok(()),
            Self::WecomSocket(it) => it.connected(bot, SOON).await,
            Self::Lark(it) => it.connected(bot, SOON).await,
            Self::DingTalk(it) => it.connected(bot, SOON).await,
        }
    }
}

impl Callback {
    fn bubbles(&self) -> Vec<Bubble> {
        let mut all = self.shown.lock().unwrap_or_else(PoisonError::into_inner).clone();
        all.extend(self.responses.shown_after(&all));
        all
    }

    /// Sends a message, and polls until the bubble is finished.
    async fn converse(self, bot: Bot, from: Speaker, id: String, text: String) {
        let mut message = bot.text(&from, &id, &text, &self.responses.url_for(&format!("code-{id}")));
        let mut at = None;
        for _ in 0..2000 {
            let shown = match bot.send_for_stream(&message).await {
                Ok(shown) => shown,
                Err(error) => {
                    self.wrong
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .push(format!("{error:#}"));
                    return;
                }
            };
            message = bot.poll(&from, &shown.id);
            {
                let mut all = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
                let at = *at.get_or_insert_with(|| {
                    all.push(Bubble {
                        bot: "wecom".to_owned(),
                        chat: from.chat().to_owned(),
                        answers: Some(id.clone()),
                        way: "stream",
                        states: Vec::new(),
                        done: false,
                    });
                    all.len() - 1
                });
                let bubble = &mut all[at];
                if bubble.states.last() != Some(&shown.content) {
                    bubble.states.push(shown.content);
                }
                bubble.done = shown.finish;
            }
            if shown.finish {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

/// A connected bot of the bridge.
#[derive(Clone)]
pub(crate) struct ConnectedBot {
    pub(crate) bot: String,
    pub(crate) id: String,
    pub(crate) callback_url: String,
}

/// A bridge with a platform, an operator and an agent.
pub(crate) struct TestBridge {
    pub(crate) mode: Mode,
    pub(crate) platform: Platform,
    pub(crate) agent: Agent,
    pub(crate) bridge: Bridge,
    pub(crate) console: Console,
    pub(crate) bots: Vec<ConnectedBot>,
    _dir: TempDir,
}

impl TestBridge {
    /// A bridge with one connected bot.
    pub(crate) async fn open(mode: Mode, agent: Agent) -> Self {
        let mut test = Self::empty(mode, agent).await;
        test.add("bot1").await;
        test
    }

    pub(crate) async fn empty(mode: Mode, agent: Agent) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let bridge = Bridge::start(&dir.path().join("data")).unwrap();
        Self {
            mode,
            platform: Platform::start(mode).await,
            console: Console::new(bridge.url()),
            agent,
            bridge,
            bots: Vec::new(),
            _dir: dir,
        }
    }

    /// Adds another bot, bound to an agent of its own name, and waits until it is connected.
    pub(crate) async fn add(&mut self, bot: &str) {
        self.add_with(bot, &json!({})).await;
    }

    /// Like [`Self::add`], bound with these trigger settings.
    pub(crate) async fn add_with(&mut self, bot: &str, trigger: &Value) {
        let agent = self.agent.settings(bot);
        self.add_bound(bot, &agent, trigger).await;
    }

    /// Like [`Self::add_with`], bound to another agent.
    pub(crate) async fn add_bound(&mut self, bot: &str, agent: &Value, trigger: &Value) {
        let mut integration = self.platform.add(bot, self.mode, bot);
        integration["language"] = json!("en");
        let made = self.console.bind(&integration, agent, trigger).await.unwrap();
        self.bots.push(ConnectedBot {
            bot: bot.to_owned(),
            id: made["id"].as_str().unwrap().to_owned(),
            callback_url: made["callbackUrl"].as_str().unwrap_or_default().to_owned(),
        });
        if !self.mode.has_socket() {
            return;
        }
        if let Err(error) = self.platform.connected(bot).await {
            panic!(
                "{:?} {error}; status {}; log\n{}",
                self.mode,
                self.status().await,
                self.bridge.log_tail()
            );
        }
    }

    /// Sends a person's message to the first bot.
    pub(crate) async fn say(&self, from: &Speaker, text: &str) {
        self.say_to(0, from, text).await;
    }

    /// Sends a person's message to one of the bots; in a group it mentions the bot.
    pub(crate) async fn say_to(&self, n: usize, from: &Speaker, text: &str) {
        let ConnectedBot { bot, callback_url, .. } = &self.bots[n];
        match &self.platform {
            Platform::WecomCallback(it) => {
                let id = {
                    let mut count = it.count.lock().unwrap_or_else(PoisonError::into_inner);
                    *count += 1;
                    format!("msg{count}")
                };
                let platform_bot = Bot::new(it.cipher.clone(), callback_url.clone());
                tokio::spawn(
                    it.clone()
                        .converse(platform_bot, from.clone(), id, mentioning(from, text, true)),
                );
            }
            Platform::WecomSocket(it) => {
                let id = format!("msg{}", it.frames().len() + it.bubbles().len() + text.len());
                let id = format!("{id}-{}-{text}", from.user);
                it.say(bot, from, &id, &mentioning(from, text, true)).unwrap();
            }
            Platform::Lark(it) => {
                let event = it.text(bot, from, text);
                if self.mode.has_socket() {
                    it.push(bot, &event).unwrap();
                } else {
                    it.post(bot, callback_url, &event).await.unwrap();
                }
            }
            Platform::DingTalk(it) => {
                let message = it.text(bot, from, text);
                if self.mode.has_socket() {
                    it.push(bot, &message).unwrap();
                } else {
                    it.post(bot, callback_url, &message).await.unwrap();
                }
            }
        }
    }

    /// A chat's id as the agent should receive it.
    pub(crate) fn chat_id(&self, n: usize, from: &Speaker) -> String {
        let bot = &self.bots[n].bot;
        match self.platform {
            Platform::WecomCallback(_) | Platform::WecomSocket(_) => from.chat().to_owned(),
            Platform::Lark(_) => lark::Platform::chat_id(bot, from),
            Platform::DingTalk(_) => dingtalk::Platform::chat_id(bot, from),
        }
    }

    /// Waits until the agent was asked `n` times.
    pub(crate) async fn asked(&self, n: usize) -> Vec<Asked> {
        let ask = || Some(self.agent.asked()).filter(|asked| asked.len() >= n);
        let asked = until("the agent's requests", SOON, ask).await;
        asked.unwrap_or_else(|error| panic!("{:?} {error}\n{}", self.mode, self.bridge.log_tail()))
    }

    /// The finished bubbles of a chat, once their text together contains `last`.
    pub(crate) async fn settled(&self, from: &Speaker, last: &str) -> Vec<Bubble> {
        self.settled_within(from, last, SOON).await
    }

    pub(crate) async fn settled_within(&self, from: &Speaker, last: &str, limit: Duration) -> Vec<Bubble> {
        let ask = || {
            let shown = self.shown(from);
            let done = shown.iter().all(|it| it.done) && shown.iter().any(|it| it.text().contains(last));
            done.then_some(shown)
        };
        let settled = until("the last words", limit, ask).await;
        settled.unwrap_or_else(|error| {
            let (shown, complaints) = (self.shown(from), self.platform.complaints());
            panic!(
                "{:?} {error}: {shown:#?} {complaints:?}\n{}",
                self.mode,
                self.bridge.log_tail()
            )
        })
    }

    /// All bubbles of a chat.
    pub(crate) fn shown(&self, from: &Speaker) -> Vec<Bubble> {
        let mut all = self.platform.bubbles();
        all.retain(|it| it.chat == from.chat());
        all
    }

    /// The first bot's status.
    pub(crate) async fn status(&self) -> Value {
        let path = format!("/api/v1/orgs/default/integrations/{}/status", self.bots[0].id);
        self.console.get(&path).await.unwrap()
    }

    /// Waits until the first bot's status is `state`, with `reason` if one is given.
    pub(crate) async fn status_is(&self, state: &str, reason: Option<&str>, limit: Duration) -> Value {
        let began = std::time::Instant::now();
        loop {
            let status = self.status().await;
            if status["state"] == state && reason.is_none_or(|reason| status["reason"] == reason) {
                return status;
            }
            let log = || self.bridge.log_tail();
            assert!(
                began.elapsed() < limit,
                "{:?} not {state} {reason:?}: {status}\n{}",
                self.mode,
                log()
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Checks that the platform has no complaint about what it was sent.
    #[track_caller]
    pub(crate) fn nothing_wrong(&self) {
        assert_eq!(self.platform.complaints(), Vec::<String>::new(), "{:?}", self.mode);
    }

    /// Number of log lines that contain these words.
    pub(crate) fn logged(&self, words: &str) -> usize {
        self.bridge.log().lines().filter(|line| line.contains(words)).count()
    }

    /// Number of log lines about a failure with this code.
    pub(crate) fn logged_error(&self, code: &str) -> usize {
        self.logged(&format!("\"error\":\"{code}\""))
    }
}
