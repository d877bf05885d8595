//! Platforms as manifests: what is asked of each, and what its answers mean.
//!
//! A platform is a folder in `content/platforms`: `manifest.yaml` says what is asked, with which permission, how pages
//! and limits go, what can and cannot be seen, and what every item becomes; `cases/` says so once more by example.
//! Words: *manifest*, *source* (one list that the platform gives), *page*, *item*, *observation*.
//!
//! Invariants
//! - A manifest that is not understood to its last member is refused, with file, line and member.
//! - Mapping is a function of manifest, page and parameters. It is total, and visits a value of the page at most once
//!   for each segment of each path.
//! - No item disappears: it is observed, left out for a reason of the manifest, or named as unmapped. A page without its
//!   list is an error and not an empty page; a source without an answer is not covered and not empty.
//!
//! This crate knows no HTTP, no credentials and no storage: whoever fetches reads the same manifest.

#![warn(missing_docs)]

mod document;
mod export;
mod library;
mod map;
mod model;
mod path;
mod read;
mod remark;
mod rules;
mod text;

pub use document::TimeForm;
pub use export::{Coverage, ExportError, FILE_MAX, Scan, SourceScan};
pub use library::{PLATFORMS, platform};
pub use map::{Mapped, PageError};
pub use model::{Ask, Auth, ForEach, Manifest, Paging, Rate, Source};
pub use path::Path;
pub use read::ManifestError;
pub use remark::{Remark, Remarks};
pub use text::{Given, Text};
