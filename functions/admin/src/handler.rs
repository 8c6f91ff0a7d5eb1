//! API Gateway's words into the management API's, and back.

use lambda_http::Error;
use tieline_bridge::world::World;

/// Serves until the environment ends.
pub(crate) async fn serve(world: World) -> Result<(), Error> {
    lambda_http::run(tieline_admin::router(world)).await
}
