//! Direct calls: each has the same effect and the same response as the call through the client.

use std::collections::HashMap;
use std::fmt::Debug;

use anyhow::Result;
use aws_sdk_dynamodb::Error;
use aws_sdk_dynamodb::error::ProvideErrorMetadata;
use aws_sdk_dynamodb::operation::batch_get_item::BatchGetItemInput;
use aws_sdk_dynamodb::operation::get_item::GetItemInput;
use aws_sdk_dynamodb::operation::put_item::PutItemInput;
use aws_sdk_dynamodb::operation::query::QueryInput;
use aws_sdk_dynamodb::operation::update_item::UpdateItemInput;
use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemInputBuilder;
use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::{AttributeValue, KeysAndAttributes, ReturnValue, ReturnValuesOnConditionCheckFailure};
use tieline_embedded::{DirectTables, Embedded, Options};

use crate::bench::{Bench, INDEX, Item, client, item, key, n, s};
use crate::servers::InProcess;

/// Two tables with the same contents; every changing call is made on both.
struct Pair {
    through_client: Bench,
    direct: DirectTables,
    table: String,
    _engines: [InProcess; 2],
}

/// Makes a call in both ways, checks that the results are equal, and returns the response.
macro_rules! both {
    ($pair:expr, $method:ident, $call:expr) => {{
        let (pair, call) = (&$pair, $call);
        let there = call.clone().table_name(&pair.through_client.table);
        let there = there.send_with(&pair.through_client.client).await.map_err(Error::from);
        let here = pair.direct.$method(call.table_name(&pair.table).build()?).await;
        same(there, here)
    }};
}

impl Pair {
    async fn new() -> Result<Self> {
        let engines = [InProcess::start(), InProcess::start()];
        let client = |engine: &InProcess| client(engine.url(), Some(engine.embedded.http_client()));
        Ok(Self {
            through_client: Bench::new(client(&engines[0])).await?,
            direct: engines[1].embedded.direct_tables().expect("there is no observer"),
            table: Bench::new(client(&engines[1])).await?.table,
            _engines: engines,
        })
    }
}

#[expect(clippy::result_large_err, reason = "the error is the SDK's")]
/// Checks that both results are equal, response or error, and returns one.
fn same<A: Debug + PartialEq>(there: Result<A, Error>, here: Result<A, Error>) -> Result<A, Error> {
    match (&there, &here) {
        (Ok(there), Ok(here)) => assert_eq!(here, there),
        (Err(there), Err(here)) => {
            assert_eq!(here.code(), there.code(), "{here}");
            assert_eq!(here.message(), there.message());
            assert_eq!(found_by(here), found_by(there));
        }
        _ => panic!("through the client {there:?}, directly {here:?}"),
    }
    here
}

/// The item in the error of a failed condition.
fn found_by(error: &Error) -> Option<&Item> {
    match error {
        Error::ConditionalCheckFailedException(refused) => refused.item.as_ref(),
        _ => None,
    }
}

fn of_every_type() -> Item {
    let inner = HashMap::from([("k".to_owned(), AttributeValue::L(vec![s("täxt 🚀"), n(-1)]))]);
    let texts = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect();
    let attributes = [
        ("text", s("")),
        ("number", AttributeValue::N("12345678901234567890.5".into())),
        ("bytes", AttributeValue::B(Blob::new([0_u8, 255]))),
        ("yes", AttributeValue::Bool(true)),
        ("nothing", AttributeValue::Null(true)),
        ("map", AttributeValue::M(inner)),
        ("texts", AttributeValue::Ss(texts(&["a", "b"]))),
        ("numbers", AttributeValue::Ns(texts(&["1", "2"]))),
        (
            "all_bytes",
            AttributeValue::Bs(vec![Blob::new([1_u8]), Blob::new([2_u8])]),
        ),
    ];
    item("p", "s", &attributes)
}

#[tokio::test]
async fn items_are_written_and_read() -> Result<()> {
    let pair = Pair::new().await?;
    let put = PutItemInput::builder().set_item(Some(of_every_type()));
    both!(pair, put_item, put.clone())?;
    let again = put
        .condition_expression("attribute_not_exists(#p)")
        .expression_attribute_names("#p", "pk")
        .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
    let refused = both!(pair, put_item, again).unwrap_err();
    assert_eq!(found_by(&refused), Some(&of_every_type()));

    let get = GetItemInput::builder().set_key(Some(key("p", "s")));
    assert_eq!(both!(pair, get_item, get.clone())?.item, Some(of_every_type()));
    let part = get
        .clone()
        .projection_expression("#m.k, #t")
        .expression_attribute_names("#m", "map")
        .expression_attribute_names("#t", "text")
        .consistent_read(true);
    assert_eq!(both!(pair, get_item, part)?.item.map(|item| item.len()), Some(2));
    let missing = GetItemInput::builder().set_key(Some(key("p", "other")));
    assert_eq!(both!(pair, get_item, missing)?.item, None);
    both!(pair, get_item, get.set_key(Some(item("p", "s", &[("more", n(1))])))).unwrap_err();
    Ok(())
}

#[tokio::test]
async fn items_are_changed() -> Result<()> {
    let pair = Pair::new().await?;
    let change = |expression: &str| {
        UpdateItemInput::builder()
            .set_key(Some(key("p", "s")))
            .update_expression(expression)
            .return_values(ReturnValue::AllNew)
    };
    let first = change("SET a = if_not_exists(a, :a), l = list_append(if_not_exists(l, :l), :l) ADD c :one");
    let first = first
        .expression_attribute_values(":a", s("first"))
        .expression_attribute_values(":l", AttributeValue::L(vec![n(1)]))
        .expression_attribute_values(":one", n(1));
    both!(pair, update_item, first.clone())?;
    let twice = both!(pair, update_item, first)?.attributes.unwrap_or_default();
    assert_eq!(twice["c"], n(2));

    let only_if = |change: UpdateItemInputBuilder, a: &str| {
        change
            .condition_expression("a = :a")
            .expression_attribute_values(":a", s(a))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
    };
    let refused = both!(pair, update_item, only_if(change("REMOVE l"), "second")).unwrap_err();
    assert_eq!(found_by(&refused), Some(&twice));
    let removed = change("REMOVE l").return_values(ReturnValue::UpdatedOld);
    both!(pair, update_item, only_if(removed, "first"))?;

    both!(pair, update_item, change("SET = 1")).unwrap_err();
    let large = change("SET a = :a, b = :a").expression_attribute_values(":a", s(&"x".repeat(210 * 1024)));
    let too_large = both!(pair, update_item, large).unwrap_err();
    assert!(
        too_large
            .message()
            .unwrap()
            .contains("exceeded the maximum allowed size"),
        "{too_large:?}"
    );
    Ok(())
}

#[tokio::test]
async fn partitions_are_queried() -> Result<()> {
    let pair = Pair::new().await?;
    for at in 0..10 {
        let put = item("p", &format!("s{at}"), &[("gk", s("g")), ("n", n(at))]);
        both!(pair, put_item, PutItemInput::builder().set_item(Some(put)))?;
    }
    let range = QueryInput::builder()
        .key_condition_expression("pk = :p AND sk BETWEEN :least AND :greatest")
        .expression_attribute_values(":p", s("p"))
        .expression_attribute_values(":least", s("s2"))
        .expression_attribute_values(":greatest", s("s8"));
    assert_eq!(both!(pair, query, range.clone())?.count, 7);
    let page = range.clone().limit(3).scan_index_forward(false);
    let page = both!(pair, query, page)?;
    assert_eq!(page.items().first().map(|item| &item["sk"]), Some(&s("s8")));
    let next = range.clone().set_exclusive_start_key(page.last_evaluated_key);
    let next = next.scan_index_forward(false).projection_expression("sk");
    assert_eq!(both!(pair, query, next)?.count, 4);
    both!(pair, query, range.limit(0)).unwrap_err();
    let index = QueryInput::builder()
        .index_name(INDEX)
        .key_condition_expression("gk = :g")
        .filter_expression("n > :n")
        .expression_attribute_values(":g", s("g"))
        .expression_attribute_values(":n", n(6));
    assert_eq!(both!(pair, query, index)?.count, 3);
    Ok(())
}

/// A call reads up to 16 MiB.
#[tokio::test]
async fn items_beyond_a_batch_s_size_limit_are_returned_as_unprocessed() -> Result<()> {
    let pair = Pair::new().await?;
    let body = s(&"x".repeat(390 * 1024));
    let mut keys = vec![key("p", "missing")];
    for at in 0..45 {
        let sort = format!("s{at}");
        let put = item("p", &sort, &[("body", body.clone())]);
        both!(pair, put_item, PutItemInput::builder().set_item(Some(put)))?;
        keys.push(key("p", &sort));
    }
    let asked = KeysAndAttributes::builder()
        .set_keys(Some(keys))
        .consistent_read(true)
        .projection_expression("sk")
        .build()?;
    let call = |table: &str| BatchGetItemInput::builder().request_items(table, asked.clone());
    let there = call(&pair.through_client.table);
    let there = there.send_with(&pair.through_client.client).await?;
    let here = pair.direct.batch_get_item(call(&pair.table).build()?).await?;
    let (mut found, mut left) = (here.responses.unwrap(), here.unprocessed_keys.unwrap());
    let found = found.remove(&pair.table).unwrap();
    assert_eq!(found, there.responses.unwrap()[&pair.through_client.table]);
    let left = left.remove(&pair.table).unwrap();
    assert_eq!(left, there.unprocessed_keys.unwrap()[&pair.through_client.table]);
    assert_eq!(found.len() + left.keys.len(), 45);
    Ok(())
}

#[tokio::test]
async fn calls_to_unknown_or_closed_tables_fail() -> Result<()> {
    let embedded = Embedded::in_memory(Options::default())?;
    let tables = embedded.direct_tables().unwrap();
    let get = GetItemInput::builder().table_name("none").set_key(Some(key("p", "s")));
    let unknown = tables.get_item(get.clone().build()?).await;
    assert!(
        matches!(unknown, Err(Error::ResourceNotFoundException(_))),
        "{unknown:?}"
    );
    embedded.close().await;
    let closed = tables.get_item(get.build()?).await;
    assert!(matches!(closed, Err(Error::InternalServerError(_))), "{closed:?}");
    Ok(())
}
