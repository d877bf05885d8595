//! Which crate may depend on which. The table of ADR 0001; only normal dependencies count, because
//! tests may reach further than the product.
use super::{Finding, House};
use crate::fail::Outcome;
use crate::metadata::{Kind, Metadata, Package};
use crate::repo::Repo;
use crate::rust;

const RULE: &str = "arrows";

/// Folder of a crate, then the folders it may depend on. `/*` at the end stands for the whole storey.
const ARROWS: [(&str, &[&str]); 42] = [
    (
        "bench",
        &[
            "crates/base",
            "crates/govern/*",
            "crates/record/*",
            "crates/request/*",
            "crates/server",
        ],
    ),
    ("crates/base", &[]),
    (
        "crates/cli",
        &[
            "crates/server",
            "crates/request/wire",
            "crates/request/manifest",
            "crates/base",
        ],
    ),
    ("crates/govern/approval", &["crates/base"]),
    ("crates/govern/baseline", &["crates/base"]),
    ("crates/govern/credential", &["crates/base"]),
    (
        "crates/govern/decide",
        &[
            "crates/base",
            "crates/govern/inventory",
            "crates/govern/credential",
            "crates/govern/grant",
        ],
    ),
    (
        "crates/govern/decommission",
        &[
            "crates/base",
            "crates/govern/inventory",
            "crates/govern/credential",
            "crates/govern/grant",
        ],
    ),
    (
        "crates/govern/detect",
        &["crates/base", "crates/govern/baseline", "crates/govern/decide"],
    ),
    (
        "crates/govern/grant",
        &[
            "crates/base",
            "crates/govern/inventory",
            "crates/govern/credential",
        ],
    ),
    ("crates/govern/inventory", &["crates/base"]),
    (
        "crates/govern/reach",
        &["crates/base", "crates/govern/inventory", "crates/govern/grant"],
    ),
    ("crates/govern/signal", &["crates/base"]),
    ("crates/record/audit", &["crates/base"]),
    (
        "crates/record/backup",
        &["crates/base", "crates/record/evidence", "crates/record/store"],
    ),
    (
        "crates/record/evidence",
        &["crates/base", "crates/record/audit", "crates/record/journal"],
    ),
    (
        "crates/record/journal",
        &[
            "crates/base",
            "crates/govern/decide",
            "crates/record/audit",
            "crates/record/keys",
        ],
    ),
    ("crates/record/keys", &["crates/base"]),
    ("crates/record/node", &["crates/base"]),
    (
        "crates/record/store",
        &[
            "crates/base",
            "crates/govern/*",
            "crates/record/audit",
            "crates/record/node",
        ],
    ),
    (
        "crates/record/witness",
        &[
            "crates/base",
            "crates/govern/decide",
            "crates/record/audit",
            "crates/record/journal",
            "crates/record/store",
        ],
    ),
    (
        "crates/request/api",
        &[
            "crates/base",
            "crates/govern/*",
            "crates/record/*",
            "crates/request/wire",
            "crates/request/pep",
            "crates/request/attest",
            "crates/request/connectors",
            "crates/request/outbound",
            "crates/request/signals",
            "crates/request/snapshot",
            "crates/request/spiffe",
        ],
    ),
    (
        "crates/request/attest",
        &[
            "crates/base",
            "crates/govern/inventory",
            "crates/govern/credential",
            "crates/request/outbound",
        ],
    ),
    (
        "crates/request/connectors",
        &[
            "crates/base",
            "crates/govern/inventory",
            "crates/govern/credential",
            "crates/request/outbound",
        ],
    ),
    (
        "crates/request/cosign",
        &[
            "crates/base",
            "crates/record/audit",
            "crates/record/journal",
            "crates/record/witness",
            "crates/request/outbound",
        ],
    ),
    (
        "crates/request/holders",
        &["crates/base", "crates/record/keys", "crates/request/outbound"],
    ),
    (
        "crates/request/manifest",
        &["crates/base", "crates/govern/inventory"],
    ),
    (
        "crates/request/mcp",
        &[
            "crates/base",
            "crates/govern/decide",
            "crates/request/pep",
            "crates/request/outbound",
        ],
    ),
    ("crates/request/outbound", &["crates/base"]),
    // `credential` for the claims that the token verifier in `pep/src/token` returns.
    (
        "crates/request/pep",
        &["crates/base", "crates/govern/decide", "crates/govern/credential"],
    ),
    (
        "crates/request/proxy",
        &[
            "crates/base",
            "crates/govern/decide",
            "crates/request/pep",
            "crates/request/outbound",
        ],
    ),
    ("crates/request/signals", &["crates/base", "crates/govern/signal"]),
    (
        "crates/request/sidecar",
        &[
            "crates/base",
            "crates/govern/*",
            "crates/record/*",
            "crates/request/*",
        ],
    ),
    (
        "crates/request/snapshot",
        &[
            "crates/base",
            "crates/govern/decide",
            "crates/govern/inventory",
            "crates/govern/credential",
            "crates/govern/grant",
        ],
    ),
    ("crates/request/spiffe", &["crates/base"]),
    ("crates/request/wire", &["crates/base"]),
    (
        "crates/server",
        &[
            "crates/base",
            "crates/govern/*",
            "crates/record/*",
            "crates/request/*",
        ],
    ),
    // For tests alone: nothing may depend on it in the product.
    ("conformance/vectors", &[]),
    (
        "fuzz",
        &[
            "crates/base",
            "crates/govern/*",
            "crates/record/*",
            "crates/request/*",
        ],
    ),
    (
        "simulation",
        &[
            "crates/base",
            "crates/govern/*",
            "crates/record/*",
            "crates/request/*",
            "crates/server",
        ],
    ),
    ("tests/interop", &[]),
    ("xtask", &[]),
];

/// Packages that speak SQL.
const SQL_DRIVERS: [&str; 8] = [
    "diesel",
    "libsqlite3-sys",
    "postgres",
    "rusqlite",
    "sea-orm",
    "sqlx",
    "tokio-postgres",
    "tokio-rusqlite",
];
/// Who may name one: the store for our own rows, and the connectors for a database that is governed (ADR 0025;
/// which of their files, the rule `engine` holds).
const SQL_CRATES: [&str; 2] = ["crates/record/store", "crates/request/connectors"];

pub(super) fn arrows(house: &House) -> Outcome<Vec<Finding>> {
    let members = house.members()?;
    let mut findings = Vec::new();
    for (package, folder) in members.own() {
        let place = format!("{folder}/Cargo.toml");
        let mut report = |message| {
            findings.push(Finding {
                rule: RULE,
                place: place.clone(),
                message,
            })
        };
        let Some((_, allowed)) = ARROWS.iter().find(|(from, _)| *from == folder) else {
            report(format!(
                "`{folder}` is not in the arrows table: decide what it may see, amend ADR 0001"
            ));
            continue;
        };
        if let Some(expected) = expected_name(folder).filter(|expected| *expected != package.name) {
            report(format!(
                "the package is called `{}`: call it `{expected}`, after its folder",
                package.name
            ));
        }
        for (to, target) in arrows_of(members, package) {
            if !allowed.iter().any(|pattern| covers(pattern, target)) {
                report(format!(
                    "`{}` may not depend on `{to}`; allowed: {}",
                    package.name,
                    shown(allowed)
                ));
            }
        }
        for driver in drivers_of(package).filter(|_| !SQL_CRATES.contains(&folder)) {
            let [store, target] = SQL_CRATES;
            report(format!(
                "only `{store}`, and `{target}` for systems of others, may name `{driver}`: ask the store for what you need"
            ));
        }
    }
    findings.extend(brain(&house.repo)?);
    Ok(findings)
}

/// Functions of the rooms that decide. A store that calls one becomes the brain of the program.
const DECIDING: [&str; 3] = ["decide", "enforce", "plan"];

/// Where the store calls a function that decides.
fn brain(repo: &Repo) -> Outcome<Vec<Finding>> {
    let mut findings = Vec::new();
    for file in repo
        .with_extension("rs")
        .filter(|file| file.starts_with("crates/record/store/src/"))
    {
        let source = repo.read(file)?;
        for triple in rust::tokens(&source).windows(3) {
            if let [before, name, open] = triple
                && DECIDING.contains(&name.text)
                && open.text == "("
                && before.text != "fn"
            {
                let message = format!("the store calls `{}`: it keeps what others decided", name.text);
                findings.push(Finding {
                    rule: RULE,
                    place: format!("{file}:{}", name.line),
                    message,
                });
            }
        }
    }
    Ok(findings)
}

fn expected_name(folder: &str) -> Option<String> {
    let room = folder.strip_prefix("crates/")?.rsplit('/').next()?;
    Some(format!("bailiwick-{room}"))
}

fn arrows_of<'a>(members: &'a Metadata, package: &'a Package) -> impl Iterator<Item = (&'a str, &'a str)> {
    let normal = package
        .dependencies
        .iter()
        .filter(|dependency| dependency.kind == Kind::Normal);
    normal.filter_map(|dependency| {
        let (target, folder) = members.own().find(|(target, _)| target.name == dependency.name)?;
        Some((target.name.as_str(), folder))
    })
}

fn drivers_of(package: &Package) -> impl Iterator<Item = &str> {
    let names = package
        .dependencies
        .iter()
        .map(|dependency| dependency.name.as_str());
    names.filter(|name| SQL_DRIVERS.contains(name))
}

fn covers(pattern: &str, folder: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(storey) => folder.starts_with(storey),
        None => pattern == folder,
    }
}

fn shown(allowed: &[&str]) -> String {
    if allowed.is_empty() {
        return "nothing of ours".to_owned();
    }
    allowed
        .iter()
        .map(|folder| folder.trim_start_matches("crates/"))
        .collect::<Vec<_>>()
        .join(", ")
}
