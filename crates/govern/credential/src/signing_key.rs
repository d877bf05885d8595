//! The signing keys of a tenant's issuer: published before they sign, and until the last token they signed is
//! over. Which key is where stands in rows; the keys themselves are elsewhere.

use std::fmt;
use std::time::Duration;

use bailiwick_base::{Epoch, SigningAlgorithm, TenantId, Time, Transition};

use crate::refusal::Refusal;

/// The longest life a token may be configured to have.
pub const TOKEN_LIFE_MAX: Duration = Duration::from_secs(3_600);
/// How long others may keep a key set before they ask again; the set says so.
pub const KEY_SET_AGE: Duration = Duration::from_secs(300);
/// How far the clocks of those who verify may be behind.
const SKEW: Duration = Duration::from_secs(60);

/// Who holds the private key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KeyHolder {
    /// A key in AWS KMS; it does not leave it.
    AwsKms,
    /// A sealed file of this installation.
    #[default]
    File,
    /// A PKCS #11 token; the key does not leave it.
    Pkcs11,
}

impl KeyHolder {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::AwsKms, Self::File, Self::Pkcs11];

    /// The word in rows and on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AwsKms => "aws-kms",
            Self::File => "file",
            Self::Pkcs11 => "pkcs11",
        }
    }

    /// Reads the word.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|h| h.as_str() == text)
    }
}

impl fmt::Display for KeyHolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a signing key is for at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SigningState {
    /// Signs and is published.
    Active,
    /// Published, so that everybody knows it before it signs.
    Next,
    /// Published for the tokens it signed; signs no more.
    Retired,
    /// Not published: nothing that it signed is believed.
    Removed,
}

impl SigningState {
    /// The word on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Next => "next",
            Self::Retired => "retired",
            Self::Removed => "removed",
        }
    }
}

/// One signing key of a tenant, without anything secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SigningKey {
    /// Tenant.
    pub tenant: TenantId,
    /// Key id: the RFC 7638 thumbprint.
    pub kid: String,
    /// Its one algorithm.
    pub algorithm: SigningAlgorithm,
    /// Who holds the private key.
    pub holder: KeyHolder,
    /// Made and published.
    pub created_at: Time,
    /// Signs from here on.
    pub active_from: Option<Time>,
    /// Index of the entry in the state log with which it began to sign.
    pub entry: Option<u64>,
    /// Signs no more.
    pub retired_at: Option<Time>,
    /// Published no more.
    pub removed_at: Option<Time>,
    /// Set when it was withdrawn as compromised: tokens of the tenant that are older are dead.
    pub floor: Option<Epoch>,
}

impl SigningKey {
    /// What it is for at the moment.
    #[must_use]
    pub const fn state(&self) -> SigningState {
        match (self.active_from, self.retired_at, self.removed_at) {
            (_, _, Some(_)) => SigningState::Removed,
            (_, Some(_), None) => SigningState::Retired,
            (Some(_), None, None) => SigningState::Active,
            (None, None, None) => SigningState::Next,
        }
    }

    /// Until when it stays published: the last token it signed is over then, whatever life tokens had.
    #[must_use]
    pub fn published_until(&self) -> Option<Time> {
        self.retired_at.map(|at| at.after(TOKEN_LIFE_MAX).after(SKEW))
    }
}

/// When signing keys are made and changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeySchedule {
    /// From one rotation to the next; `None`: by command only.
    pub every: Option<Duration>,
    /// How long a key is published before it signs.
    pub ahead: Duration,
    /// Who holds new keys.
    pub holder: KeyHolder,
}

impl KeySchedule {
    /// The shortest time a key has to be published before it signs: whoever fetched the set just before has
    /// fetched it again, and what was issued in between is over.
    pub const AHEAD_MIN: Duration = Duration::from_secs(TOKEN_LIFE_MAX.as_secs() + KEY_SET_AGE.as_secs());

    /// When the key that signs now gives way to the next one.
    #[must_use]
    pub fn due_at(&self, keys: &[SigningKey]) -> Option<Time> {
        let active = in_state(keys, SigningState::Active).next()?;
        let due = active.active_from?.after(self.every?);
        Some(self.ready_at(keys).map_or(due, |ready| due.max(ready)))
    }

    /// When the next key may sign.
    #[must_use]
    pub fn ready_at(&self, keys: &[SigningKey]) -> Option<Time> {
        let next = in_state(keys, SigningState::Next).next()?;
        Some(next.created_at.after(self.ahead))
    }
}

impl Default for KeySchedule {
    /// Every 30 days, with the next key published a day ahead.
    fn default() -> Self {
        Self {
            every: Some(Duration::from_secs(30 * 86_400)),
            ahead: Duration::from_secs(86_400),
            holder: KeyHolder::File,
        }
    }
}

/// The keys in one state.
pub fn in_state(keys: &[SigningKey], state: SigningState) -> impl Iterator<Item = &SigningKey> {
    keys.iter().filter(move |key| key.state() == state)
}

/// The epoch below which tokens of the tenant are dead, because a key was compromised.
#[must_use]
pub fn key_floor(keys: &[SigningKey]) -> Epoch {
    keys.iter().filter_map(|key| key.floor).max().unwrap_or_default()
}

/// What has to be done about the keys of a tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyStep {
    /// Make and publish the next key.
    Add,
    /// Stop publishing this key.
    Remove(String),
    /// Let the next key sign.
    Rotate,
}

/// What has to be done now; the same answer as long as nothing was done.
#[must_use]
pub fn plan_keys(keys: &[SigningKey], schedule: &KeySchedule, now: Time) -> Vec<KeyStep> {
    let mut steps = Vec::new();
    let over = |key: &&SigningKey| key.published_until().is_some_and(|until| until <= now);
    let remove = |key: &SigningKey| KeyStep::Remove(key.kid.clone());
    steps.extend(in_state(keys, SigningState::Retired).filter(over).map(remove));
    match in_state(keys, SigningState::Next).next() {
        None => steps.push(KeyStep::Add),
        // It never signed: another holder is to hold the next one.
        Some(next) if next.holder != schedule.holder => {
            steps.push(remove(next));
            steps.push(KeyStep::Add);
        }
        Some(_) if schedule.due_at(keys).is_some_and(|due| due <= now) => steps.push(KeyStep::Rotate),
        Some(_) => {}
    }
    steps
}

/// A rotation as somebody wants it.
#[derive(Debug, Clone, Copy)]
pub struct KeyRotation<'a> {
    /// When keys are ready.
    pub schedule: &'a KeySchedule,
    /// The key that signs is compromised: everything it signed dies now, and the next one signs however young
    /// it is.
    pub compromised: bool,
    /// Why.
    pub reason: &'a str,
    /// Now.
    pub now: Time,
    /// The epoch that the revocation gets.
    pub epoch: Epoch,
    /// Index of the entry that will tell of it.
    pub entry: u64,
}

/// Lets the next key sign. The key before stays published for what it signed, or is withdrawn at once when it
/// is compromised.
///
/// # Errors
/// [`Refusal::NextKeyMissing`], [`Refusal::NextKeyYoung`], [`Refusal::ReasonMissing`].
pub fn rotate_keys(
    keys: &[SigningKey],
    wanted: KeyRotation<'_>,
) -> Result<Vec<Transition<SigningKey>>, Refusal> {
    let now = wanted.now;
    if wanted.compromised && wanted.reason.trim().is_empty() {
        return Err(Refusal::ReasonMissing);
    }
    let next = in_state(keys, SigningState::Next)
        .next()
        .ok_or(Refusal::NextKeyMissing)?;
    let ready_at = next.created_at.after(wanted.schedule.ahead);
    if ready_at > now && !wanted.compromised {
        return Err(Refusal::NextKeyYoung {
            kid: next.kid.clone(),
            published: next.created_at,
            ready_at,
        });
    }
    let begun = SigningKey {
        active_from: Some(now),
        entry: Some(wanted.entry),
        ..next.clone()
    };
    let ended = in_state(keys, SigningState::Active).map(|active| {
        let after = SigningKey {
            retired_at: Some(now),
            removed_at: wanted.compromised.then_some(now),
            floor: wanted.compromised.then_some(wanted.epoch),
            ..active.clone()
        };
        (active.clone(), after)
    });
    Ok(ended
        .chain([(next.clone(), begun)])
        .map(|(before, after)| {
            let change = Transition::changed(command(wanted), before, after);
            match wanted.reason.trim() {
                "" => change,
                reason => change.because(reason),
            }
        })
        .collect())
}

const fn command(wanted: KeyRotation<'_>) -> &'static str {
    if wanted.compromised {
        "key.withdraw"
    } else {
        "key.rotate"
    }
}

/// Stops publishing a key that never signed, or whose last token is over.
///
/// # Errors
/// [`Refusal::KeyInUse`].
pub fn remove_key(key: &SigningKey, now: Time) -> Result<Transition<SigningKey>, Refusal> {
    let allowed = match key.state() {
        SigningState::Next => true,
        SigningState::Retired => key.published_until().is_some_and(|until| until <= now),
        SigningState::Active | SigningState::Removed => false,
    };
    if !allowed {
        return Err(Refusal::KeyInUse(key.kid.clone()));
    }
    let after = SigningKey {
        removed_at: Some(now),
        ..key.clone()
    };
    Ok(Transition::changed("key.remove", key.clone(), after))
}
