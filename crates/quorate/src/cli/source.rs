//! Files named on the command line, where `-` is standard input.

use std::io::Read as _;
use std::path::Path;

use crate::exit::Error;

/// No job or workflow file is larger, in bytes.
pub(crate) const SOURCE_BYTES_MAX: usize = 16 << 20;

/// A file's bytes, and what to call it in messages.
#[derive(Debug)]
pub(crate) struct Source {
    /// The path as typed, or `<stdin>`.
    pub(crate) name: String,
    /// All of it.
    pub(crate) bytes: Vec<u8>,
}

impl Source {
    /// Reads `path`, at most [`SOURCE_BYTES_MAX`] of it.
    pub(crate) fn read(path: &Path) -> Result<Self, Error> {
        let is_stdin = path.as_os_str() == "-";
        let name = if is_stdin { "<stdin>".to_owned() } else { path.display().to_string() };
        let unreadable = |source| Error::Read { what: name.clone(), source };
        let mut bytes = Vec::new();
        // One byte more than allowed tells a file that is too large from one that just fits.
        let limit = SOURCE_BYTES_MAX as u64 + 1;
        if is_stdin {
            std::io::stdin().lock().take(limit).read_to_end(&mut bytes).map_err(unreadable)?;
        } else {
            std::fs::File::open(path).map_err(unreadable)?.take(limit).read_to_end(&mut bytes).map_err(unreadable)?;
        }
        if bytes.len() > SOURCE_BYTES_MAX {
            return Err(Error::TooLarge { what: name, limit: "SOURCE_BYTES_MAX", max: SOURCE_BYTES_MAX });
        }
        Ok(Self { name, bytes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_over_the_limit_is_refused_by_name() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(SOURCE_BYTES_MAX as u64 + 1).unwrap();
        let message = Source::read(file.path()).unwrap_err().to_string();
        assert!(message.contains("SOURCE_BYTES_MAX"), "{message}");
        file.as_file().set_len(SOURCE_BYTES_MAX as u64).unwrap();
        assert_eq!(Source::read(file.path()).unwrap().bytes.len(), SOURCE_BYTES_MAX);
    }

    #[test]
    fn a_missing_file_is_named() {
        let message = Source::read(Path::new("/nonexistent/job.toml")).unwrap_err().chain();
        assert!(message.contains("/nonexistent/job.toml"), "{message}");
    }
}
