//! The section `kafka`.

use std::{collections::BTreeMap, path::Path, time::Duration};

use super::Section;
use crate::{
    dead_letter::DEAD_LETTERS_COMMITTER,
    intake::SUBMIT_COMMITTER,
    log::kafka::{
        GroupProtocol, KafkaOptions, MissingProgress, check_client_key, check_group_key, is_secret_key,
    },
    model::Secret,
    pipeline::claims::MODELS_COMMITTER,
    provision::TopicOverrides,
};

/// The least a log must take: smaller threads are no use.
const LEAST_RECORD: usize = 64 << 10;
/// With what frames it, and what a letter adds, a record must stay below librdkafka's thousand million bytes.
const MOST_RECORD: usize = 900 << 20;
const CLEANUP_INTERVAL: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// The cluster, and what a pipeline asks of it.
#[derive(Clone, Debug)]
pub struct KafkaSettings {
    /// The cluster, and this process in it.
    pub options: KafkaOptions,
    /// What the pipeline's topics are to be, where the topics' files say otherwise.
    pub topics: TopicOverrides,
    /// Lag above which the stages before a topic wait, in records.
    pub max_lag: u64,
    /// How often a worker tells the others how it is.
    pub heartbeat_interval: Duration,
    /// How often records that every stage is past are deleted; none for never.
    pub cleanup_interval: Option<Duration>,
}

/// librdkafka's default for `max.poll.interval.ms`.
const LONGEST_SILENCE: Duration = Duration::from_secs(300);
const SILENCE: &str = "max.poll.interval.ms";
/// Committers that are no workers. Of two of a name, each would take over from the other.
const TAKEN_NAMES: [&str; 3] = [SUBMIT_COMMITTER, DEAD_LETTERS_COMMITTER, MODELS_COMMITTER];

impl KafkaSettings {
    /// How long a member may keep its group waiting before it is taken for dead.
    pub fn longest_silence(&self) -> Duration {
        let set = self.options.consumer.get(SILENCE).or_else(|| self.options.client.get(SILENCE));
        let set = set.and_then(|milliseconds| milliseconds.parse().ok());
        set.map_or(LONGEST_SILENCE, Duration::from_millis)
    }
}

/// Reads the section; none where no cluster is named, and the log is the embedded one.
pub(super) fn read(section: &mut Section<'_>) -> Option<KafkaSettings> {
    let bootstrap_servers = section.texts("bootstrap_servers");
    let options = KafkaOptions {
        bootstrap_servers,
        prefix: section.text("prefix", "avr."),
        worker: section.optional_text("worker"),
        static_membership: section.flag("static_membership", false),
        group_protocol: section.choice("group_protocol", GroupProtocol::Classic),
        missing_progress: MissingProgress::Refuse,
        max_record_bytes: section.count("max_record_bytes", 16 << 20, LEAST_RECORD..=MOST_RECORD),
        client: client_keys(section, "client"),
        consumer: client_keys(section, "consumer"),
        producer: client_keys(section, "producer"),
    };
    refuse_what_brokers_decide(section, &options);
    refuse_what_was_not_built(section, &options);
    if let Some(worker) = options.worker.as_ref().filter(|worker| TAKEN_NAMES.contains(&worker.as_str())) {
        section
            .mistake("worker", format!("\"{worker}\" is avr's own name for another process; give another"));
    }
    let settings = KafkaSettings {
        topics: TopicOverrides {
            partitions: optional_number(section, "partitions", 1 << 16),
            replicas: optional_number(section, "replicas", 1 << 10)
                .and_then(|number| u16::try_from(number).ok()),
            max_record_bytes: options.max_record_bytes,
            keep_for_replay: section.flag("keep_for_replay", true),
        },
        max_lag: section.number("max_lag", 10_000, 1..=1 << 40),
        heartbeat_interval: section.seconds("heartbeat_interval_s", Duration::from_secs(5), HOUR),
        cleanup_interval: cleanup_interval(section),
        options,
    };
    (!settings.options.bootstrap_servers.is_empty()).then_some(settings)
}

/// The time between deletions; 0 is never.
fn cleanup_interval(section: &mut Section<'_>) -> Option<Duration> {
    let interval = section.seconds("cleanup_interval_s", CLEANUP_INTERVAL, DAY);
    (!interval.is_zero()).then_some(interval)
}

/// A whole number that may be missing.
fn optional_number(section: &mut Section<'_>, name: &'static str, most: u64) -> Option<u32> {
    if !section.has(name) {
        section.know(name);
        return None;
    }
    u32::try_from(section.number(name, 1, 1..=most)).ok()
}

/// librdkafka's own keys of a kind of client. `NAME_env` and `NAME_file` name where the value of NAME is to be read.
fn client_keys(section: &mut Section<'_>, table: &'static str) -> BTreeMap<String, String> {
    let mut keys = BTreeMap::new();
    for (name, value) in section.free_table(table) {
        let (key, value) = match read_key(&name, value) {
            Ok(read) => read,
            Err(message) => {
                section.mistake(table, format!("\"{name}\" {message}"));
                continue;
            }
        };
        if let Err(message) = check_client_key(&key, &value) {
            section.mistake(table, format!("\"{key}\" {message}"));
        } else if keys.insert(key.clone(), value).is_some() {
            section.mistake(table, format!("\"{key}\" is given twice; give it in one way"));
        }
    }
    keys
}

/// Keys for every client are for consumers, too.
fn refuse_what_brokers_decide(section: &mut Section<'_>, options: &KafkaOptions) {
    for (table, keys) in [("client", &options.client), ("consumer", &options.consumer)] {
        for key in keys.keys() {
            if let Err(message) = check_group_key(key, options.group_protocol) {
                section.mistake(table, format!("\"{key}\" {message}"));
            }
        }
    }
}

/// TLS, and logins whose passwords are hashed, need a library that a build may leave out.
fn refuse_what_was_not_built(section: &mut Section<'_>, options: &KafkaOptions) {
    let tables =
        [("client", &options.client), ("consumer", &options.consumer), ("producer", &options.producer)];
    for (table, keys) in tables {
        for (key, value) in
            keys.iter().filter(|(key, value)| !cfg!(feature = "kafka-tls") && needs_tls(key, value))
        {
            let message =
                "needs TLS, which this binary was built without; build avr with its feature `kafka-tls`";
            section.mistake(table, format!("\"{key}\" = \"{value}\" {message}"));
        }
    }
}

fn needs_tls(key: &str, value: &str) -> bool {
    let value = value.to_ascii_uppercase();
    match key {
        "security.protocol" => value.ends_with("SSL"),
        "sasl.mechanism" | "sasl.mechanisms" => value.starts_with("SCRAM"),
        _ => false,
    }
}

fn read_key(name: &str, value: serde_json::Value) -> Result<(String, String), String> {
    let text = match value {
        serde_json::Value::String(text) => text,
        serde_json::Value::Object(_) | serde_json::Value::Array(_) => {
            return Err("is not a text or a number; write keys with dots in quotes".to_owned());
        }
        other => other.to_string(),
    };
    let elsewhere = if let Some(key) = name.strip_suffix("_env") {
        Some((key, Secret::from_env(&text)))
    } else {
        name.strip_suffix("_file").map(|key| (key, Secret::from_file(Path::new(&text))))
    };
    match elsewhere {
        Some((key, Ok(secret))) => Ok((key.to_owned(), secret.expose().to_owned())),
        Some((_, Err(error))) => Err(format!("cannot be had: {error}")),
        None if is_secret_key(name) => Err(format!(
            "does not belong in files; name a variable with \"{name}_env\" or a file with \"{name}_file\""
        )),
        None => Ok((name.to_owned(), text)),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use crate::config::{ConfigError, load};

    /// What the section `kafka` comes to, or every mistake in it.
    fn read(toml: &str) -> Result<super::KafkaSettings, String> {
        let mut file = tempfile::Builder::new().suffix(".toml").tempfile().expect("a temporary file");
        write!(file, "[kafka]\nbootstrap_servers = [\"127.0.0.1:9092\"]\n{toml}").expect("it can be written");
        match load(Some(file.path()), vec![]) {
            Ok((settings, in_force)) => {
                let shown: String = in_force.iter().map(|line| format!("{line:?}")).collect();
                assert!(!shown.contains("hunter2") && !format!("{settings:?}").contains("hunter2"));
                Ok(settings.kafka.expect("a cluster is named"))
            }
            Err(ConfigError::Mistakes(mistakes)) => {
                Err(mistakes.iter().map(|mistake| format!("{mistake}\n")).collect())
            }
            Err(error) => panic!("{error}"),
        }
    }

    #[test]
    fn keys_with_dots_arrive_in_every_spelling() {
        let settings = read(
            "client = { \"security.protocol\" = \"PLAINTEXT\" }\n[kafka.consumer]\n\"session.timeout.ms\" = 9000\n\
             [kafka.producer]\n\"linger.ms\" = 1.5\n\"socket.keepalive.enable\" = true\n",
        );
        let options = settings.expect("they are valid").options;
        assert_eq!(options.client["security.protocol"], "PLAINTEXT");
        assert_eq!(options.consumer["session.timeout.ms"], "9000");
        assert_eq!(
            (&*options.producer["linger.ms"], &*options.producer["socket.keepalive.enable"]),
            ("1.5", "true")
        );
    }

    #[test]
    fn what_needs_tls_is_known() {
        for (key, value) in [
            ("security.protocol", "sasl_ssl"),
            ("security.protocol", "SSL"),
            ("sasl.mechanism", "SCRAM-SHA-512"),
        ] {
            assert!(super::needs_tls(key, value), "{key} = {value}");
            let read = read(&format!("client = {{ \"{key}\" = \"{value}\" }}\n"));
            assert_eq!(read.is_ok(), cfg!(feature = "kafka-tls"), "{key} = {value}");
        }
        for (key, value) in
            [("security.protocol", "SASL_PLAINTEXT"), ("sasl.mechanism", "PLAIN"), ("client.id", "ssl")]
        {
            assert!(!super::needs_tls(key, value), "{key} = {value}");
        }
    }

    #[test]
    fn every_key_that_cannot_be_is_named() {
        let mistakes = read(
            "[kafka.client]\n\"sasl.password\" = \"hunter2\"\n\"no.such.key\" = 1\n[kafka.consumer]\n\
             \"enable.auto.commit\" = true\n[kafka.producer]\nacks = 1\n",
        )
        .expect_err("there are four");
        for key in ["sasl.password_env", "no.such.key", "enable.auto.commit", "acks"] {
            assert!(mistakes.contains(key), "{key} is not in:\n{mistakes}");
        }
        assert!(!mistakes.contains("hunter2"), "{mistakes}");
    }

    #[test]
    fn what_brokers_decide_is_refused_with_the_newer_protocol_alone() {
        let keys = "[kafka.client]\n\"session.timeout.ms\" = 9000\n[kafka.consumer]\n\"heartbeat.interval.ms\" = 900\n";
        read(keys).expect("the members decide");
        let mistakes =
            read(&format!("group_protocol = \"consumer\"\n{keys}")).expect_err("the brokers decide");
        for told in ["kafka.client", "\"session.timeout.ms\"", "kafka.consumer", "\"heartbeat.interval.ms\""]
        {
            assert!(mistakes.contains(told), "{told} is not in:\n{mistakes}");
        }
        let always = "[kafka.consumer]\n\"partition.assignment.strategy\" = \"range\"\n\"group.protocol.type\" = \"x\"\n";
        let mistakes = read(&format!("group_protocol = \"consumer\"\n{always}")).expect_err("there are two");
        assert_eq!(mistakes.matches("is not to be set").count(), 2, "{mistakes}");
    }

    #[test]
    fn a_member_may_be_silent_for_well_longer_than_it_takes_to_give_partitions_up() {
        for table in ["client", "consumer"] {
            let silence = |ms: u32| format!("{table} = {{ \"max.poll.interval.ms\" = {ms} }}\n");
            read(&silence(40_000)).expect("twice the grace of 20 s");
            let mistakes = read(&silence(39_000)).expect_err("too short");
            assert!(
                mistakes.contains("engine.revoke_grace_s") && mistakes.contains("at most 19"),
                "{mistakes}"
            );
        }
    }

    #[test]
    fn a_worker_does_not_bear_the_name_of_another_process() {
        for name in super::TAKEN_NAMES {
            let mistakes = read(&format!("worker = \"{name}\"\n")).expect_err("it is taken");
            assert!(mistakes.contains("kafka.worker") && mistakes.contains(name), "{mistakes}");
        }
        read("worker = \"submitter\"\n").expect("it is free");
    }

    #[test]
    fn secrets_come_from_elsewhere_and_are_not_shown() {
        let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
        writeln!(file, "hunter2").expect("it can be written");
        let path = file.path().display();
        let settings = read(&format!("client = {{ \"sasl.password_file\" = \"{path}\" }}"));
        assert_eq!(settings.expect("it is valid").options.client["sasl.password"], "hunter2");
        let missing = read("client = { \"sasl.password_env\" = \"AVR_NO_SUCH_VARIABLE\" }");
        assert!(missing.expect_err("it is not set").contains("AVR_NO_SUCH_VARIABLE"));
    }
}
