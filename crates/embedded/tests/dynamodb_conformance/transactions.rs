//! Transactions: all of several items, or none.

use anyhow::{Result, ensure};
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::operation::transact_write_items::builders::TransactWriteItemsFluentBuilder;
use aws_sdk_dynamodb::types::{
    ConditionCheck, Get, Put, ReturnValuesOnConditionCheckFailure, TransactGetItem, TransactWriteItem, Update,
};

use crate::bench::{Bench, expect_refusal, item, key, n, s};

fn put(bench: &Bench, sk: &str, v: i64) -> Result<TransactWriteItem> {
    let put = Put::builder()
        .table_name(&bench.table)
        .set_item(Some(item("p", sk, &[("v", n(v))])));
    Ok(TransactWriteItem::builder().put(put.build()?).build())
}

fn count(bench: &Bench, sk: &str, token: &str) -> Result<TransactWriteItemsFluentBuilder> {
    let update = Update::builder()
        .table_name(&bench.table)
        .set_key(Some(key("p", sk)))
        .update_expression("ADD v :one")
        .expression_attribute_values(":one", n(1));
    let write = TransactWriteItem::builder().update(update.build()?).build();
    Ok(bench
        .client
        .transact_write_items()
        .transact_items(write)
        .client_request_token(token))
}

/// A token that no earlier run used: the server may still remember earlier ones.
fn token(bench: &Bench, number: u32) -> String {
    format!("{}-{number}", bench.table)
}

pub(crate) async fn a_transaction_writes_all_or_nothing_and_names_the_reason(client: Client) -> Result<()> {
    let bench = Bench::new(client).await?;
    bench.put(item("p", "there", &[("owner", s("me"))])).await?;
    let check = ConditionCheck::builder()
        .table_name(&bench.table)
        .set_key(Some(key("p", "there")))
        .condition_expression("#owner = :you")
        .expression_attribute_names("#owner", "owner")
        .expression_attribute_values(":you", s("you"))
        .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
    let check = TransactWriteItem::builder().condition_check(check.build()?).build();
    let writes = bench
        .client
        .transact_write_items()
        .transact_items(put(&bench, "new", 1)?)
        .transact_items(check);
    let Err(error) = writes.send().await else {
        anyhow::bail!("accepted");
    };
    let error = error.into_service_error();
    let TransactWriteItemsError::TransactionCanceledException(cancelled) = error else {
        anyhow::bail!("refused with {error:?}");
    };
    let reasons = cancelled.cancellation_reasons();
    let codes: Vec<_> = reasons.iter().filter_map(|reason| reason.code()).collect();
    ensure!(codes == ["None", "ConditionalCheckFailed"], "{codes:?}");
    let there = reasons[1].item().and_then(|item| item.get("owner"));
    ensure!(there == Some(&s("me")), "{there:?}");
    ensure!(bench.get("p", "new").await?.is_none(), "half of it was written");

    let both = bench
        .client
        .transact_write_items()
        .transact_items(put(&bench, "a", 1)?)
        .transact_items(put(&bench, "b", 2)?);
    both.send().await?;
    bench.expect("p", "a", "v", n(1)).await?;
    bench.expect("p", "b", "v", n(2)).await
}

pub(crate) async fn a_repeated_token_writes_once(client: Client) -> Result<()> {
    let bench = Bench::new(client).await?;
    for _ in 0..3 {
        count(&bench, "s", &token(&bench, 1))?.send().await?;
    }
    count(&bench, "s", &token(&bench, 2))?.send().await?;
    bench.expect("p", "s", "v", n(2)).await
}

pub(crate) async fn a_token_with_other_writes_is_refused(client: Client) -> Result<()> {
    let bench = Bench::new(client).await?;
    count(&bench, "s", &token(&bench, 3))?.send().await?;
    let other = count(&bench, "other", &token(&bench, 3))?.send().await;
    expect_refusal(other, "IdempotentParameterMismatchException")
}

pub(crate) async fn a_transaction_reads_several_items(client: Client) -> Result<()> {
    let bench = Bench::new(client).await?;
    bench.put(item("p", "a", &[("v", n(1))])).await?;
    let get = |sk| {
        let get = Get::builder().table_name(&bench.table).set_key(Some(key("p", sk)));
        Ok::<_, anyhow::Error>(TransactGetItem::builder().get(get.build()?).build())
    };
    let got = bench
        .client
        .transact_get_items()
        .transact_items(get("a")?)
        .transact_items(get("none")?);
    let got = got.send().await?;
    let items: Vec<_> = got
        .responses()
        .iter()
        .map(|r| r.item().and_then(|item| item.get("v")))
        .collect();
    ensure!(items == [Some(&n(1)), None], "{items:?}");
    Ok(())
}
