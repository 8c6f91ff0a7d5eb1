//! AWS credentials of a program that may run anywhere: of its environment, its profile, or its machine's role.

use aws_config::default_provider::credentials::DefaultCredentialsChain;
use aws_credential_types::provider::{ProvideCredentials, future};
use tokio::sync::OnceCell;

/// Credentials provider that is built at the first use, because most programs never need credentials.
#[derive(Debug, Default)]
pub(crate) struct LazyCredentials(OnceCell<DefaultCredentialsChain>);

impl ProvideCredentials for LazyCredentials {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(async {
            let chain = self
                .0
                .get_or_init(|| async { DefaultCredentialsChain::builder().build().await });
            chain.await.provide_credentials().await
        })
    }
}
