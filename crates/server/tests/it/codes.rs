//! The list of codes against the sources: every code that is used is listed, and none that is not.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Texts of the form of a code that are none: kinds of log entries, findings, files, hosts, and fields.
const NOT_CODES: &[&str] = &[
    "action.name",
    "amazonaws.com",
    "bailiwick.tenant",
    "base.intent",
    "checkpoint.new",
    "checkpoint.witnessed",
    "claim.invalid",
    "claim.sock",
    "client.register",
    "client.remove",
    "composition.code",
    "composition.model",
    "composition.prompt",
    "composition.tools",
    "consent.give",
    "consent.redeem",
    "consent.refuse",
    "consent.renew",
    "consent.use",
    "context.json",
    "context.task",
    "cosigned.json",
    "cosigner.key",
    "create.handle",
    "create.secret",
    "credential.add-upstream",
    "credential.correct",
    "credential.fetch",
    "credential.register",
    "credential.remove",
    "credential.replace",
    "credential.revoke",
    "credential.revoke-trouble",
    "credential.rotation-accepted",
    "credential.rotation-begin",
    "credential.rotation-complete",
    "credential.rotation-confirm",
    "credential.rotation-observe",
    "credential.rotation-prepared",
    "credential.rotation-reopen",
    "credential.rotation-revoke",
    "credential.rotation-revoked",
    "credential.rotation-roll-back",
    "credential.rotation-rolled-back",
    "credential.rotation-staged",
    "credential.rotation-trouble",
    "egress.key",
    "entries.jsonl",
    "epoch.raise-floor",
    "gitlab.com",
    "grant.digest",
    "grant.identity",
    "held.json",
    "identity.activate",
    "identity.compose",
    "identity.extend",
    "identity.reassign",
    "identity.register",
    "identity.resume",
    "identity.retire",
    "identity.suspend",
    "installation.key",
    "key.add",
    "key.pem",
    "key.record",
    "key.remove",
    "key.rotate",
    "key.withdraw",
    "keys.json",
    "kill.contain",
    "kill.journal",
    "kill.press",
    "kill.sign",
    "kill.withdraw",
    "lease.barred",
    "lease.hold",
    "lease.request",
    "lease.return",
    "lease.returned",
    "lease.trouble",
    "ledger.accumulated",
    "ledger.beyond-scope",
    "ledger.not-returned",
    "ledger.outlived",
    "ledger.overdue",
    "list.handle",
    "list.items",
    "list.name",
    "listen.address",
    "listen.insecure",
    "log.hold",
    "log.prune",
    "manifest.json",
    "manifest.yaml",
    "mark.kill",
    "mark.lift",
    "mark.observe",
    "mark.suspend",
    "node.drain",
    "node.fence",
    "node.invite",
    "node.readmit",
    "node.undrain",
    "openings.jsonl",
    "operator.add",
    "operator.claim",
    "operator.json",
    "platforms.rs",
    "policy.replace",
    "probe.refused",
    "receipt.json",
    "refusal.tlog-proof",
    "root.key",
    "rpc.invalid",
    "salaries.txt",
    "server.add",
    "server.credential-forget",
    "server.credential-replace",
    "server.drift",
    "server.pin",
    "server.reads",
    "shared.versions",
    "sidecar.anchor",
    "sidecar.invite",
    "sidecar.join",
    "sidecar.json",
    "sidecar.remove",
    "socket.invalid",
    "ssf.manage",
    "ssf.read",
    "state.db",
    "subscription.add",
    "subscription.change",
    "subscription.disable",
    "subscription.enable",
    "subscription.leave-out",
    "subscription.pause",
    "subscription.put-aside",
    "subscription.remove",
    "subscription.renew-secret",
    "subscription.take-in",
    "subscription.verify",
    "task.close",
    "task.open",
    "tenant.add",
    "tenant.close",
    "token.exchange",
    "token.introspect",
    "token.issue",
    "token.status",
    "transmitter.add",
    "transmitter.remove",
    "transmitter.told",
    "trust.absent-claim",
    "trust.add",
    "trust.any-event",
    "trust.any-workflow",
    "trust.anybody",
    "trust.audience-missing",
    "trust.debug-session",
    "trust.endpoint-override",
    "trust.environment-alone",
    "trust.every-branch",
    "trust.every-environment",
    "trust.every-person",
    "trust.every-phase",
    "trust.every-program",
    "trust.every-user",
    "trust.name-given-again",
    "trust.never-matches",
    "trust.not-judged",
    "trust.other-type",
    "trust.person-not-place",
    "trust.plaintext",
    "trust.remove",
    "trust.role-by-name",
    "trust.set-operator",
    "trust.subject-form",
    "trust.superuser",
    "trust.tag",
    "trust.tag-for-branch",
    "trust.two-environments",
    "trust.unreviewed-code",
    "trust.vendor-keys",
    "trust.whole-owner",
    "trust.workflow-moves",
    "unseal.key",
    "unseal.sealed",
    "witness.file",
];

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if path.is_dir() && name != "tests" && name != "examples" {
            sources(&path, found);
        } else if name.ends_with(".rs") && name != "tests.rs" {
            found.push(path);
        }
    }
}

/// A text of the form `room.what-is-wrong`.
fn is_code(text: &str) -> bool {
    let word = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase());
    text.split_once('.')
        .is_some_and(|(room, rest)| word(room) && rest.split('-').all(word))
}

/// Every literal of the form of a code, with the file it stands in.
fn literals() -> BTreeMap<String, PathBuf> {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut files = Vec::new();
    sources(&crates, &mut files);
    assert!(files.len() > 200, "{} files", files.len());
    let mut found = BTreeMap::new();
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        for part in lines
            .flat_map(|line| line.split('"'))
            .filter(|part| is_code(part))
        {
            found.insert(part.to_owned(), file.clone());
        }
    }
    found
}

#[test]
fn every_code_of_the_sources_is_listed_with_its_meaning_and_none_that_is_not_used() {
    let listed = bailiwick_server::codes();
    let names: BTreeSet<&str> = listed.iter().map(|c| c.code).collect();
    assert_eq!(names.len(), listed.len(), "a code is listed twice");
    for code in &listed {
        assert!(is_code(code.code), "{}", code.code);
        assert!(
            ["denial", "refusal", "error"].contains(&code.sort),
            "{}",
            code.code
        );
        assert!(
            code.meaning.len() > 10 && !code.meaning.ends_with('.'),
            "{}",
            code.code
        );
    }
    let used = literals();
    for (literal, file) in &used {
        assert!(
            names.contains(literal.as_str()) != NOT_CODES.contains(&literal.as_str()),
            "`{literal}` in {} has to stand either in content/codes.txt or among what is no code",
            file.display()
        );
    }
    for name in names.iter().chain(NOT_CODES) {
        assert!(used.contains_key(*name), "`{name}` is used nowhere");
    }
}
