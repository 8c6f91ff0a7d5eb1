//! Causes at the agent: unreachable, wrong key, invalid answer, slow.

use futures_util::future::try_join_all;
use tieline_tests::reserved_port::free_port;

use crate::expected::{Expected, Injected};
use crate::organization::{Organization, host};

/// The agent fails for messages and for probes.
async fn failing(place: &Organization, agent: String, parts: &[&str]) -> anyhow::Result<Injected> {
    let bot = place.web(&agent).await?;
    place.say(&bot.id, "hello").await?;
    place.ended(&bot.id, "failed", 1).await?;
    let expected = Expected::failed("agent_reachable", "edit_agent", parts)
        .status("degraded", Some("agent_failed"))
        .log("agent_failed")
        .overview("edit_agent");
    Ok(expected.of(bot.id))
}

async fn answering_with(place: &Organization, status: u16) -> anyhow::Result<Injected> {
    let agent = place.agent(&format!("status-{status}")).await?;
    failing(
        place,
        agent,
        &["no_quota", "is used up", "Support", place.agents_host()],
    )
    .await
}

pub(crate) async fn wrong_key(place: &Organization) -> anyhow::Result<Injected> {
    answering_with(place, 401).await
}

pub(crate) async fn unknown_model(place: &Organization) -> anyhow::Result<Injected> {
    answering_with(place, 404).await
}

pub(crate) async fn limited(place: &Organization) -> anyhow::Result<Injected> {
    only_tested(answering_with(place, 429).await)
}

pub(crate) async fn broken(place: &Organization) -> anyhow::Result<Injected> {
    only_tested(answering_with(place, 500).await)
}

/// The agent's settings are right, so the doctor suggests a test of the agent and no edit.
fn only_tested(injected: anyhow::Result<Injected>) -> anyhow::Result<Injected> {
    let mut injected = injected?;
    injected.expected.action = "test_agent";
    Ok(injected)
}

/// Another program answers at the agent's address.
pub(crate) async fn other_program(place: &Organization) -> anyhow::Result<Injected> {
    let agent = place.agent("html").await?;
    failing(place, agent, &["Support", place.agents_host()]).await
}

pub(crate) async fn down(place: &Organization) -> anyhow::Result<Injected> {
    let address = format!("http://127.0.0.1:{}", free_port()?);
    let agent = place.agent_at(&address).await?;
    failing(place, agent, &["connect", host(&address)]).await
}

pub(crate) async fn unknown_host(place: &Organization) -> anyhow::Result<Injected> {
    let agent = place.agent_at("http://no-such-agent.invalid").await?;
    failing(place, agent, &["no-such-agent.invalid"]).await
}

/// Messages fail, but a probe is answered.
pub(crate) async fn breaks_off(place: &Organization) -> anyhow::Result<Injected> {
    let bot = place.web(&place.agent("breaks").await?).await?;
    place.say(&bot.id, "hello").await?;
    place.ended(&bot.id, "failed", 1).await?;
    let expected = Expected::failed("answers", "redrive", &["Support", place.agents_host(), "1 of 1"])
        .status("degraded", Some("agent_failed"))
        .log("agent_failed")
        .overview("edit_agent");
    Ok(expected.of(bot.id))
}

/// Several messages failed within the hour, and the newest one is answered.
pub(crate) async fn intermittent(place: &Organization) -> anyhow::Result<Injected> {
    let bot = place.web(&place.agent("flaky").await?).await?;
    try_join_all([(); 3].map(|()| place.say(&bot.id, "fail"))).await?;
    place.ended(&bot.id, "failed", 3).await?;
    place.say(&bot.id, "hello").await?;
    place.ended(&bot.id, "answered", 1).await?;
    let expected = Expected::failed("answers", "redrive", &["no_quota", "3 of 4"])
        .status("degraded", Some("agent_failed"))
        .log("agent_failed")
        .overview("edit_agent");
    Ok(expected.of(bot.id))
}

pub(crate) async fn empty_answers(place: &Organization) -> anyhow::Result<Injected> {
    let bot = place.web(&place.agent("empty").await?).await?;
    place.say(&bot.id, "hello").await?;
    let message = place.ended(&bot.id, "answered", 1).await?;
    let id = message["id"].as_str().unwrap_or_default();
    let expected = Expected::failed("empty_answers", "test_agent", &[id, "Support", place.agents_host()])
        .status("degraded", Some("empty_answer"))
        .log("empty_answer")
        .overview("test_agent");
    Ok(expected.of(bot.id))
}

pub(crate) async fn slow_first_token(place: &Organization) -> anyhow::Result<Injected> {
    let bot = place.web(&place.agent("slow").await?).await?;
    place.say(&bot.id, "hello").await?;
    place.ended(&bot.id, "answered", 1).await?;
    let expected = Expected::warning("speed", "test_agent", &["Support", "begin slowly"])
        .status("connected", Some("slow"))
        .overview("test_agent");
    Ok(expected.of(bot.id))
}
