//! Reads of many items: queries, an index, scans.

use anyhow::{Result, ensure};
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::query::builders::QueryFluentBuilder;

use crate::bench::{Bench, INDEX, Item, expect_refusal, item, n, s};

async fn filled(client: Client) -> Result<Bench> {
    let bench = Bench::new(client).await?;
    for i in 0..10 {
        bench
            .put(item("p", &format!("a#{i}"), &[("v", n(i)), ("w", s("w"))]))
            .await?;
    }
    bench.put(item("p", "b#0", &[("v", n(100)), ("gk", s("g"))])).await?;
    bench
        .put(item("other", "a#0", &[("v", n(200)), ("gk", s("g"))]))
        .await?;
    Ok(bench)
}

fn query(bench: &Bench, sort_condition: &str) -> QueryFluentBuilder {
    let query = bench.client.query().table_name(&bench.table);
    let query = query.key_condition_expression(format!("pk = :p AND {sort_condition}"));
    query.expression_attribute_values(":p", s("p"))
}

fn sort_keys(items: &[Item]) -> Vec<&str> {
    let keys = items.iter().filter_map(|item| item.get("sk")?.as_s().ok());
    keys.map(String::as_str).collect()
}

pub(crate) async fn queries_take_ranges_order_pages_and_filters(client: Client) -> Result<()> {
    let bench = filled(client).await?;
    let begins = query(&bench, "begins_with(sk, :a)").expression_attribute_values(":a", s("a#"));
    ensure!(begins.clone().send().await?.count() == 10);
    let last = begins.clone().scan_index_forward(false).limit(2).send().await?;
    ensure!(sort_keys(last.items()) == ["a#9", "a#8"], "{:?}", last.items());

    let between = query(&bench, "sk BETWEEN :x AND :y");
    let between = between
        .expression_attribute_values(":x", s("a#3"))
        .expression_attribute_values(":y", s("a#5"));
    ensure!(sort_keys(between.send().await?.items()) == ["a#3", "a#4", "a#5"]);

    let (mut seen, mut start) = (Vec::new(), None);
    loop {
        let page = begins.clone().limit(4).set_exclusive_start_key(start).send().await?;
        ensure!(page.items().len() <= 4);
        seen.extend(sort_keys(page.items()).into_iter().map(str::to_owned));
        start = page.last_evaluated_key;
        if start.is_none() {
            break;
        }
    }
    ensure!(seen.len() == 10 && seen.is_sorted(), "{seen:?}");

    let filtered = begins
        .filter_expression("v > :six")
        .expression_attribute_values(":six", n(6));
    let filtered = filtered.projection_expression("sk, v").send().await?;
    ensure!(sort_keys(filtered.items()) == ["a#7", "a#8", "a#9"] && filtered.scanned_count() == 10);
    ensure!(
        filtered.items().iter().all(|item| item.len() == 2),
        "{:?}",
        filtered.items()
    );
    Ok(())
}

pub(crate) async fn a_filter_on_a_key_is_refused(client: Client) -> Result<()> {
    let bench = filled(client).await?;
    let query = query(&bench, "sk > :a").expression_attribute_values(":a", s("a"));
    expect_refusal(query.filter_expression("sk <> :a").send().await, "ValidationException")
}

pub(crate) async fn a_sparse_index_has_only_items_with_its_key(client: Client) -> Result<()> {
    let bench = filled(client).await?;
    let query = bench.client.query().table_name(&bench.table).index_name(INDEX);
    let query = query
        .key_condition_expression("gk = :g")
        .expression_attribute_values(":g", s("g"));
    ensure!(query.clone().send().await?.count() == 2);
    let update = bench.client.update_item().table_name(&bench.table);
    let update = update
        .set_key(Some(crate::bench::key("p", "b#0")))
        .update_expression("REMOVE gk");
    update.send().await?;
    let left = query.send().await?;
    ensure!(
        left.count() == 1 && left.items()[0]["pk"] == s("other"),
        "{:?}",
        left.items()
    );
    Ok(())
}

pub(crate) async fn scans_page_through_everything(client: Client) -> Result<()> {
    let bench = filled(client).await?;
    let mut n_items = 0;
    let mut pages = bench
        .client
        .scan()
        .table_name(&bench.table)
        .limit(5)
        .into_paginator()
        .send();
    while let Some(page) = pages.next().await {
        n_items += page?.items().len();
    }
    ensure!(n_items == 12, "{n_items} items");
    Ok(())
}

pub(crate) async fn an_unknown_table_is_refused(client: Client) -> Result<()> {
    let get = client
        .get_item()
        .table_name("not-there")
        .set_key(Some(crate::bench::key("p", "s")));
    expect_refusal(get.send().await, "ResourceNotFoundException")?;
    expect_refusal(
        client.describe_table().table_name("not-there").send().await,
        "ResourceNotFoundException",
    )
}
