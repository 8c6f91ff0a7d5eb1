//! Building blocks of the whole-system scenarios: the bridge as a process, an operator, platforms and agents on the loopback
//! address, and an emulator of AWS Lambda.

pub mod agents;
pub mod chat_picture;
pub mod cloud;
pub mod console;
pub mod custom;
pub mod dingtalk;
pub mod discord;
pub mod fleet;
pub mod gate;
pub mod lambda;
pub mod langgraph;
pub mod lark;
pub mod outbound;
pub mod platform;
pub mod process;
pub mod relay;
pub mod reserved_port;
pub mod rows;
pub mod sealed_xml;
pub mod socket;
pub mod telegram;
pub mod template;
pub mod test_bridge;
pub mod uploads;
pub mod wechat;
pub mod wechat_mp;
pub mod wecom;
pub mod wecom_app;
pub mod wecom_socket;
pub mod weibo;
