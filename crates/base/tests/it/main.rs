//! Room tests of `base`, and the public vector sets that judge its parsers.
#![expect(
    clippy::unwrap_used,
    clippy::string_slice,
    reason = "a test that cannot read its input fails"
)]

mod canonical;
mod composition;
mod hostile_names;
mod json_suite;
mod public_key;
mod steady;
