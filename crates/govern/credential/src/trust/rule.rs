//! Which workload of which issuer is which identity.

use std::collections::{BTreeMap, BTreeSet};

use bailiwick_base::limits::{TEXT_MAX, shown};
use bailiwick_base::{IdentityId, PublicKey, TenantId, Time, Transition, TrustId, json};
use serde_json::Value;

use super::attestor::{Attestor, AttributeKind, Method};
use crate::limits::Limits;
use crate::refusal::Refusal;
use crate::task::ending;

/// Attributes of one rule.
const ATTRIBUTES_MAX: usize = 32;
/// Address ranges of one rule.
const RANGES_MAX: usize = 32;
/// Bytes of a URL.
const URL_MAX: usize = 2_048;
/// Bytes of a key set that is given.
const KEYS_MAX: usize = 256 * 1024;

/// Where the keys of an issuer are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IssuerKeys {
    /// Where its metadata says.
    Discovery,
    /// Here: the text of a JWK Set.
    Given(String),
    /// At this URL.
    Url(String),
}

impl IssuerKeys {
    /// Whether both were given and have no key in common: issuers inside of two networks may have one name.
    fn are_apart(&self, other: &Self) -> bool {
        let (Self::Given(ours), Self::Given(theirs)) = (self, other) else {
            return false;
        };
        let (ours, theirs) = (thumbprints(ours), thumbprints(theirs));
        !ours.is_empty() && !theirs.is_empty() && ours.is_disjoint(&theirs)
    }
}

/// The usable keys of a JWK Set by RFC 7638, whatever they are called.
fn thumbprints(set: &str) -> BTreeSet<String> {
    let set = json::parse(set.as_bytes(), KEYS_MAX).unwrap_or_default();
    let keys = set.get("keys").and_then(Value::as_array);
    let read = |key: &Value| {
        let mut members = key.as_object()?.clone();
        members.remove("use");
        PublicKey::from_jwk(&members).ok().map(|key| key.thumbprint())
    };
    keys.into_iter().flatten().filter_map(read).collect()
}

/// An issuer as an operator registered it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustedIssuer {
    /// What kind it is.
    pub method: Method,
    /// `iss`, byte for byte; `spiffe://name` for a trust domain.
    pub url: String,
    /// Its keys.
    pub keys: IssuerKeys,
    /// Address ranges beyond the public ones where its keys may be fetched.
    pub allow_addresses: Vec<String>,
    /// Its keys may come over plain HTTP.
    pub danger_plaintext: bool,
}

/// A rule: a workload of this issuer with these attributes is this identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trust {
    /// Its id.
    pub id: TrustId,
    /// The issuer.
    pub issuer: TrustedIssuer,
    /// What divides the issuer among its customers, with values: empty when it has one customer.
    pub realm: BTreeMap<String, String>,
    /// Attributes a workload has to have, all of them, byte for byte.
    pub attributes: BTreeMap<String, String>,
    /// Who such a workload is.
    pub identity: IdentityId,
    /// When it was added.
    pub created_at: Time,
    /// Until when it holds.
    pub expires_at: Time,
    /// When it was removed; that is final.
    pub removed_at: Option<Time>,
}

impl Trust {
    /// Whether it holds now.
    #[must_use]
    pub fn is_alive(&self, now: Time) -> bool {
        self.removed_at.is_none() && now < self.expires_at
    }

    /// Whether a workload with these attributes is meant.
    #[must_use]
    pub fn admits(&self, attributes: &BTreeMap<String, String>) -> bool {
        !self.attributes.is_empty() && self.difference(attributes).is_none()
    }

    /// The first attribute that this rule asks for and these do not have: its name, what is asked for, what is there.
    #[must_use]
    pub fn difference<'a>(
        &'a self,
        attributes: &'a BTreeMap<String, String>,
    ) -> Option<(&'a str, &'a str, Option<&'a str>)> {
        self.attributes.iter().find_map(|(name, wanted)| {
            let shown = attributes.get(name).map(String::as_str);
            (shown != Some(wanted.as_str())).then_some((name.as_str(), wanted.as_str(), shown))
        })
    }

    /// Whether both speak of the same customer of the same issuer, which one tenant only may do. A rule that does
    /// not say which customer speaks of all of them; so do two that disagree about what kind of issuer it is.
    #[must_use]
    pub fn shares_issuer(&self, other: &Self) -> bool {
        let (ours, theirs) = (&self.issuer, &other.issuer);
        if ours.method == Method::Azure && theirs.method == Method::Azure {
            // One directory has several issuers.
            let directory = |trust: &Self| trust.attributes.get("tid").cloned();
            return ours.url == theirs.url || directory(self) == directory(other);
        }
        let one_customer = ours.method == theirs.method
            && !self.realm.is_empty()
            && !other.realm.is_empty()
            && self.realm != other.realm;
        ours.url == theirs.url && !one_customer && !ours.keys.are_apart(&theirs.keys)
    }
}

/// What is asked for.
#[derive(Debug, Clone)]
pub struct TrustPlan {
    /// Its id, freshly minted; the tenant is the id's.
    pub id: TrustId,
    /// The issuer.
    pub issuer: TrustedIssuer,
    /// Attributes to match.
    pub attributes: BTreeMap<String, String>,
    /// Who it is.
    pub identity: IdentityId,
    /// When that identity ends; the rule ends no later.
    pub identity_expires_at: Time,
    /// Until when.
    pub expires_at: Time,
}

/// Adds a rule, if it says who without leaning on a name that somebody else may hold tomorrow. `others` are the rules
/// of this installation that hold now, of whatever tenant.
///
/// # Errors
/// [`Refusal`].
pub fn add_trust<'a>(
    plan: TrustPlan,
    attestor: &Attestor,
    others: impl Iterator<Item = &'a Trust>,
    limits: &Limits,
    now: Time,
) -> Result<Transition<Trust>, Refusal> {
    if plan.id.tenant() != plan.identity.tenant() {
        return Err(Refusal::OtherOwner("identity"));
    }
    require_issuer(&plan.issuer, attestor)?;
    require_attributes(&plan.attributes, attestor)?;
    let latest = [now.after(limits.client_lifetime_max), plan.identity_expires_at];
    let realm = attestor
        .realm
        .iter()
        .filter_map(|name| Some((name.clone(), plan.attributes.get(name)?.clone())));
    let trust = Trust {
        realm: realm.collect(),
        id: plan.id,
        issuer: plan.issuer,
        attributes: plan.attributes,
        identity: plan.identity,
        created_at: now,
        expires_at: ending(plan.expires_at, latest, now)?,
        removed_at: None,
    };
    for other in others.filter(|other| other.is_alive(now)) {
        require_apart(&trust, other)?;
    }
    Ok(Transition::made("trust.add", trust))
}

/// One issuer, one tenant, one way to its keys, and never two identities for one workload.
fn require_apart(trust: &Trust, other: &Trust) -> Result<(), Refusal> {
    let ours = |tenant: &TenantId| tenant == trust.id.tenant();
    if !ours(other.id.tenant()) {
        return if trust.shares_issuer(other) {
            Err(Refusal::TrustIssuerBound(shown(&trust.issuer.url)))
        } else {
            Ok(())
        };
    }
    if trust.issuer.url != other.issuer.url {
        return Ok(());
    }
    if trust.issuer != other.issuer {
        return Err(Refusal::TrustIssuerDiffers(other.id.to_string()));
    }
    // A workload that both would admit: no attribute tells them apart.
    let told_apart = trust
        .attributes
        .iter()
        .any(|(name, value)| other.attributes.get(name).is_some_and(|there| there != value));
    if told_apart || trust.identity == other.identity && trust.attributes != other.attributes {
        return Ok(());
    }
    Err(Refusal::TrustAmbiguous(other.id.to_string()))
}

/// Removes a rule. Tokens that were issued by it live to their end; kill the identity to stop them now.
///
/// # Errors
/// [`Refusal::TrustRemoved`], [`Refusal::ReasonMissing`].
pub fn remove_trust(trust: Trust, reason: &str, now: Time) -> Result<Transition<Trust>, Refusal> {
    if let Some(at) = trust.removed_at {
        return Err(Refusal::TrustRemoved(at));
    }
    let reason = reason.trim();
    if reason.is_empty() {
        return Err(Refusal::ReasonMissing);
    }
    if reason.len() > TEXT_MAX {
        return Err(Refusal::TooLong {
            field: "reason",
            len: reason.len(),
            max: TEXT_MAX,
        });
    }
    let after = Trust {
        removed_at: Some(now),
        ..trust.clone()
    };
    Ok(Transition::changed("trust.remove", trust, after).because(reason))
}

fn require_issuer(issuer: &TrustedIssuer, attestor: &Attestor) -> Result<(), Refusal> {
    let wrong = |rule| Err(Refusal::TrustIssuer(rule));
    let url = issuer.url.as_str();
    let is_spiffe = issuer.method == Method::SpiffeJwt;
    if issuer.method != attestor.method {
        return wrong("it is of another kind than the rule");
    }
    if url.len() > URL_MAX || url.bytes().any(|b| !b.is_ascii_graphic()) {
        return wrong("it has to be visible ASCII of at most 2048 bytes");
    }
    if issuer.method == Method::UnixPeer {
        let is_bare = issuer.keys == IssuerKeys::Discovery && issuer.allow_addresses.is_empty();
        return if attestor.issuer.as_deref() == Some(url) && is_bare && !issuer.danger_plaintext {
            Ok(())
        } else {
            wrong("a process of this machine has no issuer and no keys: leave both out")
        };
    }
    match (is_spiffe, url.strip_prefix("spiffe://")) {
        (true, Some(name)) if !name.is_empty() && !name.contains(['/', '?', '#', '@', ':']) => {}
        (true, _) => return wrong("a trust domain has the form `spiffe://name`"),
        (false, _)
            if url.starts_with("https://") || issuer.danger_plaintext && url.starts_with("http://") => {}
        (false, _) => return wrong("it has to begin with https://"),
    }
    if issuer.method == Method::Aws && issuer.keys != IssuerKeys::Discovery {
        return wrong("AWS answers for itself: it has no keys to give");
    }
    if issuer.method == Method::Azure && url.contains(".microsoftonline.") {
        return wrong(
            "tokens of version 2.0 are for an application, never for us: have the application ask for version 1 and \
             name https://sts.windows.net/DIRECTORY/",
        );
    }
    match &issuer.keys {
        IssuerKeys::Discovery if is_spiffe => {
            return wrong("a trust domain has no metadata: give its keys or their URL");
        }
        IssuerKeys::Given(text) if text.is_empty() || text.len() > KEYS_MAX => {
            return wrong("its keys have to be a JWK Set of at most 256 KiB");
        }
        IssuerKeys::Url(url) if url.len() > URL_MAX => {
            return wrong("the URL of its keys is longer than 2048 bytes");
        }
        _ => {}
    }
    if issuer.allow_addresses.len() > RANGES_MAX {
        return wrong("it has more than 32 address ranges");
    }
    Ok(())
}

/// Refuses the issuer of a vendor under another method, which would lean on claims that the vendor's own method does
/// not believe.
///
/// # Errors
/// [`Refusal::TrustIssuerMethod`].
pub fn require_method<'a>(
    issuer: &TrustedIssuer,
    attestors: impl IntoIterator<Item = &'a Attestor>,
) -> Result<(), Refusal> {
    let vendor = attestors
        .into_iter()
        .find(|a| a.method != issuer.method && a.is_vendor(&issuer.url));
    match vendor {
        None => Ok(()),
        Some(vendor) => Err(Refusal::TrustIssuerMethod(vendor.method.as_str())),
    }
}

fn require_attributes(attributes: &BTreeMap<String, String>, attestor: &Attestor) -> Result<(), Refusal> {
    if attributes.len() > ATTRIBUTES_MAX {
        return Err(Refusal::TrustAttribute {
            name: format!("{} attributes", attributes.len()),
            rule: "a rule has at most 32",
        });
    }
    for (name, value) in attributes {
        let wrong = |rule| Refusal::TrustAttribute {
            name: shown(name),
            rule,
        };
        let attribute = attestor
            .attribute(name)
            .ok_or_else(|| wrong("this kind of issuer has no such attribute"))?;
        if attribute.kind == AttributeKind::Name {
            return Err(wrong(
                "it is a name that may be given to somebody else: match on an id",
            ));
        }
        if !attribute.form.fits(value) {
            return Err(wrong(
                "its value has not the form that this kind of issuer gives it; wildcards are not taken",
            ));
        }
    }
    match attestor.pins.iter().find(|pin| !attributes.contains_key(*pin)) {
        None => Ok(()),
        Some(pin) => Err(Refusal::TrustTooBroad(pin.clone())),
    }
}

/// What a rule leaves open although it says who: worth a look, not a refusal.
#[must_use]
pub fn lint_trust(trust: &Trust, attestor: &Attestor) -> Vec<TrustFinding> {
    let has = |name: &str| trust.attributes.contains_key(name);
    let any = |names: &[&str]| names.iter().any(|name| has(name));
    let mut findings = Vec::new();
    let mut note = |code, text: &str| {
        findings.push(TrustFinding {
            code,
            text: text.to_owned(),
        });
    };
    match attestor.method {
        Method::Github if !any(&["ref", "environment", "job_workflow_ref"]) => note(
            "trust.every-branch",
            "every branch and every pull request of the repository is this identity: add `environment` or `ref`",
        ),
        Method::UnixPeer if trust.attributes.get("uid").map(String::as_str) == Some("0") => note(
            "trust.superuser",
            "every program of root is this identity, and root becomes any user and any program: run the workload as a \
             user of its own, and match its uid and `exe`",
        ),
        Method::UnixPeer if !has("exe") => note(
            "trust.every-program",
            "every program of this user is this identity: add `exe` with the path of the one that is meant",
        ),
        Method::Gitlab if !any(&["ref_protected", "environment_protected"]) => note(
            "trust.every-branch",
            "every branch of the project is this identity: add `ref_protected=true`",
        ),
        _ => {}
    }
    if trust.attributes.get("event_name").map(String::as_str) == Some("pull_request") {
        note(
            "trust.unreviewed-code",
            "content that nobody has reviewed runs under `pull_request`",
        );
    }
    if attestor.method == Method::Github && has("ref") && !any(&["environment", "event_name"]) {
        note(
            "trust.any-event",
            "every event on this ref is this identity: add `environment` with reviewers, or `event_name`",
        );
    }
    if attestor.method == Method::Aws && !is_of_aws(&trust.issuer.url) {
        note(
            "trust.endpoint-override",
            "whoever runs this endpoint says who signed: leave `--issuer` out, or name an endpoint of AWS",
        );
    }
    if attestor.method == Method::AwsWebIdentity {
        web_identity(trust, attestor, &mut note);
    }
    if trust.issuer.keys != IssuerKeys::Discovery && attestor.is_vendor(&trust.issuer.url) {
        note(
            "trust.vendor-keys",
            "the vendor's keys are replaced by others: whoever holds those speaks for every workload of the vendor",
        );
    }
    if trust.issuer.danger_plaintext {
        note(
            "trust.plaintext",
            "keys come over plain HTTP: whoever listens on the way may put in their own",
        );
    }
    findings
}

/// What a token of STS leaves open: it names a role and not who took it on.
fn web_identity(trust: &Trust, attestor: &Attestor, note: &mut impl FnMut(&'static str, &str)) {
    let principal = trust.attributes.get("principal").map_or("", String::as_str);
    if !attestor.is_vendor(&trust.issuer.url) {
        note(
            "trust.endpoint-override",
            "whoever runs this issuer says who asked: name the issuer of the account, https://….tokens.sts.global.api.aws",
        );
    }
    if principal.contains(":role/aws-reserved/sso.amazonaws.com/") && !trust.attributes.contains_key("person")
    {
        note(
            "trust.every-person",
            "everybody to whom this permission set was assigned is this identity: add `person`",
        );
    }
    note(
        "trust.role-by-name",
        "a role that is made again under this name is this identity too: method `aws` tells them apart",
    );
}

/// An endpoint of STS that AWS runs.
fn is_of_aws(url: &str) -> bool {
    url.strip_prefix("https://sts.")
        .is_some_and(|rest| rest == "amazonaws.com" || rest.ends_with(".amazonaws.com"))
}

/// One thing that a rule leaves open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustFinding {
    /// The stable code.
    pub code: &'static str,
    /// What, and what to do.
    pub text: String,
}
