//! Audit records, chained by hashes: changing, removing or inserting one shows.
//!
//! The chain value of a record is SHA-256 over the chain value before it and the record itself. It makes tampering
//! evident to whoever knows a later chain value; it does not hinder somebody who can rewrite the whole table. For that
//! there are anchors ([`crate::audit_anchor`]), kept outside.
//!
//! There is no function that changes or removes a single record, and there must never be one.

use crate::event::{next_number, settle_counters};
use crate::filter_sql::{Field, Fields, Kind};
use crate::list::{self, Page, Paged, Table};
use crate::sql::{Row, args, corrupt};
use crate::{StoreError, Tx};
use sha2::{Digest, Sha256};
use uuid::Uuid;
use virga_model::event::AuditRecord;
use virga_model::task::ObjectRef;

/// Rows that [`verify`] reads at a time.
const VERIFY_ROWS: u32 = 1000;

const TABLE: Table = Table {
    columns: "audit.*",
    from: "audit",
    id: "audit.id",
    id_kind: Kind::Integer,
    fields: Fields {
        list: &[
            Field::new("id", Kind::Integer, &["audit.id"]),
            Field::new("at", Kind::Time, &["audit.at"]),
            Field::new("user", Kind::Text, &["audit.actor", "COALESCE(audit.user_id, '')"]),
            Field::new("actor", Kind::Text, &["audit.actor"]),
            Field::new("source", Kind::Text, &["audit.source"]),
            Field::new("operation", Kind::Text, &["audit.operation"]),
            Field::new("object", Kind::Text, &["audit.object_name", "audit.object_id"]),
            Field::new("object_kind", Kind::Text, &["audit.object_kind"]),
            Field::new("result", Kind::Text, &["audit.result"]),
            Field::new("request_id", Kind::Text, &["audit.request_id"]),
        ],
        labels: false,
    },
    sort: "id",
    descending: true,
};

fn read(r: &Row) -> Result<AuditRecord, StoreError> {
    Ok(AuditRecord {
        id: r.int("id")?,
        at: r.time("at")?,
        user: r.opt_id("user_id")?,
        actor: r.text("actor")?,
        source: r.text("source")?,
        operation: r.text("operation")?,
        object: ObjectRef::from_parts(&r.text("object_kind")?, r.id::<Uuid>("object_id")?).ok_or_else(|| corrupt("object_kind"))?,
        object_name: r.text("object_name")?,
        result: r.text("result")?,
        request_id: r.text("request_id")?,
        detail: r.text("detail")?,
    })
}

/// The chain value of `r` after `before`. The list of fields is fixed: a field that the model gets later is to be
/// added at the end, and only where it is not empty, so that old records keep their value.
fn chain(before: &str, r: &AuditRecord) -> String {
    let record = serde_json::json!([
        r.id,
        r.at.0,
        r.user.map(|u| u.to_string()),
        r.actor,
        r.source,
        r.operation,
        r.object.kind(),
        r.object.id().to_string(),
        r.object_name,
        r.result,
        r.request_id,
        r.detail
    ]);
    hex::encode(Sha256::digest(format!("{before}\n{record}").as_bytes()))
}

/// Most characters of a text of a record.
const TEXT_CHARS_MAX: usize = 2000;

/// The record as every engine gives it back: what callers typed may hold a NUL, which no engine keeps, and the chain must
/// be that of the row. Nor may it play tricks on who reads the records, or fill the disk (`reliability.md` J6).
fn storable(mut r: AuditRecord) -> AuditRecord {
    for text in [&mut r.actor, &mut r.source, &mut r.operation, &mut r.object_name, &mut r.result, &mut r.request_id, &mut r.detail] {
        *text = virga_model::name::clean(text, TEXT_CHARS_MAX);
    }
    r
}

/// Adds a record and gives it the next number (its own `id` does not matter).
///
/// # Errors
/// What the database says.
pub async fn append(tx: &mut Tx, r: &AuditRecord) -> Result<i64, StoreError> {
    let id = next_number(tx, "audit").await?;
    let before = match tx.audited.take() {
        Some((last, chain)) if last == id - 1 => chain,
        _ => {
            let row = tx.opt("SELECT chain FROM audit WHERE id = $1", args![id - 1]).await?;
            row.map(|row| row.text("chain")).transpose()?.unwrap_or_default()
        }
    };
    let r = storable(AuditRecord { id, ..r.clone() });
    let chain = chain(&before, &r);
    let sql = "INSERT INTO audit (id, at, user_id, actor, source, operation, object_kind, object_id, object_name, result, request_id, detail, chain) \
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)";
    let a =
        args![id, r.at, r.user, &r.actor, &r.source, &r.operation, r.object.kind(), r.object.id(), &r.object_name, &r.result, &r.request_id, &r.detail, &chain];
    tx.exec(sql, a).await?;
    tx.audited = Some((id, chain));
    Ok(id)
}

/// Number and chain value of the newest record; 0 and nothing before the first one. The value is none when the record is
/// not there any more, although it was written.
///
/// # Errors
/// What the database says.
pub async fn head(tx: &mut Tx) -> Result<(i64, Option<String>), StoreError> {
    settle_counters(tx).await?;
    let last = tx.opt("SELECT value FROM counter WHERE name = 'audit'", args![]).await?.ok_or_else(|| corrupt("counter"))?.int("value")?;
    let row = tx.opt("SELECT chain FROM audit WHERE id = $1", args![last]).await?;
    Ok((last, row.map(|r| r.text("chain")).transpose()?))
}

/// Up to `limit` records after number `id` with their chain values, oldest first.
///
/// # Errors
/// What the database says.
pub async fn after(tx: &mut Tx, id: i64, limit: u32) -> Result<Vec<(AuditRecord, String)>, StoreError> {
    let rows = tx.all("SELECT * FROM audit WHERE id > $1 ORDER BY id LIMIT $2 + 0", args![id, limit]).await?;
    rows.iter().map(|r| Ok((read(r)?, r.text("chain")?))).collect()
}

/// Checks the whole chain, from where pruning by age has left it. None: nothing was changed, removed or inserted; else the number of the first record that is
/// not as it was written or is missing.
///
/// # Errors
/// What the database says.
pub async fn verify(tx: &mut Tx) -> Result<Option<i64>, StoreError> {
    settle_counters(tx).await?;
    let last = tx.opt("SELECT value FROM counter WHERE name = 'audit'", args![]).await?.ok_or_else(|| corrupt("counter"))?.int("value")?;
    let (mut id, mut before) = crate::audit_anchor::pruned(tx).await?.map_or((0, String::new()), |a| (a.seq, a.chain));
    loop {
        let rows = tx.all("SELECT * FROM audit WHERE id > $1 ORDER BY id LIMIT $2 + 0", args![id, VERIFY_ROWS]).await?;
        if rows.is_empty() {
            return Ok((id < last).then_some(id + 1));
        }
        for row in &rows {
            // A row that cannot even be read was changed as well.
            let written = row.text("chain").unwrap_or_default();
            let good = read(row).is_ok_and(|r| r.id == id + 1 && r.id <= last && chain(&before, &r) == written);
            if !good {
                return Ok(Some(id + 1));
            }
            id += 1;
            before = written;
        }
    }
}

/// A page of audit records. Fields: `id`, `at`, `user`, `actor`, `source`, `operation`, `object`, `object_kind`,
/// `result`, `request_id`; newest first.
///
/// # Errors
/// [`StoreError::Malformed`] for a wrong page, or what the database says.
pub async fn list(tx: &mut Tx, page: &Page) -> Result<Paged<AuditRecord>, StoreError> {
    list::list(tx, &TABLE, page, |_| "1 = 1".into(), read).await
}
