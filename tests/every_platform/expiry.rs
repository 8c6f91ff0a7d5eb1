//! State that expires. Between two parts of a scenario the bridge is stopped and stored times are set back, so that no test waits.

use std::path::Path;
use std::time::Duration;

use serde_json::json;
use tieline_bridge::world::Settings;
use tieline_connectors::registry;
use tieline_core::conversation::Owner;
use tieline_core::conversation::task::CHOICE_LIFETIME;
use tieline_core::ids::IntegrationId;
use tieline_core::task_reply::TaskReply;
use tieline_embedded::{Embedded, Options};
use tieline_standalone::local;
use tieline_store::conversation;
use tieline_tests::agents::Manner;
use tieline_tests::outbound::Speaker;

use crate::task_commands::has_typed_tasks;
use crate::tasks::{talk, told};
use crate::test_bridge::{Bot, TestBridge};

/// Limit of the conversations of one bot in a scenario.
const MANY: usize = 100;

/// Moves the expiry of all open menus `by` closer, in the data of a stopped bridge. Returns their number.
async fn age_menus(data: &Path, bots: &[Bot], by: Duration) -> usize {
    let embedded = Embedded::open(data, Options::default()).unwrap();
    let owner = Owner {
        node: "test".to_owned(),
        life: "test".to_owned(),
    };
    let settings = Settings::new("http://127.0.0.1:1".to_owned(), owner);
    let keys = local::Keys::In(data.to_owned());
    let world = local::world(&embedded, keys, registry::ALL, settings).await.unwrap();
    let mut n_menus = 0;
    for bot in bots {
        let (now, integration) = (world.clock.now(), IntegrationId::new(&*bot.id));
        let found = conversation::list(&world.store, &integration, None, None, MANY, now).await;
        for before in found.unwrap().items {
            let mut after = before.clone();
            let Some(choice) = &mut after.tasks.choice else {
                continue;
            };
            choice.until = choice.until.before(by);
            conversation::save(&world.store, &before, &mut after).await.unwrap();
            n_menus += 1;
        }
    }
    n_menus
}

#[tokio::test]
async fn menu_expires_after_15_minutes() {
    assert_eq!(CHOICE_LIFETIME, Duration::from_mins(15));
    let mut test = TestBridge::open(Manner::default()).await;
    test.bots.retain(has_typed_tasks);
    let lisi = Speaker::alone("1001");
    let menu = told(&TaskReply::Menu { recent: false });
    let ask_name = told(&TaskReply::AskName);
    test.play(async |bot| {
        bot.change_trigger(&json!({ "taskMode": true })).await?;
        talk(bot, &lisi, &mut Vec::new(), "/new", menu.clone()).await
    })
    .await;
    let n_menus = test
        .while_stopped(async |data, bots| age_menus(data, bots, Duration::from_mins(14)).await)
        .await;
    assert_eq!(n_menus, test.bots.len(), "expected an open menu of each bot");
    // The menu is answered, and the next question has its own fifteen minutes.
    test.play(async |bot| talk(bot, &lisi, &mut vec![menu.clone()], "2", ask_name.clone()).await)
        .await;
    let n_menus = test
        .while_stopped(async |data, bots| age_menus(data, bots, CHOICE_LIFETIME).await)
        .await;
    assert_eq!(n_menus, test.bots.len(), "expected an open question of each bot");
    test.play(async |bot| {
        let mut shown = vec![menu.clone(), ask_name.clone()];
        talk(bot, &lisi, &mut shown, "Release 7", "echo: Release 7".to_owned()).await?;
        bot.agent_is_asked(&["Release 7"]).await?;
        // The expired question has created no task.
        talk(bot, &lisi, &mut shown, "/new", menu.clone()).await
    })
    .await;
}
