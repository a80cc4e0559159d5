//! Pages of lists: keyset, with one sort field, a filter, and the condition of what the caller may see.
//!
//! A page begins after the last row of the page before (its sort value and its id), not at a count of rows: rows that
//! come or go meanwhile make no row appear twice or be left out. The position travels as an opaque token.

use crate::filter_sql::{Binds, Field, Fields, Kind};
use crate::sql::{Row, corrupt};
use crate::{StoreError, Tx};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use sqlx::AssertSqlSafe;
use virga_model::Error;
use virga_model::filter::Filter;

/// Most rows of a page.
pub const PAGE_MAX: u32 = 1000;
/// Rows of a page when nobody says how many.
pub const PAGE_DEFAULT: u32 = 100;
/// Longest page token, in bytes.
const TOKEN_BYTES_MAX: usize = 4096;

/// A field to sort by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SortKey {
    /// Name of the field, as in filters.
    pub field: String,
    /// Largest first.
    pub descending: bool,
}

/// Which part of a list is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Most rows; brought between 1 and [`PAGE_MAX`].
    pub limit: u32,
    /// Token of the page before; none: from the beginning.
    pub after: Option<String>,
    /// At most one field; rows that are equal in it come by id. None: the noun's own order.
    pub sort: Vec<SortKey>,
    /// Only these rows.
    pub filter: Option<Filter>,
    /// Also count all rows that the filter leaves.
    pub total: bool,
}

impl Default for Page {
    fn default() -> Page {
        Page { limit: PAGE_DEFAULT, after: None, sort: Vec::new(), filter: None, total: false }
    }
}

/// A part of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paged<T> {
    /// The rows.
    pub items: Vec<T>,
    /// Token for the next page; none: this was the last one.
    pub next: Option<String>,
    /// Rows in all pages, when asked for.
    pub total: Option<i64>,
}

/// What the list of a noun is made of.
pub(crate) struct Table {
    /// Columns of SELECT, without the sort value.
    pub(crate) columns: &'static str,
    /// After FROM, with joins.
    pub(crate) from: &'static str,
    /// Column of the identity, which makes the order total.
    pub(crate) id: &'static str,
    /// Type of that column.
    pub(crate) id_kind: Kind,
    /// What can be filtered and sorted by; one of them is `id`.
    pub(crate) fields: Fields,
    /// Order when none is asked for.
    pub(crate) sort: &'static str,
    /// That order is largest first.
    pub(crate) descending: bool,
}

/// What a page token holds.
#[derive(Serialize, Deserialize)]
struct Position {
    /// Sort field, with `-` before it when descending.
    s: String,
    /// Sort value of the last row.
    v: serde_json::Value,
    /// Id of the last row.
    i: serde_json::Value,
}

/// The order of one request.
struct Order<'t> {
    table: &'t Table,
    column: &'static str,
    kind: Kind,
    /// As in [`Position::s`].
    name: String,
    descending: bool,
}

impl<'t> Order<'t> {
    fn of(table: &'t Table, sort: &[SortKey]) -> Result<Order<'t>, StoreError> {
        let (field, descending) = match sort {
            [] => (table.fields.find(table.sort)?, table.descending),
            [key] => (table.fields.find(&key.field)?, key.descending),
            _ => return Err(malformed("A list is sorted by one field; rows that are equal in it come by id.")),
        };
        let Field { name, kind, columns: [column, ..], within: None } = *field else {
            return Err(malformed(format!("The list cannot be sorted by {}.", field.name)));
        };
        let sign = if descending { "-" } else { "" };
        Ok(Order { table, column, kind, name: format!("{sign}{name}"), descending })
    }

    /// The condition that a row comes after the token's.
    fn after(&self, b: &mut Binds, token: &str) -> Result<String, StoreError> {
        let bad = || malformed("The page token is not of this list, or was changed; begin at the first page.");
        let bytes = if token.len() <= TOKEN_BYTES_MAX { URL_SAFE_NO_PAD.decode(token).map_err(|_| bad())? } else { return Err(bad()) };
        let p: Position = serde_json::from_slice(&bytes).map_err(|_| bad())?;
        if p.s != self.name {
            return Err(malformed("The page token belongs to another sort order; begin at the first page."));
        }
        let v = bind_value(b, self.kind, &p.v).ok_or_else(bad)?;
        let i = bind_value(b, self.table.id_kind, &p.i).ok_or_else(bad)?;
        let sign = if self.descending { "<" } else { ">" };
        Ok(format!("({}, {}) {sign} ({v}, {i})", self.column, self.table.id))
    }

    /// The token that leads to what comes after `row`.
    fn token(&self, row: &Row) -> Result<String, StoreError> {
        let p = Position { s: self.name.clone(), v: read_value(row, self.kind, "page_value")?, i: read_value(row, self.table.id_kind, "page_id")? };
        Ok(URL_SAFE_NO_PAD.encode(serde_json::to_vec(&p).map_err(|_| corrupt("page_value"))?))
    }
}

fn bind_value(b: &mut Binds, kind: Kind, v: &serde_json::Value) -> Option<String> {
    if kind.is_text() { v.as_str().map(|s| b.bind(s)) } else { v.as_i64().map(|n| b.bind(n)) }
}

fn read_value(row: &Row, kind: Kind, column: &str) -> Result<serde_json::Value, StoreError> {
    Ok(if kind.is_text() { row.text(column)?.into() } else { row.int(column)?.into() })
}

fn malformed(message: impl Into<String>) -> StoreError {
    StoreError::Malformed(Error::malformed(message))
}

/// Reads a page of `table`; `scope` gives the condition of what the caller may see.
pub(crate) async fn list<T>(
    tx: &mut Tx,
    table: &Table,
    page: &Page,
    scope: impl FnOnce(&mut Binds) -> String,
    read: impl Fn(&Row) -> Result<T, StoreError>,
) -> Result<Paged<T>, StoreError> {
    let order = Order::of(table, &page.sort).map_err(|e| e.about("sort"))?;
    let mut b = Binds::default();
    let mut condition = scope(&mut b);
    if let Some(f) = &page.filter {
        condition = format!("{condition} AND {}", table.fields.condition(&mut b, f).map_err(|e| e.about("filter"))?);
    }
    let total = if page.total { Some(count(tx, table, &condition, &b).await?) } else { None };
    if let Some(token) = &page.after {
        condition = format!("{condition} AND {}", order.after(&mut b, token).map_err(|e| e.about("page_token"))?);
    }
    let limit = page.limit.clamp(1, PAGE_MAX);
    let direction = if order.descending { "DESC" } else { "ASC" };
    let (Table { columns, from, id, .. }, value) = (table, order.column);
    // Only text of this crate goes into the statement: columns, conditions from the whitelist, places of parameters.
    let sql = format!(
        "SELECT {columns}, {value} AS page_value, {id} AS page_id FROM {from} WHERE {condition} \
         ORDER BY {value} {direction}, {id} {direction} LIMIT {}",
        limit + 1
    );
    let mut rows = tx.scan(AssertSqlSafe(sql), b.done()).await?;
    let more = rows.len() > limit as usize;
    rows.truncate(limit as usize);
    let next = match (more, rows.last()) {
        (true, Some(last)) => Some(order.token(last)?),
        _ => None,
    };
    Ok(Paged { items: rows.iter().map(read).collect::<Result<_, _>>()?, next, total })
}

async fn count(tx: &mut Tx, table: &Table, condition: &str, b: &Binds) -> Result<i64, StoreError> {
    let sql = format!("SELECT COUNT(*) AS n FROM {} WHERE {condition}", table.from);
    tx.scan(AssertSqlSafe(sql), b.so_far()).await?.first().ok_or_else(|| corrupt("n"))?.int("n")
}
