//! What an error of the cluster's means for what was being done.

use rdkafka::{error::KafkaError, types::RDKafkaErrorCode};

use crate::log::{LogError, LogErrorKind};

/// What an error means for what was being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ErrorClass {
    /// The group has moved on without this member.
    Refused,
    /// A producer of the same transactional id took over, or the broker gave the transaction up.
    Fenced,
    /// It does not pass by itself: rights, limits, versions.
    Permanent,
    /// It may pass, or nothing is known about it.
    Transient,
}

fn class_of(code: RDKafkaErrorCode) -> ErrorClass {
    use RDKafkaErrorCode as Code;
    match code {
        Code::IllegalGeneration
        | Code::UnknownMemberId
        | Code::FencedInstanceId
        | Code::StaleMemberEpoch
        | Code::FencedMemberEpoch
        | Code::UnreleasedInstanceId
        | Code::RebalanceInProgress
        | Code::GroupIdNotFound => ErrorClass::Refused,
        Code::ProducerFenced | Code::InvalidProducerEpoch | Code::Fenced => ErrorClass::Fenced,
        Code::TopicAuthorizationFailed
        | Code::GroupAuthorizationFailed
        | Code::ClusterAuthorizationFailed
        | Code::TransactionalIdAuthorizationFailed
        | Code::SaslAuthenticationFailed
        | Code::MessageSizeTooLarge
        | Code::OffsetMetadataTooLarge
        | Code::InvalidMessageSize
        | Code::InvalidTransactionTimeout
        | Code::PolicyViolation
        | Code::UnsupportedVersion
        | Code::UnsupportedFeature
        | Code::InvalidArgument => ErrorClass::Permanent,
        _ => ErrorClass::Transient,
    }
}

/// What an error means.
pub(super) fn classify(error: &KafkaError) -> ErrorClass {
    error.rdkafka_error_code().map_or(ErrorClass::Transient, class_of)
}

/// An error while doing `context`, with what to do about it where that is known.
pub(super) fn log_error(context: impl Into<String>, error: &KafkaError) -> LogError {
    let code = error.rdkafka_error_code();
    let said = match (error, code) {
        (KafkaError::Transaction(transaction), _) => transaction.string(),
        (_, Some(code)) => code.to_string(),
        _ => error.to_string(),
    };
    let text = match code.and_then(advice) {
        Some(advice) => format!("{said}. {advice}"),
        None => said,
    };
    LogError::new(context, LogErrorKind::Other(text.into()))
}

/// What to do about an error.
fn advice(code: RDKafkaErrorCode) -> Option<&'static str> {
    use RDKafkaErrorCode as Code;
    Some(match code {
        Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::UnknownPartition => {
            "The topic is not there: make the topics with `avr topics apply`, and see that kafka.prefix is right"
        }
        Code::MessageSizeTooLarge => {
            "The topic takes less than kafka.max_record_bytes: `avr topics apply` sets its max.message.bytes"
        }
        Code::OffsetMetadataTooLarge => "The brokers' offset.metadata.max.bytes must be at least 4096",
        Code::TopicAuthorizationFailed => {
            "This user needs the rights to read and write the topics of kafka.prefix"
        }
        Code::GroupAuthorizationFailed => "This user needs the right to read the groups of kafka.prefix",
        Code::TransactionalIdAuthorizationFailed => {
            "This user needs the right to write the transactional ids of kafka.prefix"
        }
        Code::Authentication | Code::SaslAuthenticationFailed => {
            "See kafka.client: the cluster does not know this user"
        }
        Code::AllBrokersDown | Code::BrokerTransportFailure | Code::Resolve | Code::OperationTimedOut => {
            "See that kafka.bootstrap_servers is right and the brokers run; if they want TLS or a password, kafka.client has \
             the keys for it"
        }
        Code::UnreleasedInstanceId => {
            "A worker of this name has the place in the group. If it runs, give this one another kafka.worker; if it was \
             killed, start this one again once the brokers have missed it (group.consumer.session.timeout.ms)"
        }
        Code::NoEnt | Code::AutoOffsetReset | Code::OffsetOutOfRange => {
            "The place where reading was to go on is not in the log any more: records were deleted before they were \
             worked on"
        }
        _ => return None,
    })
}

/// An error of ours, in words.
pub(super) fn ours(context: impl Into<String>, text: impl Into<String>) -> LogError {
    LogError::new(context, LogErrorKind::Other(text.into().into()))
}
