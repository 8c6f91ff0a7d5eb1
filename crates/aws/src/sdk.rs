//! The SDK's configuration and its clients: region, credentials, timeouts, endpoints.

use std::time::Duration;

use aws_config::environment::EnvironmentVariableCredentialsProvider;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_sqs::config::SharedCredentialsProvider;

/// Longest wait for a connection to AWS.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(3100);
/// Longest try of a call to a table or to KMS: all are small. A lease outlives two of them, so that a connection which died without a
/// word costs no other caller theirs.
const TRY_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest try of a call to a queue, where a receive may wait for 20 s.
const QUEUE_TRY_TIMEOUT: Duration = Duration::from_secs(25);

/// The SDK's configuration in a Lambda function: region and credentials are in the environment, always.
///
/// The SDK's own search for them brings profiles, STS, metadata services along, which a function starts and uploads for nothing.
pub(crate) fn of_function(get: impl Fn(&str) -> Option<String>) -> SdkConfig {
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(get("AWS_REGION").map(Region::new))
        .credentials_provider(SharedCredentialsProvider::new(
            EnvironmentVariableCredentialsProvider::new(),
        ))
        .retry_config(RetryConfig::standard())
        .timeout_config(TimeoutConfig::builder().connect_timeout(CONNECT_TIMEOUT).build())
        .build()
}

/// A client of DynamoDB, at `endpoint` if there is one, else at AWS.
pub(crate) fn dynamodb(sdk: &SdkConfig, endpoint: Option<String>) -> aws_sdk_dynamodb::Client {
    let mut config = aws_sdk_dynamodb::config::Builder::from(sdk).timeout_config(limited(sdk, TRY_TIMEOUT));
    if endpoint.is_some() {
        config.set_endpoint_url(endpoint);
    }
    aws_sdk_dynamodb::Client::from_conf(config.build())
}

/// A client of KMS, at `endpoint` if there is one, else at AWS.
pub(crate) fn kms(sdk: &SdkConfig, endpoint: Option<String>) -> aws_sdk_kms::Client {
    let mut config = aws_sdk_kms::config::Builder::from(sdk).timeout_config(limited(sdk, TRY_TIMEOUT));
    if endpoint.is_some() {
        config.set_endpoint_url(endpoint);
    }
    aws_sdk_kms::Client::from_conf(config.build())
}

/// A client of SQS, at `endpoint` if there is one, else at AWS.
pub(crate) fn sqs(sdk: &SdkConfig, endpoint: Option<String>) -> aws_sdk_sqs::Client {
    let mut config = aws_sdk_sqs::config::Builder::from(sdk).timeout_config(limited(sdk, QUEUE_TRY_TIMEOUT));
    if endpoint.is_some() {
        config.set_endpoint_url(endpoint);
    }
    aws_sdk_sqs::Client::from_conf(config.build())
}

/// The SDK's timeouts, with one for each try of a call: else a call whose connection died without a word waits for ever.
fn limited(sdk: &SdkConfig, each_try: Duration) -> TimeoutConfig {
    let limits = sdk
        .timeout_config()
        .map_or_else(TimeoutConfig::builder, TimeoutConfig::to_builder);
    limits.operation_attempt_timeout(each_try).build()
}

#[cfg(test)]
mod tests {
    use tieline_bridge::world::Settings;
    use tieline_core::conversation::Owner;

    use super::*;

    #[test]
    fn no_try_lasts_for_ever_and_a_lease_outlives_two() {
        let sdk = of_function(|_| None);
        let limits = limited(&sdk, TRY_TIMEOUT);
        assert_eq!(limits.operation_attempt_timeout(), Some(TRY_TIMEOUT));
        assert_eq!(limits.connect_timeout(), Some(CONNECT_TIMEOUT), "what was set stays");
        let settings = Settings::new(
            String::new(),
            Owner {
                node: String::new(),
                life: String::new(),
            },
        );
        assert!(settings.heartbeat + TRY_TIMEOUT * 2 < settings.lease);
        assert!(QUEUE_TRY_TIMEOUT > tieline_queue::receive::MAX_WAIT);
    }
}
