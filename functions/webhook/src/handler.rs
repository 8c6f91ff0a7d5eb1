//! Requests of API Gateway's HTTP API, or of the function URL, into the bridge's, and back.

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

/// How long the data keys may take: a platform waits for its answer.
const KEYS_PATIENCE: Duration = Duration::from_millis(500);

/// Reads the data keys again, for this process stood still while no request was served. One that can't goes on with those that it has: what
/// it seals with an older key is opened for weeks, and the queue can take messages in while the tables are away.
async fn refresh_keys(world: &World) {
    let refreshed = timeout(KEYS_PATIENCE, world.store.refresh_keys(world.clock.now())).await;
    let failure = match refreshed {
        Ok(Ok(())) => return,
        Ok(Err(error)) => chain(&error),
        Err(_) => "no answer in time".to_owned(),
    };
    warn!(
        error = failure,
        "data keys can't be read again; going on with older ones"
    );
}

/// Serves until the environment ends.
pub(crate) async fn serve(world: World) -> Result<(), Error> {
    let (world, limiter) = (&world, &Mutex::new(CallbackLimiter::default()));
    run(service_fn(|event: LambdaEvent<Request>| async move {
        if is_too_many(world, limiter, &event.payload) {
            return Ok(Response::too_many());
        }
        refresh_keys(world).await;
        // Boxed, or the compiler despairs of the depth of it.
        let answer = Box::pin(answer(world, event.payload)).await;
        Ok::<_, Error>(Response::from(answer))
    }))
    .await
}

/// Whether a bot is called more often than its share, before anything is read. Logged in samples, as other refusals.
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

/// Which of our addresses a request is for.
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
