//! What can go wrong in the store, and what a person is told of it.
//!
//! The conversion to [`virga_model::Error`] is the only place where a database error becomes words for people; it
//! must never let SQL, file names or values through. What it hides goes to the log.

use virga_model::{Error, ErrorCode};

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
    /// A value that must be unique is taken: `name`, `mac`, `secret`, `id`, `grant`, or `object` (a task is active).
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
    /// A row does not hold what the schema promises.
    #[error("corrupt row: {0}")]
    Corrupt(String),
    /// Anything else that the database says.
    #[error("database: {0}")]
    Db(sqlx::Error),
}

impl From<sqlx::Error> for StoreError {
    fn from(e: sqlx::Error) -> StoreError {
        match &e {
            sqlx::Error::PoolTimedOut => StoreError::Busy,
            sqlx::Error::ColumnDecode { .. } | sqlx::Error::ColumnNotFound(_) | sqlx::Error::Decode(_) => StoreError::Corrupt(e.to_string()),
            sqlx::Error::Database(d) if d.is_unique_violation() => taken(&format!("{} {}", d.constraint().unwrap_or(""), d.message())),
            sqlx::Error::Database(d) if d.is_foreign_key_violation() => StoreError::Reference,
            sqlx::Error::Database(d) if is_busy(d.code().as_deref(), d.message()) => StoreError::Busy,
            _ => StoreError::Db(e),
        }
    }
}

/// SQLite: primary code 5 or 6 in the low byte. PostgreSQL: serialization failure, deadlock, lock not available.
fn is_busy(code: Option<&str>, message: &str) -> bool {
    let sqlite = code.and_then(|c| c.parse::<i32>().ok()).is_some_and(|c| matches!(c & 0xff, 5 | 6));
    matches!(code, Some("40001" | "40P01" | "55P03")) || (sqlite && message.contains("locked"))
}

/// Tables with unique columns, and what people call their rows.
const NOUNS: [(&str, &str); 12] = [
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
    ("vm", "VM"),
    ("task", "task"),
];

/// Reads table and field from SQLite's message (`... failed: vm.name`) or PostgreSQL's constraint (`vm_unique_name`).
fn taken(text: &str) -> StoreError {
    let told = |s: &str| text.contains(s);
    let what = NOUNS
        .iter()
        .find(|(table, _)| told(&format!(" {table}.")) || text.starts_with(&format!("{table}_unique_")) || text.starts_with(&format!("{table}_pkey")))
        .map_or("object", |(_, what)| what);
    let field = if told(".object_id") || told("_unique_object") {
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
            StoreError::Db(e) if is_connection(&e) => {
                tracing::error!(error = %e, "database not reachable");
                Error::unavailable("The database is not reachable.").with_hint("Try again in a moment.")
            }
            StoreError::Corrupt(_) | StoreError::Db(_) => {
                tracing::error!(error = %e, "store");
                Error::internal("The database failed; the log of the manager says more.")
            }
        }
    }
}

fn is_connection(e: &sqlx::Error) -> bool {
    use sqlx::Error as E;
    matches!(e, E::Io(_) | E::Tls(_) | E::PoolClosed | E::PoolTimedOut | E::WorkerCrashed | E::BeginFailed)
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
