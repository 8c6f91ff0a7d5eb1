//! Translates between API Gateway and the bridge.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use lambda_runtime::{Error, LambdaEvent, run, service_fn};
use tieline_bridge::error_chain::chain;
use tieline_bridge::operator::Proofs;
use tieline_bridge::operator::session::GUARD_HEADER;
use tieline_bridge::world::World;
use tieline_bridge::{operator, receive, reply_poll};
use tieline_connectors::registry;
use tieline_core::http_types::WebhookAnswer;
use tieline_core::ids::{IntegrationId, ReplyId};
use tokio::time::{Instant, timeout};
use tracing::{info, warn};

use crate::callback_limiter::CallbackLimiter;
use crate::gateway::{Request, Response};

/// Timeout for reading the data keys: a platform waits for its answer.
const KEYS_PATIENCE: Duration = Duration::from_millis(500);

/// Reads the data keys again, for this process was frozen while no request was served. If that fails, it continues with those that it has: values
/// sealed with an older key can be opened for weeks, and the queue can accept messages while the tables are unavailable.
async fn refresh_keys(world: &World) {
    let refreshed = timeout(KEYS_PATIENCE, world.store.refresh_keys(world.clock.now())).await;
    let failure = match refreshed {
        Ok(Ok(())) => return,
        Ok(Err(error)) => chain(&error),
        Err(_) => "no answer in time".to_owned(),
    };
    warn!(
        error = failure,
        "data keys can't be read again; continuing with older ones"
    );
}

/// Serves until the execution environment ends.
pub(crate) async fn serve(world: World) -> Result<(), Error> {
    let (world, limiter) = (&world, &Mutex::new(CallbackLimiter::default()));
    run(service_fn(|event: LambdaEvent<Request>| async move {
        if is_too_many(world, limiter, &event.payload) {
            return Ok(Response::too_many());
        }
        refresh_keys(world).await;
        // Boxed: the nested future is too deep for the compiler.
        let answer = Box::pin(answer(world, event.payload)).await;
        Ok::<_, Error>(Response::from(answer))
    }))
    .await
}

/// Whether a bot exceeds its rate limit, checked before anything is read. Logged in samples, like other refusals.
fn is_too_many(world: &World, limiter: &Mutex<CallbackLimiter>, request: &Request) -> bool {
    let Route::Webhook { platform, integration } = route(&request.raw_path) else {
        return false;
    };
    let mut limiter = limiter.lock().unwrap_or_else(PoisonError::into_inner);
    if limiter.admit(integration, Instant::now()) {
        return false;
    }
    if let Some(n_left_out) = world.refusal_log.sample(world.clock.now()) {
        info!(
            platform,
            account.id = integration,
            n_left_out,
            "refused a callback: too many for one bot"
        );
    }
    true
}

/// The address that a request is for.
enum Route<'a> {
    Webhook { platform: &'a str, integration: &'a str },
    Reply { reply: &'a str },
    Nowhere,
}

fn route(path: &str) -> Route<'_> {
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    match parts[..] {
        ["api", platform, "webhook", integration] => Route::Webhook { platform, integration },
        ["api", platform, "replies", reply] if platform == registry::own_channel().platform => Route::Reply { reply },
        _ => Route::Nowhere,
    }
}

async fn answer(world: &World, request: Request) -> WebhookAnswer {
    let path = request.raw_path.clone();
    let cookies = request.cookies();
    let proofs = Proofs {
        authorization: request.header("authorization"),
        cookie: cookies.as_deref(),
        is_guarded: request.header(GUARD_HEADER).is_some(),
        changes: request.changes(),
        address: request.address(),
    };
    match route(&path) {
        Route::Webhook { platform, integration } => {
            let operator = match operator::signed_in(world, platform, &proofs).await {
                Ok(operator) => operator,
                Err(refusal) => return refusal,
            };
            let integration = IntegrationId::new(integration);
            let Some(request) = request.into_webhook() else {
                return WebhookAnswer::empty(400);
            };
            receive::receive(world, platform, &integration, &request, operator.as_ref()).await
        }
        Route::Reply { reply } => {
            let operator = match operator::reader(world, &proofs).await {
                Ok(operator) => operator,
                Err(refusal) => return refusal,
            };
            reply_poll::long_poll(world, &ReplyId::new(reply), request.query(), operator.as_ref()).await
        }
        Route::Nowhere => WebhookAnswer::empty(404),
    }
}
