//! What can go wrong in the store, and what a person is told of it.
//!
//! The conversion to [`virga_model::Error`] is the only place where a database error becomes words for people; it
//! must never let SQL, file names or values through. What it hides goes to the log.

use virga_model::{Error, ErrorCode, Violation};

/// Seconds after which it is worth looking whether a full disk has room again.
const FULL_RETRY_S: u32 = 30;

/// A failure of the store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The row that was to be changed is not there.
    #[error("there is no {what} \"{name}\"")]
    NotFound {
        /// Kind of object.
        what: &'static str,
        /// Its name or id, as given.
        name: String,
    },
    /// A value that must be unique is taken: `name`, `mac`, `secret`, `id`, `grant`, or `administrator`,
    /// or `object` (a task is active).
    #[error("{what}: the {field} is taken")]
    Taken {
        /// Kind of object.
        what: &'static str,
        /// The field.
        field: &'static str,
    },
    /// A conditional write found another generation or another lease owner: somebody else was first.
    #[error("the row was changed by somebody else")]
    Stale,
    /// The object is still used by another, or the new row refers to an object that is gone.
    #[error("a reference to another object does not hold")]
    Reference,
    /// The list request is wrong: unknown field, value of the wrong type, page token of another list.
    #[error("{0}")]
    Malformed(Error),
    /// The database was busy for longer than the limit.
    #[error("the database is busy")]
    Busy,
    /// The disk of the database is full. Nothing of the transaction was written; reading goes on.
    #[error("the disk of the database is full")]
    Full,
    /// A row does not hold what the schema promises.
    #[error("corrupt row: {0}")]
    Corrupt(String),
    /// The database cannot be used as it is: not there, too old, a standby, not empty, of a newer Virga. The text is for
    /// whoever runs the manager, says what to do, and holds no secret.
    #[error("{0}")]
    Setup(String),
    /// Anything else that the database says.
    #[error("database: {0}")]
    Db(sqlx::Error),
    /// The same of SQLite.
    #[error("database: {0}")]
    Sqlite(rusqlite::Error),
}

impl StoreError {
    /// A wrong list request, said of that parameter.
    pub(crate) fn about(self, parameter: &str) -> StoreError {
        match self {
            StoreError::Malformed(mut e) if e.violations.is_empty() => {
                e.violations.push(Violation { field: parameter.into(), message: e.message.clone() });
                StoreError::Malformed(e)
            }
            other => other,
        }
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(e: sqlx::Error) -> StoreError {
        match &e {
            sqlx::Error::PoolTimedOut => StoreError::Busy,
            sqlx::Error::ColumnDecode { .. } | sqlx::Error::ColumnNotFound(_) | sqlx::Error::Decode(_) => StoreError::Corrupt(e.to_string()),
            sqlx::Error::Database(d) if d.is_unique_violation() => taken(&format!("{} {}", d.constraint().unwrap_or_default(), d.message())),
            sqlx::Error::Database(d) if d.is_foreign_key_violation() => StoreError::Reference,
            sqlx::Error::Database(d) if is_full(d.code().as_deref()) => {
                tracing::error!(error = %e, "the disk of the database is full");
                StoreError::Full
            }
            sqlx::Error::Database(d) if is_busy(d.code().as_deref()) => StoreError::Busy,
            _ => StoreError::Db(e),
        }
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(e: rusqlite::Error) -> StoreError {
        use rusqlite::ErrorCode as C;
        use rusqlite::ffi::{SQLITE_CONSTRAINT_FOREIGNKEY, SQLITE_CONSTRAINT_PRIMARYKEY, SQLITE_CONSTRAINT_UNIQUE};
        let rusqlite::Error::SqliteFailure(why, message) = &e else { return StoreError::Sqlite(e) };
        match (why.code, why.extended_code) {
            (_, SQLITE_CONSTRAINT_UNIQUE | SQLITE_CONSTRAINT_PRIMARYKEY) => taken(&format!(" {}", message.as_deref().unwrap_or_default())),
            (_, SQLITE_CONSTRAINT_FOREIGNKEY) => StoreError::Reference,
            (C::DiskFull, _) => {
                tracing::error!(error = %e, "the disk of the database is full");
                StoreError::Full
            }
            (C::DatabaseBusy | C::DatabaseLocked, _) => StoreError::Busy,
            _ => StoreError::Sqlite(e),
        }
    }
}

/// Serialization failure, deadlock, lock not available, a statement that took too long.
fn is_busy(code: Option<&str>) -> bool {
    matches!(code, Some("40001" | "40P01" | "55P03" | "57014"))
}

/// Disk full.
fn is_full(code: Option<&str>) -> bool {
    code == Some("53100")
}

/// What PostgreSQL says when it cannot work at present: its session was ended, it starts or stops, it only reads (a
/// primary that became a standby), it has no connection or no memory left.
fn is_away(code: Option<&str>) -> bool {
    code.is_some_and(|c| c.starts_with("57P") || c.starts_with("08") || matches!(c, "25P03" | "25006" | "53300" | "53200"))
}

/// Whether a transaction that did not even begin may be tried again.
pub(crate) fn passes_by_itself(e: &sqlx::Error) -> bool {
    match e {
        sqlx::Error::Io(_) | sqlx::Error::WorkerCrashed | sqlx::Error::BeginFailed => true,
        sqlx::Error::Database(d) => {
            let code = d.code();
            // A lock that was not had in its time is the caller's to wait for again.
            matches!(code.as_deref(), Some("40001" | "40P01")) || code.as_deref().is_some_and(|c| c.starts_with("57P") || c.starts_with("08") || c == "25P03")
        }
        _ => false,
    }
}

/// Tables with unique columns, and what people call their rows.
const NOUNS: [(&str, &str); 14] = [
    ("account", "user"),
    ("role_binding", "role binding"),
    ("session", "session"),
    ("api_token", "token"),
    ("console_ticket", "console ticket"),
    ("join_token", "join token"),
    ("host", "host"),
    ("image", "image"),
    ("vm_mac", "VM"),
    ("network", "network"),
    ("data_store", "data store"),
    ("vm", "VM"),
    ("snapshot", "snapshot"),
    ("task", "task"),
];

/// Reads table and field from SQLite's message (`... failed: vm.name`) or PostgreSQL's constraint (`vm_unique_name`).
fn taken(text: &str) -> StoreError {
    let told = |s: &str| text.contains(s);
    let what = NOUNS
        .iter()
        .find(|(table, _)| told(&format!(" {table}.")) || text.starts_with(&format!("{table}_unique_")) || text.starts_with(&format!("{table}_pkey")))
        .map_or("object", |(_, what)| what);
    let field = if text.trim_start().starts_with("role_binding_unique_administrator") || text.ends_with("role_binding.user_id") {
        "administrator"
    } else if told(".object_id") || told("_unique_object") {
        "object"
    } else if told(".scope_id") || told("_unique_grant") {
        "grant"
    } else if told(".mac") || told("_unique_mac") {
        "mac"
    } else if told("secret") {
        "secret"
    } else if told(".name") || told("_unique_name") {
        "name"
    } else {
        "id"
    };
    StoreError::Taken { what, field }
}

impl From<StoreError> for Error {
    fn from(e: StoreError) -> Error {
        match e {
            StoreError::NotFound { what, name } => Error::not_found(what, name),
            StoreError::Taken { field: "object", .. } => {
                Error::conflict("Another task is working on the object already.").with_hint("Wait for that task, or cancel it.")
            }
            StoreError::Taken { field: "administrator", .. } => Error::conflict("Nobody may hold two of the three administrator roles.")
                .with_hint("Give the role to another account, or take the present one back first."),
            StoreError::Taken { field: "grant", .. } => Error::conflict("The user has this role over this scope already."),
            StoreError::Taken { what, field: "mac" } => Error::conflict(format!("Another {what} has a NIC with this MAC address."))
                .with_hint("Choose another address, or leave it out to get a new one."),
            StoreError::Taken { what, field } => {
                Error::conflict(format!("There is another {what} with this {field} already.")).with_hint(format!("Choose another {field}."))
            }
            StoreError::Stale => {
                Error::new(ErrorCode::PreconditionFailed, "Somebody else changed the object first.").with_hint("Read it again and repeat the change.")
            }
            StoreError::Reference => Error::conflict("The object is still used by another one, or it refers to one that was removed meanwhile.")
                .with_hint("Read the objects again; remove what uses it first."),
            StoreError::Malformed(e) => e,
            StoreError::Busy => Error::unavailable("The database is busy.").with_hint("Try again in a moment."),
            StoreError::Full => Error::new(ErrorCode::StorageFull, "The disk of the manager's database is full: nothing was changed.")
                .with_hint("Tell an administrator to make room on it; the manager goes on by itself then. Reading works.")
                .with_retry_after(FULL_RETRY_S),
            StoreError::Setup(why) => {
                tracing::error!(error = %why, "database");
                Error::unavailable("The database cannot be used at present; the log of the manager says more.")
            }
            StoreError::Db(e) if is_connection(&e) => {
                tracing::error!(error = %e, "database not reachable");
                Error::unavailable("The database is not reachable.").with_hint("Try again in a moment.")
            }
            StoreError::Corrupt(_) | StoreError::Db(_) | StoreError::Sqlite(_) => {
                tracing::error!(error = %e, "store");
                Error::internal("The database failed; the log of the manager says more.")
            }
        }
    }
}

fn is_connection(e: &sqlx::Error) -> bool {
    use sqlx::Error as E;
    match e {
        E::Io(_) | E::Tls(_) | E::PoolClosed | E::PoolTimedOut | E::WorkerCrashed | E::BeginFailed => true,
        E::Database(d) => is_away(d.code().as_deref()),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unique_violations_of_both_engines_name_the_field() {
        for (text, what, field) in [
            (" UNIQUE constraint failed: vm.name", "VM", "name"),
            (" UNIQUE constraint failed: vm_mac.mac", "VM", "mac"),
            (" UNIQUE constraint failed: task.object_kind, task.object_id", "task", "object"),
            (" UNIQUE constraint failed: session.secret_sha256", "session", "secret"),
            (" UNIQUE constraint failed: host.id", "host", "id"),
            ("vm_unique_name duplicate key value", "VM", "name"),
            ("vm_mac_unique_mac duplicate key value", "VM", "mac"),
            ("task_unique_object duplicate key value", "task", "object"),
            ("host_pkey duplicate key value", "host", "id"),
            (" UNIQUE constraint failed: role_binding.user_id", "role binding", "administrator"),
            ("role_binding_unique_administrator duplicate key value", "role binding", "administrator"),
            (" UNIQUE constraint failed: role_binding.user_id, role_binding.role, role_binding.scope_kind, role_binding.scope_id", "role binding", "grant"),
        ] {
            assert!(matches!(taken(text), StoreError::Taken { what: w, field: f } if w == what && f == field), "{text}: {:?}", taken(text));
        }
    }

    #[test]
    fn people_never_read_sql() {
        let e: Error = StoreError::Db(sqlx::Error::Protocol("SELECT secret FROM x".into())).into();
        assert_eq!(e.code, ErrorCode::Internal);
        assert!(!e.to_string().contains("SELECT"));
        assert_eq!(Error::from(StoreError::Stale).code, ErrorCode::PreconditionFailed);
        assert_eq!(Error::from(StoreError::Busy).code, ErrorCode::Unavailable);
        assert_eq!(Error::from(StoreError::Taken { what: "VM", field: "name" }).code, ErrorCode::Conflict);
        assert_eq!(Error::from(StoreError::Db(sqlx::Error::PoolClosed)).code, ErrorCode::Unavailable);
    }
}
