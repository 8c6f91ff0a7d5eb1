//! The list of all API routes, and their OpenAPI description.
//!
//! The description is generated from the same list as the routes, by a test: the programs contain the result only, not what generates it.

#[cfg(test)]
mod extra_routes;
#[cfg(test)]
mod generate;
#[cfg(test)]
mod webhooks;

use axum::Router;
use axum::handler::Handler;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::on;
use utoipa::openapi::HttpMethod;
use utoipa_axum::PathItemExt as _;

use crate::state::AdminState;
use crate::{
    agents, apply, audit_log, deadletters, integrations, keys, links, mapper, messages, notify, organizations,
    pairings, platforms, runs, scheduled, session, tokens, triggers, users,
};

/// The generated description. A test fails if it isn't what the code describes; with `TIELINE_UPDATE=1` the test writes it.
pub(crate) const DESCRIPTION: &str = include_str!("openapi/description.json");

/// The type that `#[utoipa::path]` generates for a handler.
macro_rules! operation {
    ($module:ident::$handler:ident) => {
        pastey::paste! { $module::[<__path_ $handler>] }
    };
    ($module:ident::$inner:ident::$handler:ident) => {
        pastey::paste! { $module::$inner::[<__path_ $handler>] }
    };
}

/// All routes of the API, grouped by path. One generated function serves them, another describes them.
macro_rules! operations {
    ($([$($($part:ident)::+),+],)+) => {
        /// Serves every route of the API.
        pub(crate) fn router() -> Router<AdminState> {
            let router = Router::new();
            $($(let router = serve::<operation!($($part)::+), _, _>(router, $($part)::+);)+)+
            router
        }

        /// Adds every route of the API to a description.
        #[cfg(test)]
        fn described(head: utoipa::openapi::OpenApi) -> utoipa::openapi::OpenApi {
            utoipa_axum::router::OpenApiRouter::<AdminState>::with_openapi(head)
                $(.routes(utoipa_axum::routes!($($($part)::+),+)))+
                .into_openapi()
        }
    };
}

operations! {
    [platforms::list],
    [keys::show],
    [keys::rotate],
    [organizations::list, organizations::create],
    [organizations::get, organizations::patch],
    [notify::get, notify::patch, notify::delete],
    [notify::test],
    [mapper::get, mapper::patch, mapper::delete],
    [mapper::map],
    [apply::apply],
    [apply::export::export],
    [tokens::list, tokens::create],
    [tokens::delete],
    [session::get, session::open, session::end],
    [users::list],
    [audit_log::list],
    [audit_log::list_all],
    [users::get, users::patch, users::delete],
    [pairings::list],
    [pairings::approve_code],
    [pairings::approve],
    [pairings::deny],
    [pairings::make_link],
    [integrations::list, integrations::create],
    [integrations::get, integrations::patch, integrations::delete],
    [integrations::summary],
    [integrations::account::release],
    [integrations::restore],
    [integrations::lifecycle::start],
    [integrations::lifecycle::stop],
    [integrations::lifecycle::restart],
    [integrations::status::get],
    [integrations::probe::test],
    [integrations::doctor::examine],
    [integrations::login::start, integrations::login::get],
    [integrations::send_message::say],
    [integrations::impact::get],
    [integrations::logs::list],
    [integrations::conversations::list],
    [integrations::conversations::reset],
    [integrations::conversations::bind],
    [agents::list, agents::create],
    [agents::get, agents::patch, agents::delete],
    [agents::restore],
    [agents::test],
    [triggers::list, triggers::create],
    [triggers::get, triggers::patch, triggers::delete],
    [triggers::restore],
    [messages::list],
    [messages::get],
    [scheduled::list, scheduled::create],
    [scheduled::get, scheduled::cancel],
    [deadletters::list],
    [deadletters::redrive],
    [deadletters::redrive_since],
    [runs::seen, runs::report],
    [links::part],
    [links::text],
}

fn serve<O: utoipa::Path, H: Handler<T, AdminState>, T: 'static>(
    router: Router<AdminState>,
    handler: H,
) -> Router<AdminState> {
    let serve_by = |router: Router<AdminState>, method: HttpMethod| {
        router.route(&O::path(), on(method.to_method_filter(), handler.clone()))
    };
    O::methods().into_iter().fold(router, serve_by)
}

/// Handler of the description.
pub(crate) async fn describe() -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/json")], DESCRIPTION)
}
