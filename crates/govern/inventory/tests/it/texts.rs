//! Stable texts: each reads back, none is there twice.

use std::collections::BTreeSet;

use bailiwick_inventory::{Kind, Origin, PinState, TenantState};

#[test]
fn words_read_back() {
    let kinds: BTreeSet<&str> = Kind::ALL.into_iter().map(Kind::as_str).collect();
    assert_eq!(kinds.len(), Kind::ALL.len());
    for kind in Kind::ALL {
        assert_eq!(Kind::parse(kind.as_str()), Some(kind));
    }
    for origin in Origin::ALL {
        assert_eq!(Origin::parse(origin.as_str()), Some(origin));
    }
    for state in PinState::ALL {
        assert_eq!(PinState::parse(state.as_str()), Some(state));
    }
    for state in TenantState::ALL {
        assert_eq!(TenantState::parse(state.as_str()), Some(state));
    }
    for wrong in ["", "Agent", "agent ", "human"] {
        assert_eq!(Kind::parse(wrong), None);
    }
}
