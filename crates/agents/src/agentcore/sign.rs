//! AWS Signature Version 4 for the calls to AgentCore.
//!
//! See [IAM User Guide/Signing AWS API requests](https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv.html).

use std::time::{Duration, UNIX_EPOCH};

use aws_credential_types::Credentials;
use aws_credential_types::provider::ProvideCredentials as _;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use tieline_core::agent::AgentFailure;
use tieline_core::timestamp::Timestamp;
use url::Url;

use crate::env::Env;
use crate::failure;

const SERVICE: &str = "bedrock-agentcore";

/// Credentials of this process: its role on AWS, else those of its environment or profile.
pub(crate) async fn process_credentials(env: &Env) -> Result<Credentials, AgentFailure> {
    let missing = || {
        let message = "this process has no AWS credentials; give it a role, or set accessKeyId and secretAccessKey";
        failure::new(failure::CONNECT, message, false)
    };
    let provider = env.aws_credentials.as_ref().ok_or_else(missing)?;
    provider.provide_credentials().await.map_err(|_| missing())
}

/// Headers with the signature of a call.
pub(crate) fn headers(
    credentials: &Credentials,
    region: &str,
    url: &Url,
    signed: &HeaderMap,
    body: &[u8],
    now: Timestamp,
) -> Option<HeaderMap> {
    let identity = credentials.clone().into();
    let time = UNIX_EPOCH + Duration::from_secs(u64::try_from(now.as_secs()).ok()?);
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name(SERVICE)
        .time(time)
        .settings(SigningSettings::default())
        .build()
        .ok()?
        .into();
    let named = signed
        .iter()
        .filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)));
    let request = SignableRequest::new("POST", url.as_str(), named, SignableBody::Bytes(body)).ok()?;
    let (instructions, _) = sign(request, &params).ok()?.into_parts();
    let (headers, _) = instructions.into_parts();
    let headers = headers.into_iter().map(|header| {
        let mut value = HeaderValue::from_str(header.value()).ok()?;
        value.set_sensitive(true);
        Some((HeaderName::try_from(header.name()).ok()?, value))
    });
    headers.collect()
}
