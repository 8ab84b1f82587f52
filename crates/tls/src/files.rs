//! The three files: where they lie, what was in them, and what can be wrong with that.

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use crate::PeerError;

/// No file of certificates or keys is larger, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Where authorities, certificate and key lie, all in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    /// Whom to trust: one certificate of an authority, or several.
    pub ca: PathBuf,
    /// Our own certificate, with those between it and the authority behind it.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

/// Why TLS cannot be had, or is kept as it was.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be read.
    #[error("{key}: cannot read {}", path.display())]
    Read {
        /// The setting that names it.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// A file does not hold what it should.
    #[error("{key}: {} {why}", path.display())]
    Content {
        /// The setting that names it.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// Our own certificate is no good.
    #[error("tls.cert: {} {why}", path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and what helps.
        why: String,
    },
    /// Our own certificate does not say who we are.
    #[error("tls.cert: {} {why}; 'quorate cert issue' makes one that does not", path.display())]
    Nobody {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: PeerError,
    },
}

/// What was in the files.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Contents {
    pub(crate) ca: Vec<u8>,
    pub(crate) cert: Vec<u8>,
    pub(crate) key: Vec<u8>,
}

impl Files {
    /// Reads all three.
    pub(crate) fn read(&self) -> Result<Contents, Error> {
        Ok(Contents {
            ca: read("tls.ca", &self.ca)?,
            cert: read("tls.cert", &self.cert)?,
            key: read("tls.key", &self.key)?,
        })
    }
}

fn read(key: &'static str, path: &Path) -> Result<Vec<u8>, Error> {
    let failed = |source| Error::Read { key, path: path.to_path_buf(), source };
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(failed)?;
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        let why = format!("has more than FILE_BYTES_MAX ({FILE_BYTES_MAX}) bytes");
        return Err(Error::Content { key, path: path.to_path_buf(), why });
    }
    Ok(bytes)
}
