//! Long connections: the relay as a process of its own beside the functions.

use std::collections::BTreeMap;
use std::time::Duration;

use tieline_tests::cloud::{Cloud, Plan, Servers};
use tieline_tests::outbound::{Bubble, Speaker, until};
use tieline_tests::relay::Relay;
use tieline_tests::{dingtalk, lark, wecom_socket};

use super::{PATIENCE, deploy, writer};

const BOT: &str = "bot1";

/// The three platforms with long connections, each with one bound bot.
struct Platforms {
    wecom: wecom_socket::Platform,
    lark: lark::Platform,
    dingtalk: dingtalk::Platform,
}

impl Platforms {
    async fn bound(cloud: &Cloud, agent: &tieline_tests::agents::FakeAgent) -> Self {
        let all = Self {
            wecom: wecom_socket::Platform::start().await,
            lark: lark::Platform::start().await,
            dingtalk: dingtalk::Platform::start().await,
        };
        all.wecom.add_bot(BOT, "s3");
        all.lark.add_app(BOT, "s3");
        all.dingtalk.add_app(BOT, "s3");
        let bots = [
            all.wecom.as_integration(BOT, "wecom"),
            all.lark.as_integration(BOT, "lark", "long_connection"),
            all.dingtalk.as_integration(BOT, "dingtalk", "long_connection"),
        ];
        for (n, bot) in bots.iter().enumerate() {
            cloud.bind(bot, &agent.as_chat(&format!("writer{n}"))).await.unwrap();
        }
        all
    }

    async fn connected(&self, cloud: &Cloud, relay: &Relay) {
        let connected = async {
            self.wecom.connected(BOT, PATIENCE).await?;
            self.lark.connected(BOT, PATIENCE).await?;
            self.dingtalk.connected(BOT, PATIENCE).await
        };
        let connected: anyhow::Result<()> = connected.await;
        connected.unwrap_or_else(|error| panic!("{error:#}\n{}\n{}", relay.log(), cloud.log_tail()));
    }

    /// Sends the same message on all three platforms. Retries while a bot is between two connections and has no listener.
    async fn say(&self, from: &Speaker, text: &str) {
        let said = |what| format!("{what} hears {text}");
        let wecom = async || {
            let mention = if from.group.is_some() { "@Helper " } else { "" };
            let id = format!("m-{}-{text}", from.user);
            self.wecom.say(BOT, from, &id, &format!("{mention}{text}")).ok()
        };
        until_delivered(&said("wecom"), wecom).await;
        let event = self.lark.text(BOT, from, text);
        until_delivered(&said("lark"), async || self.lark.push(BOT, &event).ok()).await;
        let message = self.dingtalk.text(BOT, from, text);
        until_delivered(&said("dingtalk"), async || self.dingtalk.push(BOT, &message).ok()).await;
    }

    fn bubbles(&self) -> [Vec<Bubble>; 3] {
        [self.wecom.bubbles(), self.lark.bubbles(), self.dingtalk.bubbles()]
    }

    fn complaints(&self) -> Vec<String> {
        let all = [
            self.wecom.complaints(),
            self.lark.complaints(),
            self.dingtalk.complaints(),
        ];
        all.concat()
    }

    /// Waits until each platform shows `n` finished answers.
    async fn answered(&self, cloud: &Cloud, relay: &Relay, n: usize) {
        let done = |bubbles: Vec<Bubble>| bubbles.iter().filter(|it| it.done).count() >= n;
        let all = || self.bubbles().into_iter().all(done).then_some(());
        let answered = until("all answers", PATIENCE, all).await;
        answered.unwrap_or_else(|error| {
            let (shown, wrong) = (self.bubbles(), self.complaints());
            panic!("{error}: {shown:#?} {wrong:?}\n{}\n{}", relay.log(), cloud.log_tail())
        });
    }
}

async fn until_delivered<T>(what: &str, say: impl AsyncFn() -> Option<T>) {
    for _ in 0..200 {
        if say().await.is_some() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{what}: no client is connected");
}

fn story(text: &str) -> Vec<String> {
    ["你问的是：", text, "。\n\n", "First, ", "第二，", "done ✅"]
        .map(str::to_owned)
        .into()
}

pub(crate) async fn sockets_carry_questions_and_answers(servers: Servers) {
    let cloud = deploy(servers, &Plan::default()).await;
    let agent = writer(Duration::from_millis(200), story).await;
    let platforms = Platforms::bound(&cloud, &agent).await;
    let relay = cloud.relay("relay").unwrap();
    platforms.connected(&cloud, &relay).await;

    let (alone, in_group) = (Speaker::alone("ann"), Speaker::in_group("bob", "room"));
    platforms.say(&alone, "天气").await;
    platforms.say(&in_group, "weather").await;
    platforms.answered(&cloud, &relay, 2).await;

    for bubbles in platforms.bubbles() {
        for (from, text) in [(&alone, "天气"), (&in_group, "weather")] {
            let shown: Vec<_> = bubbles.iter().filter(|it| it.chat == from.chat()).collect();
            assert_eq!(shown.len(), 1, "{bubbles:#?}");
            assert_eq!(shown[0].text(), story(text).concat());
            assert!(shown[0].states.len() > 1, "the text did not grow: {:?}", shown[0]);
        }
    }
    assert_eq!(agent.seen().len(), 6);
    assert_eq!(platforms.complaints(), Vec::<String>::new());
}

pub(crate) async fn relay_and_functions_are_replaced_during_answers(servers: Servers) {
    replaced_during_answers(servers, &Plan::default()).await;
}

/// Replaces processes as ECS and Lambda do: the new relay starts first, then the old one is asked to stop; functions finish their invocations.
pub(crate) async fn replaced_during_answers(servers: Servers, plan: &Plan) {
    const N: usize = 24;
    let cloud = deploy(servers, plan).await;
    let agent = writer(Duration::from_millis(50), |text| vec!["heard ".into(), text.into()]).await;
    let platforms = Platforms::bound(&cloud, &agent).await;
    let mut old = cloud.relay("old").unwrap();
    platforms.connected(&cloud, &old).await;

    let talking = async {
        for n in 0..N {
            let from = Speaker::alone(&format!("person{n}"));
            platforms.say(&from, &format!("text {n}")).await;
            tokio::time::sleep(Duration::from_millis(150)).await;
        }
    };
    let deploying = async {
        let begun = || (agent.seen().len() >= N / 2).then_some(());
        until("some answers", PATIENCE, begun).await.unwrap();
        let new = cloud.relay("new").unwrap();
        let env = BTreeMap::from([("VERSION".to_owned(), "2".to_owned())]);
        cloud.redeploy(&env).await.unwrap();
        old.terminate();
        assert!(old.ended(Duration::from_secs(110)).await, "{}", old.log());
        new
    };
    let ((), new) = tokio::join!(talking, deploying);
    platforms.answered(&cloud, &new, N).await;

    for bubbles in platforms.bubbles() {
        for n in 0..N {
            let chat = format!("person{n}");
            let shown: Vec<_> = bubbles.iter().filter(|it| it.chat == chat).collect();
            assert_eq!(shown.len(), 1, "{shown:#?}");
            assert_eq!(shown[0].text(), format!("heard text {n}"));
        }
    }
    assert_eq!(
        agent.seen().len(),
        3 * N,
        "the agent must be asked once for each message"
    );
    assert!(new.n_connected() >= 3, "{}", new.log());
    assert_eq!(platforms.complaints(), Vec::<String>::new());
}
