//! `/v1/nodes`: who serves this installation, and who may.

use std::time::Duration;

use axum::Json;
use axum::extract::{Request, State};
use axum::response::Response;
use bailiwick_base::{Digest, NodeName, Sealer};
use bailiwick_store::{Actor, Context, NodeRow, Reach, RequestId, StoreError, Tx, standing_word};
use bailiwick_wire as wire;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::StatusCode;

use crate::Deps;
use crate::body::{Strict, parse, read, require_json};
use crate::command::{CommandError, answer, committed, request_digest, store_error};
use crate::deps::BoxFuture;
use crate::problem::RouteError;
use crate::query::Path;
use crate::session::Session;

/// How long an invitation is good for.
const INVITED: Duration = Duration::from_secs(600);
/// Longest body of a node that joins, in bytes.
const JOIN_MAX: usize = 4 * 1024;
/// Longest reason, in bytes.
const REASON_MAX: usize = 1_024;

/// Every node, with what it last said.
pub(crate) async fn list(
    State(deps): State<Deps>,
    _: Session,
) -> Result<Json<wire::Page<wire::Node>>, RouteError> {
    let (rows, lead) = deps.store.nodes().await.map_err(|e| store_error(&e))?;
    let leads = |row: &NodeRow| {
        let of = |l: &bailiwick_node::Lead| l.node == row.word.node && l.fence == row.word.fence;
        lead.as_ref().is_some_and(of)
    };
    let items = rows.iter().map(|row| to_wire(row, leads(row))).collect();
    Ok(Json(wire::Page::whole(items)))
}

fn to_wire(row: &NodeRow, leads: bool) -> wire::Node {
    wire::Node {
        node: row.word.node.to_string(),
        standing: standing_word(row.word.standing).to_owned(),
        leads,
        epoch: row.word.epoch.0,
        beat: row.word.beat,
        fence: row.word.fence,
        started_at: (row.started_at.micros() > 0).then(|| row.started_at.to_string()),
        vkey: row.vkey.clone(),
    }
}

fn name(text: &str) -> Result<NodeName, RouteError> {
    NodeName::parse(text).map_err(|e| RouteError::invalid("node.name", format!("`node`: {e}")))
}

/// What is kept of an invitation: only this installation can make it, so that a row that somebody else put into the
/// store lets nobody in.
fn invitation(deps: &Deps, node: &NodeName, token: &str) -> Result<Digest, RouteError> {
    let said = format!("{node}\0{token}");
    let vouched = deps.keyring.vouch("node invitation", said.as_bytes());
    vouched.map_err(|e| RouteError::broken("keys are not available", &e))
}

fn require_shared(deps: &Deps) -> Result<(), RouteError> {
    if deps.store.is_shared() {
        return Ok(());
    }
    Err(RouteError::new(
        StatusCode::UNPROCESSABLE_ENTITY,
        "node.store-alone",
        "this installation keeps its state in a file of one machine",
    )
    .hint("several nodes need a store that they share: see `store.engine`"))
}

/// Gives a new name a place, for ten minutes.
pub(crate) async fn invite(
    State(deps): State<Deps>,
    session: Session,
    Strict(body): Strict<wire::InviteNode>,
) -> Result<Response, RouteError> {
    require_shared(&deps)?;
    let node = name(&body.node)?;
    let mut random = [0; 32];
    deps.entropy
        .fill(&mut random)
        .map_err(|e| RouteError::broken("randomness failed", &e))?;
    let token = format!("bwnode_{}", URL_SAFE_NO_PAD.encode(random));
    let until = deps.clock.now().after(INVITED);
    let shown = wire::NodeInvitation {
        node: node.to_string(),
        token: token.clone(),
        expires_at: until.to_string(),
    };
    let context = deps
        .context(&session, Reach::Installation, request_digest("nodes", &body)?)?
        // An answer that is kept would keep the token.
        .alone();
    let digest = invitation(&deps, &node, &token)?;
    let receipt = deps
        .store
        .transact(context, async move |tx: &mut Tx| {
            if tx.node().invite(&node, &digest, until).await? {
                return answer(&shown);
            }
            Err(CommandError::from(RouteError::new(
                StatusCode::CONFLICT,
                "node.exists",
                format!("node `{node}` has joined already: give the new one another name"),
            )))
        })
        .await
        .map_err(RouteError::from)?;
    Ok(committed(&receipt, StatusCode::CREATED))
}

/// The new node's side: its token is all it shows, and it works once. Who asks is not known before the body is read,
/// so it is short and has its place among those of newcomers.
pub(crate) async fn join(
    State(deps): State<Deps>,
    request: Request,
) -> Result<Json<wire::JoinedNode>, RouteError> {
    require_shared(&deps)?;
    let (parts, body) = request.into_parts();
    require_json(&parts.headers)?;
    let body: wire::JoinNode = parse(&read(body, JOIN_MAX).await?)?;
    let node = name(&body.node)?;
    let public = URL_SAFE_NO_PAD
        .decode(&body.public)
        .ok()
        .filter(|key| key.len() == 32)
        .ok_or_else(|| {
            RouteError::invalid("node.public-key", "`public` is not an X25519 key in base64url")
        })?;
    let digest = invitation(&deps, &node, &body.token)?;
    // Whoever has no invitation costs no transaction and no key agreement.
    let invited = deps.store.is_invited(&node, &digest, deps.clock.now()).await;
    if !invited.map_err(|e| store_error(&e))? {
        return Err(uninvited());
    }
    let sealed = deps
        .keyring
        .hand_over(&public, &body.token, &deps.nodes.state_origin)
        .map_err(|e| RouteError::broken("keys could not be handed over", &e))?;
    let request = deps
        .ids
        .uuid()
        .map_err(|e| RouteError::broken("randomness failed", &e))?;
    let context = Context::new(
        Reach::Installation,
        Actor::System("node-join"),
        RequestId(request),
    );
    let named = node.clone();
    deps.store
        .transact(context, async move |tx: &mut Tx| {
            if tx.node().join(&named, &digest).await? {
                return Ok(Vec::new());
            }
            Err(CommandError::from(uninvited()))
        })
        .await
        .map_err(RouteError::from)?;
    Ok(Json(wire::JoinedNode {
        node: node.to_string(),
        base_url: deps.base_url.clone(),
        state_origin: deps.nodes.state_origin.clone(),
        sealed: URL_SAFE_NO_PAD.encode(sealed),
    }))
}

fn uninvited() -> RouteError {
    RouteError::new(
        StatusCode::UNAUTHORIZED,
        "node.token",
        "no invitation of this name is open for this token: each works once, for ten minutes",
    )
}

/// What an operator does to a node.
#[derive(Clone, Copy)]
pub(crate) enum Stand {
    Drain,
    Fence,
    Readmit,
    Undrain,
}

type Answered = BoxFuture<'static, Result<Response, RouteError>>;

/// The door for one of them.
pub(crate) fn standing(
    stand: Stand,
) -> impl Fn(State<Deps>, Path<String>, Session, Strict<wire::StandNode>) -> Answered + Clone + Send + Sync + 'static
{
    move |State(deps), Path(named), session, Strict(body)| Box::pin(put(deps, named, session, body, stand))
}

async fn put(
    deps: Deps,
    named: String,
    session: Session,
    body: wire::StandNode,
    stand: Stand,
) -> Result<Response, RouteError> {
    require_shared(&deps)?;
    let node = name(&named)?;
    let reason = body.reason.trim().to_owned();
    if reason.is_empty() || reason.len() > REASON_MAX || reason.chars().any(char::is_control) {
        let detail = format!("`reason` must be one line of 1 to {REASON_MAX} bytes: say why; it is recorded");
        return Err(RouteError::invalid("node.reason", detail));
    }
    if matches!(stand, Stand::Fence) && node == deps.nodes.node {
        return Err(RouteError::new(
            StatusCode::CONFLICT,
            "node.fence-self",
            "a node does not fence itself: it could not record that",
        )
        .hint("send the command to another node, or stop this one"));
    }
    let path = format!("nodes/{node}/{}", stand as u8);
    let context = deps.context(&session, Reach::Installation, request_digest(&path, &body)?)?;
    let receipt = deps
        .store
        .transact(context, async move |tx: &mut Tx| {
            let mut nodes = tx.node();
            let done = match stand {
                Stand::Drain => nodes.drain(&node, true, &reason).await?,
                Stand::Fence => nodes.fence(&node, &reason).await?,
                Stand::Readmit => nodes.readmit(&node, &reason).await?,
                Stand::Undrain => nodes.drain(&node, false, &reason).await?,
            };
            if done {
                return answer(&());
            }
            Err(CommandError::from(RouteError::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "node.standing",
                format!(
                    "node `{node}` is unknown, or its standing does not allow this: see `bailiwick node ls`"
                ),
            )))
        })
        .await
        .map_err(|e: CommandError| match e {
            CommandError::Store(StoreError::Fenced { .. }) => {
                RouteError::unavailable("node.fenced", "this node is fenced: it takes no command")
                    .hint("give the command to another node; `bailiwick node readmit` there lets this one in")
            }
            other => RouteError::from(other),
        })?;
    Ok(committed(&receipt, StatusCode::OK))
}
