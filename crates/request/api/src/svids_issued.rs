//! SVIDs of this process that still live. Others believe them without asking here until they end, so a receipt has to
//! name them; an hour of a busy log is too long to be read for that.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bailiwick_base::{TenantId, Time, TokenId, TrustId};
use bailiwick_credential::Claims;
use serde_json::{Value, json};

/// SVIDs that are remembered; beyond them the oldest are looked for in the log, as far as that is read.
const KEPT_MAX: usize = 20_000;

/// One that was issued, or is about to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct IssuedSvid {
    pub(crate) id: String,
    pub(crate) tenant: TenantId,
    pub(crate) expires_at: Time,
    issued_at: Time,
    /// The members of its record by which a scope knows it.
    pub(crate) record: Value,
}

/// The living SVIDs that were issued since this process began.
#[derive(Debug)]
pub struct IssuedSvids(Mutex<Kept>);

#[derive(Debug)]
struct Kept {
    /// Every living one that was issued after this is here.
    since: Time,
    living: VecDeque<IssuedSvid>,
}

impl IssuedSvid {
    pub(crate) fn new(rule: &TrustId, claims: &Claims) -> Self {
        let nhi = claims.nhi.to_string();
        Self {
            id: claims.token.to_string(),
            tenant: claims.tenant.clone(),
            expires_at: claims.expires_at,
            issued_at: claims.issued_at,
            record: json!({
                "tenant": claims.tenant.as_str(),
                "nhi": nhi,
                "task": claims.task.to_string(),
                "client": rule.to_string(),
                "issue": {"nhi": nhi, "jti": [claims.token.to_string()]},
            }),
        }
    }
}

impl IssuedSvids {
    /// None so far.
    #[must_use]
    pub fn since(now: Time) -> Self {
        Self(Mutex::new(Kept {
            since: now,
            living: VecDeque::new(),
        }))
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Before it is decided, so that no receipt misses one that is on its way.
    pub(crate) fn note(&self, svid: IssuedSvid, now: Time) {
        let mut kept = self.kept();
        kept.living.retain(|known| known.expires_at > now);
        if kept.living.len() >= KEPT_MAX
            && let Some(oldest) = kept.living.pop_front()
        {
            kept.since = kept.since.max(oldest.issued_at);
        }
        kept.living.push_back(svid);
    }

    /// It was refused.
    pub(crate) fn withdraw(&self, token: &TokenId) {
        let id = token.to_string();
        self.kept().living.retain(|svid| svid.id != id);
    }

    /// Those that live at `now` and are `meant`, and since when all of them are known.
    pub(crate) fn living(&self, now: Time, meant: impl Fn(&IssuedSvid) -> bool) -> (Vec<IssuedSvid>, Time) {
        let kept = self.kept();
        let living = kept.living.iter().filter(|svid| svid.expires_at > now);
        (living.filter(|svid| meant(svid)).cloned().collect(), kept.since)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn svid(n: usize, at: Time) -> IssuedSvid {
        IssuedSvid {
            id: n.to_string(),
            tenant: TenantId::parse("acme").unwrap(),
            expires_at: at.after(Duration::from_secs(60)),
            issued_at: at,
            record: Value::Null,
        }
    }

    #[test]
    fn what_lives_is_named_and_beyond_the_bound_it_is_said_since_when() {
        let begin = Time::from_secs(1_000);
        let issued = IssuedSvids::since(begin);
        for n in 0..KEPT_MAX {
            issued.note(svid(n, begin), begin);
        }
        assert_eq!(issued.living(begin, |_| true).1, begin);
        let later = begin.after(Duration::from_secs(1));
        issued.note(svid(KEPT_MAX, later), later);
        issued.note(svid(KEPT_MAX + 1, later), later);
        let (living, since) = issued.living(later, |svid| svid.issued_at == later);
        assert_eq!((living.len(), since), (2, begin));
        assert_eq!(issued.living(later, |_| true).0.len(), KEPT_MAX);
        for n in 0..KEPT_MAX {
            issued.note(svid(n, later), later);
        }
        assert_eq!(
            issued.living(later, |_| true).1,
            later,
            "some of that second are gone"
        );
        let over = later.after(Duration::from_secs(61));
        assert!(issued.living(over, |_| true).0.is_empty());
        issued.note(svid(0, over), over);
        assert_eq!(issued.kept().living.len(), 1);
    }
}
