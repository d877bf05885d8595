//! Reading what measuring programs print.
//!
//! Five forms are understood, and every other line is passed over:
//!
//! ```text
//! NAME  wall ns/op MIN MEDIAN MAX | cpu ns/op MIN MEDIAN MAX | … op/s (cpu median)
//! NAME  n=500 min 1.0 p50 2.0 p90 3.0 p99 4.0 p99.9 5.0 max 6.0 us
//! NAME conns=32: 51000 req/s, bad 0
//! metric NAME = 12.5 us
//! NAME 12.5
//! ```
//!
//! They become figures called `NAME wall`, `NAME cpu`, `NAME p50` … and `NAME req/s`, or `NAME` for the
//! last two forms, which our own programs and examples use. A line of the second form whose name is indented belongs to
//! the heading above it, up to its colon: `prewritten 4 KiB: write+fdatasync p50`.
use std::collections::BTreeMap;

pub type Figures = BTreeMap<String, f64>;

#[must_use]
pub fn read(output: &str) -> Figures {
    let mut figures = Figures::new();
    let mut heading = String::new();
    for line in output.lines() {
        if let Some((name, value)) = metric(line).or_else(|| pair(line)) {
            figures.insert(name, value);
        } else if let Some((name, rest)) = line.split_once(" wall ns/op ") {
            figures.extend(spreads(name.trim(), rest));
        } else if let Some((name, rest)) = line.split_once(" n=") {
            let name = if line.starts_with(' ') {
                format!("{heading}: {}", name.trim())
            } else {
                collapsed(name)
            };
            figures.extend(percentiles(&name, rest));
        } else if let Some((name, rest)) = line.split_once(" conns=") {
            heading = collapsed(name);
            let rate = rest.split_once(": ").and_then(|(_, rest)| first_number(rest));
            figures.extend(rate.map(|rate| (format!("{heading} req/s"), rate)));
        } else if !line.starts_with(' ') {
            heading = collapsed(line.split(':').next().unwrap_or_default());
            figures.extend(rates(&heading, line));
        }
    }
    figures
}

fn metric(line: &str) -> Option<(String, f64)> {
    let (name, value) = line.strip_prefix("metric ")?.rsplit_once(" = ")?;
    Some((collapsed(name), first_number(value)?))
}

/// A name without spaces and a number, and nothing else.
fn pair(line: &str) -> Option<(String, f64)> {
    let (name, value) = line.split_once(' ')?;
    let named = name.starts_with(|first: char| first.is_ascii_lowercase());
    Some((name.to_owned(), value.parse().ok().filter(|_| named)?))
}

fn spreads(name: &str, rest: &str) -> Vec<(String, f64)> {
    let mut halves = rest.split('|');
    let wall = halves.next().and_then(|wall| numbers(wall).nth(1));
    let cpu = halves.next().and_then(|cpu| numbers(cpu).nth(1));
    let named = [("wall", wall), ("cpu", cpu)];
    named
        .into_iter()
        .filter_map(|(kind, median)| Some((format!("{name} {kind}"), median?)))
        .collect()
}

/// `min 1.0 p50 2.0 …`; the unit at the end is always microseconds.
fn percentiles(name: &str, rest: &str) -> Vec<(String, f64)> {
    let words: Vec<&str> = rest.split_whitespace().skip(1).collect();
    let pairs = words.chunks_exact(2).filter_map(|pair| match pair {
        [label, value] => Some((format!("{name} {label}"), value.parse().ok()?)),
        _ => None,
    });
    pairs.collect()
}

/// `…: 6400 fdatasync/s, 25.0 MiB/s, …` and `… -> 900000 events/s cpu`: each number before a rate.
fn rates(name: &str, line: &str) -> Vec<(String, f64)> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let pairs = words.windows(2).filter_map(|pair| match pair {
        [value, unit] if unit.contains("/s") => Some((
            format!("{name} {}", unit.trim_end_matches([',', ';'])),
            value.parse().ok()?,
        )),
        _ => None,
    });
    pairs.collect()
}

fn numbers(text: &str) -> impl Iterator<Item = f64> {
    text.split_whitespace().filter_map(|word| word.parse().ok())
}

fn first_number(text: &str) -> Option<f64> {
    text.split_whitespace().next()?.parse().ok()
}

fn collapsed(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
