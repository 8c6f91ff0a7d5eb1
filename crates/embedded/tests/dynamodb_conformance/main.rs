//! One suite for every DynamoDB server: the embedded engine in process, the same over HTTP, and an independent one.
//!
//! With `TIELINE_TEST_DYNAMODB_ENDPOINT` it also runs against the server there; `tests/oracles.sh` starts Amazon's own DynamoDB Local.

#[path = "../servers/mod.rs"]
mod servers;

mod bench;
mod direct;
mod races;
mod reads;
mod transactions;
mod writes;

use aws_sdk_dynamodb::Client;

use bench::client;
use servers::{Case, InProcess, OverHttp, check, oracle};

fn all() -> Vec<Case<Client>> {
    cases![
        writes::a_put_item_is_returned_with_every_type,
        writes::a_failed_condition_returns_the_existing_item,
        writes::updates_set_add_remove_and_append,
        writes::a_fencing_condition_lets_only_the_newer_owner_write,
        writes::batches_write_and_read,
        writes::limits_are_enforced,
        writes::a_delete_returns_the_old_item,
        writes::time_to_live_can_be_set,
        reads::queries_take_ranges_order_pages_and_filters,
        reads::a_filter_on_a_key_is_refused,
        reads::a_sparse_index_has_only_items_with_its_key,
        reads::scans_page_through_everything,
        reads::an_unknown_table_is_refused,
        transactions::a_transaction_writes_all_or_nothing_and_names_the_reason,
        transactions::a_repeated_token_writes_once,
        transactions::a_token_with_other_writes_is_refused,
        transactions::a_transaction_reads_several_items,
        races::one_of_many_gets_a_lease,
        races::concurrent_counters_are_exact,
    ]
}

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
    if let Some(url) = oracle("TIELINE_TEST_DYNAMODB_ENDPOINT") {
        check(&client(&url, None), all(), &[]).await;
    }
}
