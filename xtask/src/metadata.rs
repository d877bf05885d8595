//! What cargo says about the workspace: packages, their declared dependencies, and what is reached.
use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

use crate::fail::{Fail, Outcome};
use crate::process;

#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Kind {
    Build,
    Development,
    Normal,
}

#[derive(Debug)]
pub struct Dependency {
    pub name: String,
    pub kind: Kind,
}

#[derive(Debug)]
pub struct Package {
    pub name: String,
    pub version: String,
    pub licence: Option<String>,
    /// Folder of the manifest relative to the workspace root, with `/`; only for workspace members.
    pub folder: Option<String>,
    pub dependencies: Vec<Dependency>,
}

#[derive(Debug)]
pub struct Metadata {
    pub packages: Vec<Package>,
}

impl Metadata {
    /// The members alone: needs no network and no lock file.
    pub fn members(root: &Path) -> Outcome<Self> {
        load(
            root,
            &["metadata", "--format-version=1", "--no-deps", "--offline"],
        )
    }

    /// The members and everything they may draw in.
    pub fn whole(root: &Path) -> Outcome<Self> {
        load(root, &["metadata", "--format-version=1"])
    }

    pub fn own(&self) -> impl Iterator<Item = (&Package, &str)> {
        self.packages
            .iter()
            .filter_map(|package| Some((package, package.folder.as_deref()?)))
    }

    #[must_use]
    pub fn find(&self, name: &str, version: &str) -> Option<&Package> {
        self.packages
            .iter()
            .find(|package| package.name == name && package.version == version)
    }
}

/// Names and versions that the members named by `roots` link or build with on x86-64 Linux.
///
/// Asked of `cargo tree`, because the graph of `cargo metadata` also holds optional dependencies
/// that no feature turns on and the features that only tests ask for.
pub fn reached(root: &Path, roots: &[&str]) -> Outcome<BTreeSet<(String, String)>> {
    let mut arguments = vec![
        "tree",
        "--edges=normal,build",
        "--prefix=none",
        "--no-dedupe",
        "--format={p}",
        "--target=x86_64-unknown-linux-gnu",
    ];
    for name in roots {
        arguments.extend(["--package", name]);
    }
    let listing = process::capture(root, process::cargo(), &arguments)?;
    let pair = |line: &str| {
        let mut words = line.split_whitespace();
        let name = words.next()?;
        let version = words.next()?.strip_prefix('v')?;
        Some((name.to_owned(), version.to_owned()))
    };
    Ok(listing.lines().filter_map(pair).collect())
}

fn load(root: &Path, arguments: &[&str]) -> Outcome<Metadata> {
    let text = process::capture(root, process::cargo(), arguments)?;
    let value: Value = serde_json::from_str(&text)
        .map_err(|error| Fail::broken(format!("`cargo metadata` printed no JSON: {error}")))?;
    let members: BTreeSet<&str> = list(&value, "workspace_members")
        .iter()
        .filter_map(Value::as_str)
        .collect();
    let top = text_of(&value, "workspace_root").unwrap_or_default();
    let packages = list(&value, "packages")
        .iter()
        .map(|package| read_package(package, &members, &top))
        .collect();
    Ok(Metadata { packages })
}

fn read_package(package: &Value, members: &BTreeSet<&str>, top: &str) -> Package {
    let ours = package
        .get("id")
        .and_then(Value::as_str)
        .is_some_and(|id| members.contains(id));
    let manifest = text_of(package, "manifest_path").unwrap_or_default();
    let folder = Path::new(&manifest)
        .parent()
        .and_then(|folder| folder.strip_prefix(top).ok());
    Package {
        name: text_of(package, "name").unwrap_or_default(),
        version: text_of(package, "version").unwrap_or_default(),
        licence: text_of(package, "license"),
        folder: folder
            .filter(|_| ours)
            .map(|folder| folder.to_string_lossy().replace('\\', "/")),
        dependencies: list(package, "dependencies")
            .iter()
            .map(read_dependency)
            .collect(),
    }
}

fn read_dependency(dependency: &Value) -> Dependency {
    let kind = match text_of(dependency, "kind").as_deref() {
        Some("build") => Kind::Build,
        Some("dev") => Kind::Development,
        _ => Kind::Normal,
    };
    Dependency {
        name: text_of(dependency, "name").unwrap_or_default(),
        kind,
    }
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value
        .get(key)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

fn text_of(value: &Value, key: &str) -> Option<String> {
    value.get(key).and_then(Value::as_str).map(str::to_owned)
}
