//! A bridge with a Lark bot that receives callbacks, and the platform's simulator.

use tieline_core::trigger::TriggerSettings;
use tieline_tests::agents::Manner;
use tieline_tests::lark::Platform;

use crate::test_bridge::TestBridge;

/// The bot's app.
pub(crate) const APP: &str = "cli_a1";

/// With an agent that echoes.
pub(crate) async fn open(settings: TriggerSettings) -> (TestBridge, Platform) {
    open_with(Manner::default(), settings).await
}

/// With an agent of this manner.
pub(crate) async fn open_with(manner: Manner, settings: TriggerSettings) -> (TestBridge, Platform) {
    let platform = Platform::start().await;
    platform.add_app(APP, "s3");
    let integration = platform.as_integration(APP, "Bot", "webhook");
    let bridge = TestBridge::open_with(manner, "lark", &integration, settings).await;
    (bridge, platform)
}
