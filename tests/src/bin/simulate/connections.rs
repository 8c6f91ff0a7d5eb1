//! Platforms to which clients connect, or which clients poll.

use std::time::Duration;

use anyhow::ensure;
use serde_json::json;
use tieline_tests::outbound::{Speaker, until};
use tieline_tests::{dingtalk, discord, lark, telegram, wechat, wecom_socket};

use crate::{BOT, Outcome, SECRET, STEP, TEXT, answer, print};

fn in_group() -> Speaker {
    Speaker::in_group("lisi", "cidGroup1==")
}

pub(crate) async fn wecom() -> anyhow::Result<Outcome> {
    let (platform, from) = (wecom_socket::Platform::start().await, in_group());
    platform.add_bot(BOT, SECRET);
    print(&platform.url());
    platform.connected(BOT, STEP).await?;
    print("connected");
    platform.say(BOT, &from, "m1", TEXT)?;
    answer(|| platform.bubbles(), &from).await?;
    Ok(Outcome {
        chats: vec![from],
        bubbles: platform.bubbles(),
        complaints: platform.complaints(),
    })
}

pub(crate) async fn lark() -> anyhow::Result<Outcome> {
    let (platform, from) = (lark::Platform::start().await, in_group());
    platform.add_app(BOT, SECRET);
    // A split event, which the client must join.
    platform.misbehave(|faults| faults.parts = 3);
    print(&platform.url());
    platform.connected(BOT, STEP).await?;
    print("connected");
    let event = platform.text(BOT, &from, TEXT);
    platform.push(BOT, &event)?;
    answer(|| platform.bubbles(), &from).await?;
    let acked = until("an acknowledgement", STEP, || platform.acks().pop()).await?;
    ensure!(acked.code == 200, "acknowledged with {}", acked.code);
    Ok(Outcome {
        chats: vec![from],
        bubbles: platform.bubbles(),
        complaints: platform.complaints(),
    })
}

pub(crate) async fn dingtalk() -> anyhow::Result<Outcome> {
    let (platform, from) = (dingtalk::Platform::start().await, in_group());
    platform.add_app(BOT, SECRET);
    platform.misbehave(|faults| faults.ping_every = Duration::from_millis(700));
    print(&platform.url());
    platform.connected(BOT, STEP).await?;
    print("connected");
    // Long enough for one or two pings.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let message = platform.text(BOT, &from, TEXT);
    platform.push(BOT, &message)?;
    answer(|| platform.bubbles(), &from).await?;
    let acked = until("an acknowledgement", STEP, || platform.acks().pop()).await?;
    ensure!(acked.code == 200, "acknowledged with {}", acked.code);
    Ok(Outcome {
        chats: vec![from],
        bubbles: platform.bubbles(),
        complaints: platform.complaints(),
    })
}

/// A direct message, then one in a group that has another id since it became a supergroup, then a file. The first message
/// of the client is rate limited.
pub(crate) async fn telegram(mode: &str) -> anyhow::Result<Outcome> {
    let platform = telegram::Platform::start().await;
    let token = platform.add_bot(7_012_345_678, "tieline_demo_bot");
    platform.migrate(&token, -4001, -1_002_001);
    let limited = telegram::Answer::Refused(429, "Too Many Requests: retry after 1", json!({ "retry_after": 1 }));
    platform.fail_once("sendMessage", limited);
    print(&platform.as_integration(&token, "Telegram", mode).to_string());
    until("a connection", STEP, || platform.is_connected(&token).then_some(())).await?;
    print("connected");
    let (alone, in_group) = (Speaker::alone("1001"), Speaker::in_group("1001", "-1002001"));
    platform.text(&token, &alone, TEXT, true);
    answer(|| platform.bubbles(), &alone).await?;
    platform.text(&token, &in_group, TEXT, true);
    answer(|| platform.bubbles(), &in_group).await?;
    let document = json!({ "file_id": "F1", "file_unique_id": "U1", "file_name": "notes.txt", "file_size": 8 });
    platform.say(&token, &alone, json!({ "document": document, "caption": "read it" }));
    let has_read = || {
        let bubbles = platform.bubbles();
        let read = bubbles.iter().any(|it| it.text() == "bytes of documents/F1.bin");
        read.then_some(())
    };
    until("what the file says", STEP, has_read).await?;
    Ok(Outcome {
        chats: vec![alone, in_group],
        bubbles: platform.bubbles(),
        complaints: platform.complaints(),
    })
}

/// A message in a guild, then a direct one over a resumed session. One call of the client is rate limited.
pub(crate) async fn discord() -> anyhow::Result<Outcome> {
    const APP: &str = "1390000000000000501";
    let platform = discord::Platform::start().await;
    platform.add_app(APP, "MTM5.t0k3n.x");
    let limited = json!({ "message": "You are being rate limited.", "retry_after": 0.7, "global": false });
    platform.misbehave(|faults| faults.answers.push_back(("send", 429, limited)));
    print(&platform.as_integration(APP, "Discord", "long_connection").to_string());
    platform.connected(APP, STEP).await?;
    print("connected");
    let (in_server, alone) = (Speaker::in_group("1001", "-1002001"), Speaker::alone("1001"));
    platform.push_message(APP, &platform.message(APP, &in_server, TEXT, true))?;
    answer(|| platform.bubbles(), &in_server).await?;
    platform.cut(APP);
    // A message that is sent while no client is connected is delivered by the resumed session.
    platform.push_message(APP, &platform.message(APP, &alone, TEXT, true))?;
    answer(|| platform.bubbles(), &alone).await?;
    let (_, begun, resumed) = platform.connections(APP);
    ensure!((begun, resumed) == (1, 1), "{begun} sessions, {resumed} resumptions");
    Ok(Outcome {
        chats: vec![in_server, alone],
        bubbles: platform.bubbles(),
        complaints: platform.complaints(),
    })
}

/// A login by QR code, a text and a picture.
pub(crate) async fn wechat() -> anyhow::Result<Outcome> {
    let (platform, owner) = (wechat::Platform::start().await, Speaker::alone("o9cq-owner@im.wechat"));
    platform.confirm_codes_of(&owner.user);
    print(&platform.as_integration("WeChat").to_string());
    platform.polled(&owner.user, STEP).await?;
    print("connected");
    platform.say(&owner, TEXT);
    answer(|| platform.bubbles(), &owner).await?;
    ensure!(platform.typing(&owner.user).1 > 0, "the client showed no typing sign");
    platform.send_picture(&owner, b"the bytes of the picture");
    let has_read = || {
        let bubbles = platform.bubbles();
        let read = bubbles.iter().any(|it| it.text() == "the bytes of the picture");
        read.then_some(())
    };
    until("what the picture holds", STEP, has_read).await?;
    Ok(Outcome {
        chats: vec![owner],
        bubbles: platform.bubbles(),
        complaints: platform.complaints(),
    })
}
