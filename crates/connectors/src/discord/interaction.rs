//! Converts interactions (slash commands and buttons) to events, and builds the initial response that the platform waits 3 s for.

use serde_json::{Value, json};
use tieline_core::card::choice_key;
use tieline_core::connector::{Context, Remark};
use tieline_core::event::{CardAction, ChatKind, Event, Message, Part};
use tieline_core::http_types::HttpCall;
use tieline_core::ids::{PlatformMessageId, ReplyId, SenderId};
use tieline_core::notice::Notice;
use tieline_core::reply::{ReplyHandle, ReplyTarget};
use tieline_core::timestamp::Timestamp;

use super::card_action::{self, ANSWERED, Action, Button};
use super::commands::{Command, FILE_OPTION, TEXT_OPTION};
use super::compose::segment;
use super::plan::TOKEN_LIFE_MS;
use super::settings::{address, is_snowflake};
use super::wire::{Interaction, Member};
use super::{call, decode};

/// Kinds of interaction.
const PING: u8 = 1;
const COMMAND: u8 = 2;
const COMPONENT: u8 = 3;
const AUTOCOMPLETE: u8 = 4;

/// Response type that updates the message whose button was pressed.
const UPDATE_MESSAGE: u8 = 7;

/// A parsed interaction: an event or the reason for none, and the initial response.
///
/// See [Discord Docs/Interaction Callback Type](https://discord.com/developers/docs/interactions/receiving-and-responding#interaction-response-object-interaction-callback-type).
#[derive(Debug, PartialEq)]
pub(super) struct Decoded {
    pub event: Result<Event, Remark>,
    /// `None` for an interaction that can't be responded to.
    pub response: Option<Value>,
}

impl Decoded {
    fn event(event: Event, response: Value) -> Self {
        Self {
            event: Ok(event),
            response: Some(response),
        }
    }

    fn ignored(reason: &'static str, response: Value) -> Self {
        Self {
            event: Err(Remark::Ignored(reason)),
            response: Some(response),
        }
    }

    pub(super) const fn unreadable(reason: &'static str) -> Self {
        Self {
            event: Err(Remark::Unreadable(reason)),
            response: None,
        }
    }
}

/// Reads an interaction from the gateway or from HTTP.
pub(super) fn decode(interaction: &Interaction, cx: &Context<'_>) -> Decoded {
    if interaction.kind == PING {
        return Decoded::ignored("PING", json!({ "type": 1 }));
    }
    if interaction.token.is_empty() || !is_snowflake(&interaction.id) {
        return Decoded::unreadable("interaction without a token or an id");
    }
    let Some(context) = Origin::of(interaction, cx) else {
        return Decoded::unreadable("interaction without a channel or a user");
    };
    match interaction.kind {
        COMMAND => command(interaction, context, cx),
        COMPONENT => component(interaction, context, cx),
        AUTOCOMPLETE => Decoded::ignored(
            "autocompletion, which no command offers",
            json!({ "type": 8, "data": { "choices": [] } }),
        ),
        _ => Decoded::ignored(
            "interaction of a kind that is not used",
            whispered(Notice::Unsupported, cx),
        ),
    }
}

/// Who caused the interaction, and where an answer goes.
struct Origin {
    sender: tieline_core::event::Sender,
    target: ReplyTarget,
}

impl Origin {
    fn of(interaction: &Interaction, cx: &Context<'_>) -> Option<Self> {
        let member = interaction.member.as_ref();
        let user = member
            .and_then(|member| member.user.as_ref())
            .or(interaction.user.as_ref())?;
        let channel = interaction.channel_id.clone()?;
        if !is_snowflake(&channel) || !is_snowflake(&user.id) {
            return None;
        }
        let nick = member.and_then(|Member { nick, .. }| nick.clone());
        Some(Self {
            sender: decode::sender(user, nick),
            target: ReplyTarget {
                integration: cx.account.integration.clone(),
                chat: decode::chat(kind(interaction), channel),
                asker: SenderId::new(user.id.clone()),
                message: PlatformMessageId::new(interaction.id.clone()),
                handle: handle(interaction, cx.now),
                // After the token has expired, the answer is sent to the channel as a normal message.
                expires_at: None,
            },
        })
    }

    /// Marks the interaction as having its response if `has_response`: the answer is then a message of its own.
    fn answered(mut self, has_response: bool) -> Self {
        if has_response {
            let mut handle = self.target.handle.value().clone();
            handle[ANSWERED] = true.into();
            self.target.handle = ReplyHandle::new(handle);
        }
        self
    }
}

fn kind(interaction: &Interaction) -> ChatKind {
    // Context 1 is the direct chat with the bot.
    if interaction.context == Some(1) {
        return ChatKind::Direct;
    }
    decode::chat_kind(interaction.channel.kind, interaction.guild_id.as_deref())
}

/// Reply handle: the token responds to the interaction without any other credential.
fn handle(interaction: &Interaction, now: Timestamp) -> ReplyHandle {
    // An age above the token's lifetime only shows that the clocks differ.
    let is_plausible = |made_at: &Timestamp| (0..TOKEN_LIFE_MS).contains(&(now.as_millis() - made_at.as_millis()));
    let made_at = decode::sent_at(&interaction.id).filter(is_plausible);
    let until = made_at.unwrap_or(now).as_millis() + TOKEN_LIFE_MS;
    ReplyHandle::new(json!({ "interaction": interaction.token, "until": until }))
}

fn command(interaction: &Interaction, origin: Origin, cx: &Context<'_>) -> Decoded {
    let Some(command) = Command::named(&interaction.data.name) else {
        return Decoded::ignored("command that is not one of ours", whispered(Notice::Unsupported, cx));
    };
    let options = |kind| {
        let those = interaction
            .data
            .options
            .iter()
            .filter(move |option| option.kind == kind);
        those.filter_map(|option| option.value.as_str())
    };
    let prompt = options(TEXT_OPTION).map(str::trim).collect::<Vec<_>>().join(" ");
    let Some(text) = command.text(prompt.trim()) else {
        return Decoded::ignored("question without words", whispered(Notice::Unsupported, cx));
    };
    let attachments = &interaction.data.resolved.attachments;
    let files = options(FILE_OPTION).filter_map(|id| attachments.get(id).cloned());
    let parts = decode::parts(files, cx);
    Decoded::event(said(interaction, origin, text, parts), command.response())
}

/// The message that a command or a button stands for.
fn said(interaction: &Interaction, origin: Origin, text: String, parts: Vec<Part>) -> Event {
    Event::Message(Message {
        id: PlatformMessageId::new(interaction.id.clone()),
        sender: origin.sender,
        sent_at: decode::sent_at(&interaction.id),
        text,
        parts,
        quoted: None,
        chat_name: None,
        refers_to: None,
        topic_root: None,
        album: None,
        target: origin.target,
    })
}

fn component(interaction: &Interaction, origin: Origin, cx: &Context<'_>) -> Decoded {
    let custom_id = interaction.data.custom_id.as_str();
    let Some(button) = Button::read(custom_id) else {
        // Acknowledged without a visible response: the button isn't one of ours.
        let action = action(interaction, origin, custom_id.to_owned(), String::new());
        return Decoded::event(action, json!({ "type": 6 }));
    };
    if !button.is_for(origin.sender.id.as_str()) {
        return Decoded::ignored(
            "button of another person's answer",
            whispered(Notice::NotYourButton, cx),
        );
    }
    match button.action {
        Action::Stop => Decoded::event(
            said(
                interaction,
                origin,
                Command::Stop.text("").unwrap_or_default(),
                Vec::new(),
            ),
            Command::Stop.response(),
        ),
        Action::NewSession => Decoded::event(
            action(
                interaction,
                origin,
                tieline_core::event::NEW_SESSION_KEY.to_owned(),
                button.reply.to_owned(),
            ),
            Command::New.response(),
        ),
        Action::Choice(number) => {
            let key = choice_key(&ReplyId::new(button.reply), number.into());
            let marked = marked(interaction, &button);
            Decoded::event(
                action(
                    interaction,
                    origin.answered(marked.is_some()),
                    key,
                    button.reply.to_owned(),
                ),
                marked.unwrap_or_else(|| Command::Ask.response()),
            )
        }
    }
}

/// The response that marks the chosen button. Below a proactive message in a group, others may still choose.
fn marked(interaction: &Interaction, button: &Button<'_>) -> Option<Value> {
    if button.asker.is_empty() && kind(interaction) == ChatKind::Group {
        return None;
    }
    let components = card_action::marked(&interaction.message.components, &interaction.data.custom_id)?;
    // An edit without `allowed_mentions` parses the mentions again.
    let data = json!({ "components": components, "allowed_mentions": { "parse": [] } });
    Some(json!({ "type": UPDATE_MESSAGE, "data": data }))
}

fn action(interaction: &Interaction, origin: Origin, key: String, card: String) -> Event {
    Event::CardAction(CardAction {
        id: PlatformMessageId::new(interaction.id.clone()),
        sender: origin.sender,
        key,
        card,
        target: origin.target,
    })
}

/// An ephemeral notice, visible only to the person who acted.
fn whispered(notice: Notice, cx: &Context<'_>) -> Value {
    json!({ "type": 4, "data": {
        "content": notice.text(cx.account.language),
        "flags": super::EPHEMERAL,
        "allowed_mentions": { "parse": [] },
    }})
}

/// Responds to an interaction that came through the gateway. The interaction's token is the credential.
///
/// See [Discord Docs/Create Interaction Response](https://discord.com/developers/docs/interactions/receiving-and-responding#create-interaction-response).
pub(super) fn callback(interaction: &Interaction, response: &Value, cx: &Context<'_>) -> HttpCall {
    let path = format!(
        "/interactions/{}/{}/callback",
        segment(&interaction.id),
        segment(&interaction.token)
    );
    call::bare("respond", "POST", address(cx.account, &path), Some(response.clone()))
}
