//! Room 3, grant: what a task may do, down to tool arguments. One grammar, one compiler to Cedar.

#![warn(missing_docs)]

mod model;

pub use model::{Condition, Grant, Literal, Operator, Rate, Scope};
