//! Signing in and out, and changing one's own password.
//!
//! A refused sign-in says and costs the same whether the name is unknown, the password wrong, or the account locked or
//! disabled: nobody learns from it which accounts exist.

use crate::auth::{Credential, PRIVILEGES};
use crate::front::limits::counted;
use crate::http::Op;
use crate::limit::too_many;
use crate::secret::{self, Kind};
use std::net::IpAddr;
use uuid::Uuid;
use virga_api::v1::{Grant, PasswordChange, SignIn, SignedIn, WhoAmI};
use virga_model::task::ObjectRef;
use virga_model::user::{FAILURES_MAX, LOCK_SECONDS, PASSWORD_BYTES_MAX, SESSION_SECONDS_MAX, Session, User, check_password};
use virga_model::{Error, ErrorCode, SessionId, UserId};

/// Longest login name that is looked at.
const NAME_BYTES_MAX: usize = 128;

/// Signs in.
///
/// # Errors
/// Unauthenticated, always with the same words; TooMany when this address tries too often.
pub async fn sign_in(op: &Op, address: IpAddr, b: SignIn) -> Result<SignedIn, Error> {
    op.api.sign_ins.take(&counted(address)).map_err(|s| too_many("sign-ins from this address", s))?;
    if b.user.len() > NAME_BYTES_MAX || b.password.len() > PASSWORD_BYTES_MAX {
        return Err(refused());
    }
    let mut tx = op.read().await?;
    let user = virga_store::user::by_name(&mut tx, &b.user).await?;
    drop(tx);
    let usable = user.filter(|u| may_try(op, u));
    let right = op.api.hasher.verify(&b.password, usable.as_ref().map(|u| u.password_hash.as_str())).await?;
    match usable {
        Some(u) if right => begin(op, &u).await,
        Some(u) => {
            wrong(op, u.id, &b.user).await?;
            Err(refused())
        }
        None => {
            let mut record = op.record(ObjectRef::System, "", "unauthenticated", "sign-in refused");
            record.actor = shown(&b.user);
            op.audit_alone(record).await?;
            Err(refused())
        }
    }
}

fn refused() -> Error {
    Error::new(ErrorCode::Unauthenticated, "The name or the password is wrong, or the account cannot be used at the moment.")
        .with_hint(format!("After {FAILURES_MAX} wrong passwords an account is locked for {} minutes.", LOCK_SECONDS / 60))
}

fn shown(name: &str) -> String {
    name.chars().filter(|c| !c.is_control()).take(64).collect()
}

fn may_try(op: &Op, u: &User) -> bool {
    !u.disabled && u.locked_until.is_none_or(|t| t <= op.now)
}

/// Notes a wrong password, and locks the account after too many.
async fn wrong(op: &Op, id: UserId, name: &str) -> Result<(), Error> {
    let mut tx = op.m.store.write().await?;
    let Some(u) = virga_store::user::get(&mut tx, id).await? else { return Ok(()) };
    let failures = u.failures.saturating_add(1);
    let locked = failures >= FAILURES_MAX;
    let until = if locked { Some(op.now.plus_seconds(LOCK_SECONDS)) } else { u.locked_until };
    virga_store::user::update_login(&mut tx, id, if locked { 0 } else { failures }, until).await?;
    let detail = if locked { "wrong password; the account is locked for a while" } else { "wrong password" };
    let mut record = op.record(ObjectRef::User(id), name, "unauthenticated", detail);
    record.actor = shown(name);
    virga_store::audit::append(&mut tx, &record).await?;
    tx.commit().await?;
    op.note_recorded();
    Ok(())
}

/// Begins a session, if the account is still what it was when the password was checked.
async fn begin(op: &Op, checked: &User) -> Result<SignedIn, Error> {
    let (bearer, csrf) = (secret::generate(Kind::Session), secret::generate(Kind::Csrf));
    let session = Session {
        id: SessionId(Uuid::now_v7()),
        user: checked.id,
        secret_sha256: bearer.sha256,
        csrf_sha256: csrf.sha256,
        expires_at: op.now.plus_seconds(SESSION_SECONDS_MAX),
        used_at: op.now,
        created_at: op.now,
    };
    let mut tx = op.m.store.write().await?;
    let now_there = virga_store::user::get(&mut tx, checked.id).await?;
    let u = now_there.filter(|u| may_try(op, u) && u.password_hash == checked.password_hash).ok_or_else(refused)?;
    virga_store::user::update_login(&mut tx, u.id, 0, None).await?;
    virga_store::session::insert(&mut tx, &session).await?;
    let mut record = op.record(ObjectRef::Session(session.id), &u.name, "ok", "signed in");
    (record.user, record.actor) = (Some(u.id), u.name.clone());
    virga_store::audit::append(&mut tx, &record).await?;
    tx.commit().await?;
    op.note_recorded();
    Ok(SignedIn { token: bearer.text, csrf: csrf.text, expires_at: session.expires_at, must_change_password: u.must_change })
}

/// Who is signed in, and what they may do.
#[must_use]
pub fn who(op: &Op) -> WhoAmI {
    let c = &op.caller;
    WhoAmI {
        id: c.user,
        name: c.name.clone(),
        must_change_password: c.must_change,
        grants: c.bindings().iter().map(|(role, scope)| Grant { role: *role, scope: *scope }).collect(),
        privileges: PRIVILEGES.into_iter().filter(|p| c.has(*p)).collect(),
    }
}

/// Ends the session; for an API token there is nothing to end.
///
/// # Errors
/// Conflict for an API token.
pub async fn sign_out(op: &Op) -> Result<(), Error> {
    let Credential::Session(session) = &op.caller.credential else {
        return Err(Error::conflict("An API token has no session.").with_hint("Revoke it with DELETE /v1/tokens/{token}."));
    };
    let mut tx = op.write().await?;
    virga_store::session::delete(&mut tx, session.id).await?;
    op.audit(&mut tx, ObjectRef::Session(session.id), &op.caller.name, "signed out").await?;
    op.commit(tx, &(), None).await
}

/// Changes one's own password; ends all other sessions of the account.
///
/// # Errors
/// Forbidden for API tokens, Unauthenticated for a wrong present password, Invalid for a new one that is too weak.
pub async fn change_password(op: &Op, b: PasswordChange) -> Result<(), Error> {
    let Credential::Session(session) = &op.caller.credential else {
        return Err(Error::new(ErrorCode::Forbidden, "An API token cannot change a password.").with_hint("Sign in with the present password."));
    };
    check_password("new", &op.caller.name, &b.new)?;
    if b.new == b.current {
        return Err(Error::invalid("new", "must be another password than the present one"));
    }
    let mut tx = op.read().await?;
    let user = virga_store::user::get(&mut tx, op.caller.user).await?.filter(|u| may_try(op, u));
    drop(tx);
    let right = op.api.hasher.verify(&b.current, user.as_ref().map(|u| u.password_hash.as_str())).await?;
    let Some(mut user) = user.filter(|_| right) else {
        wrong(op, op.caller.user, &op.caller.name).await?;
        return Err(Error::invalid("current", "is not your present password"));
    };
    let expected = user.generation;
    user.password_hash = op.api.hasher.hash(&b.new).await?;
    (user.must_change, user.failures, user.locked_until) = (false, 0, None);
    user.generation += 1;
    let mut tx = op.write().await?;
    virga_store::user::update(&mut tx, &user, expected).await?;
    virga_store::session::delete_of_user(&mut tx, user.id).await?;
    virga_store::session::insert(&mut tx, &Session { used_at: op.now, ..Session::clone(session) }).await?;
    op.audit(&mut tx, ObjectRef::User(user.id), &user.name, "own password changed").await?;
    op.commit(tx, &(), None).await?;
    if crate::first::is_first(&user.name) {
        let _ = std::fs::remove_file(crate::first::password_file(&op.m.state_folder, &user.name));
    }
    Ok(())
}
