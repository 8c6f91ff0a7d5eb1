//! The table of simulators behind one interface, and adapters for simulators that are older than that interface.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::outbound::{Bubble, ShownButton, Speaker};
use crate::platform::{Features, PlatformSimulator, SaidMessages, Upload, deliver};
use crate::uploads::SentFile;
use crate::{custom, dingtalk, discord, lark, telegram, wechat, wechat_mp, wecom, wecom_app, wecom_socket, weibo};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use serde_json::{Value, json};

/// One platform in one mode.
pub struct Row {
    /// The platform's name in the configuration.
    pub platform: &'static str,
    /// The connection mode, or what distinguishes this row.
    pub mode: &'static str,
    /// Starts the platform with one bot in this mode.
    pub start: fn(&'static str) -> BoxFuture<'static, Box<dyn PlatformSimulator>>,
}

/// Every simulator in every mode. A new platform adds its rows here.
pub const ROWS: &[Row] = &[
    Row {
        platform: "custom",
        mode: "posted replies",
        start: |_| async { Box::new(custom::Platform::start(false).await) as Box<dyn PlatformSimulator> }.boxed(),
    },
    Row {
        platform: "custom",
        mode: "polled replies",
        start: |_| async { Box::new(custom::Platform::start(true).await) as Box<dyn PlatformSimulator> }.boxed(),
    },
    Row {
        platform: "dingtalk",
        mode: "long_connection",
        start: |mode| DingTalk::start(mode).boxed(),
    },
    Row {
        platform: "dingtalk",
        mode: "webhook",
        start: |mode| DingTalk::start(mode).boxed(),
    },
    Row {
        platform: "discord",
        mode: "long_connection",
        start: |mode| discord::OneBot::start(mode).boxed(),
    },
    Row {
        platform: "discord",
        mode: "webhook",
        start: |mode| discord::OneBot::start(mode).boxed(),
    },
    Row {
        platform: "lark",
        mode: "long_connection",
        start: |mode| Lark::start(mode).boxed(),
    },
    Row {
        platform: "lark",
        mode: "webhook",
        start: |mode| Lark::start(mode).boxed(),
    },
    Row {
        platform: "telegram",
        mode: "long_connection",
        start: |mode| telegram::Simulator::start(mode).boxed(),
    },
    Row {
        platform: "telegram",
        mode: "webhook",
        start: |mode| telegram::Simulator::start(mode).boxed(),
    },
    Row {
        platform: "weibo",
        mode: "long_connection",
        start: |_| async { Box::new(weibo::Platform::start().await) as Box<dyn PlatformSimulator> }.boxed(),
    },
    Row {
        platform: "wechat",
        mode: "long_connection",
        start: |_| wechat::Row::start().boxed(),
    },
    Row {
        platform: "wechat_mp",
        mode: "webhook",
        start: |_| async { Box::new(wechat_mp::Platform::start(true).await) as Box<dyn PlatformSimulator> }.boxed(),
    },
    Row {
        platform: "wecom",
        mode: "long_connection",
        start: |_| async { Box::new(wecom_socket::OneBot::start().await) as Box<dyn PlatformSimulator> }.boxed(),
    },
    Row {
        platform: "wecom",
        mode: "webhook",
        start: |_| async { Box::new(wecom::Callbacks::start().await) as Box<dyn PlatformSimulator> }.boxed(),
    },
    Row {
        platform: "wecom_app",
        mode: "webhook",
        start: |_| async { Box::new(wecom_app::Platform::start().await) as Box<dyn PlatformSimulator> }.boxed(),
    },
];

/// Redelivery interval of unacknowledged events. Real platforms wait 13 s and more.
const REDELIVER_AFTER: Duration = Duration::from_secs(1);

/// The app of a row: one account can't be in two integrations.
fn app(mode: &str) -> &'static str {
    if mode == "webhook" { "app1" } else { "app2" }
}

struct Lark {
    platform: lark::Platform,
    mode: &'static str,
    callback_url: std::sync::OnceLock<String>,
    said: SaidMessages,
    /// The responses to posted events.
    answers: Arc<Mutex<Vec<Value>>>,
}

impl Lark {
    async fn start(mode: &'static str) -> Box<dyn PlatformSimulator> {
        let platform = lark::Platform::start().await;
        platform.add_app(app(mode), "s3");
        platform.misbehave(|faults| faults.redeliver_after = REDELIVER_AFTER);
        Box::new(Self {
            platform,
            mode,
            callback_url: std::sync::OnceLock::new(),
            said: SaidMessages::default(),
            answers: Arc::default(),
        })
    }
}

impl PlatformSimulator for Lark {
    fn features(&self) -> Features {
        Features::ALL
    }

    fn integration(&self) -> Value {
        self.platform.as_integration(app(self.mode), "Lark", self.mode)
    }

    fn wrong_integration(&self) -> Value {
        let mut integration = self.integration();
        integration["credentials"]["appSecret"] = json!("wrong");
        integration
    }

    fn created(&self, callback_url: &str) {
        let _ = self.callback_url.set(callback_url.to_owned());
    }

    fn is_connected(&self) -> bool {
        self.mode == "webhook" || self.platform.connections(app(self.mode)).0 > 0
    }

    fn say(&self, from: &Speaker, text: &str, mention: bool) -> String {
        let app = app(self.mode);
        let event = match mention {
            true => self.platform.text(app, from, text),
            false => self.platform.talk(app, from, text),
        };
        let id = self.said.keep(&event);
        self.redeliver(&id);
        id
    }

    fn upload(&self, from: &Speaker, upload: Upload) -> Option<String> {
        let id = self.said.keep(&self.platform.upload(app(self.mode), from, upload));
        self.redeliver(&id);
        Some(id)
    }

    fn redeliver(&self, id: &str) {
        let (platform, mode, event) = (self.platform.clone(), self.mode, self.said.get(id));
        let (url, answers) = (
            self.callback_url.get().cloned().unwrap_or_default(),
            Arc::clone(&self.answers),
        );
        deliver(move || {
            let (platform, event, url) = (platform.clone(), event.clone(), url.clone());
            let answers = Arc::clone(&answers);
            async move {
                if mode == "webhook" {
                    let answer = platform.post(app(mode), &url, &event).await?;
                    answers.lock().unwrap_or_else(PoisonError::into_inner).push(answer);
                    Ok(())
                } else {
                    platform.push(app(mode), &event).map(|_| ())
                }
            }
        });
    }

    fn shown(&self, chat: &Speaker) -> Vec<Bubble> {
        let mut all = self.platform.bubbles();
        all.retain(|bubble| bubble.chat == chat.chat());
        all
    }

    fn files(&self, chat: &Speaker) -> Vec<SentFile> {
        self.platform.files(chat)
    }

    fn buttons(&self, chat: &Speaker) -> Vec<ShownButton> {
        self.platform.buttons(app(self.mode), chat)
    }

    fn click(&self, by: &Speaker, label: &str) {
        let click = self.platform.press_one(app(self.mode), by, |it| it == label);
        self.redeliver(&self.said.keep(&click.expect("the button is there")));
    }

    fn click_marks(&self, _chat: &Speaker) -> Option<String> {
        let acks = self.platform.acks();
        let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        let all = acks.iter().filter_map(|ack| ack.data.as_ref()).chain(&*answers);
        let toasts = all.filter_map(|answer| answer["toast"]["content"].as_str());
        Some(toasts.collect::<Vec<_>>().join("\n"))
    }

    fn open_chat(&self, by: &Speaker) -> bool {
        self.redeliver(&self.said.keep(&self.platform.enter(app(self.mode), by)));
        true
    }

    fn thinking_signs(&self, chat: &Speaker) -> Option<usize> {
        Some(self.platform.reactions_shown(app(self.mode), chat))
    }

    /// The secret is reset.
    fn sign_out(&self) -> Option<(&'static str, &'static str)> {
        if self.mode == "webhook" {
            return None;
        }
        self.platform.add_app(app(self.mode), "another");
        self.platform.cut(app(self.mode));
        Some(("disconnected", "config_invalid"))
    }

    fn rate_limit_once(&self) {
        let answer = lark::Answer::Refused(429, 99_991_400, Some(1));
        let call = "create_card";
        self.platform
            .misbehave(|faults| faults.answers.push_back(lark::Fault { call, answer }));
    }

    fn complaints(&self) -> Vec<String> {
        self.platform.complaints()
    }
}

struct DingTalk {
    platform: dingtalk::Platform,
    mode: &'static str,
    callback_url: std::sync::OnceLock<String>,
    said: SaidMessages,
}

impl DingTalk {
    async fn start(mode: &'static str) -> Box<dyn PlatformSimulator> {
        let platform = dingtalk::Platform::start().await;
        platform.add_app(app(mode), "s3");
        platform.misbehave(|faults| faults.redeliver_after = REDELIVER_AFTER);
        Box::new(Self {
            platform,
            mode,
            callback_url: std::sync::OnceLock::new(),
            said: SaidMessages::default(),
        })
    }
}

impl PlatformSimulator for DingTalk {
    fn features(&self) -> Features {
        Features {
            hears_groups: false,
            ..Features::ALL
        }
    }

    fn integration(&self) -> Value {
        self.platform.as_integration(app(self.mode), "DingTalk", self.mode)
    }

    fn wrong_integration(&self) -> Value {
        let mut integration = self.integration();
        integration["credentials"]["clientSecret"] = json!("wrong");
        integration
    }

    fn created(&self, callback_url: &str) {
        let _ = self.callback_url.set(callback_url.to_owned());
    }

    fn is_connected(&self) -> bool {
        self.mode == "webhook" || self.platform.connections(app(self.mode)).0 > 0
    }

    fn say(&self, from: &Speaker, text: &str, _mention: bool) -> String {
        let id = self.said.keep(&self.platform.text(app(self.mode), from, text));
        self.redeliver(&id);
        id
    }

    fn upload(&self, from: &Speaker, upload: Upload) -> Option<String> {
        let id = self.said.keep(&self.platform.upload(app(self.mode), from, upload));
        self.redeliver(&id);
        Some(id)
    }

    fn redeliver(&self, id: &str) {
        let (platform, mode, message) = (self.platform.clone(), self.mode, self.said.get(id));
        let url = self.callback_url.get().cloned().unwrap_or_default();
        deliver(move || {
            let (platform, message, url) = (platform.clone(), message.clone(), url.clone());
            async move {
                if mode == "webhook" {
                    platform.post(app(mode), &url, &message).await.map(|_| ())
                } else {
                    platform.push(app(mode), &message).map(|_| ())
                }
            }
        });
    }

    fn shown(&self, chat: &Speaker) -> Vec<Bubble> {
        let mut all = self.platform.bubbles();
        all.retain(|bubble| bubble.chat == chat.chat());
        all
    }

    fn files(&self, chat: &Speaker) -> Vec<SentFile> {
        self.platform.files(chat)
    }

    fn buttons(&self, chat: &Speaker) -> Vec<ShownButton> {
        self.platform.buttons(chat)
    }

    /// Over HTTP only cards of a custom template report clicks, and this app has none.
    fn rate(&self, by: &Speaker, is_good: bool) -> bool {
        if self.mode == "webhook" {
            return false;
        }
        let card = self
            .platform
            .newest_card(app(self.mode), by)
            .expect("an answer in a card");
        let action = if is_good { "feedback_up" } else { "feedback_down" };
        let (platform, mode, by) = (self.platform.clone(), self.mode, by.user.clone());
        deliver(move || {
            let clicked = platform.click(app(mode), &card, action, &by).map(drop);
            async move { clicked }
        });
        true
    }

    /// A card without text.
    fn thinking_signs(&self, chat: &Speaker) -> Option<usize> {
        let begun_in_silence = |bubble: &&Bubble| bubble.way == "card" && bubble.states[0].is_empty();
        Some(self.shown(chat).iter().filter(begun_in_silence).count())
    }

    /// The secret is reset.
    fn sign_out(&self) -> Option<(&'static str, &'static str)> {
        if self.mode == "webhook" {
            return None;
        }
        self.platform.add_app(app(self.mode), "another");
        self.platform.cut(app(self.mode));
        Some(("disconnected", "config_invalid"))
    }

    fn rate_limit_once(&self) {
        let answer = dingtalk::Answer::Refused(403, "Forbidden.AccessDenied.QpsLimitForAppkeyAndApi");
        let call = "create_card";
        self.platform
            .misbehave(|faults| faults.answers.push_back(dingtalk::Fault { call, answer }));
    }

    fn complaints(&self) -> Vec<String> {
        self.platform.complaints()
    }
}
