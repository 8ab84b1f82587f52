//! A data directory that is there whole, or not at all.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use crate::exit::Error;

/// A directory in the making, beside the one that it becomes; dropped before that, it is removed.
#[derive(Debug)]
pub(crate) struct FreshDir {
    building: PathBuf,
    parent: PathBuf,
    target: PathBuf,
}

impl FreshDir {
    /// Begins one that is to have the name `target`, where nothing or an empty directory may be.
    pub(crate) fn begin(target: &Path) -> Result<Self, Error> {
        let failed = |source| Error::Write { path: target.to_path_buf(), source };
        match fs::read_dir(target) {
            Ok(mut entries) => {
                if entries.next().is_some() {
                    return Err(Error::NotEmpty { path: target.to_path_buf() });
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
        }
        let absolute = std::path::absolute(target).map_err(failed)?;
        let (Some(parent), Some(name)) = (absolute.parent(), absolute.file_name()) else {
            return Err(failed(io::Error::other("it cannot be a data directory")));
        };
        fs::create_dir_all(parent).map_err(failed)?;
        let mut building = std::ffi::OsString::from(".");
        building.push(name);
        building.push(format!(".{}.partial", std::process::id()));
        let building = parent.join(building);
        fs::create_dir(&building).map_err(failed)?;
        Ok(Self { building, parent: parent.to_path_buf(), target: absolute })
    }

    /// Where to put what it shall hold.
    pub(crate) fn path(&self) -> &Path {
        &self.building
    }

    /// Gives it its name, for good once this returns. What is in it must be durable by itself.
    pub(crate) fn finish(self) -> Result<(), Error> {
        let failed = |source| Error::Write { path: self.target.clone(), source };
        File::open(&self.building).and_then(|directory| directory.sync_all()).map_err(failed)?;
        // Onto an empty directory, or nothing: the kernel refuses any other.
        fs::rename(&self.building, &self.target).map_err(failed)?;
        File::open(&self.parent).and_then(|directory| directory.sync_all()).map_err(failed)
    }
}

impl Drop for FreshDir {
    fn drop(&mut self) {
        // Gone already where it has its name.
        let _ = fs::remove_dir_all(&self.building);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_appears_whole_or_not_at_all() {
        let parent = tempfile::tempdir().unwrap();
        let target = parent.path().join("deep").join("data");
        let dropped = FreshDir::begin(&target).unwrap();
        fs::write(dropped.path().join("file"), "x").unwrap();
        assert!(!target.exists());
        drop(dropped);
        assert_eq!(fs::read_dir(target.parent().unwrap()).unwrap().count(), 0);

        fs::create_dir(&target).unwrap();
        let fresh = FreshDir::begin(&target).unwrap();
        fs::write(fresh.path().join("file"), "x").unwrap();
        fresh.finish().unwrap();
        assert_eq!(fs::read(target.join("file")).unwrap(), b"x");
        assert_eq!(fs::read_dir(target.parent().unwrap()).unwrap().count(), 1);
        assert!(matches!(FreshDir::begin(&target), Err(Error::NotEmpty { .. })));
    }
}
