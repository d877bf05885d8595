//! The gateway's and the doors' ports, connected.

use std::sync::{Arc, OnceLock, Weak};

use bailiwick_api::{Deps, LookError, Secrets, ToolLook};
use bailiwick_base::{TenantId, Time};
use bailiwick_decide::Bearer;
use bailiwick_inventory::{self as inventory, Limits, SeenTool, UpstreamServer};
use bailiwick_mcp::{Authenticator, BoxFuture, Gateway, PinReport, PinReportError, PinReporter, Spawner};
use bailiwick_pep::token::{Presented, ProofVerifier, TokenError, Verifier};
use bailiwick_store::{Actor, Context, Reach, RequestId, StoreError, Tx};

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
                self.secrets.stage(id, secret);
            }
            let inspected = gateway.inspect(&server).await;
            if let (Some(id), Some(_)) = (&server.credential, secret) {
                self.secrets.unstage(id);
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
