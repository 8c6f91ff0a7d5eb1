//! Handler of the catalogue: supported platforms and agent protocols, and what each needs.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use serde_json::{Map, Value, json};
use tieline_bridge::agents as bridge_agents;
use tieline_core::account::ConnectionMode;
use tieline_core::connector::{CardButtons, Delivery, Field, FileLimit, Manifest, ModeManifest};
use tieline_core::notice::Language;
use tieline_core::split::TextUnit;
use utoipa::ToSchema;

use crate::auth::Caller;
use crate::schema;
use crate::state::AdminState;
use crate::texts::InLanguage;

/// Platforms and agent protocols.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Catalogue {
    items: Vec<Platform>,
    /// Always null: there is only one page.
    next_cursor: Option<String>,
    agent_protocols: Vec<Protocol>,
}

/// A chat platform.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Platform {
    /// The identifier used in the API.
    platform: &'static str,
    /// The name used by people.
    name: &'static str,
    /// Where the vendor documents it.
    docs: &'static str,
    #[schema(value_type = Option<schema::ConnectionMode>)]
    recommended_mode: Option<ConnectionMode>,
    /// The recommended mode first.
    modes: Vec<Mode>,
}

/// A connection mode of a platform.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Mode {
    #[schema(value_type = schema::ConnectionMode)]
    connection_mode: ConnectionMode,
    recommended: bool,
    /// JSON Schema of `credentials`. Secret fields are `writeOnly`.
    #[schema(value_type = Object)]
    credentials: Value,
    /// JSON Schema of `endpoints`, with the platform's own addresses as defaults.
    #[schema(value_type = Object)]
    endpoints: Value,
    /// What to do on the platform's side, in order.
    setup: Vec<&'static str>,
    /// Permissions that the bot needs on the platform.
    permissions: &'static [&'static str],
    abilities: Abilities,
}

/// What a platform can do in a mode.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Abilities {
    /// `push`: we call the platform. `pull`: the platform polls for the newest text.
    delivery: &'static str,
    /// Whether the bot can send messages without being asked.
    proactive: bool,
    /// Whether the platform delivers group messages that don't mention the bot, to a bot that may read them.
    hears_groups: bool,
    /// Which buttons of cards are shown as buttons: `none`, `links`, `all`. The others are shown as lines of text.
    buttons: &'static str,
    /// Which pictures of an agent are shown as pictures. Absent: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pictures: Option<SentAs>,
    /// Which files of an agent can be downloaded in the chat. Absent: none. A file that can't be sent becomes a link with its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    files: Option<SentAs>,
    /// Whether credentials are obtained by scanning a code.
    login: bool,
    /// Maximum length of one message.
    max_text: usize,
    /// Unit of `maxText`: `bytes`, `utf16` or `characters`.
    text_unit: &'static str,
}

/// Which files are sent in this form.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SentAs {
    /// Maximum size in bytes.
    max_bytes: usize,
    /// MIME types. Empty: all.
    types: &'static [&'static str],
}

impl SentAs {
    const fn of(limit: FileLimit) -> Self {
        Self {
            max_bytes: limit.max_bytes,
            types: limit.types,
        }
    }
}

/// An agent protocol.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Protocol {
    /// The identifier used in the API.
    protocol: &'static str,
    /// The name used by people.
    name: &'static str,
    /// JSON Schema of `config`. Secret fields are `writeOnly`.
    #[schema(value_type = Object)]
    config: Value,
}

/// Lists the supported platforms and agent protocols, and what each needs.
#[utoipa::path(get, path = "/api/v1/platforms", tag = "platforms", responses((status = 200, body = Catalogue)))]
pub(crate) async fn list(
    State(state): State<AdminState>,
    _: Caller,
    InLanguage(language): InLanguage,
) -> Json<Catalogue> {
    let platforms = state
        .world
        .registry
        .iter()
        .map(|connector| Platform::of(connector.manifest(), language));
    let protocols = bridge_agents::protocols(language).into_iter().map(|protocol| Protocol {
        protocol: protocol.word,
        name: protocol.name,
        config: protocol.schema,
    });
    Json(Catalogue {
        items: platforms.collect(),
        next_cursor: None,
        agent_protocols: protocols.collect(),
    })
}

impl Platform {
    fn of(manifest: &'static Manifest, language: Language) -> Self {
        let modes = manifest
            .modes
            .iter()
            .enumerate()
            .map(|(at, mode)| Mode::of(mode, at == 0, language));
        Self {
            platform: manifest.platform,
            name: manifest.name,
            docs: manifest.docs,
            recommended_mode: manifest.modes.first().map(|mode| mode.mode),
            modes: modes.collect(),
        }
    }
}

impl Mode {
    fn of(mode: &'static ModeManifest, recommended: bool, language: Language) -> Self {
        Self {
            connection_mode: mode.mode,
            recommended,
            credentials: credentials(mode.credentials, language),
            endpoints: endpoints(mode),
            setup: mode.setup.iter().map(|step| step.in_language(language)).collect(),
            permissions: mode.permissions,
            abilities: Abilities {
                delivery: match mode.delivery {
                    Delivery::Push => "push",
                    Delivery::Pull { .. } => "pull",
                    Delivery::PushTo { .. } => "push_or_pull",
                },
                proactive: mode.proactive,
                hears_groups: mode.hears_groups,
                buttons: match mode.buttons {
                    CardButtons::None => "none",
                    CardButtons::Links => "links",
                    CardButtons::All => "all",
                },
                pictures: mode.sent_files.picture.map(SentAs::of),
                files: mode.sent_files.file.map(SentAs::of),
                login: mode.login,
                max_text: mode.budget.text.max,
                text_unit: match mode.budget.text.unit {
                    TextUnit::Bytes => "bytes",
                    TextUnit::Utf16 => "utf16",
                    TextUnit::Chars => "characters",
                },
            },
        }
    }
}

fn credentials(fields: &[Field], language: Language) -> Value {
    let property = |field: &Field| {
        let mut schema = json!({ "type": "string", "description": field.help.in_language(language) });
        if field.secret {
            schema["writeOnly"] = json!(true);
        }
        (field.name.to_owned(), schema)
    };
    let required = fields.iter().filter(|field| field.required).map(|field| field.name);
    json!({
        "type": "object",
        "properties": fields.iter().map(property).collect::<Map<_, _>>(),
        "required": required.collect::<Vec<_>>(),
        "additionalProperties": false,
    })
}

fn endpoints(mode: &ModeManifest) -> Value {
    let properties = mode.endpoints.iter().map(|endpoint| {
        let mut schema = json!({ "type": "string", "format": "uri" });
        if !endpoint.default.is_empty() {
            schema["default"] = json!(endpoint.default);
        }
        (endpoint.name.to_owned(), schema)
    });
    json!({
        "type": "object",
        "properties": properties.collect::<Map<_, _>>(),
        "additionalProperties": false,
    })
}
