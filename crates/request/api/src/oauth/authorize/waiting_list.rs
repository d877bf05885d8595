//! Browsers that wait for an operator: in memory, for a few minutes. A restart forgets them, and they begin again.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bailiwick_base::{ConsentId, Digest, EntropyError, TenantId, Time};
use bailiwick_credential::ScopeSet;
use bailiwick_credential::consent::Challenge;

use crate::Deps;
use crate::oauth::documents;

/// How long a browser waits.
pub(crate) const WAIT: Duration = Duration::from_secs(600);
/// Browsers that wait, in all.
const ALL_MAX: usize = 8_192;
/// The same in one tenant.
const PER_TENANT_MAX: usize = 1_024;
/// The same for one client: another one still finds a place.
const PER_CLIENT_MAX: usize = 256;
/// The same in one tenant for clients that describe themselves, of which a stranger has as many as he likes.
const DESCRIBED_MAX: usize = 512;
/// The same from one network, whatever the tenant: nobody who asks has been authenticated.
const PER_PEER_MAX: usize = 64;
/// Wrong words that a page takes.
const TRIES_MAX: u8 = 5;
/// Letters of codes and words: consonants, so that they spell nothing, and none that looks like another (RFC 8628
/// §6.1).
const LETTERS: &[u8; 20] = b"BCDFGHJKLMNPQRSTVWXZ";

/// What a client asks for.
#[derive(Debug, Clone)]
pub(crate) struct Asking {
    pub(crate) client: String,
    pub(crate) client_name: String,
    pub(crate) redirect: String,
    pub(crate) resources: Vec<String>,
    pub(crate) scopes: Option<ScopeSet>,
    pub(crate) state: Option<String>,
    pub(crate) challenge: Challenge,
    /// The thumbprint of the key that its code is for (RFC 9449 §10).
    pub(crate) key: Option<Digest>,
}

/// How far it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Stage {
    Allowed {
        consent: ConsentId,
        word: String,
        tries: u8,
    },
    /// An operator's answer is being written down.
    Answering,
    Refused,
    Waiting,
}

#[derive(Debug, Clone)]
struct Waiting {
    code: String,
    /// SHA-256 of what the browser has in its cookie.
    cookie: Digest,
    asking: Asking,
    began_at: Time,
    /// The network it was asked from, where that is known.
    peer: Option<IpAddr>,
    stage: Stage,
}

/// No more browsers can wait.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Full {
    #[error("too many wait for an operator: come again in some minutes")]
    Crowded,
    #[error(transparent)]
    Entropy(#[from] EntropyError),
}

/// Why no browser with a code can be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unfound {
    Answered,
    Unknown,
}

/// Browsers that wait, by tenant and place.
#[derive(Default)]
pub struct WaitingList(Mutex<BTreeMap<(TenantId, String), Waiting>>);

type Held<'a> = MutexGuard<'a, BTreeMap<(TenantId, String), Waiting>>;

impl WaitingList {
    fn at(&self, now: Time) -> Held<'_> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, waiting| now < waiting.began_at.after(WAIT));
        all
    }

    /// A new one: its place in the address, and the cookie that binds it to this browser.
    pub(crate) fn add(
        &self,
        deps: &Deps,
        tenant: &TenantId,
        asking: Asking,
        peer: Option<IpAddr>,
    ) -> Result<(String, String), Full> {
        let (place, cookie) = (token(deps)?, token(deps)?);
        let code = letters(deps)?;
        let now = deps.clock.now();
        let mut all = self.at(now);
        require_place(&all, tenant, &asking.client, peer)?;
        let waiting = Waiting {
            code,
            cookie: Digest::of(cookie.as_bytes()),
            asking,
            began_at: now,
            peer,
            stage: Stage::Waiting,
        };
        all.insert((tenant.clone(), place.clone()), waiting);
        Ok((place, cookie))
    }

    /// What this browser waits for, its code, and how far it is; nothing for another browser.
    pub(crate) fn of_browser(
        &self,
        tenant: &TenantId,
        place: &str,
        cookie: &str,
        now: Time,
    ) -> Option<(Asking, String, Stage)> {
        let all = self.at(now);
        let found = all.get(&(tenant.clone(), place.to_owned()))?;
        (found.cookie == Digest::of(cookie.as_bytes()))
            .then(|| (found.asking.clone(), found.code.clone(), found.stage.clone()))
    }

    /// Takes the word that a browser types; gives the consent when it is the right one. A page that took too many
    /// wrong ones is gone.
    pub(crate) fn take_word(
        &self,
        tenant: &TenantId,
        place: &str,
        typed: &str,
        now: Time,
    ) -> Option<ConsentId> {
        let key = (tenant.clone(), place.to_owned());
        let mut all = self.at(now);
        let Stage::Allowed { consent, word, tries } = &mut all.get_mut(&key)?.stage else {
            return None;
        };
        if *word == plain(typed) {
            let consent = consent.clone();
            all.remove(&key);
            return Some(consent);
        }
        *tries += 1;
        if *tries >= TRIES_MAX {
            all.remove(&key);
        }
        None
    }

    /// Nobody waits there any more.
    pub(crate) fn forget(&self, tenant: &TenantId, place: &str, now: Time) {
        self.at(now).remove(&(tenant.clone(), place.to_owned()));
    }

    /// Who waits in a tenant, longest first, with the time at which it ends.
    pub(crate) fn list(&self, tenant: &TenantId, now: Time) -> Vec<(Asking, Time, Time)> {
        let all = self.at(now);
        let of_tenant = all
            .iter()
            .filter(|((t, _), waiting)| t == tenant && waiting.stage == Stage::Waiting);
        let mut list: Vec<_> = of_tenant
            .map(|(_, waiting)| {
                (
                    waiting.asking.clone(),
                    waiting.began_at,
                    waiting.began_at.after(WAIT),
                )
            })
            .collect();
        list.sort_by_key(|(_, began_at, _)| *began_at);
        list
    }

    /// Who waits with this code.
    pub(crate) fn find(&self, tenant: &TenantId, code: &str, now: Time) -> Option<(Asking, Time, Time)> {
        let code = plain(code);
        let all = self.at(now);
        all.iter()
            .find(|((t, _), waiting)| t == tenant && waiting.code == code && waiting.stage == Stage::Waiting)
            .map(|(_, waiting)| {
                (
                    waiting.asking.clone(),
                    waiting.began_at,
                    waiting.began_at.after(WAIT),
                )
            })
    }

    /// From now on an operator's answer is being written down: a second one has to hear so.
    pub(crate) fn hold(&self, tenant: &TenantId, code: &str, now: Time) -> Result<(String, Asking), Unfound> {
        let code = plain(code);
        let mut all = self.at(now);
        let found = all
            .iter_mut()
            .find(|((t, _), waiting)| t == tenant && waiting.code == code);
        let ((_, place), waiting) = found.ok_or(Unfound::Unknown)?;
        if waiting.stage != Stage::Waiting {
            return Err(Unfound::Answered);
        }
        waiting.stage = Stage::Answering;
        Ok((place.clone(), waiting.asking.clone()))
    }

    /// How it was answered.
    pub(crate) fn settle(&self, tenant: &TenantId, place: &str, stage: Stage, now: Time) {
        if let Some(waiting) = self.at(now).get_mut(&(tenant.clone(), place.to_owned())) {
            waiting.stage = stage;
        }
    }
}

/// Whether one more may wait: of its tenant, of its client, and from where it comes.
fn require_place(all: &Held<'_>, tenant: &TenantId, client: &str, peer: Option<IpAddr>) -> Result<(), Full> {
    let of_peer = all.values().filter(|waiting| waiting.peer == peer).count();
    let (mut of_tenant, mut of_client, mut described) = (0, 0, 0);
    for (_, waiting) in all.iter().filter(|((t, _), _)| t == tenant) {
        of_tenant += 1;
        of_client += usize::from(waiting.asking.client == client);
        described += usize::from(documents::is_url(&waiting.asking.client));
    }
    let is_crowded = all.len() >= ALL_MAX
        || of_tenant >= PER_TENANT_MAX
        || of_client >= PER_CLIENT_MAX
        || of_peer >= PER_PEER_MAX
        || documents::is_url(client) && described >= DESCRIBED_MAX;
    if is_crowded { Err(Full::Crowded) } else { Ok(()) }
}

/// 128 bits for an address or a cookie.
fn token(deps: &Deps) -> Result<String, EntropyError> {
    let mut bytes = [0_u8; 16];
    deps.entropy.fill(&mut bytes)?;
    Ok(bailiwick_base::Digest::of(&bytes).to_string())
}

/// Eight letters, each as likely as any other.
pub(crate) fn letters(deps: &Deps) -> Result<String, EntropyError> {
    /// The largest multiple of 20 in a byte.
    const FAIR: u8 = 240;
    let mut out = String::with_capacity(8);
    let mut bytes = [0_u8; 32];
    while out.len() < 8 {
        deps.entropy.fill(&mut bytes)?;
        let fair = bytes.iter().filter(|byte| **byte < FAIR);
        let letters = fair.filter_map(|byte| LETTERS.get(usize::from(byte % 20)));
        out.extend(letters.map(|letter| char::from(*letter)).take(8 - out.len()));
    }
    Ok(out)
}

/// As it is compared: without what people put between letters.
fn plain(typed: &str) -> String {
    let letters = typed.chars().filter(char::is_ascii_alphabetic);
    letters.map(|c| c.to_ascii_uppercase()).take(16).collect()
}
