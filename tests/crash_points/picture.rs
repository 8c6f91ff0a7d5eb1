//! People who send a picture.

use serde_json::json;
use tieline_bridge::receive::receive;

use crate::life::Life;
use crate::scene::Bot;

/// Delivers a picture, to a bot on DingTalk.
pub(crate) async fn send(life: &Life, bot: &Bot, id: &str) {
    let said = json!({ "msgtype": "picture", "content": { "downloadCode": id } });
    let request = bot.on_dingtalk(&life.world, id, said);
    let answer = receive(&life.world, "dingtalk", &bot.id, &request, None).await;
    assert_eq!(answer.status / 100, 2);
}
