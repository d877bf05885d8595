//! Names of tile files.

use std::fmt;

use super::{LEVELS, TILE_WIDTH, nodes_at};
use crate::merkle::TreeSize;

/// What a tile file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TileKind {
    /// 256 entries (`tile/entries/…`).
    Entries,
    /// 256 hashes of this level (`tile/<L>/…`), 0 to 63.
    Hashes(u8),
}

/// The name of one tile file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TileId {
    kind: TileKind,
    index: u64,
    width: u16,
}

/// A path or a set of numbers names no tile.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TileNameError {
    /// The index is not in canonical groups of three digits.
    #[error("tile index in `{path}` must be groups of three digits such as `x001/x234/067`")]
    Index {
        /// The path.
        path: String,
    },
    /// The level is not a decimal from 0 to 63.
    #[error("tile level in `{path}` must be `entries` or 0 to 63 without leading zeroes")]
    Level {
        /// The path.
        path: String,
    },
    /// The path is not below `tile/`.
    #[error("`{path}` is not a tile path such as `tile/0/x001/234.p/5`")]
    Shape {
        /// The path.
        path: String,
    },
    /// The width is not that of a full or partial tile.
    #[error("tile width in `{path}` must be 1 to 255 without leading zeroes")]
    Width {
        /// The path.
        path: String,
    },
}

const LEVEL_MAX: u8 = 63;

impl TileId {
    /// A tile by its numbers; `None` unless the width is 1 to 256 and the
    /// level at most 63.
    #[must_use]
    pub fn new(kind: TileKind, index: u64, width: u16) -> Option<Self> {
        let level_fits = !matches!(kind, TileKind::Hashes(level) if level > LEVEL_MAX);
        (level_fits && (1..=TILE_WIDTH).contains(&width)).then_some(Self { kind, index, width })
    }

    /// A full tile of a level that exists.
    pub(super) fn full(kind: TileKind, index: u64) -> Self {
        Self {
            kind,
            index,
            width: TILE_WIDTH,
        }
    }

    /// Entries or hashes.
    #[must_use]
    pub fn kind(&self) -> TileKind {
        self.kind
    }

    /// Position in its level, from 0.
    #[must_use]
    pub fn index(&self) -> u64 {
        self.index
    }

    /// Number of hashes or entries, 1 to 256.
    #[must_use]
    pub fn width(&self) -> u16 {
        self.width
    }

    /// Whether the tile has all its 256 places.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.width == TILE_WIDTH
    }

    /// The same tile once it is full.
    #[must_use]
    pub fn to_full(self) -> Self {
        Self {
            width: TILE_WIDTH,
            ..self
        }
    }

    /// The path below the log's prefix, for example `tile/0/x001/x234/067.p/8`.
    #[must_use]
    pub fn path(&self) -> String {
        self.to_string()
    }

    /// Whether everything that the tile covers, once it is full, is in front of entry `minimum`: nothing that a log
    /// which was pruned up to there keeps, or proves, is read from it.
    #[must_use]
    pub fn is_below(&self, minimum: u64) -> bool {
        let level = match self.kind {
            TileKind::Entries => 0,
            TileKind::Hashes(level) => level,
        };
        self.index < nodes_at(minimum, level) / u64::from(TILE_WIDTH)
    }

    /// Parses a path as strictly as it is written: one tile has one path.
    ///
    /// # Errors
    /// [`TileNameError`] naming the part that is wrong.
    pub fn parse(path: &str) -> Result<Self, TileNameError> {
        let shape = || TileNameError::Shape {
            path: path.to_owned(),
        };
        let rest = path.strip_prefix("tile/").ok_or_else(shape)?;
        let (level, rest) = rest.split_once('/').ok_or_else(shape)?;
        let kind = match level {
            "entries" => TileKind::Entries,
            _ => parse_decimal(level)
                .filter(|level| *level <= u64::from(LEVEL_MAX))
                .and_then(|level| u8::try_from(level).ok())
                .map(TileKind::Hashes)
                .ok_or_else(|| TileNameError::Level {
                    path: path.to_owned(),
                })?,
        };
        let (groups, width) = match rest.split_once(".p/") {
            None => (rest, TILE_WIDTH),
            Some((groups, width)) => {
                let width = parse_decimal(width)
                    .filter(|width| (1..u64::from(TILE_WIDTH)).contains(width))
                    .and_then(|width| u16::try_from(width).ok())
                    .ok_or_else(|| TileNameError::Width {
                        path: path.to_owned(),
                    })?;
                (groups, width)
            }
        };
        let index = parse_index(groups).ok_or_else(|| TileNameError::Index {
            path: path.to_owned(),
        })?;
        Ok(Self { kind, index, width })
    }
}

impl fmt::Display for TileId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            TileKind::Entries => out.write_str("tile/entries/")?,
            TileKind::Hashes(level) => write!(out, "tile/{level}/")?,
        }
        // u64 has at most 20 digits: seven groups of three.
        for group in (1..7).rev() {
            let above = self.index / 1000_u64.pow(group);
            if above > 0 {
                write!(out, "x{:03}/", above % 1000)?;
            }
        }
        write!(out, "{:03}", self.index % 1000)?;
        if self.width < TILE_WIDTH {
            write!(out, ".p/{}", self.width)?;
        }
        Ok(())
    }
}

/// A decimal without sign or leading zeroes.
fn parse_decimal(text: &str) -> Option<u64> {
    let canonical = !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_digit())
        && (text == "0" || !text.starts_with('0'));
    if canonical { text.parse().ok() } else { None }
}

fn parse_index(groups: &str) -> Option<u64> {
    let mut index: u64 = 0;
    let mut parts = groups.split('/').peekable();
    let mut leading = true;
    while let Some(part) = parts.next() {
        let is_last = parts.peek().is_none();
        let digits = if is_last { part } else { part.strip_prefix('x')? };
        if digits.len() != 3 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let value: u64 = digits.parse().ok()?;
        // `x000/067` would be a second name of tile 67.
        if leading && !is_last && value == 0 {
            return None;
        }
        leading = false;
        index = index.checked_mul(1000)?.checked_add(value)?;
    }
    Some(index)
}

/// The full tiles that lie in front of entry `minimum` and not in front of entry `before`: what pruning from `before` up
/// to `minimum` removes. Bundles come first.
pub fn tiles_below(before: u64, minimum: u64) -> impl Iterator<Item = TileId> {
    let kinds = std::iter::once((TileKind::Entries, 0))
        .chain((0..LEVELS).map(|level| (TileKind::Hashes(level), level)));
    kinds.flat_map(move |(kind, level)| {
        let width = u64::from(TILE_WIDTH);
        let (from, to) = (nodes_at(before, level) / width, nodes_at(minimum, level) / width);
        (from..to).map(move |index| TileId::full(kind, index))
    })
}

/// The files that a tree of `size` entries has when it was pruned up to entry `minimum`.
pub fn tiles_kept(minimum: u64, size: TreeSize) -> impl Iterator<Item = TileId> {
    tiles_between(0, size).filter(move |tile| !tile.is_below(minimum))
}

/// The files that a tree of `new` entries has and a tree of `old` entries does
/// not: per level the tiles that became full, then the partial one. Bundles
/// come first, then hash tiles from level 0 upwards. Nothing when `new <= old`.
pub fn tiles_between(old: TreeSize, new: TreeSize) -> impl Iterator<Item = TileId> {
    let kinds = std::iter::once((TileKind::Entries, 0))
        .chain((0..LEVELS).map(|level| (TileKind::Hashes(level), level)));
    kinds.flat_map(move |(kind, level)| {
        let (before, after) = (nodes_at(old, level), nodes_at(new, level));
        let width = u64::from(TILE_WIDTH);
        let full = (before / width..after / width).map(move |index| TileId::full(kind, index));
        let partial = u16::try_from(after % width)
            .ok()
            .filter(|width| *width > 0 && after > before);
        full.chain(partial.map(move |partial| TileId {
            kind,
            index: after / width,
            width: partial,
        }))
    })
}
