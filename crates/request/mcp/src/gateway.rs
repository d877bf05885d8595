//! The gateway: what it is made from, and the steps every call takes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use bailiwick_base::{Clock, Digest, Entropy, IdentityId, Ids, ServerName, TaskId, TenantId};
use bailiwick_decide::{
    Arguments, Bearer, Call, DenyReason, Door, Effect, ItemKind, Principal, Snapshot, Target, UpstreamServer,
};
use bailiwick_pep::{Denial, Pep, Permit, SnapshotCell};
use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use serde_json::{Map, Value};

use crate::bridge;
use crate::bridge::rounds::Rounds;
use crate::client::{Client, Clients};
use crate::config::GatewayConfig;
use crate::door;
use crate::error::UpstreamError;
use crate::frame::CallId;
use crate::launcher::Launcher;
use crate::method::{self, Era, Verb};
use crate::param_headers::{self, ParamHeader};
use crate::params::Params;
use crate::pins::{Catalog, Inspection, PAGES_MAX};
use crate::ports::{Authenticator, PinReporter, Spawner, UpstreamSecrets};
use crate::session::{Session, Sessions};
use crate::upstream::exchange::{Exchange, Outgoing, Step};
use crate::upstream::registry::{Making, Registry, make, require_files_named};
use crate::upstream::{Link, Upstream, peer};

/// Definitions whose annotations are remembered.
const ANNOTATIONS_MAX: usize = 16_384;

/// Everything the gateway needs; `server` connects it.
pub struct GatewayDeps {
    /// The enforcement pipeline.
    pub pep: Arc<Pep>,
    /// The snapshot, for pins and for what a credential is shown.
    pub cell: Arc<SnapshotCell>,
    /// The token verifier.
    pub authenticator: Arc<dyn Authenticator>,
    /// The credentials of upstream servers.
    pub secrets: Arc<dyn UpstreamSecrets>,
    /// Where changed tool definitions go.
    pub pins: Arc<dyn PinReporter>,
    /// The launcher process; without one, standard-stream servers are unreachable.
    pub launcher: Option<Launcher>,
    /// Connections to upstream servers.
    pub dialer: bailiwick_outbound::Dialer,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Ids of decisions.
    pub ids: Ids,
    /// Randomness for session ids.
    pub entropy: Arc<dyn Entropy>,
    /// Background work.
    pub spawner: Arc<dyn Spawner>,
    /// Limits and names.
    pub config: GatewayConfig,
}

/// The MCP gateway of one node.
pub struct Gateway {
    pub(crate) pep: Arc<Pep>,
    pub(crate) cell: Arc<SnapshotCell>,
    pub(crate) authenticator: Arc<dyn Authenticator>,
    pub(crate) reporter: Arc<dyn PinReporter>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) ids: Ids,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) config: GatewayConfig,
    pub(crate) making: Making,
    registry: Registry,
    annotations: Mutex<BTreeMap<Digest, Arc<[ParamHeader]>>>,
    pub(crate) clients: Clients,
    pub(crate) sessions: Sessions,
    pub(crate) rounds: Rounds,
}

/// Who calls, and which server.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    pub(crate) tenant: TenantId,
    pub(crate) server: ServerName,
    pub(crate) bearer: Bearer,
}

impl Caller {
    pub(crate) fn identity(&self) -> &IdentityId {
        &self.bearer.claims.nhi
    }

    pub(crate) fn task(&self) -> &TaskId {
        &self.bearer.claims.task
    }
}

/// One call of a caller, read and checked, not decided yet.
#[derive(Clone)]
pub(crate) struct Inbound {
    pub(crate) caller: Caller,
    pub(crate) era: Era,
    pub(crate) id: CallId,
    pub(crate) method: String,
    pub(crate) verb: Verb,
    pub(crate) params: Params,
    /// The message as it came.
    pub(crate) body: Bytes,
    /// The log level it asked for.
    pub(crate) log_level: Option<String>,
    pub(crate) param_headers: Vec<(HeaderName, HeaderValue)>,
    pub(crate) session: Option<Arc<Session>>,
    pub(crate) accepts_events: bool,
}

/// A call that nobody made: what would come of it is asked before something is shown.
#[derive(Clone)]
pub(crate) struct Imagined<'a> {
    pub(crate) bearer: &'a Bearer,
    pub(crate) server: &'a ServerName,
    pub(crate) method: &'a str,
    pub(crate) item: Option<(ItemKind, String)>,
}

impl Inbound {
    /// The client in its own words. Those of a stateless call are read when something needs them, which most calls
    /// never do.
    pub(crate) fn client(&self) -> Arc<Client> {
        if let Some(session) = &self.session {
            return Arc::clone(&session.client);
        }
        let (info, capabilities) = match self.era {
            Era::Legacy => (self.params.value("clientInfo"), self.params.value("capabilities")),
            Era::Modern => (
                self.params.meta_value(method::META_CLIENT),
                self.params.meta_value(method::META_CAPABILITIES),
            ),
        };
        Arc::new(Client::of(info, capabilities.and_then(Value::as_object)))
    }
}

impl Gateway {
    /// A gateway. Mount [`Gateway::router`] on the public listener.
    #[must_use]
    pub fn new(deps: GatewayDeps) -> Arc<Self> {
        let making = Making {
            launcher: deps.launcher,
            secrets: deps.secrets,
            dialer: deps.dialer,
            clock: Arc::clone(&deps.clock),
            spawner: deps.spawner,
        };
        Arc::new(Self {
            pep: deps.pep,
            cell: deps.cell,
            authenticator: deps.authenticator,
            reporter: deps.pins,
            clock: deps.clock,
            ids: deps.ids,
            entropy: deps.entropy,
            clients: Clients::default(),
            sessions: Sessions::default(),
            rounds: Rounds::default(),
            registry: Registry::default(),
            annotations: Mutex::default(),
            config: deps.config,
            making,
        })
    }

    /// The routes, to be mounted at the root: `/t/{tenant}/mcp/{server}`.
    pub fn router(self: &Arc<Self>) -> Router {
        door::router(Arc::clone(self))
    }

    /// Ends sessions that are unused, and those of credentials that are dead. `server` calls this every few seconds
    /// and after each kill; correctness does not depend on it, memory does.
    pub fn sweep(&self) {
        let is_dead = |bearer: &Bearer, server: &ServerName| self.is_dead(bearer, server);
        self.sessions
            .sweep(self.clock.monotonic(), self.config.session_idle, &is_dead);
        for upstream in self.registry.all() {
            upstream.sweep(&|bearer| self.is_dead(bearer, &upstream.server.name));
        }
    }

    /// Whether nothing can come of this credential any more. An expired token alone is renewed for the same task.
    fn is_dead(&self, bearer: &Bearer, server: &ServerName) -> bool {
        let ping = Imagined {
            bearer,
            server,
            method: "ping",
            item: None,
        };
        self.probe(ping)
            .is_some_and(|reason| reason.kills_credential() && reason != DenyReason::TokenExpired)
    }

    /// Why such a call would be refused, without recording anything: for what is shown, never for what is done.
    pub(crate) fn probe(&self, imagined: Imagined<'_>) -> Option<DenyReason> {
        let call = match self.call_of(imagined) {
            Ok(call) => call,
            Err(reason) => return Some(reason),
        };
        match self.pep.probe(&call).effect {
            Effect::Deny(reason) => Some(reason),
            Effect::Hold(_) | Effect::Permit => None,
        }
    }

    /// Why such a call would be refused whatever its arguments are.
    pub(crate) fn barred(&self, imagined: Imagined<'_>) -> Option<DenyReason> {
        match self.call_of(imagined) {
            Ok(call) => self.cell.load().barred(&call, self.clock.now()),
            Err(reason) => Some(reason),
        }
    }

    fn call_of(&self, imagined: Imagined<'_>) -> Result<Call, DenyReason> {
        let Imagined {
            bearer,
            server,
            method,
            item,
        } = imagined;
        let id = self.ids.mint(&bearer.claims.tenant);
        Ok(Call {
            // Without an id nothing can be decided.
            id: id.map_err(|_| DenyReason::EvaluationFailed)?,
            door: Door::Gateway,
            principal: Principal::Bearer(bearer.clone()),
            target: Target::Mcp {
                server: server.clone(),
                method: method.to_owned(),
                item,
            },
            arguments: Arguments::default(),
            rates: Default::default(),
        })
    }

    /// How many sessions are open.
    #[must_use]
    pub fn open_sessions(&self) -> usize {
        self.sessions.len()
    }

    /// Asks a server what it is and which tools it has, for an operator who adds or pins it.
    ///
    /// # Errors
    /// [`UpstreamError`] when the server cannot be reached or does not speak MCP.
    pub async fn inspect(&self, server: &Arc<UpstreamServer>) -> Result<Inspection, UpstreamError> {
        require_files_named(server)?;
        let upstream = make(server, &self.making, &self.config)?;
        let peer = upstream.peer().await?;
        let catalog = if peer.offers("tools") {
            self.read_catalog(&upstream).await?
        } else {
            Catalog::default()
        };
        Ok(catalog.into_inspection(peer.version.clone(), peer.server.clone()))
    }

    /// The upstream of a server as the snapshot has it now.
    pub(crate) fn upstream(&self, server: &Arc<UpstreamServer>) -> Result<Arc<Upstream>, UpstreamError> {
        self.registry.of(server, &self.making, &self.config)
    }

    /// Decides and records one call.
    pub(crate) async fn permit(
        &self,
        caller: &Caller,
        method: &str,
        item: Option<(ItemKind, String)>,
        arguments: Arguments,
    ) -> Result<Permit, Refused> {
        let id = self.ids.mint(&caller.tenant).map_err(|_| Refused::NoEntropy)?;
        let call = Call {
            id,
            door: Door::Gateway,
            principal: Principal::Bearer(caller.bearer.clone()),
            target: Target::Mcp {
                server: caller.server.clone(),
                method: method.to_owned(),
                item,
            },
            arguments,
            rates: Default::default(),
        };
        self.pep.permit(call).await.map_err(Refused::Denied)
    }

    /// Decides and records a call as it was read.
    pub(crate) async fn permit_inbound(&self, inbound: &Inbound) -> Result<Permit, Refused> {
        let item = bridge::item_of(inbound);
        let arguments = match inbound.verb {
            Verb::Call | Verb::PromptOf => inbound.params.arguments(),
            _ => Arguments::default(),
        };
        self.permit(&inbound.caller, &inbound.method, item, arguments)
            .await
    }

    /// Records that somebody sent what is no call of MCP: it can only be denied.
    pub(crate) async fn record_invalid(&self, caller: &Caller, method: &str) {
        let known_to_nobody = if method.is_empty() { "rpc.invalid" } else { method };
        if let Ok(permit) = self
            .permit(caller, known_to_nobody, None, Arguments::default())
            .await
        {
            permit.finish(bailiwick_pep::Outcome::Cancelled);
        }
    }

    /// Sends a permitted call upstream.
    pub(crate) async fn forward(
        &self,
        _permit: &Permit,
        upstream: &Arc<Upstream>,
        inbound: &Inbound,
    ) -> Result<(Exchange, Era), UpstreamError> {
        let link = match &inbound.session {
            Some(session) => session.link.clone(),
            None => {
                upstream
                    .link(&inbound.caller.bearer, &|| inbound.client())
                    .await?
            }
        };
        match link {
            Link::Modern(server) => {
                let headers = self.headers_for(inbound);
                let out = bridge::outgoing(inbound, Era::Modern, None, headers);
                Ok((
                    Exchange::Http(Box::new(server.call_modern(out).await?)),
                    Era::Modern,
                ))
            }
            Link::Session { session, own } => {
                let wire_id = if own { None } else { Some(session.mint()) };
                bridge::set_level(inbound, &session).await?;
                let out = bridge::outgoing(inbound, Era::Legacy, wire_id, Vec::new());
                Ok((Exchange::Http(Box::new(session.call(out).await?)), Era::Legacy))
            }
            Link::Line(line) => {
                let mut era = Era::Legacy;
                let exchange = line
                    .call(|peer, wire_id| {
                        era = peer.era;
                        bridge::outgoing(inbound, peer.era, Some(wire_id), Vec::new())
                    })
                    .await?;
                Ok((Exchange::Line(Box::new(exchange)), era))
            }
        }
    }

    /// The annotated properties of a tool as it is pinned; taken from the definition once per definition.
    pub(crate) fn annotated(&self, caller: &Caller, tool: &str) -> Arc<[ParamHeader]> {
        let snapshot = self.cell.load();
        let Some(pin) = snapshot.pin(&caller.tenant, &caller.server, tool) else {
            return Arc::default();
        };
        let mut known = self.annotations.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = known.get(&pin.digest) {
            return Arc::clone(found);
        }
        let found = param_headers::of_definition(&pin.definition);
        if known.len() >= ANNOTATIONS_MAX {
            known.clear();
        }
        known.insert(pin.digest, Arc::clone(&found));
        found
    }

    /// `Mcp-Param-*` towards a stateless server: as they were compared, or made for a caller who has none.
    fn headers_for(&self, inbound: &Inbound) -> Vec<(HeaderName, HeaderValue)> {
        let name = inbound
            .params
            .text("name")
            .filter(|_| inbound.era == Era::Legacy && inbound.verb == Verb::Call);
        let Some(name) = name else {
            return inbound.param_headers.clone();
        };
        let arguments = inbound
            .params
            .member("arguments")
            .and_then(|m| m.value.as_object());
        param_headers::mirror(&self.annotated(&inbound.caller, name), arguments)
    }

    /// The tools of a server, read again when what is known is older than the bound. Differences from the pins
    /// are reported, and the report is in the state log before this returns.
    pub(crate) async fn catalog(
        &self,
        _permit: &Permit,
        upstream: &Arc<Upstream>,
    ) -> Result<Arc<Catalog>, UpstreamError> {
        if let Some(known) = upstream.known_catalog(self.config.catalog_ttl) {
            return Ok(known);
        }
        let _reading = upstream.reading.lock().await;
        if let Some(known) = upstream.known_catalog(self.config.catalog_ttl) {
            return Ok(known);
        }
        let catalog = Arc::new(self.read_catalog(upstream).await?);
        self.report(upstream, &catalog).await;
        *upstream.catalog.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&catalog));
        Ok(catalog)
    }

    async fn report(&self, upstream: &Upstream, catalog: &Catalog) {
        let snapshot = self.cell.load();
        let current = snapshot.server(&upstream.server.tenant, &upstream.server.name);
        let Some(current) = current.map(Arc::clone) else {
            return;
        };
        drop(snapshot);
        let report = catalog.compare(&current);
        if !upstream.is_news(&report) {
            return;
        }
        let (unusable, missing) = (report.unusable.clone(), report.missing.clone());
        match self.reporter.report(report).await {
            Ok(()) => upstream.said(unusable, missing),
            // The tools stay refused without it, for a call compares with the catalog as well; and the next reading
            // reports again.
            Err(e) => {
                tracing::error!(server = %upstream.server.name, error = %e, "a changed tool definition is not recorded");
            }
        }
    }

    async fn read_catalog(&self, upstream: &Arc<Upstream>) -> Result<Catalog, UpstreamError> {
        match self.read_catalog_once(upstream).await {
            Err(UpstreamError::SessionLost) => self.read_catalog_once(upstream).await,
            other => other,
        }
    }

    async fn read_catalog_once(&self, upstream: &Arc<Upstream>) -> Result<Catalog, UpstreamError> {
        let mut catalog = Catalog::default();
        let mut cursor: Option<String> = None;
        let link = upstream.own_link().await?;
        for _ in 0..PAGES_MAX {
            let mut exchange = own_list_call(&link, cursor.as_deref()).await?;
            let reply = loop {
                if let Step::Done(reply) = exchange.next().await? {
                    break reply;
                }
            };
            let result = reply
                .result
                .ok_or(UpstreamError::NotMcp("it refuses tools/list"))?;
            cursor = catalog.add_page(&result)?;
            if cursor.is_none() {
                catalog.read_at = self.clock.monotonic();
                return Ok(catalog);
            }
        }
        Err(UpstreamError::NotMcp("a tool list without an end"))
    }

    /// The server of a call as the snapshot has it, or `None` when there is none.
    pub(crate) fn server(snapshot: &Snapshot, caller: &Caller) -> Option<Arc<UpstreamServer>> {
        snapshot.server(&caller.tenant, &caller.server).map(Arc::clone)
    }
}

/// Why a call has no permit.
#[derive(Debug)]
pub(crate) enum Refused {
    Denied(Denial),
    /// No decision can even be named.
    NoEntropy,
}

async fn own_list_call(link: &Link, cursor: Option<&str>) -> Result<Exchange, UpstreamError> {
    let build = |era: Era, wire_id: CallId| {
        let mut params = Map::new();
        if let Some(cursor) = cursor {
            params.insert("cursor".to_owned(), cursor.into());
        }
        if era == Era::Modern {
            let envelope = peer::envelope(&Client::own());
            params.insert("_meta".to_owned(), Value::Object(envelope));
        }
        Outgoing {
            id: wire_id.clone(),
            method: "tools/list".to_owned(),
            wire_id,
            params: Some(Bytes::from(Value::Object(params).to_string())),
            verbatim: None,
            token: None,
            name: None,
            param_headers: Vec::new(),
        }
    };
    Ok(match link {
        Link::Modern(server) => {
            let out = build(Era::Modern, CallId::Text("bailiwick".into()));
            Exchange::Http(Box::new(server.call_modern(out).await?))
        }
        Link::Session { session, .. } => {
            let out = build(Era::Legacy, session.mint());
            Exchange::Http(Box::new(session.call(out).await?))
        }
        Link::Line(line) => Exchange::Line(Box::new(line.call(|peer, id| build(peer.era, id)).await?)),
    })
}
