//! What a directory may look like after a loss of power, as a function of what was done to it, of the
//! instant, and of a seed.
//!
//! What a sync covered is there. Everything else may be there or not: names (created, renamed,
//! removed) until their directory is synced, bytes until their file is.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::seeded::Stream;

/// A file whatever its name, from 0 in order of creation.
pub(super) type FileId = usize;

/// Something that was done below the watched directory; paths are relative to it. `begun` counts the
/// operations that came before a sync was called, which are those that it covers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    MakeDirectory { path: PathBuf },
    Create { path: PathBuf, file: FileId },
    Rename { from: PathBuf, to: PathBuf },
    Link { from: PathBuf, to: PathBuf },
    Unlink { path: PathBuf },
    SyncDirectory { path: PathBuf, begun: usize },
    Write { file: FileId, offset: usize, bytes: Vec<u8> },
    Truncate { file: FileId, length: usize },
    Sync { file: FileId, begun: usize },
}

/// How badly the device treats what was not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Cruelty {
    /// Everything that was not synced is gone.
    Nothing,
    /// Names survive in the order of their operations up to some point, each file's bytes up to some point.
    Cut,
    /// The same, but a file may have its full length with zeroes for the bytes that are missing.
    Zeroed,
    /// Any page may survive without those before it. (Names survive in order on every file system
    /// with a journal.)
    Scattered,
}

impl Cruelty {
    pub(super) const ALL: [Self; 4] = [Self::Nothing, Self::Cut, Self::Zeroed, Self::Scattered];
}

/// What devices and page caches write at once.
const PAGE: usize = 4096;

/// A directory with all below it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Image {
    pub(super) directories: BTreeSet<PathBuf>,
    pub(super) files: BTreeMap<PathBuf, Vec<u8>>,
}

impl Image {
    /// The directory after `operations` and a loss of power.
    pub(super) fn after(operations: &[Operation], cruelty: Cruelty, dice: &mut Stream) -> Self {
        let (directories, names) = names(operations, cruelty, dice);
        let contents = contents(operations, cruelty, dice);
        let files = names
            .into_iter()
            .filter(|(path, _)| path.parent().is_some_and(|parent| directories.contains(parent)))
            .map(|(path, file)| (path, contents.get(&file).cloned().unwrap_or_default()))
            .collect();
        Self { directories, files }
    }

    /// Makes it so below `root`, which is empty.
    pub(super) fn write_to(&self, root: &Path) -> std::io::Result<()> {
        for path in &self.directories {
            std::fs::create_dir_all(root.join(path))?;
        }
        for (path, bytes) in &self.files {
            std::fs::write(root.join(path), bytes)?;
        }
        Ok(())
    }
}

/// The directory whose sync makes a name operation durable.
fn directory_of(operation: &Operation) -> Option<&Path> {
    match operation {
        Operation::MakeDirectory { path }
        | Operation::Create { path, .. }
        | Operation::Unlink { path }
        | Operation::Rename { to: path, .. }
        | Operation::Link { to: path, .. } => path.parent(),
        Operation::SyncDirectory { .. }
        | Operation::Write { .. }
        | Operation::Truncate { .. }
        | Operation::Sync { .. } => None,
    }
}

type Names = (BTreeSet<PathBuf>, BTreeMap<PathBuf, FileId>);

fn names(operations: &[Operation], cruelty: Cruelty, dice: &mut Stream) -> Names {
    let mut synced: BTreeMap<&Path, usize> = BTreeMap::new();
    for operation in operations {
        if let Operation::SyncDirectory { path, begun } = operation {
            let through = synced.entry(path).or_default();
            *through = (*through).max(*begun);
        }
    }
    let is_durable = |at: usize, directory: &Path| synced.get(directory).is_some_and(|through| at < *through);
    let pending = operations
        .iter()
        .enumerate()
        .filter(|(at, operation)| directory_of(operation).is_some_and(|directory| !is_durable(*at, directory)))
        .count();
    let first = match (cruelty, dice.within(0, 3)) {
        (Cruelty::Nothing, _) | (_, 0) => 0,
        (_, 1) => pending,
        _ => below(dice, pending + 1),
    };
    let mut seen = 0;
    let mut names = Names::default();
    names.0.insert(PathBuf::new());
    for (at, operation) in operations.iter().enumerate() {
        let Some(directory) = directory_of(operation) else { continue };
        let survives = is_durable(at, directory) || {
            seen += 1;
            seen <= first
        };
        if survives {
            name(&mut names, operation);
        }
    }
    names
}

fn name((directories, files): &mut Names, operation: &Operation) {
    match operation {
        Operation::MakeDirectory { path } => {
            directories.insert(path.clone());
        }
        Operation::Create { path, file } => {
            files.insert(path.clone(), *file);
        }
        Operation::Rename { from, to } => {
            if let Some(file) = files.remove(from) {
                files.insert(to.clone(), file);
            }
        }
        Operation::Link { from, to } => {
            if let Some(file) = files.get(from).copied() {
                files.insert(to.clone(), file);
            }
        }
        Operation::Unlink { path } => {
            files.remove(path);
        }
        Operation::SyncDirectory { .. }
        | Operation::Write { .. }
        | Operation::Truncate { .. }
        | Operation::Sync { .. } => {}
    }
}

/// The bytes of a file: those that a sync covers, and those that the program has written.
#[derive(Default)]
struct Content {
    synced: Vec<u8>,
    written: Vec<u8>,
}

fn contents(operations: &[Operation], cruelty: Cruelty, dice: &mut Stream) -> BTreeMap<FileId, Vec<u8>> {
    let mut synced: BTreeMap<FileId, usize> = BTreeMap::new();
    for operation in operations {
        if let Operation::Sync { file, begun } = operation {
            let through = synced.entry(*file).or_default();
            *through = (*through).max(*begun);
        }
    }
    let mut contents: BTreeMap<FileId, Content> = BTreeMap::new();
    for (at, operation) in operations.iter().enumerate() {
        let (Operation::Write { file, .. } | Operation::Truncate { file, .. }) = operation else { continue };
        let content = contents.entry(*file).or_default();
        change(&mut content.written, operation);
        if synced.get(file).is_some_and(|through| at < *through) {
            change(&mut content.synced, operation);
        }
    }
    contents.into_iter().map(|(file, content)| (file, content.survivors(cruelty, dice))).collect()
}

fn change(content: &mut Vec<u8>, operation: &Operation) {
    match operation {
        Operation::Write { offset, bytes, .. } => {
            let end = offset + bytes.len();
            if content.len() < end {
                content.resize(end, 0);
            }
            content[*offset..end].copy_from_slice(bytes);
        }
        Operation::Truncate { length, .. } => content.resize(*length, 0),
        Operation::MakeDirectory { .. }
        | Operation::Create { .. }
        | Operation::Rename { .. }
        | Operation::Link { .. }
        | Operation::Unlink { .. }
        | Operation::SyncDirectory { .. }
        | Operation::Sync { .. } => {}
    }
}

impl Content {
    fn survivors(self, cruelty: Cruelty, dice: &mut Stream) -> Vec<u8> {
        let Self { synced, written } = self;
        if !written.starts_with(&synced) {
            // Not appended to: RocksDB does this to no file that it reads again.
            return if cruelty != Cruelty::Nothing && dice.within(0, 2) == 0 { written } else { synced };
        }
        let tail = written.len() - synced.len();
        match (cruelty, dice.within(0, 4)) {
            (Cruelty::Nothing, _) | (_, 0) => synced,
            (_, 1) => written,
            (Cruelty::Cut, _) | (_, 2) => {
                let length = synced.len() + below(dice, tail + 1);
                written[..length].to_vec()
            }
            (Cruelty::Zeroed, _) => {
                let end = synced.len() + below(dice, tail + 1);
                let mut content = written;
                content[end..].fill(0);
                content
            }
            (Cruelty::Scattered, _) => {
                let mut content = written;
                let mut from = synced.len();
                while from < content.len() {
                    let to = ((from / PAGE + 1) * PAGE).min(content.len());
                    if dice.within(0, 3) == 0 {
                        content[from..to].fill(0);
                    }
                    from = to;
                }
                content
            }
        }
    }
}

/// A number below `end`, which is not 0.
fn below(dice: &mut Stream, end: usize) -> usize {
    usize::try_from(dice.within(0, end as u64)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(file: FileId, offset: usize, bytes: &str) -> Operation {
        Operation::Write { file, offset, bytes: bytes.into() }
    }

    fn create(path: &str, file: FileId) -> Operation {
        Operation::Create { path: path.into(), file }
    }

    fn sync_root(begun: usize) -> Operation {
        Operation::SyncDirectory { path: PathBuf::new(), begun }
    }

    fn least(operations: &[Operation]) -> Image {
        Image::after(operations, Cruelty::Nothing, &mut Stream::of(1, "test"))
    }

    #[test]
    fn a_name_is_there_once_its_directory_is_synced() {
        let mut operations = vec![create("a", 0), write(0, 0, "x"), Operation::Sync { file: 0, begun: 2 }];
        assert!(least(&operations).files.is_empty());
        operations.push(sync_root(3));
        assert_eq!(least(&operations).files[Path::new("a")], b"x");
    }

    #[test]
    fn a_sync_covers_what_was_written_before_it_began() {
        let operations =
            [create("a", 0), sync_root(1), write(0, 0, "x"), write(0, 1, "y"), Operation::Sync { file: 0, begun: 3 }];
        assert_eq!(least(&operations).files[Path::new("a")], b"x");
    }

    #[test]
    fn a_rename_that_no_sync_covers_leaves_the_old_file() {
        let operations = [
            create("current", 0),
            create("new", 1),
            sync_root(2),
            Operation::Rename { from: "new".into(), to: "current".into() },
            Operation::Unlink { path: "gone".into() },
        ];
        let image = least(&operations);
        assert_eq!(image.files.keys().collect::<Vec<_>>(), [Path::new("current"), Path::new("new")]);
        let kept = (0..50).map(|seed| Image::after(&operations, Cruelty::Cut, &mut Stream::of(seed, "test")));
        assert!(kept.into_iter().any(|image| image.files.len() == 1));
    }

    #[test]
    fn a_file_without_its_directory_is_not_there() {
        let directory = PathBuf::from("store");
        let operations = [
            Operation::MakeDirectory { path: directory.clone() },
            create("store/a", 0),
            Operation::SyncDirectory { path: directory, begun: 2 },
        ];
        assert!(least(&operations).files.is_empty());
    }

    #[test]
    fn the_synced_part_is_the_same_in_every_image() {
        let long = "y".repeat(3 * PAGE);
        let operations = [
            create("a", 0),
            sync_root(1),
            write(0, 0, "begin"),
            Operation::Sync { file: 0, begun: 3 },
            write(0, 5, &long),
        ];
        let mut lengths = BTreeSet::new();
        for seed in 0..200 {
            for cruelty in Cruelty::ALL {
                let image = Image::after(&operations, cruelty, &mut Stream::of(seed, "test"));
                let content = &image.files[Path::new("a")];
                assert!(content.starts_with(b"begin"));
                lengths.insert(content.len());
            }
        }
        assert!(lengths.len() > 20, "{lengths:?}");
    }
}
