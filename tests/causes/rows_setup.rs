//! Causes in the operator's configuration: stopped, not bound, not allowed.

use anyhow::ensure;
use serde_json::{Value, json};
use tieline_tests::lark;
use tieline_tests::outbound::Speaker;
use tieline_tests::test_bridge::uuid;

use crate::expected::{Expected, Injected};
use crate::organization::{Organization, web};

pub(crate) async fn stopped(place: &Organization) -> anyhow::Result<Injected> {
    let bot = place.web(&place.agent("fine").await?).await?;
    place
        .post(&format!("/integrations/{}/stop", bot.id), &Value::Null)
        .await?;
    let expected = Expected::failed("started", "start", &["stopped"]);
    Ok(expected.status("disabled", Some("stopped")).of(bot.id))
}

pub(crate) async fn unbound(place: &Organization) -> anyhow::Result<Injected> {
    let made = place.unbound(&web("Web")).await?;
    let id = made["id"].as_str().unwrap_or_default();
    place.say(id, "hello").await?;
    place.ended(id, "refused", 1).await?;
    let expected = Expected::failed("trigger_present", "create_trigger", &["no trigger"])
        .status("connected", Some("unbound"))
        .log("no_trigger")
        .overview("create_trigger");
    Ok(expected.of(id))
}

pub(crate) async fn trigger_disabled(place: &Organization) -> anyhow::Result<Injected> {
    let bot = place.web(&place.agent("fine").await?).await?;
    place
        .patch(&format!("/triggers/{}", bot.trigger), &json!({ "enabled": false }))
        .await?;
    place.say(&bot.id, "hello").await?;
    place.ended(&bot.id, "refused", 1).await?;
    let expected = Expected::failed("trigger_enabled", "enable_trigger", &[&bot.trigger, "disabled"])
        .status("connected", Some("unbound"))
        .log("trigger_disabled")
        .overview("create_trigger");
    Ok(expected.of(bot.id))
}

/// The trigger that was meant for the bot is bound to another one.
pub(crate) async fn bound_elsewhere(place: &Organization) -> anyhow::Result<Injected> {
    let other = place.web(&place.agent("fine").await?).await?;
    let made = place.unbound(&web("Mine")).await?;
    let id = made["id"].as_str().unwrap_or_default();
    let found = place.post(&format!("/integrations/{id}/doctor"), &Value::Null).await?;
    let mut checks = found["checks"].as_array().into_iter().flatten();
    let told = checks.find(|check| check["name"] == "right_integration");
    ensure!(
        told.is_some_and(|check| check.to_string().contains(&other.trigger)),
        "{found:#}"
    );
    let expected = Expected::failed("trigger_present", "create_trigger", &["no trigger"])
        .status("connected", Some("unbound"))
        .overview("create_trigger");
    Ok(expected.of(id))
}

pub(crate) async fn not_allowed(place: &Organization) -> anyhow::Result<Injected> {
    let agent = place.agent("fine").await?;
    let access = json!({ "access": { "users": ["zhangsan"] } });
    let bot = place.bound(&web("Web"), &agent, &access).await?;
    place.say(&bot.id, "hello").await?;
    place.ended(&bot.id, "refused", 1).await?;
    let expected = Expected::warning("access", "edit_access", &[&bot.trigger, "access list"])
        .status("connected", Some("not_allowed"))
        .log("not_allowed")
        .overview("edit_access");
    Ok(expected.of(bot.id))
}

/// The message is more than a day old by the platform's clock.
pub(crate) async fn stale(place: &Organization) -> anyhow::Result<Injected> {
    let (platform, app) = (lark::Platform::start().await, format!("cli_{}", uuid()));
    platform.add_app(&app, "s3");
    let bot = place.bot(&platform.as_integration(&app, "Bot", "webhook")).await?;
    let mut event = platform.text(&app, &Speaker::alone("ou_lisi"), "hello");
    let sent_at: i64 = event["event"]["message"]["create_time"]
        .as_str()
        .unwrap_or_default()
        .parse()?;
    event["event"]["message"]["create_time"] = json!((sent_at - 25 * 3_600_000).to_string());
    platform.post(&app, &bot.callback_url, &event).await?;
    place.ended(&bot.id, "refused", 1).await?;
    let expected = Expected::failed("refusals", "view_message", &["stale"])
        .status("connected", Some("message_refused"))
        .log("stale")
        .overview("view_log");
    Ok(expected.of(bot.id))
}
