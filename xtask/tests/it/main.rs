//! Tidy is tested: every rule meets a small tree that has to fail and one that has to pass.
#[cfg(test)]
mod advisories;
#[cfg(test)]
mod arrows;
#[cfg(test)]
mod bench;
#[cfg(test)]
mod caps;
#[cfg(test)]
mod coverage;
#[cfg(test)]
mod degraded;
#[cfg(test)]
mod dependencies;
#[cfg(test)]
mod documents;
#[cfg(test)]
mod invariants;
#[cfg(test)]
mod manifests;
#[cfg(test)]
mod names;
#[cfg(test)]
mod new;
#[cfg(test)]
mod rust;
#[cfg(test)]
mod sql;
#[cfg(test)]
mod tally;
#[cfg(test)]
mod text;
#[cfg(test)]
mod tree;
