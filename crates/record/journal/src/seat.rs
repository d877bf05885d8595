//! Where a process with this data folder runs.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use bailiwick_base::Sha256;

/// Changes with every start of the machine, and is the same for all that runs on it.
const BOOT: &str = "/proc/sys/kernel/random/boot_id";

/// A name for this folder on this machine since it was started. Whoever holds the lock of the kill journal there is
/// the only process with this name, and any other that had it has ended. A copy of the folder has another one. `None`
/// where the machine does not tell.
///
/// A machine that is itself copied while it runs takes its names along.
#[must_use]
pub fn seat(data: &Path) -> Option<String> {
    let boot = std::fs::read_to_string(BOOT).ok()?;
    let folder = std::fs::metadata(data).ok()?;
    let mut sha = Sha256::new();
    sha.update_field(boot.trim().as_bytes());
    sha.update_field(&folder.dev().to_be_bytes());
    sha.update_field(&folder.ino().to_be_bytes());
    Some(sha.finish().to_string())
}
