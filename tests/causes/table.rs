//! The table of causes.

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use crate::expected::Injected;
use crate::organization::Organization;
use crate::{rows_agents, rows_connections, rows_platforms, rows_setup, rows_webhooks};

/// One cause of a silent bot.
pub(crate) struct Cause {
    /// Also the id of its organization.
    pub(crate) name: &'static str,
    /// Whether it is injected into the bridge that has a public address.
    pub(crate) needs_public_address: bool,
    pub(crate) inject: for<'a> fn(&'a Organization) -> BoxFuture<'a, anyhow::Result<Injected>>,
}

macro_rules! causes {
    ($($(#[$public:ident])? $name:ident: $rows:ident :: $inject:ident,)*) => {
        &[$(Cause {
            name: stringify!($name),
            needs_public_address: causes!(@public $($public)?),
            inject: |place| $rows::$inject(place).boxed(),
        },)*]
    };
    (@public public) => { true };
    (@public) => { false };
}

/// Every cause.
pub(crate) const CAUSES: &[Cause] = causes![
    // The slowest causes come first.
    socket_half_open: rows_connections::half_open,
    agent_slow: rows_agents::slow_first_token,
    stopped: rows_setup::stopped,
    unbound: rows_setup::unbound,
    trigger_disabled: rows_setup::trigger_disabled,
    bound_elsewhere: rows_setup::bound_elsewhere,
    not_allowed: rows_setup::not_allowed,
    stale_message: rows_setup::stale,
    agent_key_wrong: rows_agents::wrong_key,
    agent_model_unknown: rows_agents::unknown_model,
    agent_limited: rows_agents::limited,
    agent_broken: rows_agents::broken,
    agent_is_another_program: rows_agents::other_program,
    agent_down: rows_agents::down,
    agent_host_unknown: rows_agents::unknown_host,
    agent_breaks_off: rows_agents::breaks_off,
    agent_fails_at_times: rows_agents::intermittent,
    agent_answers_nothing: rows_agents::empty_answers,
    callback_token_wrong: rows_webhooks::wrong_token,
    callback_key_wrong: rows_webhooks::wrong_key,
    callback_on_loopback: rows_webhooks::loopback_address,
    #[public]
    callback_never_called: rows_webhooks::never_called,
    secret_wrong: rows_webhooks::wrong_secret,
    answer_refused: rows_webhooks::answer_refused,
    rate_limited: rows_webhooks::rate_limited,
    socket_secret_wrong: rows_connections::wrong_secret,
    socket_host_unreachable: rows_connections::unreachable_host,
    socket_platform_down: rows_connections::outage,
    kicked: rows_connections::kicked,
    privacy_mode: rows_platforms::privacy_mode,
    webhook_of_another_program: rows_platforms::webhook_of_another_program,
    webhook_replaced: rows_platforms::webhook_replaced,
    permission_not_granted: rows_platforms::permission_not_granted,
    bot_blocked: rows_platforms::bot_blocked,
    content_intent_off: rows_platforms::content_intent_off,
    intents_refused: rows_platforms::intents_refused,
    never_logged_in: rows_platforms::never_logged_in,
    signed_out: rows_platforms::signed_out,
    reply_window_closed: rows_platforms::window_closed,
    address_not_trusted: rows_platforms::address_not_trusted,
    address_not_listed: rows_platforms::address_not_listed,
    account_address_not_listed: rows_platforms::account_address_not_listed,
    account_window_closed: rows_platforms::account_window_closed,
    person_not_visible: rows_platforms::not_visible,
];
