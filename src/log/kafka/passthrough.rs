//! librdkafka's own keys: which of them may be set from outside.

use rdkafka::{ClientConfig, error::KafkaError};

use super::GroupProtocol;

/// Keys that would break a promise, or have a key of ours, each with why.
const REFUSED: [(&str, &str); 25] = [
    ("bootstrap.servers", "give it as kafka.bootstrap_servers"),
    ("metadata.broker.list", "give it as kafka.bootstrap_servers"),
    ("group.id", "it is the stage's name behind kafka.prefix"),
    ("group.instance.id", "it follows from kafka.worker and kafka.static_membership"),
    ("group.protocol", "give it as kafka.group_protocol"),
    ("group.protocol.type", "only consumers are members"),
    ("group.remote.assignor", "the brokers choose"),
    ("partition.assignment.strategy", "partitions move one by one, or work is thrown away with each change"),
    ("enable.auto.commit", "progress is committed with what was made, or records are lost"),
    ("enable.auto.offset.store", "progress is committed with what was made, or records are lost"),
    ("auto.commit.interval.ms", "progress is committed with what was made, or records are lost"),
    ("auto.commit.enable", "progress is committed with what was made, or records are lost"),
    ("auto.offset.reset", "a place that is gone must stop the group, or records are lost or made twice"),
    ("isolation.level", "only committed records are read, or records are made twice"),
    ("enable.partition.eof", "the ends of partitions are told where they are asked for"),
    ("transactional.id", "it follows from kafka.worker behind kafka.prefix"),
    ("transaction.timeout.ms", "the time-outs of commits hang together"),
    ("message.timeout.ms", "the time-outs of commits hang together"),
    ("delivery.timeout.ms", "the time-outs of commits hang together"),
    ("enable.idempotence", "without it records are written twice"),
    ("acks", "a commit must be on all replicas that are in step, or it is lost with a broker"),
    (
        "request.required.acks",
        "a commit must be on all replicas that are in step, or it is lost with a broker",
    ),
    ("partitioner", "all workers must put a key into the same partition"),
    ("message.max.bytes", "give it as kafka.max_record_bytes"),
    ("allow.auto.create.topics", "a topic that is made by mistake hides the mistake"),
];

/// Keys that librdkafka refuses with the newer group protocol, where the brokers decide, and what decides there.
const BROKERS_DECIDE: [(&str, &str); 2] = [
    ("session.timeout.ms", "consumer.session.timeout.ms"),
    ("heartbeat.interval.ms", "consumer.heartbeat.interval.ms"),
];

/// What the names of keys have whose values nobody may see.
const SECRET: [&str; 6] = ["password", "passphrase", "secret", "pem", "token", "oauthbearer.config"];

/// Whether the value of this key must not be shown, nor stand in a file of settings.
pub fn is_secret_key(key: &str) -> bool {
    SECRET.iter().any(|part| key.contains(part)) && !key.ends_with(".url") && !key.contains("endpoint")
}

/// Checks one of librdkafka's own keys, without a cluster.
///
/// # Errors
/// Why it may not be set, or what librdkafka has to say about it. No message holds the value of a secret.
pub fn check_client_key(key: &str, value: &str) -> Result<(), String> {
    if let Some((_, why)) = REFUSED.iter().find(|(refused, _)| *refused == key) {
        return Err(format!("is not to be set: {why}"));
    }
    match ClientConfig::new().set(key, value).create_native_config() {
        Ok(_) => Ok(()),
        Err(KafkaError::ClientConfig(..)) if is_secret_key(key) => {
            Err("is unknown to librdkafka, or has a value that it does not take".to_owned())
        }
        Err(KafkaError::ClientConfig(_, said, ..)) => Err(format!("librdkafka says: {said}")),
        Err(error) => Err(error.to_string()),
    }
}

/// Checks a key of consumers against how groups share partitions out.
///
/// # Errors
/// Why it may not be set with this protocol, and what to set instead.
pub fn check_group_key(key: &str, protocol: GroupProtocol) -> Result<(), String> {
    let decided = BROKERS_DECIDE.iter().find(|(refused, _)| *refused == key);
    match decided.filter(|_| protocol == GroupProtocol::Consumer) {
        Some((_, instead)) => Err(format!(
            "is not to be set with kafka.group_protocol = \"consumer\": there the brokers decide. Take it out, and set \
             {instead} for the groups instead (kafka-configs --entity-type groups), or group.{instead} in the brokers"
        )),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_break_a_promise_is_refused_with_the_reason() {
        for (key, why) in REFUSED {
            assert_eq!(check_client_key(key, "1"), Err(format!("is not to be set: {why}")));
        }
    }

    /// librdkafka itself says no to each as soon as a client is made, which needs no cluster.
    #[test]
    fn what_the_brokers_decide_is_refused_with_what_decides() {
        for (key, instead) in BROKERS_DECIDE {
            assert_eq!(check_group_key(key, GroupProtocol::Classic), Ok(()));
            let refused = check_group_key(key, GroupProtocol::Consumer).expect_err("it has no meaning there");
            assert!(refused.contains(instead), "{refused}");
            let mut config = ClientConfig::new();
            config.set("group.id", "any").set("group.protocol", "consumer").set(key, "9000");
            let made = config.create::<rdkafka::consumer::BaseConsumer>();
            assert!(made.is_err(), "{key} is taken by now: it need not be refused");
        }
        assert_eq!(check_group_key("max.poll.interval.ms", GroupProtocol::Consumer), Ok(()));
    }

    #[test]
    fn librdkafka_knows_its_keys_without_a_cluster() {
        assert_eq!(check_client_key("session.timeout.ms", "9000"), Ok(()));
        assert_eq!(check_client_key("sasl.password", "hunter2"), Ok(()));
        let unknown = check_client_key("no.such.key", "1").expect_err("it does not exist");
        assert!(unknown.contains("no.such.key"), "{unknown}");
        let invalid = check_client_key("session.timeout.ms", "soon").expect_err("no number");
        assert!(invalid.contains("session.timeout.ms"), "{invalid}");
        let secret = check_client_key("no.such.password", "hunter2").expect_err("it does not exist");
        assert!(!secret.contains("hunter2"), "{secret}");
    }

    #[test]
    fn secrets_are_known_by_their_names() {
        for key in ["sasl.password", "ssl.key.password", "ssl.key.pem", "sasl.oauthbearer.client.secret"] {
            assert!(is_secret_key(key), "{key}");
        }
        for key in ["sasl.username", "ssl.ca.location", "sasl.oauthbearer.token.endpoint.url"] {
            assert!(!is_secret_key(key), "{key}");
        }
    }
}
