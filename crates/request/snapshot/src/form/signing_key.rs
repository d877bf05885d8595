//! The signing keys of a tenant, as they are recorded: what each is for, not the keys.

use bailiwick_base::{Epoch, SigningAlgorithm, TenantId, Time};
use bailiwick_credential::signing_key::{KeyHolder, SigningKey};
use serde::{Deserialize, Serialize};

use super::{at, tenant, word};
use crate::error::BodyError;

/// The signing keys of a tenant.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SigningKeysForm {
    tenant: String,
    keys: Vec<SigningKeyForm>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SigningKeyForm {
    kid: String,
    algorithm: String,
    holder: String,
    created_at: i64,
    active_from: Option<i64>,
    entry: Option<u64>,
    retired_at: Option<i64>,
    removed_at: Option<i64>,
    floor: Option<u64>,
}

impl SigningKeysForm {
    pub(super) fn of(tenant: &TenantId, keys: &[SigningKey]) -> Result<Self, BodyError> {
        if keys.iter().any(|key| key.tenant != *tenant) {
            return Err(BodyError::member(
                "signing_keys/tenant",
                "a key belongs to another",
            ));
        }
        let key = |key: &SigningKey| SigningKeyForm {
            kid: key.kid.clone(),
            algorithm: key.algorithm.as_str().to_owned(),
            holder: key.holder.as_str().to_owned(),
            created_at: key.created_at.micros(),
            active_from: key.active_from.map(Time::micros),
            entry: key.entry,
            retired_at: key.retired_at.map(Time::micros),
            removed_at: key.removed_at.map(Time::micros),
            floor: key.floor.map(|floor| floor.0),
        };
        Ok(Self {
            tenant: tenant.to_string(),
            keys: keys.iter().map(key).collect(),
        })
    }

    pub(super) fn read(self) -> Result<(TenantId, Vec<SigningKey>), BodyError> {
        let tenant = tenant("signing_keys/tenant", &self.tenant)?;
        let key = |form: SigningKeyForm| -> Result<SigningKey, BodyError> {
            let algorithm = SigningAlgorithm::parse(&form.algorithm);
            Ok(SigningKey {
                tenant: tenant.clone(),
                kid: form.kid,
                algorithm: word("signing_keys/algorithm", &form.algorithm, algorithm)?,
                holder: word(
                    "signing_keys/holder",
                    &form.holder,
                    KeyHolder::parse(&form.holder),
                )?,
                created_at: Time::from_micros(form.created_at),
                active_from: at(form.active_from),
                entry: form.entry,
                retired_at: at(form.retired_at),
                removed_at: at(form.removed_at),
                floor: form.floor.map(Epoch),
            })
        };
        let keys: Vec<SigningKey> = self.keys.into_iter().map(key).collect::<Result<_, _>>()?;
        Ok((tenant, keys))
    }
}
