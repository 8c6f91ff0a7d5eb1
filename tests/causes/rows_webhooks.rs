//! Causes at callbacks: the address, the signature, and the bot's credentials.

use serde_json::json;
use tieline_tests::lark;
use tieline_tests::outbound::Speaker;
use tieline_tests::test_bridge::uuid;
use tieline_tests::wecom::{Bot, Cipher, ResponseServer};

use crate::expected::{Expected, Injected};
use crate::organization::{self, Organization};

/// A bot whose platform signs and encrypts its requests with `cipher`.
async fn wecom(place: &Organization, cipher: &Cipher) -> anyhow::Result<organization::Bot> {
    let mut integration = Bot::new(cipher.clone(), String::new()).as_integration("Bot");
    integration["endpoints"] = json!({ "apiBase": ResponseServer::start().await.url });
    place.bot(&integration).await
}

/// The platform uses another token or key than the bot is configured with.
async fn unproved(place: &Organization, known: &Cipher, used: Cipher, field: &str) -> anyhow::Result<Injected> {
    let bot = wecom(place, known).await?;
    let platform = Bot::new(used, bot.callback_url);
    for n in 0..3 {
        let message = platform.text(&Speaker::alone("lisi"), &format!("m{n}"), "hello", "https://x.example");
        let (query, body, _) = platform.cipher.callback(&message.to_string());
        let (status, ..) = platform.send_raw(&query, body).await?;
        anyhow::ensure!(status == 401, "expected status 401, found {status}");
    }
    let expected = Expected::failed("signature", "edit_credentials", &[field])
        .status("connecting", Some("signature"))
        .log("unproved")
        .overview("edit_credentials");
    Ok(expected.of(bot.id))
}

pub(crate) async fn wrong_token(place: &Organization) -> anyhow::Result<Injected> {
    let known = Cipher::fresh();
    let used = Cipher::new(&uuid(), &known.encoding_aes_key)?;
    unproved(place, &known, used, "`token`").await
}

pub(crate) async fn wrong_key(place: &Organization) -> anyhow::Result<Injected> {
    let known = Cipher::fresh();
    let used = Cipher::new(&known.token, &Cipher::fresh().encoding_aes_key)?;
    unproved(place, &known, used, "`encodingAesKey`").await
}

pub(crate) async fn loopback_address(place: &Organization) -> anyhow::Result<Injected> {
    let bot = wecom(place, &Cipher::fresh()).await?;
    let expected = Expected::failed("url_verified", "set_public_url", &[&bot.callback_url, "public https"])
        .status("connecting", Some("not_public"))
        .overview("set_public_url");
    Ok(expected.of(bot.id))
}

pub(crate) async fn never_called(place: &Organization) -> anyhow::Result<Injected> {
    let bot = wecom(place, &Cipher::fresh()).await?;
    let expected = Expected::failed("url_verified", "copy_callback_url", &[&bot.callback_url])
        .status("connecting", Some("not_called"))
        .overview("copy_callback_url");
    Ok(expected.of(bot.id))
}

/// The secret is changed to a wrong one after the bot has answered.
pub(crate) async fn wrong_secret(place: &Organization) -> anyhow::Result<Injected> {
    let (platform, app) = (lark::Platform::start().await, format!("cli_{}", uuid()));
    platform.add_app(&app, "s3");
    let bot = place.bot(&platform.as_integration(&app, "Bot", "webhook")).await?;
    let event = platform.text(&app, &Speaker::alone("ou_lisi"), "hello");
    platform.post(&app, &bot.callback_url, &event).await?;
    place.ended(&bot.id, "answered", 1).await?;
    let wrong = json!({ "credentials": { "appSecret": "wrong" } });
    place.patch(&format!("/integrations/{}", bot.id), &wrong).await?;
    let expected = Expected::failed("credentials", "edit_credentials", &["10014", "appSecret"])
        .status("disconnected", Some("config_invalid"))
        .log("config_invalid")
        .overview("edit_credentials");
    Ok(expected.of(bot.id))
}

/// The platform rejects the answer permanently.
pub(crate) async fn answer_refused(place: &Organization) -> anyhow::Result<Injected> {
    let (platform, app) = (lark::Platform::start().await, format!("cli_{}", uuid()));
    platform.add_app(&app, "s3");
    platform.misbehave(|faults| {
        for call in ["reply", "send"].repeat(3) {
            let answer = lark::Answer::Refused(400, 230_002, None);
            faults.answers.push_back(lark::Fault { call, answer });
        }
    });
    let bot = place.bot(&platform.as_integration(&app, "Bot", "webhook")).await?;
    let event = platform.text(&app, &Speaker::alone("ou_lisi"), "hello");
    platform.post(&app, &bot.callback_url, &event).await?;
    place.ended(&bot.id, "failed", 1).await?;
    let expected = Expected::failed("answers", "redrive", &["could not be delivered", "230002"])
        .status("degraded", Some("delivery_failed"))
        .log("delivery_refused")
        .overview("redrive");
    Ok(expected.of(bot.id))
}

/// The platform rate limits the bot while it answers.
pub(crate) async fn rate_limited(place: &Organization) -> anyhow::Result<Injected> {
    let (platform, app) = (lark::Platform::start().await, format!("cli_{}", uuid()));
    platform.add_app(&app, "s3");
    platform.misbehave(|faults| {
        for call in ["create_card", "reply"] {
            let answer = lark::Answer::Refused(429, 99_991_400, Some(50));
            faults.answers.push_back(lark::Fault { call, answer });
        }
    });
    let bot = place.bot(&platform.as_integration(&app, "Bot", "webhook")).await?;
    let event = platform.text(&app, &Speaker::alone("ou_lisi"), "hello");
    platform.post(&app, &bot.callback_url, &event).await?;
    let expected = Expected::warning("rate_limits", "view_log", &["until", "99991400"])
        .status("connected", Some("rate_limited"))
        .log("rate_limited")
        .overview("view_log");
    Ok(expected.of(bot.id))
}
