//! Which upstream servers are connected to: made when first needed, remade when an operator changed one.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use bailiwick_base::{Clock, Digest, ServerName, TenantId};
use bailiwick_decide::{Connection, UpstreamServer};
use bailiwick_outbound::{AddressRule, Dialer, Endpoint, GuardError};
use http::HeaderValue;

use super::bound::Bounds;
use super::conn::{Pool, PoolParts};
use super::http::HttpServer;
use super::line::{LineParts, LineServer};
use super::{Reach, Upstream};
use crate::config::GatewayConfig;
use crate::error::UpstreamError;
use crate::launcher::{Launcher, Program};
use crate::ports::{Spawner, UpstreamSecrets};

/// What upstream connections are made with.
pub(crate) struct Making {
    pub(crate) launcher: Option<Launcher>,
    pub(crate) secrets: Arc<dyn UpstreamSecrets>,
    pub(crate) dialer: Dialer,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) spawner: Arc<dyn Spawner>,
}

/// The servers that are connected to, by tenant and name.
#[derive(Default)]
pub(crate) struct Registry(Mutex<BTreeMap<(TenantId, ServerName), Arc<Upstream>>>);

impl Registry {
    /// The upstream of `server`. A changed connection or credential makes a new one; changed pins do not.
    pub(crate) fn of(
        &self,
        server: &Arc<UpstreamServer>,
        making: &Making,
        config: &GatewayConfig,
    ) -> Result<Arc<Upstream>, UpstreamError> {
        let key = (server.tenant.clone(), server.name.clone());
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = all.get(&key) {
            let same = Arc::ptr_eq(&known.server, server)
                || (known.server.connection == server.connection
                    && known.server.credential == server.credential
                    && known.server.created_at == server.created_at);
            if same {
                return Ok(Arc::clone(known));
            }
        }
        let made = make(server, making, config)?;
        all.insert(key, Arc::clone(&made));
        Ok(made)
    }

    pub(crate) fn all(&self) -> Vec<Arc<Upstream>> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .values()
            .map(Arc::clone)
            .collect()
    }
}

/// An upstream that is not in the registry.
pub(crate) fn make(
    server: &Arc<UpstreamServer>,
    making: &Making,
    config: &GatewayConfig,
) -> Result<Arc<Upstream>, UpstreamError> {
    let reach = match &server.connection {
        Connection::Exec {
            program,
            args,
            digests,
        } => line(program_of(program, args, digests), making, config)?,
        Connection::Http { .. } => web(server, making, config)?,
        Connection::Destination { .. } => return Err(UpstreamError::Unsupported),
    };
    Ok(Arc::new(Upstream::new(
        Arc::clone(server),
        reach,
        Arc::clone(&making.clock),
    )))
}

fn bounds(config: &GatewayConfig) -> Bounds {
    Bounds {
        silence: config.call_timeout,
        whole: config.call_max,
    }
}

fn program_of(path: &str, args: &[String], digests: &[(String, Digest)]) -> Program {
    Program {
        path: path.to_owned(),
        args: args.to_vec(),
        digests: digests
            .iter()
            .map(|(file, digest)| (file.clone(), digest.to_string()))
            .collect(),
    }
}

/// For a server that is added now.
pub(crate) fn require_files_named(server: &UpstreamServer) -> Result<(), UpstreamError> {
    let Connection::Exec {
        program,
        args,
        digests,
    } = &server.connection
    else {
        return Ok(());
    };
    program_of(program, args, digests)
        .require_files_named()
        .map_err(|e| UpstreamError::Guarded(e.to_string()))
}

fn line(program: Program, making: &Making, config: &GatewayConfig) -> Result<Reach, UpstreamError> {
    program
        .require_form()
        .map_err(|e| UpstreamError::Guarded(e.to_string()))?;
    let launcher = making.launcher.clone();
    Ok(Reach::Line(LineServer::new(LineParts {
        launcher: launcher.ok_or_else(|| UpstreamError::Exited("no launcher is running".to_owned()))?,
        program,
        clock: Arc::clone(&making.clock),
        spawner: Arc::clone(&making.spawner),
        reply_max: config.reply_max,
        bounds: bounds(config),
        calls_max: config.calls_per_program_max,
    })))
}

fn web(server: &UpstreamServer, making: &Making, config: &GatewayConfig) -> Result<Reach, UpstreamError> {
    let Connection::Http {
        url,
        allow_addresses,
        allow_plaintext,
    } = &server.connection
    else {
        return Err(UpstreamError::Unsupported);
    };
    let guarded = |e: GuardError| UpstreamError::Guarded(e.to_string());
    let endpoint = Endpoint::parse(url, *allow_plaintext).map_err(guarded)?;
    let rule = AddressRule::parse(allow_addresses).map_err(guarded)?;
    rule.require_endpoint(&endpoint).map_err(guarded)?;
    let host = HeaderValue::from_str(&endpoint.authority)
        .map_err(|_| UpstreamError::Guarded("its host is malformed".to_owned()))?;
    let path = endpoint
        .path
        .parse()
        .map_err(|_| UpstreamError::Guarded("its path is malformed".to_owned()))?;
    let pool = Pool::new(PoolParts {
        endpoint,
        rule,
        dialer: making.dialer.clone(),
        clock: Arc::clone(&making.clock),
        connect_timeout: config.connect_timeout,
        answer_timeout: config.call_timeout,
    });
    Ok(Reach::Http(Arc::new(HttpServer {
        path,
        clock: Arc::clone(&making.clock),
        opened: Mutex::new(None),
        opening: tokio::sync::Mutex::default(),
        session_peer: Mutex::new(None),
        pool,
        credential: server.credential.clone(),
        secrets: Arc::clone(&making.secrets),
        spawner: Arc::clone(&making.spawner),
        host,
        reply_max: config.reply_max,
        bounds: bounds(config),
    })))
}
