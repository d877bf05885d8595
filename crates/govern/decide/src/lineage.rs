//! Delegated tokens: what they stand on has to live, and has to permit the call as well.

use std::borrow::Cow;

use bailiwick_base::Time;
use bailiwick_credential::{Claims, EXCHANGE_SCOPE, ExchangeRule, Link, require_attenuated};
use smallvec::SmallVec;

use crate::call::{Call, Principal};
use crate::composition;
use crate::decide::{
    Established, Refused, require_ancestors, require_epoch, require_living as require_living_identity,
    require_task, require_times,
};
use crate::decision::Effect;
use crate::judge::{self, Plainly};
use crate::mark::Mark;
use crate::marks::{Bounds, Standing};
use crate::reason::DenyReason;
use crate::snapshot::{Snapshot, Space};
use crate::stop;
use crate::view::{Aim, Caller};

/// The strictest mark on a token that `claims` stands on, on its task, or on the issuer that vouched for whoever had it.
pub(crate) fn marked(snapshot: &Snapshot, space: &Space, claims: &Claims, bounds: Bounds) -> Option<Mark> {
    let marks = claims.lineage.iter().filter_map(|link| {
        let mut standing = Standing::of(&claims.tenant, claims.epoch);
        standing.bounds = bounds;
        standing.voucher = link.trust.as_ref().map(|rule| stop::vouched(Some(space), rule));
        (standing.token, standing.task) = (Some(&link.token), Some(&link.task));
        snapshot.strictest(&standing)
    });
    marks.max_by_key(|mark| mark.effect)
}

/// No token it stands on was revoked, and no task of one is over.
pub(crate) fn require_living(
    snapshot: &Snapshot,
    space: &Space,
    claims: &Claims,
    now: Time,
) -> Result<(), Refused> {
    let refused = |text: String| Refused::new(DenyReason::ActorRevoked, format!("ancestor: {text}"));
    if let Some(mark) = marked(snapshot, space, claims, Bounds::default()) {
        return Err(refused(stop::sentence(&mark)));
    }
    for Link { task, .. } in &claims.lineage {
        let entry = space.task(task);
        let holder = entry.map(|e| &e.task.identity);
        let Some(holder) = holder else {
            return Err(refused(format!("no task `{task}` in this tenant")));
        };
        require_task(space, task, holder, now).map_err(|r| refused(r.text))?;
        let identity = space.identity(holder).map(|e| &*e.identity);
        require_living_identity(holder, identity, now).map_err(|r| refused(r.text))?;
    }
    Ok(())
}

/// The subject token lives, and what is wanted lies within it and the token of the actor.
pub(crate) fn require_exchange(
    snapshot: &Snapshot,
    space: &Space,
    call: &Call,
    subject: &Claims,
    wanted: &Claims,
    now: Time,
) -> Result<(), Refused> {
    let of_subject = |r: Refused| Refused::new(r.reason, format!("subject token: {}", r.text));
    require_times(subject, call, now).map_err(of_subject)?;
    require_epoch(snapshot, subject).map_err(of_subject)?;
    if let Some((reason, mark)) = stop::credential_marked(snapshot, space, subject) {
        return Err(of_subject(Refused::new(reason, stop::sentence(&mark))));
    }
    let identity = space.identity(&subject.nhi).map(|e| &*e.identity);
    require_living_identity(&subject.nhi, identity, now).map_err(of_subject)?;
    composition::require_present(space, subject).map_err(of_subject)?;
    require_ancestors(snapshot, space, subject, now).map_err(of_subject)?;
    require_living(snapshot, space, subject, now).map_err(of_subject)?;
    require_task(space, &subject.task, &subject.nhi, now).map_err(of_subject)?;
    let Principal::Bearer(actor) = &call.principal else {
        return Err(Refused::new(
            DenyReason::NoGrant,
            "only the bearer of a token can be an actor",
        ));
    };
    let (server, action) = EXCHANGE_SCOPE;
    let held = space
        .task(&actor.claims.task)
        .is_some_and(|entry| entry.grant.coarse_scopes().covers(&format!("{server}:{action}")));
    if !held {
        return Err(Refused::new(
            DenyReason::Exchange(ExchangeRule::ActorScope),
            "the grant of the actor's task does not hold `token:exchange`",
        ));
    }
    require_attenuated(subject, &actor.claims, wanted)
        .map_err(|refusal| Refused::new(DenyReason::Exchange(refusal.rule), refusal.text))
}

/// A delegated call is one that everybody it stands on may make: the policies are asked for each task of the
/// lineage, with its own holder as the principal. A rate of theirs was not read, so it does not permit.
pub(crate) fn require_granted(found: &Established<'_>, plainly: Plainly) -> Result<(), Refused> {
    let Caller::Bearer(claims) = &found.caller else {
        return Ok(());
    };
    if claims.lineage.is_empty() || matches!(found.aim, Aim::Issue(..)) {
        return Ok(());
    }
    let unmetered = Call {
        rates: SmallVec::new(),
        ..found.call.clone()
    };
    for link in claims.lineage.iter().filter(|link| link.task != claims.task) {
        let Some(entry) = found.space.task(&link.task) else {
            continue;
        };
        let server = found.aim.server();
        let ancestor = Established {
            space: found.space,
            call: &unmetered,
            caller: Caller::Identity(Cow::Borrowed(&entry.task.identity), Some(&entry.task.id)),
            aim: found.aim.clone(),
            task: Some(entry),
            issue: None,
            server: found.server,
            scoped: server.is_some_and(|name| entry.grant.scopes.iter().any(|s| s.server == *name)),
            now: found.now,
        };
        let of_ancestor = |r: Refused| Refused {
            text: format!("for task `{}` it stands on: {}", link.task, r.text),
            ..r
        };
        let granted = judge::judge(&ancestor, plainly).map_err(of_ancestor)?;
        if granted.effect != Effect::Permit {
            let text = format!("task `{}` it stands on would need an approval", link.task);
            return Err(Refused::new(DenyReason::UnknownObligation, text));
        }
    }
    Ok(())
}
