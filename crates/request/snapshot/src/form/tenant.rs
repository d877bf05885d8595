//! A tenant.

use bailiwick_base::{SigningAlgorithm, TenantId, Time};
use bailiwick_inventory::{Tenant, TenantState};
use serde::{Deserialize, Serialize};

use super::{read, word};
use crate::error::BodyError;

/// A tenant and the algorithm its issuer signs with.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TenantForm {
    id: String,
    name: String,
    employees: u32,
    reference: String,
    state: String,
    created_at: i64,
    algorithm: String,
}

impl TenantForm {
    pub(super) fn of(tenant: &Tenant, algorithm: SigningAlgorithm) -> Self {
        Self {
            id: tenant.id.to_string(),
            name: tenant.name.clone(),
            employees: tenant.employees,
            reference: tenant.reference.clone(),
            state: tenant.state.as_str().to_owned(),
            created_at: tenant.created_at.micros(),
            algorithm: algorithm.as_str().to_owned(),
        }
    }

    pub(super) fn read(self) -> Result<(Tenant, SigningAlgorithm), BodyError> {
        let tenant = Tenant {
            id: read("tenant/id", TenantId::parse(&self.id))?,
            name: self.name,
            employees: self.employees,
            reference: self.reference,
            state: word("tenant/state", &self.state, TenantState::parse(&self.state))?,
            created_at: Time::from_micros(self.created_at),
        };
        let algorithm = SigningAlgorithm::parse(&self.algorithm);
        Ok((tenant, word("tenant/algorithm", &self.algorithm, algorithm)?))
    }
}
