//! The findings, each with what to do.

/// A finding without its severity, which depends on the policy.
pub(super) struct Entry {
    pub(super) code: &'static str,
    pub(super) text: &'static str,
    pub(super) fix: &'static str,
}

const fn entry(code: &'static str, text: &'static str, fix: &'static str) -> Entry {
    Entry { code, text, fix }
}

pub(super) const ABSENT_CLAIM: Entry = entry(
    "trust.absent-claim",
    "a token without the claim is let in, and most tokens are without it",
    "use the plain operator, which fails when the claim is missing, or ask with `Null` that it is there",
);
pub(super) const ANYBODY: Entry = entry(
    "trust.anybody",
    "runs of strangers are let in: the issuer signs for everybody",
    "match the id of the owner and the id of the repository, project or workspace",
);
pub(super) const ANY_WORKFLOW: Entry = entry(
    "trust.any-workflow",
    "every workflow file that fits the wildcard is let in, also one that is added tomorrow",
    "name the file, and pin it to a commit: `…/deploy.yml@<40 digits>`",
);
pub(super) const AUDIENCE: Entry = entry(
    "trust.audience-missing",
    "the audience is not asked for: a token that was made for another party is let in",
    "add the audience that this cloud is given and nobody else",
);
pub(super) const DEBUG_SESSION: Entry = entry(
    "trust.debug-session",
    "a token of an interactive debug session is let in",
    "refuse tokens whose `ssh-rerun` is true where the platform can see it, else close such sessions for the project",
);
pub(super) const ENVIRONMENT_ALONE: Entry = entry(
    "trust.environment-alone",
    "all rests on the protection rules of the environment, which this policy cannot see and nothing else backs up",
    "give the environment reviewers and branch rules, and match a second claim where the platform can",
);
pub(super) const EVERY_BRANCH: Entry = entry(
    "trust.every-branch",
    "every branch is let in: whoever may push one runs with these rights",
    "match one branch, or a protected ref or environment",
);
pub(super) const EVERY_ENVIRONMENT: Entry = entry(
    "trust.every-environment",
    "every environment is let in, also one that a workflow names for the first time",
    "match one environment, one with reviewers",
);
pub(super) const EVERY_PHASE: Entry = entry(
    "trust.every-phase",
    "more than one phase or step is let in, also the one before anybody approved",
    "match one: `run_phase:apply`, or one deployment environment",
);
pub(super) const EVERY_USER: Entry = entry(
    "trust.every-user",
    "whoever may start a pipeline of the project is let in",
    "match the user too, or keep the project's members few",
);
pub(super) const NAME_GIVEN_AGAIN: Entry = entry(
    "trust.name-given-again",
    "names decide: whoever gets the name after a rename or a removal is let in",
    "match the id beside the name: `repository_id`, `project_id`, `terraform_workspace_id`",
);
pub(super) const NEVER_MATCHES: Entry = entry(
    "trust.never-matches",
    "no token that the issuer makes is let in",
    "spell it as the issuer does: wildcards need an operator that knows them, `:` in a value is `%3A`, ids are text",
);
pub(super) const NOT_JUDGED: Entry = entry(
    "trust.not-judged",
    "a part of the policy is not understood here, and counts as let in",
    "write it with equality, prefixes and patterns on claims, or look at it by hand",
);
pub(super) const OTHER_TYPE: Entry = entry(
    "trust.other-type",
    "a claim is compared with a number or a flag, but it is text: equality never holds, inequality always does",
    "put the value in quotes",
);
pub(super) const PERSON: Entry = entry(
    "trust.person-not-place",
    "one person is let in from every repository, and nobody else once that person is gone",
    "match the repository by its id, the person beside it if need be",
);
pub(super) const SET_OPERATOR: Entry = entry(
    "trust.set-operator",
    "an operator for lists of values stands on a claim that has one value",
    "use the plain operator",
);
pub(super) const SUBJECT_FORM: Entry = entry(
    "trust.subject-form",
    "the token has ids in its subject and the policy has none: it is refused after the change of form",
    "match the subject with ids: `repo:owner@ID/name@ID:…`",
);
pub(super) const TAG: Entry = entry(
    "trust.tag",
    "tags are let in, and a tag can be moved to other content",
    "match a branch or an environment, or protect tags",
);
pub(super) const TAG_FOR_BRANCH: Entry = entry(
    "trust.tag-for-branch",
    "a tag under the name of the branch is let in, and who may tag may not be who may push",
    "match the kind of the ref: `ref_type:branch`",
);
pub(super) const TWO_ENVIRONMENTS: Entry = entry(
    "trust.two-environments",
    "two environments have this one subject: the name with `:` and the name with `%3A`",
    "match the claim `environment` too, which has the name as it is",
);
pub(super) const UNREVIEWED: Entry = entry(
    "trust.unreviewed-code",
    "runs on content that nobody has reviewed are let in",
    "match a branch or an environment, never the whole repository or `pull_request`",
);
pub(super) const WHOLE_OWNER: Entry = entry(
    "trust.whole-owner",
    "every repository, project or workspace of the owner is let in, also one that is made tomorrow",
    "match one, by its id",
);
pub(super) const WORKFLOW_MOVES: Entry = entry(
    "trust.workflow-moves",
    "the workflow is pinned to a branch or a tag, whose content may change",
    "pin it to a commit: `…/deploy.yml@<40 digits>`",
);
