//! Writes of single items: put, update, delete, with conditions.

use std::collections::HashMap;

use anyhow::{Context as _, Result, ensure};
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::{
    AttributeValue, DeleteRequest, KeysAndAttributes, PutRequest, ReturnValue, ReturnValuesOnConditionCheckFailure,
    TimeToLiveSpecification, TimeToLiveStatus, WriteRequest,
};

use crate::bench::{Bench, expect_refusal, item, key, n, s};

pub(crate) async fn a_put_item_is_returned_with_every_type(client: Client) -> Result<()> {
    let bench = Bench::new(client).await?;
    let inner = HashMap::from([("k".to_owned(), AttributeValue::L(vec![s("täxt 🚀"), n(-1)]))]);
    let whole = item(
        "p",
        "s",
        &[
            ("text", s("")),
            ("number", AttributeValue::N("12345678901234567890.5".into())),
            ("bytes", AttributeValue::B(Blob::new([0u8, 255]))),
            ("yes", AttributeValue::Bool(true)),
            ("nothing", AttributeValue::Null(true)),
            ("map", AttributeValue::M(inner)),
        ],
    );
    bench.put(whole.clone()).await?;
    let got = bench.get("p", "s").await?;
    ensure!(got.as_ref() == Some(&whole), "got {got:?}");
    ensure!(bench.get("p", "other").await?.is_none());
    Ok(())
}

pub(crate) async fn a_failed_condition_returns_the_existing_item(client: Client) -> Result<()> {
    let bench = Bench::new(client).await?;
    let put = |owner: &str| {
        let put = bench.client.put_item().table_name(&bench.table);
        put.set_item(Some(item("p", "s", &[("owner", s(owner))])))
            .condition_expression("attribute_not_exists(pk)")
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .send()
    };
    put("first").await?;
    let Err(error) = put("second").await else {
        anyhow::bail!("the second put was accepted");
    };
    let error = error.into_service_error();
    let aws_sdk_dynamodb::operation::put_item::PutItemError::ConditionalCheckFailedException(failed) = error else {
        anyhow::bail!("refused with {error:?}");
    };
    let there = failed.item().context("the item that is there")?;
    ensure!(there.get("owner") == Some(&s("first")), "{there:?}");
    bench.expect("p", "s", "owner", s("first")).await
}

pub(crate) async fn updates_set_add_remove_and_append(client: Client) -> Result<()> {
    let bench = Bench::new(client).await?;
    let set = AttributeValue::Ss(vec!["a".into(), "b".into()]);
    let list = AttributeValue::L(vec![n(1)]);
    bench
        .put(item(
            "p",
            "s",
            &[("tags", set), ("list", list), ("former", n(1)), ("count", n(5))],
        ))
        .await?;
    let updated = bench
        .client
        .update_item()
        .table_name(&bench.table)
        .set_key(Some(key("p", "s")))
        .update_expression(
            "SET #list = list_append(#list, :more), fresh = if_not_exists(fresh, :zero) + :one, m = :map \
             ADD #count :two REMOVE former DELETE tags :gone",
        )
        .expression_attribute_names("#list", "list")
        .expression_attribute_names("#count", "count")
        .expression_attribute_values(":more", AttributeValue::L(vec![n(2)]))
        .expression_attribute_values(":zero", n(0))
        .expression_attribute_values(":one", n(1))
        .expression_attribute_values(":two", n(2))
        .expression_attribute_values(":map", AttributeValue::M(HashMap::from([("x".into(), n(1))])))
        .expression_attribute_values(":gone", AttributeValue::Ss(vec!["a".into()]))
        .return_values(ReturnValue::AllNew)
        .send()
        .await?;
    let got = updated.attributes().context("the new item")?;
    ensure!(got["list"] == AttributeValue::L(vec![n(1), n(2)]), "{got:?}");
    ensure!(
        got["fresh"] == n(1) && got["count"] == n(7) && !got.contains_key("former"),
        "{got:?}"
    );
    ensure!(got["tags"] == AttributeValue::Ss(vec!["b".into()]), "{got:?}");
    let nested = bench
        .client
        .update_item()
        .table_name(&bench.table)
        .set_key(Some(key("p", "s")));
    let nested = nested.update_expression("SET m.x = m.x + :one, #list[0] = :one");
    let nested = nested
        .expression_attribute_names("#list", "list")
        .expression_attribute_values(":one", n(1));
    nested.send().await?;
    bench
        .expect("p", "s", "list", AttributeValue::L(vec![n(1), n(2)]))
        .await?;
    bench
        .expect("p", "s", "m", AttributeValue::M(HashMap::from([("x".into(), n(2))])))
        .await
}

pub(crate) async fn a_fencing_condition_lets_only_the_newer_owner_write(client: Client) -> Result<()> {
    let bench = Bench::new(client).await?;
    bench
        .put(item("lease", "s", &[("fence", n(7)), ("expires", n(100))]))
        .await?;
    let take = |fence: i64, now: i64| {
        let update = bench
            .client
            .update_item()
            .table_name(&bench.table)
            .set_key(Some(key("lease", "s")));
        update
            .update_expression("SET fence = :next, expires = :until")
            .condition_expression("fence = :seen AND (attribute_not_exists(expires) OR expires < :now)")
            .expression_attribute_values(":seen", n(fence))
            .expression_attribute_values(":next", n(fence + 1))
            .expression_attribute_values(":now", n(now))
            .expression_attribute_values(":until", n(now + 50))
            .send()
    };
    expect_refusal(take(7, 100).await, "ConditionalCheckFailedException")?;
    take(7, 101).await?;
    expect_refusal(take(7, 500).await, "ConditionalCheckFailedException")?;
    bench.expect("lease", "s", "fence", n(8)).await
}

pub(crate) async fn batches_write_and_read(client: Client) -> Result<()> {
    let bench = Bench::new(client).await?;
    let put = |sk: &str| {
        let put = PutRequest::builder().set_item(Some(item("p", sk, &[("v", s(sk))])));
        Ok::<_, anyhow::Error>(WriteRequest::builder().put_request(put.build()?).build())
    };
    let write = |requests| {
        bench
            .client
            .batch_write_item()
            .request_items(&bench.table, requests)
            .send()
    };
    let puts = (0..25).map(|i| put(&i.to_string())).collect::<Result<Vec<_>>>()?;
    let written = write(puts.clone()).await?;
    ensure!(written.unprocessed_items().is_none_or(HashMap::is_empty));
    let too_many = puts.into_iter().chain([put("25")?]).collect();
    expect_refusal(write(too_many).await, "ValidationException")?;
    let delete = DeleteRequest::builder().set_key(Some(key("p", "3"))).build()?;
    write(vec![WriteRequest::builder().delete_request(delete).build()]).await?;
    let keys = ["2", "3", "4"].map(|sk| key("p", sk));
    let keys = KeysAndAttributes::builder().set_keys(Some(keys.into())).build()?;
    let got = bench
        .client
        .batch_get_item()
        .request_items(&bench.table, keys)
        .send()
        .await?;
    let items = &got.responses().context("items")?[&bench.table];
    ensure!(items.len() == 2, "got {items:?}");
    Ok(())
}

pub(crate) async fn limits_are_enforced(client: Client) -> Result<()> {
    let bench = Bench::new(client).await?;
    let put = |item| {
        bench
            .client
            .put_item()
            .table_name(&bench.table)
            .set_item(Some(item))
            .send()
    };
    put(item("p", "s", &[("v", s(&"x".repeat(399_000)))])).await?;
    expect_refusal(
        put(item("p", "s", &[("v", s(&"x".repeat(410_000)))])).await,
        "ValidationException",
    )?;
    expect_refusal(put(item("", "s", &[])).await, "ValidationException")?;
    expect_refusal(put(item("p", "s", &[("sk", n(1))])).await, "ValidationException")?;
    let digits = AttributeValue::N("1".repeat(39));
    expect_refusal(put(item("p", "s", &[("v", digits)])).await, "ValidationException")
}

pub(crate) async fn a_delete_returns_the_old_item(client: Client) -> Result<()> {
    let bench = Bench::new(client).await?;
    bench.put(item("p", "s", &[("v", n(1))])).await?;
    let delete = || {
        let delete = bench
            .client
            .delete_item()
            .table_name(&bench.table)
            .set_key(Some(key("p", "s")));
        delete.return_values(ReturnValue::AllOld)
    };
    let guarded = delete()
        .condition_expression("v = :v")
        .expression_attribute_values(":v", n(2));
    expect_refusal(guarded.send().await, "ConditionalCheckFailedException")?;
    let old = delete().send().await?.attributes.context("the old item")?;
    ensure!(old == item("p", "s", &[("v", n(1))]), "{old:?}");
    ensure!(delete().send().await?.attributes.is_none_or(|a| a.is_empty()));
    Ok(())
}

pub(crate) async fn time_to_live_can_be_set(client: Client) -> Result<()> {
    let bench = Bench::new(client).await?;
    let spec = TimeToLiveSpecification::builder()
        .attribute_name("exp")
        .enabled(true)
        .build()?;
    let update = bench.client.update_time_to_live().table_name(&bench.table);
    update.time_to_live_specification(spec).send().await?;
    let described = bench
        .client
        .describe_time_to_live()
        .table_name(&bench.table)
        .send()
        .await?;
    let described = described.time_to_live_description().context("a description")?;
    ensure!(described.attribute_name() == Some("exp"));
    let enabled = [TimeToLiveStatus::Enabled, TimeToLiveStatus::Enabling];
    ensure!(
        described.time_to_live_status().is_some_and(|s| enabled.contains(s)),
        "{described:?}"
    );
    Ok(())
}
