//! What an identity is made of: a change of it ends the trust that was earned.

use bailiwick_base::{Composition, Digest, Time, Transition};

use crate::model::{Composed, Identity, State};
use crate::refusal::Refusal;

/// Declares what an identity is made of. The first time changes no state; another composition than the present
/// one puts it back into probation, and a suspended one will resume there.
///
/// # Errors
/// [`Refusal::CompositionUnchanged`], [`Refusal::Retired`].
pub fn compose(
    identity: Identity,
    composition: Composition,
    now: Time,
) -> Result<Transition<Identity>, Refusal> {
    if matches!(identity.state, State::Retired { .. }) {
        return Err(Refusal::Retired);
    }
    let former = identity.composition.as_ref().map(|composed| &composed.present);
    let Some(former) = former.cloned() else {
        let after = composed(&identity, composition, None, now);
        return Ok(Transition::changed("identity.compose", identity, after));
    };
    if former == composition {
        return Err(Refusal::CompositionUnchanged);
    }
    let reason = changed(&former, &composition);
    let before = identity.clone();
    let mut after = composed(&identity, composition, Some(former), now);
    match identity.state {
        State::Active => (after.state, after.changed_at) = (State::Probation, now),
        State::Suspended { reason, .. } => {
            let was_active = false;
            after.state = State::Suspended { was_active, reason };
        }
        State::Probation | State::Retired { .. } => {}
    }
    Ok(Transition::changed("identity.compose", before, after).because(reason))
}

/// Whether an identity is made of what was seen of it, where that is said: it may have changed since.
///
/// # Errors
/// [`Refusal::CompositionOther`].
pub fn require_composition(identity: &Identity, seen: Option<Digest>) -> Result<(), Refusal> {
    let present = identity.composition.as_ref();
    let present = present.map(|composed| composed.present.digest());
    if seen.is_none() || seen == present {
        return Ok(());
    }
    Err(Refusal::CompositionOther)
}

fn composed(identity: &Identity, present: Composition, former: Option<Composition>, since: Time) -> Identity {
    let composition = Some(Composed {
        present,
        former,
        since,
    });
    Identity {
        composition,
        ..identity.clone()
    }
}

fn changed(former: &Composition, present: &Composition) -> String {
    let parts: Vec<_> = former.changed(present).collect();
    format!("composition changed: {}", parts.join(", "))
}

impl Identity {
    /// Why it stands where it stands: what the state says, or the change of composition that put it into probation.
    #[must_use]
    pub fn reason(&self) -> Option<String> {
        // Only a change of composition leads back to probation, so the last one is why.
        let recomposed = || {
            let composed = self.composition.as_ref()?;
            let former = composed.former.as_ref()?;
            matches!(self.state, State::Probation).then(|| changed(former, &composed.present))
        };
        self.state.reason().map(str::to_owned).or_else(recomposed)
    }
}
