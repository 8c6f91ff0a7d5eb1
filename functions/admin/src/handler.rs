//! API Gateway's words into the management API's, and back.

use axum::Router;
use axum::routing::get;
use lambda_http::Error;
use tieline_bridge::world::World;

/// Serves until the environment ends.
pub(crate) async fn serve(world: World) -> Result<(), Error> {
    lambda_http::run(router(&world)).await
}

fn router(_world: &World) -> Router {
    Router::new().route("/healthz", get(|| async { "ok" }))
}
