use bailiwick_base::{Digest, Epoch, Time};
use bailiwick_credential::{Claims, IssuePlan, Limits, Refusal, ScopeSet, Task, close_task, issue};
use proptest::prelude::*;

use crate::{at, id, seconds, task};

struct Wish {
    task: Task,
    granted: ScopeSet,
    requested: Option<ScopeSet>,
    ttl: Option<u64>,
    identity_expires_at: Time,
    grant_expires_at: Time,
    now: Time,
}

fn wish() -> Wish {
    Wish {
        task: task(),
        granted: ScopeSet::parse("filesystem:read_text_file mail:*"),
        requested: None,
        ttl: None,
        identity_expires_at: at(100_000),
        grant_expires_at: at(3_600),
        now: at(10),
    }
}

fn issued(wish: &Wish) -> Result<Claims, Refusal> {
    let plan = IssuePlan {
        task: &wish.task,
        identity_expires_at: wish.identity_expires_at,
        grant_expires_at: wish.grant_expires_at,
        granted: &wish.granted,
        requested: wish.requested.as_ref(),
        ttl: wish.ttl.map(seconds),
        issuer: "https://b.example/t/acme",
        audience: "https://b.example/t/acme/mcp",
        client: "cli_x",
        token: id("acme", 9),
        epoch: Epoch(7),
        confirmation: None,
        composition: Some(Digest::of(b"made of")),
    };
    issue(plan, &Limits::default(), wish.now)
}

#[test]
fn a_token_says_who_for_what_and_until_when() {
    let claims = issued(&wish()).unwrap();
    assert_eq!((claims.issued_at, claims.expires_at), (at(10), at(310)));
    assert_eq!(claims.subject, claims.nhi.to_string());
    assert_eq!(claims.nhi, task().identity);
    assert_eq!(claims.task, task().id);
    assert_eq!(claims.scopes.to_string(), "filesystem:read_text_file mail:*");
    assert_eq!(claims.epoch, Epoch(7));
    assert!(claims.act.is_empty());
}

#[test]
fn nothing_is_issued_outside_the_window_or_the_grant() {
    let code = |change: &dyn Fn(&mut Wish)| {
        let mut wish = wish();
        change(&mut wish);
        issued(&wish).unwrap_err().code()
    };
    assert_eq!(code(&|w| w.now = at(3_600)), "task.ended");
    assert_eq!(code(&|w| w.now = at(-1)), "task.not-open");
    assert_eq!(
        code(&|w| w.task = close_task(w.task.clone(), "done", at(5)).unwrap().after),
        "task.already-closed"
    );
    assert_eq!(code(&|w| w.identity_expires_at = at(10)), "task.ended");
    assert_eq!(code(&|w| w.grant_expires_at = at(9)), "task.ended");
    assert_eq!(code(&|w| w.ttl = Some(0)), "task.ended");
    assert_eq!(code(&|w| w.granted = ScopeSet::default()), "task.nothing-granted");
    assert_eq!(
        code(&|w| w.requested = Some(ScopeSet::parse("filesystem:write_file"))),
        "task.scope-not-granted"
    );
    assert_eq!(
        code(&|w| w.requested = Some(ScopeSet::parse("filesystem:*"))),
        "task.scope-not-granted"
    );
    assert_eq!(
        code(&|w| w.requested = Some(ScopeSet::parse("openid"))),
        "task.scope-not-granted"
    );
    assert_eq!(code(&|w| w.task.id = id("globex", 1)), "credential.other-owner");
}

#[test]
fn less_may_be_asked_for() {
    let asked = |text: &str| {
        issued(&Wish {
            requested: Some(ScopeSet::parse(text)),
            ..wish()
        })
        .map(|c| c.scopes.to_string())
    };
    assert_eq!(
        asked("mail:send"),
        Ok("mail:send".to_owned()),
        "a member of a granted whole"
    );
    assert_eq!(asked("mail:*"), Ok("mail:*".to_owned()));
    assert_eq!(
        asked(""),
        Ok("filesystem:read_text_file mail:*".to_owned()),
        "nothing asked is all that is granted"
    );
}

proptest! {
    #[test]
    fn a_token_outlives_nothing(
        (closes, identity, grant) in (1_i64..2_000, 1_i64..2_000, 1_i64..2_000),
        now in 0_i64..2_100,
        ttl in proptest::option::of(0_u64..1_000),
        micros in 0_i64..1_000_000,
    ) {
        let mut wish = wish();
        wish.task.closes_at = at(closes);
        (wish.identity_expires_at, wish.grant_expires_at) = (at(identity), at(grant));
        (wish.now, wish.ttl) = (Time::from_micros(at(now).micros() + micros), ttl);
        match issued(&wish) {
            Ok(claims) => {
                let limits = [at(closes), at(identity), at(grant), claims.issued_at.after(seconds(300))];
                prop_assert!(limits.iter().all(|limit| claims.expires_at <= *limit));
                prop_assert!(claims.expires_at > claims.issued_at && claims.issued_at <= wish.now);
                prop_assert!(ttl.is_none_or(|t| claims.expires_at <= claims.issued_at.after(seconds(t))));
            }
            Err(refusal) => {
                prop_assert_eq!(refusal.code(), "task.ended");
                prop_assert!(now >= closes.min(identity).min(grant) || ttl == Some(0));
            }
        }
    }
}
