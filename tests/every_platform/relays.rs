//! Relay processes that hold the long connections of every platform: one is stopped, another is killed.

use std::time::Duration;

use anyhow::ensure;
use futures_util::future::join_all;
use tieline_tests::fleet::Fleet;
use tieline_tests::outbound::Speaker;

use crate::faults::holding_last_piece;
use crate::test_bridge::{Bot, play, rows};

/// How long a relay may take to stop.
const STOPPED: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn relays_hand_their_bots_over_in_the_middle_of_answers() {
    let fleet = Fleet::start().await;
    let connected = rows().filter(|row| row.mode == "long_connection");
    let bots = connected.map(|row| {
        Bot::add(row, &fleet.console, holding_last_piece(), |simulator| {
            simulator.integration()
        })
    });
    let bots = join_all(bots).await;
    if bots.is_empty() {
        return;
    }
    let (lisi, mut first) = (Speaker::alone("1001"), fleet.relay("first"));
    let all_connected = || bots.iter().all(|bot| bot.simulator.is_connected());
    bots[0].wait_until("connections", all_connected).await.unwrap();
    for bot in &bots {
        bot.say(&lisi, "one");
    }
    let failures = play(&bots, &[], async |bot| bot.agent_is_asked(&["one"]).await).await;
    assert_eq!(failures, "", "{}", first.log());

    let mut second = fleet.relay("second");
    first.terminate();
    assert!(first.ended(STOPPED).await, "{}", first.log());
    bots.iter().for_each(|bot| bot.agent.open_gate());
    let failures = play(&bots, &[], async |bot| answered_once(bot, &lisi, "one").await).await;
    assert_eq!(failures, "", "{}\n{}", first.log(), second.log());

    second.kill();
    let gone = || bots.iter().all(|bot| !bot.simulator.is_connected());
    bots[0].wait_until("the end of all connections", gone).await.unwrap();
    let third = fleet.relay("third");
    bots[0].wait_until("connections again", all_connected).await.unwrap();
    let failures = play(&bots, &[], async |bot| {
        bot.say(&lisi, "two");
        answered_once(bot, &lisi, "two").await?;
        ensure!(bot.agent.asked() == ["one", "two"], "asked {:?}", bot.agent.asked());
        Ok(())
    });
    assert_eq!(failures.await, "", "{}", third.log());
}

/// The newest message is the whole answer to a text, and it is shown once.
async fn answered_once(bot: &Bot, chat: &Speaker, text: &str) -> anyhow::Result<()> {
    let whole = format!("The answer to {text} has an end.");
    let is_whole = || bot.texts(chat).last() == Some(&whole);
    bot.wait_until("the whole answer", is_whole).await?;
    let texts = bot.texts(chat);
    ensure!(
        texts.concat().matches(&whole).count() == 1,
        "the answer should be shown once: {texts:?}"
    );
    Ok(())
}
