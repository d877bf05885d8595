//! Secrets of destinations that are open: each is asked for by one request, and kept for a few seconds for the others.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bailiwick_base::{Clock, CredentialId};
use bailiwick_decide::UpstreamServer;
use bailiwick_outbound::UpstreamSecrets;

use crate::answer::Refused;
use crate::destination::{Found, Injected};
use crate::mask::Masks;

/// How long an opened secret is used without asking whether it still lives.
const OPENED_TTL: Duration = Duration::from_secs(5);
/// How long it is believed that one cannot be opened.
const MISSING_TTL: Duration = Duration::from_secs(1);
/// Destinations whose secret is kept.
const KEPT_MAX: usize = 1_024;

/// What came of asking for a secret, and for which state of its destination.
struct Kept {
    server: Arc<UpstreamServer>,
    asked_at: Duration,
    injected: Option<Injected>,
}

type Slot = Arc<tokio::sync::Mutex<Option<Kept>>>;

/// The secrets that are open.
#[derive(Default)]
pub(crate) struct Opened {
    slots: Mutex<BTreeMap<CredentialId, Slot>>,
    masks: Masks,
}

impl Opened {
    /// The secret of `found` in its header, if it has one. Of many who need it at once one asks, and the others wait.
    pub(crate) async fn of(
        &self,
        found: &Found,
        secrets: &dyn UpstreamSecrets,
        clock: &dyn Clock,
    ) -> Result<Option<Injected>, Refused> {
        let Some(id) = &found.server.credential else {
            return Ok(None);
        };
        let slot = self.slot(id);
        let mut kept = slot.lock().await;
        let now = clock.monotonic();
        if let Some(known) = kept.as_ref().filter(|kept| kept.is_good(found, now)) {
            return known.injected.clone().map(Some).ok_or_else(missing);
        }
        let injected = match secrets.secret(id).await {
            Some(secret) => found.injected(id, &secret, &self.masks),
            None => None,
        };
        *kept = Some(Kept {
            server: Arc::clone(&found.server),
            asked_at: now,
            injected: injected.clone(),
        });
        injected.map(Some).ok_or_else(missing)
    }

    fn slot(&self, id: &CredentialId) -> Slot {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        if slots.len() >= KEPT_MAX && !slots.contains_key(id) {
            slots.clear();
        }
        Arc::clone(slots.entry(id.clone()).or_default())
    }
}

impl Kept {
    fn is_good(&self, found: &Found, now: Duration) -> bool {
        let ttl = match self.injected {
            Some(_) => OPENED_TTL,
            None => MISSING_TTL,
        };
        let same =
            Arc::ptr_eq(&self.server, &found.server) || self.server.connection == found.server.connection;
        same && now.saturating_sub(self.asked_at) < ttl
    }
}

fn missing() -> Refused {
    Refused::gateway(
        "destination.credential",
        "the secret of this destination is revoked or expired, its owner is stopped, or it cannot be used",
    )
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use bailiwick_base::{IdentityId, ManualClock, Secret, ServerName, TenantId, Time};
    use bailiwick_decide::Connection;
    use bailiwick_outbound::BoxFuture;
    use tokio::sync::Notify;
    use uuid::Uuid;

    use super::*;

    /// A store that answers when it is let, and counts.
    #[derive(Default)]
    struct Slow {
        asked: AtomicU32,
        go_on: Notify,
    }

    impl UpstreamSecrets for Slow {
        fn secret<'a>(&'a self, _: &'a CredentialId) -> BoxFuture<'a, Option<Secret<Vec<u8>>>> {
            Box::pin(async {
                self.asked.fetch_add(1, Ordering::Relaxed);
                self.go_on.notified().await;
                Some(Secret::new(b"a-long-secret".to_vec()))
            })
        }
    }

    fn found(header: &str) -> Found {
        let tenant = TenantId::parse("acme").unwrap();
        let server = UpstreamServer {
            name: ServerName::parse("billing").unwrap(),
            identity: IdentityId::from_parts(tenant.clone(), Uuid::from_u128(1)),
            connection: Connection::Destination {
                url: "https://billing.example".to_owned(),
                allow_addresses: Vec::new(),
                allow_plaintext: false,
                header: Some(header.to_owned()),
                tunnel: false,
                ca: None,
            },
            credential: Some(CredentialId::from_parts(tenant.clone(), Uuid::from_u128(2))),
            pins: Vec::new(),
            created_at: Time::default(),
            tenant,
        };
        Found {
            server: Arc::new(server),
            tunnel: false,
        }
    }

    #[tokio::test]
    async fn of_many_who_need_a_secret_one_asks_and_for_seconds_nobody_asks_again() {
        let (opened, slow, clock) = (Opened::default(), Slow::default(), ManualClock::default());
        let billing = found("Authorization: Bearer {secret}");
        let each = (0..600).map(|_| opened.of(&billing, &slow, &clock));
        let (all, ()) = tokio::join!(futures_util::future::join_all(each), async {
            tokio::task::yield_now().await;
            assert_eq!(slow.asked.load(Ordering::Relaxed), 1, "the others wait");
            slow.go_on.notify_one();
        });
        assert!(all.iter().all(|each| each.as_ref().is_ok_and(Option::is_some)));
        assert_eq!(slow.asked.load(Ordering::Relaxed), 1);
        slow.go_on.notify_one();
        let other = opened.of(&found("X-Api-Key: {secret}"), &slow, &clock).await;
        assert_eq!(
            other.unwrap().unwrap().name,
            "x-api-key",
            "a changed destination is asked for at once"
        );
        clock.advance(OPENED_TTL);
        slow.go_on.notify_one();
        assert!(
            opened
                .of(&found("X-Api-Key: {secret}"), &slow, &clock)
                .await
                .is_ok()
        );
        assert_eq!(
            slow.asked.load(Ordering::Relaxed),
            3,
            "and after some seconds again"
        );
    }
}
