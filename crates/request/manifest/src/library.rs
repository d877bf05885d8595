//! The manifests of `content/platforms`, as they were when this program was built.

use crate::model::Manifest;
use crate::read::ManifestError;

/// Platform and text of every manifest, by name; the build script lists the folders, so that a platform is added by its
/// folder alone.
pub const PLATFORMS: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/platforms.rs"));

/// The manifest of a platform; `None` where there is none.
#[must_use]
pub fn platform(name: &str) -> Option<Result<Manifest, ManifestError>> {
    let (name, text) = PLATFORMS.iter().find(|(known, _)| *known == name)?;
    Some(Manifest::read(&format!("{name}/manifest.yaml"), name, text))
}
