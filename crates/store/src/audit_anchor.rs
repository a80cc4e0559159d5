//! Anchors of the chain of audit records: signed statements of what its head was, and removal of records by age.
//!
//! Records are removed from the beginning only, up to an anchor that says so and is signed: what is left can still be
//! verified from there. The newest record always stays, because the next one is chained to it.

use crate::filter_sql::{Field, Fields, Kind};
use crate::list::{self, Page, Paged, Table};
use crate::sql::{Row, args};
use crate::{StoreError, Tx};
use virga_model::Time;
use virga_model::event::AuditAnchor;

const TABLE: Table = Table {
    columns: "audit_anchor.*",
    from: "audit_anchor",
    id: "audit_anchor.seq",
    id_kind: Kind::Integer,
    fields: Fields {
        list: &[
            Field::new("seq", Kind::Integer, &["audit_anchor.seq"]),
            Field::new("at", Kind::Time, &["audit_anchor.at"]),
            Field::new("key", Kind::Text, &["audit_anchor.key_name"]),
            Field::new("pruned", Kind::Bool, &["audit_anchor.pruned"]),
        ],
        labels: false,
    },
    sort: "seq",
    descending: true,
};

fn read(r: &Row) -> Result<AuditAnchor, StoreError> {
    Ok(AuditAnchor {
        seq: r.int("seq")?,
        chain: r.text("chain")?,
        at: r.time("at")?,
        key: r.text("key_name")?,
        signature: r.text("signature")?,
        pruned: r.flag("pruned")?,
    })
}

/// Adds an anchor; one for the same record stays as it is.
///
/// # Errors
/// What the database says.
pub async fn insert(tx: &mut Tx, a: &AuditAnchor) -> Result<(), StoreError> {
    let sql = "INSERT INTO audit_anchor (seq, chain, at, key_name, signature, pruned) VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (seq) DO NOTHING";
    tx.exec(sql, args![a.seq, &a.chain, a.at, &a.key, &a.signature, a.pruned]).await?;
    Ok(())
}

/// The anchor of the newest record that has one.
///
/// # Errors
/// What the database says.
pub async fn last(tx: &mut Tx) -> Result<Option<AuditAnchor>, StoreError> {
    tx.opt("SELECT * FROM audit_anchor ORDER BY seq DESC LIMIT 1", args![]).await?.as_ref().map(read).transpose()
}

/// The anchor up to which records were removed by age.
///
/// # Errors
/// What the database says.
pub async fn pruned(tx: &mut Tx) -> Result<Option<AuditAnchor>, StoreError> {
    tx.opt("SELECT * FROM audit_anchor WHERE pruned = 1 ORDER BY seq DESC LIMIT 1", args![]).await?.as_ref().map(read).transpose()
}

/// Up to `limit` anchors of records after number `seq`, oldest first.
///
/// # Errors
/// What the database says.
pub async fn after(tx: &mut Tx, seq: i64, limit: u32) -> Result<Vec<AuditAnchor>, StoreError> {
    tx.all("SELECT * FROM audit_anchor WHERE seq > $1 ORDER BY seq LIMIT $2 + 0", args![seq, limit]).await?.iter().map(read).collect()
}

/// A page of anchors. Fields: `seq`, `at`, `key`, `pruned`; newest first.
///
/// # Errors
/// [`StoreError::Malformed`] for a wrong page, or what the database says.
pub async fn list(tx: &mut Tx, page: &Page) -> Result<Paged<AuditAnchor>, StoreError> {
    list::list(tx, &TABLE, page, |_| "1 = 1".into(), read).await
}

/// The anchor up to which everything is older than `before` and can be removed, about `limit` records away from the
/// beginning; none: nothing is old enough.
///
/// # Errors
/// What the database says.
pub async fn prunable(tx: &mut Tx, before: Time, limit: u32) -> Result<Option<AuditAnchor>, StoreError> {
    let Some(first) = tx.opt("SELECT id FROM audit ORDER BY id LIMIT 1", args![]).await? else { return Ok(None) };
    let first = first.int("id")?;
    let kept = tx.opt("SELECT id FROM audit WHERE at >= $1 ORDER BY id LIMIT 1", args![before]).await?;
    let last = tx.opt("SELECT id FROM audit ORDER BY id DESC LIMIT 1", args![]).await?;
    // The first that stays: young enough, or the newest of all.
    let Some(kept) = kept.or(last).map(|r| r.int("id")).transpose()? else { return Ok(None) };
    let near = first.saturating_add(i64::from(limit));
    let sql = "SELECT * FROM audit_anchor WHERE seq >= $1 AND seq < $2 AND seq <= $3 ORDER BY seq DESC LIMIT 1";
    if let Some(row) = tx.opt(sql, args![first, kept, near]).await? {
        return read(&row).map(Some);
    }
    let sql = "SELECT * FROM audit_anchor WHERE seq >= $1 AND seq < $2 ORDER BY seq LIMIT 1";
    tx.opt(sql, args![first, kept]).await?.as_ref().map(read).transpose()
}

/// Removes the records up to `anchor`, which was signed anew with `pruned`, and the anchors before it; how many records.
///
/// # Errors
/// [`StoreError::Stale`] when the chain has another value there; then nothing is removed.
pub async fn prune(tx: &mut Tx, anchor: &AuditAnchor) -> Result<u64, StoreError> {
    let sql = "UPDATE audit_anchor SET at = $1, key_name = $2, signature = $3, pruned = 1 WHERE seq = $4 AND chain = $5 \
               AND EXISTS (SELECT 1 FROM audit WHERE audit.id = $4 AND audit.chain = $5)";
    let changed = tx.exec(sql, args![anchor.at, &anchor.key, &anchor.signature, anchor.seq, &anchor.chain]).await?;
    if changed == 0 || !anchor.pruned {
        return Err(StoreError::Stale);
    }
    tx.exec("DELETE FROM audit_anchor WHERE seq < $1", args![anchor.seq]).await?;
    tx.exec("DELETE FROM audit WHERE id <= $1", args![anchor.seq]).await
}
