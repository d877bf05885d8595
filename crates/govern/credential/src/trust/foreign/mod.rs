//! Trust policies of clouds: what somebody else's rule lets in, judged as strictly as one of ours.
//!
//! AWS role trust policies, federated credentials of Microsoft Entra and providers of Google Cloud are read into one
//! expression over claims. It is not looked at for suspicious spellings: runs that nobody meant are made (a stranger's
//! repository, another repository of the owner, a pull request, another branch, a name that was given again, …) and
//! the expression is asked about each. What it admits is a finding, with that run as the witness.
//!
//! Invariants
//! - A policy that cannot be read whole is an error, never a clean bill.
//! - What cannot be decided counts as admitted, and is a finding of its own.

mod aws;
mod azure;
mod catalogue;
mod expression;
mod gcp;
mod github;
mod judge;
mod pipeline;
mod run;
mod sample;
mod syntax;

pub use expression::{Claims, Expression};
pub use judge::{Finding, Grade, Severity, Verdict, judge};
pub use pipeline::Pipeline;

/// Bytes of a policy file.
pub const POLICY_MAX: usize = 256 * 1024;
/// Tests of one policy.
const TESTS_MAX: usize = 256;
/// Levels of one expression.
const DEPTH_MAX: usize = 32;

/// Whose policy language.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Platform {
    /// AWS IAM: a role's trust policy.
    Aws,
    /// Microsoft Entra: a federated identity credential.
    Azure,
    /// Google Cloud: a provider of a workload identity pool.
    Gcp,
}

impl Platform {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Aws, Self::Azure, Self::Gcp];

    /// The name in commands.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Aws => "aws",
            Self::Azure => "azure",
            Self::Gcp => "gcp",
        }
    }

    /// Parses the name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|platform| platform.as_str() == text)
    }
}

/// A policy as it was read: one for each issuer it trusts.
#[derive(Debug, Clone)]
pub struct ForeignPolicy {
    /// Whose language it was.
    pub platform: Platform,
    /// Whose tokens it takes.
    pub pipeline: Pipeline,
    /// The issuer, as it stands there.
    pub issuer: String,
    /// What a token has to say.
    pub rule: Expression,
    /// A single subject is all that this form can say.
    pub subject_only: bool,
    /// The audience is fixed outside of the rule.
    pub audience_fixed: bool,
}

/// Why a policy cannot be judged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ForeignError {
    /// Not of the form that the platform has.
    #[error("the policy is not usable: {0}")]
    Form(String),
    /// Its issuer is none that is known.
    #[error("issuer `{0}` is none that is known here: name its kind with `--issuer-kind`")]
    Issuer(String),
    /// Longer or deeper than is looked at.
    #[error("the policy is larger than {0}")]
    TooLarge(&'static str),
}

/// Reads a policy file. `kind` is taken where the file's issuer is not one that is known.
///
/// # Errors
/// [`ForeignError`].
pub fn read(
    platform: Platform,
    kind: Option<Pipeline>,
    bytes: &[u8],
) -> Result<Vec<ForeignPolicy>, ForeignError> {
    let value = bailiwick_base::json::parse(bytes, POLICY_MAX)
        .map_err(|error| ForeignError::Form(format!("it is not JSON: {error}")))?;
    let read = match platform {
        Platform::Aws => aws::read(&value, kind)?,
        Platform::Azure => azure::read(&value, kind)?,
        Platform::Gcp => gcp::read(&value, kind)?,
    };
    if read.iter().any(|policy| policy.rule.tests() > TESTS_MAX) {
        return Err(ForeignError::TooLarge("256 tests"));
    }
    Ok(read)
}

fn form(text: impl Into<String>) -> ForeignError {
    ForeignError::Form(text.into())
}
