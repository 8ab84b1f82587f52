//! What the expressions of a job may name, and what they come to in a run.
//!
//! A job's texts may hold references (`${split.result.parts}`), its tasks conditions (`when`) and fan-outs (`each`), and
//! its runs are told values (`params`). What such an expression means is for `quorate-values` to say; this crate knows
//! where in a job each may stand, and which tasks it may name there. Client and server check jobs with the same
//! code, so that what one of them accepts the other does.
//!
//! **Invariant:** nothing here changes a state or keeps anything, because whoever leads next must come to the same.

mod check;

mod args;
mod elements;
mod names;

mod decide;
mod facts;
mod filling;
mod render;
mod sub_run;

pub use args::{arg, complete_args};
pub use check::{FLAWS_MAX, check, names_payloads};
pub use decide::{DECISION_BYTES_MAX, Decision, decide};
pub use elements::elements;
pub use facts::{INPUT_BYTES_MAX, INPUT_ELEMENTS_MAX};
pub use filling::references;
pub use names::Names;
pub use render::{Command, Commands};
pub use sub_run::{Begin, Begins, conclude};
