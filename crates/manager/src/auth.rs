//! Who calls, and what they may do. Every request comes through [`authenticate`]; every decision about rights is
//! [`Caller::may`] or [`Caller::require`].
//!
//! Secrets are compared by looking up their SHA-256, which tells nothing by its timing. A restricted API token has at
//! most the rights of its user. Nothing here may tell a caller that an object exists which they may not see.

use crate::copies;
use crate::secret::{Kind, sha256_hex, stored_form};
use crate::state::Manager;
use http::header::{AUTHORIZATION, COOKIE};
use http::{HeaderMap, Method};
use std::sync::Arc;
use virga_model::role::{Privilege, Role, Scope, Target, Visible};
use virga_model::user::{ApiToken, SESSION_IDLE_SECONDS, Session, User};
use virga_model::vm::Vm;
use virga_model::{Error, ErrorCode, Time, UserId};
use virga_store::{Mark, Store, Tx};

/// Cookie of a session; the prefix makes browsers accept it only with `Secure`, `Path=/` and no domain.
pub const COOKIE_NAME: &str = "__Host-virga";
/// Header that must come with each change when the session comes in the cookie.
pub const CSRF_HEADER: &str = "x-virga-csrf";
/// "Last used" is written at most so often.
const TOUCH_SECONDS: i64 = 60;

/// Every privilege, for lists.
pub const PRIVILEGES: [Privilege; 20] = Privilege::ALL;

/// What a caller showed.
#[derive(Clone, Debug, PartialEq)]
pub enum Credential {
    /// Nothing.
    None,
    /// A session (with the hashes of its secrets, never the secrets).
    Session(Box<Session>),
    /// An API token.
    Token(Box<ApiToken>),
}

/// Who calls.
#[derive(Clone, Debug)]
pub struct Caller {
    /// Account; the nil UUID for nobody.
    pub user: UserId,
    /// Login name; empty for nobody.
    pub name: String,
    /// Address of the caller. Never taken from a header.
    pub source: String,
    /// What they showed.
    pub credential: Credential,
    /// The password must be changed before anything else.
    pub must_change: bool,
    bindings: Vec<(Role, Scope)>,
    role_limit: Option<Role>,
}

/// The target that a VM is.
#[must_use]
pub fn target(vm: &Vm) -> Target {
    Target::Vm { id: vm.id, owner: vm.owner, host: vm.host }
}

impl Caller {
    /// A caller who showed nothing.
    #[must_use]
    pub fn nobody(source: &str) -> Caller {
        Caller {
            user: UserId(uuid::Uuid::nil()),
            name: String::new(),
            source: source.into(),
            credential: Credential::None,
            must_change: false,
            bindings: Vec::new(),
            role_limit: None,
        }
    }

    /// The account, when signed in.
    #[must_use]
    pub fn id(&self) -> Option<UserId> {
        (self.credential != Credential::None).then_some(self.user)
    }

    /// Roles and over what, a token's limits already applied to the scopes.
    #[must_use]
    pub fn bindings(&self) -> &[(Role, Scope)] {
        &self.bindings
    }

    fn role_has(&self, role: Role, p: Privilege) -> bool {
        role.has(p) && self.role_limit.is_none_or(|l| l.has(p))
    }

    /// Whether `target` may be touched with `p`.
    #[must_use]
    pub fn may(&self, p: Privilege, target: &Target) -> bool {
        self.bindings.iter().any(|(r, s)| self.role_has(*r, p) && s.covers(self.user, target))
    }

    /// Whether there is any scope in which the caller has `p`.
    #[must_use]
    pub fn has(&self, p: Privilege) -> bool {
        self.may(p, &Target::Anywhere)
    }

    /// Which rows of a list may be seen with `p`.
    #[must_use]
    pub fn visible(&self, p: Privilege) -> Visible {
        let kept: Vec<(Role, Scope)> = self.bindings.iter().copied().filter(|(r, _)| self.role_has(*r, p)).collect();
        Visible::from_bindings(self.user, &kept, p)
    }

    /// That `target`, called `name` by the caller, may be touched with `p`.
    ///
    /// # Errors
    /// NotFound when they may not even see it (the same answer as for what does not exist), Forbidden when they may
    /// see it.
    pub fn require(&self, p: Privilege, target: &Target, name: &str) -> Result<(), Error> {
        if self.may(p, target) {
            return Ok(());
        }
        let (seen, what) = match target {
            Target::Vm { .. } => (self.may(Privilege::VmRead, target), "VM"),
            Target::Host(_) => (self.may(Privilege::HostRead, target), "host"),
            Target::Anywhere | Target::Installation => (true, ""),
        };
        if seen { Err(forbidden(p)) } else { Err(Error::not_found(what, name)) }
    }

    /// Whether this caller has every right that `other` has: who has less may not manage an account that has more.
    #[must_use]
    pub fn outranks(&self, other: &[(Role, Scope)]) -> bool {
        PRIVILEGES.iter().all(|p| self.may(*p, &Target::Installation) || !other.iter().any(|(r, _)| r.has(*p)))
    }
}

/// The refusal of something that the caller may see and not do.
#[must_use]
pub fn forbidden(p: Privilege) -> Error {
    let word = serde_json::to_value(p).ok().and_then(|v| v.as_str().map(str::to_string)).unwrap_or_default();
    Error::new(ErrorCode::Forbidden, format!("You lack the privilege {word} here.")).with_hint("Ask an administrator for a role that has it.")
}

fn unauthenticated(message: &str) -> Error {
    Error::new(ErrorCode::Unauthenticated, message)
        .with_hint("Sign in with POST /v1/session (virga login), or send an API token as \"Authorization: Bearer …\".")
}

/// Finds out who calls.
///
/// # Errors
/// Unauthenticated, with the same words whether a secret is unknown, expired or revoked; Forbidden when the header
/// against forged requests is missing.
pub async fn authenticate(m: &Manager, headers: &HeaderMap, method: &Method, source: &str) -> Result<Caller, Error> {
    let (secret, by_cookie) = credential_of(headers)?;
    let (kind, sha) = [Kind::Token, Kind::Session].into_iter().find_map(|k| Some((k, stored_form(k, &secret)?))).ok_or_else(refused)?;
    let now = m.now();
    let known = match copies::caller(m, &sha) {
        Some(known) => known,
        None => read(m, kind, &sha, now).await?,
    };
    match &known.credential {
        Credential::Session(s) if !session_is_good(s, now) => return Err(refused()),
        Credential::Session(s) if by_cookie && !method.is_safe() => check_csrf(s, headers)?,
        Credential::Token(t) if t.expires_at <= now => return Err(refused()),
        _ => {}
    }
    Ok(Caller { source: source.into(), ..Caller::clone(&known) })
}

/// Reads who has the secret of this hash, and keeps a copy.
async fn read(m: &Manager, kind: Kind, sha: &str, now: Time) -> Result<Arc<Caller>, Error> {
    let mut tx = m.store.read().await?;
    let epoch = tx.epoch(Mark::Credentials);
    let caller = match kind {
        Kind::Token => by_token(&mut tx, sha, now).await?,
        _ => by_session(&mut tx, sha, now).await?,
    };
    drop(tx);
    match touch(&m.store, &caller.credential, now).await {
        // When it was last used is worth less than that it can be used: reading goes on while the disk is full.
        Err(e) if e.code == ErrorCode::StorageFull => tracing::debug!("the last use of a credential was not noted"),
        noted => noted?,
    }
    let caller = Arc::new(caller);
    if let Some(epoch) = epoch {
        copies::keep_caller(m, sha, epoch, caller.clone());
    }
    Ok(caller)
}

async fn by_session(tx: &mut Tx, sha: &str, now: Time) -> Result<Caller, Error> {
    let session = virga_store::session::by_secret(tx, sha).await?.filter(|s| session_is_good(s, now)).ok_or_else(refused)?;
    let user = account(tx, session.user).await?;
    let bindings = bindings(tx, user.id, None).await?;
    Ok(Caller {
        user: user.id,
        name: user.name,
        credential: Credential::Session(Box::new(session)),
        must_change: user.must_change,
        bindings,
        ..Caller::nobody("")
    })
}

async fn by_token(tx: &mut Tx, sha: &str, now: Time) -> Result<Caller, Error> {
    let token = virga_store::token::by_secret(tx, sha).await?.filter(|t| t.expires_at > now).ok_or_else(refused)?;
    let user = account(tx, token.user).await?;
    let bindings = bindings(tx, user.id, token.scope).await?;
    let role_limit = token.role;
    // A machine cannot change a password: the duty to do so binds sign-ins only.
    Ok(Caller { user: user.id, name: user.name, credential: Credential::Token(Box::new(token)), bindings, role_limit, ..Caller::nobody("") })
}

/// Notes that the credential was used, not more often than [`TOUCH_SECONDS`].
async fn touch(store: &Store, credential: &Credential, now: Time) -> Result<(), Error> {
    let due = |last: Time| now.millis_since(last) > TOUCH_SECONDS * 1000;
    match credential {
        Credential::Session(s) if due(s.used_at) => {
            let mut tx = store.write().await?;
            virga_store::session::touch(&mut tx, s.id, now).await?;
            tx.commit().await?;
        }
        Credential::Token(t) if t.used_at.is_none_or(due) => {
            let mut tx = store.write().await?;
            virga_store::token::touch(&mut tx, t.id, now).await?;
            tx.commit().await?;
        }
        _ => {}
    }
    Ok(())
}

fn refused() -> Error {
    unauthenticated("The credential is not valid: it is wrong, has expired, or was revoked.")
}

/// The secret in the headers, and whether it came in the cookie.
///
/// # Errors
/// Unauthenticated.
pub fn credential_of(headers: &HeaderMap) -> Result<(String, bool), Error> {
    if let Some(value) = headers.get(AUTHORIZATION) {
        let text = value.to_str().map_err(|_| refused())?;
        let (scheme, secret) = text.split_once(' ').ok_or_else(refused)?;
        return if scheme.eq_ignore_ascii_case("bearer") { Ok((secret.trim().to_string(), false)) } else { Err(refused()) };
    }
    headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(name, _)| *name == COOKIE_NAME)
        .map(|(_, secret)| (secret.to_string(), true))
        .ok_or_else(|| unauthenticated("Nobody is signed in."))
}

/// Whether a session can still be used.
#[must_use]
pub fn session_is_good(s: &Session, now: Time) -> bool {
    s.expires_at > now && s.used_at.plus_seconds(SESSION_IDLE_SECONDS) > now
}

fn check_csrf(session: &Session, headers: &HeaderMap) -> Result<(), Error> {
    let sent = headers.get(CSRF_HEADER).and_then(|v| v.to_str().ok()).unwrap_or_default();
    if sha256_hex(sent.as_bytes()) == session.csrf_sha256 {
        return Ok(());
    }
    let message = format!("With the cookie every change needs the header {CSRF_HEADER} with the value given at sign-in.");
    Err(Error::new(ErrorCode::Forbidden, message).with_hint("Sign in again, or send the session as bearer token."))
}

async fn account(tx: &mut Tx, id: UserId) -> Result<User, Error> {
    virga_store::user::get(tx, id).await?.filter(|u| !u.disabled).ok_or_else(refused)
}

/// What `user` was granted, cut down to `limit`.
///
/// # Errors
/// What the database says.
pub async fn bindings(tx: &mut Tx, user: UserId, limit: Option<Scope>) -> Result<Vec<(Role, Scope)>, Error> {
    let all = virga_store::role_binding::of_user(tx, user).await?;
    let mut kept = Vec::with_capacity(all.len());
    for b in all {
        if let Some(scope) = narrowed(tx, user, b.scope, limit.unwrap_or(Scope::All)).await? {
            kept.push((b.role, scope));
        }
    }
    Ok(kept)
}

/// What lies in both scopes: a limit never widens.
async fn narrowed(tx: &mut Tx, user: UserId, granted: Scope, limit: Scope) -> Result<Option<Scope>, Error> {
    let ((Scope::Vm(id), other) | (other, Scope::Vm(id))) = (granted, limit) else { return Ok(granted.and(limit)) };
    if matches!(other, Scope::All | Scope::Vm(_)) {
        return Ok(granted.and(limit));
    }
    // One VM, and what else may hold of it or not: as it is now.
    let vm = virga_store::vm::get(tx, id).await?;
    Ok(vm.filter(|vm| other.covers(user, &target(vm))).map(|_| Scope::Vm(id)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn caller(bindings: Vec<(Role, Scope)>, role_limit: Option<Role>) -> Caller {
        Caller { user: UserId(Uuid::from_u128(1)), bindings, role_limit, ..Caller::nobody("x") }
    }

    #[test]
    fn what_may_not_be_seen_is_not_found() {
        let me = caller(vec![(Role::User, Scope::Own)], None);
        let mine = Target::Vm { id: Uuid::from_u128(5).into(), owner: me.user, host: None };
        let other = Target::Vm { id: Uuid::from_u128(6).into(), owner: Uuid::from_u128(2).into(), host: None };
        assert!(me.require(Privilege::VmDelete, &mine, "a").is_ok());
        assert_eq!(me.require(Privilege::VmDelete, &other, "b").unwrap_err().code, ErrorCode::NotFound);
        let viewer = caller(vec![(Role::Viewer, Scope::All)], None);
        assert_eq!(viewer.require(Privilege::VmDelete, &other, "b").unwrap_err().code, ErrorCode::Forbidden);
        assert_eq!(me.require(Privilege::UserManage, &Target::Installation, "").unwrap_err().code, ErrorCode::Forbidden);
    }

    #[test]
    fn a_limited_token_has_less() {
        let limited = caller(vec![(Role::Admin, Scope::All)], Some(Role::Viewer));
        assert!(limited.has(Privilege::VmRead) && !limited.has(Privilege::VmOperate) && !limited.has(Privilege::UserManage));
        assert!(!limited.visible(Privilege::VmEdit).any() && limited.visible(Privilege::VmRead).all);
    }

    #[test]
    fn who_has_less_does_not_outrank() {
        let admin = caller(vec![(Role::Admin, Scope::All)], None);
        let operator = caller(vec![(Role::Operator, Scope::All)], None);
        assert!(admin.outranks(&[(Role::Admin, Scope::All)]));
        assert!(!operator.outranks(&[(Role::Admin, Scope::Own)]) && operator.outranks(&[(Role::User, Scope::All)]));
    }

    #[test]
    fn credentials_are_read_from_header_and_cookie() {
        let headers = |name: &str, value: &str| HeaderMap::from_iter([(http::HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap())]);
        assert_eq!(credential_of(&headers("authorization", "Bearer vt_x")).unwrap(), ("vt_x".into(), false));
        assert_eq!(credential_of(&headers("cookie", "a=b; __Host-virga=vs_y")).unwrap(), ("vs_y".into(), true));
        assert!(credential_of(&headers("authorization", "Basic eA==")).is_err());
        assert!(credential_of(&HeaderMap::new()).is_err());
    }
}
