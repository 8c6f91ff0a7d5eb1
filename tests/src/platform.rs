//! One interface for all platform simulators, so that one scenario runs against each of them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::outbound::{Bubble, ShownButton, Speaker};
use crate::uploads::SentFile;

/// A chat platform with one bot account in one connection mode, as shared scenarios use it.
///
/// Methods return at once: longer operations (a webhook delivery, its repetition) run in a task of the simulator.
pub trait PlatformSimulator: Send + Sync {
    /// The features of this platform.
    fn features(&self) -> Features;

    /// The body of the API call that creates the integration: name, platform, mode, credentials, endpoints.
    fn integration(&self) -> Value;

    /// Like [`Self::integration`], with credentials that the platform refuses.
    fn wrong_integration(&self) -> Value;

    /// The integration was created; the platform gets its callback URL, where an operator would enter it.
    fn created(&self, callback_url: &str);

    /// Whether the platform has a way to deliver messages to the bridge: a registered webhook, an open connection.
    fn is_connected(&self) -> bool;

    /// A person's message to the bot. In a group `mention` states whether it mentions the bot. Returns the message's id.
    ///
    /// The platform delivers it as in reality: until it is acknowledged.
    fn say(&self, from: &Speaker, text: &str, mention: bool) -> String;

    /// A person sends a picture or a file in the direct chat. Returns the message's id. `None`: the platform doesn't support it.
    fn upload(&self, from: &Speaker, upload: Upload) -> Option<String>;

    /// Delivers an earlier message again, as after a lost acknowledgement.
    fn redeliver(&self, id: &str);

    /// What the bot's side of a chat shows, the oldest first.
    fn shown(&self, chat: &Speaker) -> Vec<Bubble>;

    /// The pictures and files that the bot has sent to a chat, the oldest first. Only where [`Features`] say that it can.
    fn files(&self, _chat: &Speaker) -> Vec<SentFile> {
        Vec::new()
    }

    /// The buttons that the bot shows in a chat, the oldest first.
    fn buttons(&self, _chat: &Speaker) -> Vec<ShownButton> {
        Vec::new()
    }

    /// A person clicks on the newest button with this label, which opens no address.
    fn click(&self, _by: &Speaker, label: &str) {
        unimplemented!("this platform reports no click on {label}");
    }

    /// What people see after their clicks in a chat: changed buttons, new texts. `None`: the platform shows nothing.
    fn click_marks(&self, _chat: &Speaker) -> Option<String> {
        None
    }

    /// A person opens their chat with the bot. Returns whether the platform reports that to the bot.
    fn open_chat(&self, _by: &Speaker) -> bool {
        false
    }

    /// A person rates the newest answer in their chat. Returns whether the platform supports it.
    fn rate(&self, _by: &Speaker, _is_good: bool) -> bool {
        false
    }

    /// A person replies to the bot's newest message in a chat, without a mention. Returns the message's id. `None`: the platform doesn't
    /// support it, or doesn't deliver it to bots.
    fn reply_to_newest(&self, _from: &Speaker, _text: &str) -> Option<String> {
        None
    }

    /// How often the bot has shown a typing indicator or another waiting sign in a chat. `None`: the platform has no such sign.
    fn thinking_signs(&self, _chat: &Speaker) -> Option<usize> {
        None
    }

    /// The platform ends the bot's login, or gives it to another client. Returns the state and the reason that operators must see.
    /// `None`: the platform has no such event that it reports without a message.
    fn sign_out(&self) -> Option<(&'static str, &'static str)> {
        None
    }

    /// Answers the next call that shows text with the platform's rate limit.
    fn rate_limit_once(&self);

    /// What the bridge sent that the platform would not have accepted.
    fn complaints(&self) -> Vec<String>;
}

/// A picture or a file, as people send it.
#[derive(Debug, Clone, Copy)]
pub struct Upload {
    /// Whether it is a picture.
    pub is_picture: bool,
    /// Its name, for platforms that send it.
    pub name: &'static str,
    /// Its type, for platforms that send it.
    pub mime: &'static str,
    /// Its content.
    pub bytes: &'static [u8],
}

impl Upload {
    /// A picture of one pixel.
    pub const PICTURE: Self = Self {
        is_picture: true,
        name: "pixel.png",
        mime: "image/png",
        bytes: include_bytes!("pixel.png"),
    };
    /// A text whose length is not a multiple of a cipher's block.
    pub const FILE: Self = Self {
        is_picture: false,
        name: "notes.txt",
        mime: "text/plain",
        bytes: b"Notes of the meeting: nobody came.\n",
    };
}

/// The features of a platform; scenarios expect no others.
#[derive(Debug, Clone, Copy)]
pub struct Features {
    /// Bots can be in groups.
    pub groups: bool,
    /// Bots in groups receive messages without a mention too.
    pub hears_groups: bool,
    /// Text is shown while it grows.
    pub streams: bool,
    /// The platform can refuse the credentials before a message is sent.
    pub checks_credentials: bool,
    /// The platform has a rate limit that it answers calls with.
    pub rate_limits: bool,
    /// Operators enter the credentials. Otherwise they are obtained by a login, whose QR codes the simulator confirms at once.
    pub typed_credentials: bool,
    /// More than one person can write to a bot.
    pub many_people: bool,
    /// An answer of any length is shown completely.
    pub long_answers: bool,
    /// Tasks can only be created outside the chat.
    pub tasks_from_outside: bool,
    /// An agent's reasoning can be shown in place of the text before it begins.
    pub shows_reasoning: bool,
    /// Buttons of cards can open addresses.
    pub link_buttons: bool,
    /// Commands are typed. Otherwise people choose among those that the bridge has registered.
    pub typed_commands: bool,
    /// Pictures of an agent are shown as pictures.
    pub sends_pictures: bool,
    /// Documents of an agent can be downloaded in the chat.
    pub sends_files: bool,
}

impl Features {
    /// A platform with all of them.
    pub const ALL: Self = Self {
        groups: true,
        hears_groups: true,
        streams: true,
        checks_credentials: true,
        rate_limits: true,
        typed_credentials: true,
        many_people: true,
        long_answers: true,
        tasks_from_outside: false,
        shows_reasoning: true,
        link_buttons: true,
        typed_commands: true,
        sends_pictures: true,
        sends_files: true,
    };
}

/// How long a platform redelivers what is not acknowledged.
const DELIVERY_LIMIT: Duration = Duration::from_secs(60);
/// Pause between two deliveries. Real platforms wait longer.
const REDELIVERY_PAUSE: Duration = Duration::from_millis(200);

/// Sent messages by id, so that they can be delivered again.
#[derive(Debug, Clone, Default)]
pub struct SaidMessages(Arc<Mutex<HashMap<String, Value>>>);

impl SaidMessages {
    /// Stores a message. Returns its id.
    pub fn keep(&self, message: &Value) -> String {
        let mut said = self.lock();
        let id = format!("said{}", said.len());
        said.insert(id.clone(), message.clone());
        id
    }

    /// A stored message.
    ///
    /// # Panics
    /// If there is none with that id.
    #[must_use]
    pub fn get(&self, id: &str) -> Value {
        self.lock().get(id).expect("it was said").clone()
    }

    /// Stores another value under an id, for a platform that creates a message only when it delivers it.
    pub fn replace(&self, id: &str, message: &Value) {
        self.lock().insert(id.to_owned(), message.clone());
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Value>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Delivers in the background until `attempt` succeeds, at most for a minute.
pub fn deliver<F>(attempt: impl Fn() -> F + Send + 'static)
where
    F: Future<Output = anyhow::Result<()>> + Send,
{
    tokio::spawn(async move {
        let began = Instant::now();
        while attempt().await.is_err() && began.elapsed() < DELIVERY_LIMIT {
            sleep(REDELIVERY_PAUSE).await;
        }
    });
}
