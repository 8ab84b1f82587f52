//! The files of TLS: all of them, or none.

use quorate_tls::Files;

use super::{Settings, SettingsError, parse, variable};

impl Settings {
    /// Where authorities, certificate and key are; `None` without TLS.
    pub(crate) fn tls(&self) -> Result<Option<Files>, SettingsError> {
        let read = |key| Ok(self.get(key, parse::path)?.ok_or(key));
        match (read("tls.ca")?, read("tls.cert")?, read("tls.key")?) {
            (Ok(ca), Ok(cert), Ok(key)) => Ok(Some(Files { ca, cert, key })),
            (Err(_), Err(_), Err(_)) => Ok(None),
            (Err(key), _, _) | (_, Err(key), _) | (_, _, Err(key)) => Err(SettingsError::Invalid(vec![format!(
                "{key} is not set: TLS needs tls.ca, tls.cert and tls.key together (as a variable: {})",
                variable(key)
            )])),
        }
    }
}
