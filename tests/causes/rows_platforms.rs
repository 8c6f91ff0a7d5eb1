//! Causes that only one platform has.

use serde_json::{Value, json};
use tieline_tests::outbound::Speaker;
use tieline_tests::platform::PlatformSimulator as _;
use tieline_tests::test_bridge::uuid;
use tieline_tests::{dingtalk, discord, lark, telegram, wechat, wechat_mp, wecom_app};

use crate::expected::{Expected, Injected};
use crate::organization::{Organization, PATIENCE};

/// A number that no other cause uses.
fn number() -> anyhow::Result<i64> {
    Ok(i64::from_str_radix(&uuid()[..12], 16)?)
}

async fn telegram_bot() -> anyhow::Result<(telegram::Platform, String)> {
    let platform = telegram::Platform::start().await;
    let token = platform.add_bot(number()?, "tieline_demo_bot");
    Ok((platform, token))
}

/// Messages in groups are not delivered to the bot.
pub(crate) async fn privacy_mode(place: &Organization) -> anyhow::Result<Injected> {
    let (platform, token) = telegram_bot().await?;
    platform.switch_privacy_on(&token);
    let agent = place.agent("fine").await?;
    let bot = platform.as_integration(&token, "Bot", "long_connection");
    let bot = place.bound(&bot, &agent, &json!({ "groupContext": 10 })).await?;
    let expected = Expected::warning("withheld", "edit_trigger", &["privacy mode"]);
    Ok(expected.of(bot.id))
}

/// Another program has set a webhook, which excludes polling.
pub(crate) async fn webhook_of_another_program(place: &Organization) -> anyhow::Result<Injected> {
    let (platform, token) = telegram_bot().await?;
    platform.set_foreign_webhook(&token, "http://127.0.0.1:1/elsewhere");
    let bot = place
        .bot(&platform.as_integration(&token, "Bot", "long_connection"))
        .await?;
    let expected = Expected::failed("platform_setup", "restart", &["another program", "webhook"])
        .status("disconnected", Some("config_invalid"))
        .log("webhook_of_another_program")
        .overview("restart");
    Ok(expected.of(bot.id))
}

/// Another program has replaced our webhook after the bot has answered.
pub(crate) async fn webhook_replaced(place: &Organization) -> anyhow::Result<Injected> {
    let (platform, token) = telegram_bot().await?;
    let bot = place.bot(&platform.as_integration(&token, "Bot", "webhook")).await?;
    platform.text(&token, &Speaker::alone("1001"), "hello", true);
    place.ended(&bot.id, "answered", 1).await?;
    platform.set_foreign_webhook(&token, "http://127.0.0.1:1/elsewhere");
    let expected = Expected::failed("delivery_address", "restart", &["127.0.0.1:1", &bot.callback_url]);
    Ok(expected.of(bot.id))
}

pub(crate) async fn bot_blocked(place: &Organization) -> anyhow::Result<Injected> {
    let (platform, token) = telegram_bot().await?;
    let bot = place.bot(&platform.as_integration(&token, "Bot", "webhook")).await?;
    platform.block(&token, 1001);
    platform.text(&token, &Speaker::alone("1001"), "hello", true);
    place.ended(&bot.id, "failed", 1).await?;
    let expected = Expected::failed("answers", "redrive", &["bot_blocked", "blocked or removed"])
        .status("degraded", Some("delivery_failed"))
        .log("delivery_refused")
        .overview("redrive");
    Ok(expected.of(bot.id))
}

/// The app lacks a permission: the platform doesn't deliver the events that need it, and doesn't report that.
pub(crate) async fn permission_not_granted(place: &Organization) -> anyhow::Result<Injected> {
    let (platform, app) = (lark::Platform::start().await, format!("cli_{}", uuid()));
    platform.add_app(&app, "s3");
    platform.misbehave(|faults| faults.not_granted = vec!["im:message.group_at_msg:readonly"]);
    let bot = place
        .bot(&platform.as_integration(&app, "Bot", "long_connection"))
        .await?;
    let expected = Expected::warning("permissions", "restart", &["im:message.group_at_msg:readonly"]);
    Ok(expected.of(bot.id))
}

async fn discord_app() -> anyhow::Result<(discord::Platform, String)> {
    let (platform, app) = (discord::Platform::start().await, number()?.to_string());
    platform.add_app(&app, &format!("MTM5.{}", uuid()));
    Ok((platform, app))
}

pub(crate) async fn content_intent_off(place: &Organization) -> anyhow::Result<Injected> {
    let (platform, app) = discord_app().await?;
    platform.allow_content(&app, false);
    let agent = place.agent("fine").await?;
    let bot = platform.as_integration(&app, "Bot", "long_connection");
    let bot = place.bound(&bot, &agent, &json!({ "groupMessages": "all" })).await?;
    let expected = Expected::warning("withheld", "restart", &["Message Content Intent"]);
    Ok(expected.of(bot.id))
}

pub(crate) async fn intents_refused(place: &Organization) -> anyhow::Result<Injected> {
    let (platform, app) = discord_app().await?;
    platform.misbehave(|faults| faults.refuse_identify = Some(4014));
    let bot = place
        .bot(&platform.as_integration(&app, "Bot", "long_connection"))
        .await?;
    let expected = Expected::failed("platform_setup", "restart", &["4014", "not allowed the events"])
        .status("disconnected", Some("config_invalid"))
        .log("4014")
        .overview("restart");
    Ok(expected.of(bot.id))
}

/// A personal bot whose owner has logged in.
async fn wechat_bot(place: &Organization) -> anyhow::Result<(wechat::Platform, String, String)> {
    let platform = wechat::Platform::start().await;
    let person = format!("{}@im.wechat", uuid());
    platform.confirm_codes_of(&person);
    let bot = place.bot(&platform.as_integration("Bot")).await?;
    place.log_in(&bot.id).await?;
    platform.polled(&person, PATIENCE).await?;
    place.status_is(&bot.id, "connected").await?;
    Ok((platform, person, bot.id))
}

pub(crate) async fn never_logged_in(place: &Organization) -> anyhow::Result<Injected> {
    let platform = wechat::Platform::start().await;
    let bot = place.bot(&platform.as_integration("Bot")).await?;
    let expected = Expected::failed("connection", "login", &["no account"]);
    Ok(expected.status("needs_login", None).overview("login").of(bot.id))
}

pub(crate) async fn signed_out(place: &Organization) -> anyhow::Result<Injected> {
    let (platform, person, bot) = wechat_bot(place).await?;
    platform.log_in_elsewhere(&person);
    let expected = Expected::failed("connection", "login", &["login_expired"])
        .status("needs_login", Some("login_expired"))
        .log("login_expired")
        .overview("login");
    Ok(expected.of(bot))
}

/// The person's last message is too old: the platform's reply window has closed.
pub(crate) async fn window_closed(place: &Organization) -> anyhow::Result<Injected> {
    let (platform, person, bot) = wechat_bot(place).await?;
    platform.misbehave(|faults| faults.refuse_messages.extend([-2, -2]));
    platform.say(&Speaker::alone(&person), "hello");
    place.ended(&bot, "failed", 1).await?;
    let expected = Expected::failed("answers", "redrive", &["window_closed", "the person's last message"])
        .status("degraded", Some("delivery_failed"))
        .log("delivery_refused")
        .overview("redrive");
    Ok(expected.of(bot))
}

/// The platform no longer trusts the IP address that this deployment calls from.
pub(crate) async fn address_not_trusted(place: &Organization) -> anyhow::Result<Injected> {
    let platform = wecom_app::Platform::start().await;
    let bot = place.bot(&platform.integration()).await?;
    platform.created(&bot.callback_url);
    platform.say(&Speaker::alone("lisi"), "hello", true);
    place.ended(&bot.id, "answered", 1).await?;
    platform.trust_caller(false);
    place
        .post(&format!("/integrations/{}/restart", bot.id), &Value::Null)
        .await?;
    let expected = Expected::failed("platform_setup", "restart", &["60020", "address of this deployment"])
        .status("disconnected", Some("config_invalid"))
        .log("config_invalid")
        .overview("restart");
    Ok(expected.of(bot.id))
}

/// Like [`address_not_trusted`] for an official account, whose platform has an allow list of its own and refuses the access token already.
pub(crate) async fn account_address_not_listed(place: &Organization) -> anyhow::Result<Injected> {
    let platform = wechat_mp::Platform::start(true).await;
    let bot = place.bot(&platform.integration()).await?;
    platform.created(&bot.callback_url);
    platform.say(&Speaker::alone("oLisi"), "hello", true);
    place.ended(&bot.id, "answered", 1).await?;
    // Only the caller that requests an access token must be on the list.
    platform.trust_caller(false);
    platform.expire_tokens();
    place
        .post(&format!("/integrations/{}/restart", bot.id), &Value::Null)
        .await?;
    let expected = Expected::failed("platform_setup", "restart", &["40164", "address of this deployment"])
        .status("disconnected", Some("config_invalid"))
        .log("config_invalid")
        .overview("restart");
    Ok(expected.of(bot.id))
}

/// The account may no longer write to the person: the reply window has closed.
pub(crate) async fn account_window_closed(place: &Organization) -> anyhow::Result<Injected> {
    let platform = wechat_mp::Platform::start(true).await;
    let bot = place.bot(&platform.integration()).await?;
    platform.created(&bot.callback_url);
    platform.fail_next("send", 45015);
    platform.say(&Speaker::alone("oLisi"), "hello", true);
    place.ended(&bot.id, "failed", 1).await?;
    let expected = Expected::failed("answers", "redrive", &["45015", "the person's last message"])
        .status("degraded", Some("delivery_failed"))
        .log("delivery_refused")
        .overview("redrive");
    Ok(expected.of(bot.id))
}

/// Like [`account_address_not_listed`], but on a long connection, which retries by itself.
pub(crate) async fn address_not_listed(place: &Organization) -> anyhow::Result<Injected> {
    let (platform, app) = (dingtalk::Platform::start().await, format!("ding{}", uuid()));
    platform.add_app(&app, "s3");
    platform.misbehave(|faults| {
        for _ in 0..100 {
            let answer = dingtalk::Answer::Refused(403, "Forbidden.AccessDenied.IpNotInWhiteList");
            faults.answers.push_back(dingtalk::Fault { call: "open", answer });
        }
    });
    let bot = place
        .bot(&platform.as_integration(&app, "Bot", "long_connection"))
        .await?;
    let expected = Expected::failed(
        "platform_setup",
        "restart",
        &["IpNotInWhiteList", "address of this deployment"],
    )
    .status("retrying", None)
    .log("Forbidden.AccessDenied.IpNotInWhiteList")
    .overview("restart");
    Ok(expected.of(bot.id))
}

/// The person is not in the application's visible range.
pub(crate) async fn not_visible(place: &Organization) -> anyhow::Result<Injected> {
    let platform = wecom_app::Platform::start().await;
    let agent = place.agent("fine").await?;
    let bot = place.bound(&platform.integration(), &agent, &json!({})).await?;
    platform.created(&bot.callback_url);
    platform.hide("lisi");
    platform.say(&Speaker::alone("lisi"), "hello", true);
    place.ended(&bot.id, "failed", 1).await?;
    let expected = Expected::failed("answers", "redrive", &["visible_range", "outside the visible range"])
        .status("degraded", Some("delivery_failed"))
        .log("delivery_refused")
        .overview("redrive");
    Ok(expected.of(bot.id))
}
