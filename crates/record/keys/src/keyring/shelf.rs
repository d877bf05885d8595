//! Keys that the nodes of one installation share: each file travels sealed under the root key, which does not travel
//! with it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bailiwick_base::{Digest, KeyShelf, SealError, SharedKey, TenantId};

use super::{AUTHORITIES, EGRESS_FILE, INSTALLATION_FILE, Keyring, LOGS, TENANTS, file_binding};
use crate::bundle::Bundle;
use crate::error::KeysError;
use crate::files;

/// What is known of shared files; empty on a node that is alone.
#[derive(Debug, Default)]
pub(super) struct Shelf(Mutex<Option<Known>>);

#[derive(Debug, Default)]
struct Known {
    versions: BTreeMap<String, u64>,
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

/// The file name of the key of a log.
pub(super) fn log_file(origin: &str) -> String {
    format!("{}.key", Digest::of(origin.as_bytes()))
}

impl Keyring {
    /// From now on other nodes share these keys: takes what is placed already, and offers everything else but the
    /// keys of other logs than `origin`.
    ///
    /// # Errors
    /// [`KeysError`] when a placed key does not open here, or a folder cannot be read.
    pub fn share(&self, origin: &str, placed: &[SharedKey]) -> Result<(), KeysError> {
        *self.shelf.lock() = Some(Known::default());
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
            out.push(SharedKey {
                tenant,
                name: name.clone(),
                version: known.versions.get(name).copied().unwrap_or(0),
                sealed: sealed.to_vec(),
            });
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
            let same =
                files::read(&self.folder.join(&key.name)).is_ok_and(|f| f.is_some_and(|f| *f == key.sealed));
            if same {
                known.waiting.remove(&key.name);
            }
        }
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
        self.keep(key).map_err(|_| not_kept())?;
        if let Some(known) = &mut *self.shelf.lock() {
            known.versions.insert(key.name.clone(), key.version);
        }
        Ok(())
    }
}
