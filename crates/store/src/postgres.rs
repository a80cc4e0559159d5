//! What is special about PostgreSQL: its connections, what is checked before it is used, and its dialect of the schema.
//!
//! Several managers use one database at the same time. A manager that is stopped in the middle of a transaction must not
//! keep the others from writing: the server ends such a session after [`IDLE_MAX`], and what it had not committed is gone.
//! Texts compare by their bytes (collation `C`), as in SQLite, so that lists have the same order on both.
//!
//! This file must never show an address of a database in an error or a log as it was given: it may hold a password.

use crate::StoreError;
use crate::sql::{Arg, Cell, Row};
use sqlx::any::{AnyArguments, AnyPoolOptions, AnyRow, AnyTypeInfoKind};
use sqlx::{Any, AnyPool, Arguments, AssertSqlSafe, Column, Executor, Row as _, SqlStr, Transaction, ValueRef};
use std::sync::Arc;
use std::time::Duration;

/// Connections that only read, for each manager.
pub const READERS_MAX: u32 = 8;
/// Connections that write, for each manager. They take turns: see [`crate::Dialect`].
pub const WRITERS_MAX: u32 = 8;
/// Oldest server: 14, the oldest that its makers still mend when this was written.
const VERSION_MIN: i64 = 140_000;
/// Longest silence inside a transaction before the server ends the session. Between two statements of ours there is no
/// waiting for anybody, so this is the time for which a manager that was stopped can hold the others up.
pub const IDLE_MAX: Duration = Duration::from_secs(10);
/// Longest time that one statement may take; longer than any wait for the lock of writers.
const STATEMENT_MAX: Duration = Duration::from_secs(60);
/// Most tries to begin a transaction, and so to outlast a server that starts anew.
const BEGIN_TRIES: u32 = 6;
/// First wait between two of them; it doubles.
const BEGIN_WAIT: Duration = Duration::from_millis(100);
/// Longest wait for an answer to one statement, for the case that the network swallows everything.
pub(crate) const ANSWER_MAX: Duration = Duration::from_secs(70);

/// Whether an address is one of PostgreSQL.
pub(crate) fn is_address(url: &str) -> bool {
    url.starts_with("postgres:") || url.starts_with("postgresql:")
}

/// A pool of connections with our settings.
async fn pool(url: &str, connections: u32, reads_only: bool) -> Result<AnyPool, sqlx::Error> {
    let ms = |d: Duration| d.as_millis();
    let (idle, statement, lock) = (ms(IDLE_MAX), ms(STATEMENT_MAX), ms(crate::db::WAIT_MAX));
    // The server notices a client whose machine or network is gone by these probes.
    let settings = format!(
        "SET application_name = 'virga-manager'; SET idle_in_transaction_session_timeout = {idle}; SET statement_timeout = {statement}; \
         SET lock_timeout = {lock}; SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3; {}",
        if reads_only { "SET default_transaction_read_only = on;" } else { "" }
    );
    AnyPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(crate::db::WAIT_MAX)
        .after_connect(move |c, _| {
            let settings = settings.clone();
            Box::pin(async move {
                c.execute(sqlx::raw_sql(sqlx::AssertSqlSafe(settings))).await?;
                Ok(())
            })
        })
        .connect(url)
        .await
}

/// Connections to one server.
pub(crate) struct Postgres {
    readers: AnyPool,
    writers: AnyPool,
}

impl Postgres {
    /// Connects: readers and writers. The server must be one that can be used.
    pub(crate) async fn connect(url: &str) -> Result<Postgres, StoreError> {
        sqlx::any::install_default_drivers();
        let writers = pool(url, WRITERS_MAX, false).await.map_err(|e| refused(url, e))?;
        if let Err(e) = check(&writers, url).await {
            writers.close().await;
            return Err(e);
        }
        let readers = pool(url, READERS_MAX, true).await.map_err(|e| refused(url, e))?;
        Ok(Postgres { readers, writers })
    }

    /// Begins a transaction that sees one state of the database throughout.
    pub(crate) async fn read(&self) -> Result<Transaction<'static, Any>, StoreError> {
        self.begin(false).await
    }

    /// Begins the only transaction that writes. Should PostgreSQL need writers side by side, this lock is what has to go,
    /// and every read before a write is the place to look at.
    pub(crate) async fn write(&self) -> Result<Transaction<'static, Any>, StoreError> {
        self.begin(true).await
    }

    /// Begins a transaction. As long as it has not begun nothing has been done, so what passes by itself (a connection that
    /// was cut, a server that starts anew, a lock that was not had in time) is tried again here, for [`BEGIN_TRIES`] at
    /// most (`reliability.md` D6).
    async fn begin(&self, writes: bool) -> Result<Transaction<'static, Any>, StoreError> {
        let mut tries = 0;
        loop {
            let e = match self.begin_once(writes).await {
                Ok(begun) => return Ok(begun),
                Err(e) => e,
            };
            tries += 1;
            if tries == BEGIN_TRIES || !crate::error::passes_by_itself(&e) {
                return Err(e.into());
            }
            tracing::warn!(error = %e, tries, "a transaction did not begin; trying again");
            wait_a_little(tries).await;
        }
    }

    async fn begin_once(&self, writes: bool) -> Result<Transaction<'static, Any>, sqlx::Error> {
        if !writes {
            return self.readers.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY").await;
        }
        let mut t = self.writers.begin_with("BEGIN ISOLATION LEVEL READ COMMITTED").await?;
        sqlx::raw_sql("SELECT pg_advisory_xact_lock(1986621281) IS NULL AS locked").execute(&mut *t).await?;
        Ok(t)
    }

    /// Closes all connections after the transactions under way.
    pub(crate) async fn close(&self) {
        self.readers.close().await;
        self.writers.close().await;
    }
}

/// Waits before another try: longer each time, and not for all callers equally long.
async fn wait_a_little(tries: u32) {
    let longest = BEGIN_WAIT * 2_u32.pow(tries.min(5));
    let chance = u32::from(uuid::Uuid::new_v4().as_bytes()[0]);
    tokio::time::sleep(longest / 2 + longest * chance / 512).await;
}

/// Bounds the wait for an answer of the server.
async fn within<T>(answer: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, StoreError> {
    let late = |_| sqlx::Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, "the database server does not answer"));
    Ok(tokio::time::timeout(ANSWER_MAX, answer).await.map_err(late)??)
}

fn arguments(args: Vec<Arg>) -> Result<AnyArguments, StoreError> {
    let mut out = AnyArguments::default();
    for a in args {
        match a {
            Arg::Text(v) => out.add(v),
            Arg::Int(v) => out.add(v),
        }
        .map_err(|e| StoreError::Db(sqlx::Error::Encode(e)))?;
    }
    Ok(out)
}

fn row(r: &AnyRow) -> Result<Row, StoreError> {
    let names = r.columns().iter().map(|c| c.name().to_string()).collect();
    let mut cells = Vec::with_capacity(r.columns().len());
    for n in 0..r.columns().len() {
        let raw = r.try_get_raw(n)?;
        let kind = raw.type_info().kind();
        cells.push(match kind {
            _ if raw.is_null() => Cell::Null,
            AnyTypeInfoKind::Text => Cell::Text(r.try_get(n)?),
            _ => Cell::Int(r.try_get(n)?),
        });
    }
    Ok(Row { names, cells })
}

fn rows(found: &[AnyRow]) -> Result<Vec<Row>, StoreError> {
    let Some(first) = found.first() else { return Ok(Vec::new()) };
    let names: Arc<[String]> = row(first)?.names;
    found.iter().map(|r| Ok(Row { names: names.clone(), ..row(r)? })).collect()
}

/// Runs a statement; the number of rows it changed.
pub(crate) async fn exec(t: &mut Transaction<'static, Any>, sql: SqlStr, args: Vec<Arg>) -> Result<u64, StoreError> {
    Ok(within(sqlx::query_with(sql, arguments(args)?).execute(&mut **t)).await?.rows_affected())
}

/// The first row, if there is any.
pub(crate) async fn opt(t: &mut Transaction<'static, Any>, sql: SqlStr, args: Vec<Arg>) -> Result<Option<Row>, StoreError> {
    within(sqlx::query_with(sql, arguments(args)?).fetch_optional(&mut **t)).await?.as_ref().map(row).transpose()
}

/// All rows.
pub(crate) async fn all(t: &mut Transaction<'static, Any>, sql: SqlStr, args: Vec<Arg>) -> Result<Vec<Row>, StoreError> {
    rows(&within(sqlx::query_with(sql, arguments(args)?).fetch_all(&mut **t)).await?)
}

/// Runs several statements without parameters, however long they take.
pub(crate) async fn run_script(t: &mut Transaction<'static, Any>, sql: &'static str) -> Result<(), StoreError> {
    let words = format!("SET LOCAL statement_timeout = 0;\n{}", script(sql));
    sqlx::raw_sql(AssertSqlSafe(words)).execute(&mut **t).await?;
    Ok(())
}

/// Gives every row to `take`, without holding them all.
pub(crate) async fn each(
    t: &mut Transaction<'static, Any>,
    sql: SqlStr,
    take: &mut (dyn FnMut(&Row) -> Result<(), StoreError> + Send),
) -> Result<(), StoreError> {
    use futures::TryStreamExt;
    let mut found = sqlx::query(sql).fetch(&mut **t);
    while let Some(r) = found.try_next().await? {
        take(&row(&r)?)?;
    }
    Ok(())
}

/// That the server is new enough, takes writes, and keeps texts as UTF-8.
async fn check(pool: &AnyPool, url: &str) -> Result<(), StoreError> {
    let sql = "SELECT CAST(current_setting('server_version_num') AS BIGINT) AS version, current_setting('server_version') AS name, \
               current_setting('server_encoding') AS encoding, CAST(CAST(pg_is_in_recovery() AS INT) AS BIGINT) AS standby, \
               current_setting('transaction_read_only') AS read_only";
    let row = row(&sqlx::query(sql).fetch_one(pool).await.map_err(|e| refused(url, e))?)?;
    let at = shown(url);
    let unfit = |why: String| Err(StoreError::Setup(format!("The database {at} cannot be used: {why}")));
    if row.int("version")? < VERSION_MIN {
        return unfit(format!("the server is PostgreSQL {}; 14 is the oldest that will do.", row.text("name")?));
    }
    if row.text("encoding")? != "UTF8" {
        return unfit(format!("it keeps texts as {}. Make it with: createdb --encoding UTF8 --template template0 NAME", row.text("encoding")?));
    }
    if row.int("standby")? != 0 {
        return unfit("the server is a standby, which only reads. Give the address of the primary.".into());
    }
    if row.text("read_only")? != "off" {
        return unfit("it is set to read only. Give the address of the primary, or end the read-only mode.".into());
    }
    Ok(())
}

/// Why the server cannot be used, in words.
fn refused(url: &str, e: sqlx::Error) -> StoreError {
    let at = shown(url);
    let why = match &e {
        sqlx::Error::Database(d) => match d.code().as_deref() {
            Some("28P01" | "28000") => format!("the server refused the user or the password ({}).", d.message()),
            Some("3D000") => "there is no such database on the server. Make it with: createdb --encoding UTF8 --template template0 NAME".into(),
            Some("57P03") => "the server starts or stops just now. Try again in a moment.".into(),
            Some("53300") => "the server has no connection left. Raise max_connections.".into(),
            _ => format!("{}.", d.message()),
        },
        sqlx::Error::Io(e) => format!("the server cannot be reached ({e}). Look whether it runs and listens there."),
        sqlx::Error::PoolTimedOut => "the server does not answer. Look whether it runs, and whether a firewall is in between.".into(),
        sqlx::Error::Tls(e) => format!("TLS to the server failed ({e}). See sslmode and sslrootcert in the guide."),
        sqlx::Error::Configuration(e) => format!("the address is not understood ({e})."),
        _ => return StoreError::from(e),
    };
    StoreError::Setup(format!("The database {at} cannot be used: {why}"))
}

/// An address without what is secret in it.
fn shown(url: &str) -> String {
    let rest = url.split_once("://").map_or("", |(_, r)| r);
    let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
    let place = place.rsplit_once('@').map_or(place, |(_, p)| p);
    let socket = query.split('&').find_map(|p| p.strip_prefix("host="));
    socket.map_or_else(|| format!("postgres://{place}"), |s| format!("postgres://{place} at {s}"))
}

/// A script of the schema in PostgreSQL's words: columns of text compare by bytes.
pub(crate) fn script(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2048);
    for line in text.lines().filter(|l| !l.trim_start().starts_with("--")) {
        let mut rest = line;
        while let Some(at) = rest.find(" TEXT") {
            let (before, after) = (&rest[..at], &rest[at + " TEXT".len()..]);
            let ends = !after.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
            let cast = before.ends_with(" AS") || before.ends_with(" as");
            out.push_str(before);
            out.push_str(if ends && !cast { " TEXT COLLATE \"C\"" } else { " TEXT" });
            rest = after;
        }
        out.push_str(rest);
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_password_is_shown() {
        for url in ["postgres://u:secret@db:5432/virga", "postgres://u:secret@db:5432/virga?sslmode=require&password=secret"] {
            assert_eq!(shown(url), "postgres://db:5432/virga");
        }
        assert_eq!(shown("postgres:///virga?host=/run/pg&password=secret"), "postgres:///virga at /run/pg");
    }

    #[test]
    fn columns_of_text_compare_by_bytes() {
        let made = script("-- a TEXT\nCREATE TABLE t (\n a TEXT PRIMARY KEY,\n b TEXT);\nALTER TABLE t ADD COLUMN c TEXT;\nSELECT CAST(a AS TEXT);");
        assert_eq!(made.matches("TEXT COLLATE \"C\"").count(), 3, "{made}");
        assert!(made.contains("CAST(a AS TEXT)") && !made.contains("--"));
    }
}
