//! SVIDs for processes of this machine: who asks is what a trust rule makes of the peer; what it gets is decided
//! and recorded as the issue of a token is, and ends with its task.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bailiwick_base::{Compact, IdentityId, SigningAlgorithm, TaskId, TenantId, TokenId, TrustId};
use bailiwick_credential::trust::Method;
use bailiwick_credential::{Claims, TaskState};
use bailiwick_decide::{Call, Door};
use bailiwick_inventory::State;
use bailiwick_pep::{Denial, Outcome, Permit};
use bailiwick_spiffe::{Authority, BoxFuture, Bundles, JwtSvid, Peer, Refused, X509Svid};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use crate::Deps;
use crate::issue::{self, Requester};
use crate::problem::RouteError;
use crate::signing_keys;
use crate::svids_issued::IssuedSvid;

/// Audiences of one JWT-SVID.
const AUDIENCES_MAX: usize = 8;
/// Bytes of an audience.
const AUDIENCE_MAX: usize = 256;
/// Identities that one peer may be.
const IDENTITIES_MAX: usize = 16;
/// How often it is looked whether a stream has something new to tell. What narrows rights is told at once.
const LOOK: Duration = Duration::from_secs(1);
/// A stream is not renewed more often, however little of the task is left.
const RENEW_MIN: Duration = Duration::from_secs(5);

/// The authority behind the workload API.
pub struct Workloads(pub Deps);

/// Somebody the peer is.
#[derive(Clone)]
struct Whom {
    rule: TrustId,
    identity: IdentityId,
    task: TaskId,
}

impl Deps {
    /// `spiffe://{trust domain}/t/{tenant}/{identity}`.
    fn spiffe_id(&self, identity: &IdentityId) -> String {
        format!(
            "spiffe://{}/t/{}/{identity}",
            self.trust_domain,
            identity.tenant()
        )
    }

    /// The bundle of a tenant (SPIFFE Trust Domain and Bundle §4): a JWK Set with its keys of both kinds.
    pub(crate) fn spiffe_bundle(&self, tenant: &TenantId) -> Result<Value, RouteError> {
        let mut keys = self.jwt_authorities(tenant)?;
        let authority = self.x509_authority(tenant)?;
        keys.push(json!({
            "kty": "EC", "crv": "P-256", "use": "x509-svid", "x5c": [STANDARD.encode(&authority.1)],
            "x": authority.0.0, "y": authority.0.1,
        }));
        let changed = self
            .cell
            .load()
            .signing_keys(tenant)
            .iter()
            .map(|key| 1 + u64::from(key.active_from.is_some()) + u64::from(key.retired_at.is_some()))
            .sum::<u64>();
        let age = bailiwick_credential::signing_key::KEY_SET_AGE.as_secs();
        Ok(json!({"keys": keys, "spiffe_sequence": changed, "spiffe_refresh_hint": age}))
    }

    fn jwt_authorities(&self, tenant: &TenantId) -> Result<Vec<Value>, RouteError> {
        let keys = self
            .keyring
            .jwks(tenant)
            .map_err(|e| RouteError::broken("keys are not available", &e))?;
        let keys = keys
            .iter()
            .filter(|key| key.algorithm() != SigningAlgorithm::EdDsa);
        let shown = keys.map(|key| {
            let mut members = key.to_json();
            members.insert("use".to_owned(), json!("jwt-svid"));
            Value::Object(members)
        });
        Ok(shown.collect())
    }

    /// The authority's public key as JWK coordinates, and its certificate.
    fn x509_authority(&self, tenant: &TenantId) -> Result<((String, String), Vec<u8>), RouteError> {
        self.keyring
            .x509_authority(tenant, &self.trust_domain, self.clock.now())
            .map_err(|e| RouteError::broken("the certificate authority is not available", &e))
    }
}

fn unavailable(error: &RouteError) -> Refused {
    Refused::Unavailable(error.detail().to_owned())
}

fn denied(denial: &Denial) -> Refused {
    let (code, text) = (denial.reason.code(), &denial.text);
    Refused::Denied(format!("{code}: {text} (decision {})", denial.decision))
}

impl Workloads {
    /// Who the peer is, by the trust rules of every tenant; a user id belongs to one of them.
    fn whom(&self, peer: &Peer) -> Result<Vec<Whom>, Refused> {
        let (snapshot, now) = (self.0.cell.load(), self.0.clock.now());
        let mut attributes: BTreeMap<String, String> = BTreeMap::new();
        attributes.insert("uid".to_owned(), peer.uid.to_string());
        attributes.insert("gid".to_owned(), peer.gid.to_string());
        attributes.extend(peer.exe.iter().map(|exe| ("exe".to_owned(), exe.clone())));
        let rules = snapshot.every_trust().filter(|rule| {
            rule.issuer.method == Method::UnixPeer && rule.is_alive(now) && rule.admits(&attributes)
        });
        let mut found: Vec<Whom> = Vec::new();
        for rule in rules {
            if found.iter().any(|whom| whom.identity == rule.identity) {
                continue;
            }
            // Of several open tasks the one that ends last.
            let task = snapshot
                .tasks(rule.identity.tenant())
                .filter(|(t, _)| {
                    t.identity == rule.identity
                        && t.state == TaskState::Open
                        && (t.opens_at..t.closes_at).contains(&now)
                })
                .max_by_key(|(t, _)| t.closes_at);
            if let Some((task, _)) = task {
                found.push(Whom {
                    rule: rule.id.clone(),
                    identity: rule.identity.clone(),
                    task: task.id.clone(),
                });
            }
        }
        found.truncate(IDENTITIES_MAX);
        if found.is_empty() {
            return Err(nobody(peer));
        }
        Ok(found)
    }

    /// What would be said, and how it is asked for. The record names the audience of the SVID.
    fn planned(&self, whom: &Whom, audience: &str) -> Result<(Call, Arc<Claims>), Refused> {
        let deps = &self.0;
        let tenant = whom.identity.tenant();
        let tokens: Vec<TokenId> = vec![deps.mint(tenant).map_err(|e| unavailable(&e))?];
        let requester = Requester::Workload(whom.rule.clone(), whom.identity.clone(), None);
        let planned = issue::plan(
            deps,
            &deps.cell.load(),
            &whom.task,
            &tokens,
            &requester,
            (None, None),
        );
        let planned = planned.map_err(|e| Refused::Denied(e.detail().to_owned()))?;
        let claims = Arc::new(Claims {
            audience: audience.to_owned(),
            ..planned
        });
        let principal = requester.principal(&claims);
        let asked = issue::asked(deps, &claims, &tokens, principal, (None, None));
        let call = Call {
            door: Door::Spiffe,
            ..asked.map_err(|e| unavailable(&e))?
        };
        Ok((call, claims))
    }

    /// Decided and recorded.
    async fn permitted(&self, whom: &Whom, audience: &str) -> Result<(Permit, Arc<Claims>), Refused> {
        let (call, claims) = self.planned(whom, audience)?;
        let (issued, now) = (&self.0.svids, self.0.clock.now());
        issued.note(IssuedSvid::new(&whom.rule, &claims), now);
        match self.0.pep.permit(call).await {
            Ok(permit) => Ok((permit, claims)),
            Err(refused) => {
                issued.withdraw(&claims.token);
                Err(denied(&refused))
            }
        }
    }

    /// Whether nothing stops it, as far as that shows before it asks.
    fn stands(&self, whom: &Whom) -> bool {
        let (snapshot, now) = (self.0.cell.load(), self.0.clock.now());
        self.planned(whom, "")
            .is_ok_and(|(call, _)| snapshot.barred(&call, now).is_none())
    }

    async fn jwt_svid(&self, whom: Whom, audience: &[String]) -> Result<JwtSvid, Refused> {
        let deps = &self.0;
        let id = deps.spiffe_id(&whom.identity);
        let tenant = whom.identity.tenant().clone();
        let signer = deps.keyring.signer(&tenant);
        if signer.is_ok_and(|signer| signer.algorithm() == SigningAlgorithm::EdDsa) {
            return Err(Refused::Unavailable(
                "this tenant signs with EdDSA, which a JWT-SVID may not be signed with".to_owned(),
            ));
        }
        let (permit, claims) = self.permitted(&whom, &audience.join(" ")).await?;
        let said = json!({
            "sub": id,
            "aud": audience,
            "iat": claims.issued_at.secs(),
            "exp": claims.expires_at.secs(),
            "jti": claims.token.to_string(),
        });
        let signed = signing_keys::sign_all(deps, &tenant, "JWT", vec![said.to_string().into_bytes()]).await;
        permit.finish(outcome(signed.is_ok()));
        match signed.map_err(|e| unavailable(&e))?.pop() {
            Some(token) => Ok(JwtSvid { id, token }),
            None => Err(Refused::Unavailable("no SVID was signed".to_owned())),
        }
    }

    async fn x509_svid(&self, whom: Whom) -> Result<X509Svid, Refused> {
        let deps = &self.0;
        let id = deps.spiffe_id(&whom.identity);
        let tenant = whom.identity.tenant().clone();
        let (permit, claims) = self.permitted(&whom, "x509-svid").await?;
        let issued = deps.keyring.issue_x509(
            &tenant,
            &deps.trust_domain,
            &id,
            (claims.issued_at, claims.expires_at),
        );
        permit.finish(outcome(issued.is_ok()));
        let issued =
            issued.map_err(|e| unavailable(&RouteError::broken("certificate could not be made", &e)))?;
        let half = claims.expires_at.since(claims.issued_at) / 2;
        Ok(X509Svid {
            good_for: half.max(RENEW_MIN),
            id,
            chain: issued.certificate,
            key: issued.key.to_vec(),
            bundle: issued.authority,
        })
    }

    fn verified(
        &self,
        tenant: &TenantId,
        audience: &str,
        svid: &str,
    ) -> Option<(String, Map<String, Value>)> {
        let deps = &self.0;
        let compact = Compact::parse(svid.as_bytes()).ok()?;
        // A token of ours says another type: neither passes for the other.
        matches!(compact.header().typ.as_deref(), None | Some("jwt" | "jose")).then_some(())?;
        let kid = compact.header().kid.as_deref()?;
        let keys = deps.keyring.jwks(tenant).ok()?;
        let key = keys.iter().find(|key| key.kid() == kid)?;
        compact.verify(key.key()).ok()?;
        let claims = compact.untrusted_claims().ok()?;
        let ours = format!("spiffe://{}/t/{tenant}/", deps.trust_domain);
        let id = claims.get("sub")?.as_str()?;
        let identity = IdentityId::parse(tenant, id.strip_prefix(&ours)?).ok()?;
        let is_meant = match claims.get("aud")? {
            Value::String(one) => one == audience,
            Value::Array(several) => several.iter().any(|one| one == audience),
            _ => false,
        };
        let lives = claims.get("exp")?.as_i64()? > deps.clock.now().secs();
        let stands = deps
            .cell
            .load()
            .identity(&identity)
            .is_some_and(|i| matches!(i.state, State::Active | State::Probation));
        (is_meant && lives && stands).then(|| (id.to_owned(), claims.clone()))
    }
}

const fn outcome(done: bool) -> Outcome {
    if done { Outcome::Returned } else { Outcome::Failed }
}

fn require_audience(audience: &[String]) -> Result<(), Refused> {
    let fits = |text: &String| (1..=AUDIENCE_MAX).contains(&text.len()) && !text.contains(char::is_control);
    if (1..=AUDIENCES_MAX).contains(&audience.len()) && audience.iter().all(fits) {
        return Ok(());
    }
    Err(Refused::Invalid(format!(
        "audience: give 1 to {AUDIENCES_MAX} of them, each of 1 to {AUDIENCE_MAX} bytes"
    )))
}

impl Authority for Workloads {
    fn jwt_svids<'a>(
        &'a self,
        peer: &'a Peer,
        audience: Vec<String>,
        wanted: Option<String>,
    ) -> BoxFuture<'a, Result<Vec<JwtSvid>, Refused>> {
        Box::pin(async move {
            require_audience(&audience)?;
            let found = self.whom(peer)?.into_iter();
            let meant = found.filter(|whom| {
                let id = self.0.spiffe_id(&whom.identity);
                wanted.as_ref().is_none_or(|wanted| *wanted == id)
            });
            let mut svids = Vec::new();
            for whom in meant {
                svids.push(self.jwt_svid(whom, &audience).await);
            }
            let none = "the SPIFFE ID asked for is not this workload's";
            at_least_one(svids, || Refused::Denied(none.to_owned()))
        })
    }

    fn x509_svids<'a>(&'a self, peer: &'a Peer) -> BoxFuture<'a, Result<Vec<X509Svid>, Refused>> {
        Box::pin(async move {
            let mut svids = Vec::new();
            for whom in self.whom(peer)? {
                svids.push(self.x509_svid(whom).await);
            }
            at_least_one(svids, || nobody(peer))
        })
    }

    fn standing(&self, peer: &Peer) -> Result<Vec<u8>, Refused> {
        let mut said = Vec::new();
        for whom in self.whom(peer)? {
            let stands = self.stands(&whom);
            said.push(json!([self.0.spiffe_id(&whom.identity), stands]));
        }
        for tenant in self.tenants(peer).unwrap_or_default() {
            let bundle = self.0.spiffe_bundle(&tenant);
            said.push(bundle.map_err(|e| unavailable(&e))?);
        }
        Ok(Value::Array(said).to_string().into_bytes())
    }

    fn changed<'a>(&'a self, peer: &'a Peer, since: &'a Result<Vec<u8>, Refused>) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            let cell = &self.0.cell;
            let mut narrowed = cell.narrowed();
            let mut seen = None;
            loop {
                let version = *narrowed.borrow_and_update();
                let present = Some((version, cell.load().state_pos()));
                if present != seen && self.standing(peer) != *since {
                    return;
                }
                seen = present;
                let _narrowed = tokio::time::timeout(LOOK, narrowed.changed()).await;
            }
        })
    }

    fn jwt_bundles(&self, peer: &Peer) -> Result<Bundles, Refused> {
        let mut keys = Vec::new();
        for tenant in self.tenants(peer)? {
            keys.extend(self.0.jwt_authorities(&tenant).map_err(|e| unavailable(&e))?);
        }
        let domain = format!("spiffe://{}", self.0.trust_domain);
        let set = json!({ "keys": keys }).to_string().into_bytes();
        Ok([(domain, set)].into())
    }

    fn x509_bundles(&self, peer: &Peer) -> Result<Bundles, Refused> {
        let mut certificates = Vec::new();
        for tenant in self.tenants(peer)? {
            certificates.extend(self.0.x509_authority(&tenant).map_err(|e| unavailable(&e))?.1);
        }
        let domain = format!("spiffe://{}", self.0.trust_domain);
        Ok([(domain, certificates)].into())
    }

    fn validate(
        &self,
        peer: &Peer,
        audience: &str,
        svid: &str,
    ) -> Result<(String, Map<String, Value>), Refused> {
        let tenants = self.tenants(peer)?;
        tenants
            .iter()
            .find_map(|tenant| self.verified(tenant, audience, svid))
            .ok_or_else(|| Refused::Invalid("svid is not valid for this audience".to_owned()))
    }
}

fn nobody(peer: &Peer) -> Refused {
    Refused::Denied(format!(
        "no trust rule makes uid {} an identity with an open task",
        peer.uid
    ))
}

/// What was issued; the first reason when nothing was.
fn at_least_one<T>(
    asked: Vec<Result<T, Refused>>,
    none: impl FnOnce() -> Refused,
) -> Result<Vec<T>, Refused> {
    let (mut issued, mut refused) = (Vec::new(), None);
    for answer in asked {
        match answer {
            Ok(one) => issued.push(one),
            Err(why) => refused = refused.or(Some(why)),
        }
    }
    if issued.is_empty() {
        return Err(refused.unwrap_or_else(none));
    }
    Ok(issued)
}

impl Workloads {
    /// The tenants of the identities that the peer is, but for those that are stopped.
    fn tenants(&self, peer: &Peer) -> Result<Vec<TenantId>, Refused> {
        let found = self.whom(peer)?;
        let standing = found.iter().filter(|whom| self.stands(whom));
        let mut tenants: Vec<_> = standing.map(|w| w.identity.tenant().clone()).collect();
        if tenants.is_empty() {
            return Err(Refused::Denied(format!(
                "the identity of uid {} is suspended, killed or over",
                peer.uid
            )));
        }
        tenants.sort();
        tenants.dedup();
        Ok(tenants)
    }
}
