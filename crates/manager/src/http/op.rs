//! One request under way: who calls, what they may do, and the transaction rules that every change keeps.
//!
//! A change is committed by [`Op::commit`] only, and not unless the rights over its object were checked and an audit
//! record was written into the same transaction. An `Idempotency-Key` is begun and finished in that transaction too,
//! so that a crash leaves either everything or nothing.

use crate::auth::{Caller, target};
use crate::http::Api;
use crate::http::authz::{Access, Entry, Over};
use crate::state::Manager;
use serde::Serialize;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use virga_model::event::AuditRecord;
use virga_model::role::{Privilege, Target, Visible};
use virga_model::task::ObjectRef;
use virga_model::vm::Vm;
use virga_model::{Error, ErrorCode, Time};
use virga_store::idempotency::Begin;
use virga_store::{StoreError, Tx};

/// An `Idempotency-Key` with the hash of the request it came with.
#[derive(Clone, Debug)]
pub struct Once {
    /// The key.
    pub key: String,
    /// SHA-256 of operation, path and body.
    pub sha256: String,
    /// Status of the answer.
    pub status: u16,
    /// The answer holds a secret that is shown once: it is not kept.
    pub secret: bool,
}

/// One request under way.
pub struct Op {
    /// What handlers share.
    pub api: Arc<Api>,
    /// The manager.
    pub m: Arc<Manager>,
    /// Line of the authorization table.
    pub entry: &'static Entry,
    /// Who calls.
    pub caller: Caller,
    /// Identity of the request.
    pub request_id: String,
    /// When it came.
    pub now: Time,
    /// The path, for audit records that name no object.
    pub(super) subject: String,
    pub(super) if_match: Option<String>,
    pub(super) once: Option<Once>,
    pub(super) replay: Mutex<Option<String>>,
    pub(super) checked: AtomicBool,
    /// An audit record stands in the open transaction.
    pub(super) audited: AtomicBool,
    /// An audit record was committed.
    pub(super) recorded: AtomicBool,
}

impl Op {
    /// A transaction that reads.
    ///
    /// # Errors
    /// What the database says.
    pub async fn read(&self) -> Result<Tx, Error> {
        Ok(self.m.store.read().await?)
    }

    /// A transaction that writes. When the request was answered before, there is none: the answer is given again.
    ///
    /// # Errors
    /// What the database says; Conflict or Locked for a wrong or busy `Idempotency-Key`.
    pub async fn write(&self) -> Result<Tx, Error> {
        let mut tx = self.m.store.write().await?;
        self.begin_once(&mut tx).await?;
        Ok(tx)
    }

    pub(super) async fn begin_once(&self, tx: &mut Tx) -> Result<(), Error> {
        let Some(once) = &self.once else { return Ok(()) };
        match virga_store::idempotency::begin(tx, self.caller.user, &once.key, &once.sha256).await? {
            Begin::New => Ok(()),
            Begin::Replay { .. } if once.secret => {
                Err(Error::conflict("This was done already with the same Idempotency-Key; its secret was shown then and is not kept.")
                    .with_hint("If the answer was lost, remove what was made and repeat with another key."))
            }
            Begin::Replay { body, .. } => {
                *self.replay.lock().unwrap_or_else(PoisonError::into_inner) = Some(body);
                Err(Error::conflict("The request was answered before."))
            }
            Begin::Mismatch => Err(Error::conflict("This Idempotency-Key came with another request before.").with_hint("Use a new key for a new request.")),
            Begin::InProgress => {
                Err(Error::new(ErrorCode::Locked, "The first request with this Idempotency-Key has not ended.").with_hint("Try again in a moment."))
            }
        }
    }

    /// Commits a change and wakes who waits for it. `answer` is what the caller gets, and gets again with the same
    /// `Idempotency-Key`.
    ///
    /// # Errors
    /// Internal when rights or audit were forgotten; then nothing was changed. What the database says.
    pub async fn commit<A: Serialize>(&self, mut tx: Tx, answer: &A, location: Option<&str>) -> Result<(), Error> {
        if !self.rights_were_checked() || !self.audited.load(Ordering::Acquire) {
            tracing::error!(operation = self.entry.name, request = %self.request_id, "a change without check of rights or without audit record was not committed");
            return Err(Error::internal("The change was not made, because its rights were not checked."));
        }
        if let Some(once) = &self.once {
            let body = if once.secret { String::new() } else { serde_json::to_string(answer).map_err(|e| Error::internal(e.to_string()))? };
            virga_store::idempotency::finish(&mut tx, self.caller.user, &once.key, once.status, &body, location).await?;
        }
        virga_crash::step(virga_crash::Step::RequestCommit, async { Ok(tx.commit().await?) }).await?;
        self.recorded.store(true, Ordering::Release);
        self.m.committed();
        Ok(())
    }

    pub(super) fn rights_were_checked(&self) -> bool {
        !matches!(self.entry.access, Access::Needs(_, Over::Object | Over::Source)) || self.checked.load(Ordering::Acquire)
    }

    /// That the caller may touch `target`, which they called `name`.
    ///
    /// # Errors
    /// As [`Caller::require`].
    pub fn require(&self, p: Privilege, target: &Target, name: &str) -> Result<(), Error> {
        self.checked.store(true, Ordering::Release);
        self.caller.require(p, target, name)
    }

    /// That the caller may touch `vm`, which they called `name`.
    ///
    /// # Errors
    /// As [`Caller::require`].
    pub fn require_vm(&self, p: Privilege, vm: &Vm, name: &str) -> Result<(), Error> {
        self.require(p, &target(vm), name)
    }

    /// Which rows the caller may see with `p`.
    #[must_use]
    pub fn visible(&self, p: Privilege) -> Visible {
        self.caller.visible(p)
    }

    /// That the caller's `If-Match`, if any, is `generation`.
    ///
    /// # Errors
    /// PreconditionFailed.
    pub fn check_match(&self, generation: i64) -> Result<(), Error> {
        let Some(wanted) = &self.if_match else { return Ok(()) };
        let own = etag(generation);
        let fits = wanted.split(',').map(str::trim).any(|w| w == "*" || w == own);
        if fits {
            return Ok(());
        }
        Err(Error::new(ErrorCode::PreconditionFailed, format!("If-Match is {}, but the object's ETag is {own} by now.", virga_model::name::shown(wanted)))
            .with_hint("Read the object again and repeat the change."))
    }

    /// Writes an audit record into the transaction of the change.
    ///
    /// # Errors
    /// What the database says; then the change must not be made either.
    pub async fn audit(&self, tx: &mut Tx, object: ObjectRef, name: &str, detail: &str) -> Result<(), Error> {
        virga_store::audit::append(tx, &self.record(object, name, "ok", detail)).await.map_err(|e| unrecorded(&e))?;
        self.audited.store(true, Ordering::Release);
        Ok(())
    }

    pub(crate) fn record(&self, object: ObjectRef, name: &str, result: &str, detail: &str) -> AuditRecord {
        AuditRecord {
            id: 0,
            at: self.now,
            user: self.caller.id(),
            actor: if self.caller.name.is_empty() { "nobody".into() } else { self.caller.name.clone() },
            source: self.caller.source.clone(),
            operation: self.entry.name.into(),
            object,
            object_name: name.into(),
            result: result.into(),
            request_id: self.request_id.clone(),
            detail: detail.into(),
        }
    }

    /// An audit record of its own, in a transaction of its own, for what was refused or changed nothing.
    ///
    /// # Errors
    /// Unavailable when it cannot be written; then what it is about must not be answered as done.
    pub(crate) async fn audit_alone(&self, record: AuditRecord) -> Result<(), Error> {
        let write = async {
            let mut tx = self.m.store.write().await?;
            virga_store::audit::append(&mut tx, &record).await?;
            tx.commit().await
        };
        match write.await {
            Ok(()) => {
                self.recorded.store(true, Ordering::Release);
                Ok(())
            }
            Err(e) => {
                tracing::error!(error = %e, operation = self.entry.name, request = %self.request_id, "audit record not written");
                Err(unrecorded(&e))
            }
        }
    }

    /// An audit record was committed otherwise than by [`Op::commit`].
    pub(crate) fn note_recorded(&self) {
        self.recorded.store(true, Ordering::Release);
    }

    /// A refusal for lack of room without the names of hosts, for callers who may not see hosts.
    #[must_use]
    pub fn veil(&self, mut e: Error) -> Error {
        let seen = self.visible(Privilege::HostRead);
        if e.code == ErrorCode::NoCapacity && !seen.all {
            // What stands in the message may be of any host; of the list only what is not the caller's goes.
            e.refusals.retain(|r| seen.hosts.contains(&r.host));
            e.message = "No host has room for the VM as it was asked for.".into();
            e.hint = Some("Ask for less memory, fewer vCPUs or smaller disks, or ask an operator.".into());
        }
        e
    }
}

/// The refusal of what cannot be recorded (`reliability.md` X20): no record, no change.
fn unrecorded(e: &StoreError) -> Error {
    match e {
        StoreError::Full => Error::from(StoreError::Full),
        StoreError::Busy => Error::unavailable("The database is busy, so the request was not done.").with_hint("Try again in a moment."),
        _ => {
            tracing::error!(error = %e, "the audit table cannot be written: changes are refused");
            Error::unavailable("The request was not done, because its audit record cannot be written.")
                .with_hint("Tell an administrator: the log of the manager says more. Reading goes on working.")
        }
    }
}

/// The ETag of a generation.
#[must_use]
pub fn etag(generation: i64) -> String {
    format!("\"{generation}\"")
}

#[cfg(test)]
mod tests {
    #[test]
    fn etags_are_quoted() {
        assert_eq!(super::etag(7), "\"7\"");
    }
}
