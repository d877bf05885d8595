//! Asking witnesses to cosign our checkpoints.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bailiwick_audit::checkpoint::{Checkpoint, SignedCheckpoint};
use bailiwick_audit::cosign::WitnessKey;
use bailiwick_audit::merkle::ConsistencyProof;
use bailiwick_audit::note::{Note, NoteError, NoteSignature};
use bailiwick_base::Secret;
use bailiwick_journal::{DecisionLog, Disk, JournalError, StateTiles, WITNESSED};
use bailiwick_outbound::{AddressRule, Answer, Endpoint, FetchError, GuardError, Message, Sender};
use bailiwick_witness::WitnessConfig;
use bailiwick_witness::cosigner::AddCheckpoint;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use http::{Method, StatusCode};

/// How often witnesses are asked for what they have not cosigned.
const EVERY: Duration = Duration::from_secs(2);
/// How long one may take to answer: the others' lines are not written before.
const ANSWER_MAX: Duration = Duration::from_secs(4);
/// After so many rounds a checkpoint with fewer cosignatures replaces one with more: ten minutes.
const PATIENCE: u32 = 300;
/// Witnesses that are asked.
const PLACES_MAX: usize = 16;

/// A witness of the configuration cannot be asked.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// Its address.
    #[error("config key `witness.cosigners`, table {number}, `{key}`: {why}")]
    Address {
        /// From 1.
        number: usize,
        /// The key in its table.
        key: &'static str,
        /// What is wrong, and the fix in words of the configuration.
        why: String,
    },
    /// Its key.
    #[error("config key `witness.cosigners`, table {number}, `vkey`")]
    Key {
        /// From 1.
        number: usize,
        /// What is wrong.
        #[source]
        source: NoteError,
    },
    /// Too many.
    #[error("config key `witness.cosigners`: {found} witnesses are more than {PLACES_MAX}")]
    TooMany {
        /// How many.
        found: usize,
    },
}

/// A log whose growth can be proved.
pub trait Provable: Send + Sync {
    /// The checkpoint that is shown.
    fn shown(&self) -> Arc<SignedCheckpoint>;

    /// Proof that the checkpoint with it extends the first `old` entries. Blocks on the disk.
    ///
    /// # Errors
    /// What its tiles say.
    fn prove_since(&self, old: u64) -> Result<(ConsistencyProof, Arc<SignedCheckpoint>), JournalError>;
}

impl Provable for StateTiles {
    fn shown(&self) -> Arc<SignedCheckpoint> {
        self.checkpoint()
    }

    fn prove_since(&self, old: u64) -> Result<(ConsistencyProof, Arc<SignedCheckpoint>), JournalError> {
        self.prove_consistency(old)
    }
}

impl Provable for DecisionLog {
    fn shown(&self) -> Arc<SignedCheckpoint> {
        self.checkpoint()
    }

    fn prove_since(&self, old: u64) -> Result<(ConsistencyProof, Arc<SignedCheckpoint>), JournalError> {
        self.prove_consistency(old)
    }
}

/// A log that is to be cosigned.
pub struct AskedLog {
    log: Arc<dyn Provable>,
    /// Where its cosigned checkpoint is put.
    file: PathBuf,
    /// The checkpoint that is being cosigned, with what came in.
    collected: Option<Note>,
    /// What was put there last, and how many cosignatures that has.
    written: (Vec<u8>, usize),
    /// Rounds in which the file was not written.
    waited: u32,
    /// How each witness stands to it.
    standings: Vec<WitnessStanding>,
}

/// What a witness cosigned last of a log, by its own word, and whether it does not cosign any more.
#[derive(Debug, Clone, Copy, Default)]
struct WitnessStanding {
    size: u64,
    is_silent: bool,
}

impl AskedLog {
    /// The log in `folder`.
    #[must_use]
    pub fn new(log: Arc<dyn Provable>, folder: &Path) -> Self {
        Self {
            log,
            file: folder.join(WITNESSED),
            collected: None,
            written: (Vec::new(), 0),
            waited: 0,
            standings: Vec::new(),
        }
    }
}

struct Place {
    endpoint: Endpoint,
    rule: AddressRule,
    key: WitnessKey,
}

/// Asks the configured witnesses, round after round.
pub struct Asker {
    places: Vec<Place>,
    sender: Sender,
    disk: Arc<dyn Disk>,
    logs: Vec<AskedLog>,
    /// What every witness has cosigned of the last log at least.
    lowest: Arc<AtomicU64>,
}

/// Why a witness did not cosign.
#[derive(Debug, thiserror::Error)]
enum NotCosigned {
    #[error("it has cosigned {0} entries")]
    Conflict(u64),
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error(transparent)]
    Prover(#[from] tokio::task::JoinError),
    #[error("it answered {0}")]
    Refused(StatusCode),
    #[error(transparent)]
    Send(#[from] FetchError),
    #[error("its cosignature does not verify")]
    Signature,
}

/// What is wrong with an address of the configuration: whoever gives leave does it there, and not with a flag.
fn in_configuration(number: usize, error: &GuardError) -> AskError {
    let (key, why) = match error {
        GuardError::Plaintext(url) => (
            "url",
            format!("`{url}` is plain HTTP: use https, or set `danger_plaintext = true` in the same table"),
        ),
        GuardError::Range(_) => ("allow_addresses", error.to_string()),
        _ => (
            "url",
            error
                .to_string()
                .replace("`--allow-address`", "`allow_addresses`"),
        ),
    };
    AskError::Address { number, key, why }
}

/// The witnesses of a configuration, as far as they can be judged without asking them.
fn places(config: &WitnessConfig) -> Result<Vec<Place>, AskError> {
    let found = config.cosigners.len();
    if found > PLACES_MAX {
        return Err(AskError::TooMany { found });
    }
    let mut places = Vec::with_capacity(found);
    for (number, given) in (1..).zip(&config.cosigners) {
        let address = |error| in_configuration(number, &error);
        let url = format!("{}/add-checkpoint", given.url.trim_end_matches('/'));
        places.push(Place {
            endpoint: Endpoint::parse(&url, given.danger_plaintext).map_err(address)?,
            rule: AddressRule::parse(&given.allow_addresses).map_err(address)?,
            key: WitnessKey::parse(&given.vkey).map_err(|source| AskError::Key { number, source })?,
        });
    }
    Ok(places)
}

/// Refuses witnesses that could not be asked, by the same check as a start.
///
/// # Errors
/// [`AskError`].
pub fn require_askable(config: &WitnessConfig) -> Result<(), AskError> {
    places(config).map(drop)
}

impl Asker {
    /// For the witnesses of the configuration.
    ///
    /// # Errors
    /// [`AskError`].
    pub fn new(
        config: &WitnessConfig,
        sender: Sender,
        disk: Arc<dyn Disk>,
        logs: Vec<AskedLog>,
    ) -> Result<Self, AskError> {
        Ok(Self {
            places: places(config)?,
            sender,
            disk,
            logs,
            lowest: Arc::default(),
        })
    }

    /// How many entries of the decision log every witness has cosigned by its own word, none before each was heard; no
    /// such number without witnesses.
    #[must_use]
    pub fn lowest_of_decisions(&self) -> Option<Arc<AtomicU64>> {
        (!self.places.is_empty()).then(|| Arc::clone(&self.lowest))
    }

    /// For both logs of a node, with their folders below the data folder `data`.
    ///
    /// # Errors
    /// [`AskError`].
    pub fn of_node(
        config: &WitnessConfig,
        data: &Path,
        (sender, disk): (Sender, &Arc<dyn Disk>),
        (state, decisions): (&Arc<StateTiles>, &Arc<DecisionLog>),
    ) -> Result<Self, AskError> {
        let folder = data.join("log");
        let logs = vec![
            AskedLog::new(Arc::clone(state) as _, &folder.join("state")),
            AskedLog::new(Arc::clone(decisions) as _, &folder.join("decisions")),
        ];
        Self::new(config, sender, Arc::clone(disk), logs)
    }

    /// Asks until `stop` comes.
    pub async fn run(mut self, stop: impl Future<Output = ()> + Send) {
        if self.places.is_empty() {
            return;
        }
        let mut stop = std::pin::pin!(stop);
        loop {
            tokio::select! {
                () = &mut stop => return,
                () = self.round() => {}
            }
            if tokio::time::timeout(EVERY, &mut stop).await.is_ok() {
                return;
            }
        }
    }

    /// Asks every witness for what it has not cosigned of each log, all of them at once: one that hangs holds up none.
    async fn round(&mut self) {
        for log in &mut self.logs {
            log.standings
                .resize(self.places.len(), WitnessStanding::default());
            let asked = self.places.iter().zip(&log.standings).map(|(place, standing)| {
                let had = log.collected.as_ref();
                ask(&self.sender, place, &log.log, standing.size, had)
            });
            let asked = futures_util::future::join_all(asked).await;
            for ((place, standing), (size, answer)) in self.places.iter().zip(&mut log.standings).zip(asked) {
                standing.size = size;
                let answer = answer.map(|cosigned| {
                    if let Some((signed, line)) = cosigned {
                        collect(&mut log.collected, &signed, line);
                    }
                });
                tell(place, &mut standing.is_silent, answer);
            }
            log.write(&self.disk, self.places.len()).await;
        }
        let of_last = self.logs.last().into_iter().flat_map(|log| &log.standings);
        let lowest = of_last.map(|standing| standing.size).min();
        self.lowest.store(lowest.unwrap_or(0), Ordering::SeqCst);
    }
}

/// A checkpoint, and the line of a witness below it.
type Line = (Arc<SignedCheckpoint>, NoteSignature);

/// One witness, once more when it says that it stands elsewhere than was thought. Gives where it stands, and its line
/// unless that is `had`.
async fn ask(
    sender: &Sender,
    place: &Place,
    log: &Arc<dyn Provable>,
    size: u64,
    had: Option<&Note>,
) -> (u64, Result<Option<Line>, NotCosigned>) {
    let (mut size, mut answer) = (size, ask_once(sender, place, log, size, had).await);
    if let Err(NotCosigned::Conflict(stands)) = answer
        && stands != size
        && stands <= log.shown().checkpoint().size
    {
        (size, answer) = (stands, ask_once(sender, place, log, stands, had).await);
    }
    if let Ok(Some((signed, _))) = &answer {
        size = signed.checkpoint().size;
    }
    (size, answer)
}

async fn ask_once(
    sender: &Sender,
    place: &Place,
    log: &Arc<dyn Provable>,
    size: u64,
    had: Option<&Note>,
) -> Result<Option<Line>, NotCosigned> {
    let shown = log.shown();
    let is_had =
        |note: &Note| note.text() == shown.note().text() && matches!(place.key.cosigned(note), Ok(Some(_)));
    if shown.checkpoint().size == 0 || had.is_some_and(is_had) {
        return Ok(None);
    }
    let (proof, signed) = match size {
        0 => (Vec::new(), shown),
        old => {
            let log = Arc::clone(log);
            let (proof, signed) = tokio::task::spawn_blocking(move || log.prove_since(old)).await??;
            (proof.hashes, signed)
        }
    };
    let request = AddCheckpoint {
        old: size,
        proof,
        checkpoint: signed.to_bytes(),
    };
    let mut headers = HeaderMap::new();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    let message = Message {
        method: Method::POST,
        headers,
        body: Secret::new(request.encode()),
    };
    let sent = sender.send(&place.endpoint, &place.rule, message);
    let sent = tokio::time::timeout(ANSWER_MAX, sent).await;
    let answer = sent.unwrap_or(Err(FetchError::TimedOut))?;
    let line = read(&answer, place, &signed)?;
    Ok(Some((signed, line)))
}

/// Puts a line below its checkpoint. The log may have grown between two that were asked at once: the newer one counts,
/// and whoever cosigned the older one is asked for it next.
fn collect(collected: &mut Option<Note>, signed: &SignedCheckpoint, line: NoteSignature) {
    let size = |note: &Note| Checkpoint::parse_body(note.text()).map_or(0, |checkpoint| checkpoint.size);
    let note = match collected.take() {
        Some(note) if note.text() == signed.note().text() => note,
        Some(newer) if size(&newer) > signed.checkpoint().size => {
            *collected = Some(newer);
            return;
        }
        _ => signed.note().clone(),
    };
    *collected = Some(with(note, line));
}

fn with(mut note: Note, line: NoteSignature) -> Note {
    if let Err(error) = note.push(line) {
        tracing::warn!(%error, "a cosignature was not kept");
    }
    note
}

/// The witness's own line, verified over what was sent.
fn read(answer: &Answer, place: &Place, sent: &SignedCheckpoint) -> Result<NoteSignature, NotCosigned> {
    let body = answer.body.reveal();
    match answer.status {
        StatusCode::OK => {}
        StatusCode::CONFLICT => {
            let size = std::str::from_utf8(body)
                .ok()
                .and_then(|text| text.trim_end().parse().ok());
            return Err(size.map_or(NotCosigned::Refused(answer.status), NotCosigned::Conflict));
        }
        other => return Err(NotCosigned::Refused(other)),
    }
    let mut bytes = sent.to_bytes();
    bytes.extend_from_slice(body);
    let note = Note::parse(&bytes).map_err(|_| NotCosigned::Signature)?;
    if note.text() != sent.note().text() || !matches!(place.key.cosigned(&note), Ok(Some(_))) {
        return Err(NotCosigned::Signature);
    }
    let own = |line: &&NoteSignature| line.name == place.key.name() && line.key_id == place.key.key_id();
    note.signatures()
        .iter()
        .find(own)
        .cloned()
        .ok_or(NotCosigned::Signature)
}

/// Says once that a witness is silent, and once that it is back.
fn tell(place: &Place, is_silent: &mut bool, asked: Result<(), NotCosigned>) {
    match asked {
        Ok(()) => {
            if std::mem::take(is_silent) {
                tracing::info!(witness = place.key.name(), "the witness cosigns again");
            }
        }
        Err(error) => {
            metrics::counter!("bailiwick_cosignatures_missed_total").increment(1);
            if !std::mem::replace(is_silent, true) {
                tracing::warn!(witness = place.key.name(), %error, "a witness does not cosign");
            }
        }
    }
}

impl AskedLog {
    /// Puts what was collected where readers find it. Fewer cosignatures replace more only when the missing ones do
    /// not come for long.
    async fn write(&mut self, disk: &Arc<dyn Disk>, asked: usize) {
        let Some(note) = &self.collected else {
            return;
        };
        let bytes = note.to_string().into_bytes();
        if bytes == self.written.0 {
            return;
        }
        // One line is the log's own.
        let cosigned = note.signatures().len().saturating_sub(1);
        self.waited += 1;
        if cosigned < self.written.1.min(asked) && self.waited < PATIENCE {
            return;
        }
        let (disk, file, kept) = (Arc::clone(disk), self.file.clone(), bytes.clone());
        let written = tokio::task::spawn_blocking(move || disk.replace(&file, &kept)).await;
        match written {
            Ok(Ok(())) => {
                self.written = (bytes, cosigned);
                self.waited = 0;
            }
            Ok(Err(error)) => tracing::warn!(%error, "a cosigned checkpoint could not be written"),
            Err(error) => tracing::warn!(%error, "a cosigned checkpoint could not be written"),
        }
    }
}
