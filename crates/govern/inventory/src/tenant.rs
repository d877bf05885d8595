//! Adding and closing tenants.

use bailiwick_base::{TenantId, Time, Transition};

use crate::model::{Tenant, TenantState};
use crate::refusal::Refusal;
use crate::transition::required;

/// The slug under which the installation keeps what belongs to no tenant (operators, the mark on everything).
/// It can never be a tenant.
const INSTALLATION: &str = "installation";

/// Slugs that are words of our own paths.
const RESERVED: [&str; 3] = [INSTALLATION, "all", "all-tenants"];

/// The installation as the tenant part of an id: `opr_…` of an operator, for example.
///
/// # Panics
/// Never: the slug is a constant that fits the grammar, which a test shows.
#[must_use]
pub fn installation() -> TenantId {
    #[expect(
        clippy::unwrap_used,
        reason = "the constant fits the grammar of a slug; a test shows it"
    )]
    TenantId::parse(INSTALLATION).unwrap()
}

/// What is asked for.
#[derive(Debug, Clone)]
pub struct NewTenant {
    /// Slug, immutable, never reused.
    pub id: TenantId,
    /// Name for people.
    pub name: String,
    /// Employees.
    pub employees: u32,
    /// A fresh pseudonym for log leaves: 16 lower-case hexadecimal digits.
    pub reference: String,
}

/// Makes a tenant.
///
/// # Errors
/// [`Refusal::NameMissing`], [`Refusal::EmployeesMissing`], [`Refusal::Reserved`],
/// [`Refusal::ReferenceInvalid`].
pub fn add_tenant(wanted: NewTenant, now: Time) -> Result<Transition<Tenant>, Refusal> {
    if RESERVED.contains(&wanted.id.as_str()) {
        return Err(Refusal::Reserved(wanted.id.to_string()));
    }
    let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    if wanted.reference.len() != 16 || !wanted.reference.bytes().all(hex) {
        return Err(Refusal::ReferenceInvalid(bailiwick_base::limits::shown(
            &wanted.reference,
        )));
    }
    if wanted.employees == 0 {
        return Err(Refusal::EmployeesMissing);
    }
    let tenant = Tenant {
        name: required(wanted.name, "tenant name", Refusal::NameMissing("tenant name"))?,
        employees: wanted.employees,
        reference: wanted.reference,
        state: TenantState::Active,
        created_at: now,
        id: wanted.id,
    };
    Ok(Transition::made("tenant.add", tenant))
}

/// Closes a tenant for good.
///
/// # Errors
/// [`Refusal::TenantClosed`], [`Refusal::ReasonMissing`].
pub fn close_tenant(tenant: Tenant, reason: &str) -> Result<Transition<Tenant>, Refusal> {
    if tenant.state == TenantState::Closed {
        return Err(Refusal::TenantClosed(tenant.id.to_string()));
    }
    let reason = required(reason.to_owned(), "reason", Refusal::ReasonMissing)?;
    let after = Tenant {
        state: TenantState::Closed,
        ..tenant.clone()
    };
    Ok(Transition::changed("tenant.close", tenant, after).because(reason))
}
