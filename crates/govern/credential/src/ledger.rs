//! What a task holds now, and what is wrong with it.

use std::collections::BTreeMap;

use bailiwick_base::{LeaseId, Time};

use crate::lease::{Lease, LeaseStanding};

/// How long taking back may last before it is a finding; seconds.
const RETURNING_SECS: u64 = 30;

/// Something that a task holds and should not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedgerFinding {
    /// The stable code.
    pub code: &'static str,
    /// Which lease.
    pub lease: LeaseId,
    /// In words.
    pub text: String,
}

/// What is wrong with what a task holds. `leases` are all of one task, returned ones too; `stopped` is why the task
/// may hold nothing any more.
#[must_use]
pub fn findings(leases: &[Lease], stopped: Option<&str>, now: Time) -> Vec<LedgerFinding> {
    let mut found = Vec::new();
    let mut by_source: BTreeMap<&str, u32> = BTreeMap::new();
    for lease in leases {
        let mut say = |code, text: String| {
            found.push(LedgerFinding {
                code,
                lease: lease.id.clone(),
                text,
            });
        };
        let name = &lease.name;
        if lease.is_beyond_scope {
            // It stays in the ledger after it was given back: it was held.
            say(
                "ledger.beyond-scope",
                format!("`{name}` was leased beyond what the task's grant says"),
            );
        }
        if !lease.is_live() {
            continue;
        }
        let before = by_source.entry(name).or_default();
        *before += 1;
        if *before > 1 {
            say(
                "ledger.accumulated",
                format!("the task holds {before} leases of `{name}` at once"),
            );
        }
        if let Some(reason) = stopped {
            say(
                "ledger.outlived",
                format!("a lease of `{name}` is not back although {reason}"),
            );
        } else if now.since(lease.expires_at).as_secs() > RETURNING_SECS {
            say(
                "ledger.overdue",
                format!(
                    "a lease of `{name}` ended at {} and is not back",
                    lease.expires_at
                ),
            );
        }
        if let LeaseStanding::Returning {
            trouble: Some(trouble),
            ..
        } = &lease.standing
        {
            say(
                "ledger.not-returned",
                format!("`{name}` could not be taken back: {trouble}"),
            );
        }
    }
    found
}
