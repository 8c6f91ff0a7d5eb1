//! API Gateway's words into the bridge's, and back.

use lambda_runtime::{Error, LambdaEvent, run, service_fn};
use tieline_bridge::operator::Proofs;
use tieline_bridge::operator::session::GUARD_HEADER;
use tieline_bridge::world::World;
use tieline_bridge::{operator, receive, reply_poll};
use tieline_connectors::registry;
use tieline_core::http_types::WebhookAnswer;
use tieline_core::ids::{IntegrationId, ReplyId};

use crate::gateway::{Request, Response};

/// Serves until the environment ends.
pub(crate) async fn serve(world: World) -> Result<(), Error> {
    let world = &world;
    run(service_fn(|event: LambdaEvent<Request>| async move {
        // While no request was served, this process stood still.
        world.store.refresh_keys(world.clock.now()).await?;
        // Boxed, or the compiler despairs of the depth of it.
        let answer = Box::pin(answer(world, event.payload)).await;
        Ok::<_, Error>(Response::from(answer))
    }))
    .await
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
