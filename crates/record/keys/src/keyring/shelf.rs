//! Keys that the nodes of one installation share: each file travels sealed under the root key, which does not travel
//! with it. A row holds one version and opens as no other, and each node remembers the highest that it has seen, so a row
//! that somebody puts back is not taken for what stands.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bailiwick_base::{Digest, KeyShelf, SealError, SharedKey, TenantId};

use super::{
    AUTHORITIES, EGRESS_FILE, INSTALLATION_FILE, Keyring, LOGS, TENANTS, file_binding, read_sealed,
    write_sealed,
};
use crate::bundle::Bundle;
use crate::codec::{Reader, Writer};
use crate::error::KeysError;
use crate::files;

/// What is known of shared files; empty on a node that is alone.
#[derive(Debug, Default)]
pub(super) struct Shelf(Mutex<Option<Known>>);

/// What this node remembers of the versions it has seen, sealed.
const VERSIONS_FILE: &str = "shared.versions";
const VERSIONS: &str = "versions";

#[derive(Debug, Default)]
struct Known {
    versions: BTreeMap<String, u64>,
    /// The highest of earlier starts, of what was not taken in this one yet.
    seen: BTreeMap<String, u64>,
    waiting: BTreeSet<String>,
}

impl Shelf {
    fn lock(&self) -> MutexGuard<'_, Option<Known>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn not_kept() -> SealError {
    SealError::DoesNotOpen {
        table: "shared_key",
        column: "sealed",
    }
}

/// Whose key a name below the folder means, and how its file is bound: kind and name.
enum Named<'a> {
    Authority(&'a str),
    Egress,
    Installation,
    Log,
    Tenant(&'a str),
}

fn named(name: &str) -> Option<Named<'_>> {
    let slug = |rest: &str| TenantId::parse(rest).is_ok();
    match name.split_once('/') {
        None if name == EGRESS_FILE => Some(Named::Egress),
        None if name == INSTALLATION_FILE => Some(Named::Installation),
        Some((TENANTS, file)) => file.strip_suffix(".key").filter(|f| slug(f)).map(Named::Tenant),
        Some((AUTHORITIES, file)) => file
            .strip_suffix(".key")
            .filter(|f| slug(f))
            .map(Named::Authority),
        Some((LOGS, file)) => {
            let hex = file.strip_suffix(".key")?;
            (hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_hexdigit())).then_some(Named::Log)
        }
        _ => None,
    }
}

/// Whether a file of this name below the folder of keys is one that nodes share.
pub(crate) fn is_shareable(name: &str) -> bool {
    named(name).is_some()
}

/// What a row is sealed with: its name, and its version.
fn row_binding(name: &str, version: u64) -> Writer {
    let mut out = Writer::with_capacity(96);
    out.field(b"bailiwick shared key 1")
        .field(name.as_bytes())
        .field(&version.to_be_bytes());
    out
}

fn written(versions: &BTreeMap<String, u64>) -> Writer {
    let mut out = Writer::with_capacity(64 * versions.len());
    for (name, version) in versions {
        out.field(name.as_bytes()).field(&version.to_be_bytes());
    }
    out
}

fn read_versions(bytes: &[u8]) -> Option<BTreeMap<String, u64>> {
    let (mut reader, mut out) = (Reader::new(bytes), BTreeMap::new());
    while !reader.is_finished() {
        let name = std::str::from_utf8(reader.field()?).ok()?.to_owned();
        out.insert(name, u64::from_be_bytes(reader.field()?.try_into().ok()?));
    }
    Some(out)
}

/// The file name of the key of a log.
pub(super) fn log_file(origin: &str) -> String {
    format!("{}.key", Digest::of(origin.as_bytes()))
}

impl Keyring {
    /// From now on other nodes share these keys: takes what is placed already, and offers everything else but the
    /// keys of other logs than `origin`. `older`: somebody accepted that the store is older than what this node saw.
    ///
    /// # Errors
    /// [`KeysError`] when a placed key does not open here, or a folder cannot be read; [`KeysError::SetBack`] when one is
    /// older than this node has seen it, or gone, and nobody accepted that.
    pub fn share(&self, origin: &str, placed: &[SharedKey], older: bool) -> Result<(), KeysError> {
        let path = self.folder.join(VERSIONS_FILE);
        let remembered = match read_sealed(&path, &self.root, VERSIONS, "")? {
            Some(bytes) if !older => read_versions(&bytes).ok_or(KeysError::Damaged { path })?,
            _ => BTreeMap::new(),
        };
        for (name, seen) in &remembered {
            let row = placed.iter().find(|key| key.name == *name);
            let (found, seen) = (row.map_or(0, |key| key.version), *seen);
            if found < seen {
                let name = name.clone();
                return Err(KeysError::SetBack { name, found, seen });
            }
        }
        *self.shelf.lock() = Some(Known {
            seen: remembered,
            ..Known::default()
        });
        for key in placed {
            let path = self.folder.join(&key.name);
            KeyShelf::adopt(self, key).map_err(|_| KeysError::Damaged { path })?;
        }
        for name in [
            EGRESS_FILE.to_owned(),
            INSTALLATION_FILE.to_owned(),
            format!("{LOGS}/{}", log_file(origin)),
        ] {
            self.offer_new(&name);
        }
        for part in [TENANTS, AUTHORITIES] {
            let folder = self.folder.join(part);
            for entry in std::fs::read_dir(&folder).map_err(files::failed("list", &folder))? {
                let entry = entry.map_err(files::failed("list", &folder))?;
                if let Some(file) = entry.file_name().to_str() {
                    self.offer_new(&format!("{part}/{file}"));
                }
            }
        }
        Ok(())
    }

    /// The file in a row, which opens as this version of this name alone.
    fn unwrapped(&self, key: &SharedKey) -> Result<Vec<u8>, KeysError> {
        let opened = self
            .root
            .open(row_binding(&key.name, key.version).as_slice(), &key.sealed);
        let file = opened.map_err(|_| KeysError::Damaged {
            path: self.folder.join(&key.name),
        })?;
        Ok(file.to_vec())
    }

    /// So that the next start knows what it may not go below.
    fn remember(&self, known: &Known) -> Result<(), KeysError> {
        let mut highest = known.seen.clone();
        highest.extend(known.versions.clone());
        let (path, plain) = (self.folder.join(VERSIONS_FILE), written(&highest));
        write_sealed(&path, &self.root, VERSIONS, "", plain.as_slice())
    }

    fn offer_new(&self, name: &str) {
        if named(name).is_none() || !self.folder.join(name).is_file() {
            return;
        }
        if let Some(known) = &mut *self.shelf.lock()
            && !known.versions.contains_key(name)
        {
            known.waiting.insert(name.to_owned());
        }
    }

    /// A file changed here: it goes to the other nodes with the next transaction.
    pub(super) fn offer(&self, path: &Path) {
        let Ok(name) = path.strip_prefix(&self.folder) else {
            return;
        };
        if let (Some(name), Some(known)) = (name.to_str(), &mut *self.shelf.lock()) {
            known.waiting.insert(name.to_owned());
        }
    }

    fn keep(&self, key: &SharedKey) -> Result<(), KeysError> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let path = self.folder.join(&key.name);
        let damaged = || KeysError::Damaged { path: path.clone() };
        let is_here = files::read(&path)?.is_some_and(|here| *here == key.sealed);
        let opens = |kind: &str, name: &str| {
            let opened = self.root.open(file_binding(kind, name).as_slice(), &key.sealed);
            opened.map_err(|_| damaged())
        };
        match named(&key.name).ok_or_else(damaged)? {
            Named::Authority(slug) => {
                opens("authority", slug)?;
                let tenant = TenantId::parse(slug).map_err(|_| damaged())?;
                let mut kept = self.authorities.write().unwrap_or_else(PoisonError::into_inner);
                kept.remove(&tenant);
            }
            Named::Egress => drop(opens("egress", "")?),
            // Everything of the installation was sealed under it: another one is not a newer one.
            Named::Installation if is_here => {}
            Named::Installation => {
                let plain = opens("installation", "")?;
                if *plain != *self.installation.encode().as_slice() {
                    return Err(damaged());
                }
                return Ok(());
            }
            Named::Log if path.exists() => return Ok(()),
            Named::Log => {}
            Named::Tenant(slug) => {
                let bundle = Bundle::decode(&opens("tenant", slug)?).ok_or_else(damaged)?;
                let tenant = TenantId::parse(slug).map_err(|_| damaged())?;
                if self.tombstone(&tenant).exists() {
                    return Err(KeysError::TenantErased(tenant));
                }
                let mut tenants = self.tenants.write().unwrap_or_else(PoisonError::into_inner);
                if !is_here {
                    tenants.insert(tenant, Arc::new(bundle));
                }
            }
        }
        if is_here {
            return Ok(());
        }
        files::write(&path, &key.sealed)
    }
}

impl KeyShelf for Keyring {
    fn waiting(&self) -> Vec<SharedKey> {
        let mut shelf = self.shelf.lock();
        let Some(known) = &mut *shelf else {
            return Vec::new();
        };
        let mut out = Vec::new();
        known.waiting.retain(|name| {
            let (Some(place), Ok(Some(sealed))) = (named(name), files::read(&self.folder.join(name))) else {
                return false;
            };
            let tenant = match place {
                Named::Authority(slug) | Named::Tenant(slug) => TenantId::parse(slug).ok(),
                Named::Egress | Named::Installation | Named::Log => None,
            };
            let version = known.versions.get(name).copied().unwrap_or(0);
            let (binding, mut wrapped) = (row_binding(name, version + 1), Vec::new());
            // Without randomness it waits for the next one.
            if self.root.seal(binding.as_slice(), &sealed, &mut wrapped).is_ok() {
                out.push(SharedKey {
                    tenant,
                    name: name.clone(),
                    version,
                    sealed: wrapped,
                });
            }
            true
        });
        out
    }

    fn placed(&self, keys: &[SharedKey]) {
        let mut shelf = self.shelf.lock();
        let Some(known) = &mut *shelf else {
            return;
        };
        for key in keys {
            known.versions.insert(key.name.clone(), key.version);
            // Changed again meanwhile: it waits on.
            let placed = self.unwrapped(key).ok();
            let here = files::read(&self.folder.join(&key.name)).ok().flatten();
            if placed.is_some_and(|placed| here.is_some_and(|here| *here == placed)) {
                known.waiting.remove(&key.name);
            }
        }
        // Where that fails, the next start knows less of what others may not set back.
        drop(self.remember(known));
    }

    fn adopt(&self, key: &SharedKey) -> Result<(), SealError> {
        {
            let mut shelf = self.shelf.lock();
            let known = shelf.get_or_insert_default();
            if known.versions.get(&key.name).is_some_and(|v| *v >= key.version) {
                return Ok(());
            }
            // Whoever placed it was first; what was made here at the same time is forgotten.
            known.waiting.remove(&key.name);
        }
        let file = SharedKey {
            sealed: self.unwrapped(key).map_err(|_| not_kept())?,
            ..key.clone()
        };
        self.keep(&file).map_err(|_| not_kept())?;
        if let Some(known) = &mut *self.shelf.lock() {
            known.versions.insert(key.name.clone(), key.version);
            self.remember(known).map_err(|_| not_kept())?;
        }
        Ok(())
    }
}
