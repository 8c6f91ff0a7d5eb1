//! Manifest of the web channel.

use std::time::Duration;

use tieline_core::account::ConnectionMode;
use tieline_core::agent::MAX_ANSWER_BYTES;
use tieline_core::bilingual::Bilingual;
use tieline_core::budget::Budget;
use tieline_core::connector::{CardButtons, Delivery, Manifest, Merged, ModeManifest, Proof, SentFiles, WaitingSign};
use tieline_core::split::{TextLimit, TextUnit};
use tieline_core::thinking_display::ReasoningDetail;

/// Manifest of our own chat page.
pub(super) static MANIFEST: Manifest = Manifest {
    platform: "web",
    name: "Web chat",
    docs: "/api/openapi.json",
    proof: Proof::Operator,
    rate_hint: None,
    media_is_short_lived: false,
    max_media_bytes: None,
    answers_by_newest: false,
    redelivers_with_new_id: false,
    groups_get_other_ids: false,
    refused_until_next: &[],
    tasks_from_outside: false,
    modes: &[ModeManifest {
        mode: ConnectionMode::Webhook,
        credentials: &[],
        endpoints: &[],
        setup: &[Bilingual {
            en: "Nothing to set up: open the console's playground, or run `tieline chat`.",
            zh: "无需设置：打开控制台的对话测试页，或运行 `tieline chat`。",
        }],
        permissions: &[],
        delivery: Delivery::Pull {
            lifetime: Duration::from_secs(24 * 60 * 60),
            push_after: false,
        },
        merged: Merged::SameAnswer,
        waiting_sign: WaitingSign::Nothing,
        reasoning: ReasoningDetail::Hidden,
        budget: Budget {
            // The reader is our own and accepts everything that an agent may send.
            text: TextLimit {
                max: MAX_ANSWER_BYTES,
                unit: TextUnit::Bytes,
            },
            // Readers poll every 15 to 200 ms.
            min_interval: Duration::from_millis(100),
            slow_after: Duration::from_secs(30),
            slow_interval: Duration::from_millis(300),
            lifetime: None,
            max_updates: None,
            quotas: &[],
            source: "our own channel",
        },
        welcome: None,
        two_sockets: true,
        hears_groups: false,
        proactive: false,
        buttons: CardButtons::None,
        sent_files: SentFiles::NONE,
        login: false,
    }],
};
