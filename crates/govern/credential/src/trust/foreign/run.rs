//! Runs that a policy is asked about: the one it means, and those that nobody meant.

use std::collections::BTreeMap;

use super::expression::Claims;
use super::pipeline::Pipeline;
use super::sample::{Hint, Sample};

/// How far a run is from what a policy means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Breadth {
    /// Another branch of the same place.
    Branch,
    /// What is meant, on a named environment.
    Environment,
    /// What is meant.
    Meant,
    /// Another place of the same owner.
    Member,
    /// The same person at a place of somebody else.
    Person,
    /// Another phase, step or environment of the same place.
    Phase,
    /// Somebody who made a place anew under the names of what is meant.
    Recycled,
    /// A place of somebody else.
    Stranger,
    /// A tag of the same place.
    Tag,
    /// A tag under the name of the branch that is meant.
    TagForBranch,
    /// Content of the same place that nobody has reviewed.
    Unreviewed,
    /// Another person at the same place.
    User,
}

/// One run.
#[derive(Debug, Clone)]
pub(super) struct Run {
    pub(super) breadth: Breadth,
    pub(super) claims: Claims,
}

/// In the place of wildcards: what is meant, and what else fits.
const MEANT: char = '1';
const OTHER: char = '2';

/// Every run for a sample.
pub(super) fn runs(pipeline: Pipeline, sample: &Sample) -> Vec<Run> {
    let mut runs = match pipeline {
        Pipeline::Bitbucket => bitbucket(sample),
        Pipeline::Circleci => circleci(sample),
        Pipeline::Github => super::github::runs(sample),
        Pipeline::Gitlab => gitlab(sample),
        Pipeline::TerraformCloud => terraform(sample),
    };
    for run in &mut runs {
        for (claim, hint) in sample {
            // An id of somebody is nobody else's; any other text can be chosen by whoever runs.
            let is_theirs = matches!(run.breadth, Breadth::Stranger | Breadth::Recycled)
                && (claim.ends_with("_id") || claim.starts_with("enterprise"));
            let text = hint.filled(if is_theirs { OTHER } else { MEANT });
            let text = if is_theirs && !hint.is_wild() {
                "999999999".to_owned()
            } else {
                text
            };
            run.claims.entry(claim.clone()).or_insert(text);
        }
    }
    runs
}

/// A value that a run has: what the sample says, or the usual one.
pub(super) fn meant(hint: Option<&Hint>, usual: &str) -> String {
    hint.map_or_else(|| usual.to_owned(), |hint| hint.filled(MEANT))
}

/// A value that another run has: what else fits the sample, or another one.
pub(super) fn other(hint: Option<&Hint>, unusual: &str) -> String {
    match hint {
        Some(hint) if hint.is_wild() => hint.filled(OTHER),
        _ => unusual.to_owned(),
    }
}

/// Takes `key:value:key:value` apart. A value goes on until the next key, or until a wildcard that stands alone.
pub(super) fn pairs(hint: &Hint, sign: char, keys: &[&'static str]) -> (Vec<(&'static str, Hint)>, bool) {
    let mut found: Vec<(&'static str, Vec<Hint>)> = Vec::new();
    let mut open = false;
    for part in hint.split(sign) {
        let text = part.text();
        let key = keys.iter().find(|key| text.as_deref() == Some(**key));
        match (key, found.last_mut()) {
            (Some(key), _) => found.push((key, Vec::new())),
            (None, Some((_, value))) if value.is_empty() => value.push(part),
            (None, _) if part == Hint::exact("") || part.filled('*') == "*" => open = true,
            (None, Some((_, value))) => value.push(part),
            (None, None) => open = true,
        }
    }
    let whole = |(key, value): (&'static str, Vec<Hint>)| (key, Hint::joined(&value, sign));
    let last_is_wild = found
        .last()
        .and_then(|(_, value)| value.last())
        .is_some_and(|part| part.filled('*').ends_with('*'));
    (found.into_iter().map(whole).collect(), open || last_is_wild)
}

pub(super) fn claims<const N: usize>(of: [(&str, &str); N]) -> Claims {
    of.into_iter()
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

type Parts = BTreeMap<&'static str, Hint>;

fn subject(sample: &Sample, sign: char, keys: &[&'static str]) -> (Parts, Vec<&'static str>) {
    let Some(hint) = sample.get("sub") else {
        return (Parts::new(), Vec::new());
    };
    let (found, _) = pairs(hint, sign, keys);
    let order = found.iter().map(|(key, _)| *key).collect();
    (found.into_iter().collect(), order)
}

/// `{repository}:{environment}:{step}`, or without an environment; all three are ids in braces, and every run of a step
/// has a new one.
fn bitbucket(sample: &Sample) -> Vec<Run> {
    let parts = sample.get("sub").map(|hint| hint.split(':')).unwrap_or_default();
    let repository = sample.get("repositoryUuid").or(parts.first());
    let environment = sample.get("deploymentEnvironmentUuid").or(parts
        .get(1)
        .filter(|part| parts.len() > 2 && part.text().is_none_or(|id| id.starts_with('{'))));
    let uuid = |last: &str| format!("{{00000000-0000-4000-8000-00000000000{last}}}");
    let run = |breadth, repository: &str, environment: Option<&str>, branch: &str| {
        let step = uuid("9");
        let environments = environment.map(|e| format!("{e}:")).unwrap_or_default();
        let sub = format!("{repository}:{environments}{step}");
        let mut all = claims([
            ("sub", &sub),
            ("repositoryUuid", repository),
            ("branchName", branch),
        ]);
        all.extend(environment.map(|e| ("deploymentEnvironmentUuid".to_owned(), e.to_owned())));
        Run { breadth, claims: all }
    };
    let (ours, theirs) = (meant(repository, &uuid("1")), other(repository, &uuid("2")));
    let (here, there) = (
        environment.map(|e| e.filled(MEANT)),
        other(environment, &uuid("3")),
    );
    let branch = meant(sample.get("branchName"), "main");
    let mut runs = vec![
        run(Breadth::Meant, &ours, here.as_deref(), &branch),
        run(Breadth::Phase, &ours, Some(&there), &branch),
        run(Breadth::Member, &theirs, here.as_deref(), &branch),
        run(Breadth::Member, &theirs, Some(&there), "main"),
        run(
            Breadth::Branch,
            &ours,
            here.as_deref(),
            &other(sample.get("branchName"), "another"),
        ),
    ];
    if here.is_some() {
        runs.push(run(Breadth::Phase, &ours, None, &branch));
    }
    runs
}

const CIRCLECI: [&str; 5] = ["org", "project", "user", "vcs-origin", "vcs-ref"];

/// `org/…/project/…/user/…`, and in the second form the origin and the ref of the content behind it.
fn circleci(sample: &Sample) -> Vec<Run> {
    let (parts, order) = subject(sample, '/', &CIRCLECI);
    let of = |key: &'static str, claim: &str| sample.get(claim).or(parts.get(key)).cloned();
    let project = of("project", "oidc.circleci.com/project-id");
    let (origin, branch) = (
        of("vcs-origin", "oidc.circleci.com/vcs-origin"),
        of("vcs-ref", "oidc.circleci.com/vcs-ref"),
    );
    let second = order.contains(&"vcs-origin") || order.contains(&"vcs-ref");
    let org = meant(parts.get("org"), "00000000-0000-4000-8000-00000000000a");
    let usual_origin = meant(origin.as_ref(), "github.com/acme/app");
    let run = |breadth, project: &str, user: &str, branch: &str| {
        let mut sub = format!("org/{org}/project/{project}/user/{user}");
        if second {
            sub = format!("{sub}/vcs-origin/{usual_origin}/vcs-ref/{branch}");
        }
        let mut all = claims([("sub", &sub), ("aud", &org), ("oidc.circleci.com/org-id", &org)]);
        all.extend(claims([
            ("oidc.circleci.com/project-id", project),
            ("oidc.circleci.com/vcs-origin", &usual_origin),
            ("oidc.circleci.com/vcs-ref", branch),
            ("oidc.circleci.com/ssh-rerun", "false"),
        ]));
        all.extend(sample.get("aud").map(|aud| ("aud".to_owned(), aud.filled(MEANT))));
        Run { breadth, claims: all }
    };
    let (ours, theirs) = (
        meant(project.as_ref(), "00000000-0000-4000-8000-00000000000b"),
        other(project.as_ref(), "00000000-0000-4000-8000-00000000000c"),
    );
    let user = parts.get("user");
    let (me, they) = (
        meant(user, "00000000-0000-4000-8000-00000000000d"),
        other(user, "00000000-0000-4000-8000-00000000000e"),
    );
    let (main, another) = (
        meant(branch.as_ref(), "refs/heads/main"),
        other(branch.as_ref(), "refs/heads/another"),
    );
    vec![
        run(Breadth::Meant, &ours, &me, &main),
        run(Breadth::User, &ours, &they, &main),
        run(Breadth::Branch, &ours, &me, &another),
        run(Breadth::Member, &theirs, &me, &main),
        run(Breadth::Member, &theirs, &they, &another),
    ]
}

const GITLAB: [&str; 11] = [
    "environment",
    "environment_protected",
    "namespace_id",
    "namespace_path",
    "project_id",
    "project_path",
    "ref",
    "ref_path",
    "ref_protected",
    "ref_type",
    "user_id",
];

/// A project: path, id, and the id of its namespace.
type Project<'a> = (&'a str, &'a str, &'a str);
/// A ref: kind, name, and whether it is protected.
type Ref<'a> = (&'a str, &'a str, &'a str);

/// The claims that a subject is put together from: the usual ones, or the choice of the project.
fn gitlab_order(sample: &Sample, named: Vec<&'static str>) -> Vec<&'static str> {
    let is_open = sample.get("sub").is_some_and(Hint::is_wild);
    let is_chosen = |key: &&str| matches!(*key, "project_id" | "namespace_id" | "namespace_path");
    match named.as_slice() {
        ["project_id"] if is_open => vec!["project_id", "ref_type", "ref"],
        keys if keys.iter().any(is_chosen) => named,
        _ => vec!["project_path", "ref_type", "ref"],
    }
}

fn gitlab_run(
    order: &[&str],
    breadth: Breadth,
    project: Project<'_>,
    (kind, name, protected): Ref<'_>,
) -> Run {
    let (path, id, namespace) = project;
    let mut all = claims([
        ("project_path", path),
        ("project_id", id),
        ("namespace_id", namespace),
        (
            "namespace_path",
            path.rsplit_once('/').map_or(path, |(group, _)| group),
        ),
        ("ref_type", kind),
        ("ref", name),
        ("ref_protected", protected),
    ]);
    let shown = |key: &&str| all.get(*key).map(|value| format!("{key}:{value}"));
    let sub: Vec<String> = order.iter().filter_map(shown).collect();
    all.insert("sub".to_owned(), sub.join(":"));
    Run { breadth, claims: all }
}

/// `project_path:…:ref_type:…:ref:…`, or other claims by the choice of the project.
fn gitlab(sample: &Sample) -> Vec<Run> {
    let (parts, named) = subject(sample, ':', &GITLAB);
    let order = gitlab_order(sample, named);
    let of = |key: &'static str| sample.get(key).or(parts.get(key)).cloned();
    let (path, id, namespace) = (of("project_path"), of("project_id"), of("namespace_id"));
    let split = path.as_ref().and_then(|path| path.split_once('/'));
    let group = split.map(|(group, _)| group).or_else(|| of("namespace_path"));
    let whose = meant(group.as_ref(), "acme");
    let (named, kind) = (of("ref"), of("ref_type"));
    let is_tag = kind.as_ref().and_then(Hint::text).as_deref() == Some("tag");
    let (ours, number, owner) = (
        meant(path.as_ref(), &format!("{whose}/app")),
        meant(id.as_ref(), "101"),
        meant(namespace.as_ref(), "11"),
    );
    let here = (ours.as_str(), number.as_str(), owner.as_str());
    let nested = format!("{whose}/2/2");
    let sibling = other(path.as_ref(), &format!("{whose}/another"));
    let strange = format!("{}/app", other(group.as_ref(), "stranger"));
    let number2 = other(id.as_ref(), "900000102");
    let (name, another) = (meant(named.as_ref(), "main"), other(named.as_ref(), "another"));
    let (meant_as, meant_kind) = if is_tag {
        (Breadth::Tag, "tag")
    } else {
        (Breadth::Meant, "branch")
    };
    let usual = (meant_kind, name.as_str(), "true");
    let unprotected = ("branch", another.as_str(), "false");
    let all = [
        (meant_as, here, usual),
        (Breadth::Branch, here, unprotected),
        (Breadth::Tag, here, ("tag", "v1.2.3", "true")),
        (Breadth::TagForBranch, here, ("tag", &name, "false")),
        (Breadth::Member, (&nested, &number2, &owner), usual),
        (Breadth::Member, (&sibling, &number2, &owner), usual),
        (Breadth::Member, (&sibling, &number2, &owner), unprotected),
        (Breadth::Recycled, (&ours, "900000909", &owner), usual),
        (Breadth::Recycled, (&ours, "900000909", "900000099"), usual),
        (Breadth::Stranger, (&strange, "900000909", "900000099"), usual),
    ];
    let run = |(breadth, project, at)| gitlab_run(&order, breadth, project, at);
    all.into_iter().map(run).collect()
}

const TERRAFORM: [&str; 4] = ["organization", "project", "run_phase", "workspace"];

/// `organization:…:project:…:workspace:…:run_phase:…`
fn terraform(sample: &Sample) -> Vec<Run> {
    let (parts, _) = subject(sample, ':', &TERRAFORM);
    let named = |key: &'static str| {
        let claim = if key == "run_phase" {
            "terraform_run_phase".to_owned()
        } else {
            format!("terraform_{key}_name")
        };
        sample.get(&claim).or(parts.get(key)).cloned()
    };
    let numbered = |key: &str| sample.get(&format!("terraform_{key}_id")).cloned();
    let run = |breadth, names: [&str; 3], ids: [&str; 3], phase: &str| {
        let [organization, project, workspace] = names;
        let sub =
            format!("organization:{organization}:project:{project}:workspace:{workspace}:run_phase:{phase}");
        let mut all = claims([("sub", &sub), ("terraform_run_phase", phase)]);
        for (key, (name, id)) in ["organization", "project", "workspace"]
            .iter()
            .zip(names.iter().zip(ids))
        {
            all.insert(format!("terraform_{key}_name"), (*name).to_owned());
            all.insert(format!("terraform_{key}_id"), id.to_owned());
        }
        let full = format!("organization:{organization}:project:{project}:workspace:{workspace}");
        all.insert("terraform_full_workspace".to_owned(), full);
        Run { breadth, claims: all }
    };
    let keys = ["organization", "project", "workspace"];
    let names: Vec<String> = keys
        .iter()
        .map(|key| meant(named(key).as_ref(), "acme"))
        .collect();
    let others: Vec<String> = keys
        .iter()
        .map(|key| other(named(key).as_ref(), "another"))
        .collect();
    let ids: Vec<String> = keys
        .iter()
        .map(|key| meant(numbered(key).as_ref(), &format!("{key}-1")))
        .collect();
    let new: Vec<String> = keys
        .iter()
        .map(|key| other(numbered(key).as_ref(), &format!("{key}-2")))
        .collect();
    let ([org, project, space], [org2, project2, space2]) = (three(&names), three(&others));
    let ([o, p, w], [o2, p2, w2]) = (three(&ids), three(&new));
    let phase = match named("run_phase").as_ref().and_then(Hint::text) {
        Some(text) => text,
        None => "apply".to_owned(),
    };
    let opposite = if phase == "plan" { "apply" } else { "plan" };
    vec![
        run(Breadth::Meant, [org, project, space], [o, p, w], &phase),
        run(Breadth::Phase, [org, project, space], [o, p, w], opposite),
        run(Breadth::Member, [org, project, space2], [o, p, w2], &phase),
        run(Breadth::Member, [org, project2, space], [o, p2, w2], &phase),
        run(Breadth::Member, [org, project2, space2], [o, p2, w2], opposite),
        run(Breadth::Recycled, [org, project, space], [o, p, w2], &phase),
        run(Breadth::Stranger, [org2, project, space], [o2, p2, w2], &phase),
    ]
}

fn three(all: &[String]) -> [&str; 3] {
    let at = |place: usize| all.get(place).map(String::as_str).unwrap_or_default();
    [at(0), at(1), at(2)]
}
