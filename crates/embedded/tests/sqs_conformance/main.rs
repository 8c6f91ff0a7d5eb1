//! One suite for every SQS server: the embedded engine in process, the same over HTTP, and an independent one.
//!
//! With `TIELINE_TEST_SQS_ENDPOINT` it also runs against the server there, assumed to be ministack; `tests/oracles.sh` starts it.

#[path = "../servers/mod.rs"]
mod servers;

mod batches;
mod bench;
mod dead_letters;
mod fifo;
mod queues;
mod standard;

use aws_sdk_sqs::Client;

use bench::client;
use servers::{Case, InProcess, OverHttp, check, oracle};

fn all() -> Vec<Case<Client>> {
    cases![
        queues::a_created_queue_is_found_and_listed,
        queues::creating_again_succeeds_unless_an_attribute_differs,
        queues::attributes_can_be_read_and_changed,
        queues::messages_are_counted_by_state,
        queues::an_unknown_queue_is_refused,
        queues::a_deleted_queue_is_gone,
        queues::purging_empties_a_queue,
        queues::fifo_queues_need_the_fifo_suffix,
        standard::a_message_is_returned_unchanged,
        standard::attributes_are_returned_with_their_digest,
        standard::only_requested_attributes_are_returned,
        standard::system_attributes_contain_the_delivery_history,
        standard::a_received_message_is_hidden_for_its_timeout,
        standard::visibility_zero_makes_a_message_visible_at_once,
        standard::visibility_can_be_extended,
        standard::a_deleted_message_is_gone_and_deleting_again_succeeds,
        standard::a_delayed_message_is_hidden_for_its_delay,
        standard::a_queue_can_delay_all_messages,
        standard::a_delay_over_900_seconds_is_refused,
        standard::a_long_poll_wakes_up_for_a_message,
        standard::a_long_poll_ends_empty_after_its_time,
        standard::a_too_large_message_is_refused,
        standard::a_mebibyte_is_accepted,
        standard::a_message_group_is_accepted,
        standard::a_wrong_receipt_handle_is_refused,
        batches::ten_messages_go_through_in_batches,
        batches::one_bad_entry_fails_alone,
        batches::one_bad_receipt_fails_alone,
        batches::too_many_no_or_duplicate_entries_are_refused,
        batches::visibility_changes_in_a_batch,
        fifo::a_group_keeps_its_order,
        fifo::a_group_in_flight_is_locked_others_are_not,
        fifo::one_receive_returns_many_of_a_group,
        fifo::sequence_numbers_rise,
        fifo::a_repeated_id_returns_the_first_message,
        fifo::an_id_is_remembered_after_its_message_is_deleted,
        fifo::ids_are_per_queue_by_default,
        fifo::ids_can_be_per_group,
        fifo::equal_bodies_are_one_message_with_content_deduplication,
        fifo::no_deduplication_id_is_refused,
        fifo::no_group_is_refused,
        fifo::a_delay_per_message_is_refused,
        fifo::order_survives_visibility_zero,
        fifo::order_survives_a_partial_delete,
        fifo::order_survives_an_expired_receive,
        fifo::an_expired_receipt_is_refused,
        fifo::duplicates_in_one_batch_are_one_message,
        dead_letters::a_standard_message_received_too_often_is_moved,
        dead_letters::a_fifo_message_received_too_often_unlocks_its_group,
        dead_letters::sources_of_a_dead_letter_queue_are_listed,
        dead_letters::a_move_task_redrives_dead_letters,
    ]
}

/// Cases that ministack 1.5.33 is known to fail.
const MISSES_OF_MINISTACK: &[(&str, &str)] = &[
    ("standard::a_delay_over_900_seconds_is_refused", "takes any delay"),
    (
        "batches::one_bad_entry_fails_alone",
        "takes any delay, so no entry is bad",
    ),
    (
        "standard::a_deleted_message_is_gone_and_deleting_again_succeeds",
        "refuses the second delete, which AWS answers like the first",
    ),
    (
        "fifo::an_expired_receipt_is_refused",
        "deletes by an expired receipt handle",
    ),
    (
        "dead_letters::sources_of_a_dead_letter_queue_are_listed",
        "doesn't know the action",
    ),
    (
        "dead_letters::a_move_task_redrives_dead_letters",
        "doesn't know the action",
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn embedded_in_process() {
    let engine = InProcess::start();
    let client = client(engine.url(), Some(engine.embedded.http_client()));
    check(&client, all(), &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn embedded_over_http() {
    let server = OverHttp::start().await;
    check(&client(&server.url, None), all(), &[]).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn independent_server() {
    if let Some(url) = oracle("TIELINE_TEST_SQS_ENDPOINT") {
        check(&client(&url, None), all(), MISSES_OF_MINISTACK).await;
    }
}
