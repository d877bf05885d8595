//! What every driver does, whatever the system.

use bailiwick_base::{Entropy, Secret, Time};
use bailiwick_credential::{Lease, Observed, ProbeAnswer, Target, ThirdParty};
use bailiwick_outbound::Sender;

use crate::aws::AwsKeys;
use crate::github::AppKeys;
use crate::http::HttpKeys;
use crate::postgres::PgLogins;
use crate::words::Cover;

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

/// The driver of one credential. Whatever its system says comes out without what it repeats of the secrets.
pub struct Driver<'a> {
    manager: &'a Secret<Vec<u8>>,
    system: System<'a>,
}

enum System<'a> {
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
        let system = match credential.target.as_ref()? {
            Target::Aws(target) => System::Aws(AwsKeys::new(credential, target, (handle, manager), with)),
            Target::GithubApp(target) => System::GithubApp(AppKeys::new(credential, target, with)),
            Target::Http(target) => System::Http(HttpKeys::new(credential, target, manager, with)),
            Target::Pg(target) => System::Pg(PgLogins::new(target, manager, with)),
        };
        Some(Self { manager, system })
    }

    fn cover<'s>(&'s self, more: [Option<&'s Secret<Vec<u8>>>; 2]) -> Cover<'s> {
        Cover::over([Some(self.manager)].into_iter().chain(more))
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
        let done = match &self.system {
            System::Aws(keys) => keys.lend(lease).await,
            System::GithubApp(_) | System::Http(_) => Err(NOTHING_TO_LEND),
            System::Pg(logins) => logins.lend(lease, given, entropy).await,
        };
        self.cover([Some(given), None]).told(done)
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
        let done = match &self.system {
            System::Aws(keys) => keys.take_back(lease, secret).await,
            System::GithubApp(_) | System::Http(_) => Ok(Back::Gone(None)),
            System::Pg(logins) => logins.take_back(lease, secret).await,
        };
        self.cover([secret, None]).told(done)
    }

    /// Takes the rule away that refused a lease, once what it refused has ended by itself.
    ///
    /// # Errors
    /// [`TargetError`].
    pub async fn clear(&self, lease: &Lease) -> Result<(), TargetError> {
        let done = match &self.system {
            System::Aws(keys) => keys.clear(lease).await,
            System::GithubApp(_) | System::Http(_) | System::Pg(_) => Ok(()),
        };
        self.cover([None, None]).told(done)
    }

    /// Finds room for a secret that the system makes.
    ///
    /// # Errors
    /// [`TargetError`].
    pub async fn prepare(&self) -> Result<(), TargetError> {
        let done = match &self.system {
            System::Aws(keys) => keys.prepare().await,
            System::GithubApp(_) => AppKeys::prepare(),
            System::Http(keys) => keys.prepare().await,
            System::Pg(_) => Ok(()),
        };
        self.cover([None, None]).told(done)
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
        let done = match (&self.system, given) {
            (System::Aws(keys), _) => keys.stage().await.map(Some),
            (System::GithubApp(keys), Some(given)) => keys.stage(given).await.map(|()| None),
            (System::Http(keys), _) => keys.stage().await.map(Some),
            (System::Pg(logins), Some(given)) => logins.stage(given, entropy).await.map(|()| None),
            (System::GithubApp(_) | System::Pg(_), None) => {
                Err(TargetError::Unusable("its sealed secrets are gone"))
            }
        };
        self.cover([given, None]).told(done)
    }

    /// Who uses which secret, as far as the system tells.
    ///
    /// # Errors
    /// [`TargetError`].
    pub async fn look(&self) -> Result<Observed, TargetError> {
        let done = match &self.system {
            System::Aws(keys) => keys.look().await,
            System::GithubApp(_) => Ok(AppKeys::look()),
            System::Http(keys) => keys.look().await,
            System::Pg(logins) => logins.look().await,
        };
        self.cover([None, None]).told(done)
    }

    /// Ends the old secret, unless somebody would lose it at the last look: then it is as it was.
    ///
    /// # Errors
    /// [`TargetError`].
    pub async fn revoke(
        &self,
        credential: &ThirdParty,
        old: &Secret<Vec<u8>>,
        entropy: &dyn Entropy,
    ) -> Result<Ended, TargetError> {
        let done = match &self.system {
            System::Aws(keys) => keys.revoke().await,
            System::GithubApp(keys) => keys.revoke(old).await,
            System::Http(keys) => keys.revoke().await,
            System::Pg(logins) => logins.revoke(credential, old, entropy).await,
        };
        self.cover([Some(old), None]).told(done)
    }

    /// Makes the new secret invalid again.
    ///
    /// # Errors
    /// [`TargetError`].
    pub async fn unstage(&self, new: Option<&Secret<Vec<u8>>>) -> Result<(), TargetError> {
        let done = match &self.system {
            System::Aws(keys) => keys.unstage().await,
            System::GithubApp(keys) => keys.unstage(new).await,
            System::Http(keys) => keys.unstage().await,
            System::Pg(logins) => logins.unstage().await,
        };
        self.cover([new, None]).told(done)
    }

    /// Tries the new secret, which must open, and then the old one, which must not.
    ///
    /// # Errors
    /// [`TargetError`] when the new secret does not open, or the old one got no answer.
    pub async fn probe(&self, old: &Secret<Vec<u8>>, new: &Secret<Vec<u8>>) -> Result<Probed, TargetError> {
        let done = match &self.system {
            System::Aws(keys) => keys.probe(old, new).await,
            System::GithubApp(keys) => keys.probe(old, new).await,
            System::Http(keys) => keys.probe(old, new).await,
            System::Pg(logins) => logins.probe(old, new).await,
        };
        self.cover([Some(old), Some(new)]).told(done)
    }

    /// Makes every secret of the credential invalid, whoever uses it: the one in use first, then `new`, the secret
    /// of a rotation that was under way. Each is tried whatever became of the other. The one in use must then be
    /// refused.
    ///
    /// # Errors
    /// [`TargetError`]: the first of what went wrong.
    pub async fn end_all(
        &self,
        secret: &Secret<Vec<u8>>,
        new: Option<&Secret<Vec<u8>>>,
    ) -> Result<ProbeAnswer, TargetError> {
        let done = match &self.system {
            System::Aws(keys) => keys.end_all(secret).await,
            System::GithubApp(keys) => keys.end_all(secret, new).await,
            System::Http(keys) => keys.end_all(secret).await,
            System::Pg(logins) => logins.end_all(secret).await,
        };
        self.cover([Some(secret), new]).told(done)
    }
}
