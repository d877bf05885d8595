//! A sidecar that is open: its parts put together.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bailiwick_api::JournalRecorder;
use bailiwick_base::Ids;
use bailiwick_decide::Snapshot;
use bailiwick_journal::DecisionLog;
use bailiwick_keys::Unseal;
use bailiwick_pep::token::{KeySource, ProofConfig, ProofVerifier, TurnNonces, Verifier, VerifierConfig};
use bailiwick_pep::{Pep, SnapshotCell};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::ask::Asker;
use crate::doors::{Point, Render, router};
use crate::error::SidecarError;
use crate::folder::{About, Machine, keyring, open_log, seal_for, word_key};
use crate::hear::Driver;
use crate::kept::Kept;
use crate::take::Taker;
use crate::word::Hearer;

/// How long a record may take before the call is refused, as at a node.
const RECORD_BUDGET: Duration = Duration::from_secs(1);

/// A sidecar, ready to serve and to hear.
pub struct Sidecar {
    name: String,
    warn: Duration,
    point: Point,
    log: Arc<DecisionLog>,
    driver: Driver,
}

/// Opens the data folder of a sidecar. It decides nothing before it has heard.
///
/// # Errors
/// [`SidecarError`]: it did not join, or a part of the folder is damaged or in use.
pub fn open(data: &Path, unseal: Unseal, machine: &Machine) -> Result<Sidecar, SidecarError> {
    let about = About::read(&*machine.disk, data)?;
    let keyring = keyring(data, unseal, machine)?;
    seal_for(&keyring, &about.tenants)?;
    // Before the file, for its lock: a second process must not get as far as saying words.
    let log = open_log(data, &about, &keyring, machine)?;
    if let Some(past) = log.last_at()? {
        machine.clock.go_on_from(past);
    }
    let (kept, ever, beat) = Kept::open(Arc::clone(&machine.disk), data, machine.clock.now())?;
    let cell = Arc::new(SnapshotCell::new(Snapshot::empty(), about.bounds.refuse));
    let issuers = Arc::new(KeySource::new());
    let ids = Ids::new(Arc::clone(&machine.clock), Arc::clone(&machine.entropy));
    let recorder = JournalRecorder::new(Arc::clone(&log), Arc::clone(&cell));
    let pep = Arc::new(Pep::new(
        Arc::clone(&cell),
        Arc::new(recorder),
        Arc::clone(&machine.clock),
        ids,
        RECORD_BUDGET,
    ));
    let mut secret = [0_u8; 32];
    machine.entropy.fill(&mut secret)?;
    let nonces = TurnNonces::new(secret);
    let mut process = [0_u8; 16];
    machine.entropy.fill(&mut process)?;
    let point = Point {
        cell: Arc::clone(&cell),
        clock: Arc::clone(&machine.clock),
        pep,
        proofs: Arc::new(ProofVerifier::new(
            ProofConfig::default(),
            &about.base_url,
            nonces,
        )),
        verifier: Arc::new(Verifier::new(Arc::clone(&issuers), VerifierConfig::default())),
    };
    let driver = Driver {
        asker: Asker::new(&about.url, about.ca.as_deref())?,
        key: word_key(&keyring, &about.sidecar)?,
        process: URL_SAFE_NO_PAD.encode(process),
        hearer: Hearer::new(about.bounds, ever, beat),
        taker: Taker {
            cell,
            issuers,
            base_url: about.base_url.clone(),
        },
        machine: machine.clone(),
        point: point.clone(),
        log: Arc::clone(&log),
        keyring,
        kept,
        brought: None,
        is_recounted: false,
        is_removed: false,
        told: None,
        about,
    };
    Ok(Sidecar {
        name: driver.about.sidecar.to_string(),
        warn: driver.about.bounds.warn,
        point,
        log,
        driver,
    })
}

impl Sidecar {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it serves at `address`; `render` gives what `/metrics` shows.
    pub fn router(
        &self,
        address: SocketAddr,
        render: impl Fn() -> String + Send + Sync + 'static,
    ) -> axum::Router {
        let render: Render = Arc::new(render);
        router(&self.name, &self.point, &self.log, self.warn, (render, address))
    }

    /// Hears while `serving` runs; then refuses everything, and says that it leaves.
    ///
    /// # Errors
    /// [`SidecarError::Removed`]: it was taken out while it ran, or before. It refused everything from then on.
    pub async fn run<T>(self, serving: impl Future<Output = T>) -> Result<T, SidecarError> {
        let mut driver = self.driver;
        let served = driver.until(serving).await;
        // Nothing is permitted any more before it is said, the connections included that still have a request.
        self.point.cell.expire();
        self.point.cell.wake_if_stale(self.point.clock.monotonic());
        if let Err(why) = tokio::task::block_in_place(|| self.log.integrate()) {
            tracing::warn!(
                why,
                "the last records have no checkpoint yet; the next start publishes them"
            );
        }
        if served.is_ok() {
            driver.leave().await;
        }
        served
    }
}
