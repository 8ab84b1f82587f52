//! The maps of the simulated world: in order of insertion, and hashed without keys.
//!
//! Not part of turmoil: see PATCH.md. Nobody chooses addresses here to make them collide, and
//! every message, tick and look at a clock takes several lookups.

use indexmap::IndexMap;
use rustc_hash::FxBuildHasher;

pub(crate) type Map<K, V> = IndexMap<K, V, FxBuildHasher>;
