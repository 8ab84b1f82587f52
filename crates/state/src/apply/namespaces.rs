//! Namespaces: the tenants' key spaces.

use super::overlay::Overlay;
use crate::{Change, Event, Namespace, Rejection, Reply};

pub(super) fn create(overlay: &mut Overlay, namespace: &Namespace) -> Result<Reply, Rejection> {
    overlay.settings()?;
    if overlay.state().has_namespace(namespace) {
        return Err(Rejection::NamespaceExists(namespace.clone()));
    }
    overlay.put(Change::Namespace(namespace.clone(), overlay.now()));
    overlay.emit(Event::NamespaceCreated { namespace: namespace.clone() });
    Ok(Reply::Done)
}
