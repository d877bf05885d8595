//! Which scopes let a task hold a lease.

use bailiwick_grant::{Grant, lends, parse_scope};

use crate::made::grant;

#[test]
fn a_lease_needs_its_scope_by_name_and_nothing_else_stands_for_it() {
    let holds = |scope: &str| {
        let grant: Grant = grant(vec![parse_scope(scope).unwrap()]);
        lends(&grant, "orders-db")
    };
    for scope in [
        "credential:lease",
        "credential:*",
        r#"credential:lease(name = "orders-db")"#,
        r#"credential:lease(name in ["billing-db", "orders-db"])"#,
    ] {
        assert!(holds(scope), "{scope}");
    }
    for scope in [
        r#"credential:lease(name = "orders")"#,
        r#"credential:lease(name = "orders-db", name = "billing-db")"#,
        r#"credential:lease(name under "/orders-db")"#,
        r#"credential:lease(title = "orders-db")"#,
        "credential:lease(rate 1/60s)",
        "credential:register",
        "credentials:lease",
        "files:*",
    ] {
        assert!(!holds(scope), "{scope}");
    }
}
