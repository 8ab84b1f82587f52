//! How much room a directory takes.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use crate::Error;

/// Bytes of one block as the kernel counts them.
const BLOCK_BYTES: u64 = 512;

/// Bytes on the device of all files below a directory. Files that go away meanwhile take none.
pub(super) fn bytes_below(directory: &Path) -> Result<u64, Error> {
    let mut sum = 0;
    let mut left = vec![directory.to_path_buf()];
    while let Some(path) = left.pop() {
        let failed = |source| Error::Read { path: path.clone(), source };
        let metadata = match std::fs::symlink_metadata(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && path != directory => continue,
            metadata => metadata.map_err(failed)?,
        };
        if metadata.is_dir() {
            for entry in std::fs::read_dir(&path).map_err(failed)? {
                left.push(entry.map_err(failed)?.path());
            }
        }
        sum += metadata.blocks() * BLOCK_BYTES;
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn files_in_directories_below_count_and_nothing_of_nothing_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let empty = bytes_below(directory.path()).unwrap();
        std::fs::create_dir(directory.path().join("below")).unwrap();
        let mut file = std::fs::File::create(directory.path().join("below/file")).unwrap();
        // Some file systems find room for it only then.
        file.write_all(&[7_u8; 100_000]).and_then(|()| file.sync_all()).unwrap();
        let bytes = bytes_below(directory.path()).unwrap() - empty;
        assert!((100_000..200_000).contains(&bytes), "{bytes}");
        assert!(bytes_below(&directory.path().join("absent")).is_err());
    }
}
