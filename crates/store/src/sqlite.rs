//! SQLite in this process: its connections, what one transaction does with them, and commits in groups.
//!
//! Statements run on the calling thread. A statement of ours takes some microseconds; a thread of its own for each
//! connection costs ten times as much, which a hundred statements for one task make felt (ADR 10). What may look at many
//! rows ([`Session::scan`], [`Session::each`]) and what waits for the disk (a commit) leaves the executor's thread first.
//!
//! SQLite takes one writer at a time: one connection, for which callers queue in order. A commit waits for the disk, and
//! the next writers need not wait with it. So each writing transaction is a savepoint within an outer one; who commits
//! releases the savepoint, passes the connection on and waits for the outer commit, which is queued for the connection
//! like any writer and makes everything durable that was released before it. Nobody is told of a commit before the outer
//! one is on the disk, and readers see nothing of it before. When the outer commit fails, all in it fail.
//!
//! Nothing here may wait for a lock of another process on the executor's thread, or answer a commit that is not durable.

use crate::StoreError;
use crate::db::WAIT_MAX;
use crate::sql::{Arg, Cell, Row};
use rusqlite::types::ValueRef;
use rusqlite::{CachedStatement, Connection, ErrorCode, OpenFlags};
use std::cell::RefCell;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

/// Connections that only read.
const READERS_MAX: usize = 8;
/// Statements that each connection keeps prepared.
const PREPARED_MAX: usize = 256;
/// Pages of the log after which its content is brought into the file. Pages that are written again and again until then
/// are brought there once; more would only make the first look after a crash longer.
const WAL_PAGES: u32 = 4000;
/// How long a reader waits for SQLite's own short locks (the end of another process, a recovery).
const READER_BUSY: Duration = Duration::from_secs(1);
/// Wait between two tries to begin to write while another process does.
const OTHERS_WAIT: Duration = Duration::from_millis(10);

/// Connections to one database.
pub(crate) struct Sqlite {
    writer: Arc<Pool>,
    readers: Arc<Pool>,
    group: Arc<Mutex<Group>>,
}

/// Connections of one kind, and who may have one.
struct Pool {
    free: Mutex<Vec<Opened>>,
    places: Arc<Semaphore>,
}

/// Commits that are released and not yet durable.
#[derive(Default)]
struct Group {
    waiting: Vec<oneshot::Sender<Result<(), Lost>>>,
    /// The outer commit is on its way.
    queued: bool,
}

/// Why an outer commit failed, for each that was in it.
#[derive(Clone, Debug)]
enum Lost {
    Full,
    Other(String),
}

impl From<Lost> for StoreError {
    fn from(l: Lost) -> StoreError {
        match l {
            Lost::Full => StoreError::Full,
            Lost::Other(why) => StoreError::Db(sqlx::Error::Protocol(why)),
        }
    }
}

impl From<&StoreError> for Lost {
    fn from(e: &StoreError) -> Lost {
        if matches!(e, StoreError::Full) { Lost::Full } else { Lost::Other(e.to_string()) }
    }
}

fn lock<T>(m: &Mutex<T>) -> MutexGuard<'_, T> {
    m.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An open connection.
struct Opened {
    connection: Connection,
    /// Names of the columns of statements, by their text: making them anew costs more than a small statement.
    names: RefCell<HashMap<String, Arc<[String]>>>,
}

/// A connection that is lent out; it goes home when dropped.
struct Held {
    connection: Option<Opened>,
    pool: Arc<Pool>,
    _place: OwnedSemaphorePermit,
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(c) = self.connection.take() {
            lock(&self.pool.free).push(c);
        }
    }
}

impl Held {
    fn get(&self) -> Result<&Connection, StoreError> {
        Ok(&self.opened()?.connection)
    }

    fn opened(&self) -> Result<&Opened, StoreError> {
        self.connection.as_ref().ok_or_else(closed)
    }

    /// Names of the columns of a statement with this text.
    fn names(&self, sql: &str, statement: &CachedStatement<'_>) -> Result<Arc<[String]>, StoreError> {
        let mut known = self.opened()?.names.borrow_mut();
        // The number tells whether a schema script has changed what `*` is.
        if let Some(names) = known.get(sql).filter(|n| n.len() == statement.column_count()) {
            return Ok(names.clone());
        }
        let names: Arc<[String]> = statement.column_names().into_iter().map(str::to_string).collect();
        if known.len() >= PREPARED_MAX {
            known.clear();
        }
        known.insert(sql.to_string(), names.clone());
        Ok(names)
    }
}

fn closed() -> StoreError {
    StoreError::Db(sqlx::Error::PoolClosed)
}

impl Pool {
    fn new(connections: Vec<Connection>) -> Arc<Pool> {
        let places = Arc::new(Semaphore::new(connections.len()));
        let opened = connections.into_iter().map(|connection| Opened { connection, names: RefCell::default() });
        Arc::new(Pool { free: Mutex::new(opened.collect()), places })
    }

    /// A connection, in the order in which they were asked for.
    async fn take(self: &Arc<Pool>) -> Result<Held, StoreError> {
        let place = self.places.clone().acquire_owned().await.map_err(|_| closed())?;
        let connection = lock(&self.free).pop();
        Ok(Held { connection, pool: self.clone(), _place: place })
    }

    async fn take_in_time(self: &Arc<Pool>) -> Result<Held, StoreError> {
        tokio::time::timeout(WAIT_MAX, self.take()).await.map_err(|_| StoreError::Busy)?
    }

    /// Waits for the connections that are lent out, and closes all.
    async fn close(&self, connections: usize) {
        let all = self.places.acquire_many(u32::try_from(connections).unwrap_or(u32::MAX)).await;
        lock(&self.free).clear();
        self.places.close();
        drop(all);
    }
}

impl Sqlite {
    /// Opens the file that an address names, and makes it where there is none.
    pub(crate) fn open(url: &str, synchronous: &str) -> Result<Sqlite, StoreError> {
        let path = path(url)?;
        make_private(&path).map_err(|e| StoreError::Db(sqlx::Error::Io(e)))?;
        // In memory: what savepoints would undo is written to a temporary file otherwise, which costs as much as the log.
        // What was removed is overwritten: a former user-data may hold a password (`reliability.md` Y2).
        let settings = format!(
            "PRAGMA secure_delete = ON; PRAGMA journal_mode = WAL; PRAGMA synchronous = {synchronous}; PRAGMA foreign_keys = ON; PRAGMA cache_size = -16000; \
             PRAGMA wal_autocheckpoint = {WAL_PAGES}; PRAGMA temp_store = MEMORY;"
        );
        let writer = connect(&path, WAIT_MAX, &settings)?;
        // Others are waited for between two tries, not within SQLite: that would stop the executor's thread.
        writer.busy_timeout(Duration::ZERO)?;
        let reader = || connect(&path, READER_BUSY, "PRAGMA foreign_keys = ON; PRAGMA query_only = ON; PRAGMA cache_size = -8000;");
        let readers = (0..READERS_MAX).map(|_| reader()).collect::<Result<Vec<_>, _>>()?;
        Ok(Sqlite { writer: Pool::new(vec![writer]), readers: Pool::new(readers), group: Arc::default() })
    }

    /// Begins a transaction that sees one state of the database throughout.
    pub(crate) async fn read(&self) -> Result<Session, StoreError> {
        let held = self.readers.take_in_time().await?;
        run(held.get()?, "BEGIN DEFERRED")?;
        Ok(Session { held, part: Part::Reads })
    }

    /// Begins the only transaction that writes.
    pub(crate) async fn write(&self) -> Result<Session, StoreError> {
        let held = self.writer.take_in_time().await?;
        let end = Instant::now() + WAIT_MAX;
        while !begun(&held, Instant::now() < end)? {
            wait_for_others().await;
        }
        // From here on dropping the session undoes what it did.
        let session = Session { held, part: Part::Writes(self.group.clone()) };
        run(session.connection()?, "SAVEPOINT one")?;
        Ok(session)
    }

    /// Closes all connections after the transactions under way; later calls fail.
    pub(crate) async fn close(&self) {
        self.readers.close(READERS_MAX).await;
        self.writer.close(1).await;
    }

    /// Bounds the file at so many pages more than now.
    pub(crate) async fn limit_pages(&self, more: u32) -> Result<(), StoreError> {
        let held = self.writer.take_in_time().await?;
        let now: i64 = held.get()?.query_row("PRAGMA page_count", [], |r| r.get(0))?;
        let most = now.saturating_add(i64::from(more));
        Ok(held.get()?.query_row(&format!("PRAGMA max_page_count = {most}"), [], |_| Ok(()))?)
    }
}

/// Begins the outer transaction, if none is open; false when another process writes and there is still time.
fn begun(held: &Held, in_time: bool) -> Result<bool, StoreError> {
    let c = held.get()?;
    if !c.is_autocommit() {
        return Ok(true);
    }
    match run(c, "BEGIN IMMEDIATE") {
        Err(e) if in_time && e.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) => Ok(false),
        done => Ok(done.map(|()| true)?),
    }
}

async fn wait_for_others() {
    tokio::time::sleep(OTHERS_WAIT).await;
}

/// One transaction.
pub(crate) struct Session {
    held: Held,
    part: Part,
}

/// What a session does.
enum Part {
    /// It reads.
    Reads,
    /// It has a savepoint within the outer transaction of this group.
    Writes(Arc<Mutex<Group>>),
    /// Its savepoint is released: what it wrote is the group's.
    Released,
}

impl Session {
    fn connection(&self) -> Result<&Connection, StoreError> {
        self.held.get()
    }

    fn prepared(&self, sql: &str, args: &[Arg]) -> Result<CachedStatement<'_>, StoreError> {
        let mut statement = self.connection()?.prepare_cached(sql)?;
        for place in 1..=statement.parameter_count() {
            // `$3` may stand in several places, and is a name to SQLite.
            let number = statement.parameter_name(place).and_then(|n| n.strip_prefix('$')?.parse::<usize>().ok());
            let arg = number.and_then(|n| args.get(n.checked_sub(1)?));
            match arg {
                Some(Arg::Text(v)) => statement.raw_bind_parameter(place, v.as_deref())?,
                Some(Arg::Int(v)) => statement.raw_bind_parameter(place, v)?,
                None => return Err(StoreError::Corrupt("a statement has a parameter without value".into())),
            }
        }
        Ok(statement)
    }

    /// Runs a statement; the number of rows it changed.
    pub(crate) fn exec(&self, sql: &str, args: &[Arg]) -> Result<u64, StoreError> {
        Ok(self.prepared(sql, args)?.raw_execute()? as u64)
    }

    /// Gives each row to `take` until it wants no more.
    fn rows(&self, sql: &str, args: &[Arg], mut take: impl FnMut(Row) -> Result<bool, StoreError>) -> Result<(), StoreError> {
        let mut statement = self.prepared(sql, args)?;
        let names = self.held.names(sql, &statement)?;
        let mut rows = statement.raw_query();
        while let Some(row) = rows.next()? {
            let cells = (0..names.len()).map(|i| cell(row.get_ref(i)?)).collect::<Result<_, StoreError>>()?;
            if !take(Row { names: names.clone(), cells })? {
                break;
            }
        }
        Ok(())
    }

    /// The first row, if there is any.
    pub(crate) fn opt(&self, sql: &str, args: &[Arg]) -> Result<Option<Row>, StoreError> {
        let mut found = None;
        self.rows(sql, args, |row| {
            found = Some(row);
            Ok(false)
        })?;
        Ok(found)
    }

    /// All rows.
    pub(crate) fn all(&self, sql: &str, args: &[Arg]) -> Result<Vec<Row>, StoreError> {
        let mut found = Vec::new();
        self.rows(sql, args, |row| {
            found.push(row);
            Ok(true)
        })?;
        Ok(found)
    }

    /// All rows of a statement that may look at many.
    pub(crate) fn scan(&self, sql: &str, args: &[Arg]) -> Result<Vec<Row>, StoreError> {
        aside(|| self.all(sql, args))
    }

    /// Gives every row to `take`, without holding them all.
    pub(crate) fn each(&self, sql: &str, take: &mut (dyn FnMut(&Row) -> Result<(), StoreError> + Send)) -> Result<(), StoreError> {
        aside(|| self.rows(sql, &[], |row| take(&row).map(|()| true)))
    }

    /// Runs several statements without parameters.
    pub(crate) fn script(&self, sql: &str) -> Result<(), StoreError> {
        aside(|| Ok(self.connection()?.execute_batch(sql)?))
    }

    /// Makes everything durable and visible.
    pub(crate) async fn commit(self) -> Result<(), StoreError> {
        match self.release()? {
            None => Ok(()),
            Some(durable) => Ok(durable.await.map_err(|_| closed())??),
        }
    }

    /// Leaves what was written to the group, and gives the connection back. Answers with what tells how it ended.
    fn release(mut self) -> Result<Option<oneshot::Receiver<Result<(), Lost>>>, StoreError> {
        let Part::Writes(group) = &self.part else { return Ok(None) };
        run(self.connection()?, "RELEASE one")?;
        let (group, pool) = (group.clone(), self.held.pool.clone());
        self.part = Part::Released;
        let (told, durable) = oneshot::channel();
        let first = {
            let mut g = lock(&group);
            g.waiting.push(told);
            !std::mem::replace(&mut g.queued, true)
        };
        drop(self);
        if first {
            // A task of its own: it goes on when this caller is dropped, and others may wait for it.
            tokio::spawn(commit_group(pool, group));
        }
        Ok(Some(durable))
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let Ok(c) = self.held.get() else { return };
        match &self.part {
            Part::Reads => undo(c, "ROLLBACK"),
            Part::Released => {}
            // SQLite undoes the whole transaction by itself when the disk is full.
            Part::Writes(group) if c.is_autocommit() => lock(group).tell(&Err(Lost::Full)),
            Part::Writes(group) => {
                undo(c, "ROLLBACK TO one; RELEASE one");
                if lock(group).waiting.is_empty() {
                    undo(c, "ROLLBACK");
                }
            }
        }
    }
}

impl Group {
    /// Tells all how their commits ended.
    fn tell(&mut self, done: &Result<(), Lost>) {
        for w in self.waiting.drain(..) {
            let _ = w.send(done.clone());
        }
    }
}

/// Runs a statement of transactions, which stays prepared.
fn run(c: &Connection, sql: &str) -> rusqlite::Result<()> {
    c.prepare_cached(sql)?.raw_execute().map(|_| ())
}

/// Undoes; there is nothing to do about a failure but to say so, and the next transaction fails at its beginning.
fn undo(c: &Connection, sql: &str) {
    if !c.is_autocommit()
        && let Err(e) = sql.split("; ").try_for_each(|s| run(c, s))
    {
        tracing::error!(error = %e, "a transaction could not be undone");
    }
}

/// The outer commit, when the connection comes to it.
async fn commit_group(pool: Arc<Pool>, group: Arc<Mutex<Group>>) {
    let held = pool.take().await;
    let work = move || {
        // Who releases from here on is in the next group, and has no connection before this one is done.
        lock(&group).queued = false;
        let done = held.as_ref().map_err(Lost::from).and_then(|h| durable(h).map_err(|e| Lost::from(&e)));
        lock(&group).tell(&done);
        drop(held);
    };
    // It waits for the disk. When the runtime ends, so do those who wait.
    let _ = tokio::task::spawn_blocking(work).await;
}

fn durable(held: &Held) -> Result<(), StoreError> {
    let c = held.get()?;
    if c.is_autocommit() {
        return Err(StoreError::Full);
    }
    let done = run(c, "COMMIT");
    if done.is_err() {
        undo(c, "ROLLBACK");
    }
    Ok(done?)
}

/// Does what may take long without holding up the tasks of this thread.
fn aside<T>(work: impl FnOnce() -> T) -> T {
    use tokio::runtime::{Handle, RuntimeFlavor};
    match Handle::try_current().map(|h| h.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(work),
        _ => work(),
    }
}

fn cell(v: ValueRef<'_>) -> Result<Cell, StoreError> {
    match v {
        ValueRef::Null => Ok(Cell::Null),
        ValueRef::Integer(n) => Ok(Cell::Int(n)),
        ValueRef::Text(t) => Ok(Cell::Text(std::str::from_utf8(t).map_err(|_| StoreError::Corrupt("a text is not UTF-8".into()))?.to_string())),
        ValueRef::Real(_) | ValueRef::Blob(_) => Err(StoreError::Corrupt("a value is neither text nor whole number".into())),
    }
}

fn connect(path: &Path, busy: Duration, settings: &str) -> Result<Connection, StoreError> {
    let c = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    c.busy_timeout(busy)?;
    c.execute_batch(settings)?;
    c.set_prepared_statement_cache_capacity(PREPARED_MAX);
    Ok(c)
}

/// The file that a SQLite address names.
fn path(url: &str) -> Result<PathBuf, StoreError> {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn open(dir: &tempfile::TempDir) -> Sqlite {
        let s = Sqlite::open(&format!("sqlite://{}", dir.path().join("x.db").display()), "FULL").unwrap();
        lock(&s.writer.free)[0].connection.execute_batch("CREATE TABLE t (n BIGINT)").unwrap();
        s
    }

    async fn add(s: &Sqlite, n: i64) -> Session {
        let w = s.write().await.unwrap();
        w.exec("INSERT INTO t (n) VALUES ($1)", &[Arg::from(n)]).unwrap();
        w
    }

    /// Adds a row, and releases it without a commit that is queued.
    async fn released(s: &Sqlite, n: i64) -> oneshot::Receiver<Result<(), Lost>> {
        let mut session = add(s, n).await;
        session.connection().unwrap().execute_batch("RELEASE one").unwrap();
        let (told, durable) = oneshot::channel();
        lock(&s.group).waiting.push(told);
        session.part = Part::Released;
        durable
    }

    async fn seen(s: &Sqlite) -> i64 {
        let rows = s.read().await.unwrap().all("SELECT COUNT(*) AS n FROM t", &[]).unwrap();
        rows[0].int("n").unwrap()
    }

    #[tokio::test]
    async fn who_comes_in_time_is_in_one_group() {
        let dir = tempfile::tempdir().unwrap();
        let s = Arc::new(open(&dir));
        // Four writers wait for their turn while the first one holds the connection.
        let first = add(&s, 0).await;
        let later: Vec<_> = (1..5)
            .map(|n| {
                let s = s.clone();
                tokio::spawn(async move { add(&s, n).await.commit().await })
            })
            .collect();
        while lock(&s.writer.free).is_empty() && s.writer.places.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        first.commit().await.unwrap();
        for l in later {
            l.await.unwrap().unwrap();
        }
        assert_eq!(seen(&s).await, 5);
        assert!(lock(&s.group).waiting.is_empty());
        // Those who wait are told a moment before the connection comes back.
        assert!(s.writer.take().await.unwrap().get().unwrap().is_autocommit());
    }

    #[tokio::test]
    async fn what_is_released_is_not_seen_before_it_is_durable_and_undone_alone() {
        let dir = tempfile::tempdir().unwrap();
        let s = open(&dir);
        let durable = released(&s, 1).await;
        assert_eq!(seen(&s).await, 0);
        // Another one gives up: the first one's is kept.
        drop(add(&s, 2).await);
        commit_group(s.writer.clone(), s.group.clone()).await;
        durable.await.unwrap().unwrap();
        assert_eq!(seen(&s).await, 1);
    }

    #[tokio::test]
    async fn a_group_whose_transaction_is_gone_is_told_so() {
        let dir = tempfile::tempdir().unwrap();
        let s = open(&dir);
        let durable = released(&s, 1).await;
        // What SQLite does by itself when the disk is full.
        let other = add(&s, 2).await;
        other.connection().unwrap().execute_batch("ROLLBACK").unwrap();
        drop(other);
        assert!(matches!(durable.await.unwrap(), Err(Lost::Full)));
        add(&s, 3).await.commit().await.unwrap();
        assert_eq!(seen(&s).await, 1);
    }

    #[tokio::test]
    async fn a_commit_goes_on_when_nobody_waits_for_it() {
        let dir = tempfile::tempdir().unwrap();
        let s = open(&dir);
        let w = add(&s, 1).await;
        let mut commit = Box::pin(w.commit());
        assert!(futures::poll!(commit.as_mut()).is_pending());
        drop(commit);
        // The next writer comes after the outer commit.
        add(&s, 2).await.commit().await.unwrap();
        assert_eq!(seen(&s).await, 2);
    }

    #[tokio::test]
    async fn another_process_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let s = Arc::new(open(&dir));
        let other = Connection::open(dir.path().join("x.db")).unwrap();
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        let ours = tokio::spawn({
            let s = s.clone();
            async move { add(&s, 1).await.commit().await }
        });
        // It does not stop this thread, which is the only one.
        while s.writer.places.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        assert!(!ours.is_finished());
        other.execute_batch("COMMIT").unwrap();
        ours.await.unwrap().unwrap();
        assert_eq!(seen(&s).await, 1);
    }
}
