//! Starts a platform simulator for third-party clients, sends a message to each client that connects, and reports the outcome.
//!
//!     simulate wecom|lark|dingtalk|telegram|telegram_webhook|discord|discord_interactions|wechat|wechat_mp|wecom_app
//!
//! The first line of its output is what the client needs: the platform's address, or the integration that an operator would create.
//! Then one line for each step; the last is `passed`, or the failure. Where the platform calls the client, `CALLBACK` is the
//! client's address.

mod callbacks;
mod connections;

use std::time::Duration;

use anyhow::{Context as _, ensure};
use tieline_tests::outbound::{Bubble, Speaker, until};

/// Limit of each step of a client.
const STEP: Duration = Duration::from_secs(30);
/// The bot's id, where a platform lets it be chosen.
const BOT: &str = "cli_a1b2c3d4e5f60718";
const SECRET: &str = "secret-of-the-simulation";
/// The person's message and the client's answer.
const TEXT: &str = "你好 🙂";
const ANSWER: &str = "你说：你好 🙂";

/// The result of a client's session.
struct Outcome {
    /// Chats in which people wrote to it: everything that it shows must be in one of them.
    chats: Vec<Speaker>,
    bubbles: Vec<Bubble>,
    complaints: Vec<String>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let which = std::env::args().nth(1).context("the argument PLATFORM is missing")?;
    let outcome = match which.as_str() {
        "wecom" => connections::wecom().await?,
        "lark" => connections::lark().await?,
        "dingtalk" => connections::dingtalk().await?,
        "telegram" => connections::telegram("long_connection").await?,
        "telegram_webhook" => connections::telegram("webhook").await?,
        "discord" => connections::discord().await?,
        "wechat" => connections::wechat().await?,
        "discord_interactions" => callbacks::discord_interactions().await?,
        "wechat_mp" => callbacks::wechat_mp().await?,
        "wecom_app" => callbacks::wecom_app().await?,
        other => anyhow::bail!("unknown platform `{other}`"),
    };
    for bubble in &outcome.bubbles {
        print(&format!("{} showed {:?} by {}", bubble.chat, bubble.states, bubble.way));
    }
    for complaint in &outcome.complaints {
        print(&format!("the client deviates: {complaint}"));
    }
    let is_known = |bubble: &Bubble| outcome.chats.iter().any(|chat| chat.chat() == bubble.chat);
    ensure!(
        outcome.bubbles.iter().all(is_known),
        "an answer is in a chat where no person wrote"
    );
    print("passed");
    Ok(())
}

#[expect(clippy::print_stdout, reason = "its output is what a script reads")]
fn print(line: &str) {
    println!("{line}");
}

/// Waits until a bubble in a chat is complete and answers [`TEXT`].
async fn answer(bubbles: impl Fn() -> Vec<Bubble>, chat: &Speaker) -> anyhow::Result<()> {
    let is_answer = |it: &Bubble| it.chat == chat.chat() && it.done && it.text().contains(ANSWER);
    let found = || bubbles().iter().any(is_answer).then_some(());
    let waited = until("the client's answer", STEP, found).await;
    waited.with_context(|| format!("shown: {:?}", bubbles()))
}
