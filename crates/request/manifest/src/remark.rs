//! What there is to say of items that were not mapped, or not whole.

use std::ops::Deref;

/// Remarks of one sort that are kept of one source; behind them they are counted.
const KEPT_MAX: usize = 10_000;

/// Something to say of an item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remark {
    /// Where it stands: the item's number in the page, from 0, and the way inwards from there.
    pub place: String,
    /// What there is to say.
    pub text: String,
}

/// The first 10,000 remarks, and how many there are: a file of nothing but wrong items takes no more memory than that.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Remarks {
    kept: Vec<Remark>,
    total: usize,
}

impl Remarks {
    /// How many there are, also those that are not kept.
    #[must_use]
    pub fn total(&self) -> usize {
        self.total
    }

    pub(crate) fn push(&mut self, remark: Remark) {
        self.total += 1;
        if self.kept.len() < KEPT_MAX {
            self.kept.push(remark);
        }
    }

    /// Takes over those of one page of `file`.
    pub(crate) fn append(&mut self, page: Self, file: &str) {
        self.total += page.total;
        let left = KEPT_MAX - self.kept.len();
        self.kept
            .extend(page.kept.into_iter().take(left).map(|remark| Remark {
                place: format!("{file}: {}", remark.place),
                ..remark
            }));
    }
}

impl Deref for Remarks {
    type Target = [Remark];

    fn deref(&self) -> &[Remark] {
        &self.kept
    }
}

impl<'a> IntoIterator for &'a Remarks {
    type Item = &'a Remark;
    type IntoIter = std::slice::Iter<'a, Remark>;

    fn into_iter(self) -> Self::IntoIter {
        self.kept.iter()
    }
}
