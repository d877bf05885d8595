//! Tenant policies: what is accepted, and where an offence lies.

use bailiwick_decide::policy::{OPERATORS_MAX, validate};
use bailiwick_decide::{DenyReason, Effect, Fact, ItemKind, Snapshot, Target, decide};
use serde_json::json;

use crate::world::*;

#[track_caller]
fn refused(text: &str, line: usize, column: usize, says: &str) {
    let error = validate(text).unwrap_err();
    assert!(error.message.contains(says), "{error}");
    assert_eq!((error.line, error.column), (line, column), "{error}");
}

#[test]
fn the_default_policies_hold_against_the_schema() {
    validate(include_str!("../../../../../content/policies/default.cedar")).unwrap();
    validate("").unwrap();
}

#[test]
fn what_a_tenant_may_write() {
    for text in [
        r#"@id("night") forbid (principal, action == Action::"tools/call", resource in Server::"filesystem")
           when { principal.probation };"#,
        r#"forbid (principal in Team::"payments", action, resource)
           when { context.text has path && context.text.path like "*.key" };"#,
        r#"forbid (principal, action == Action::"tools/call", resource)
           unless { context.decimal has amount && context.decimal.amount.lessThan(decimal("100.0")) };"#,
        r#"@hold("finance") permit (principal in Agent::"invoice-reader", action == Action::"tools/call",
           resource == Tool::"filesystem/write_file") when { context.integer has n && context.integer.n < 5 };"#,
        r#"forbid (principal, action == Action::"token.issue", resource) when { context.count > 10 };"#,
        r#"forbid (principal, action, resource) when { context.text has "a.b" && context.text["a.b"] == "x" };"#,
        r#"@supplied("subject.role: String, context.ip: String, action.soft: Bool")
           permit (principal is user, action == Action::"write", resource is record)
           when { principal has role && principal.role == "admin" && context.action has soft };"#,
    ] {
        validate(text).unwrap_or_else(|e| panic!("{text}\n{e}"));
    }
}

#[test]
fn an_offence_is_found_at_its_place() {
    refused("permit (principal, action, resource)", 1, 37, "unexpected end");
    refused("\n\n  permit (principal, action, resorce);", 3, 30, "resorce");
    let attribute = "forbid (principal is Identity, action, resource)\nwhen { principal.nme == \"x\" };";
    refused(attribute, 2, 8, "nme");
    let unasked = "forbid (principal, action, resource)\nwhen { context.text.path == \"x\" };";
    refused(unasked, 2, 8, "path");
    refused(
        "permit (principal == ?principal, action, resource);",
        1,
        1,
        "template",
    );
    refused("@hold(\"x\") forbid (principal, action, resource);", 1, 1, "hold");
    refused("@id(\"\") forbid (principal, action, resource);", 1, 1, "@id");
    refused(
        "@supplied(\"role\") forbid (principal, action, resource);",
        1,
        1,
        "subject.role: String",
    );
    refused(
        "@supplied_by(\"x\") forbid (principal, action, resource);",
        1,
        1,
        "without `@supplied`",
    );
    let twice =
        "@id(\"a\") forbid (principal, action, resource); @id(\"a\") forbid (principal, action, resource);";
    refused(twice, 1, 1, "two policies");
    let kinds = "@supplied(\"subject.a: String\") forbid (principal, action, resource);
        @supplied(\"subject.a: Long\") forbid (principal, action, resource);";
    refused(kinds, 1, 1, "declared as");
}

#[test]
fn size_and_depth_are_bounded_before_cedar_reads() {
    let deep = |unit: &str, n: usize, end: &str| {
        format!(
            "forbid (principal, action, resource) when {{ {}true{} }};",
            unit.repeat(n),
            end.repeat(n)
        )
    };
    for text in [
        deep("(", 100_000, ")"),
        deep("!", 100_000, ""),
        deep("true && ", 100_000, ""),
        deep("if true then true else ", 30_000, ""),
        deep("[", 100_000, "]"),
        deep("-", 100_000, ""),
        deep("true\nhas x || ", 50_000, ""),
    ] {
        let error = validate(&text).unwrap_err();
        assert!(
            error.message.contains(&OPERATORS_MAX.to_string()) || error.message.contains("bytes"),
            "{error}"
        );
        let snapshot = world(&["filesystem:*"])
            .apply([Fact::Policies(tenant_id(), text.into())])
            .unwrap();
        denied(
            &snapshot,
            &tool_call(&["filesystem:*"], "write_file", json!({})),
            DenyReason::EvaluationFailed,
        );
    }
    // As deep as is let through: it is read and evaluated on the stack of a test.
    let text = deep("true && ", 400, "");
    validate(&text).unwrap();
    let snapshot = world(&["filesystem:*"])
        .apply([Fact::Policies(tenant_id(), text.into())])
        .unwrap();
    denied(
        &snapshot,
        &tool_call(&["filesystem:*"], "write_file", json!({})),
        DenyReason::ForbiddenByPolicy,
    );
}

fn with(policies: &str) -> Snapshot {
    validate(policies).unwrap();
    world(&["filesystem:*"])
        .apply([Fact::Policies(tenant_id(), policies.into())])
        .unwrap()
}

#[test]
fn policies_see_the_principal_the_server_and_the_arguments() {
    let call = |path: &str| tool_call(&["filesystem:*"], "read_text_file", json!({"path": path}));
    for (policies, path, wanted) in [
        (
            r#"forbid (principal in Team::"payments", action, resource in Server::"filesystem");"#,
            "/a",
            false,
        ),
        (
            r#"forbid (principal in Team::"other", action, resource in Server::"filesystem");"#,
            "/a",
            true,
        ),
        (
            r#"forbid (principal in Agent::"invoice-reader", action, resource);"#,
            "/a",
            false,
        ),
        (
            r#"forbid (principal, action, resource in Server::"other");"#,
            "/a",
            true,
        ),
        (
            r#"forbid (principal, action, resource) when { principal is Identity && principal.kind == "agent" };"#,
            "/a",
            false,
        ),
        (
            r#"forbid (principal, action, resource) when { principal is Identity && principal.probation };"#,
            "/a",
            true,
        ),
        (
            r#"forbid (principal, action, resource) when { context.text has path && context.text.path like "*.key" };"#,
            "/a.key",
            false,
        ),
        (
            r#"forbid (principal, action, resource) when { context.text has path && context.text.path like "*.key" };"#,
            "/a.txt",
            true,
        ),
        (
            r#"forbid (principal, action, resource) when { context.door == "gateway" && !context.delegated };"#,
            "/a",
            false,
        ),
    ] {
        let snapshot = with(policies);
        if wanted {
            permitted(&snapshot, &call(path));
        } else {
            denied(&snapshot, &call(path), DenyReason::ForbiddenByPolicy);
        }
    }
}

#[test]
fn a_namespace_is_refused_where_it_stands() {
    let text = "// Billing::Invoice is not known here\nforbid (\n  principal,\n  action, resource is Billing::Invoice);\n";
    let error = validate(text).unwrap_err();
    assert_eq!((error.line, error.column), (4, 23), "{error}");
    assert!(error.message.contains("`Billing::Invoice`"), "{error}");
}

#[test]
fn the_same_fault_is_told_in_the_same_words() {
    let text = "forbid (principal, action, resource)\nwhen { context.nothing == 1 };\n";
    let told = validate(text).unwrap_err();
    assert_eq!(told.line, 2, "{told}");
    for _ in 0..50 {
        assert_eq!(validate(text).unwrap_err(), told);
    }
}

#[test]
fn a_call_is_barred_only_by_what_its_arguments_cannot_change() {
    let barred = |policy: &str, target: Target| {
        let world = world(&["filesystem:*"])
            .apply([Fact::Policies(tenant_id(), policy.into())])
            .unwrap();
        let call = call_with(claims(&["filesystem:*"]), target, no_arguments());
        world.barred(&call, NOW)
    };
    let tool = || tool("read_text_file");
    let prompt = || item("prompts/get", ItemKind::Prompt, "greet");
    let forbidden = Some(DenyReason::ForbiddenByPolicy);
    let always = r#"forbid (principal, action, resource is Tool);"#;
    let unless = r#"forbid (principal, action, resource is Tool) unless { context.text has path };"#;
    let named = r#"forbid (principal, action, resource is Prompt)
        when { context.text has name && context.text.name == "greet" };"#;
    let told = r#"forbid (principal, action, resource is Prompt)
        unless { context.text has "arguments.who" };"#;
    assert_eq!(barred("", tool()), None);
    assert_eq!(barred(always, tool()), forbidden);
    assert_eq!(barred(unless, tool()), None, "an argument can save it");
    assert_eq!(barred(&format!("{always}{unless}"), tool()), forbidden);
    assert_eq!(barred(named, prompt()), forbidden, "its name is known");
    assert_eq!(barred(told, prompt()), None);
    assert_eq!(
        barred("", crate::world::tool("changed")),
        Some(DenyReason::ToolDrifted)
    );
    let denied = call_with(claims(&["filesystem:*"]), tool(), no_arguments());
    let world = world(&["filesystem:*"])
        .apply([Fact::Policies(tenant_id(), unless.into())])
        .unwrap();
    assert_eq!(
        decide(&world, &denied, NOW).effect,
        Effect::Deny(DenyReason::ForbiddenByPolicy)
    );
}
