//! Bots of WeCom, Lark, DingTalk, Discord, Weibo and WeChat in all their modes, end to end: strict, faulty platforms, the real bridge, an agent.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

mod agent;
mod answers;
mod faults_dingtalk;
mod faults_discord;
mod faults_lark;
mod faults_wechat;
mod faults_wecom;
mod faults_weibo;
mod interleavings;
mod relays;
mod relays_that_run;
mod test_bridge;
mod waiting_signs;
