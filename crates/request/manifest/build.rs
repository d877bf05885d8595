//! Lists the folders of `content/platforms`, so that a platform is added by its folder alone.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../content/platforms");
    println!("cargo:rerun-if-changed={}", folder.display());
    let mut manifests: Vec<(String, PathBuf)> = Vec::new();
    for entry in std::fs::read_dir(&folder)? {
        let entry = entry?;
        let file = entry.path().join("manifest.yaml");
        if file.is_file() {
            manifests.push((
                entry.file_name().to_string_lossy().into_owned(),
                file.canonicalize()?,
            ));
        }
    }
    manifests.sort();
    let mut list = String::from("&[\n");
    for (name, file) in manifests {
        println!("cargo:rerun-if-changed={}", file.display());
        writeln!(list, "    ({name:?}, include_str!({file:?})),")?;
    }
    list.push_str("]\n");
    #[expect(
        clippy::disallowed_methods,
        reason = "where a build script writes is told to it in this way only"
    )]
    let out = std::env::var("OUT_DIR")?;
    std::fs::write(Path::new(&out).join("platforms.rs"), list)?;
    Ok(())
}
