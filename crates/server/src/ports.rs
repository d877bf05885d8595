//! The gateway's and the doors' ports, connected.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use bailiwick_api::{Deps, LookError, ToolLook};
use bailiwick_base::{Clock, CredentialId, Secret, TenantId, Time};
use bailiwick_decide::Bearer;
use bailiwick_inventory::{self as inventory, Limits, SeenTool, UpstreamServer};
use bailiwick_mcp::{
    Authenticator, BoxFuture, Gateway, PinReport, PinReportError, PinReporter, Spawner, UpstreamSecrets,
};
use bailiwick_pep::SnapshotCell;
use bailiwick_pep::token::{Presented, ProofVerifier, TokenError, Verifier};
use bailiwick_store::{Actor, Context, Reach, RequestId, Store, StoreError, Tx};
use zeroize::Zeroizing;

use crate::service::Ground;

/// The token verifier as the gateway calls it.
pub(crate) struct Tokens(pub(crate) Arc<Verifier>, pub(crate) Arc<ProofVerifier>);

impl Authenticator for Tokens {
    fn verify(&self, tenant: &TenantId, presented: &Presented<'_>, now: Time) -> Result<Bearer, TokenError> {
        let verified = self.0.verify_presented(&self.1, Some(tenant), presented, now)?;
        Ok(verified.bearer())
    }

    fn nonce(&self, now: Time) -> String {
        self.1.nonce(now)
    }
}

/// Upstream credentials, opened when a connection is made.
pub(crate) struct Secrets {
    store: Store,
    cell: Arc<SnapshotCell>,
    base_url: String,
    clock: Arc<dyn Clock>,
    /// Credentials of servers that are looked at before they are added.
    staged: Mutex<BTreeMap<CredentialId, Zeroizing<Vec<u8>>>>,
}

impl Secrets {
    pub(crate) fn new(ground: &Ground, base_url: &str) -> Self {
        Self {
            store: ground.store.clone(),
            cell: Arc::clone(&ground.cell),
            base_url: base_url.to_owned(),
            clock: Arc::clone(&ground.clock),
            staged: Mutex::default(),
        }
    }

    fn staged(&self) -> std::sync::MutexGuard<'_, BTreeMap<CredentialId, Zeroizing<Vec<u8>>>> {
        self.staged.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl UpstreamSecrets for Secrets {
    fn secret<'a>(&'a self, id: &'a CredentialId) -> BoxFuture<'a, Option<Secret<Vec<u8>>>> {
        Box::pin(async move {
            let staged = self.staged().get(id).map(|staged| Secret::new(staged.to_vec()));
            if staged.is_some() {
                return staged;
            }
            let (now, known) = (self.clock.now(), (&*self.cell, self.base_url.as_str()));
            let found = bailiwick_api::upstream_secret(&self.store, known, id, now).await;
            found.unwrap_or_else(|error: StoreError| {
                tracing::error!(%error, "an upstream credential could not be opened");
                None
            })
        })
    }
}

/// Tasks of the gateway.
pub(crate) struct Tasks;

impl Spawner for Tasks {
    fn spawn(&self, work: BoxFuture<'static, ()>) {
        crate::spawn(work);
    }
}

/// Writes what the gateway saw of changed tool definitions.
pub(crate) struct Drift {
    pub(crate) deps: Arc<OnceLock<Deps>>,
    pub(crate) limits: Limits,
}

impl PinReporter for Drift {
    fn report(&self, report: PinReport) -> BoxFuture<'_, Result<(), PinReportError>> {
        Box::pin(async move {
            let failed = |text: String| PinReportError(text);
            let deps = self
                .deps
                .get()
                .ok_or_else(|| failed("the service is starting".to_owned()))?;
            let id = deps.ids.uuid().map_err(|e| failed(e.to_string()))?;
            let context = Context::new(Reach::from(&report.tenant), Actor::System("drift"), RequestId(id));
            let seen: Vec<SeenTool> = report
                .drifted
                .iter()
                .chain(&report.new)
                .map(|t| SeenTool {
                    name: t.name.clone(),
                    digest: t.digest,
                    definition: t.definition.clone(),
                })
                .collect();
            let (name, limits) = (report.server.clone(), self.limits.clone());
            let written = deps
                .store
                .transact(context, async move |tx: &mut Tx| {
                    let Some(server) = tx.server().lookup(&name).await? else {
                        return Ok(Vec::new());
                    };
                    match inventory::observe_tools(server, seen.clone(), &limits) {
                        Ok(Some(transition)) => tx.server().apply(transition).await?,
                        Ok(None) => {}
                        // A list that cannot be kept is refused by the gateway itself; nothing widens here.
                        Err(refusal) => tracing::warn!(%refusal, "drift not recorded"),
                    }
                    Ok::<_, StoreError>(Vec::new())
                })
                .await;
            metrics::counter!("bailiwick_tool_drift_total").increment(1);
            tracing::warn!(tenant = %report.tenant, server = %report.server, "tool definitions changed; they are refused until pinned");
            written.map(drop).map_err(|e| failed(e.to_string()))
        })
    }
}

/// Looks at a server through the gateway's own client.
pub(crate) struct Look {
    /// Weak, because the gateway reports drift to the doors that hold this.
    gateway: Arc<OnceLock<Weak<Gateway>>>,
    secrets: Arc<Secrets>,
}

impl Look {
    pub(crate) fn new(gateway: Arc<OnceLock<Weak<Gateway>>>, secrets: Arc<Secrets>) -> Self {
        Self { gateway, secrets }
    }
}

impl ToolLook for Look {
    fn look<'a>(
        &'a self,
        server: &'a UpstreamServer,
        secret: Option<&'a [u8]>,
    ) -> bailiwick_api::BoxFuture<'a, Result<Vec<SeenTool>, LookError>> {
        Box::pin(async move {
            let gateway = self
                .gateway
                .get()
                .and_then(Weak::upgrade)
                .ok_or_else(|| LookError("the service is starting or stopping".to_owned()))?;
            let server = Arc::new(server.clone());
            if let (Some(id), Some(secret)) = (&server.credential, secret) {
                self.secrets
                    .staged()
                    .insert(id.clone(), Zeroizing::new(secret.to_vec()));
            }
            let inspected = gateway.inspect(&server).await;
            if let (Some(id), Some(_)) = (&server.credential, secret) {
                self.secrets.staged().remove(id);
            }
            let inspection = inspected.map_err(|error| LookError(chain(&error)))?;
            if let Some(unusable) = inspection.unusable.first() {
                tracing::warn!(tool = %unusable, "a tool of an upstream server cannot be used and stays hidden");
            }
            Ok(inspection
                .tools
                .into_iter()
                .map(|t| SeenTool {
                    name: t.name,
                    digest: t.digest,
                    definition: t.definition,
                })
                .collect())
        })
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        source = inner.source();
    }
    text
}
