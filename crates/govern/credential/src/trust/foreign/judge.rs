//! What a policy lets in, and what is to be done about it.

use std::collections::BTreeMap;

use super::catalogue::{
    ABSENT_CLAIM, ANY_WORKFLOW, ANYBODY, AUDIENCE, DEBUG_SESSION, ENVIRONMENT_ALONE, EVERY_BRANCH,
    EVERY_ENVIRONMENT, EVERY_PHASE, EVERY_USER, Entry, NAME_GIVEN_AGAIN, NEVER_MATCHES, NOT_JUDGED,
    OTHER_TYPE, PERSON, SET_OPERATOR, SUBJECT_FORM, TAG, TAG_FOR_BRANCH, TWO_ENVIRONMENTS, UNREVIEWED,
    WHOLE_OWNER, WORKFLOW_MOVES,
};
use super::expression::{Absent, Claims, Glob, How, Test};
use super::pipeline::Pipeline;
use super::run::{Breadth, Run, runs};
use super::sample::samples;
use super::{ForeignPolicy, Platform};

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Good to know.
    Note,
    /// Somebody has to look at it.
    Caution,
    /// Somebody who should not can come in.
    Danger,
}

impl Severity {
    /// The word in reports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Note => "note",
            Self::Caution => "caution",
            Self::Danger => "danger",
        }
    }
}

/// The whole in one word: the worst of the findings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grade {
    /// No finding beyond notes.
    Safe,
    /// Somebody has to look at it.
    Caution,
    /// Somebody who should not can come in.
    Dangerous,
}

impl Grade {
    /// The word in reports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Caution => "caution",
            Self::Dangerous => "dangerous",
            Self::Safe => "safe",
        }
    }
}

/// One thing about a policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The stable code.
    pub code: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// What it is.
    pub text: &'static str,
    /// What to do.
    pub fix: &'static str,
    /// A subject that is let in, to show it.
    pub witness: Option<String>,
}

/// What is to be said about a policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Whether the token that was tried is let in.
    pub admitted: Option<bool>,
    /// The worst of the findings.
    pub grade: Grade,
    /// Worst first.
    pub findings: Vec<Finding>,
}

/// Judges a policy, and how it meets `tried`, a token of its issuer.
#[must_use]
pub fn judge(policy: &ForeignPolicy, tried: Option<&Claims>) -> Verdict {
    let mut judge = Judge::new(policy, tried);
    judge.look_at_operators();
    judge.look_at_runs();
    judge.look_at_workflow();
    judge.look_at_tried();
    if !judge.asks("aud") && !policy.audience_fixed {
        judge.find(&AUDIENCE, Severity::Note, None);
    }
    let admitted = tried.map(|claims| policy.rule.value(claims, None) == Some(true));
    let mut findings: Vec<Finding> = judge.found.into_values().collect();
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    let grade = match findings.first().map(|finding| finding.severity) {
        Some(Severity::Danger) => Grade::Dangerous,
        Some(Severity::Caution) => Grade::Caution,
        _ => Grade::Safe,
    };
    Verdict {
        admitted,
        grade,
        findings,
    }
}

/// Claims that say where a run happens or who started it.
const PLACE: [&str; 14] = [
    "actor",
    "actor_id",
    "enterprise_id",
    "namespace_id",
    "namespace_path",
    "oidc.circleci.com/project-id",
    "project_id",
    "project_path",
    "repository",
    "repository_id",
    "repository_owner",
    "repository_owner_id",
    "sub",
    "terraform_organization_id",
];

/// Claims that say what made a run.
const CAUSE: [&str; 9] = [
    "base_ref",
    "environment",
    "event_name",
    "job_workflow_ref",
    "ref",
    "ref_protected",
    "ref_type",
    "sub",
    "workflow_ref",
];

/// Claims that whoever runs may choose.
const CHOSEN: [&str; 6] = [
    "base_ref",
    "event_name",
    "head_ref",
    "ref",
    "ref_type",
    "workflow",
];

/// How a subject begins that names the workflow first.
const WORKFLOW: &str = "job_workflow_ref:";

/// Ids of an owner.
const OWNER_IDS: [&str; 3] = ["namespace_id", "repository_owner_id", "terraform_organization_id"];

struct Judge<'a> {
    policy: &'a ForeignPolicy,
    tried: Option<&'a Claims>,
    tests: Vec<(&'a Test, bool)>,
    let_in: BTreeMap<Breadth, Run>,
    found: BTreeMap<&'static str, Finding>,
}

impl<'a> Judge<'a> {
    fn new(policy: &'a ForeignPolicy, tried: Option<&'a Claims>) -> Self {
        let mut tests = Vec::new();
        policy
            .rule
            .each(false, &mut |test, negated| tests.push((test, negated)));
        let mut let_in = BTreeMap::new();
        for sample in samples(&policy.rule) {
            for run in runs(policy.pipeline, &sample) {
                if policy.rule.admits(&run.claims) {
                    let_in.entry(run.breadth).or_insert(run);
                }
            }
        }
        Self {
            policy,
            tried,
            tests,
            let_in,
            found: BTreeMap::new(),
        }
    }

    fn find(&mut self, entry: &Entry, severity: Severity, witness: Option<Breadth>) {
        let witness = witness.and_then(|breadth| self.let_in.get(&breadth)?.claims.get("sub").cloned());
        let finding = Finding {
            code: entry.code,
            severity,
            text: entry.text,
            fix: entry.fix,
            witness,
        };
        let known = self.found.entry(entry.code).or_insert_with(|| finding.clone());
        if known.severity < severity {
            *known = finding;
        }
    }

    fn asks(&self, claim: &str) -> bool {
        self.tests.iter().any(|(test, _)| test.claim == claim)
    }

    fn asks_one_of(&self, claims: &[&str]) -> bool {
        claims.iter().any(|claim| self.asks(claim))
    }

    fn lets_in(&self, breadth: Breadth) -> bool {
        self.let_in.contains_key(&breadth)
    }

    fn is_tried_let_in(&self) -> bool {
        self.tried.is_some_and(|claims| self.policy.rule.admits(claims))
    }

    /// AWS takes no role without a subject for an issuer that everybody shares, so a block without one is a part of a
    /// policy: what it does not speak of stands elsewhere.
    fn is_part(&self) -> bool {
        self.policy.platform == Platform::Aws
            && !self.policy.pipeline.is_issuer_per_customer()
            && !self.asks("sub")
    }

    fn look_at_operators(&mut self) {
        if self.policy.rule.opaque().is_some() {
            self.find(&NOT_JUDGED, Severity::Caution, None);
        }
        let tests = self.tests.clone();
        for (test, negated) in tests {
            if matches!(test.how, How::OtherType) {
                self.find(&OTHER_TYPE, Severity::Caution, None);
            }
            if test.set_operator {
                self.find(&SET_OPERATOR, Severity::Caution, None);
            }
            let is_open =
                !negated && test.absent == Absent::Holds && !matches!(test.claim.as_str(), "aud" | "sub");
            let is_shown = self.tried.is_none_or(|claims| !claims.contains_key(&test.claim));
            if is_open && is_shown {
                self.find(&ABSENT_CLAIM, Severity::Danger, None);
            }
        }
        if self.let_in.is_empty() {
            self.find(&NEVER_MATCHES, Severity::Caution, None);
        }
    }

    fn look_at_runs(&mut self) {
        let says_where = self.asks_one_of(&PLACE) || self.asks_one_of(&CHOSEN);
        if self.is_part() && !says_where || self.is_about_workflow() {
            return;
        }
        if self.lets_in(Breadth::Stranger) {
            self.find(&ANYBODY, Severity::Danger, Some(Breadth::Stranger));
        } else if self.lets_in(Breadth::Member) {
            // On Google Cloud a condition is the gate of a pool; which of its members gets what is said by each grant.
            let by_id = self.policy.platform == Platform::Gcp && self.asks_one_of(&OWNER_IDS);
            let severity = if by_id {
                Severity::Caution
            } else {
                Severity::Danger
            };
            self.find(&WHOLE_OWNER, severity, Some(Breadth::Member));
        }
        if self.lets_in(Breadth::Person) {
            // A handle that was given up is somebody else's tomorrow, the id behind it nobody's.
            let by_name = self.asks("actor") && !self.asks("actor_id");
            let severity = if by_name {
                Severity::Danger
            } else {
                Severity::Caution
            };
            self.find(&PERSON, severity, Some(Breadth::Person));
        }
        if self.lets_in(Breadth::User) {
            self.find(&EVERY_USER, Severity::Caution, Some(Breadth::User));
        }
        self.look_at_causes();
        self.look_at_names();
    }

    /// Which workflow runs is all that is asked, and whoever calls it may.
    fn is_about_workflow(&self) -> bool {
        let is_workflow = |(test, _): &(&Test, bool)| match (test.claim.as_str(), &test.how) {
            ("aud" | "job_workflow_ref", _) => true,
            ("sub", How::Equals(values)) => values.iter().all(|value| value.starts_with(WORKFLOW)),
            ("sub", How::Like(globs)) => globs.iter().all(|glob| glob.text().starts_with(WORKFLOW)),
            _ => false,
        };
        self.policy.platform != Platform::Gcp && self.asks("sub") && self.tests.iter().all(is_workflow)
    }

    /// How bad it is that a policy says where and not what made the run, by what the platform makes of it: on Google
    /// Cloud a condition is the gate of a pool, behind which each grant says more.
    fn looseness(&self) -> Severity {
        match (self.policy.platform, self.policy.pipeline) {
            (_, Pipeline::Bitbucket | Pipeline::Circleci | Pipeline::TerraformCloud) => Severity::Note,
            _ if self.is_part() => Severity::Caution,
            (Platform::Gcp, _) if self.asks("sub") => Severity::Danger,
            (Platform::Gcp, _) if self.asks_one_of(&CAUSE) => Severity::Caution,
            (Platform::Gcp, Pipeline::Github) => Severity::Note,
            (Platform::Gcp, Pipeline::Gitlab) => Severity::Caution,
            (Platform::Aws | Platform::Azure, _) => Severity::Danger,
        }
    }

    /// Who may push a branch is trusted with the repository already. It is worse where the name can be somebody
    /// else's tomorrow, and where the expression is all that stands between.
    fn branches(&self) -> Severity {
        let is_narrow = match (self.policy.platform, self.policy.pipeline) {
            (Platform::Aws, Pipeline::Github) => true,
            (Platform::Aws | Platform::Azure, Pipeline::Gitlab) => !self.lets_in(Breadth::Recycled),
            _ => false,
        };
        if is_narrow {
            self.looseness().min(Severity::Caution)
        } else {
            self.looseness()
        }
    }

    /// Unreviewed content is a danger, unless the token that was tried can be told from such a run.
    fn unreviewed(&self) -> Severity {
        let looks_like = |claims: &Claims| {
            let sub = claims.get("sub");
            let of_run = self
                .let_in
                .get(&Breadth::Unreviewed)
                .and_then(|run| run.claims.get("sub"));
            sub == of_run || sub.is_some_and(|sub| sub.ends_with(":pull_request"))
        };
        match self.tried {
            Some(claims) if !looks_like(claims) => self.looseness().min(Severity::Caution),
            _ => self.looseness(),
        }
    }

    fn look_at_causes(&mut self) {
        if self.lets_in(Breadth::Unreviewed) {
            self.find(&UNREVIEWED, self.unreviewed(), Some(Breadth::Unreviewed));
        }
        if self.lets_in(Breadth::Branch) {
            self.find(&EVERY_BRANCH, self.branches(), Some(Breadth::Branch));
        } else if self.lets_in(Breadth::TagForBranch) && self.lets_in(Breadth::Meant) {
            self.find(&TAG_FOR_BRANCH, Severity::Danger, Some(Breadth::TagForBranch));
        } else if self.lets_in(Breadth::Tag) {
            self.find(&TAG, Severity::Caution, Some(Breadth::Tag));
        }
        if self.policy.subject_only && self.lets_in(Breadth::Environment) {
            self.find(&ENVIRONMENT_ALONE, Severity::Caution, Some(Breadth::Environment));
        }
        if self.lets_in(Breadth::Phase) {
            match (self.policy.pipeline, self.policy.platform) {
                (Pipeline::Github, _) => {
                    self.find(&EVERY_ENVIRONMENT, self.looseness(), Some(Breadth::Phase))
                }
                (Pipeline::TerraformCloud, Platform::Aws | Platform::Azure) => {
                    self.find(&EVERY_PHASE, Severity::Danger, Some(Breadth::Phase));
                }
                _ => self.find(&EVERY_PHASE, Severity::Caution, Some(Breadth::Phase)),
            }
        }
    }

    fn look_at_names(&mut self) {
        if !self.lets_in(Breadth::Recycled) {
            return;
        }
        let severity = match self.policy.pipeline {
            // Whoever has the name needs nothing else.
            Pipeline::Github if self.lets_in(Breadth::Unreviewed) => match self.tried {
                Some(_) if !self.is_tried_let_in() => Severity::Caution,
                _ => Severity::Danger,
            },
            Pipeline::Github if self.policy.platform == Platform::Gcp => Severity::Note,
            // The token that was tried has an id that nobody asked for.
            Pipeline::Gitlab
                if self.is_tried_let_in() && self.tried_has("project_id") && !self.asks("project_id") =>
            {
                Severity::Danger
            }
            _ => Severity::Caution,
        };
        self.find(&NAME_GIVEN_AGAIN, severity, Some(Breadth::Recycled));
    }

    fn tried_has(&self, claim: &str) -> bool {
        self.tried.is_some_and(|claims| claims.contains_key(claim))
    }

    fn look_at_workflow(&mut self) {
        let is_all = self.is_part() || self.is_about_workflow();
        let mut worst = None;
        for (test, negated) in &self.tests {
            if *negated
                || test.claim != "job_workflow_ref" && !(test.claim == "sub" && self.is_about_workflow())
            {
                continue;
            }
            let (is_open, is_pinned) = match &test.how {
                How::Equals(values) => (false, values.iter().all(|value| is_commit(value))),
                How::Like(globs) if globs.iter().any(Glob::is_wild) => (true, false),
                How::Like(globs) => (false, globs.iter().all(|glob| is_commit(&glob.text()))),
                _ => (true, false),
            };
            let severity = if is_open || is_all {
                Severity::Caution
            } else {
                Severity::Note
            };
            if !is_pinned {
                worst = worst.max(Some((severity, is_open)));
            }
        }
        if let Some((severity, is_open)) = worst {
            self.find(
                if is_open { &ANY_WORKFLOW } else { &WORKFLOW_MOVES },
                severity,
                None,
            );
        }
    }

    /// What the token that was tried shows, and nothing else could.
    fn look_at_tried(&mut self) {
        let Some(claims) = self.tried else { return };
        let claim = |name: &str| claims.get(name).map(String::as_str).unwrap_or_default();
        let let_in = self.is_tried_let_in();
        if let_in && claim("oidc.circleci.com/ssh-rerun") == "true" {
            self.find(&DEBUG_SESSION, Severity::Danger, None);
        }
        if let_in && claim("environment").contains("%3A") && !self.asks("environment") {
            self.find(&TWO_ENVIRONMENTS, Severity::Danger, None);
        }
        let has_ids = claim("sub").starts_with("repo:") && claim("sub").contains('@');
        let lacks_ids = |(test, negated): &(&Test, bool)| {
            test.claim == "sub"
                && !negated
                && match &test.how {
                    How::Equals(values) => values.iter().any(|value| is_classic_of(value, claim("sub"))),
                    How::Like(globs) => globs.iter().any(|glob| is_classic_of(&glob.text(), claim("sub"))),
                    _ => false,
                }
        };
        if !let_in && has_ids && self.tests.iter().any(lacks_ids) {
            self.find(&SUBJECT_FORM, Severity::Caution, None);
        }
    }
}

/// A commit of 40 hexadecimal digits behind `@`.
fn is_commit(value: &str) -> bool {
    let after = value.rsplit_once('@').map(|(_, after)| after).unwrap_or_default();
    after.len() == 40 && after.bytes().all(|b| b.is_ascii_hexdigit())
}

/// Whether a subject without ids names the owner that one with ids names.
fn is_classic_of(pattern: &str, subject: &str) -> bool {
    let owner = |text: &str| {
        let rest = text.strip_prefix("repo:")?;
        Some(rest.split('/').next()?.to_owned())
    };
    match (owner(pattern), owner(subject)) {
        (Some(plain), Some(with_id)) => {
            !plain.contains('@') && with_id.split('@').next() == Some(plain.as_str())
        }
        _ => false,
    }
}
