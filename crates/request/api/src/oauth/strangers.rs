//! What strangers make the log say: a few lines for each tenant and kind in a while. Whoever asks here has not been
//! authenticated, and must not be able to fill a disk or to bury what others said, or why an issuer is not reached.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bailiwick_base::TenantId;

/// Lines of one kind about one tenant in a while.
const LINES_MAX: u32 = 30;
const WHILE: Duration = Duration::from_secs(10);

#[derive(Default)]
struct Said {
    since: Duration,
    lines: u32,
    unsaid: u64,
}

/// What was said, by tenant and kind. Kinds are words of the code.
#[derive(Default)]
pub(super) struct Strangers(Mutex<BTreeMap<(TenantId, &'static str), Said>>);

impl Strangers {
    /// How many lines were left out before this one; `None` when it is left out too.
    pub(super) fn line(&self, tenant: &TenantId, kind: &'static str, now: Duration) -> Option<u64> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let said = all.entry((tenant.clone(), kind)).or_default();
        if now.saturating_sub(said.since) >= WHILE {
            (said.since, said.lines) = (now, 0);
        }
        if said.lines >= LINES_MAX {
            said.unsaid = said.unsaid.saturating_add(1);
            return None;
        }
        said.lines += 1;
        Some(std::mem::take(&mut said.unsaid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_a_few_lines_and_a_count_and_takes_no_line_of_another_tenant() {
        let strangers = Strangers::default();
        let (acme, globex) = (
            TenantId::parse("acme").unwrap(),
            TenantId::parse("globex").unwrap(),
        );
        let at = Duration::from_secs;
        let said = (0..1_000)
            .filter_map(|_| strangers.line(&acme, "a", at(100)))
            .collect::<Vec<_>>();
        assert_eq!(said, vec![0; 30]);
        assert_eq!(strangers.line(&globex, "a", at(100)), Some(0));
        assert_eq!(strangers.line(&acme, "b", at(100)), Some(0));
        assert_eq!(strangers.line(&acme, "a", at(109)), None);
        assert_eq!(strangers.line(&acme, "a", at(110)), Some(971));
        assert_eq!(strangers.line(&acme, "a", at(110)), Some(0));
    }
}
