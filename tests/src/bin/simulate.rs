//! Starts one of the platforms for programs that are not ours, says something to each client that connects, and reports the outcome.
//!
//!     simulate wecom|lark|dingtalk
//!
//! The first line of its output is the address. Then one line for each step; the last is `passed`, or what went wrong.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use tieline_tests::outbound::{Bubble, Speaker, until};
use tieline_tests::{dingtalk, lark, wecom_socket};

/// How long a client may take for a step.
const STEP: Duration = Duration::from_secs(30);
/// The bot and its secret.
const BOT: &str = "cli_a1b2c3d4e5f60718";
const SECRET: &str = "secret-of-the-simulation";

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let from = Speaker::in_group("lisi", "cidGroup1==");
    let which = std::env::args().nth(1).context("wecom, lark or dingtalk")?;
    let (bubbles, complaints) = match which.as_str() {
        "wecom" => wecom(&from).await?,
        "lark" => lark(&from).await?,
        "dingtalk" => dingtalk(&from).await?,
        other => anyhow::bail!("no platform {other}"),
    };
    for bubble in &bubbles {
        say(&format!("{} showed {:?} by {}", bubble.chat, bubble.states, bubble.way));
    }
    for complaint in &complaints {
        say(&format!("the client deviates: {complaint}"));
    }
    ensure!(
        bubbles.iter().all(|it| it.chat == "cidGroup1=="),
        "an answer in another chat"
    );
    say("passed");
    Ok(())
}

#[expect(clippy::print_stdout, reason = "its output is what a script reads")]
fn say(line: &str) {
    println!("{line}");
}

type Outcome = (Vec<Bubble>, Vec<String>);

/// The answer, complete.
async fn answer(bubbles: impl Fn() -> Vec<Bubble>) -> anyhow::Result<Vec<Bubble>> {
    let done = || Some(bubbles()).filter(|all| all.iter().any(|it| it.done && it.text().contains("你说：你好 🙂")));
    until("the client's answer", STEP, done).await
}

async fn wecom(from: &Speaker) -> anyhow::Result<Outcome> {
    let platform = wecom_socket::Platform::start().await;
    platform.add_bot(BOT, SECRET);
    say(&platform.url());
    platform.connected(BOT, STEP).await?;
    say("connected");
    platform.say(BOT, from, "m1", "你好 🙂")?;
    let told = answer(|| platform.bubbles()).await?;
    Ok((told, platform.complaints()))
}

async fn lark(from: &Speaker) -> anyhow::Result<Outcome> {
    let platform = lark::Platform::start().await;
    platform.add_app(BOT, SECRET);
    // A split event too: the client must join it.
    platform.misbehave(|faults| faults.parts = 3);
    say(&platform.url());
    platform.connected(BOT, STEP).await?;
    say("connected");
    let event = platform.text(BOT, from, "你好 🙂");
    platform.push(BOT, &event)?;
    let told = answer(|| platform.bubbles()).await?;
    let acked = until("an acknowledgement", STEP, || platform.acks().pop()).await?;
    ensure!(acked.code == 200, "acknowledged with {}", acked.code);
    Ok((told, platform.complaints()))
}

async fn dingtalk(from: &Speaker) -> anyhow::Result<Outcome> {
    let platform = dingtalk::Platform::start().await;
    platform.add_app(BOT, SECRET);
    platform.misbehave(|faults| faults.ping_every = Duration::from_millis(700));
    say(&platform.url());
    platform.connected(BOT, STEP).await?;
    say("connected");
    // Long enough for a ping or two.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let message = platform.text(BOT, from, "你好 🙂");
    platform.push(BOT, &message)?;
    let told = answer(|| platform.bubbles()).await?;
    let acked = until("an acknowledgement", STEP, || platform.acks().pop()).await?;
    ensure!(acked.code == 200, "acknowledged with {}", acked.code);
    Ok((told, platform.complaints()))
}
