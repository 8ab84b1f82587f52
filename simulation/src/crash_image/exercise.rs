//! The exercise: work on a real store, cut its power at many instants, open it again, compare.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use quorate_disk::{RocksDisk, Setup, Sizes};
use quorate_seams::{Completion, Disk, Durability};

use super::image::{Cruelty, Image, Operation};
use super::interpose::Watch;
use super::model::{Digest, Model, Step};
use crate::scratch;
use crate::seeded::Stream;

/// How often the store goes on from one of its own crash images.
const ROUNDS: u32 = 3;
/// Batches of a round.
const STEPS: usize = 250;
/// Synced batches that wait at the same time, at most.
const WAITING_MAX: usize = 6;
/// Operations at the beginning of a round, in which the store is opened and recovers.
const OPENING: u64 = 80;
/// Below the watched directory, as below a replica's data directory.
const STORE: &str = "store";

/// What the images came to.
#[derive(Default)]
struct Tally {
    opened: u32,
    /// How many images the store refused to open, by cruelty.
    refused: [u32; Cruelty::ALL.len()],
    /// Batches that no sync had covered and that were lost, all images together.
    lost: usize,
    /// What the last refusal said.
    why: Option<String>,
}

/// Works on a store with the batches of `seed` and opens `images` images of it.
///
/// # Errors
/// When a batch that was acknowledged is missing, when what is there is not a prefix of what was
/// submitted, or when the store refuses although nothing but unsynced data is gone. The text names
/// the directory that shows it.
pub(crate) fn run(seed: u64, images: u32) -> Result<String, String> {
    let mut tally = Tally::default();
    let mut start = Start::default();
    for round in 0..ROUNDS {
        let story = Story::tell(seed, round, &start).map_err(|why| format!("seed {seed}, round {round}: {why}"))?;
        let mut dice = Stream::of(seed, &format!("images of round {round}"));
        for number in 0..(images / ROUNDS).max(1) {
            let crash = Crash::draw(&story, &mut dice);
            let image = Image::after(&story.operations[..crash.at], crash.cruelty, &mut dice);
            match story.check(&crash, &image) {
                Ok(Opened::With(batches)) => {
                    tally.opened += 1;
                    tally.lost += crash.submitted - batches;
                    start = Start { image, model: story.models[batches].clone() };
                }
                Ok(Opened::Refused(why)) => {
                    let place = Cruelty::ALL.iter().position(|known| *known == crash.cruelty).unwrap_or(0);
                    tally.refused[place] += 1;
                    tally.why = Some(why);
                }
                Err(why) => {
                    let kept = keep(&image).map_or_else(|error| error, |path| path.display().to_string());
                    return Err(format!("seed {seed}, round {round}, image {number}, {crash:?}: {why}; see {kept}"));
                }
            }
        }
    }
    Ok(tally.to_string())
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} images opened, without {} unsynced batches", self.opened, self.lost)?;
        for (cruelty, refused) in Cruelty::ALL.iter().zip(self.refused).filter(|(_, refused)| *refused > 0) {
            write!(f, ", {refused} refused ({cruelty:?})")?;
        }
        self.why.as_ref().map_or(Ok(()), |why| write!(f, ", the last because {why}"))
    }
}

/// Writes an image where it stays.
fn keep(image: &Image) -> Result<PathBuf, String> {
    let path = scratch::directory("crash-image-kept-").map_err(|error| error.to_string())?.keep();
    image.write_to(&path).map_err(|error| error.to_string())?;
    Ok(path)
}

/// What a round begins with.
#[derive(Default)]
struct Start {
    image: Image,
    model: Model,
}

/// What was done in a round, and what was promised.
struct Story {
    operations: Vec<Operation>,
    /// Operations that only describe what the round began with.
    given: usize,
    /// The content after each number of batches, from 0 on.
    models: Vec<Model>,
    digests: Vec<Digest>,
    /// At which operation each batch began to be submitted.
    submitted: Vec<usize>,
    /// By which operation how many batches had been acknowledged.
    acknowledged: Vec<(usize, usize)>,
}

/// An instant at which the power fails.
#[derive(Debug)]
struct Crash {
    /// Operations before it.
    at: usize,
    cruelty: Cruelty,
    /// Batches that must be there.
    acknowledged: usize,
    /// Batches that can be there.
    submitted: usize,
}

/// What became of an image.
enum Opened {
    /// The store holds this many batches.
    With(usize),
    Refused(String),
}

impl Crash {
    fn draw(story: &Story, dice: &mut Stream) -> Self {
        let first = story.given as u64;
        let end = story.operations.len() as u64 + 1;
        let at = match dice.within(0, 6) {
            // Opening is a small part of a round, and where most of the care is needed.
            0 => dice.within(first, end.min(first + OPENING)),
            // Right after a promise, when nothing later has made it true.
            1 | 2 if !story.acknowledged.is_empty() => {
                let promise = dice.within(0, story.acknowledged.len() as u64);
                usize::try_from(promise).map_or(end - 1, |promise| story.acknowledged[promise].0 as u64)
            }
            _ => dice.within(first, end),
        };
        let at = usize::try_from(at).unwrap_or(0);
        let cruelty = Cruelty::ALL[usize::try_from(dice.within(0, Cruelty::ALL.len() as u64)).unwrap_or(0)];
        let acknowledged = story.acknowledged.iter().filter(|(by, _)| *by <= at).map(|(_, batches)| *batches).max();
        let submitted = story.submitted.iter().filter(|from| **from <= at).count();
        Self { at, cruelty, acknowledged: acknowledged.unwrap_or(0), submitted }
    }
}

impl Story {
    /// Runs one round on a store that begins with `start`.
    fn tell(seed: u64, round: u32, start: &Start) -> Result<Self, String> {
        let mut dice = Stream::of(seed, &format!("batches of round {round}"));
        let root = scratch::directory("crash-image-").map_err(|error| error.to_string())?;
        start.image.write_to(root.path()).map_err(|error| error.to_string())?;
        let watch = Watch::begin(root.path()).map_err(|error| error.to_string())?;
        let mut story = Self {
            operations: Vec::new(),
            given: watch.position(),
            models: vec![start.model.clone()],
            digests: vec![start.model.digest()],
            submitted: Vec::new(),
            acknowledged: Vec::new(),
        };
        // Small enough for flushes, compactions and new logs; sometimes none of these happen.
        let small = Sizes { buffer: 256 << 10, table_buffer: 64 << 10, wal_max: 512 << 10 };
        let sizes = if dice.within(0, 4) == 0 { Sizes::default() } else { small };
        let setup = Setup { sizes, ..Setup::default() };
        let disk = RocksDisk::open_with(root.path().join(STORE), setup).map_err(|error| error.to_string())?;
        let found = Model::of(&disk).map_err(|error| error.to_string())?;
        if found != start.model {
            return Err("an image that was opened before holds something else now".into());
        }
        story.work(&disk, &watch, &mut dice)?;
        drop(disk);
        story.operations = watch.end();
        Ok(story)
    }

    fn work(&mut self, disk: &RocksDisk, watch: &Watch, dice: &mut Stream) -> Result<(), String> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().map_err(|error| error.to_string())?;
        let mut model = self.models[0].clone();
        let mut waiting: VecDeque<(usize, Completion)> = VecDeque::new();
        // From a sync for every batch to hardly any: what is not synced is where holes may be.
        let buffered = [1, 3, 10, 100][usize::try_from(dice.within(0, 4)).unwrap_or(0)];
        for number in 1..=STEPS {
            let step = Step::draw(number, buffered, dice);
            model.apply(&step);
            self.digests.push(model.digest());
            self.models.push(model.clone());
            self.submitted.push(watch.position());
            let patience = match step {
                Step::Submit { batch, durability } => {
                    let completion = disk.submit(batch, durability);
                    if durability == Durability::Synced {
                        waiting.push_back((number, completion));
                    }
                    if dice.within(0, 4) == 0 { 0 } else { WAITING_MAX }
                }
                Step::Replace { tables, rows, and } => {
                    let rows = Box::new(rows.into_iter().map(Ok));
                    waiting.push_back((number, disk.replace(&tables, rows, and)));
                    0
                }
            };
            while waiting.len() > patience {
                let Some((number, completion)) = waiting.pop_front() else { break };
                runtime.block_on(completion).map_err(|error| error.to_string())?;
                self.acknowledged.push((watch.position(), number));
            }
        }
        Ok(())
    }

    /// Opens the image with what a replica opens its store with, and compares.
    fn check(&self, crash: &Crash, image: &Image) -> Result<Opened, String> {
        let root = scratch::directory("crash-image-").map_err(|error| error.to_string())?;
        image.write_to(root.path()).map_err(|error| error.to_string())?;
        let store = root.path().join(STORE);
        let batches = match RocksDisk::open(&store) {
            Ok(disk) => self.batches_in(&disk, crash)?,
            Err(error) if crash.cruelty == Cruelty::Nothing => {
                return Err(format!("only unsynced data is gone, and the store refuses: {error}"));
            }
            Err(error) => return Ok(Opened::Refused(error.to_string())),
        };
        self.stays(&store, batches)?;
        Ok(Opened::With(batches))
    }

    fn batches_in(&self, disk: &RocksDisk, crash: &Crash) -> Result<usize, String> {
        let found = Model::of(disk).map_err(|error| error.to_string())?.digest();
        let possible = &self.digests[..=crash.submitted];
        let Some(batches) = possible.iter().rposition(|digest| *digest == found) else {
            return Err("what is there is not the first so many batches".into());
        };
        if batches < crash.acknowledged {
            return Err(format!("only {batches} batches are there"));
        }
        Ok(batches)
    }

    /// Opened once, the content is the same the next time.
    fn stays(&self, store: &Path, batches: usize) -> Result<(), String> {
        let again = RocksDisk::open(store).map_err(|error| format!("opened once, then refused: {error}"))?;
        let found = Model::of(&again).map_err(|error| error.to_string())?;
        if found == self.models[batches] { Ok(()) } else { Err("opened twice, with different content".into()) }
    }
}
