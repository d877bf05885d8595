//! Values on their way to and from a statement, the same for both engines.

use bailiwick_base::{Digest, Time};
use uuid::Uuid;

use crate::error::StoreError;

/// A parameter.
#[derive(Debug, Clone)]
pub(crate) enum Arg {
    Bytes(Vec<u8>),
    BytesOrNull(Option<Vec<u8>>),
    Int(i64),
    IntOrNull(Option<i64>),
    Text(String),
    TextOrNull(Option<String>),
}

impl From<i64> for Arg {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}
impl From<Option<i64>> for Arg {
    fn from(value: Option<i64>) -> Self {
        Self::IntOrNull(value)
    }
}
impl From<Time> for Arg {
    fn from(value: Time) -> Self {
        Self::Int(value.micros())
    }
}
impl From<&str> for Arg {
    fn from(value: &str) -> Self {
        Self::Text(value.to_owned())
    }
}
impl From<String> for Arg {
    fn from(value: String) -> Self {
        Self::Text(value)
    }
}
impl From<Option<&str>> for Arg {
    fn from(value: Option<&str>) -> Self {
        Self::TextOrNull(value.map(str::to_owned))
    }
}
impl From<Option<String>> for Arg {
    fn from(value: Option<String>) -> Self {
        Self::TextOrNull(value)
    }
}
impl From<&[u8]> for Arg {
    fn from(value: &[u8]) -> Self {
        Self::Bytes(value.to_vec())
    }
}
impl From<Vec<u8>> for Arg {
    fn from(value: Vec<u8>) -> Self {
        Self::Bytes(value)
    }
}
impl From<Option<Vec<u8>>> for Arg {
    fn from(value: Option<Vec<u8>>) -> Self {
        Self::BytesOrNull(value)
    }
}
impl From<Uuid> for Arg {
    fn from(value: Uuid) -> Self {
        Self::Bytes(value.as_bytes().to_vec())
    }
}
impl From<Option<Uuid>> for Arg {
    fn from(value: Option<Uuid>) -> Self {
        Self::BytesOrNull(value.map(|id| id.as_bytes().to_vec()))
    }
}
impl From<Digest> for Arg {
    fn from(value: Digest) -> Self {
        Self::Bytes(value.0.to_vec())
    }
}

/// `[…]` of [`Arg`]s from values of different types.
macro_rules! args {
    ($($value:expr),* $(,)?) => { vec![$($crate::row::Arg::from($value)),*] };
}
pub(crate) use args;

/// One value of a result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Cell {
    Bytes(Vec<u8>),
    Int(i64),
    Null,
    /// A type that no column of ours has.
    Other,
    Text(String),
}

/// One row of a result, before it is taken apart.
pub(crate) type Cells = Vec<Cell>;

/// Takes a row apart in the order of its columns. Every misfit is a [`StoreError::RowCorrupt`].
pub(crate) struct Fields {
    table: &'static str,
    cells: Cells,
    next: usize,
}

impl Fields {
    pub(crate) fn of(table: &'static str, cells: Cells) -> Self {
        Self {
            table,
            cells,
            next: 0,
        }
    }

    /// The typed error for `column` of this row.
    pub(crate) fn corrupt(&self, column: &'static str) -> StoreError {
        let shown = |cell: &Cell| match cell {
            Cell::Bytes(bytes) => bytes.iter().take(16).map(|b| format!("{b:02x}")).collect(),
            Cell::Int(n) => n.to_string(),
            Cell::Null => "null".to_owned(),
            Cell::Other => "?".to_owned(),
            Cell::Text(text) => bailiwick_base::limits::shown(text),
        };
        let row = self.cells.iter().take(2).map(shown).collect::<Vec<_>>().join("/");
        StoreError::RowCorrupt {
            table: self.table,
            column,
            row,
        }
    }

    fn take(&mut self) -> Cell {
        let cell = self.cells.get(self.next).cloned().unwrap_or(Cell::Other);
        self.next += 1;
        cell
    }

    pub(crate) fn text(&mut self, column: &'static str) -> Result<String, StoreError> {
        self.text_or_null(column)?.ok_or_else(|| self.corrupt(column))
    }

    pub(crate) fn text_or_null(&mut self, column: &'static str) -> Result<Option<String>, StoreError> {
        match self.take() {
            Cell::Text(text) => Ok(Some(text)),
            Cell::Null => Ok(None),
            Cell::Bytes(_) | Cell::Int(_) | Cell::Other => Err(self.corrupt(column)),
        }
    }

    pub(crate) fn int(&mut self, column: &'static str) -> Result<i64, StoreError> {
        self.int_or_null(column)?.ok_or_else(|| self.corrupt(column))
    }

    pub(crate) fn int_or_null(&mut self, column: &'static str) -> Result<Option<i64>, StoreError> {
        match self.take() {
            Cell::Int(value) => Ok(Some(value)),
            Cell::Null => Ok(None),
            Cell::Bytes(_) | Cell::Other | Cell::Text(_) => Err(self.corrupt(column)),
        }
    }

    /// A number that is never negative.
    pub(crate) fn number(&mut self, column: &'static str) -> Result<u64, StoreError> {
        u64::try_from(self.int(column)?).map_err(|_| self.corrupt(column))
    }

    pub(crate) fn time(&mut self, column: &'static str) -> Result<Time, StoreError> {
        self.int(column).map(Time::from_micros)
    }

    pub(crate) fn bytes(&mut self, column: &'static str) -> Result<Vec<u8>, StoreError> {
        self.bytes_or_null(column)?.ok_or_else(|| self.corrupt(column))
    }

    pub(crate) fn bytes_or_null(&mut self, column: &'static str) -> Result<Option<Vec<u8>>, StoreError> {
        match self.take() {
            Cell::Bytes(bytes) => Ok(Some(bytes)),
            Cell::Null => Ok(None),
            Cell::Int(_) | Cell::Other | Cell::Text(_) => Err(self.corrupt(column)),
        }
    }

    pub(crate) fn uuid(&mut self, column: &'static str) -> Result<Uuid, StoreError> {
        self.uuid_or_null(column)?.ok_or_else(|| self.corrupt(column))
    }

    pub(crate) fn uuid_or_null(&mut self, column: &'static str) -> Result<Option<Uuid>, StoreError> {
        self.bytes_or_null(column)?
            .map(|b| Uuid::from_slice(&b).map_err(|_| self.corrupt(column)))
            .transpose()
    }

    pub(crate) fn digest(&mut self, column: &'static str) -> Result<Digest, StoreError> {
        let bytes = self.bytes(column)?;
        bytes.try_into().map(Digest).map_err(|_| self.corrupt(column))
    }

    /// A text that `parse` understands.
    pub(crate) fn word<T>(
        &mut self,
        column: &'static str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T, StoreError> {
        let text = self.text(column)?;
        parse(&text).ok_or_else(|| self.corrupt(column))
    }
}

/// A counter as it is bound.
pub(crate) fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
