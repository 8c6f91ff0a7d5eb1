//! The same scenarios for every platform and mode: one row each in `tieline_tests::rows`.
//!
//! What is tested for each platform in each mode, and where:
//!
//! | what | scenario |
//! |---|---|
//! | text in, streamed answer out, exact final text | `answers::answer_grows_to_its_exact_final_text` |
//! | redelivery | `answers::redelivered_message_is_answered_once` |
//! | long answer | `answers::long_answer_is_shown_whole_and_in_order` |
//! | media in, files out | `media`, `files` |
//! | group rules | `answers::group_message_is_answered_…`, `groups`, `chat_rules::people_of_a_group_…` |
//! | commands | `commands`, `chat_rules::new_needs_white_space_…` |
//! | rate limit | `faults::rate_limited_answer_is_shown_later_and_once` |
//! | credentials wrong | `faults::wrong_credentials_show_in_the_status` |
//! | platform outage of a minute | `faults::answer_is_delivered_after_a_platform_outage` |
//! | socket half open | `faults::half_open_connection_is_replaced` |
//! | kicked or signed out | `faults::signed_out_bot_is_reported_in_its_status` |
//! | killed in the middle | `faults::killed_bridge_continues_the_answer` |
//! | hand-over between relays | `relays` |
//!
//! A feature that a platform lacks is missing in its simulator's `Features`; a picture reaches the agent on every platform.
//!
//! `TIELINE_PLATFORM=telegram` runs the rows of one platform only.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod answers;
mod cards;
mod chat_rules;
mod clicks;
mod commands;
mod expiry;
mod faults;
mod files;
mod gathering;
mod groups;
mod habits;
mod media;
mod people;
mod pictures;
mod relays;
mod rules_shown;
mod task_commands;
mod tasks;
mod telegram;
mod test_bridge;
