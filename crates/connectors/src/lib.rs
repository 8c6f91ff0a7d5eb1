//! Platform connectors, one folder each. Pure: bytes in, values out.
//!
//! Adding a platform: the folder, its `mod` line here, its line in [`registry::ALL`], its row in the README, its page in
//! `docs/platforms`, both in English and Chinese, and vectors: `tests/conformance.rs` walks every folder and fails one without them.

mod callback_cipher;
mod disposition;
mod errcode;
mod file_name;
mod file_upload;
mod markdown;
mod mentions;
mod template_card;
mod temporary_media;
mod text_digest;
mod xml;
mod xml_callback;
mod xml_message;

pub mod custom;
pub mod dingtalk;
pub mod discord;
pub mod lark;
pub mod registry;
pub mod telegram;
pub mod web;
pub mod wechat;
pub mod wechat_mp;
pub mod wecom;
pub mod wecom_app;
pub mod weibo;
