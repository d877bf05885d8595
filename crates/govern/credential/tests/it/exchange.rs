//! Token exchange: no chain gains anything.

use bailiwick_base::{Digest, Epoch, IdentityId};
use bailiwick_credential::{
    Claims, ExchangePlan, ExchangeRule, Limits, ScopeSet, exchange, require_attenuated,
};
use proptest::prelude::*;

use crate::{at, id, seconds, tenant};

const ISSUER: &str = "https://b.example/t/acme";
const AUDIENCE: &str = "https://b.example/t/acme/mcp";
const CLIENT: &str = "cli_x";

/// A token that nobody delegated.
fn plain(n: u64, scope: &str, expires: i64, may_act: &[u64]) -> Claims {
    let nhi: IdentityId = id("acme", n);
    Claims {
        issuer: ISSUER.to_owned(),
        subject: nhi.to_string(),
        audience: AUDIENCE.to_owned(),
        client: CLIENT.to_owned(),
        issued_at: at(0),
        expires_at: at(expires),
        token: id("acme", 1_000 + n),
        tenant: tenant("acme"),
        nhi,
        task: id("acme", 2_000 + n),
        epoch: Epoch(1),
        scopes: ScopeSet::parse(scope),
        act: std::iter::empty().collect(),
        may_act: may_act.iter().map(|n| id("acme", *n)).collect(),
        lineage: Vec::new(),
        confirmation: None,
        composition: None,
    }
}

fn asked(
    subject: &Claims,
    actor: &Claims,
    scope: &str,
    audiences: &[&str],
    ttl: Option<u64>,
) -> Result<Claims, ExchangeRule> {
    let requested = ScopeSet::parse(scope);
    let plan = ExchangePlan {
        subject,
        actor,
        may_act: &actor.may_act,
        client: CLIENT,
        issuer: ISSUER,
        audience: AUDIENCE,
        audiences,
        requested: &requested,
        ttl: ttl.map(seconds),
        token: id("acme", 3_000),
        epoch: Epoch(2),
        confirmation: None,
    };
    exchange(plan, &Limits::default(), at(0)).map_err(|refusal| refusal.rule)
}

#[test]
fn an_exchanged_token_names_everybody_and_ends_with_the_first_of_them() {
    let subject = plain(1, "files:read files:write", 200, &[2]);
    let actor = Claims {
        composition: Some(Digest::of(b"actor")),
        ..plain(2, "files:* token:exchange", 100, &[])
    };
    let token = asked(&subject, &actor, "files:read", &[AUDIENCE], None).unwrap();
    assert_eq!(
        (token.subject.as_str(), &token.nhi),
        (subject.subject.as_str(), &actor.nhi)
    );
    assert_eq!(token.act.as_slice(), std::slice::from_ref(&actor.nhi));
    assert_eq!(token.composition, actor.composition);
    let other = Claims {
        composition: None,
        ..token.clone()
    };
    let refused = require_attenuated(&subject, &actor, &other).map_err(|refusal| refusal.rule);
    assert_eq!(refused, Err(ExchangeRule::ActorToken));
    assert_eq!(
        (token.task.clone(), token.expires_at),
        (actor.task.clone(), at(100))
    );
    let stood: Vec<_> = token.lineage.iter().map(|l| (&l.token, &l.task)).collect();
    assert_eq!(
        stood,
        [(&actor.token, &actor.task), (&subject.token, &subject.task)]
    );
    // And once more: the first actor becomes history.
    let first = Claims {
        may_act: vec![id("acme", 3)],
        ..token
    };
    let next = plain(3, "files:read token:exchange", 300, &[]);
    let second = asked(
        &first,
        &next,
        "files:read",
        &[&format!("{AUDIENCE}/files")],
        Some(50),
    )
    .unwrap();
    assert_eq!(second.act.as_slice(), [next.nhi.clone(), actor.nhi.clone()]);
    assert_eq!(second.expires_at, at(50));
    assert_eq!(second.lineage.len(), 4);
}

#[test]
fn the_first_rule_that_fails_is_named() {
    let subject = plain(1, "files:read", 300, &[2]);
    let actor = plain(2, "files:read token:exchange", 300, &[]);
    let ask = |subject: &Claims, actor: &Claims| asked(subject, actor, "files:read", &[AUDIENCE], None);
    assert!(ask(&subject, &actor).is_ok());
    let rule = |change: &dyn Fn(&mut Claims, &mut Claims)| {
        let (mut subject, mut actor) = (subject.clone(), actor.clone());
        change(&mut subject, &mut actor);
        ask(&subject, &actor).unwrap_err()
    };
    assert_eq!(
        rule(&|s, _| s.tenant = tenant("globex")),
        ExchangeRule::SubjectToken
    );
    assert_eq!(
        rule(&|_, a| a.tenant = tenant("globex")),
        ExchangeRule::ActorToken
    );
    assert_eq!(rule(&|_, a| a.act.push(id("acme", 9))), ExchangeRule::ActorToken);
    assert_eq!(
        rule(&|_, a| a.client = "cli_y".to_owned()),
        ExchangeRule::ActorClient
    );
    assert_eq!(
        rule(&|_, a| a.scopes = ScopeSet::parse("files:read")),
        ExchangeRule::ActorScope
    );
    assert_eq!(rule(&|s, _| s.may_act.clear()), ExchangeRule::MayAct);
    assert_eq!(
        rule(&|s, a| s.act.push(a.nhi.clone())),
        ExchangeRule::Cycle,
        "nobody acts twice"
    );
    assert_eq!(rule(&|s, a| s.subject = a.nhi.to_string()), ExchangeRule::Cycle);
    assert_eq!(
        rule(&|s, _| s.act.extend((10..14).map(|n| id("acme", n)))),
        ExchangeRule::Depth
    );
    assert_eq!(rule(&|s, _| s.audience.push('/')), ExchangeRule::Audience);
    assert_eq!(rule(&|s, _| s.expires_at = at(0)), ExchangeRule::Lifetime);
}

#[test]
fn one_audience_and_a_scope_within_both_tokens() {
    let subject = plain(1, "files:read", 300, &[2]);
    let actor = plain(2, "files:read token:exchange", 300, &[]);
    let files = format!("{AUDIENCE}/files");
    for audiences in [
        vec![],
        vec![AUDIENCE, AUDIENCE],
        vec!["*"],
        vec![files.as_str(), AUDIENCE],
        vec!["https://b.example/t/acme/mcp/"],
        vec!["https://b.example/t/acme/mcpx"],
        vec!["https://b.example/t/acme/mcp/other"],
    ] {
        assert_eq!(
            asked(&subject, &actor, "files:read", &audiences, None),
            Err(ExchangeRule::Audience),
            "{audiences:?}"
        );
    }
    for scope in [
        "",
        "files:write",
        "files:*",
        "files:read files:write",
        "FILES:READ",
    ] {
        assert_eq!(
            asked(&subject, &actor, scope, &[AUDIENCE], None),
            Err(ExchangeRule::Scope),
            "{scope}"
        );
    }
    assert_eq!(
        asked(&subject, &actor, "token:exchange", &[&files], None),
        Err(ExchangeRule::Scope),
        "not on the server that was named"
    );
    assert_eq!(
        asked(&subject, &actor, "files:read", &[AUDIENCE], Some(0)),
        Err(ExchangeRule::Lifetime)
    );
}

#[test]
fn a_forged_plan_is_seen_when_it_is_decided() {
    let subject = plain(1, "files:read", 200, &[2]);
    let actor = plain(2, "files:* token:exchange", 300, &[]);
    let token = asked(&subject, &actor, "files:read", &[AUDIENCE], None).unwrap();
    assert!(require_attenuated(&subject, &actor, &token).is_ok());
    let changes: [&dyn Fn(&mut Claims); 9] = [
        &|c| c.scopes = ScopeSet::parse("files:read files:write"),
        &|c| c.expires_at = at(201),
        &|c| c.audience.push('x'),
        &|c| c.tenant = tenant("globex"),
        &|c| c.subject.push('x'),
        &|c| c.act.clear(),
        &|c| c.lineage.truncate(1),
        &|c| c.nhi = id("acme", 1),
        &|c| c.task = id("acme", 2_001),
    ];
    for (n, change) in changes.iter().enumerate() {
        let mut wider = token.clone();
        change(&mut wider);
        assert!(
            require_attenuated(&subject, &actor, &wider).is_err(),
            "change {n}"
        );
    }
}

const SCOPES: [&str; 5] = ["files:read", "files:write", "files:*", "mail:send", "mail:*"];

fn scopes(mask: u8) -> String {
    let held: Vec<&str> = SCOPES
        .iter()
        .enumerate()
        .filter(|(n, _)| mask & (1 << n) != 0)
        .map(|(_, scope)| *scope)
        .collect();
    held.join(" ")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]
    #[test]
    fn no_chain_gains_scope_audience_lifetime_or_tenant(
        hops in prop::collection::vec((0_u8..32, 0_u8..32, 1_i64..400, 0_u64..500, 2_u64..8, any::<bool>()), 1..7),
        first in 1_u8..32,
    ) {
        let mut held = plain(1, &scopes(first), 300, &[2, 3, 4, 5, 6, 7]);
        let origin = held.clone();
        for (own, wanted, expires, ttl, actor, named) in hops {
            let scope = format!("{} token:exchange", scopes(own));
            let actor = plain(actor, &scope, expires, if named { &[2, 3, 4, 5, 6, 7] } else { &[] });
            let Ok(token) = asked(&held, &actor, &scopes(wanted), &[AUDIENCE], Some(ttl)) else {
                continue;
            };
            for scope in token.scopes.iter() {
                prop_assert!(held.scopes.covers(scope) && actor.scopes.covers(scope) && origin.scopes.covers(scope));
            }
            prop_assert_eq!(token.scopes.to_string(), ScopeSet::parse(&scopes(wanted)).to_string());
            prop_assert!(token.expires_at <= held.expires_at.min(actor.expires_at).min(origin.expires_at));
            prop_assert!(token.expires_at > token.issued_at);
            prop_assert_eq!((&token.audience, &token.tenant), (&origin.audience, &origin.tenant));
            prop_assert_eq!(&token.subject, &origin.subject);
            prop_assert_eq!((&token.nhi, token.act.first()), (&actor.nhi, Some(&actor.nhi)));
            prop_assert_eq!(&token.act[1..], held.act.as_slice());
            prop_assert!(held.may_act.contains(&actor.nhi) && !held.act.contains(&actor.nhi));
            prop_assert!(token.act.len() <= 4);
            // Whatever it stands on is named: a mark on any of it reaches the token.
            for before in [&held, &actor] {
                prop_assert!(token.lineage.iter().any(|l| l.token == before.token && l.task == before.task));
            }
            prop_assert!(held.lineage.iter().all(|l| token.lineage.contains(l)));
            let read = serde_json::from_slice::<serde_json::Value>(&token.to_json()).unwrap();
            prop_assert_eq!(Claims::from_json(read.as_object().unwrap()), Ok(token.clone()));
            held = token;
        }
    }
}
