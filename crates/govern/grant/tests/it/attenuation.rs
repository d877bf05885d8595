//! Attenuation: yes only when the child can do nothing the parent cannot.

use bailiwick_base::Time;
use bailiwick_grant::{Grant, Scope, Wider, attenuate, parse_scope};
use proptest::prelude::*;
use serde_json::Value;

use crate::made;

fn grant(scopes: &[&str]) -> Grant {
    made::grant(scopes.iter().map(|s| parse_scope(s).unwrap()).collect())
}

#[test]
fn cases() {
    for (parent, child, within) in [
        ("s:*", "s:t", true),
        ("s:t", "s:*", false),
        ("s:t", "s:t(a = 1)", true),
        ("s:t(a = 1)", "s:t", false),
        ("s:t", "r:t", false),
        (r#"s:t(p under "/srv")"#, r#"s:t(p under "/srv/x")"#, true),
        (r#"s:t(p under "/srv")"#, r#"s:t(p under "/srvx")"#, false),
        (r#"s:t(p under "/srv/x")"#, r#"s:t(p under "/srv")"#, false),
        (r#"s:t(p under "/srv")"#, r#"s:t(p = "/srv/x")"#, true),
        (r#"s:t(p under "/srv")"#, r#"s:t(p = "/srv/../x")"#, false),
        (r#"s:t(p in ["a", "b"])"#, r#"s:t(p = "a")"#, true),
        (r#"s:t(p = "a")"#, r#"s:t(p in ["a"])"#, false),
        (r#"s:t(p in ["a"])"#, r#"s:t(p in ["a", "b"])"#, false),
        ("s:t(n <= 5)", "s:t(n <= 4)", true),
        ("s:t(n <= 5)", "s:t(n <= 6)", false),
        ("s:t(n <= 5)", "s:t(n <= 4.0)", false),
        ("s:t(n >= 5)", "s:t(n in [5, 6])", true),
        ("s:t(rate 10/60s)", "s:t(rate 10/60s)", true),
        ("s:t(rate 10/60s)", "s:t(rate 5/120s)", true),
        ("s:t(rate 10/60s)", "s:t(rate 5/30s)", false),
        ("s:t(rate 10/60s)", "s:t", false),
    ] {
        assert_eq!(
            attenuate(&grant(&[parent]), &grant(&[child])).is_ok(),
            within,
            "{child} in {parent}"
        );
    }
}

#[test]
fn a_rate_is_not_shared_out_twice() {
    let parent = grant(&["s:*(rate 10/60s)"]);
    assert!(attenuate(&parent, &grant(&["s:a(rate 10/60s)"])).is_ok());
    let both = grant(&["s:a(rate 10/60s)", "s:b(rate 10/60s)"]);
    assert!(matches!(attenuate(&parent, &both), Err(Wider::Scope { .. })));
}

#[test]
fn a_child_never_lives_longer() {
    let parent = grant(&["s:*"]);
    let mut child = grant(&["s:*"]);
    child.expires_at = Time::from_secs(1001);
    assert!(matches!(attenuate(&parent, &child), Err(Wider::Expiry { .. })));
}

fn meant(scopes: &[Scope], of: &Scope, args: &Value) -> bool {
    let map = args.as_object().cloned().unwrap_or_default();
    scopes.iter().any(|s| {
        s.server == of.server
            && (s.action.is_none() || s.action == of.action)
            && s.conditions.iter().all(|c| c.holds(&map))
    })
}

proptest! {
    #![proptest_config(made::cases(800))]

    /// If the child passes, no arguments exist that it permits and the parent does not.
    #[test]
    fn yes_means_contained(
        mut parent in made::scope(),
        mut child in made::scope(),
        same in any::<bool>(),
        extra in made::condition(),
        args in made::arguments(),
        near in any::<prop::sample::Index>(),
    ) {
        if same {
            child = parent.clone();
            child.conditions.push(extra);
        } else if let Some(condition) = parent.conditions.first_mut() {
            condition.arg = "path".to_owned();
            for other in &mut child.conditions {
                other.arg = "path".to_owned();
            }
            child.server = parent.server.clone();
            child.action = parent.action.clone();
        }
        let (p, c) = (made::grant(vec![parent]), made::grant(vec![child]));
        if attenuate(&p, &c).is_ok() {
            let of = &c.scopes[0];
            let mut tries = vec![args];
            if !of.conditions.is_empty() {
                tries.push(made::near(&of.conditions[near.index(of.conditions.len())]));
            }
            for args in tries {
                prop_assert!(!meant(&c.scopes, of, &args) || meant(&p.scopes, of, &args), "{args}");
            }
        }
        prop_assert!(attenuate(&p, &p.clone()).is_ok());
    }
}
