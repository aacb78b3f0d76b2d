//! A process that writes shards is stopped, for good or for a while, between any two operations on the file system,
//! and whoever follows is stopped too: in the end every committed record is in place exactly once.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeSet,
    fs,
    rc::Rc,
};

use tempfile::TempDir;

use super::*;
use crate::{record::Reject, topic::RECORDS};

const PARTITION: Partition = Partition { topic: RECORDS.name, index: 3 };

/// What happens before an operation.
enum Event {
    /// The process dies.
    Death,
    /// The process is frozen for as long as this takes.
    Freeze(Box<dyn FnOnce()>),
}

/// The local disk, and something that happens before its nth operation.
struct Gated {
    left: Cell<usize>,
    event: RefCell<Option<Event>>,
    is_dead: Cell<bool>,
}

impl Gated {
    fn until(left: usize, event: Event) -> Rc<Self> {
        Rc::new(Self { left: Cell::new(left), event: RefCell::new(Some(event)), is_dead: Cell::new(false) })
    }

    fn never() -> Rc<Self> {
        Self::until(usize::MAX, Event::Death)
    }

    /// Whether the event has come.
    fn has_come(&self) -> bool {
        self.event.borrow().is_none()
    }

    fn pass(&self) -> io::Result<LocalDisk> {
        if self.left.get() == 0 {
            let event = self.event.borrow_mut().take();
            match event {
                Some(Event::Death) => self.is_dead.set(true),
                Some(Event::Freeze(meanwhile)) => meanwhile(),
                None => {}
            }
        }
        self.left.set(self.left.get().saturating_sub(1));
        if self.is_dead.get() { Err(io::Error::other("the process is dead")) } else { Ok(LocalDisk) }
    }
}

impl Disk for Rc<Gated> {
    fn create_folder(&self, path: &Path) -> io::Result<()> {
        self.pass()?.create_folder(path)
    }

    fn write(&self, path: &Path, bytes: &[u8], _sync: bool) -> io::Result<()> {
        // A process that dies here leaves half a file.
        let disk = self.pass();
        if disk.is_err() {
            LocalDisk.write(path, &bytes[..bytes.len() / 2], false).ok();
        }
        disk?.write(path, bytes, false)
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.pass()?.link(from, to)
    }

    fn read(&self, path: &Path) -> io::Result<Option<Vec<u8>>> {
        self.pass()?.read(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.pass()?.rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.pass()?.remove_file(path)
    }

    fn remove_folder(&self, path: &Path) -> io::Result<()> {
        self.pass()?.remove_folder(path)
    }

    fn names(&self, folder: &Path) -> io::Result<Option<Vec<String>>> {
        self.pass()?.names(folder)
    }

    fn is_filled(&self, path: &Path) -> io::Result<bool> {
        self.pass()?.is_filled(path)
    }

    fn sync_folder(&self, _path: &Path) -> io::Result<()> {
        self.pass().map(drop)
    }
}

/// The log's side: what is committed of the partition, and who has it.
#[derive(Default)]
struct LogState {
    checkpoint: Option<String>,
    committed: i64,
    owner: usize,
}

/// A folder that outlives the processes, and the log.
#[derive(Clone)]
struct World {
    folder: Rc<TempDir>,
    log: Rc<RefCell<LogState>>,
    /// Whether whoever uses the data takes every finished file away at once, into here.
    taken: Option<Rc<RefCell<Vec<String>>>>,
}

fn reject(number: i64) -> Entry<'static> {
    let (source, reason) = ("-".to_owned(), "not_json".to_owned());
    Entry::Reject(Reject { source, line: number as u64, reason, message: String::new() })
}

fn letter(number: i64) -> Entry<'static> {
    let outcome = serde_json::json!({
        "thread": format!("s:{number}"), "recipe": {"name": "s", "hash": ""}, "origin": {"source": "-", "line": number},
        "reason": "dead_letter", "records": [], "withheld": {}, "cut_off": 0,
    });
    Entry::DeadLetter(serde_json::from_value(outcome).unwrap())
}

impl World {
    fn new() -> Self {
        Self { folder: Rc::new(TempDir::new().unwrap()), log: Rc::default(), taken: None }
    }

    fn options(&self) -> ShardOptions {
        ShardOptions {
            folder: self.folder.path().to_owned(),
            pipeline: "avr.".into(),
            sync: true,
            formats: vec![FormatName::LlamaFactory],
        }
    }

    /// One owner of the partition: it restores, and writes a few batches of two records until something stops it or
    /// the log refuses its commit.
    fn own(&self, disk: &Rc<Gated>, batches: usize) -> Result<(), ExportError> {
        let (me, checkpoint) = {
            let mut log = self.log.borrow_mut();
            log.owner += 1;
            (log.owner, log.checkpoint.clone())
        };
        let mut next = self.log.borrow().committed;
        let mut shards = Shards::open_on(Rc::clone(disk), self.options())?;
        shards.restore(PARTITION, checkpoint.as_deref())?;
        for _ in 0..batches {
            let entries = vec![reject(next), letter(next + 1)];
            let batch = ShardBatch { partition: PARTITION, offsets: (next, next + 1), entries };
            let checkpoint = shards.append(&[batch])?.remove(0);
            if !self.commit(me, checkpoint, next + 2) {
                shards.rollback();
                return Ok(());
            }
            next += 2;
            shards.committed()?;
            self.take_away();
        }
        Ok(())
    }

    /// Takes a commit, unless it is a former owner's.
    fn commit(&self, owner: usize, checkpoint: Option<String>, next: i64) -> bool {
        let mut log = self.log.borrow_mut();
        let is_owner = log.owner == owner;
        if is_owner {
            (log.checkpoint, log.committed) = (checkpoint, next);
        }
        is_owner
    }

    fn files(&self) -> Vec<PathBuf> {
        let folders = ["outcomes", "rejects"].map(|name| self.folder.path().join(name));
        let entries = folders.iter().filter_map(|folder| fs::read_dir(folder).ok()).flatten();
        entries.map(|entry| entry.unwrap().path()).collect()
    }

    /// The lines that are in place.
    fn lines(&self) -> Vec<String> {
        let texts = self.files().into_iter().map(|file| fs::read_to_string(file).unwrap());
        texts.flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>()).collect()
    }

    fn take_away(&self) {
        if let Some(taken) = &self.taken {
            taken.borrow_mut().extend(self.lines());
            self.files().iter().for_each(|file| fs::remove_file(file).unwrap());
        }
    }

    /// Lets a last owner make everything true, and looks.
    fn check(&self) {
        self.own(&Gated::never(), 1).unwrap();
        let log = self.log.borrow();
        let numbers = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        let mut found: Vec<i64> = self
            .taken
            .iter()
            .flat_map(|taken| taken.borrow().clone())
            .collect::<Vec<_>>()
            .into_iter()
            .chain(self.lines())
            .map(|line| {
                let value = numbers(&line);
                value["line"].as_i64().or(value["origin"]["line"].as_i64()).unwrap()
            })
            .collect();
        found.sort_unstable();
        assert_eq!(found, (0..log.committed).collect::<Vec<_>>());
        assert_eq!(self.leftovers(), BTreeSet::from([FINISHED.to_owned(), PIPELINE.to_owned()]));
        let finished = fs::read_dir(self.folder.path().join(STAGING_PATH).join(FINISHED)).unwrap().count();
        assert!(finished <= 2, "the latest, and one that a late riser left: {finished}");
    }

    /// What lies in the staging folder but drafts of a process that died.
    fn leftovers(&self) -> BTreeSet<String> {
        let names = LocalDisk.names(&self.folder.path().join(STAGING_PATH)).unwrap().unwrap();
        names.into_iter().filter(|name| !name.starts_with("draft.")).collect()
    }
}

/// More operations than any life here has.
const MANY: usize = 400;

#[test]
fn a_process_may_die_between_any_two_operations() {
    for left in 0..MANY {
        let world = World::new();
        let disk = Gated::until(left, Event::Death);
        let ended = world.own(&disk, 2);
        assert_eq!(ended.is_err(), disk.has_come());
        world.check();
        if !disk.has_come() {
            assert!(left > 30, "{left} operations are all");
            return;
        }
    }
    panic!("more operations than expected");
}

/// While the old owner is frozen the next one takes over, and may die too; then the old one wakes.
fn freeze(old: usize, new: usize, taken: bool) -> (bool, bool) {
    let mut world = World::new();
    world.taken = taken.then(Rc::default);
    let next = Gated::until(new, Event::Death);
    let meanwhile = {
        let (world, next) = (world.clone(), Rc::clone(&next));
        move || drop(world.own(&next, 2))
    };
    let disk = Gated::until(old, Event::Freeze(Box::new(meanwhile)));
    world.own(&disk, 2).unwrap_or_else(|error| panic!("old {old}, new {new}: {error}"));
    world.check();
    (disk.has_come(), next.has_come())
}

#[test]
fn an_owner_that_wakes_up_late_harms_nothing_wherever_it_and_the_next_are_stopped() {
    for taken in [false, true] {
        let mut last_old = 0;
        for old in 0..MANY {
            let (mut is_frozen, mut dies) = (true, true);
            let mut new = 0;
            while is_frozen && dies {
                (is_frozen, dies) = freeze(old, new, taken);
                // Every place for the one is tried with every seventh at least for the other.
                new += if old % 5 == 0 { 1 } else { 7 };
            }
            if !is_frozen {
                last_old = old;
                break;
            }
        }
        assert!(last_old > 30, "all places were tried: {last_old}");
    }
}

#[test]
fn exporters_must_share_one_folder() {
    let world = World::new();
    world.own(&Gated::never(), 1).unwrap();
    let elsewhere = World { folder: Rc::new(TempDir::new().unwrap()), ..world.clone() };
    let refusal = elsewhere.own(&Gated::never(), 1).unwrap_err();
    assert!(matches!(refusal, ExportError::NotShared { .. }), "{refusal}");
    assert!(refusal.to_string().contains("must share one output folder"), "{refusal}");
    world.check();
}

#[test]
fn a_staging_folder_that_was_lost_matters_only_while_it_is_needed() {
    let world = World::new();
    world.own(&Gated::never(), 2).unwrap();
    fs::remove_dir_all(world.folder.path().join(STAGING_PATH)).unwrap();
    world.check();
}

#[test]
fn a_folder_takes_shards_of_one_pipeline_and_none_of_the_embedded_log() {
    let world = World::new();
    world.own(&Gated::never(), 1).unwrap();
    let other = ShardOptions { pipeline: "other.".into(), ..world.options() };
    let refusal = Shards::open(other).err().unwrap();
    assert!(matches!(&refusal, ExportError::OtherPipeline { found, .. } if found == "avr."), "{refusal}");
    let embedded = super::super::ExportOptions::new(world.folder.path());
    let refusal = super::super::Files::open(embedded, None).err().unwrap();
    assert!(matches!(refusal, ExportError::OtherLayout(_)), "{refusal}");

    let files = TempDir::new().unwrap();
    drop(super::super::Files::open(super::super::ExportOptions::new(files.path()), None).unwrap());
    let refusal = Shards::open(ShardOptions { folder: files.path().to_owned(), ..world.options() }).err();
    assert!(matches!(refusal, Some(ExportError::OtherLayout(_))), "{refusal:?}");
}
