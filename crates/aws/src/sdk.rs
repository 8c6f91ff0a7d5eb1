//! Configuration and clients of the AWS SDK: region, credentials, timeouts, endpoints.
//!
//! The SDK's protection against stalled streams is off: bodies are small and every attempt has a timeout, while the protection wakes each call
//! ten times a second until it is answered, which is most of what an idle relay's long polls cost.

use std::time::Duration;

use aws_config::environment::EnvironmentVariableCredentialsProvider;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_sqs::config::{SharedCredentialsProvider, StalledStreamProtectionConfig};

/// Longest wait for a connection to AWS.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(3100);
/// Timeout of one attempt of a call to a table or to KMS: all these calls are small. A lease lasts longer than two attempts, so that one
/// dead connection (no FIN, no RST) doesn't cost other holders their leases.
const TRY_TIMEOUT: Duration = Duration::from_secs(5);
/// Timeout of one attempt of a call to a queue, where a receive may wait for 20 s.
const QUEUE_TRY_TIMEOUT: Duration = Duration::from_secs(25);

/// SDK configuration of a Lambda function, where region and credentials are always in the environment.
///
/// The SDK's own credential search would add profiles, STS and metadata services, which a function would load and upload for nothing.
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

/// Creates a client of DynamoDB for `endpoint`, or for AWS without one.
pub(crate) fn dynamodb(sdk: &SdkConfig, endpoint: Option<String>) -> aws_sdk_dynamodb::Client {
    let mut config = aws_sdk_dynamodb::config::Builder::from(sdk)
        .timeout_config(limited(sdk, TRY_TIMEOUT))
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
    if endpoint.is_some() {
        config.set_endpoint_url(endpoint);
    }
    aws_sdk_dynamodb::Client::from_conf(config.build())
}

/// Creates a client of KMS for `endpoint`, or for AWS without one.
pub(crate) fn kms(sdk: &SdkConfig, endpoint: Option<String>) -> aws_sdk_kms::Client {
    let mut config = aws_sdk_kms::config::Builder::from(sdk)
        .timeout_config(limited(sdk, TRY_TIMEOUT))
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
    if endpoint.is_some() {
        config.set_endpoint_url(endpoint);
    }
    aws_sdk_kms::Client::from_conf(config.build())
}

/// Creates a client of SQS for `endpoint`, or for AWS without one.
pub(crate) fn sqs(sdk: &SdkConfig, endpoint: Option<String>) -> aws_sdk_sqs::Client {
    let mut config = aws_sdk_sqs::config::Builder::from(sdk)
        .timeout_config(limited(sdk, QUEUE_TRY_TIMEOUT))
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
    if endpoint.is_some() {
        config.set_endpoint_url(endpoint);
    }
    aws_sdk_sqs::Client::from_conf(config.build())
}

/// The SDK's timeouts, plus one for each attempt: without it a call on a silently dead connection waits forever.
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
    fn a_long_poll_is_not_woken_to_look_for_stalled_streams() {
        let sdk = of_function(|_| None);
        let enabled = [
            dynamodb(&sdk, None)
                .config()
                .stalled_stream_protection()
                .is_none_or(StalledStreamProtectionConfig::is_enabled),
            kms(&sdk, None)
                .config()
                .stalled_stream_protection()
                .is_none_or(StalledStreamProtectionConfig::is_enabled),
            sqs(&sdk, None)
                .config()
                .stalled_stream_protection()
                .is_none_or(StalledStreamProtectionConfig::is_enabled),
        ];
        assert_eq!(enabled, [false; 3]);
    }

    #[test]
    fn attempts_time_out_and_a_lease_outlasts_two_of_them() {
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
