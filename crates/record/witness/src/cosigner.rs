//! A witness for logs of others (C2SP tlog-witness 1.0.0): it cosigns a checkpoint only when it is shown that it
//! extends the largest one it cosigned before, and what it cosigned is durable before it answers.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use bailiwick_audit::checkpoint::{Checkpoint, CheckpointError, Origin, SignedCheckpoint};
use bailiwick_audit::cosign::{COSIGNATURE_TYPE, WitnessKey, cosignature, message};
use bailiwick_audit::merkle::{ConsistencyProof, EMPTY_ROOT, Hash, hash_from_slice};
use bailiwick_audit::note::{Note, NoteVerifier};
use bailiwick_base::{Clock, Entropy, canonical, json};
use bailiwick_journal::{Disk, DiskFile, Open};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};
use zeroize::Zeroizing;

/// Longest request in bytes: a proof and a checkpoint with many signatures.
pub const REQUEST_MAX: usize = 64 * 1024;
/// Hashes of one proof.
const HASHES_MAX: usize = 63;
/// Longest file of the folder in bytes.
const STATE_MAX: usize = 8 << 20;
/// Logs of one witness.
const LOGS_MAX: usize = 1_000;
const KEY_FILE: &str = "cosigner.key";
const STATE_FILE: &str = "cosigned.json";
const KEY_PREFIX: &str = "PRIVATE+KEY+";

/// The cosigner cannot be opened or cannot keep what it signs.
#[derive(Debug, thiserror::Error)]
pub enum CosignerError {
    /// A file of the folder is not one that was written here.
    #[error("`{path}` is damaged, {why}: put back its newest copy; an older one would cosign a fork")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The disk says no.
    #[error("`{path}` cannot be read or written")]
    File {
        /// The file.
        path: PathBuf,
        /// What it says.
        #[source]
        source: io::Error,
    },
    /// Another process has the folder.
    #[error("`{path}` is in use by another process")]
    InUse {
        /// The lock.
        path: PathBuf,
    },
    /// The key cannot be made.
    #[error("no key could be made for `{name}`: {why}")]
    Key {
        /// Name of the witness.
        name: String,
        /// Why.
        why: String,
    },
    /// There is a key and not what was signed with it.
    #[error("`{path}` is missing beside the key: put it back, because without it a fork could be cosigned")]
    Lost {
        /// The file.
        path: PathBuf,
    },
    /// Too many logs.
    #[error("{found} logs are more than {LOGS_MAX}")]
    TooMany {
        /// How many.
        found: usize,
    },
}

/// What a log asks of a witness.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddCheckpoint {
    /// The size that the log believes was cosigned last; 0 for none.
    pub old: u64,
    /// From that size to the checkpoint's.
    pub proof: Vec<Hash>,
    /// The signed checkpoint.
    pub checkpoint: Vec<u8>,
}

impl AddCheckpoint {
    /// Reads the body of `add-checkpoint`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(body: &[u8]) -> Result<Self, &'static str> {
        if body.len() > REQUEST_MAX {
            return Err("the request is longer than 64 KiB");
        }
        let text = std::str::from_utf8(body).map_err(|_| "the request is not UTF-8")?;
        let (head, checkpoint) = text
            .split_once("\n\n")
            .ok_or("no empty line before the checkpoint")?;
        let mut lines = head.split('\n');
        let old = lines
            .next()
            .and_then(|line| line.strip_prefix("old "))
            .ok_or("the first line must be `old SIZE`")?;
        let digits = !old.is_empty() && old.bytes().all(|byte| byte.is_ascii_digit());
        if !digits || (old.starts_with('0') && old != "0") {
            return Err("the old size must be a decimal without leading zeroes");
        }
        let old = old.parse().map_err(|_| "the old size is above 2^64 - 1")?;
        let mut proof = Vec::new();
        for line in lines {
            if proof.len() == HASHES_MAX {
                return Err("more than 63 hashes");
            }
            let hash = STANDARD.decode(line).map_err(|_| "a hash is not base64")?;
            proof.push(hash_from_slice(&hash).map_err(|_| "a hash has not 32 bytes")?);
        }
        Ok(Self {
            old,
            proof,
            checkpoint: checkpoint.as_bytes().to_vec(),
        })
    }

    /// The body of `add-checkpoint`.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut text = format!("old {}\n", self.old);
        for hash in &self.proof {
            text.push_str(&STANDARD.encode(hash));
            text.push('\n');
        }
        text.push('\n');
        let mut bytes = text.into_bytes();
        bytes.extend_from_slice(&self.checkpoint);
        bytes
    }
}

/// What a witness answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// 409: another size was cosigned last, this one.
    Conflict(u64),
    /// 200: its signature lines.
    Cosigned(String),
    /// 500: nothing was signed, because it cannot be kept.
    Failed(String),
    /// 400, 403, 404, 422.
    Refused(u16, &'static str),
}

/// A witness for the logs it is told of.
pub struct Cosigner {
    pair: Ed25519KeyPair,
    key: WitnessKey,
    logs: BTreeMap<String, NoteVerifier>,
    clock: Arc<dyn Clock>,
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    /// The newest cosigned checkpoint of each log, as its log signed it.
    cosigned: Mutex<BTreeMap<String, SignedCheckpoint>>,
    /// Held as long as it is open.
    _lock: Box<dyn DiskFile>,
}

/// Where it is and what it has of the machine.
pub struct CosignerDeps<'a> {
    /// Time of cosignatures.
    pub clock: Arc<dyn Clock>,
    /// Where its files are.
    pub disk: Arc<dyn Disk>,
    /// For its key.
    pub entropy: &'a dyn Entropy,
}

impl Cosigner {
    /// Opens the witness `name` in `folder`, making its key there at the first time, for the logs of these keys.
    ///
    /// # Errors
    /// [`CosignerError`].
    pub fn open(
        name: &str,
        folder: &Path,
        logs: Vec<NoteVerifier>,
        deps: CosignerDeps<'_>,
    ) -> Result<Self, CosignerError> {
        if logs.len() > LOGS_MAX {
            return Err(CosignerError::TooMany { found: logs.len() });
        }
        let CosignerDeps { clock, disk, entropy } = deps;
        disk.create_folders(folder).map_err(failed(folder))?;
        let lock_file = folder.join("lock");
        let lock = disk.open(&lock_file, Open::Keep).map_err(failed(&lock_file))?;
        lock.try_lock()
            .map_err(|_| CosignerError::InUse { path: lock_file })?;
        let logs: BTreeMap<_, _> = logs.into_iter().map(|key| (key.name().to_owned(), key)).collect();
        let (key_file, state_file) = (folder.join(KEY_FILE), folder.join(STATE_FILE));
        let is_new = !disk.exists(&key_file).map_err(failed(&key_file))?;
        if is_new {
            // First what it signed, which is nothing: a crash in between leaves no key without it.
            disk.replace(&state_file, &state_bytes(&BTreeMap::new()))
                .map_err(failed(&state_file))?;
            let secret = new_key(name, entropy)?;
            disk.replace(&key_file, secret.as_bytes())
                .map_err(failed(&key_file))?;
        }
        let (pair, key) = read_key(name, &key_file, &*disk)?;
        let cosigned = read_state(&state_file, &*disk, &logs)?;
        Ok(Self {
            pair,
            key,
            logs,
            clock,
            disk,
            folder: folder.to_owned(),
            cosigned: Mutex::new(cosigned),
            _lock: lock,
        })
    }

    /// Its public key.
    #[must_use]
    pub fn key(&self) -> &WitnessKey {
        &self.key
    }

    /// Judges one request. Blocks on the disk.
    #[must_use]
    pub fn add_checkpoint(&self, body: &[u8]) -> Verdict {
        let request = match AddCheckpoint::parse(body) {
            Ok(request) => request,
            Err(why) => return Verdict::Refused(400, why),
        };
        self.judge(&request).unwrap_or_else(|verdict| verdict)
    }

    fn judge(&self, request: &AddCheckpoint) -> Result<Verdict, Verdict> {
        let note = Note::parse(&request.checkpoint)
            .map_err(|_| Verdict::Refused(400, "the checkpoint is malformed"))?;
        let named = note.text().lines().next().unwrap_or_default();
        let Some(log) = self.logs.get(named) else {
            return Err(Verdict::Refused(404, "the log is not known here"));
        };
        let signed = verified(&request.checkpoint, log).map_err(|error| match error {
            CheckpointError::Note(_) => Verdict::Refused(403, "the log's key did not sign the checkpoint"),
            _ => Verdict::Refused(400, "the checkpoint is malformed"),
        })?;
        let new = signed.checkpoint();
        if request.old > new.size {
            return Err(Verdict::Refused(400, "the old size is above the checkpoint's"));
        }
        // From here to the answer one at a time: two checkpoints may not both extend the same one.
        let mut cosigned = self.cosigned.lock().unwrap_or_else(PoisonError::into_inner);
        let last = cosigned.get(named).map_or_else(
            || Checkpoint {
                origin: new.origin.clone(),
                size: 0,
                root: EMPTY_ROOT,
            },
            |last| last.checkpoint().clone(),
        );
        if request.old != last.size || (new.size == last.size && new.root != last.root) {
            return Err(Verdict::Conflict(last.size));
        }
        let proof = ConsistencyProof {
            old_size: last.size,
            new_size: new.size,
            hashes: request.proof.clone(),
        };
        new.require_extends(&last, &proof)
            .map_err(|_| Verdict::Refused(422, "the proof does not show that the log was extended"))?;
        let line = self.cosign(signed.note())?;
        if *new != last {
            let before = cosigned.insert(named.to_owned(), signed.clone());
            let file = self.folder.join(STATE_FILE);
            if let Err(error) = self.disk.replace(&file, &state_bytes(&cosigned)) {
                // What the file says nobody knows. The older of both is assumed: the newer one extends it.
                match before {
                    Some(before) => cosigned.insert(named.to_owned(), before),
                    None => cosigned.remove(named),
                };
                return Err(Verdict::Failed(format!("`{}`: {error}", file.display())));
            }
        }
        Ok(Verdict::Cosigned(line))
    }

    fn cosign(&self, note: &Note) -> Result<String, Verdict> {
        let failed = |why: &str| Verdict::Failed(why.to_owned());
        let time = u64::try_from(self.clock.now().secs()).map_err(|_| failed("the clock is before 1970"))?;
        let signature = self
            .pair
            .try_sign(&message(note.text(), time))
            .map_err(|_| failed("the key could not sign"))?;
        let signature: [u8; 64] = signature
            .as_ref()
            .try_into()
            .map_err(|_| failed("the key could not sign"))?;
        let mut own = Note::new(note.text().to_owned()).map_err(|error| failed(&error.to_string()))?;
        own.push(cosignature(&self.key, time, &signature))
            .map_err(|error| failed(&error.to_string()))?;
        let whole = own.to_string();
        let line = whole.rsplit_once("\n\n").map_or("", |(_, line)| line);
        Ok(line.to_owned())
    }
}

fn failed(path: &Path) -> impl Fn(io::Error) -> CosignerError {
    let path = path.to_owned();
    move |source| CosignerError::File {
        path: path.clone(),
        source,
    }
}

fn verified(bytes: &[u8], log: &NoteVerifier) -> Result<SignedCheckpoint, CheckpointError> {
    SignedCheckpoint::verify(bytes, &Origin::parse(log.name())?, std::slice::from_ref(log))
}

fn state_bytes(cosigned: &BTreeMap<String, SignedCheckpoint>) -> Vec<u8> {
    let checkpoints: Map<String, Value> = cosigned
        .iter()
        .map(|(origin, signed)| (origin.clone(), signed.note().to_string().into()))
        .collect();
    let mut members = Map::new();
    members.insert("checkpoints".to_owned(), checkpoints.into());
    members.insert("v".to_owned(), 1.into());
    let mut bytes = canonical::to_vec(&members).unwrap_or_default();
    bytes.push(b'\n');
    bytes
}

fn read_state(
    path: &Path,
    disk: &dyn Disk,
    logs: &BTreeMap<String, NoteVerifier>,
) -> Result<BTreeMap<String, SignedCheckpoint>, CosignerError> {
    let damaged = |why: String| CosignerError::Damaged {
        path: path.to_owned(),
        why,
    };
    let bytes = match disk.read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(CosignerError::Lost {
                path: path.to_owned(),
            });
        }
        Err(error) => return Err(failed(path)(error)),
    };
    let value = json::parse(&bytes, STATE_MAX).map_err(|error| damaged(error.to_string()))?;
    let checkpoints = value
        .get("checkpoints")
        .and_then(Value::as_object)
        .ok_or_else(|| damaged("no `checkpoints`".to_owned()))?;
    let mut cosigned = BTreeMap::new();
    for (origin, text) in checkpoints {
        let log = logs.get(origin).ok_or_else(|| {
            damaged(format!(
                "or the key of log `{}` was left out",
                bailiwick_base::limits::shown(origin)
            ))
        })?;
        let signed = verified(text.as_str().unwrap_or_default().as_bytes(), log)
            .map_err(|error| damaged(error.to_string()))?;
        cosigned.insert(origin.clone(), signed);
    }
    Ok(cosigned)
}

fn new_key(name: &str, entropy: &dyn Entropy) -> Result<Zeroizing<String>, CosignerError> {
    let wrong = |why: String| CosignerError::Key {
        name: bailiwick_base::limits::shown(name),
        why,
    };
    let mut seed = Zeroizing::new([0_u8; 32]);
    entropy
        .fill(&mut *seed)
        .map_err(|error| wrong(error.to_string()))?;
    let (_, key) = pair_of(name, &seed).map_err(wrong)?;
    let mut secret = Zeroizing::new(vec![COSIGNATURE_TYPE]);
    secret.extend_from_slice(&*seed);
    let vkey = key.vkey();
    let front = front_of(&vkey);
    Ok(Zeroizing::new(format!(
        "{KEY_PREFIX}{front}+{}\n",
        *Zeroizing::new(STANDARD.encode(&*secret))
    )))
}

fn pair_of(name: &str, seed: &[u8; 32]) -> Result<(Ed25519KeyPair, WitnessKey), String> {
    let pair = Ed25519KeyPair::from_seed_unchecked(seed).map_err(|error| error.to_string())?;
    let public: [u8; 32] = pair
        .public_key()
        .as_ref()
        .try_into()
        .map_err(|_| "its public key has not 32 bytes".to_owned())?;
    let key = WitnessKey::new(name, public).map_err(|error| error.to_string())?;
    Ok((pair, key))
}

/// `name+hash` of `name+hash+key`. The key is base64, where `+` is a digit: the parts are counted from the front.
fn front_of(key: &str) -> &str {
    let second = key.match_indices('+').nth(1);
    second.and_then(|(at, _)| key.get(..at)).unwrap_or_default()
}

fn read_key(name: &str, path: &Path, disk: &dyn Disk) -> Result<(Ed25519KeyPair, WitnessKey), CosignerError> {
    let damaged = |why: &str| CosignerError::Damaged {
        path: path.to_owned(),
        why: why.to_owned(),
    };
    let bytes = Zeroizing::new(disk.read(path).map_err(failed(path))?);
    let text = std::str::from_utf8(&bytes).map_err(|_| damaged("not UTF-8"))?;
    let form = "not `PRIVATE+KEY+name+hash+key`";
    let rest = text
        .trim_end()
        .strip_prefix(KEY_PREFIX)
        .ok_or_else(|| damaged(form))?;
    let front = front_of(rest);
    let secret = rest
        .strip_prefix(front)
        .and_then(|rest| rest.strip_prefix('+'))
        .ok_or_else(|| damaged(form))?;
    let secret = Zeroizing::new(STANDARD.decode(secret).map_err(|_| damaged(form))?);
    let seed = secret
        .strip_prefix(&[COSIGNATURE_TYPE])
        .and_then(|seed| <&[u8; 32]>::try_from(seed).ok())
        .ok_or_else(|| damaged(form))?;
    let (pair, key) = pair_of(name, seed).map_err(|why| damaged(&why))?;
    let own = key.vkey();
    if front_of(&own) != front {
        return Err(damaged("or the key of another name"));
    }
    Ok((pair, key))
}
