//! The rules of the chat for people: each rule, and the tests that verify it.
//!
//! Tests in `every_platform` run on every platform that supports the feature. Rules that need a simulated clock, or a means of one
//! platform, are tested elsewhere as well.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

/// A rule, and the tests that verify it: file (from the repository's root) and name.
struct Rule {
    says: &'static str,
    shown_by: &'static [(&'static str, &'static str)],
}

const ANSWERS: &str = "tests/every_platform/answers.rs";
const CHAT_RULES: &str = "tests/every_platform/chat_rules.rs";
const CLICKS: &str = "tests/every_platform/clicks.rs";
const COMMANDS: &str = "tests/every_platform/commands.rs";
const EXPIRY: &str = "tests/every_platform/expiry.rs";
const GATHERING: &str = "tests/every_platform/gathering.rs";
const GROUPS: &str = "tests/every_platform/groups.rs";
const HABITS: &str = "tests/every_platform/habits.rs";
const PEOPLE: &str = "tests/every_platform/people.rs";
const TASK_COMMANDS: &str = "tests/every_platform/task_commands.rs";
const TASKS: &str = "tests/every_platform/tasks.rs";

const RULES: &[Rule] = &[
    Rule {
        says: "`/new` is trimmed and must end or be followed by white space; `/newfoo` is text.",
        shown_by: &[(CHAT_RULES, "new_needs_white_space_and_its_text_is_the_first_question")],
    },
    Rule {
        says: "Bare `/new` begins a session, which is confirmed.",
        shown_by: &[(COMMANDS, "new_starts_a_session_and_help_explains")],
    },
    Rule {
        says: "Text behind `/new` is the first input, without a confirmation.",
        shown_by: &[(CHAT_RULES, "new_needs_white_space_and_its_text_is_the_first_question")],
    },
    Rule {
        says: "`/new` drops what is being gathered.",
        shown_by: &[(CHAT_RULES, "new_session_drops_what_was_gathered")],
    },
    Rule {
        says: "The confirmation and failures may carry a button for a new session.",
        shown_by: &[(CLICKS, "new_session_and_failure_offer_a_button_for_the_next_session")],
    },
    Rule {
        says: "`/new` in a direct chat with task mode is a menu: chat, task, continue recent.",
        shown_by: &[
            (TASKS, "task_survives_a_new_chat"),
            (
                TASK_COMMANDS,
                "menu_offers_chat_task_and_recent_tasks_until_it_is_cancelled",
            ),
        ],
    },
    Rule {
        says: "`/chat`, `/task`, `/switch`, `/bind`.",
        shown_by: &[(
            TASK_COMMANDS,
            "chat_is_bound_to_a_task_and_tasks_are_switched_by_name_and_number",
        )],
    },
    Rule {
        says: "`/cancel` cancels a pending selection.",
        shown_by: &[(
            TASK_COMMANDS,
            "menu_offers_chat_task_and_recent_tasks_until_it_is_cancelled",
        )],
    },
    Rule {
        says: "A pending selection expires after 15 min.",
        shown_by: &[(EXPIRY, "menu_expires_after_15_minutes")],
    },
    Rule {
        says: "`/status` everywhere.",
        shown_by: &[
            (
                TASK_COMMANDS,
                "status_reports_agent_mode_session_run_and_waiting_messages",
            ),
            (TASK_COMMANDS, "groups_have_four_commands_and_treat_the_others_as_text"),
        ],
    },
    Rule {
        says: "`/stop` everywhere: stops the running answer.",
        shown_by: &[
            (COMMANDS, "stop_ends_the_running_answer"),
            (TASK_COMMANDS, "groups_have_four_commands_and_treat_the_others_as_text"),
        ],
    },
    Rule {
        says: "`/help` everywhere.",
        shown_by: &[(COMMANDS, "new_starts_a_session_and_help_explains")],
    },
    Rule {
        says: "The first word is lower-cased, except `/new`.",
        shown_by: &[(CHAT_RULES, "new_needs_white_space_and_its_text_is_the_first_question")],
    },
    Rule {
        says: "A suffix `@bot` is removed.",
        shown_by: &[(TASK_COMMANDS, "name_of_the_bot_behind_a_command_is_dropped")],
    },
    Rule {
        says: "Unknown slash words are text.",
        shown_by: &[(CHAT_RULES, "new_needs_white_space_and_its_text_is_the_first_question")],
    },
    Rule {
        says: "In groups only `/new`, `/stop`, `/status`, `/help`.",
        shown_by: &[(TASK_COMMANDS, "groups_have_four_commands_and_treat_the_others_as_text")],
    },
    Rule {
        says: "Idle strictly longer than `sessionTimeoutSeconds`: the next message starts a new session.",
        shown_by: &[(CHAT_RULES, "idle_session_is_replaced_by_a_new_one")],
    },
    Rule {
        says: "Messages within `summaryWindowSeconds` are merged with newlines.",
        shown_by: &[(CHAT_RULES, "messages_within_the_window_are_one_question")],
    },
    Rule {
        says: "Never longer than five windows.",
        shown_by: &[(GATHERING, "person_who_keeps_writing_is_answered_after_five_windows")],
    },
    Rule {
        says: "Never more than 20 messages.",
        shown_by: &[(GATHERING, "twenty_messages_are_asked_before_the_window_ends")],
    },
    Rule {
        says: "Commands are not held back.",
        shown_by: &[(GATHERING, "command_is_not_held_back_with_gathered_messages")],
    },
    Rule {
        says: "Media are not held back.",
        shown_by: &[(
            GATHERING,
            "media_is_not_held_back_and_is_asked_with_the_gathered_messages",
        )],
    },
    Rule {
        says: "While a run is active further messages wait.",
        shown_by: &[(CHAT_RULES, "message_behind_a_running_answer_waits")],
    },
    Rule {
        says: "They are merged into the next run if aggregation is on.",
        shown_by: &[(GATHERING, "gathered_messages_behind_a_running_answer_are_one_question")],
    },
    Rule {
        says: "Or they stop it (`interrupt`).",
        shown_by: &[(
            CHAT_RULES,
            "message_interrupts_a_running_answer_where_the_trigger_says_so",
        )],
    },
    Rule {
        says: "Groups: only when the bot is mentioned, and the mention is removed from the text.",
        shown_by: &[(ANSWERS, "group_message_is_answered_in_the_group_if_it_mentions_the_bot")],
    },
    Rule {
        says: "Or when somebody replies to what it said.",
        shown_by: &[(GROUPS, "reply_to_the_bots_message_needs_no_mention")],
    },
    Rule {
        says: "`sessionScope` `sender` or `chat`.",
        shown_by: &[(CHAT_RULES, "people_of_a_group_have_sessions_of_their_own_or_share_one")],
    },
    Rule {
        says: "First contact creates a user with name, e-mail and source.",
        shown_by: &[(CHAT_RULES, "first_message_creates_a_user")],
    },
    Rule {
        says: "An organization may set a mapper that decides instead.",
        shown_by: &[
            (PEOPLE, "person_whom_the_mapper_does_not_know_is_refused"),
            (
                "tests/standing_alone/people.rs",
                "only_people_whom_the_mapper_knows_reach_the_agent",
            ),
        ],
    },
    Rule {
        says: "A thinking sign by platform habit (none on Weibo).",
        shown_by: &[
            (HABITS, "thinking_agent_shows_the_platforms_waiting_sign"),
            (
                "tests/every_platform/telegram.rs",
                "typing_indicator_is_repeated_and_does_not_delay_the_answer",
            ),
            (
                "tests/long_connections/waiting_signs.rs",
                "wecom_message_shows_dots_until_its_turn",
            ),
            (
                "tests/long_connections/waiting_signs.rs",
                "lark_message_has_a_reaction_until_its_turn",
            ),
        ],
    },
    Rule {
        says: "Progressive text.",
        shown_by: &[(ANSWERS, "answer_grows_to_its_exact_final_text")],
    },
    Rule {
        says: "The final text in the platform's dialect.",
        shown_by: &[(
            "tests/every_platform/pictures.rs",
            "pictures_of_the_documents_show_what_the_platforms_show",
        )],
    },
    Rule {
        says: "Long texts are split at paragraphs; never a cut without a word.",
        shown_by: &[(ANSWERS, "long_answer_is_shown_whole_and_in_order")],
    },
    Rule {
        says: "Texts to people exist in English and Simplified Chinese.",
        shown_by: &[(CHAT_RULES, "notices_are_in_the_integrations_language")],
    },
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

#[test]
fn every_rule_has_a_test() {
    let mut said = HashSet::new();
    for rule in RULES {
        assert!(said.insert(rule.says), "the rule is listed twice: {}", rule.says);
        assert!(!rule.shown_by.is_empty(), "the rule has no test: {}", rule.says);
        for (file, name) in rule.shown_by {
            let text = std::fs::read_to_string(root().join(file)).unwrap_or_default();
            let is_test = [format!("fn {name}()"), format!("fn {name}<")]
                .iter()
                .any(|it| text.contains(it));
            assert!(is_test, "{file} has no test {name}, which should verify: {}", rule.says);
        }
    }
}
