//! Keeps a snapshot in a file: under its name it is whole and durable, or not there.

use std::fs::{self, File};
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};

use quorate_proto::backup::{BackupError, Writer, Written};

use crate::Error;
use crate::client::SnapshotPieces;

/// Why there is no file.
#[derive(Debug, thiserror::Error)]
pub enum SaveError {
    /// Something has that name.
    #[error("{path} exists already: choose another name, or replace it with --force")]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// It cannot be written.
    #[error("cannot write {path}: choose another place or make room")]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The replica broke off.
    #[error("the snapshot broke off: try again, perhaps from another replica")]
    Broke(#[source] Error),
    /// What came is not what was sent.
    #[error("the snapshot did not arrive whole: try again, perhaps from another replica")]
    Damaged(#[source] BackupError),
}

/// Takes all pieces into the file at `path`, which is replaced only with `force`, and only by a whole.
pub async fn save(mut pieces: SnapshotPieces, path: &Path, force: bool) -> Result<Written, SaveError> {
    let write = |source| SaveError::Write { path: path.to_path_buf(), source };
    if !force && path.symlink_metadata().is_ok() {
        return Err(SaveError::Exists { path: path.to_path_buf() });
    }
    let damaged = |error| match error {
        BackupError::File(source) => write(source),
        error => SaveError::Damaged(error),
    };
    let (partial, file) = Partial::begin(path).map_err(write)?;
    let mut writer = Writer::begin(BufWriter::new(file)).map_err(damaged)?;
    while let Some(piece) = pieces.next().await.map_err(SaveError::Broke)? {
        writer.add(&piece.piece, &piece.digest).map_err(damaged)?;
    }
    let (written, out) = writer.finish().map_err(damaged)?;
    out.into_inner().map_err(io::IntoInnerError::into_error).and_then(|file| file.sync_all()).map_err(write)?;
    partial.take_name(path, force).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => SaveError::Exists { path: path.to_path_buf() },
        _ => write(error),
    })?;
    Ok(written)
}

/// A file in the making, beside the one that it becomes; dropped before that, it is removed.
struct Partial {
    path: PathBuf,
    directory: PathBuf,
}

impl Partial {
    fn begin(target: &Path) -> io::Result<(Self, File)> {
        let name = target.file_name().ok_or_else(|| io::Error::other("it names no file"))?;
        let parent = target.parent().filter(|parent| !parent.as_os_str().is_empty());
        let directory = parent.unwrap_or(Path::new(".")).to_path_buf();
        let mut partial = std::ffi::OsString::from(".");
        partial.push(name);
        partial.push(format!(".{}.partial", std::process::id()));
        let path = directory.join(partial);
        let file = File::create(&path)?;
        Ok((Self { path, directory }, file))
    }

    fn take_name(self, target: &Path, force: bool) -> io::Result<()> {
        if force {
            fs::rename(&self.path, target)?;
        } else {
            // A link, unlike a rename, never takes a name that somebody has got meanwhile.
            fs::hard_link(&self.path, target)?;
        }
        File::open(&self.directory)?.sync_all()
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        // Gone already where it was renamed.
        let _ = fs::remove_file(&self.path);
    }
}
