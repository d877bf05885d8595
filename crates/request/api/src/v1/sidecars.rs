//! `/v1/sidecars`: enforcement points elsewhere, who may be one, and what each is told.

use std::time::Duration;

use axum::Json;
use axum::extract::{Request, State};
use axum::response::Response;
use bailiwick_audit::checkpoint::{Origin, SignedCheckpoint};
use bailiwick_audit::note::NoteVerifier;
use bailiwick_base::{Digest, Epoch, NodeName, PublicKey, Sealer, TenantId};
use bailiwick_node::{Seat, Sidecar, SidecarSaid};
use bailiwick_store::{Actor, Context, Once, OnceKind, Reach, RequestId, SidecarRow, StoreError, Tx};
use bailiwick_wire as wire;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::StatusCode;
use http::request::Parts;

use crate::Deps;
use crate::body::{Strict, parse, read, require_json};
use crate::command::{CommandError, answer, committed, request_digest, store_error};
use crate::problem::RouteError;
use crate::query::Path;
use crate::session::{Session, bearer, signed};
use crate::sidecars::{refused, removed};

/// `typ` of what a sidecar signs for one word.
const WORD_TYPE: &str = "bailiwick-sidecar+jwt";
/// How long an invitation is good for.
const INVITED: Duration = Duration::from_secs(600);
/// Longest body of a sidecar that joins, and of a word, in bytes.
const BODY_MAX: usize = 16 * 1024;
/// Longest reason, in bytes.
const REASON_MAX: usize = 1_024;
/// Tenants of one sidecar.
const TENANTS_MAX: usize = 100;
/// Sidecars of an installation that were not removed.
const SIDECARS_MAX: usize = 1_000;
/// How long the store that nodes share may take to say whether another one took a word.
const SHARED_ANSWER_MAX: Duration = Duration::from_secs(2);
/// How long that is kept there past the end of what was signed.
const KEPT: Duration = Duration::from_secs(60);

/// Every sidecar, with what it last said.
pub(crate) async fn list(
    State(deps): State<Deps>,
    _: Session,
) -> Result<Json<wire::Page<wire::Sidecar>>, RouteError> {
    let rows = deps.store.sidecars().await.map_err(|e| store_error(&e))?;
    let items = rows.iter().map(|row| to_wire(&deps, row)).collect();
    Ok(Json(wire::Page::whole(items)))
}

fn to_wire(deps: &Deps, row: &SidecarRow) -> wire::Sidecar {
    let own = deps.nodes.sidecars.said(&row.sidecar.name);
    let said = own
        .filter(|own| own.heard_at >= row.said.heard_at)
        .unwrap_or_else(|| row.said.clone());
    wire::Sidecar {
        sidecar: row.sidecar.name.to_string(),
        tenants: row.sidecar.tenants.iter().map(ToString::to_string).collect(),
        standing: deps.standing(row, deps.clock.monotonic()).to_owned(),
        epoch: said.epoch.0,
        position: said.position,
        beat: said.beat,
        node: said.node.map(|node| node.to_string()),
        heard_at: said.heard_at.map(|at| at.to_string()),
        vkey: row.sidecar.vkey.clone(),
        log_size: row.anchor.map(|(size, _)| size),
    }
}

fn name(text: &str) -> Result<NodeName, RouteError> {
    NodeName::parse(text).map_err(|e| RouteError::invalid("sidecar.name", format!("`sidecar`: {e}")))
}

/// The tenants named, each once and in order; each has to exist.
fn tenants(deps: &Deps, named: &[String]) -> Result<Vec<TenantId>, RouteError> {
    if named.is_empty() || named.len() > TENANTS_MAX {
        let detail =
            format!("`tenants` must name 1 to {TENANTS_MAX} tenants: a sidecar decides for these alone");
        return Err(RouteError::invalid("sidecar.tenants", detail));
    }
    let found = named.iter().map(|slug| super::tenant(deps, slug));
    let mut tenants: Vec<TenantId> = found.collect::<Result<_, _>>()?;
    tenants.sort();
    tenants.dedup();
    Ok(tenants)
}

/// What is kept of an invitation, as of a node's.
fn invitation(deps: &Deps, sidecar: &NodeName, token: &str) -> Result<Digest, RouteError> {
    let said = format!("{sidecar}\0{token}");
    let vouched = deps.keyring.vouch("sidecar invitation", said.as_bytes());
    vouched.map_err(|e| RouteError::broken("keys are not available", &e))
}

fn new_token(deps: &Deps) -> Result<String, RouteError> {
    let mut random = [0; 32];
    deps.entropy
        .fill(&mut random)
        .map_err(|e| RouteError::broken("randomness failed", &e))?;
    Ok(format!("bwside_{}", URL_SAFE_NO_PAD.encode(random)))
}

async fn require_room(deps: &Deps) -> Result<(), RouteError> {
    let rows = deps.store.sidecars().await.map_err(|e| store_error(&e))?;
    let placed = rows.iter().filter(|row| row.sidecar.seat != Seat::Removed);
    if placed.count() < SIDECARS_MAX {
        return Ok(());
    }
    Err(RouteError::new(
        StatusCode::UNPROCESSABLE_ENTITY,
        "sidecar.too-many",
        format!("there are {SIDECARS_MAX} sidecars already: remove one that is not used"),
    ))
}

/// Gives a new name a place, for ten minutes.
pub(crate) async fn invite(
    State(deps): State<Deps>,
    session: Session,
    Strict(body): Strict<wire::InviteSidecar>,
) -> Result<Response, RouteError> {
    let sidecar = name(&body.sidecar)?;
    let tenants = tenants(&deps, &body.tenants)?;
    let token = new_token(&deps)?;
    let until = deps.clock.now().after(INVITED);
    let shown = wire::SidecarInvitation {
        sidecar: sidecar.to_string(),
        token: token.clone(),
        expires_at: until.to_string(),
    };
    require_room(&deps).await?;
    let context = deps
        .context(&session, Reach::Installation, request_digest("sidecars", &body)?)?
        // An answer that is kept would keep the token.
        .alone();
    let invited = Sidecar {
        invite: Some((invitation(&deps, &sidecar, &token)?, until)),
        name: sidecar,
        tenants,
        seat: Seat::Invited,
        key: None,
        vkey: None,
    };
    let receipt = deps
        .store
        .transact(context, async move |tx: &mut Tx| {
            if tx.sidecar().invite(&invited).await? {
                return answer(&shown);
            }
            Err(CommandError::from(RouteError::new(
                StatusCode::CONFLICT,
                "sidecar.exists",
                format!(
                    "`{}` is a node, or a sidecar that has joined or was removed: take another name",
                    invited.name
                ),
            )))
        })
        .await
        .map_err(RouteError::from)?;
    Ok(committed(&receipt, StatusCode::CREATED))
}

/// What a decision log of this sidecar is called, as those of nodes are.
fn log_origin(deps: &Deps, sidecar: &NodeName) -> Result<Origin, RouteError> {
    let host = deps.base_url.split_once("://");
    let host = host.map_or(deps.base_url.as_str(), |(_, host)| host);
    Origin::parse(&format!("{host}/decisions/{sidecar}"))
        .map_err(|e| RouteError::broken("the base URL gives no origin", &e))
}

fn public_key(text: &str) -> Result<[u8; 32], RouteError> {
    let bytes: Option<[u8; 32]> = URL_SAFE_NO_PAD
        .decode(text)
        .ok()
        .and_then(|bytes| bytes.try_into().ok());
    bytes
        .filter(|key| PublicKey::ed25519(*key).is_ok())
        .ok_or_else(|| {
            RouteError::invalid(
                "sidecar.public-key",
                "`key` is not an Ed25519 public key in base64url",
            )
        })
}

/// The new sidecar's side: its token is all it shows, and it works once. Who asks is not known before the body is read,
/// so it is short and has its place among those of newcomers.
pub(crate) async fn join(
    State(deps): State<Deps>,
    request: Request,
) -> Result<Json<wire::JoinedSidecar>, RouteError> {
    let (parts, body) = request.into_parts();
    require_json(&parts.headers)?;
    let body: wire::JoinSidecar = parse(&read(body, BODY_MAX).await?)?;
    let sidecar = name(&body.sidecar)?;
    let key = public_key(&body.key)?;
    let digest = invitation(&deps, &sidecar, &body.token)?;
    // Whoever has no invitation costs no transaction, and learns nothing.
    let found = deps.store.sidecar(&sidecar).await.map_err(|e| store_error(&e))?;
    let now = deps.clock.now();
    let is_open = found.is_some_and(|row| {
        let fits = |(kept, until): (Digest, bailiwick_base::Time)| kept == digest && until > now;
        row.sidecar.seat == Seat::Invited && row.sidecar.invite.is_some_and(fits)
    });
    if !is_open {
        return Err(uninvited());
    }
    let origin = log_origin(&deps, &sidecar)?;
    let is_own = NoteVerifier::parse(&body.vkey).is_ok_and(|key| key.name() == origin.as_str());
    if !is_own {
        let detail = format!("`vkey` is not the verifier key of an Ed25519 log with the origin `{origin}`");
        return Err(RouteError::invalid("sidecar.vkey", detail));
    }
    let joined = seat(&deps, &sidecar, digest, (key, body.vkey)).await?;
    let signer = deps.keyring.snapshot_signer();
    let signer = signer.map_err(|e| RouteError::broken("keys are not available", &e))?;
    let bounds = deps.nodes.sidecars.bounds();
    let ms = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    Ok(Json(wire::JoinedSidecar {
        sidecar: sidecar.to_string(),
        base_url: deps.base_url.clone(),
        tenants: joined.tenants.iter().map(ToString::to_string).collect(),
        snapshot_key: URL_SAFE_NO_PAD.encode(signer.public_key()),
        refuse_ms: ms(bounds.refuse()),
        warn_ms: ms(bounds.warn()),
    }))
}

/// Uses the invitation up.
async fn seat(
    deps: &Deps,
    sidecar: &NodeName,
    token: Digest,
    (key, vkey): ([u8; 32], String),
) -> Result<Sidecar, RouteError> {
    let context = by_itself(deps, "sidecar-join")?;
    let named = sidecar.clone();
    deps.store
        .transact(context, async move |tx: &mut Tx| {
            match tx.sidecar().join(&named, &token, (key, &vkey)).await? {
                Some(_) => Ok(Vec::new()),
                None => Err(CommandError::from(uninvited())),
            }
        })
        .await
        .map_err(RouteError::from)?;
    let row = deps.store.sidecar(sidecar).await.map_err(|e| store_error(&e))?;
    Ok(row.ok_or_else(uninvited)?.sidecar)
}

fn by_itself(deps: &Deps, who: &'static str) -> Result<Context, RouteError> {
    let request = deps
        .ids
        .uuid()
        .map_err(|e| RouteError::broken("randomness failed", &e))?;
    Ok(Context::new(
        Reach::Installation,
        Actor::System(who),
        RequestId(request),
    ))
}

fn uninvited() -> RouteError {
    RouteError::new(
        StatusCode::UNAUTHORIZED,
        "sidecar.token",
        "no invitation of this name is open for this token: each works once, for ten minutes",
    )
}

/// From here on it is told nothing; a stop waits for its lease once.
pub(crate) async fn withdraw(
    State(deps): State<Deps>,
    Path(named): Path<String>,
    session: Session,
    Strict(body): Strict<wire::RemoveSidecar>,
) -> Result<Response, RouteError> {
    let sidecar = name(&named)?;
    let reason = body.reason.trim().to_owned();
    if reason.is_empty() || reason.len() > REASON_MAX || reason.chars().any(char::is_control) {
        let detail = format!("`reason` must be one line of 1 to {REASON_MAX} bytes: say why; it is recorded");
        return Err(RouteError::invalid("sidecar.reason", detail));
    }
    let path = format!("sidecars/{sidecar}/remove");
    let context = deps.context(&session, Reach::Installation, request_digest(&path, &body)?)?;
    let receipt = deps
        .store
        .transact(context, async move |tx: &mut Tx| {
            if tx.sidecar().withdraw(&sidecar, &reason).await? {
                return answer(&());
            }
            Err(CommandError::from(
                RouteError::not_found("sidecar").hint("list them with `bailiwick sidecar ls`"),
            ))
        })
        .await
        .map_err(RouteError::from)?;
    deps.nodes.sidecars.turn();
    Ok(committed(&receipt, StatusCode::OK))
}

/// What a sidecar holds, and the question after what is new.
pub(crate) async fn word(
    State(deps): State<Deps>,
    Path(named): Path<String>,
    request: Request,
) -> Result<Json<wire::SidecarTold>, RouteError> {
    let arrived = deps.clock.monotonic();
    let (parts, body) = request.into_parts();
    let (row, digest) = require_sidecar(&deps, &parts, &named).await?;
    require_json(&parts.headers)?;
    let bytes = read(body, BODY_MAX).await?;
    if Digest::of(&bytes).to_string() != digest {
        return Err(refused("it was signed for another body"));
    }
    let said: wire::SidecarWord = parse(&bytes)?;
    let anchor = said.checkpoint.as_deref();
    let anchor = anchor.map(|note| checkpoint(&deps, &row, note)).transpose()?;
    take(&deps, &row, &said).await?;
    metrics::counter!("bailiwick_sidecar_words_total").increment(1);
    if let Some(anchor) = anchor {
        anchor_later(&deps, &row.sidecar.name, anchor);
    }
    let held = (Epoch(said.epoch), said.position);
    let wait = Duration::from_millis(said.wait_ms).min(deps.nodes.bounds().refuse() / 3);
    // One that leaves is told nothing to go on with.
    let until = if said.leaves { arrived } else { arrived + wait };
    let told = deps.tell_sidecar(&row.sidecar, (said.beat, held), (arrived, until));
    Ok(Json(told.await?))
}

/// Takes a word into account. The first one that a node hears stands in the row before it is answered: should this node
/// fall, the next one to run under its name waits for this sidecar.
async fn take(deps: &Deps, row: &SidecarRow, word: &wire::SidecarWord) -> Result<(), RouteError> {
    let name = &row.sidecar.name;
    let said = SidecarSaid {
        epoch: Epoch(word.epoch),
        position: word.position,
        beat: word.beat,
        node: Some(deps.nodes.node.clone()),
        heard_at: Some(deps.clock.now()),
        left: word.leaves,
    };
    let is_known = deps.nodes.sidecars.is_known(name);
    let are_others = deps.store.is_shared();
    let now = deps.clock.monotonic();
    let process = Digest::of(word.process.as_bytes());
    let sidecars = &deps.nodes.sidecars;
    if !sidecars.word(row, process, (said.clone(), are_others), now) {
        metrics::counter!("bailiwick_sidecar_conflicts_total").increment(1);
        tracing::error!(
            sidecar = %name,
            "two processes speak as one sidecar, or its data folder was set back: end the other one, or remove the sidecar"
        );
        return Err(RouteError::new(
            StatusCode::CONFLICT,
            "sidecar.beat",
            "`beat` does not rise: another process runs with this sidecar's keys, or its data folder was set back",
        ));
    }
    if !is_known || word.leaves {
        let written = deps.store.note_sidecars(&[(name.clone(), said)]).await;
        written.map_err(|e| store_error(&e))?;
    }
    Ok(())
}

/// Who speaks, by what it signed for this one word; and the digest of the body it was signed for.
async fn require_sidecar(
    deps: &Deps,
    parts: &Parts,
    named: &str,
) -> Result<(SidecarRow, String), RouteError> {
    let token = bearer(&parts.headers).ok_or_else(|| refused("nothing was signed for it"))?;
    let unknown = || refused("nobody of this name has a key here");
    let name = NodeName::parse(named).map_err(|_| unknown())?;
    let row = deps.store.sidecar(&name).await.map_err(|e| store_error(&e))?;
    let row = row
        .filter(|row| row.sidecar.seat != Seat::Invited)
        .ok_or_else(unknown)?;
    let key = row.sidecar.key;
    let key_of = |issuer: &str| key.filter(|_| issuer == name.as_str());
    let now = deps.clock.now();
    let said = signed(token, (WORD_TYPE, &deps.base_url), key_of, now).map_err(refused)?;
    if row.sidecar.seat == Seat::Removed {
        return Err(removed());
    }
    let body = said
        .body
        .ok_or_else(|| refused("claim `body` is missing: the SHA-256 of the body, in hex"))?;
    let used = || refused("it was used before: sign each word anew");
    let once = (said.jti.as_str(), said.expires);
    if !deps.nodes.sidecars.take_once(&name, once, now) {
        return Err(used());
    }
    let mut sha = bailiwick_base::Sha256::new();
    sha.update_field(name.as_str().as_bytes());
    sha.update_field(said.jti.as_bytes());
    let what = Once {
        kind: OnceKind::Word,
        once: sha.finish(),
        asked: None,
        ends_at: said.expires.after(KEPT),
    };
    let home = bailiwick_inventory::installation();
    let taking = deps.store.take_once(&home, what, now);
    match tokio::time::timeout(SHARED_ANSWER_MAX, taking).await {
        Ok(Ok(true)) => Ok((row, body)),
        Ok(Ok(false)) => Err(used()),
        Ok(Err(_)) | Err(_) => Err(RouteError::unavailable(
            "sidecar.stale",
            "the store that all nodes share does not answer: nobody can tell whether this word was said before",
        )),
    }
}

/// The decision log of a sidecar as it published it last: signed by its key, and never shorter or another than before.
fn checkpoint(deps: &Deps, row: &SidecarRow, note: &str) -> Result<(u64, [u8; 32]), RouteError> {
    let origin = log_origin(deps, &row.sidecar.name)?;
    let vkey = row.sidecar.vkey.as_deref().unwrap_or_default();
    let wrong = |why: &dyn std::fmt::Display| {
        RouteError::invalid("sidecar.checkpoint", format!("`checkpoint` is not taken: {why}"))
    };
    let key = NoteVerifier::parse(vkey).map_err(|e| wrong(&e))?;
    // A log that was named under another base URL keeps its origin.
    let origin = Origin::parse(key.name()).unwrap_or(origin);
    let signed = SignedCheckpoint::verify(note.as_bytes(), &origin, &[key]).map_err(|e| wrong(&e))?;
    let found = (signed.checkpoint().size, signed.checkpoint().root.0);
    let shown = deps.nodes.sidecars.last_log(&row.sidecar.name);
    // Another node may have seen more of it.
    let before = shown.max(row.anchor);
    let goes_on = before.is_none_or(|(size, root)| found.0 > size || found == (size, root));
    if !goes_on {
        tracing::error!(sidecar = %row.sidecar.name, size = found.0, "the decision log of a sidecar went back");
        return Err(RouteError::new(
            StatusCode::CONFLICT,
            "sidecar.log-back",
            "`checkpoint` is shorter than one before, or another one of the same size: its log was set back or forked",
        )
        .hint("remove the sidecar, look at its machine, and let it join under another name"));
    }
    deps.nodes.sidecars.note_log(&row.sidecar.name, found);
    Ok(found)
}

/// Anchors the log beside the answer, which does not wait for it.
fn anchor_later(deps: &Deps, name: &NodeName, anchor: (u64, [u8; 32])) {
    let now = deps.clock.monotonic();
    if anchor.0 == 0 || !deps.nodes.sidecars.takes_anchor(name, anchor.0, now) {
        return;
    }
    let (deps, name) = (deps.clone(), name.clone());
    let work = async move {
        let Ok(context) = by_itself(&deps, "sidecar-anchor") else {
            return;
        };
        let named = name.clone();
        let anchored = deps.store.transact(context, async move |tx: &mut Tx| {
            tx.sidecar().anchor(&named, anchor).await?;
            Ok::<_, StoreError>(Vec::new())
        });
        if let Err(error) = anchored.await {
            tracing::warn!(%error, sidecar = %name, "the decision log of a sidecar is not anchored yet");
        }
    };
    #[expect(
        clippy::disallowed_methods,
        reason = "an answer to a word must not wait for a commit; what is not anchored now is with the next word"
    )]
    drop(tokio::spawn(work));
}
