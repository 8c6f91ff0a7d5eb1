//! For each mode: a received message, the right question to the agent, a streamed answer, and all of it in the right chat.

use std::time::Duration;

use tieline_tests::outbound::{Bubble, Speaker};

use crate::agent::{Agent, pieces};
use crate::test_bridge::{Mode, TestBridge};

/// Text in several scripts, code with characters that Markdown uses, and a table.
const RICH: &str = "订单 **42** 已发货 🚚👩‍👩‍👧\n\n```rust\nlet a = b * c; // 注释\n```\n\n| 城市 | 天气 |\n| --- | --- |\n| 北京 | ☀️ |\n\n完毕。";

fn lisi() -> Speaker {
    Speaker::alone("lisi")
}

fn group() -> Speaker {
    Speaker::in_group("wangwu", "oc_group1")
}

/// Without white space, which the dialects may set differently, and without their marks of a line's end.
fn squeezed(text: &str) -> String {
    text.replace("<br>", "").split_whitespace().collect()
}

async fn message_is_answered(mode: Mode) {
    let agent = Agent::start(|asked| {
        let answer = if asked.text.contains("rich") {
            RICH.to_owned()
        } else {
            format!("heard {}, done.", asked.text)
        };
        (pieces(&answer, 8), Duration::from_millis(500))
    })
    .await;
    let test = TestBridge::open(mode, agent).await;
    test.say(&lisi(), "查一下 rich 订单").await;
    test.say(&group(), "你好 🙂").await;
    let asked = test.asked(2).await;
    for (from, text, kind) in [(lisi(), "查一下 rich 订单", "direct"), (group(), "你好 🙂", "group")] {
        let found = asked.iter().find(|it| it.text == text);
        let found = found.unwrap_or_else(|| panic!("{mode:?}: {asked:?}"));
        assert_eq!(
            (found.user.as_str(), found.kind.as_str()),
            (from.user.as_str(), kind),
            "{mode:?}"
        );
        assert_eq!(found.chat, test.chat_id(0, &from), "{mode:?}");
    }
    let told = test.settled(&lisi(), "完毕。").await;
    assert_eq!(told.len(), 1, "{mode:?} {told:#?}");
    grew(&told[0], mode);
    assert_eq!(squeezed(told[0].text()), squeezed(RICH), "{mode:?}");
    for part in [
        "```rust\nlet a = b * c; // 注释\n```",
        "| 城市 | 天气 |\n| --- | --- |\n| 北京 | ☀️ |",
        "👩‍👩‍👧",
    ] {
        assert!(told[0].text().contains(part), "{mode:?} {}", told[0].text());
    }
    let told = test.settled(&group(), "done.").await;
    assert_eq!(told.len(), 1, "{mode:?} {told:#?}");
    assert_eq!(told[0].text(), "heard 你好 🙂, done.", "{mode:?}");
    assert_eq!(test.platform.bubbles().len(), 2, "{mode:?}");
    test.nothing_wrong();
}

/// A waiting sign or the first words were shown early, then more and more text.
#[track_caller]
fn grew(bubble: &Bubble, mode: Mode) {
    assert!(bubble.states.len() >= 3, "{mode:?} {:?}", bubble.states);
}

/// More text than any platform accepts at once: every line arrives, once, in order.
async fn long_answer_arrives_whole(mode: Mode) {
    let lines: Vec<String> = (0..3000)
        .map(|n| format!("第{n:05}行：明月几时有，把酒问青天。"))
        .collect();
    let whole = lines.join("\n\n");
    let answer = whole.clone();
    let agent = Agent::start(move |_| (pieces(&answer, 5), Duration::from_millis(300))).await;
    let test = TestBridge::open(mode, agent).await;
    test.say(&lisi(), "tell me all").await;
    // WeCom's callbacks can show two messages; the rest is behind a link, and the last message says so.
    let last = if mode == Mode::WecomCallback {
        "http"
    } else {
        "第02999行"
    };
    let limit = Duration::from_secs(240);
    let told = test.settled_within(&lisi(), last, limit).await;
    let shown: String = told.iter().map(|it| it.text()).collect();
    let marks: Vec<&str> = shown
        .match_indices('第')
        .map(|(at, _)| &shown[at..])
        .filter_map(|rest| rest.get(3..8))
        .collect();
    let expected: Vec<String> = (0..3000).map(|n| format!("{n:05}")).collect();
    if mode == Mode::WecomCallback {
        assert!(
            told.len() == 2 && expected.starts_with(&marks.iter().map(|&it| it.to_owned()).collect::<Vec<_>>()),
            "{told:#?}"
        );
        let link = shown.rsplit_once("http").unwrap().1;
        let link: String = link.chars().take_while(|c| !c.is_whitespace() && *c != ')').collect();
        let read = reqwest::get(format!("http{link}")).await.unwrap().text().await.unwrap();
        assert!(read.contains("第02999行"), "{} bytes", read.len());
    } else {
        assert_eq!(marks, expected, "{mode:?}");
    }
    test.nothing_wrong();
}

macro_rules! roads {
    ($($message_is_answered:ident $long:ident $mode:ident;)*) => {
        $(
            #[tokio::test]
            async fn $message_is_answered() {
                message_is_answered(Mode::$mode).await;
            }

            #[tokio::test]
            async fn $long() {
                long_answer_arrives_whole(Mode::$mode).await;
            }
        )*
    };
}

roads! {
    wecom_callback_answers_where_it_was_asked wecom_callback_tells_all WecomCallback;
    wecom_socket_answers_where_it_was_asked wecom_socket_tells_all WecomSocket;
    lark_webhook_answers_where_it_was_asked lark_webhook_tells_all LarkWebhook;
    lark_socket_answers_where_it_was_asked lark_socket_tells_all LarkSocket;
    dingtalk_http_answers_where_it_was_asked dingtalk_http_tells_all DingTalkHttp;
    dingtalk_stream_answers_where_it_was_asked dingtalk_stream_tells_all DingTalkStream;
}
