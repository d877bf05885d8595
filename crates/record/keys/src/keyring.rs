//! The one place where keys are opened, made, used and erased.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use bailiwick_base::{Digest, Entropy, SealContext, SealError, Sealer, SigningAlgorithm, TenantId};
use zeroize::Zeroizing;

use crate::aead::{Cipher, KEY_LEN};
use crate::bundle::{Bundle, Material, SigningKey};
use crate::codec::{Reader, Writer};
use crate::egress::EgressSigner;
use crate::error::KeysError;
use crate::files;
use crate::holder::Holder;
use crate::jwk::PublicJwk;
use crate::log::LogSigner;
use crate::signer::{Pkcs8, TokenSigner};
use crate::unseal::{SALT_LEN, Stretch, Unseal};
use crate::x509::CertificateAuthority;

mod authorities;
pub(crate) mod shelf;
mod snapshots;

pub(crate) const ROOT_FILE: &str = "root.key";
const INSTALLATION_FILE: &str = "installation.key";
const EGRESS_FILE: &str = "egress.key";
const TENANTS: &str = "tenants";
const LOGS: &str = "logs";
const AUTHORITIES: &str = "authorities";
const ROOT_MAGIC: &[u8; 8] = b"bwroot1\n";
/// RSA keys made ahead of time.
const SPARES_MAX: usize = 4;

/// What a signing key of a tenant is for at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum KeyState {
    /// Signs and is published.
    Active,
    /// Published, so that everybody knows it before it signs.
    Next,
    /// Published for the tokens it signed; signs no more.
    Retired,
}

impl KeyState {
    pub(crate) const fn to_byte(self) -> u8 {
        match self {
            Self::Active => 1,
            Self::Next => 2,
            Self::Retired => 3,
        }
    }

    pub(crate) const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::Active),
            2 => Some(Self::Next),
            3 => Some(Self::Retired),
            _ => None,
        }
    }
}

/// A signing key, as the keyring knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownKey {
    /// Key id.
    pub kid: String,
    /// Algorithm.
    pub algorithm: SigningAlgorithm,
    /// What it is for.
    pub state: KeyState,
    /// The word for who holds the private key.
    pub holder: String,
}

/// All keys of an installation. One per process; every method takes `&self`.
pub struct Keyring {
    folder: PathBuf,
    entropy: Arc<dyn Entropy>,
    /// Who holds new signing keys, when it is not this folder.
    holder: Option<Arc<dyn Holder>>,
    root: Cipher,
    root_key: Zeroizing<[u8; KEY_LEN]>,
    installation: Bundle,
    tenants: RwLock<BTreeMap<TenantId, Arc<Bundle>>>,
    logs: RwLock<BTreeMap<String, Arc<LogSigner>>>,
    authorities: RwLock<BTreeMap<TenantId, Arc<CertificateAuthority>>>,
    spares: Mutex<Vec<Pkcs8>>,
    /// Tenants whose file is behind memory.
    behind: Mutex<BTreeSet<TenantId>>,
    /// Held by whoever changes files.
    writing: Mutex<()>,
    /// What other nodes share of it.
    shelf: shelf::Shelf,
}

impl Keyring {
    /// Opens the keys under `folder`, or makes them when the folder holds none.
    ///
    /// # Errors
    /// [`KeysError`] when a file may be read by others, is damaged, or does not open with `unseal`.
    pub fn open(folder: &Path, unseal: Unseal, entropy: Arc<dyn Entropy>) -> Result<Self, KeysError> {
        let parts = [TENANTS, LOGS, AUTHORITIES].map(|part| folder.join(part));
        for part in [folder.to_owned()].into_iter().chain(parts) {
            files::ensure_folder(&part)?;
        }
        let began = folder.join(ROOT_FILE).exists();
        let root_key = open_root(&folder.join(ROOT_FILE), &unseal, entropy.as_ref())?;
        drop(unseal);
        let root = Cipher::new(&root_key).map_err(|_| KeysError::Generate)?;
        let path = folder.join(INSTALLATION_FILE);
        let installation = match read_bundle(&path, &root, "installation", "")? {
            Some(bundle) => bundle,
            // It is made with the root key; payloads of the installation open with this one alone.
            None if began && files::holds_any(&folder.join(LOGS))? => {
                return Err(KeysError::Missing { path });
            }
            None => {
                let bundle = Bundle::make(Vec::new(), entropy.as_ref())?;
                write_sealed(&path, &root, "installation", "", bundle.encode().as_slice())?;
                bundle
            }
        };
        let tenants = RwLock::new(open_tenants(&folder.join(TENANTS), &root)?);
        Ok(Self {
            folder: folder.to_owned(),
            entropy,
            holder: None,
            root,
            root_key,
            installation,
            tenants,
            logs: RwLock::default(),
            authorities: RwLock::default(),
            spares: Mutex::default(),
            behind: Mutex::default(),
            writing: Mutex::default(),
            shelf: shelf::Shelf::default(),
        })
    }

    /// With somebody who holds the signing keys that are made from now on, and uses those made before.
    #[must_use]
    pub fn with_holder(mut self, holder: Arc<dyn Holder>) -> Self {
        self.holder = Some(holder);
        self
    }

    /// Seals the root key under another unseal key; nothing below it changes.
    ///
    /// # Errors
    /// [`KeysError`] when the new unseal key is not usable or the file cannot be written.
    pub fn reseal(&self, unseal: &Unseal) -> Result<(), KeysError> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let stretch = unseal.new_stretch(self.entropy.as_ref())?;
        let wrap = unseal.cipher(stretch, false, self.entropy.as_ref())?;
        write_root(&self.folder.join(ROOT_FILE), stretch, &wrap, &self.root_key)
    }

    /// Makes the keys of a tenant, the signing key for `algorithm` included. Does nothing when they exist with
    /// that algorithm. RSA takes about a tenth of a second unless a spare is there: call it where blocking is
    /// allowed.
    ///
    /// # Errors
    /// [`KeysError::TenantErased`], [`KeysError::TenantExists`], or what writing gives.
    pub fn create_tenant(&self, tenant: &TenantId, algorithm: SigningAlgorithm) -> Result<(), KeysError> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bundle) = self.bundle(tenant) {
            return match bundle.active() {
                Some(key) if key.algorithm == algorithm => Ok(()),
                _ => Err(KeysError::TenantExists(tenant.clone())),
            };
        }
        if self.tombstone(tenant).exists() {
            return Err(KeysError::TenantErased(tenant.clone()));
        }
        let key = SigningKey::new(
            algorithm,
            KeyState::Active,
            self.new_private_key(tenant, algorithm)?,
        );
        self.store_tenant(tenant, Bundle::make(vec![key], self.entropy.as_ref())?)
    }

    /// Adds a signing key that is published and does not sign yet. Gives its key id.
    ///
    /// # Errors
    /// [`KeysError::TenantUnknown`], or what making and writing give.
    pub fn add_signing_key(
        &self,
        tenant: &TenantId,
        algorithm: SigningAlgorithm,
    ) -> Result<String, KeysError> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let bundle = self.require(tenant)?;
        let key = SigningKey::new(
            algorithm,
            KeyState::Next,
            self.new_private_key(tenant, algorithm)?,
        );
        let kid = key.signer(self.holder.as_ref())?.kid().to_owned();
        let mut keys: Vec<SigningKey> = bundle.signing.iter().map(|k| k.in_state(k.state)).collect();
        keys.push(key);
        self.store_tenant(tenant, bundle.with_signing(keys)?)?;
        Ok(kid)
    }

    /// Makes a published key the one that signs; the one before is retired and stays published.
    ///
    /// # Errors
    /// [`KeysError::KeyState`] when the key is not a published next one.
    pub fn activate_signing_key(&self, tenant: &TenantId, kid: &str) -> Result<(), KeysError> {
        self.change_signing(tenant, kid, "activated", |is_named, state| {
            match (is_named, state) {
                (true, KeyState::Next) => Ok(Some(KeyState::Active)),
                (true, _) => Err("only a key that was added and not used yet can be activated"),
                (false, KeyState::Active) => Ok(Some(KeyState::Retired)),
                (false, other) => Ok(Some(other)),
            }
        })
    }

    /// Brings the tenant's signing keys to what is recorded of them: each key id with what it is for; every other
    /// key is forgotten. What is so already is left alone. Memory follows first: what was withdrawn is not signed
    /// with, whatever the disk says; the file follows at the next call.
    ///
    /// # Errors
    /// [`KeysError::SigningKeyMissing`] when a recorded key is not here, or what writing gives.
    pub fn follow(&self, tenant: &TenantId, recorded: &[(String, KeyState)]) -> Result<(), KeysError> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let bundle = self.require(tenant)?;
        let mut keys = Vec::with_capacity(recorded.len());
        for (kid, state) in recorded {
            let found = find_signing(&bundle, kid, self.holder.as_ref())?.ok_or_else(|| {
                KeysError::SigningKeyMissing {
                    tenant: tenant.clone(),
                    kid: kid.clone(),
                }
            })?;
            keys.push(found.in_state(*state));
        }
        let path = self.tenant_file(tenant);
        let is_so = bundle.signing.len() == keys.len()
            && bundle
                .signing
                .iter()
                .zip(&keys)
                .all(|(is, to_be)| is.is_same(to_be));
        if is_so && !self.is_behind(tenant) {
            return Ok(());
        }
        let next = bundle.with_signing(keys)?;
        let bytes = next.encode();
        self.tenants
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(tenant.clone(), Arc::new(next));
        self.set_behind(tenant, true);
        write_sealed(&path, &self.root, "tenant", tenant.as_str(), bytes.as_slice())?;
        self.set_behind(tenant, false);
        self.offer(&path);
        Ok(())
    }

    fn is_behind(&self, tenant: &TenantId) -> bool {
        let behind = self.behind.lock().unwrap_or_else(PoisonError::into_inner);
        behind.contains(tenant)
    }

    fn set_behind(&self, tenant: &TenantId, is: bool) {
        let mut behind = self.behind.lock().unwrap_or_else(PoisonError::into_inner);
        if is {
            behind.insert(tenant.clone());
        } else {
            behind.remove(tenant);
        }
    }

    /// What is known of the tenant's signing keys.
    ///
    /// # Errors
    /// [`KeysError::TenantUnknown`].
    pub fn signing_keys(&self, tenant: &TenantId) -> Result<Vec<KnownKey>, KeysError> {
        let bundle = self.require(tenant)?;
        let told = |key: &SigningKey| {
            Ok(KnownKey {
                kid: key.signer(self.holder.as_ref())?.kid().to_owned(),
                algorithm: key.algorithm,
                state: key.state,
                holder: key.holder().to_owned(),
            })
        };
        bundle.signing.iter().map(told).collect()
    }

    /// Takes a key out of publication and forgets it. Tokens it signed are refused from then on.
    ///
    /// # Errors
    /// [`KeysError::KeyState`] when the key is the one that signs.
    pub fn withdraw_signing_key(&self, tenant: &TenantId, kid: &str) -> Result<(), KeysError> {
        self.change_signing(tenant, kid, "withdrawn", |is_named, state| {
            match (is_named, state) {
                (true, KeyState::Active) => Err("it signs: activate another one first"),
                (true, _) => Ok(None),
                (false, other) => Ok(Some(other)),
            }
        })
    }

    /// Gives the tenant a fresh sealing key. What was sealed before still opens.
    ///
    /// # Errors
    /// [`KeysError::TenantUnknown`], or what writing gives.
    pub fn rotate_sealing_key(&self, tenant: &TenantId) -> Result<(), KeysError> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let bundle = self.require(tenant)?;
        let signing = bundle.signing.iter().map(|k| k.in_state(k.state)).collect();
        let sealing = bundle.sealing.rotated(self.entropy.as_ref())?;
        self.store_tenant(tenant, Bundle { sealing, signing })
    }

    /// The key that signs the tenant's tokens.
    ///
    /// # Errors
    /// [`KeysError::TenantUnknown`].
    pub fn signer(&self, tenant: &TenantId) -> Result<Arc<TokenSigner>, KeysError> {
        let bundle = self.require(tenant)?;
        bundle
            .active()
            .ok_or_else(|| KeysError::TenantUnknown(tenant.clone()))?
            .signer(self.holder.as_ref())
    }

    /// Every published key of the tenant, the one that signs first.
    ///
    /// # Errors
    /// [`KeysError::TenantUnknown`].
    pub fn jwks(&self, tenant: &TenantId) -> Result<Vec<PublicJwk>, KeysError> {
        let bundle = self.require(tenant)?;
        let mut keys: Vec<&SigningKey> = bundle.signing.iter().collect();
        keys.sort_by_key(|key| key.state);
        keys.into_iter()
            .map(|key| Ok(key.signer(self.holder.as_ref())?.public_jwk()))
            .collect()
    }

    /// The tenants that have keys.
    #[must_use]
    pub fn tenants(&self) -> Vec<TenantId> {
        self.tenants
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .keys()
            .cloned()
            .collect()
    }

    /// The key of the log with this origin, made at first use.
    ///
    /// # Errors
    /// [`KeysError::Origin`], or what reading and writing give.
    pub fn log_signer(&self, origin: &str) -> Result<Arc<LogSigner>, KeysError> {
        if let Some(signer) = self
            .logs
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(origin)
        {
            return Ok(signer.clone());
        }
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let path = self.folder.join(LOGS).join(shelf::log_file(origin));
        let seed = if let Some(seed) = read_sealed(&path, &self.root, "log", origin)? {
            Zeroizing::new(<[u8; 32]>::try_from(seed.as_slice()).map_err(|_| KeysError::Damaged { path })?)
        } else {
            let mut seed = Zeroizing::new([0; 32]);
            self.entropy.fill(seed.as_mut_slice())?;
            LogSigner::from_seed(origin, &seed)?;
            write_sealed(&path, &self.root, "log", origin, seed.as_slice())?;
            seed
        };
        let signer = Arc::new(LogSigner::from_seed(origin, &seed)?);
        self.logs
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(origin.to_owned(), signer.clone());
        Ok(signer)
    }

    /// The key of the egress CA, made at first use.
    ///
    /// # Errors
    /// What reading, making and writing give.
    pub fn egress_signer(&self) -> Result<EgressSigner, KeysError> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let path = self.folder.join(EGRESS_FILE);
        if let Some(key) = read_sealed(&path, &self.root, "egress", "")? {
            return EgressSigner::from_pkcs8(&key);
        }
        let key = TokenSigner::generate(SigningAlgorithm::Es256, self.entropy.as_ref())?;
        let signer = EgressSigner::from_pkcs8(&key)?;
        write_sealed(&path, &self.root, "egress", "", &key)?;
        self.offer(&path);
        Ok(signer)
    }

    /// A keyed name for a secret: equal for equal secrets of one tenant, meaningless without the key.
    ///
    /// # Errors
    /// [`SealError::NoKey`].
    pub fn fingerprint(&self, tenant: &TenantId, bytes: &[u8]) -> Result<String, SealError> {
        let bundle = self
            .bundle(tenant)
            .ok_or_else(|| SealError::NoKey(tenant.to_string()))?;
        let mut hex = Digest(bundle.sealing.fingerprint(bytes)).to_string();
        hex.truncate(32);
        Ok(hex)
    }

    /// A keyed digest that only this installation can make: what it signs for itself, or keeps instead of a secret.
    /// Different purposes never give the same.
    ///
    /// # Errors
    /// [`SealError::NoKey`].
    pub fn keyed_digest(
        &self,
        tenant: &TenantId,
        purpose: &'static str,
        bytes: &[u8],
    ) -> Result<Digest, SealError> {
        let bundle = self
            .bundle(tenant)
            .ok_or_else(|| SealError::NoKey(tenant.to_string()))?;
        let text = zeroize::Zeroizing::new(purposed(purpose, bytes));
        Ok(Digest(bundle.sealing.fingerprint(&text)))
    }

    /// Erases the keys of a tenant: what was sealed under them never opens again, its leaves stay provable.
    ///
    /// # Errors
    /// [`KeysError::TenantUnknown`], or what writing gives. After an error the erasure is finished at the next
    /// start or call.
    pub fn erase_tenant(&self, tenant: &TenantId) -> Result<(), KeysError> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        self.require(tenant)?;
        files::write(&self.tombstone(tenant), b"")?;
        self.tenants
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(tenant);
        self.authorities
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(tenant);
        files::remove(&self.authority_file(tenant))?;
        files::remove(&self.tenant_file(tenant))
    }

    /// Makes an RSA key ahead of time, so that the next tenant does not wait for one. Blocks about a tenth of
    /// a second; does nothing when enough are there.
    ///
    /// # Errors
    /// [`KeysError::Generate`].
    pub fn prepare_spare(&self) -> Result<(), KeysError> {
        let is_full = || self.spares.lock().unwrap_or_else(PoisonError::into_inner).len() >= SPARES_MAX;
        if is_full() {
            return Ok(());
        }
        let key = TokenSigner::generate(SigningAlgorithm::Rs256, self.entropy.as_ref())?;
        self.spares
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(key);
        Ok(())
    }

    fn new_private_key(&self, tenant: &TenantId, algorithm: SigningAlgorithm) -> Result<Material, KeysError> {
        if let Some(holder) = &self.holder {
            let held = holder.generate(&format!("bailiwick {tenant}"), algorithm)?;
            if held.public.algorithm() != algorithm {
                return Err(KeysError::Generate);
            }
            return Ok(Material::Held {
                holder: holder.name().to_owned(),
                locator: held.locator,
                public: serde_json::Value::Object(held.public.to_jwk())
                    .to_string()
                    .into_bytes(),
            });
        }
        if algorithm == SigningAlgorithm::Rs256
            && let Some(spare) = self.spares.lock().unwrap_or_else(PoisonError::into_inner).pop()
        {
            return Ok(Material::Here(spare));
        }
        TokenSigner::generate(algorithm, self.entropy.as_ref()).map(Material::Here)
    }

    fn change_signing(
        &self,
        tenant: &TenantId,
        kid: &str,
        action: &'static str,
        next: impl Fn(bool, KeyState) -> Result<Option<KeyState>, &'static str>,
    ) -> Result<(), KeysError> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let bundle = self.require(tenant)?;
        let refused = |rule| KeysError::KeyState {
            tenant: tenant.clone(),
            kid: bailiwick_base::limits::shown(kid),
            action,
            rule,
        };
        let mut found = false;
        let mut keys = Vec::new();
        for key in &bundle.signing {
            let is_named = key.signer(self.holder.as_ref())?.kid() == kid;
            found |= is_named;
            if let Some(state) = next(is_named, key.state).map_err(refused)? {
                keys.push(key.in_state(state));
            }
        }
        if !found {
            return Err(refused("the tenant has no such key"));
        }
        self.store_tenant(tenant, bundle.with_signing(keys)?)
    }

    fn bundle(&self, tenant: &TenantId) -> Option<Arc<Bundle>> {
        self.tenants
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(tenant)
            .cloned()
    }

    fn require(&self, tenant: &TenantId) -> Result<Arc<Bundle>, KeysError> {
        self.bundle(tenant)
            .ok_or_else(|| KeysError::TenantUnknown(tenant.clone()))
    }

    /// Writes the file first: memory never holds a key that a restart would not find.
    fn store_tenant(&self, tenant: &TenantId, bundle: Bundle) -> Result<(), KeysError> {
        let path = self.tenant_file(tenant);
        write_sealed(
            &path,
            &self.root,
            "tenant",
            tenant.as_str(),
            bundle.encode().as_slice(),
        )?;
        self.offer(&path);
        let mut tenants = self.tenants.write().unwrap_or_else(PoisonError::into_inner);
        tenants.insert(tenant.clone(), Arc::new(bundle));
        Ok(())
    }

    /// The root key and the files a new node cannot do without, each by its name.
    pub(crate) fn write_handover(&self, out: &mut Writer, origin: &str) -> Result<(), KeysError> {
        out.field(self.root_key.as_slice());
        let log = format!("{LOGS}/{}", shelf::log_file(origin));
        for name in [INSTALLATION_FILE, log.as_str()] {
            let path = self.folder.join(name);
            let bytes = files::read(&path)?.ok_or(KeysError::Missing { path })?;
            out.field(name.as_bytes()).field(&bytes);
        }
        Ok(())
    }

    fn tenant_file(&self, tenant: &TenantId) -> PathBuf {
        self.folder.join(TENANTS).join(format!("{tenant}.key"))
    }

    fn tombstone(&self, tenant: &TenantId) -> PathBuf {
        self.folder.join(TENANTS).join(format!("{tenant}.erased"))
    }
}

impl Sealer for Keyring {
    fn seal(&self, context: &SealContext<'_>, plain: &[u8]) -> Result<Vec<u8>, SealError> {
        match context.tenant {
            None => self.installation.sealing.seal(context, plain),
            Some(tenant) => self.require_sealing(tenant)?.sealing.seal(context, plain),
        }
    }

    fn open(&self, context: &SealContext<'_>, sealed: &[u8]) -> Result<Vec<u8>, SealError> {
        match context.tenant {
            None => self.installation.sealing.open(context, sealed),
            Some(tenant) => self.require_sealing(tenant)?.sealing.open(context, sealed),
        }
    }

    fn commit(&self, tenant: Option<&TenantId>, payload: &[u8]) -> Result<[u8; 32], SealError> {
        match tenant {
            None => Ok(self.installation.sealing.commit(payload)),
            Some(tenant) => Ok(self.require_sealing(tenant)?.sealing.commit(payload)),
        }
    }

    fn vouch(&self, purpose: &'static str, said: &[u8]) -> Result<Digest, SealError> {
        let text = zeroize::Zeroizing::new(purposed(purpose, said));
        Ok(Digest(self.installation.sealing.fingerprint(&text)))
    }
}

fn purposed(purpose: &'static str, bytes: &[u8]) -> Vec<u8> {
    [b"bailiwick\0", purpose.as_bytes(), b"\0", bytes].concat()
}

impl Keyring {
    /// The key that opens commitments of a tenant (or of the installation): whoever has it can check that a
    /// disclosed payload is the one a leaf commits to. It encrypts nothing.
    ///
    /// # Errors
    /// [`SealError::NoKey`].
    pub fn danger_opening_key(
        &self,
        tenant: Option<&TenantId>,
    ) -> Result<Zeroizing<[u8; KEY_LEN]>, SealError> {
        match tenant {
            None => Ok(self.installation.sealing.opening_key()),
            Some(tenant) => Ok(self.require_sealing(tenant)?.sealing.opening_key()),
        }
    }

    fn require_sealing(&self, tenant: &TenantId) -> Result<Arc<Bundle>, SealError> {
        self.bundle(tenant)
            .ok_or_else(|| SealError::NoKey(tenant.to_string()))
    }
}

fn find_signing<'a>(
    bundle: &'a Bundle,
    kid: &str,
    holder: Option<&Arc<dyn Holder>>,
) -> Result<Option<&'a SigningKey>, KeysError> {
    for key in &bundle.signing {
        if key.signer(holder)?.kid() == kid {
            return Ok(Some(key));
        }
    }
    Ok(None)
}

fn open_tenants(folder: &Path, root: &Cipher) -> Result<BTreeMap<TenantId, Arc<Bundle>>, KeysError> {
    let mut tenants = BTreeMap::new();
    for entry in std::fs::read_dir(folder).map_err(files::failed("list", folder))? {
        let path = entry.map_err(files::failed("list", folder))?.path();
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        let Some(slug) = name.strip_suffix(".key") else {
            continue;
        };
        let Ok(tenant) = TenantId::parse(slug) else {
            return Err(KeysError::Damaged { path });
        };
        if folder.join(format!("{tenant}.erased")).exists() {
            // A crash in the middle of an erasure: finish it.
            let authorities = folder.parent().unwrap_or(folder).join(AUTHORITIES);
            files::remove(&authorities.join(format!("{tenant}.key")))?;
            files::remove(&path)?;
            continue;
        }
        let bundle = read_bundle(&path, root, "tenant", slug)?
            .ok_or_else(|| KeysError::Damaged { path: path.clone() })?;
        tenants.insert(tenant, Arc::new(bundle));
    }
    Ok(tenants)
}

fn open_root(
    path: &Path,
    unseal: &Unseal,
    entropy: &dyn Entropy,
) -> Result<Zeroizing<[u8; KEY_LEN]>, KeysError> {
    let Some(bytes) = files::read(path)? else {
        let stretch = unseal.new_stretch(entropy)?;
        let wrap = unseal.cipher(stretch, true, entropy)?;
        let mut key = Zeroizing::new([0; KEY_LEN]);
        entropy.fill(key.as_mut_slice())?;
        write_root(path, stretch, &wrap, &key)?;
        return Ok(key);
    };
    let damaged = || KeysError::Damaged {
        path: path.to_owned(),
    };
    let (stretch, sealed) = decode_root(&bytes).ok_or_else(damaged)?;
    let wrap = unseal.cipher(stretch, false, entropy)?;
    let head = encode_root_head(stretch);
    let key = wrap
        .open(head.as_slice(), sealed)
        .map_err(|_| KeysError::DoesNotOpen {
            path: path.to_owned(),
        })?;
    Ok(Zeroizing::new(key.as_slice().try_into().map_err(|_| damaged())?))
}

/// The root of a folder that has none, as another node handed it over.
pub(crate) fn write_new_root(
    folder: &Path,
    key: &[u8; KEY_LEN],
    unseal: &Unseal,
    entropy: &dyn Entropy,
) -> Result<(), KeysError> {
    let stretch = unseal.new_stretch(entropy)?;
    let wrap = unseal.cipher(stretch, true, entropy)?;
    write_root(&folder.join(ROOT_FILE), stretch, &wrap, key)
}

fn write_root(path: &Path, stretch: Stretch, wrap: &Cipher, key: &[u8; KEY_LEN]) -> Result<(), KeysError> {
    let head = encode_root_head(stretch);
    let mut sealed = Vec::new();
    wrap.seal(head.as_slice(), key, &mut sealed)
        .map_err(|_| KeysError::Generate)?;
    let mut file = Writer::with_capacity(128);
    file.field(head.as_slice()).field(&sealed);
    files::write(path, file.as_slice())
}

/// The part of the root file that is readable and authenticated: how the unseal key is stretched.
fn encode_root_head(stretch: Stretch) -> Writer {
    let mut head = Writer::with_capacity(64);
    head.field(ROOT_MAGIC);
    match stretch {
        Stretch::None => head.byte(0),
        Stretch::Passphrase { salt, iterations } => head.byte(1).number(iterations.get()).field(&salt),
    };
    head
}

fn decode_root(bytes: &[u8]) -> Option<(Stretch, &[u8])> {
    /// An attacker with write access must not be able to make a start last for ever.
    const ITERATIONS_MAX: u32 = 10_000_000;
    let mut file = Reader::new(bytes);
    let (head, sealed) = (file.field()?, file.field()?);
    let mut reader = Reader::new(head);
    (file.is_finished() && reader.field()? == ROOT_MAGIC).then_some(())?;
    let stretch = match reader.byte()? {
        0 => Stretch::None,
        1 => {
            let iterations = NonZeroU32::new(reader.number()?).filter(|n| n.get() <= ITERATIONS_MAX)?;
            Stretch::Passphrase {
                iterations,
                salt: <[u8; SALT_LEN]>::try_from(reader.field()?).ok()?,
            }
        }
        _ => return None,
    };
    reader.is_finished().then_some((stretch, sealed))
}

fn read_bundle(path: &Path, root: &Cipher, kind: &str, name: &str) -> Result<Option<Bundle>, KeysError> {
    let Some(plain) = read_sealed(path, root, kind, name)? else {
        return Ok(None);
    };
    Bundle::decode(&plain)
        .map(Some)
        .ok_or_else(|| KeysError::Damaged {
            path: path.to_owned(),
        })
}

fn read_sealed(
    path: &Path,
    root: &Cipher,
    kind: &str,
    name: &str,
) -> Result<Option<Zeroizing<Vec<u8>>>, KeysError> {
    let Some(bytes) = files::read(path)? else {
        return Ok(None);
    };
    let opened = root.open(file_binding(kind, name).as_slice(), &bytes);
    opened.map(Some).map_err(|_| KeysError::Damaged {
        path: path.to_owned(),
    })
}

fn write_sealed(path: &Path, root: &Cipher, kind: &str, name: &str, plain: &[u8]) -> Result<(), KeysError> {
    let mut sealed = Vec::new();
    root.seal(file_binding(kind, name).as_slice(), plain, &mut sealed)
        .map_err(|_| KeysError::Generate)?;
    files::write(path, &sealed)
}

/// A file that is copied over another tenant's or another log's does not open.
fn file_binding(kind: &str, name: &str) -> Writer {
    let mut out = Writer::with_capacity(64);
    out.field(b"bailiwick keys 1")
        .field(kind.as_bytes())
        .field(name.as_bytes());
    out
}
