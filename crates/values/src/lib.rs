//! What the expressions of a job file mean: templates, conditions, parameters and fan-outs as functions of values.
//!
//! The client checks them when a job is submitted; the leader renders commands and decides conditions with
//! the same code. Nothing here reads a clock, a file or a random number, and nothing panics: a text that
//! means nothing is a [`Flaw`], which says what is wrong and what to write instead. What takes time or
//! room has a limit with a name, and so a hostile job costs no more than a large one.
//!
//! Where values come from is behind a [`Scope`], which is asked for what an expression names and for
//! nothing else.

mod condition;
mod elements;
mod flaw;
mod json;
mod param;
mod reference;
mod scope;
mod template;

pub use condition::{
    CONDITION_BRACKETS_MAX, CONDITION_BYTES_MAX, CONDITION_COST_MAX, CONDITION_DEPTH_MAX, CONDITION_TOKENS_MAX,
    Condition,
};
pub use elements::Each;
pub use flaw::Flaw;
pub use json::{VALUE_BYTES_MAX, VALUE_DEPTH_MAX, parse};
pub use param::{PARAMS_MAX, Param, ParamType, check_param_name, complete};
pub use reference::{NAME_BYTES_MAX, PATH_SEGMENTS_MAX, Reference, Root, RunField};
pub use scope::{Found, Scope, Values};
pub use template::{REFERENCES_MAX, RENDERED_BYTES_MAX, TEMPLATE_BYTES_MAX, Template, escape};

pub use serde_json::Value;
