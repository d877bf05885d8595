//! What neighbouring leaves promise each other: tenant numbers without gaps
//! and members that never decrease.

use std::collections::BTreeMap;

use super::finding::{Finding, FindingKind, Findings};
use super::{Base, Order};
use crate::entry::{RawLeaf, TENANT_SEQ_FIRST};

/// First and last value of a member within a chunk.
#[derive(Clone, Copy, Debug)]
struct Span {
    first: u64,
    last: u64,
}

/// One tenant's numbers within a chunk.
#[derive(Debug)]
struct TenantSpan {
    tenant_ref: Box<[u8]>,
    first_index: u64,
    span: Span,
}

/// The leaves of one chunk, reduced to what the next chunk must continue.
#[derive(Debug)]
pub(super) struct Run {
    order: Order,
    first_index: u64,
    /// `at`, `epoch`, `state_pos`; nothing before the first leaf.
    members: Option<[Span; 3]>,
    tenants: Tenants,
}

const FIELDS: [&str; 3] = ["at", "epoch", "state_pos"];

impl Run {
    pub(super) fn new(order: Order) -> Self {
        Self {
            order,
            first_index: 0,
            members: None,
            tenants: Tenants::default(),
        }
    }

    fn promised(order: Order) -> [bool; 3] {
        [order.at, order.epoch, order.state_pos]
    }

    /// Takes the next leaf of the chunk.
    #[inline]
    pub(super) fn observe(&mut self, index: u64, leaf: &RawLeaf<'_>, findings: &mut Findings) {
        let values = [leaf.at, leaf.epoch, leaf.state_pos];
        match &mut self.members {
            None => {
                self.first_index = index;
                self.members = Some(values.map(|value| Span {
                    first: value,
                    last: value,
                }));
            }
            Some(spans) => {
                let promised = Self::promised(self.order);
                for (place, (span, found)) in spans.iter_mut().zip(values).enumerate() {
                    if found < span.last && promised.get(place) == Some(&true) {
                        let field = FIELDS.get(place).copied().unwrap_or_default();
                        let kind = FindingKind::OrderBroken {
                            field,
                            before: span.last,
                            found,
                        };
                        findings.push(Finding::at(index, kind));
                    }
                    span.last = found;
                }
            }
        }
        self.tenants.observe(index, leaf, findings);
    }
}

/// What the chunks so far have come to.
#[derive(Debug, Default)]
pub(super) struct Joined {
    members: Option<[u64; 3]>,
    tenants: BTreeMap<Box<[u8]>, u64>,
}

impl Joined {
    /// In front of the first entry behind `base`.
    pub(super) fn behind(base: &Base) -> Self {
        let tenants = base.tenants.iter();
        Self {
            members: None,
            tenants: tenants
                .map(|(tenant, last)| (tenant.as_bytes().into(), *last))
                .collect(),
        }
    }

    /// Continues with the next chunk.
    pub(super) fn join(&mut self, run: Run, findings: &mut Findings) {
        let Some(spans) = run.members else { return };
        if let Some(before) = self.members {
            let promised = Run::promised(run.order).into_iter().zip(FIELDS);
            for ((before, span), (promised, field)) in before.into_iter().zip(&spans).zip(promised) {
                if promised && span.first < before {
                    let kind = FindingKind::OrderBroken {
                        field,
                        before,
                        found: span.first,
                    };
                    findings.push(Finding::at(run.first_index, kind));
                }
            }
        }
        self.members = Some(spans.map(|span| span.last));
        for tenant in run.tenants.spans {
            let expected = self
                .tenants
                .get(&tenant.tenant_ref)
                .map_or(TENANT_SEQ_FIRST, |last| last + 1);
            if tenant.span.first != expected {
                findings.push(broken(
                    tenant.first_index,
                    &tenant.tenant_ref,
                    expected,
                    tenant.span.first,
                ));
            }
            self.tenants.insert(tenant.tenant_ref, tenant.span.last);
        }
    }
}

fn broken(index: u64, tenant_ref: &[u8], expected: u64, found: u64) -> Finding {
    let tenant_ref = String::from_utf8_lossy(tenant_ref).into_owned();
    Finding::at(
        index,
        FindingKind::TenantSeqBroken {
            tenant_ref,
            expected,
            found,
        },
    )
}

/// The tenants of a chunk. A direct-mapped table of recent ones stands before
/// the ordered map, so the usual leaf costs one short hash and one comparison.
#[derive(Debug, Default)]
struct Tenants {
    spans: Vec<TenantSpan>,
    places: BTreeMap<Box<[u8]>, usize>,
    recent: Vec<u32>,
}

const RECENT: usize = 4096;

impl Tenants {
    #[inline]
    fn observe(&mut self, index: u64, leaf: &RawLeaf<'_>, findings: &mut Findings) {
        let found = leaf.tenant_seq;
        let place = self.place_of(index, leaf);
        let Some(tenant) = self.spans.get_mut(place) else {
            return;
        };
        // A new tenant's first number is judged when the chunks are joined.
        if tenant.first_index != index {
            let expected = tenant.span.last + 1;
            if found != expected {
                findings.push(broken(index, &tenant.tenant_ref, expected, found));
            }
        }
        tenant.span.last = found;
    }

    #[inline]
    fn place_of(&mut self, index: u64, leaf: &RawLeaf<'_>) -> usize {
        if self.recent.is_empty() {
            self.recent.resize(RECENT, u32::MAX);
        }
        let slot = slot_of(leaf.tenant_ref);
        let recent = self
            .recent
            .get(slot)
            .and_then(|place| usize::try_from(*place).ok());
        if let Some(place) = recent
            && self
                .spans
                .get(place)
                .is_some_and(|tenant| *tenant.tenant_ref == *leaf.tenant_ref)
        {
            return place;
        }
        let place = match self.places.get(leaf.tenant_ref) {
            Some(place) => *place,
            None => {
                let (first, last) = (leaf.tenant_seq, leaf.tenant_seq);
                let tenant_ref: Box<[u8]> = leaf.tenant_ref.into();
                let place = self.spans.len();
                self.places.insert(tenant_ref.clone(), place);
                self.spans.push(TenantSpan {
                    tenant_ref,
                    first_index: index,
                    span: Span { first, last },
                });
                place
            }
        };
        if let (Some(slot), Ok(place)) = (self.recent.get_mut(slot), u32::try_from(place)) {
            *slot = place;
        }
        place
    }
}

/// A slot of the table of recent tenants. Any collision only costs a look-up.
#[inline]
fn slot_of(tenant_ref: &[u8]) -> usize {
    let (words, rest) = tenant_ref.as_chunks::<8>();
    let mut last = [0; 8];
    for (to, from) in last.iter_mut().zip(rest) {
        *to = *from;
    }
    let mix = |hash: u64, word: &[u8; 8]| {
        (hash ^ u64::from_le_bytes(*word))
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .rotate_left(29)
    };
    let hash = words.iter().chain([&last]).fold(0, mix);
    usize::try_from(hash >> 20).unwrap_or(0) % RECENT
}
