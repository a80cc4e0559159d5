//! Opening the database, and the one transaction type.
//!
//! SQLite takes one writer at a time. So there is one writing connection, for which callers queue in order, and every
//! writing transaction takes the lock at once (`BEGIN IMMEDIATE`): an upgrade from reading to writing would fail
//! with "database is locked" however long one waits. Readers have connections of their own that cannot write and,
//! in WAL mode, neither wait for the writer nor make it wait.

use crate::StoreError;
use crate::migrate;
use crate::sql::Arg;
use sqlx::any::{AnyArguments, AnyPoolOptions, AnyRow};
use sqlx::{Any, AnyPool, Arguments, Executor, SqlSafeStr, Transaction};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Connections that only read.
pub const READERS_MAX: u32 = 4;
/// Connections on PostgreSQL.
pub const CONNECTIONS_MAX: u32 = 16;
/// Longest wait for a connection, and so for the writers before.
pub const WAIT_MAX: Duration = Duration::from_secs(30);

/// What differs between the engines. Everything else is the same text for both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// SQLite.
    Sqlite,
    /// PostgreSQL.
    Postgres,
}

impl Dialect {
    /// Begins a reading transaction that sees one state of the database throughout.
    fn begin_read(self) -> &'static str {
        match self {
            Dialect::Sqlite => "BEGIN DEFERRED",
            Dialect::Postgres => "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY",
        }
    }

    /// Begins a writing transaction.
    fn begin_write(self) -> &'static str {
        match self {
            Dialect::Sqlite => "BEGIN IMMEDIATE",
            Dialect::Postgres => "BEGIN ISOLATION LEVEL READ COMMITTED",
        }
    }

    /// What makes the writing transaction the only one. Callers read, decide and write without fear of others, on both
    /// engines; readers never wait. Should PostgreSQL need writers side by side, this is the line to go, and every
    /// read before a write the place to look at.
    fn one_writer(self) -> Option<&'static str> {
        match self {
            Dialect::Sqlite => None,
            Dialect::Postgres => Some("SELECT pg_advisory_xact_lock(1986621281) IS NULL AS locked"),
        }
    }
}

/// The database. Cheap to clone; all clones share the connections.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

struct Inner {
    dialect: Dialect,
    readers: AnyPool,
    writer: AnyPool,
    /// Removed with the last clone; only of [`Store::memory`].
    _dir: Option<tempfile::TempDir>,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The address of the database may hold a password.
        f.debug_struct("Store").field("dialect", &self.0.dialect).finish_non_exhaustive()
    }
}

impl Store {
    /// Opens the database at `url` (`sqlite:///var/lib/virga/manager.db`), makes it where there is none (mode 0600)
    /// and brings its schema up to date.
    ///
    /// # Errors
    /// When the address is not understood, the file cannot be made or read, or a newer Virga wrote it.
    pub async fn open(url: &str) -> Result<Store, StoreError> {
        Store::open_with(url, "FULL", None).await
    }

    /// A private, empty database for tests; it vanishes with the last clone.
    ///
    /// It is a temporary file and not SQLite's `:memory:`, so that tests meet the same locking as the product.
    ///
    /// # Errors
    /// When no temporary file can be made.
    pub async fn memory() -> Result<Store, StoreError> {
        let dir = tempfile::tempdir().map_err(|e| StoreError::Db(sqlx::Error::Io(e)))?;
        let url = format!("sqlite://{}", dir.path().join("virga.db").display());
        Store::open_with(&url, "OFF", Some(dir)).await
    }

    async fn open_with(url: &str, synchronous: &'static str, dir: Option<tempfile::TempDir>) -> Result<Store, StoreError> {
        sqlx::any::install_default_drivers();
        let inner = if url.starts_with("postgres:") || url.starts_with("postgresql:") {
            let pool = AnyPoolOptions::new().max_connections(CONNECTIONS_MAX).acquire_timeout(WAIT_MAX).connect(url).await?;
            Inner { dialect: Dialect::Postgres, readers: pool.clone(), writer: pool, _dir: dir }
        } else {
            make_private(&sqlite_path(url)?).map_err(|e| StoreError::Db(sqlx::Error::Io(e)))?;
            let writer = sqlite_pool(url, 1, synchronous, false).await?;
            let readers = sqlite_pool(url, READERS_MAX, synchronous, true).await?;
            Inner { dialect: Dialect::Sqlite, readers, writer, _dir: dir }
        };
        let store = Store(Arc::new(inner));
        migrate::run(&store).await?;
        Ok(store)
    }

    /// A transaction that only reads, and sees one state of the database throughout.
    ///
    /// # Errors
    /// [`StoreError::Busy`] when no connection comes free, or what the database says.
    pub async fn read(&self) -> Result<Tx, StoreError> {
        let inner = self.0.readers.begin_with(self.0.dialect.begin_read()).await?;
        Ok(Tx { inner, dialect: self.0.dialect, writes: false, failed: false })
    }

    /// A transaction that writes, the only one at this time: keep it short, and never wait for anything
    /// but the database while holding it.
    ///
    /// # Errors
    /// [`StoreError::Busy`] when the writers before take too long, or what the database says.
    pub async fn write(&self) -> Result<Tx, StoreError> {
        let inner = self.0.writer.begin_with(self.0.dialect.begin_write()).await?;
        let mut tx = Tx { inner, dialect: self.0.dialect, writes: true, failed: false };
        if let Some(sql) = self.0.dialect.one_writer() {
            tx.exec(sql, Vec::new()).await?;
        }
        Ok(tx)
    }

    /// Closes all connections after the transactions under way; later calls fail.
    pub async fn close(&self) {
        self.0.readers.close().await;
        self.0.writer.close().await;
    }
}

/// A transaction. Dropping it without [`Tx::commit`] undoes everything.
///
/// After the database refused a statement (say, [`StoreError::Taken`]) it can only be dropped: PostgreSQL wants it so,
/// and on any engine what was written before may be half of something.
pub struct Tx {
    inner: Transaction<'static, Any>,
    dialect: Dialect,
    writes: bool,
    failed: bool,
}

impl std::fmt::Debug for Tx {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tx").field("dialect", &self.dialect).field("writes", &self.writes).finish_non_exhaustive()
    }
}

impl Tx {
    /// Makes everything that was written durable and visible.
    ///
    /// # Errors
    /// What the database says, or that a statement failed before; then nothing was written.
    pub async fn commit(self) -> Result<(), StoreError> {
        self.usable()?;
        Ok(self.inner.commit().await?)
    }

    /// Runs a statement; the number of rows it changed.
    pub(crate) async fn exec(&mut self, sql: impl SqlSafeStr, args: Vec<Arg>) -> Result<u64, StoreError> {
        self.usable()?;
        let r = sqlx::query_with(sql, arguments(args)?).execute(&mut *self.inner).await;
        Ok(self.note(r)?.rows_affected())
    }

    /// The first row, if there is any.
    pub(crate) async fn opt(&mut self, sql: impl SqlSafeStr, args: Vec<Arg>) -> Result<Option<AnyRow>, StoreError> {
        self.usable()?;
        let r = sqlx::query_with(sql, arguments(args)?).fetch_optional(&mut *self.inner).await;
        self.note(r)
    }

    /// All rows.
    pub(crate) async fn all(&mut self, sql: impl SqlSafeStr, args: Vec<Arg>) -> Result<Vec<AnyRow>, StoreError> {
        self.usable()?;
        let r = sqlx::query_with(sql, arguments(args)?).fetch_all(&mut *self.inner).await;
        self.note(r)
    }

    /// Runs several statements without parameters.
    pub(crate) async fn script(&mut self, sql: &'static str) -> Result<(), StoreError> {
        self.usable()?;
        let r = sqlx::raw_sql(sql).execute(&mut *self.inner).await;
        self.note(r).map(|_| ())
    }

    fn usable(&self) -> Result<(), StoreError> {
        let why = "an earlier statement of this transaction failed; it can only be dropped";
        if self.failed { Err(StoreError::Db(sqlx::Error::Protocol(why.into()))) } else { Ok(()) }
    }

    fn note<T>(&mut self, r: Result<T, sqlx::Error>) -> Result<T, StoreError> {
        self.failed |= r.is_err();
        Ok(r?)
    }
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

async fn sqlite_pool(url: &str, connections: u32, synchronous: &'static str, read_only: bool) -> Result<AnyPool, StoreError> {
    let settings = match (synchronous, read_only) {
        (_, true) => "PRAGMA busy_timeout = 30000; PRAGMA foreign_keys = ON; PRAGMA query_only = ON;",
        ("OFF", _) => "PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF; PRAGMA busy_timeout = 30000; PRAGMA foreign_keys = ON;",
        _ => "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA busy_timeout = 30000; PRAGMA foreign_keys = ON;",
    };
    let pool = AnyPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(WAIT_MAX)
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false)
        .after_connect(move |c, _| {
            Box::pin(async move {
                c.execute(sqlx::raw_sql(settings)).await?;
                Ok(())
            })
        })
        .connect(url)
        .await?;
    Ok(pool)
}

/// The file that a SQLite address names.
fn sqlite_path(url: &str) -> Result<PathBuf, StoreError> {
    let bad = |why: &str| StoreError::Db(sqlx::Error::Configuration(why.into()));
    let rest = url.strip_prefix("sqlite://").ok_or_else(|| bad("the address must be sqlite:///absolute/path or postgres://…"))?;
    let path = rest.split('?').next().unwrap_or_default();
    if !path.starts_with('/') {
        return Err(bad("the path of the SQLite file must be absolute: sqlite:///var/lib/virga/manager.db"));
    }
    // The same decoding as sqlx does with the address.
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let Some((&b, tail)) = rest.split_first() {
        let hex = tail.get(..2).and_then(|h| std::str::from_utf8(h).ok()).and_then(|h| u8::from_str_radix(h, 16).ok());
        match (b, hex) {
            (b'%', Some(v)) => {
                bytes.push(v);
                rest = &tail[2..];
            }
            _ => {
                bytes.push(b);
                rest = tail;
            }
        }
    }
    String::from_utf8(bytes).map(PathBuf::from).map_err(|_| bad("the path of the SQLite file is not UTF-8"))
}

/// Makes the file if there is none, and readable for its owner only. SQLite gives its side files the same mode.
fn make_private(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
    let file = std::fs::OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
    file.set_permissions(std::fs::Permissions::from_mode(0o600))
}
