//! Starts one of the platforms for programs that are not ours, says something to each client that connects, and reports the outcome.
//!
//!     simulate wecom|lark|dingtalk|telegram|telegram_webhook|discord|discord_interactions|wechat|wechat_mp|wecom_app
//!
//! The first line of its output is what the client needs: the platform's address, or the integration that an operator would create.
//! Then one line for each step; the last is `passed`, or what went wrong. Where the platform calls the client, `CALLBACK` is the
//! client's address.

mod callbacks;
mod connections;

use std::time::Duration;

use anyhow::{Context as _, ensure};
use tieline_tests::outbound::{Bubble, Speaker, until};

/// How long a client may take for a step.
const STEP: Duration = Duration::from_secs(30);
/// The bot and its secret, where a platform lets them be chosen.
const BOT: &str = "cli_a1b2c3d4e5f60718";
const SECRET: &str = "secret-of-the-simulation";
/// What a person says, and what a client answers.
const TEXT: &str = "你好 🙂";
const ANSWER: &str = "你说：你好 🙂";

/// What a client did.
struct Outcome {
    /// Where people spoke to it: everything that it shows belongs there.
    chats: Vec<Speaker>,
    bubbles: Vec<Bubble>,
    complaints: Vec<String>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let which = std::env::args().nth(1).context("the name of a platform is missing")?;
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
        other => anyhow::bail!("no platform {other}"),
    };
    for bubble in &outcome.bubbles {
        print(&format!("{} showed {:?} by {}", bubble.chat, bubble.states, bubble.way));
    }
    for complaint in &outcome.complaints {
        print(&format!("the client deviates: {complaint}"));
    }
    let is_known = |bubble: &Bubble| outcome.chats.iter().any(|chat| chat.chat() == bubble.chat);
    ensure!(outcome.bubbles.iter().all(is_known), "an answer in another chat");
    print("passed");
    Ok(())
}

#[expect(clippy::print_stdout, reason = "its output is what a script reads")]
fn print(line: &str) {
    println!("{line}");
}

/// The bubbles in a chat, once one of them is complete and answers [`TEXT`].
async fn answer(bubbles: impl Fn() -> Vec<Bubble>, chat: &Speaker) -> anyhow::Result<()> {
    let is_answer = |it: &Bubble| it.chat == chat.chat() && it.done && it.text().contains(ANSWER);
    let found = || bubbles().iter().any(is_answer).then_some(());
    let waited = until("the client's answer", STEP, found).await;
    waited.with_context(|| format!("shown: {:?}", bubbles()))
}
