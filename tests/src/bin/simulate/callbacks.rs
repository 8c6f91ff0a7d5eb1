//! Platforms that call the client.

use anyhow::{Context as _, ensure};
use reqwest::Client;
use tieline_tests::outbound::{Speaker, until};
use tieline_tests::platform::PlatformSimulator;
use tieline_tests::{discord, wechat_mp, wecom_app};
use tokio::time::{Duration, Instant, sleep};

use crate::{Outcome, STEP, TEXT, answer, print};

/// Callback address of the client.
fn callback_url() -> anyhow::Result<String> {
    std::env::var("CALLBACK").context("CALLBACK")
}

/// The client registers its address and its command; then a person uses it.
pub(crate) async fn discord_interactions() -> anyhow::Result<Outcome> {
    const APP: &str = "1390000000000000501";
    let platform = discord::Platform::start().await;
    platform.add_app(APP, "MTM5.t0k3n.x");
    print(&platform.as_integration(APP, "Discord", "webhook").to_string());
    until("an address", STEP, || platform.endpoint(APP)).await?;
    until("a command", STEP, || platform.commands(APP).pop()).await?;
    print("connected");
    let from = Speaker::in_group("1001", "-1002001");
    let interaction = platform.command(APP, &from, "ask", Some(TEXT))?;
    platform.deliver(APP, &interaction).await?;
    answer(|| platform.bubbles(), &from).await?;
    Ok(Outcome {
        chats: vec![from],
        bubbles: platform.bubbles(),
        complaints: platform.complaints(),
    })
}

/// The client answers in the response to the callback, and by a customer-service message. Its first access token has expired.
pub(crate) async fn wechat_mp() -> anyhow::Result<Outcome> {
    let (platform, person) = (wechat_mp::Platform::start(true).await, Speaker::alone("oPerson"));
    platform.created(&callback_url()?);
    platform.fail_next("send", 42001);
    print(&platform.integration().to_string());
    platform.say(&person, TEXT, true);
    answer(|| platform.bubbles(), &person).await?;
    let both = || {
        let bubbles = platform.bubbles();
        let came_by = |way| bubbles.iter().any(|it| it.way == way);
        (came_by("passive") && came_by("customer_service")).then_some(())
    };
    until("both ways of answering", STEP, both).await?;
    Ok(Outcome {
        chats: vec![person],
        bubbles: platform.bubbles(),
        complaints: platform.complaints(),
    })
}

/// The console verifies the address, then members write: one of them is no longer in the application's visible range.
pub(crate) async fn wecom_app() -> anyhow::Result<Outcome> {
    let (platform, member) = (wecom_app::Platform::start().await, Speaker::alone("lisi"));
    platform.created(&callback_url()?);
    platform.hide("wangwu");
    platform.fail_next("send", wecom_app::Answer::Code(42001));
    print(&platform.integration().to_string());
    check_address(&platform).await?;
    print("address checked");
    platform.say(&member, TEXT, true);
    answer(|| platform.bubbles(), &member).await?;
    Ok(Outcome {
        chats: vec![member],
        bubbles: platform.bubbles(),
        complaints: platform.complaints(),
    })
}

async fn check_address(platform: &wecom_app::Platform) -> anyhow::Result<()> {
    let echo = "1616140317555161061";
    let (http, began) = (Client::builder().no_proxy().build()?, Instant::now());
    loop {
        let url = format!("{}?{}", callback_url()?, platform.check(echo).query);
        if let Ok(response) = http.get(url).send().await {
            let text = response.text().await?;
            ensure!(text == echo, "the address check got {text:?}");
            return Ok(());
        }
        ensure!(began.elapsed() < STEP, "the client does not accept connections");
        sleep(Duration::from_millis(50)).await;
    }
}
