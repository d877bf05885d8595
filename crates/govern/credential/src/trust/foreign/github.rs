//! Runs of GitHub Actions, with a subject that repositories may put together themselves.
//! <https://docs.github.com/actions/reference/security/oidc>

use super::expression::Claims;
use super::run::{Breadth, Run, claims, meant, other, pairs};
use super::sample::{Hint, Sample};

/// Claims that a subject may be put together from.
const KEYS: [&str; 15] = [
    "actor",
    "actor_id",
    "context",
    "environment",
    "event_name",
    "job_workflow_ref",
    "pull_request",
    "ref",
    "repo",
    "repository",
    "repository_id",
    "repository_owner",
    "repository_owner_id",
    "repository_visibility",
    "workflow",
];

/// Where a run happens.
#[derive(Clone)]
struct Place {
    owner: String,
    owner_id: String,
    name: String,
    id: String,
}

/// What made a run.
#[derive(Clone)]
struct Cause {
    event: String,
    reference: String,
    environment: Option<String>,
    actor: [String; 2],
}

struct Intent {
    place: Place,
    cause: Cause,
    /// Claims of a subject that is not the usual one.
    custom: Option<Vec<&'static str>>,
    owner: Option<Hint>,
    name: Option<Hint>,
    reference: Option<Hint>,
    environment: Option<Hint>,
}

/// Whose names and ids a policy has in mind.
struct Named {
    owner: Option<Hint>,
    owner_id: Option<Hint>,
    name: Option<Hint>,
    id: Option<Hint>,
}

fn named(sample: &Sample, repo: Option<&Hint>, owner_key: Option<Hint>) -> Named {
    let split = repo.map(|hint| {
        hint.split_once('/')
            .unwrap_or_else(|| (hint.clone(), Hint::exact("app")))
    });
    let before = |hint: &Hint| {
        hint.split_once('@')
            .map_or_else(|| hint.clone(), |(name, _)| name)
    };
    let after = |hint: &Hint| hint.split_once('@').map(|(_, id)| id);
    let claimed = sample.get("repository").and_then(|hint| hint.split_once('/'));
    let (owner, name) = claimed.unzip();
    let of = |claim: &str| sample.get(claim).cloned();
    Named {
        owner: owner
            .or_else(|| split.as_ref().map(|(owner, _)| before(owner)))
            .or_else(|| of("repository_owner"))
            .or(owner_key),
        owner_id: of("repository_owner_id").or_else(|| split.as_ref().and_then(|(owner, _)| after(owner))),
        name: name.or_else(|| split.as_ref().map(|(_, name)| before(name))),
        id: of("repository_id").or_else(|| split.as_ref().and_then(|(_, name)| after(name))),
    }
}

fn intent(sample: &Sample) -> Intent {
    let (found, is_open) = sample
        .get("sub")
        .map(|hint| pairs(hint, ':', &KEYS))
        .unwrap_or_default();
    let keys: Vec<&'static str> = found.iter().map(|(key, _)| *key).collect();
    let of = |key: &str| {
        found
            .iter()
            .find(|(k, _)| *k == key)
            .map(|(_, hint)| hint.clone())
    };
    let is_usual = match keys.as_slice() {
        [] | ["repo", "environment" | "ref" | "pull_request"] => true,
        ["repo"] => is_open,
        _ => false,
    };
    let named = named(sample, of("repo").as_ref(), of("repository_owner"));
    let reference = sample.get("ref").cloned().or_else(|| of("ref"));
    // A subject writes `:` in a value as `%3A`.
    let environment = sample
        .get("environment")
        .cloned()
        .or_else(|| of("environment").map(|hint| decoded(&hint)));
    let (event, default_ref) = match keys.as_slice() {
        ["repo", "pull_request"] => ("pull_request", "refs/pull/7/merge"),
        _ => ("push", "refs/heads/main"),
    };
    Intent {
        place: Place {
            owner: meant(named.owner.as_ref(), "octo"),
            owner_id: meant(named.owner_id.as_ref(), "65"),
            name: meant(named.name.as_ref(), "app"),
            id: meant(named.id.as_ref(), "74"),
        },
        cause: Cause {
            event: meant(sample.get("event_name"), event),
            reference: meant(reference.as_ref(), default_ref),
            environment: environment.as_ref().map(|e| meant(Some(e), "")),
            actor: [
                meant(sample.get("actor"), "ada"),
                meant(sample.get("actor_id"), "7"),
            ],
        },
        custom: (!is_usual).then_some(keys),
        owner: named.owner,
        name: named.name,
        reference,
        environment,
    }
}

fn decoded(hint: &Hint) -> Hint {
    match hint.text() {
        Some(text) => Hint::exact(&text.replace("%3A", ":")),
        None => hint.clone(),
    }
}

pub(super) fn runs(sample: &Sample) -> Vec<Run> {
    let intent = intent(sample);
    let recycled = Place {
        owner_id: "900000065".to_owned(),
        id: "900000074".to_owned(),
        ..intent.place.clone()
    };
    let mut runs = Vec::new();
    for (breadth, place, cause) in unmeant(&intent) {
        for with_ids in [false, true] {
            runs.push(run(breadth, &place, &cause, &intent, sample, with_ids));
        }
    }
    // A repository that is made anew has ids in its subject (GitHub, since 2026-07-15).
    runs.push(run(
        Breadth::Recycled,
        &recycled,
        &somebody(&intent.cause),
        &intent,
        sample,
        true,
    ));
    runs
}

/// The same, started by somebody else.
fn somebody(cause: &Cause) -> Cause {
    Cause {
        actor: ["eve".to_owned(), "666".to_owned()],
        ..cause.clone()
    }
}

/// What is meant, and what nobody meant.
fn unmeant(intent: &Intent) -> Vec<(Breadth, Place, Cause)> {
    let (here, cause) = (&intent.place, &intent.cause);
    let push = |reference: &str| Cause {
        event: "push".to_owned(),
        reference: reference.to_owned(),
        environment: None,
        actor: cause.actor.clone(),
    };
    let unreviewed = Cause {
        event: "pull_request".to_owned(),
        ..push("refs/pull/7/merge")
    };
    let sibling = Place {
        name: other(intent.name.as_ref(), "another"),
        id: "900000075".to_owned(),
        ..here.clone()
    };
    let strange = Place {
        owner: other(intent.owner.as_ref(), "stranger"),
        owner_id: "900000065".to_owned(),
        id: "900000074".to_owned(),
        ..here.clone()
    };
    let meant_as = match &cause.environment {
        Some(_) => Breadth::Environment,
        None if cause.reference.starts_with("refs/tags/") => Breadth::Tag,
        None if cause.event == "pull_request" => Breadth::Unreviewed,
        None => Breadth::Meant,
    };
    let fitting = other(intent.reference.as_ref(), "refs/heads/another");
    let mut all = vec![
        (meant_as, here.clone(), cause.clone()),
        (Breadth::Branch, here.clone(), push(&fitting)),
        (Breadth::Branch, here.clone(), push("refs/heads/another")),
        (Breadth::Tag, here.clone(), push("refs/tags/v1.2.3")),
        (Breadth::Unreviewed, here.clone(), unreviewed.clone()),
        (Breadth::Member, sibling.clone(), somebody(cause)),
        (Breadth::Member, sibling, somebody(&unreviewed)),
        (Breadth::Person, strange.clone(), cause.clone()),
        (Breadth::Stranger, strange.clone(), somebody(cause)),
        (Breadth::Stranger, strange, somebody(&push("refs/heads/main"))),
    ];
    if let Some(environment) = &intent.environment {
        let elsewhere = Cause {
            environment: Some(other(Some(environment), "another")),
            ..push("refs/heads/main")
        };
        all.push((Breadth::Phase, here.clone(), elsewhere));
    }
    all
}

fn run(
    breadth: Breadth,
    place: &Place,
    cause: &Cause,
    intent: &Intent,
    sample: &Sample,
    with_ids: bool,
) -> Run {
    let Place {
        owner,
        owner_id,
        name,
        id,
    } = place;
    let repository = format!("{owner}/{name}");
    let kind = if cause.reference.starts_with("refs/tags/") {
        "tag"
    } else {
        "branch"
    };
    let [actor, actor_id] = &cause.actor;
    let mut all = claims([
        ("repository", &repository),
        ("repository_id", id),
        ("repository_owner", owner),
        ("repository_owner_id", owner_id),
        ("event_name", &cause.event),
        ("ref", &cause.reference),
        ("ref_type", kind),
        ("actor", actor),
        ("actor_id", actor_id),
    ]);
    all.extend(
        cause
            .environment
            .as_ref()
            .map(|e| ("environment".to_owned(), e.clone())),
    );
    let workflow = meant(
        sample.get("job_workflow_ref"),
        "octo/ci/.github/workflows/ci.yml@refs/heads/main",
    );
    all.insert("job_workflow_ref".to_owned(), workflow);
    let repo = if with_ids {
        format!("{owner}@{owner_id}/{name}@{id}")
    } else {
        repository
    };
    let sub = match &intent.custom {
        None => format!("repo:{repo}:{}", context(cause)),
        Some(keys) => custom(keys, &repo, cause, &all, sample),
    };
    all.insert("sub".to_owned(), sub);
    Run { breadth, claims: all }
}

/// What a usual subject ends with.
fn context(cause: &Cause) -> String {
    match (&cause.environment, cause.event.as_str()) {
        (Some(environment), _) => format!("environment:{}", encoded(environment)),
        (None, "pull_request" | "pull_request_target") => "pull_request".to_owned(),
        (None, _) => format!("ref:{}", encoded(&cause.reference)),
    }
}

fn encoded(value: &str) -> String {
    value.replace(':', "%3A")
}

fn custom(keys: &[&'static str], repo: &str, cause: &Cause, all: &Claims, sample: &Sample) -> String {
    let hint = sample
        .get("sub")
        .map(|hint| pairs(hint, ':', &KEYS).0)
        .unwrap_or_default();
    let part = |key: &&'static str| match *key {
        "repo" => format!("repo:{repo}"),
        "context" => context(cause),
        "pull_request" => "pull_request".to_owned(),
        // Which workflow a job uses is the choice of whoever runs it.
        "job_workflow_ref" => {
            let named = hint
                .iter()
                .find(|(k, _)| *k == "job_workflow_ref")
                .map(|(_, h)| h);
            format!(
                "job_workflow_ref:{}",
                meant(named, all.get(*key).map(String::as_str).unwrap_or_default())
            )
        }
        other => format!(
            "{other}:{}",
            encoded(all.get(other).map(String::as_str).unwrap_or_default())
        ),
    };
    let parts: Vec<String> = keys.iter().map(part).collect();
    parts.join(":")
}
