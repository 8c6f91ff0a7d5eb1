//! The pictures of answers in the documents: one for each platform, drawn from what its simulator shows after a whole conversation.
//!
//! `tests/pictures.sh` draws them again.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::json;
use tieline_tests::agents::Manner;
use tieline_tests::chat_picture::{Client, Dialect, Moment, draw};
use tieline_tests::outbound::{Speaker, stays};

use crate::test_bridge::{Bot, TestBridge};

/// The chat clients that the pictures show, and the row whose bot is drawn.
const CLIENTS: &[(&str, Client)] = &[
    (
        "custom posted replies",
        client("Your own chat", Dialect::Markdown, "#5b5fc7"),
    ),
    (
        "dingtalk long_connection",
        client("DingTalk · 钉钉", Dialect::Markdown, "#0089ff"),
    ),
    (
        "discord long_connection",
        Client {
            dark: true,
            ..client("Discord", Dialect::MarkdownWithoutTables, "#5865f2")
        },
    ),
    (
        "lark long_connection",
        client("Lark · 飞书", Dialect::Markdown, "#3370ff"),
    ),
    (
        "telegram long_connection",
        client("Telegram", Dialect::MarkdownWithoutTables, "#2481cc"),
    ),
    (
        "wechat long_connection",
        client("WeChat · 微信", Dialect::Markdown, "#07c160"),
    ),
    (
        "wechat_mp webhook",
        client("Official Account · 公众号", Dialect::Plain, "#07c160"),
    ),
    (
        "wecom long_connection",
        client("WeCom bot · 企业微信", Dialect::Markdown, "#2f7dcd"),
    ),
    (
        "wecom_app webhook",
        client(
            "WeCom application · 企业微信应用",
            Dialect::MarkdownWithoutTables,
            "#2f7dcd",
        ),
    ),
    (
        "weibo long_connection",
        client("Weibo DM · 微博私信", Dialect::Plain, "#e6162d"),
    ),
];

const fn client(name: &'static str, dialect: Dialect, accent: &'static str) -> Client {
    Client {
        name,
        dialect,
        dark: false,
        accent,
    }
}

const QUESTION: &str = "How is build 42?";
/// The beginning of the answer, which is drawn while the agent continues.
const BEGINNING: &str = "**Build 42** passed all tests 全部测试通过。\n\n";
const REST: &str = "| Stage 阶段 | Result | Time |\n|---|---|---|\n| Test 测试 | passed | 3 min |\n| Deploy 部署 | waiting | - |\n\n\
    ```sh\ntieline apply -f bots.yaml\n```\n\nSources:\n\n\
    - [Runbook](https://docs.example.com/runbook)\n- [Build log](https://ci.example.com/42)\n";

/// An agent whose answer has every element, and which pauses after the beginning.
fn full_answer() -> Manner {
    Manner {
        events: |text| {
            (text == QUESTION).then(|| {
                let card = json!({ "text": "Deploy it now?", "buttons":
                    [{ "text": "Deploy", "value": "deploy 42" }, { "text": "Log", "url": "https://ci.example.com/42" }] });
                vec![
                    json!({ "type": "text.delta", "text": BEGINNING }),
                    json!({ "type": "text.delta", "text": REST }),
                    json!({ "type": "card", "card": card }),
                    json!({ "type": "completed" }),
                ]
            })
        },
        holds: |text| text == QUESTION,
        ..Manner::default()
    }
}

fn moment(bot: &Bot, chat: &Speaker, caption: &str) -> Moment {
    let buttons = bot.simulator.buttons(chat).into_iter();
    // A card of buttons alone has no text of its own.
    let messages = bot.texts(chat).into_iter().map(|text| text.replace("[card]", ""));
    Moment {
        caption: caption.to_owned(),
        question: QUESTION.to_owned(),
        messages: messages.collect(),
        buttons: buttons.map(|button| (button.label, button.url.is_some())).collect(),
    }
}

/// Plays the answer, and draws it while it is streamed and when it is complete.
async fn picture(bot: &Bot, client: Client) -> anyhow::Result<String> {
    bot.agent_speaks_our_contract().await?;
    let (lisi, mut moments) = (Speaker::alone("1001"), Vec::new());
    bot.say(&lisi, QUESTION);
    bot.agent_is_asked(&[QUESTION]).await?;
    let shown = || bot.texts(&lisi).join("\n");
    if bot.simulator.features().streams {
        bot.wait_until("the beginning", || shown().contains("全部测试通过"))
            .await?;
        moments.push(moment(bot, &lisi, "while the answer grows · 回答生成中"));
    }
    bot.agent.open_gate();
    bot.wait_until("the end", || shown().contains("Build log")).await?;
    if bot.abilities().await?["buttons"] == "all" {
        let has_button = || {
            bot.simulator
                .buttons(&lisi)
                .iter()
                .any(|button| button.label == "Deploy")
        };
        bot.wait_until("the button", has_button).await?;
    }
    let (texts, buttons) = (bot.texts(&lisi), bot.simulator.buttons(&lisi));
    let is_same = || bot.texts(&lisi) == texts && bot.simulator.buttons(&lisi) == buttons;
    stays("the whole answer", Duration::from_secs(2), is_same).await?;
    moments.push(moment(bot, &lisi, "the whole answer · 完整回答"));
    Ok(draw(client, &moments))
}

fn path_of(platform: &str) -> PathBuf {
    let docs = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/pictures/answers");
    docs.join(format!("{platform}.svg"))
}

#[tokio::test]
async fn pictures_of_the_documents_show_what_the_platforms_show() {
    let writes = std::env::var_os("TIELINE_WRITE_PICTURES").is_some();
    let test = TestBridge::open(full_answer()).await;
    test.play(async |bot| {
        let Some((_, client)) = CLIENTS.iter().find(|(name, _)| *name == bot.name) else {
            return Ok(());
        };
        let platform = bot.name.split(' ').next().unwrap_or_default();
        let (drawn, path) = (picture(bot, *client).await?, path_of(platform));
        if writes {
            return std::fs::write(&path, drawn).with_context(|| path.display().to_string());
        }
        let kept = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        ensure!(
            kept == drawn,
            "{} is out of date: run tests/pictures.sh",
            path.display()
        );
        Ok(())
    })
    .await;
}

/// Every platform has its picture, and both languages of its page show it.
#[test]
fn every_platform_has_a_picture_on_its_pages() {
    for row in tieline_tests::rows::ROWS {
        let platform = row.platform;
        assert!(
            CLIENTS.iter().any(|(name, _)| name.split(' ').next() == Some(platform)),
            "{platform}"
        );
        for twin in [format!("{platform}.md"), format!("{platform}.zh-CN.md")] {
            let docs = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/platforms");
            let page = std::fs::read_to_string(docs.join(&twin)).unwrap();
            assert!(
                page.contains(&format!("../pictures/answers/{platform}.svg")),
                "{twin} shows no picture"
            );
        }
    }
}
