//! What every driver does, whatever the system.

use bailiwick_base::{Entropy, Secret, Time};
use bailiwick_credential::{Lease, Observed, ProbeAnswer, Target, ThirdParty};
use bailiwick_outbound::Sender;

use crate::PgLogins;
use crate::aws::AwsKeys;
use crate::github::AppKeys;
use crate::http::HttpKeys;

/// Why a deed was not done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// The system answered no.
    #[error("refused with {code}: {text}")]
    Refused {
        /// Its code: an SQLSTATE, an error code of the vendor.
        code: String,
        /// Its words.
        text: String,
    },
    /// No answer in time, or none at all.
    #[error("not reached: {0}")]
    Unreachable(String),
    /// The secret cannot be used there.
    #[error("{0}")]
    Unusable(&'static str),
}

/// What came of the attempt to end the old secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// It is over.
    Done,
    /// Somebody unknown was there at the last look: the old secret is as it was.
    Reopened(Observed),
}

/// What the old secret was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probed {
    /// It still opens.
    Accepted,
    /// It was refused, while the new one was accepted from the same place.
    Refused(ProbeAnswer),
}

/// A secret that the system made.
pub struct Made {
    /// How the system names it.
    pub handle: String,
    /// The secret.
    pub secret: Secret<Vec<u8>>,
}

const NOTHING_TO_LEND: TargetError = TargetError::Unusable("this system makes nothing for a single task");

/// What a system made for one task.
pub struct Lent {
    /// What the task gets.
    pub secret: Secret<Vec<u8>>,
    /// When it ends by itself there, if it is not with the lease.
    pub ends_at: Option<Time>,
}

/// What came of taking a lease back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Back {
    /// It is refused by a rule, which has to stay until then.
    Barred(ProbeAnswer, Time),
    /// It is gone; how it was refused when it was tried.
    Gone(Option<ProbeAnswer>),
}

/// What the drivers work with.
pub struct Reachable<'a> {
    /// The guarded way out.
    pub sender: &'a Sender,
    /// Randomness.
    pub entropy: &'a dyn Entropy,
    /// Now.
    pub now: Time,
}

/// The driver of one credential.
pub enum Driver<'a> {
    /// Access keys of an IAM user.
    Aws(AwsKeys<'a>),
    /// Private keys of a GitHub App.
    GithubApp(AppKeys<'a>),
    /// Keys of a service that a document describes.
    Http(HttpKeys<'a>),
    /// Login roles that take turns.
    Pg(PgLogins<'a>),
}

impl<'a> Driver<'a> {
    /// The driver of `credential`; none where a person replaces it. `manager` is the secret that manages it, and
    /// `handle` how the system names that one, if that is known better than by the registration.
    #[must_use]
    pub fn of(
        credential: &'a ThirdParty,
        manager: &'a Secret<Vec<u8>>,
        handle: Option<&'a str>,
        with: &'a Reachable<'a>,
    ) -> Option<Self> {
        Some(match credential.target.as_ref()? {
            Target::Aws(target) => Self::Aws(AwsKeys::new(credential, target, (handle, manager), with)),
            Target::GithubApp(target) => Self::GithubApp(AppKeys::new(credential, target, with)),
            Target::Http(target) => Self::Http(HttpKeys::new(credential, target, manager, with)),
            Target::Pg(target) => Self::Pg(PgLogins::new(target, manager, with.now)),
        })
    }

    /// Makes what a lease is for: with the secret `given`, or one of the system's.
    ///
    /// # Errors
    /// [`TargetError`].
    pub async fn lend(
        &self,
        lease: &Lease,
        given: &Secret<Vec<u8>>,
        entropy: &dyn Entropy,
    ) -> Result<Lent, TargetError> {
        match self {
            Self::Aws(keys) => keys.lend(lease).await,
            Self::GithubApp(_) | Self::Http(_) => Err(NOTHING_TO_LEND),
            Self::Pg(logins) => logins.lend(lease, given, entropy).await,
        }
    }

    /// Takes back what a lease was for, whether or not it was ever made, and tries it with `secret`.
    ///
    /// # Errors
    /// [`TargetError`].
    pub async fn take_back(
        &self,
        lease: &Lease,
        secret: Option<&Secret<Vec<u8>>>,
    ) -> Result<Back, TargetError> {
        match self {
            Self::Aws(keys) => keys.take_back(lease, secret).await,
            Self::GithubApp(_) | Self::Http(_) => Ok(Back::Gone(None)),
            Self::Pg(logins) => logins.take_back(lease, secret).await,
        }
    }

    /// Takes the rule away that refused a lease, once what it refused has ended by itself.
    ///
    /// # Errors
    /// [`TargetError`].
    pub async fn clear(&self, lease: &Lease) -> Result<(), TargetError> {
        match self {
            Self::Aws(keys) => keys.clear(lease).await,
            Self::GithubApp(_) | Self::Http(_) | Self::Pg(_) => Ok(()),
        }
    }

    /// Finds room for a secret that the system makes.
    ///
    /// # Errors
    /// [`TargetError`].
    pub async fn prepare(&self) -> Result<(), TargetError> {
        match self {
            Self::Aws(keys) => keys.prepare().await,
            Self::GithubApp(_) => AppKeys::prepare(),
            Self::Http(keys) => keys.prepare().await,
            Self::Pg(_) => Ok(()),
        }
    }

    /// Makes the new secret valid: `given`, or one that the system makes.
    ///
    /// # Errors
    /// [`TargetError`].
    pub async fn stage(
        &self,
        given: Option<&Secret<Vec<u8>>>,
        entropy: &dyn Entropy,
    ) -> Result<Option<Made>, TargetError> {
        match (self, given) {
            (Self::Aws(keys), _) => keys.stage().await.map(Some),
            (Self::GithubApp(keys), Some(given)) => keys.stage(given).await.map(|()| None),
            (Self::Http(keys), _) => keys.stage().await.map(Some),
            (Self::Pg(logins), Some(given)) => logins.stage(given, entropy).await.map(|()| None),
            (Self::GithubApp(_) | Self::Pg(_), None) => {
                Err(TargetError::Unusable("its sealed secrets are gone"))
            }
        }
    }

    /// Who uses which secret, as far as the system tells.
    ///
    /// # Errors
    /// [`TargetError`].
    pub async fn look(&self) -> Result<Observed, TargetError> {
        match self {
            Self::Aws(keys) => keys.look().await,
            Self::GithubApp(_) => Ok(AppKeys::look()),
            Self::Http(keys) => keys.look().await,
            Self::Pg(logins) => logins.look().await,
        }
    }

    /// Ends the old secret, unless somebody unknown is there at the last look.
    ///
    /// # Errors
    /// [`TargetError`].
    pub async fn revoke(&self, credential: &ThirdParty, old: &Secret<Vec<u8>>) -> Result<Ended, TargetError> {
        match self {
            Self::Aws(keys) => keys.revoke().await,
            Self::GithubApp(keys) => keys.revoke(old).await,
            Self::Http(keys) => keys.revoke().await,
            Self::Pg(logins) => logins.revoke(credential).await,
        }
    }

    /// Makes the new secret invalid again.
    ///
    /// # Errors
    /// [`TargetError`].
    pub async fn unstage(&self, new: Option<&Secret<Vec<u8>>>) -> Result<(), TargetError> {
        match self {
            Self::Aws(keys) => keys.unstage().await,
            Self::GithubApp(keys) => keys.unstage(new).await,
            Self::Http(keys) => keys.unstage().await,
            Self::Pg(logins) => logins.unstage().await,
        }
    }

    /// Tries the new secret, which must open, and then the old one, which must not.
    ///
    /// # Errors
    /// [`TargetError`] when the new secret does not open, or the old one got no answer.
    pub async fn probe(&self, old: &Secret<Vec<u8>>, new: &Secret<Vec<u8>>) -> Result<Probed, TargetError> {
        match self {
            Self::Aws(keys) => keys.probe(old, new).await,
            Self::GithubApp(keys) => keys.probe(old, new).await,
            Self::Http(keys) => keys.probe(old, new).await,
            Self::Pg(logins) => logins.probe(old, new).await,
        }
    }

    /// Makes every secret of the credential invalid, whoever uses it, and tries the one in use, which must be
    /// refused. `new` is the secret of a rotation that was under way.
    ///
    /// # Errors
    /// [`TargetError`].
    pub async fn end_all(
        &self,
        secret: &Secret<Vec<u8>>,
        new: Option<&Secret<Vec<u8>>>,
    ) -> Result<ProbeAnswer, TargetError> {
        match self {
            Self::Aws(keys) => keys.end_all(secret).await,
            Self::GithubApp(keys) => keys.end_all(secret, new).await,
            Self::Http(keys) => keys.end_all(secret).await,
            Self::Pg(logins) => logins.end_all(secret).await,
        }
    }
}
