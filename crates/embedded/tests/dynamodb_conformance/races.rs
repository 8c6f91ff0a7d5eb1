//! Concurrent callers on one item.

use anyhow::{Result, ensure};
use aws_sdk_dynamodb::Client;
use futures_util::future::{join_all, try_join_all};

use crate::bench::{Bench, item, key, n, s};

pub(crate) async fn one_of_many_gets_a_lease(client: Client) -> Result<()> {
    let bench = Bench::new(client).await?;
    let takes = (0..200).map(|i| {
        let put = bench.client.put_item().table_name(&bench.table);
        let put = put.set_item(Some(item("lease", "s", &[("owner", s(&i.to_string()))])));
        put.condition_expression("attribute_not_exists(pk)").send()
    });
    let winners = join_all(takes).await.into_iter().filter(Result::is_ok).count();
    ensure!(winners == 1, "{winners} winners");
    Ok(())
}

pub(crate) async fn concurrent_counters_are_exact(client: Client) -> Result<()> {
    let bench = Bench::new(client).await?;
    let counts = (0..500).map(|_| {
        let update = bench
            .client
            .update_item()
            .table_name(&bench.table)
            .set_key(Some(key("counter", "s")));
        update
            .update_expression("ADD v :one")
            .expression_attribute_values(":one", n(1))
            .send()
    });
    try_join_all(counts).await?;
    bench.expect("counter", "s", "v", n(500)).await
}
