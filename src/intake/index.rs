//! What was taken in already, so that nothing is taken in twice. Pure.

use std::collections::{BTreeMap, HashMap};

use crate::{
    record::{IndexEntry, ThreadId},
    source::ContentHash,
};

/// Key of the entry that holds a recipe's definition.
const RECIPE: &str = "recipe:";
/// Key of the entry that says of which sort the models are. No thread's id and no reject's is like it.
pub(crate) const MODELS_KEY: &str = "models";

/// Everything taken in so far, by id: 32 bytes of memory for each thread and about half of that for each reject.
#[derive(Debug, Default)]
pub struct Index {
    threads: HashMap<[u8; 16], [u8; 16]>,
    rejects: HashMap<[u8; 16], ()>,
    recipes: BTreeMap<String, (String, serde_json::Value)>,
    simulated: Option<bool>,
}

/// Whether a thread was seen before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// It is new.
    New,
    /// It was taken in with the same content.
    Known,
    /// Its id was taken in with other content.
    Conflict,
}

impl Index {
    /// Adds an entry of the index topic.
    pub fn insert(&mut self, key: &[u8], entry: &IndexEntry) {
        match entry {
            IndexEntry::Thread { content, .. } => {
                self.threads.insert(short_hash(key), short_hash(content.as_bytes()));
            }
            IndexEntry::Reject => {
                self.rejects.insert(short_hash(key), ());
            }
            IndexEntry::Recipe { hash, definition } => {
                let name = String::from_utf8_lossy(key.strip_prefix(RECIPE.as_bytes()).unwrap_or(key));
                self.recipes.insert(name.into_owned(), (hash.clone(), definition.clone()));
            }
            IndexEntry::Models { simulated } => self.simulated = Some(*simulated),
        }
    }

    /// How many threads were taken in.
    pub fn threads(&self) -> u64 {
        self.threads.len() as u64
    }

    /// How many lines were rejected.
    pub fn rejects(&self) -> u64 {
        self.rejects.len() as u64
    }

    /// The hash and definition under which threads of the recipe called `name` were taken in.
    pub fn recipe(&self, name: &str) -> Option<&(String, serde_json::Value)> {
        self.recipes.get(name)
    }

    /// The recipes of all threads, each with its hash and definition.
    pub fn recipes(&self) -> impl Iterator<Item = (&str, &(String, serde_json::Value))> {
        self.recipes.iter().map(|(name, recipe)| (name.as_str(), recipe))
    }

    /// Whether the models are simulated, where a worker said so.
    pub fn simulated(&self) -> Option<bool> {
        self.simulated
    }

    /// Whether the thread was seen before; a new one is remembered.
    pub fn see_thread(&mut self, id: &ThreadId, content: &ContentHash) -> Seen {
        let content = short_hash(content.to_string().as_bytes());
        match self.threads.entry(short_hash(id.as_str().as_bytes())) {
            std::collections::hash_map::Entry::Vacant(vacant) => {
                vacant.insert(content);
                Seen::New
            }
            std::collections::hash_map::Entry::Occupied(known) if *known.get() == content => Seen::Known,
            std::collections::hash_map::Entry::Occupied(_) => Seen::Conflict,
        }
    }

    /// Takes back a new thread that was not taken in after all.
    pub fn forget_thread(&mut self, id: &ThreadId) {
        self.threads.remove(&short_hash(id.as_str().as_bytes()));
    }

    /// Whether the reject is new; it is remembered.
    pub fn see_reject(&mut self, id: &str) -> bool {
        self.rejects.insert(short_hash(id.as_bytes()), ()).is_none()
    }
}

/// The key of a recipe's entry.
pub(crate) fn recipe_key(name: &str) -> String {
    format!("{RECIPE}{name}")
}

fn short_hash(bytes: &[u8]) -> [u8; 16] {
    let mut short = [0; 16];
    blake3::Hasher::new().update(bytes).finalize_xof().fill(&mut short);
    short
}
