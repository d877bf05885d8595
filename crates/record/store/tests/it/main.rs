//! The conformance suite of the store, run against both engines.

mod aggregates;
mod bed;
mod cases;
mod counting;
mod crash;
mod files;
mod schema;
mod suite;
