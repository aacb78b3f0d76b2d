//! Mistakes, all at once, and what is in force.

use config::{Config, File, FileFormat};

use super::*;

fn reader(toml: &str) -> Reader {
    let config = Config::builder().add_source(File::from_str(toml, FileFormat::Toml)).build();
    Reader::new(config.expect("valid TOML").cache)
}

fn mistakes(toml: &str, read: impl FnOnce(&mut Reader)) -> Vec<String> {
    let mut reader = reader(toml);
    read(&mut reader);
    let mistakes = reader.finish().expect_err("mistakes");
    mistakes.iter().map(|mistake| format!("{}: {}", mistake.key, mistake.message)).collect()
}

#[test]
fn every_mistake_is_reported_at_once() {
    let toml = "[engine]\nmax_bytes = \"much\"\nmax_byte = 3\ngrace_s = -1\n[engin]\nx = 1\n";
    let found = mistakes(toml, |reader| {
        let mut section = reader.section("engine");
        section.number("max_bytes", 1, 0..=10);
        section.seconds("grace_s", Duration::from_secs(1), Duration::from_secs(9));
    });
    assert_eq!(
        found,
        [
            "engine.max_bytes: must be a whole number, zero or more, not the text \"much\"",
            "engine.grace_s: -1 is out of range; from 0 to 9",
            "engin: unknown key; did you mean \"engine\"?",
            "engine.max_byte: unknown key; did you mean \"max_bytes\"?",
        ]
    );
}

#[test]
fn what_is_in_force_says_where_it_comes_from_and_masks_secrets() {
    let mut reader = reader("[models]\nurls = [\"a\", \"b\"]\nkey = \"hidden\"\n");
    let mut section = reader.section("models");
    assert_eq!(section.texts("urls"), ["a", "b"]);
    assert_eq!(section.secret_text("key").as_deref(), Some("hidden"));
    assert!(section.flag("keep", true));
    let in_force = reader.finish().expect("no mistakes");
    let shown: Vec<String> =
        in_force.iter().map(|e| format!("{} = {} # {}", e.key, e.value, e.origin)).collect();
    assert_eq!(shown[0], "models.urls = [\"a\", \"b\"] # the command line");
    assert_eq!(shown[1], "models.key = \"***\" # the command line");
    assert_eq!(shown[2], "models.keep = true # default");
}
