//! Messages with a picture.

use serde_json::json;
use tieline_bridge::receive::receive;

use crate::process_run::ProcessRun;
use crate::test_bot::Bot;

/// Delivers a picture to a bot on DingTalk.
pub(crate) async fn send(process: &ProcessRun, bot: &Bot, id: &str) {
    let said = json!({ "msgtype": "picture", "content": { "downloadCode": id } });
    let request = bot.on_dingtalk(&process.world, id, said);
    let answer = receive(&process.world, "dingtalk", &bot.id, &request, None).await;
    assert_eq!(answer.status / 100, 2);
}
