//! Questions of a legacy server to a stateless caller (MRTR): the call upstream waits here while the caller asks
//! its user, and goes on with the caller's next call.
//!
//! What the caller gets as `requestState` is a random name and nothing else; everything it stands for stays here,
//! bound to who called and to what was called, used once, and dropped when its time is over or the caller dies.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bailiwick_base::{Digest, Entropy, Sha256};
use bailiwick_pep::{Outcome, Permit};
use data_encoding::BASE64URL_NOPAD;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use crate::gateway::Inbound;
use crate::ports::Spawner;
use crate::upstream::exchange::{Ask, Exchange};

/// Waiting calls at once.
const ROUNDS_MAX: usize = 4_096;
/// The name of the one question of a round.
pub(crate) const QUESTION: &str = "question";

/// A call that waits for its caller's user.
pub(crate) struct Parked {
    pub(crate) exchange: Exchange,
    pub(crate) ask: Ask,
}

struct Waiting {
    binding: Digest,
    take: oneshot::Sender<oneshot::Sender<Parked>>,
}

type Table = Arc<Mutex<BTreeMap<String, Waiting>>>;

/// All waiting calls.
#[derive(Default)]
pub(crate) struct Rounds(Table);

impl Rounds {
    /// Puts a call aside; the `requestState` to give to the caller. `None` when there is no room or no randomness,
    /// and the call is over.
    pub(crate) fn park(
        &self,
        binding: Digest,
        permit: Permit,
        parked: Parked,
        entropy: &dyn Entropy,
        spawner: &dyn Spawner,
        ttl: Duration,
    ) -> Option<String> {
        let mut random = [0_u8; 24];
        entropy.fill(&mut random).ok()?;
        let name = BASE64URL_NOPAD.encode(&random);
        let (take, taken) = oneshot::channel();
        {
            let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if all.len() >= ROUNDS_MAX {
                return None;
            }
            all.insert(name.clone(), Waiting { binding, take });
        }
        let (table, key) = (Arc::clone(&self.0), name.clone());
        spawner.spawn(Box::pin(async move {
            wait(permit, parked, taken, ttl).await;
            table.lock().unwrap_or_else(PoisonError::into_inner).remove(&key);
        }));
        Some(name)
    }

    /// Takes the call that `state` names, if it waits for this very caller and call.
    pub(crate) async fn resume(&self, state: &str, inbound: &Inbound) -> Option<Parked> {
        let waiting = {
            let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if all.get(state)?.binding != binding_of(inbound) {
                return None;
            }
            all.remove(state)?
        };
        let (to, parked) = oneshot::channel();
        waiting.take.send(to).ok()?;
        parked.await.ok()
    }
}

/// Holds a call until it is taken, killed or too old. Dropping it cancels it upstream.
async fn wait(
    permit: Permit,
    parked: Parked,
    taken: oneshot::Receiver<oneshot::Sender<Parked>>,
    ttl: Duration,
) {
    let to = tokio::select! {
        biased;
        _ = permit.revoked() => None,
        to = tokio::time::timeout(ttl, taken) => to.ok().and_then(Result::ok),
    };
    match to {
        None => permit.finish(Outcome::Cancelled),
        Some(to) => {
            permit.finish(Outcome::Returned);
            // The caller may have gone; then the call ends here.
            let _ = to.send(parked);
        }
    }
}

/// Who called what: identity, task, tenant, server, method, item and arguments.
pub(crate) fn binding_of(inbound: &Inbound) -> Digest {
    let mut sha = Sha256::new();
    let caller = &inbound.caller;
    for field in [caller.tenant.as_str(), caller.server.as_str(), &inbound.method] {
        sha.update_field(field.as_bytes());
    }
    sha.update_field(caller.identity().uuid().as_bytes());
    sha.update_field(caller.task().uuid().as_bytes());
    for member in ["name", "uri", "arguments"] {
        let raw = inbound
            .params
            .member(member)
            .map(|m| m.raw.as_ref())
            .unwrap_or_default();
        sha.update_field(raw);
    }
    sha.finish()
}

/// The `input_required` result that puts `ask` to the caller.
pub(crate) fn question(ask: &Ask, state: &str) -> Value {
    let params: Value = serde_json::from_slice(&ask.params).unwrap_or_else(|_| json!({}));
    json!({
        "resultType": "input_required",
        "inputRequests": {QUESTION: {"method": ask.method, "params": params}},
        "requestState": state,
    })
}
