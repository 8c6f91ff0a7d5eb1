//! Facts about the interface.

use std::time::Duration;

use tieline_core::account::ConnectionMode;
use tieline_core::agent::MAX_ANSWER_BYTES;
use tieline_core::budget::Budget;
use tieline_core::connector::{Delivery, EndpointField, Field, Manifest, Merged, ModeManifest, Proof, WaitingSign};
use tieline_core::split::{TextLimit, TextUnit};

/// The endpoint where replies are posted.
pub(super) const SEND_URL: &str = "sendUrl";

/// Facts about platforms that connect themselves.
pub(super) static MANIFEST: Manifest = Manifest {
    platform: "custom",
    name: "Custom platform",
    docs: "https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md",
    proof: Proof::Platform,
    rate_hint: None,
    media_is_short_lived: false,
    tasks_from_outside: false,
    modes: &[ModeManifest {
        mode: ConnectionMode::Webhook,
        credentials: &[
            Field {
                name: "secret",
                secret: true,
                required: true,
                help: "What both sides sign with: whsec_ and at least 24 random bytes in base64. Several, separated by spaces, \
                       while it is being changed: any of them proves a message, all of them sign a reply.",
            },
            Field {
                name: "name",
                secret: false,
                required: false,
                help: "The bot's name in groups, without @, so that its mention is recognized and removed from the text.",
            },
        ],
        endpoints: &[EndpointField {
            name: SEND_URL,
            default: "",
        }],
        setup: &[
            "Choose a secret: whsec_ followed by 24 or more random bytes in base64. Your program and this integration share it.",
            "Have your program post each message, signed, to this integration's callback URL (docs/platforms/custom.md).",
            "To be sent replies while they grow, set the endpoint sendUrl to an address of your program that accepts signed posts.",
            "Without sendUrl, have your program ask the callback URL for the reply of each message until it is done.",
        ],
        permissions: &[],
        delivery: Delivery::PushTo {
            endpoint: SEND_URL,
            lifetime: Duration::from_secs(24 * 60 * 60),
        },
        merged: Merged::SameAnswer,
        waiting_sign: WaitingSign::Nothing,
        budget: Budget {
            // The program decides how it shows a text.
            text: TextLimit {
                max: MAX_ANSWER_BYTES,
                unit: TextUnit::Bytes,
            },
            // Each snapshot is a request with the whole text.
            min_interval: Duration::from_millis(500),
            slow_after: Duration::from_secs(30),
            slow_interval: Duration::from_secs(2),
            lifetime: None,
            max_updates: None,
            quotas: &[],
            source: "our own interface: docs/platforms/custom.md",
        },
        welcome: None,
        two_sockets: true,
        proactive: true,
        login: false,
    }],
};
