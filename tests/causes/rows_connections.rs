//! Causes at long connections: refused, unreachable, silent, taken over by another client.

use serde_json::{Value, json};
use tieline_tests::reserved_port::free_port;
use tieline_tests::test_bridge::uuid;
use tieline_tests::{dingtalk, lark, wecom_socket};

use crate::expected::{Expected, Injected};
use crate::organization::{Organization, PATIENCE};

pub(crate) async fn wrong_secret(place: &Organization) -> anyhow::Result<Injected> {
    let (platform, id) = (wecom_socket::Platform::start().await, format!("bot{}", uuid()));
    platform.add_bot(&id, "s3");
    let mut integration = platform.as_integration(&id, "Bot");
    integration["credentials"]["secret"] = json!("wrong");
    let bot = place.bot(&integration).await?;
    let expected = Expected::failed("credentials", "edit_credentials", &["853000", "secret"])
        .status("disconnected", Some("config_invalid"))
        .log("853000")
        .overview("edit_credentials");
    Ok(expected.of(bot.id))
}

pub(crate) async fn kicked(place: &Organization) -> anyhow::Result<Injected> {
    let (platform, id) = (wecom_socket::Platform::start().await, format!("bot{}", uuid()));
    platform.add_bot(&id, "s3");
    let bot = place.bot(&platform.as_integration(&id, "Bot")).await?;
    platform.connected(&id, PATIENCE).await?;
    place.status_is(&bot.id, "connected").await?;
    platform.kick(&id);
    let expected = Expected::failed("connection", "restart", &["kicked"])
        .status("disconnected", Some("kicked"))
        .log("kicked")
        .overview("restart");
    Ok(expected.of(bot.id))
}

pub(crate) async fn unreachable_host(place: &Organization) -> anyhow::Result<Injected> {
    let (platform, app) = (dingtalk::Platform::start().await, format!("ding{}", uuid()));
    platform.add_app(&app, "s3");
    let mut integration = platform.as_integration(&app, "Bot", "long_connection");
    let host = format!("127.0.0.1:{}", free_port()?);
    integration["endpoints"]["apiBase"] = json!(format!("http://{host}"));
    let bot = place.bot(&integration).await?;
    let expected = Expected::failed("platform_reachable", "edit_settings", &[&host])
        .status("retrying", None)
        .log("not_sent")
        .overview("restart");
    Ok(expected.of(bot.id))
}

/// The platform has an outage: it answers, but with internal errors.
pub(crate) async fn outage(place: &Organization) -> anyhow::Result<Injected> {
    let (platform, app) = (lark::Platform::start().await, format!("cli_{}", uuid()));
    platform.add_app(&app, "s3");
    platform.misbehave(|faults| faults.bootstrap_code = Some(1_000_040_345));
    let bot = place
        .bot(&platform.as_integration(&app, "Bot", "long_connection"))
        .await?;
    let expected = Expected::failed("connection", "restart", &["retrying", "1000040345"])
        .status("retrying", None)
        .log("1000040345")
        .overview("restart");
    Ok(expected.of(bot.id))
}

/// The socket stays open, but the platform neither reads nor answers.
pub(crate) async fn half_open(place: &Organization) -> anyhow::Result<Injected> {
    let (platform, app) = (dingtalk::Platform::start().await, format!("ding{}", uuid()));
    platform.add_app(&app, "s3");
    let bot = place
        .bot(&platform.as_integration(&app, "Bot", "long_connection"))
        .await?;
    platform.connected(&app, PATIENCE).await?;
    let path = format!("/integrations/{}/status", bot.id);
    let is_silent = |status: &Value| {
        // Includes a connection that has replaced the first one.
        platform.go_half_open(&app);
        status["reason"] == "silent"
    };
    place.wait(&path, is_silent).await?;
    let expected = Expected::failed("connection", "restart", &["silent"])
        .status("retrying", Some("silent"))
        .log("silent")
        .overview("restart");
    Ok(expected.of(bot.id))
}
