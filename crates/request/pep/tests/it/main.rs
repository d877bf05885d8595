//! Room tests of `pep`, and the public vector sets that judge its reader of tokens.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::panic,
    reason = "a test that cannot read its input fails"
)]

mod assertion;
mod cookbook;
mod dpop;
mod forgery;
mod pipeline;
mod recorder;
mod token;
mod world;
mod wycheproof;
