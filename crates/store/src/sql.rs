//! Values into statements, and rows into nouns.
//!
//! A row is never trusted: what does not fit its type is [`StoreError::Corrupt`], never a panic.

use crate::StoreError;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::str::FromStr;
use std::sync::Arc;
use uuid::Uuid;
use virga_model::Time;

/// A bound value: the two types of column that there are, each may be NULL.
#[derive(Clone, Debug)]
pub(crate) enum Arg {
    /// TEXT.
    Text(Option<String>),
    /// BIGINT.
    Int(Option<i64>),
}

/// The bound values of a statement, `$1` first.
macro_rules! args {
    ($($v:expr),* $(,)?) => { vec![$($crate::sql::Arg::from($v)),*] };
}
pub(crate) use args;

impl From<&str> for Arg {
    fn from(v: &str) -> Arg {
        Arg::Text(Some(v.to_string()))
    }
}

impl From<&String> for Arg {
    fn from(v: &String) -> Arg {
        Arg::Text(Some(v.clone()))
    }
}

impl From<String> for Arg {
    fn from(v: String) -> Arg {
        Arg::Text(Some(v))
    }
}

impl From<Option<String>> for Arg {
    fn from(v: Option<String>) -> Arg {
        Arg::Text(v)
    }
}

impl From<i64> for Arg {
    fn from(v: i64) -> Arg {
        Arg::Int(Some(v))
    }
}

impl From<u32> for Arg {
    fn from(v: u32) -> Arg {
        Arg::Int(Some(i64::from(v)))
    }
}

impl From<u64> for Arg {
    /// Sizes stay far below 2^63; what does not fit becomes the largest number.
    fn from(v: u64) -> Arg {
        Arg::Int(Some(i64::try_from(v).unwrap_or(i64::MAX)))
    }
}

impl From<bool> for Arg {
    fn from(v: bool) -> Arg {
        Arg::Int(Some(i64::from(v)))
    }
}

impl From<Time> for Arg {
    fn from(v: Time) -> Arg {
        Arg::Int(Some(v.0))
    }
}

impl From<Option<Time>> for Arg {
    fn from(v: Option<Time>) -> Arg {
        Arg::Int(v.map(|t| t.0))
    }
}

impl From<Uuid> for Arg {
    fn from(v: Uuid) -> Arg {
        Arg::Text(Some(v.to_string()))
    }
}

macro_rules! ids {
    ($($t:ident),+) => {$(
        impl From<virga_model::$t> for Arg {
            fn from(v: virga_model::$t) -> Arg {
                Arg::Text(Some(v.to_string()))
            }
        }
        impl From<Option<virga_model::$t>> for Arg {
            fn from(v: Option<virga_model::$t>) -> Arg {
                Arg::Text(v.map(|i| i.to_string()))
            }
        }
    )+};
}
ids!(VmId, SnapshotId, LayerId, HostId, ImageId, NetworkId, DataStoreId, TaskId, UserId, TokenId, SessionId, RoleBindingId, JoinTokenId);

/// `v` as JSON text.
pub(crate) fn json<T: Serialize>(v: &T) -> Result<String, StoreError> {
    serde_json::to_string(v).map_err(|e| StoreError::Corrupt(format!("cannot write JSON: {e}")))
}

/// The one word of an enum without fields.
pub(crate) fn word<T: Serialize>(v: &T) -> Result<String, StoreError> {
    match serde_json::to_value(v) {
        Ok(serde_json::Value::String(s)) => Ok(s),
        _ => Err(StoreError::Corrupt("not a word".into())),
    }
}

/// The enum that `text` is the word of.
pub(crate) fn from_word<T: DeserializeOwned>(column: &str, text: &str) -> Result<T, StoreError> {
    serde_json::from_value(serde_json::Value::String(text.to_string())).map_err(|_| corrupt(column))
}

pub(crate) fn corrupt(column: &str) -> StoreError {
    StoreError::Corrupt(format!("column {column} does not hold what it should"))
}

/// A value of a row: the two types of column that there are, or nothing.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Cell {
    /// NULL.
    Null,
    /// BIGINT.
    Int(i64),
    /// TEXT.
    Text(String),
}

/// A row that was read, of whichever engine; columns are found by name.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    /// Names of the columns, shared by all rows of an answer.
    pub(crate) names: Arc<[String]>,
    /// A cell for each column.
    pub(crate) cells: Vec<Cell>,
}

impl Row {
    fn cell(&self, column: &str) -> Result<&Cell, StoreError> {
        self.names.iter().position(|n| n == column).and_then(|i| self.cells.get(i)).ok_or_else(|| corrupt(column))
    }

    pub(crate) fn opt_text(&self, column: &str) -> Result<Option<String>, StoreError> {
        Ok(self.opt_str(column)?.map(str::to_string))
    }

    pub(crate) fn opt_str(&self, column: &str) -> Result<Option<&str>, StoreError> {
        match self.cell(column)? {
            Cell::Null => Ok(None),
            Cell::Text(t) => Ok(Some(t)),
            Cell::Int(_) => Err(corrupt(column)),
        }
    }

    pub(crate) fn opt_int(&self, column: &str) -> Result<Option<i64>, StoreError> {
        match self.cell(column)? {
            Cell::Null => Ok(None),
            Cell::Int(n) => Ok(Some(*n)),
            Cell::Text(_) => Err(corrupt(column)),
        }
    }

    pub(crate) fn str(&self, column: &str) -> Result<&str, StoreError> {
        self.opt_str(column)?.ok_or_else(|| corrupt(column))
    }

    pub(crate) fn text(&self, column: &str) -> Result<String, StoreError> {
        Ok(self.str(column)?.to_string())
    }

    pub(crate) fn int(&self, column: &str) -> Result<i64, StoreError> {
        self.opt_int(column)?.ok_or_else(|| corrupt(column))
    }

    pub(crate) fn number<T: TryFrom<i64>>(&self, column: &str) -> Result<T, StoreError> {
        T::try_from(self.int(column)?).map_err(|_| corrupt(column))
    }

    pub(crate) fn flag(&self, column: &str) -> Result<bool, StoreError> {
        Ok(self.int(column)? != 0)
    }

    pub(crate) fn time(&self, column: &str) -> Result<Time, StoreError> {
        Ok(Time(self.int(column)?))
    }

    pub(crate) fn opt_time(&self, column: &str) -> Result<Option<Time>, StoreError> {
        Ok(self.opt_int(column)?.map(Time))
    }

    pub(crate) fn id<T: FromStr>(&self, column: &str) -> Result<T, StoreError> {
        self.str(column)?.parse().map_err(|_| corrupt(column))
    }

    pub(crate) fn opt_id<T: FromStr>(&self, column: &str) -> Result<Option<T>, StoreError> {
        self.opt_str(column)?.map(|t| t.parse().map_err(|_| corrupt(column))).transpose()
    }

    pub(crate) fn word<T: DeserializeOwned>(&self, column: &str) -> Result<T, StoreError> {
        from_word(column, self.str(column)?)
    }

    pub(crate) fn json<T: DeserializeOwned>(&self, column: &str) -> Result<T, StoreError> {
        serde_json::from_str(self.str(column)?).map_err(|e| StoreError::Corrupt(format!("column {column}: {e}")))
    }

    pub(crate) fn opt_json<T: DeserializeOwned>(&self, column: &str) -> Result<Option<T>, StoreError> {
        let Some(text) = self.opt_str(column)? else { return Ok(None) };
        serde_json::from_str(text).map(Some).map_err(|e| StoreError::Corrupt(format!("column {column}: {e}")))
    }
}
