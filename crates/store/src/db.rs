//! Opening the database, and the one transaction type.
//!
//! SQLite takes one writer at a time. So there is one writing connection, for which callers queue in order, and every
//! writing transaction takes the lock at once (`BEGIN IMMEDIATE`): an upgrade from reading to writing would fail
//! with "database is locked" however long one waits. Readers have connections of their own that cannot write and,
//! in WAL mode, neither wait for the writer nor make it wait.

use crate::StoreError;
use crate::mark::{Epochs, Mark};
use crate::migrate;
use crate::postgres;
use crate::sql::Arg;
use sqlx::any::{AnyArguments, AnyPoolOptions, AnyRow};
use sqlx::{Any, AnyPool, Arguments, AssertSqlSafe, Executor, SqlSafeStr, Transaction};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

/// Connections that only read.
pub const READERS_MAX: u32 = 4;
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

/// What a [`Gate`] answers.
pub type Passage<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Stands before and after transactions. The simulator orders them with it, one at a time, and ends a manager at any of
/// them; the product has none.
pub trait Gate: Send + Sync {
    /// Before a transaction begins. What is answered is dropped when the transaction has ended.
    fn enter(&self, writes: bool) -> Passage<'_, Box<dyn Send + Sync>>;
    /// Before a commit; false: it fails and nothing was written.
    fn before_commit(&self, writes: bool) -> Passage<'_, bool>;
    /// After a commit.
    fn after_commit(&self, writes: bool) -> Passage<'_, ()>;
}

/// The database. Cheap to clone; all clones share the connections.
#[derive(Clone)]
pub struct Store(Arc<Inner>, Option<Arc<dyn Gate>>);

struct Inner {
    dialect: Dialect,
    readers: AnyPool,
    writer: AnyPool,
    epochs: Arc<Epochs>,
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
        Store::open_with(url, "FULL", None, true).await
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
        Store::open_with(&url, "OFF", Some(dir), true).await
    }

    /// As [`Store::open`], but leaves the schema as it is: for what is restored into it.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub async fn open_bare(url: &str) -> Result<Store, StoreError> {
        Store::open_with(url, "FULL", None, false).await
    }

    /// Which engine it is.
    #[must_use]
    pub fn dialect(&self) -> Dialect {
        self.0.dialect
    }

    async fn open_with(url: &str, synchronous: &'static str, dir: Option<tempfile::TempDir>, migrate: bool) -> Result<Store, StoreError> {
        sqlx::any::install_default_drivers();
        let inner = if postgres::is_address(url) {
            let (readers, writer) = postgres::connect(url).await?;
            Inner { dialect: Dialect::Postgres, readers, writer, epochs: Arc::default(), _dir: dir }
        } else {
            make_private(&sqlite_path(url)?).map_err(|e| StoreError::Db(sqlx::Error::Io(e)))?;
            let writer = sqlite_pool(url, 1, synchronous, false).await?;
            let readers = sqlite_pool(url, READERS_MAX, synchronous, true).await?;
            Inner { dialect: Dialect::Sqlite, readers, writer, epochs: Arc::default(), _dir: dir }
        };
        let store = Store(Arc::new(inner), None);
        if migrate {
            migrate::run(&store, None).await?;
        }
        Ok(store)
    }

    /// The same database, with all transactions of this value and its clones behind `gate`.
    #[must_use]
    pub fn behind(&self, gate: Arc<dyn Gate>) -> Store {
        Store(self.0.clone(), Some(gate))
    }

    async fn enter(&self, writes: bool) -> Option<Passed> {
        let gate = self.1.as_ref()?;
        Some(Passed { pass: gate.enter(writes).await, gate: gate.clone() })
    }

    /// A transaction that only reads, and sees one state of the database throughout.
    ///
    /// # Errors
    /// [`StoreError::Busy`] when no connection comes free, or what the database says.
    pub async fn read(&self) -> Result<Tx, StoreError> {
        let gate = self.enter(false).await;
        let begun = self.0.epochs.now();
        let inner = self.begin(false).await?;
        Ok(Tx { inner, dialect: self.0.dialect, writes: false, failed: false, epochs: self.0.epochs.clone(), begun, marks: Vec::new(), gate })
    }

    /// A transaction that writes, the only one at this time: keep it short, and never wait for anything
    /// but the database while holding it.
    ///
    /// # Errors
    /// [`StoreError::Busy`] when the writers before take too long, or what the database says.
    pub async fn write(&self) -> Result<Tx, StoreError> {
        let gate = self.enter(true).await;
        let begun = self.0.epochs.now();
        let inner = self.begin(true).await?;
        let tx = Tx { inner, dialect: self.0.dialect, writes: true, failed: false, epochs: self.0.epochs.clone(), begun, marks: Vec::new(), gate };
        Ok(tx)
    }

    /// Begins a transaction. As long as it has not begun nothing has been done, so what passes by itself (a connection
    /// that was cut, a server that starts anew, a lock that was not had in time) is tried again here, for
    /// [`BEGIN_TRIES`] at most (`reliability.md` D6).
    async fn begin(&self, writes: bool) -> Result<Transaction<'static, Any>, StoreError> {
        let mut tries = 0;
        loop {
            let e = match self.begin_once(writes).await {
                Ok(inner) => return Ok(inner),
                Err(e) => e,
            };
            tries += 1;
            if matches!(e, sqlx::Error::InvalidSavePointStatement) && tries < BEGIN_TRIES {
                self.renew(writes).await?;
                continue;
            }
            if tries == BEGIN_TRIES || !crate::error::passes_by_itself(&e) {
                return Err(e.into());
            }
            tracing::warn!(error = %e, tries, "a transaction did not begin; trying again");
            wait_a_little(tries).await;
        }
    }

    /// Closes a connection that counts one transaction too many. When a disk is full, SQLite undoes the whole transaction
    /// by itself; the driver's own undoing then fails, and it would refuse every transaction from then on.
    async fn renew(&self, writes: bool) -> Result<(), StoreError> {
        let pool = if writes { &self.0.writer } else { &self.0.readers };
        tracing::warn!("a connection to the database is made anew: the database has ended a transaction by itself");
        Ok(pool.acquire().await?.close().await?)
    }

    async fn begin_once(&self, writes: bool) -> Result<Transaction<'static, Any>, sqlx::Error> {
        if !writes {
            return self.0.readers.begin_with(self.0.dialect.begin_read()).await;
        }
        let mut inner = self.0.writer.begin_with(self.0.dialect.begin_write()).await?;
        if let Some(sql) = self.0.dialect.one_writer() {
            sqlx::raw_sql(sql).execute(&mut *inner).await?;
        }
        Ok(inner)
    }

    /// How often this process has committed changes of rows of this kind: read it before the rows that a copy is made of.
    #[must_use]
    pub fn epoch(&self, m: Mark) -> u64 {
        self.0.epochs.get(m)
    }

    /// Bounds the file of a SQLite database: at this size it answers as a full disk does. For tests of a full disk
    /// (`reliability.md` D5); PostgreSQL takes no notice.
    ///
    /// # Errors
    /// What the database says.
    #[doc(hidden)]
    pub async fn limit_pages(&self, more_than_now: u32) -> Result<(), StoreError> {
        if self.0.dialect == Dialect::Sqlite {
            // The limit belongs to the connection: to one that is good.
            drop(self.write().await?);
            let now: i64 = sqlx::query_scalar("PRAGMA page_count").fetch_one(&self.0.writer).await?;
            let most = now.saturating_add(i64::from(more_than_now));
            sqlx::query(AssertSqlSafe(format!("PRAGMA max_page_count = {most}"))).fetch_all(&self.0.writer).await?;
        }
        Ok(())
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
    epochs: Arc<Epochs>,
    begun: Epochs,
    marks: Vec<Mark>,
    /// The last, so that the gate opens again when the transaction has ended.
    gate: Option<Passed>,
}

/// A transaction that has passed a gate.
struct Passed {
    gate: Arc<dyn Gate>,
    /// Held until the transaction has ended.
    pass: Box<dyn Send + Sync>,
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
        if let Some(g) = &self.gate
            && !g.gate.before_commit(self.writes).await
        {
            return Err(StoreError::Db(sqlx::Error::Protocol("the gate let no commit through".into())));
        }
        let done = self.inner.commit().await;
        // Also after an error: nobody knows whether the commit came through.
        self.epochs.grow(&self.marks);
        if let Some(Passed { gate, pass }) = self.gate {
            drop(pass);
            gate.after_commit(self.writes).await;
        }
        Ok(done?)
    }

    /// The epoch of such rows when the transaction began, for a copy made from it; none when it changes them itself: then
    /// what it reads must not be kept.
    #[must_use]
    pub fn epoch(&self, m: Mark) -> Option<u64> {
        (!self.marks.contains(&m)).then(|| self.begun.get(m))
    }

    /// This transaction changes rows of this kind.
    pub(crate) fn mark(&mut self, m: Mark) {
        if !self.marks.contains(&m) {
            self.marks.push(m);
        }
    }

    /// Runs a statement; the number of rows it changed.
    pub(crate) async fn exec(&mut self, sql: impl SqlSafeStr, args: Vec<Arg>) -> Result<u64, StoreError> {
        self.usable()?;
        let r = within(self.dialect, sqlx::query_with(sql, arguments(args)?).execute(&mut *self.inner)).await;
        Ok(self.note(r)?.rows_affected())
    }

    /// The first row, if there is any.
    pub(crate) async fn opt(&mut self, sql: impl SqlSafeStr, args: Vec<Arg>) -> Result<Option<AnyRow>, StoreError> {
        self.usable()?;
        let r = within(self.dialect, sqlx::query_with(sql, arguments(args)?).fetch_optional(&mut *self.inner)).await;
        self.note(r)
    }

    /// All rows.
    pub(crate) async fn all(&mut self, sql: impl SqlSafeStr, args: Vec<Arg>) -> Result<Vec<AnyRow>, StoreError> {
        self.usable()?;
        let r = within(self.dialect, sqlx::query_with(sql, arguments(args)?).fetch_all(&mut *self.inner)).await;
        self.note(r)
    }

    /// Runs several statements without parameters, in the words of the engine, and takes its time for it.
    pub(crate) async fn script(&mut self, sql: &'static str) -> Result<(), StoreError> {
        self.usable()?;
        let r = match self.dialect {
            Dialect::Sqlite => sqlx::raw_sql(sql).execute(&mut *self.inner).await,
            Dialect::Postgres => {
                let words = format!("SET LOCAL statement_timeout = 0;\n{}", postgres::script(sql));
                sqlx::raw_sql(AssertSqlSafe(words)).execute(&mut *self.inner).await
            }
        };
        self.note(r).map(|_| ())
    }

    /// Gives every row that the statement finds to `take`, without holding them all.
    pub(crate) async fn each(&mut self, sql: impl SqlSafeStr, mut take: impl FnMut(&AnyRow) -> Result<(), StoreError> + Send) -> Result<(), StoreError> {
        use futures::TryStreamExt;
        self.usable()?;
        let mut rows = sqlx::query(sql).fetch(&mut *self.inner);
        let r = async {
            while let Some(row) = rows.try_next().await? {
                take(&row)?;
            }
            Ok(())
        };
        let r = r.await;
        drop(rows);
        self.failed |= r.is_err();
        r
    }

    /// Which engine it is on.
    pub(crate) fn dialect(&self) -> Dialect {
        self.dialect
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

/// Most tries to begin a transaction, and so to outlast a server that starts anew.
pub const BEGIN_TRIES: u32 = 6;
/// First wait between two of them; it doubles.
const BEGIN_WAIT: Duration = Duration::from_millis(100);

/// Waits before another try: longer each time, and not for all callers equally long.
async fn wait_a_little(tries: u32) {
    let longest = BEGIN_WAIT * 2_u32.pow(tries.min(5));
    let chance = u32::from(uuid::Uuid::new_v4().as_bytes()[0]);
    tokio::time::sleep(longest / 2 + longest * chance / 512).await;
}

/// Bounds the wait for an answer of a server; a file answers by itself.
async fn within<T>(dialect: Dialect, answer: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, sqlx::Error> {
    match dialect {
        Dialect::Sqlite => answer.await,
        Dialect::Postgres => {
            let late = |_| sqlx::Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, "the database server does not answer"));
            tokio::time::timeout(postgres::ANSWER_MAX, answer).await.map_err(late)?
        }
    }
}

fn arguments(args: Vec<Arg>) -> Result<AnyArguments, StoreError> {
    let mut out = AnyArguments::default();
    for a in args {
        match a {
            // PostgreSQL knows no NUL in a text; both engines are given the same.
            Arg::Text(Some(v)) if v.contains('\0') => out.add(Some(v.replace('\0', "\u{FFFD}"))),
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
        // What was removed is overwritten: a former user-data may hold a password (`reliability.md` Y2).
        ("OFF", _) => "PRAGMA secure_delete = ON; PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF; PRAGMA busy_timeout = 30000; PRAGMA foreign_keys = ON;",
        _ => "PRAGMA secure_delete = ON; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA busy_timeout = 30000; PRAGMA foreign_keys = ON;",
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
