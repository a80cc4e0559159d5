//! Opening the database, and the one transaction type.
//!
//! Every writing transaction is the only one of its time, on both engines: callers read, decide and write without fear of
//! others. Readers have connections of their own that cannot write; they neither wait for the writer nor make it wait.

use crate::StoreError;
use crate::event::{Counter, settle_counters};
use crate::mark::{Epochs, Mark, Spent};
use crate::migrate;
use crate::postgres::{self, Postgres};
use crate::sql::{Arg, Row};
use crate::sqlite::{self, Sqlite};
use sqlx::{Any, SqlSafeStr, SqlStr, Transaction};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

/// Longest wait for a connection, and so for the writers before.
pub const WAIT_MAX: Duration = Duration::from_secs(30);
/// Statements of one transaction without a pause.
const STATEMENTS_AT_ONCE: u32 = 128;

/// What differs between the engines. Everything else is the same text for both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// SQLite.
    Sqlite,
    /// PostgreSQL.
    Postgres,
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
    engine: Engine,
    epochs: Arc<Epochs>,
    /// Removed with the last clone; only of [`Store::memory`].
    _dir: Option<tempfile::TempDir>,
}

enum Engine {
    Sqlite(Sqlite),
    Postgres(Postgres),
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The address of the database may hold a password.
        f.debug_struct("Store").field("dialect", &self.dialect()).finish_non_exhaustive()
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
        match self.0.engine {
            Engine::Sqlite(_) => Dialect::Sqlite,
            Engine::Postgres(_) => Dialect::Postgres,
        }
    }

    async fn open_with(url: &str, synchronous: &'static str, dir: Option<tempfile::TempDir>, migrate: bool) -> Result<Store, StoreError> {
        let engine = if postgres::is_address(url) { Engine::Postgres(Postgres::connect(url).await?) } else { Engine::Sqlite(Sqlite::open(url, synchronous)?) };
        let inner = Inner { engine, epochs: Arc::default(), _dir: dir };
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
        let inner = match &self.0.engine {
            Engine::Sqlite(s) => Session::Sqlite(s.read().await?),
            Engine::Postgres(p) => Session::Postgres(p.read().await?),
        };
        Ok(self.begun(inner, begun, gate, false))
    }

    /// A transaction that writes, the only one at this time: keep it short, and never wait for anything
    /// but the database while holding it.
    ///
    /// # Errors
    /// [`StoreError::Busy`] when the writers before take too long, or what the database says.
    pub async fn write(&self) -> Result<Tx, StoreError> {
        let gate = self.enter(true).await;
        let begun = self.0.epochs.now();
        let inner = match &self.0.engine {
            Engine::Sqlite(s) => Session::Sqlite(s.write().await?),
            Engine::Postgres(p) => Session::Postgres(p.write().await?),
        };
        Ok(self.begun(inner, begun, gate, true))
    }

    fn begun(&self, inner: Session, begun: Epochs, gate: Option<Passed>, writes: bool) -> Tx {
        let epochs = self.0.epochs.clone();
        Tx {
            inner,
            tally: Tally { statements: 0, writes, epochs: epochs.clone() },
            failed: false,
            epochs,
            begun,
            marks: Vec::new(),
            counters: Vec::new(),
            audited: None,
            gate,
            writes,
        }
    }

    /// How often this process has committed changes of rows of this kind: read it before the rows that a copy is made of.
    #[must_use]
    pub fn epoch(&self, m: Mark) -> u64 {
        self.0.epochs.get(m)
    }

    /// What the transactions of this store have cost so far.
    #[must_use]
    pub fn spent(&self) -> Spent {
        self.0.epochs.spent()
    }

    /// Bounds the file of a SQLite database: at this size it answers as a full disk does. For tests of a full disk
    /// (`reliability.md` D5); PostgreSQL takes no notice.
    ///
    /// # Errors
    /// What the database says.
    #[doc(hidden)]
    pub async fn limit_pages(&self, more_than_now: u32) -> Result<(), StoreError> {
        match &self.0.engine {
            Engine::Sqlite(s) => s.limit_pages(more_than_now).await,
            Engine::Postgres(_) => Ok(()),
        }
    }

    /// Closes all connections after the transactions under way; later calls fail.
    pub async fn close(&self) {
        match &self.0.engine {
            Engine::Sqlite(s) => s.close().await,
            Engine::Postgres(p) => p.close().await,
        }
    }
}

/// A transaction. Dropping it without [`Tx::commit`] undoes everything.
///
/// After the database refused a statement (say, [`StoreError::Taken`]) it can only be dropped: PostgreSQL wants it so,
/// and on any engine what was written before may be half of something.
pub struct Tx {
    inner: Session,
    writes: bool,
    failed: bool,
    tally: Tally,
    epochs: Arc<Epochs>,
    begun: Epochs,
    marks: Vec<Mark>,
    /// Counters that this transaction took numbers of.
    pub(crate) counters: Vec<Counter>,
    /// Number and chain value of the audit record that this transaction wrote last.
    pub(crate) audited: Option<(i64, String)>,
    /// The last, so that the gate opens again when the transaction has ended.
    gate: Option<Passed>,
}

/// What a transaction has cost; noted when it ends, however it ends.
struct Tally {
    statements: u32,
    writes: bool,
    epochs: Arc<Epochs>,
}

impl Drop for Tally {
    fn drop(&mut self) {
        self.epochs.spend(self.writes, self.statements);
    }
}

/// A transaction of an engine.
enum Session {
    Sqlite(sqlite::Session),
    Postgres(Transaction<'static, Any>),
}

/// A transaction that has passed a gate.
struct Passed {
    gate: Arc<dyn Gate>,
    /// Held until the transaction has ended.
    pass: Box<dyn Send + Sync>,
}

impl std::fmt::Debug for Tx {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tx").field("dialect", &self.dialect()).field("writes", &self.writes).finish_non_exhaustive()
    }
}

impl Tx {
    /// Makes everything that was written durable and visible.
    ///
    /// # Errors
    /// What the database says, or that a statement failed before; then nothing was written.
    pub async fn commit(mut self) -> Result<(), StoreError> {
        self.usable()?;
        settle_counters(&mut self).await?;
        if let Some(g) = &self.gate
            && !g.gate.before_commit(self.writes).await
        {
            return Err(StoreError::Db(sqlx::Error::Protocol("the gate let no commit through".into())));
        }
        let done = match self.inner {
            Session::Sqlite(s) => s.commit().await,
            Session::Postgres(t) => Ok(t.commit().await?),
        };
        // Also after an error: nobody knows whether the commit came through.
        self.epochs.grow(&self.marks);
        if let Some(Passed { gate, pass }) = self.gate {
            drop(pass);
            gate.after_commit(self.writes).await;
        }
        done
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
        let (sql, args) = self.next(sql, args).await?;
        let r = match &mut self.inner {
            Session::Sqlite(s) => s.exec(sql.as_str(), &args),
            Session::Postgres(t) => postgres::exec(t, sql, args).await,
        };
        self.note(r)
    }

    /// The first row, if there is any.
    pub(crate) async fn opt(&mut self, sql: impl SqlSafeStr, args: Vec<Arg>) -> Result<Option<Row>, StoreError> {
        let (sql, args) = self.next(sql, args).await?;
        let r = match &mut self.inner {
            Session::Sqlite(s) => s.opt(sql.as_str(), &args),
            Session::Postgres(t) => postgres::opt(t, sql, args).await,
        };
        self.note(r)
    }

    /// All rows of a statement that finds its rows by an index and not very many.
    pub(crate) async fn all(&mut self, sql: impl SqlSafeStr, args: Vec<Arg>) -> Result<Vec<Row>, StoreError> {
        let (sql, args) = self.next(sql, args).await?;
        let r = match &mut self.inner {
            Session::Sqlite(s) => s.all(sql.as_str(), &args),
            Session::Postgres(t) => postgres::all(t, sql, args).await,
        };
        self.note(r)
    }

    /// All rows of a statement that may look at a whole table.
    pub(crate) async fn scan(&mut self, sql: impl SqlSafeStr, args: Vec<Arg>) -> Result<Vec<Row>, StoreError> {
        let (sql, args) = self.next(sql, args).await?;
        let r = match &mut self.inner {
            Session::Sqlite(s) => s.scan(sql.as_str(), &args),
            Session::Postgres(t) => postgres::all(t, sql, args).await,
        };
        self.note(r)
    }

    /// Runs several statements without parameters, in the words of the engine, and takes its time for it.
    pub(crate) async fn script(&mut self, sql: &'static str) -> Result<(), StoreError> {
        self.usable()?;
        let r = match &mut self.inner {
            Session::Sqlite(s) => s.script(sql),
            Session::Postgres(t) => postgres::run_script(t, sql).await,
        };
        self.note(r)
    }

    /// Gives every row that the statement finds to `take`, without holding them all.
    pub(crate) async fn each(&mut self, sql: impl SqlSafeStr, mut take: impl FnMut(&Row) -> Result<(), StoreError> + Send) -> Result<(), StoreError> {
        self.usable()?;
        let sql = sql.into_sql_str();
        let r = match &mut self.inner {
            Session::Sqlite(s) => s.each(sql.as_str(), &mut take),
            Session::Postgres(t) => postgres::each(t, sql, &mut take).await,
        };
        self.note(r)
    }

    /// Which engine it is on.
    pub(crate) fn dialect(&self) -> Dialect {
        match self.inner {
            Session::Sqlite(_) => Dialect::Sqlite,
            Session::Postgres(_) => Dialect::Postgres,
        }
    }

    /// Before each statement. SQLite's do not wait for anything, so a long row of them lets others on from time to time.
    async fn next(&mut self, sql: impl SqlSafeStr, mut args: Vec<Arg>) -> Result<(SqlStr, Vec<Arg>), StoreError> {
        self.usable()?;
        let sql = sql.into_sql_str();
        self.tally.statements = self.tally.statements.wrapping_add(1);
        if self.tally.statements.is_multiple_of(STATEMENTS_AT_ONCE) {
            tokio::task::yield_now().await;
        }
        for a in &mut args {
            // PostgreSQL knows no NUL in a text; both engines are given the same.
            if let Arg::Text(Some(v)) = a
                && v.contains('\0')
            {
                *v = v.replace('\0', "\u{FFFD}");
            }
        }
        Ok((sql, args))
    }

    fn usable(&self) -> Result<(), StoreError> {
        let why = "an earlier statement of this transaction failed; it can only be dropped";
        if self.failed { Err(StoreError::Db(sqlx::Error::Protocol(why.into()))) } else { Ok(()) }
    }

    fn note<T>(&mut self, r: Result<T, StoreError>) -> Result<T, StoreError> {
        self.failed |= r.is_err();
        r
    }
}
