//! Slips of the pen: which of the known names somebody meant.

/// The most alike of some names, when one is alike enough to be a slip.
#[must_use]
pub fn nearest<'a>(wanted: &str, names: impl Iterator<Item = &'a str>) -> Option<String> {
    names
        .map(|name| (distance(wanted, name), name))
        .min()
        .filter(|(distance, name)| *distance <= 2.max(name.len() / 4))
        .map(|(_, name)| name.to_owned())
}

/// Levenshtein distance of two short names.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().take(128).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().take(128).enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (cell, y) in row.iter_mut().skip(1).zip(&b) {
            let above = *cell;
            left = (left + 1).min(above + 1).min(diagonal + usize::from(x != *y));
            diagonal = above;
            *cell = left;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::{distance, nearest};

    #[test]
    fn slips_are_recognised_and_strangers_are_not() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(
            nearest("invocies", ["payroll", "invoices"].into_iter()),
            Some("invoices".to_owned())
        );
        assert_eq!(nearest("quarterly", ["payroll", "invoices"].into_iter()), None);
    }
}
