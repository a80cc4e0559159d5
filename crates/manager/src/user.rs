//! Accounts, roles and who has them.
//!
//! The last account that can manage accounts can be neither removed, disabled nor stripped of its role; nobody grants
//! or touches what is above themselves.

use crate::http::Op;
use crate::{auth, list};
use uuid::Uuid;
use virga_api::v1::{Grant, ListQuery, PageBody, Reference, RoleBinding as ApiBinding, RoleBindingCreate, RoleInfo, User as ApiUser, UserCreate, UserUpdate};
use virga_model::role::{Role, RoleBinding, Scope, Target};
use virga_model::task::ObjectRef;
use virga_model::user::{User, check_password};
use virga_model::{Error, ErrorCode, RoleBindingId, UserId, name};
use virga_store::{Page, Tx};

async fn load(tx: &mut Tx, name: &str) -> Result<User, Error> {
    virga_store::user::by_ref(tx, name).await?.ok_or_else(|| Error::not_found("user", name))
}

async fn shape(tx: &mut Tx, u: User) -> Result<ApiUser, Error> {
    let grants = virga_store::role_binding::of_user(tx, u.id).await?;
    Ok(ApiUser {
        id: u.id,
        name: u.name,
        disabled: u.disabled,
        must_change_password: u.must_change,
        locked_until: u.locked_until,
        grants: grants.iter().map(|b| Grant { role: b.role, scope: b.scope }).collect(),
        generation: u.generation,
        created_at: u.created_at,
    })
}

/// Name of an account, for references.
///
/// # Errors
/// What the database says.
pub async fn name_of(tx: &mut Tx, id: UserId) -> Result<String, Error> {
    Ok(virga_store::user::get(tx, id).await?.map(|u| u.name).unwrap_or_default())
}

/// A page of accounts.
///
/// # Errors
/// Malformed for wrong parameters.
pub async fn list(op: &Op, q: &ListQuery) -> Result<PageBody<ApiUser>, Error> {
    let mut tx = op.read().await?;
    let mut paged = virga_store::user::list(&mut tx, &list::page(q)?).await?;
    let mut items = Vec::with_capacity(paged.items.len());
    for u in std::mem::take(&mut paged.items) {
        items.push(shape(&mut tx, u).await?);
    }
    list::body(q, paged, items)
}

/// One account.
///
/// # Errors
/// NotFound.
pub async fn view(op: &Op, name: &str) -> Result<ApiUser, Error> {
    let mut tx = op.read().await?;
    let user = load(&mut tx, name).await?;
    shape(&mut tx, user).await
}

/// Makes an account.
///
/// # Errors
/// Invalid for name or password, Conflict when the name is taken, Forbidden for a role above the caller's.
pub async fn create(op: &Op, b: &UserCreate) -> Result<ApiUser, Error> {
    name::check("name", &b.name)?;
    check_password("password", &b.name, &b.password)?;
    if let Some(role) = b.role {
        may_grant(op, role)?;
    }
    let password_hash = op.api.hasher.hash(&b.password).await?;
    let id = UserId(Uuid::now_v7());
    let user = User {
        id,
        name: b.name.clone(),
        password_hash,
        must_change: true,
        disabled: false,
        failures: 0,
        locked_until: None,
        generation: 1,
        created_at: op.now,
    };
    let mut tx = op.write().await?;
    virga_store::user::insert(&mut tx, &user).await?;
    if let Some(role) = b.role {
        let binding = RoleBinding { id: RoleBindingId(Uuid::now_v7()), user: id, role, scope: Scope::All };
        virga_store::role_binding::insert(&mut tx, &binding).await?;
    }
    let detail = b.role.map_or_else(|| "account made".to_string(), |r| format!("account made with role {r} over everything"));
    op.audit(&mut tx, ObjectRef::User(id), &b.name, &detail).await?;
    let answer = shape(&mut tx, user).await?;
    op.commit(tx, &answer, None).await?;
    Ok(answer)
}

fn may_grant(op: &Op, role: Role) -> Result<(), Error> {
    if op.caller.outranks(&[(role, Scope::All)]) {
        return Ok(());
    }
    Err(Error::new(ErrorCode::Forbidden, format!("You cannot grant the role {role}, because it allows more than you may.")))
}

async fn may_manage(op: &Op, tx: &mut Tx, user: &User) -> Result<(), Error> {
    let theirs = auth::bindings(tx, user.id, None).await?;
    if op.caller.outranks(&theirs) {
        return Ok(());
    }
    Err(Error::new(ErrorCode::Forbidden, format!("You cannot manage {}, who may do more than you.", user.name)))
}

/// That an account remains that can manage accounts, other than `without` or (with `binding`) without that binding.
async fn admin_remains(tx: &mut Tx, without: Option<UserId>, binding: Option<RoleBindingId>) -> Result<(), Error> {
    let filter = virga_model::filter::parse("role = admin and scope = all")?;
    let mut after = None;
    loop {
        let page = Page { limit: virga_store::PAGE_MAX, after, filter: Some(filter.clone()), ..Page::default() };
        let paged = virga_store::role_binding::list(tx, &page).await?;
        for b in paged.items.iter().filter(|b| Some(b.user) != without && Some(b.id) != binding) {
            if virga_store::user::get(tx, b.user).await?.is_some_and(|u| !u.disabled) {
                return Ok(());
            }
        }
        after = paged.next;
        if after.is_none() {
            return Err(
                Error::conflict("This is the last account that can manage accounts.").with_hint("Give another account the role admin over everything first.")
            );
        }
    }
}

/// Forbids or allows sign-in, sets a new password.
///
/// # Errors
/// NotFound, Forbidden for an account above the caller, Conflict for the last admin, Invalid for the password.
pub async fn update(op: &Op, name: &str, b: &UserUpdate) -> Result<ApiUser, Error> {
    let hash = match &b.password {
        Some(p) => {
            let mut tx = op.read().await?;
            check_password("password", &load(&mut tx, name).await?.name, p)?;
            drop(tx);
            Some(op.api.hasher.hash(p).await?)
        }
        None => None,
    };
    let mut tx = op.write().await?;
    let mut user = load(&mut tx, name).await?;
    op.check_match(user.generation)?;
    may_manage(op, &mut tx, &user).await?;
    let expected = user.generation;
    let mut done = Vec::new();
    if let Some(disabled) = b.disabled.filter(|d| *d != user.disabled) {
        if disabled {
            admin_remains(&mut tx, Some(user.id), None).await?;
        }
        user.disabled = disabled;
        done.push(if disabled { "sign-in forbidden" } else { "sign-in allowed" });
    }
    if let Some(hash) = hash {
        user.password_hash = hash;
        user.must_change = true;
        (user.failures, user.locked_until) = (0, None);
        done.push("new password set");
    }
    if done.is_empty() {
        return shape(&mut tx, user).await;
    }
    user.generation += 1;
    virga_store::user::update(&mut tx, &user, expected).await?;
    if user.disabled || b.password.is_some() {
        virga_store::session::delete_of_user(&mut tx, user.id).await?;
    }
    op.audit(&mut tx, ObjectRef::User(user.id), &user.name, &done.join(", ")).await?;
    let answer = shape(&mut tx, user).await?;
    op.commit(tx, &answer, None).await?;
    Ok(answer)
}

/// Removes an account with its sessions, tokens and roles.
///
/// # Errors
/// NotFound, Forbidden for an account above the caller, Conflict for the last admin or an account that owns VMs.
pub async fn delete(op: &Op, name: &str) -> Result<(), Error> {
    let mut tx = op.write().await?;
    let user = load(&mut tx, name).await?;
    op.check_match(user.generation)?;
    may_manage(op, &mut tx, &user).await?;
    admin_remains(&mut tx, Some(user.id), None).await?;
    if owns_vms(&mut tx, user.id).await? {
        return Err(Error::conflict(format!("{} owns VMs.", user.name)).with_hint("Remove those VMs first, or only forbid the sign-in (disabled)."));
    }
    virga_store::user::delete(&mut tx, user.id).await?;
    op.audit(&mut tx, ObjectRef::User(user.id), &user.name, "account removed").await?;
    op.commit(tx, &(), None).await
}

async fn owns_vms(tx: &mut Tx, user: UserId) -> Result<bool, Error> {
    let mine = virga_model::role::Visible { all: false, owner: Some(user), hosts: Vec::new(), vms: Vec::new() };
    let page = Page { limit: 1, ..Page::default() };
    Ok(!virga_store::vm::list(tx, &page, &mine).await?.items.is_empty())
}

/// The roles and what they allow.
#[must_use]
pub fn roles() -> Vec<RoleInfo> {
    let info =
        |role: Role| RoleInfo { role, description: role.description().into(), privileges: auth::PRIVILEGES.into_iter().filter(|p| role.has(*p)).collect() };
    Role::ALL.into_iter().map(info).collect()
}

async fn binding_shape(tx: &mut Tx, b: &RoleBinding) -> Result<ApiBinding, Error> {
    let name = name_of(tx, b.user).await?;
    Ok(ApiBinding { id: b.id, user: Reference::new(&ObjectRef::User(b.user), &name), role: b.role, scope: b.scope })
}

/// A page of role bindings.
///
/// # Errors
/// Malformed for wrong parameters.
pub async fn binding_list(op: &Op, q: &ListQuery) -> Result<PageBody<ApiBinding>, Error> {
    let mut tx = op.read().await?;
    let paged = virga_store::role_binding::list(&mut tx, &list::page(q)?).await?;
    let mut items = Vec::with_capacity(paged.items.len());
    for b in &paged.items {
        items.push(binding_shape(&mut tx, b).await?);
    }
    list::body(q, paged, items)
}

/// Grants a role.
///
/// # Errors
/// NotFound for the user or the scope's object, Forbidden for a role above the caller's, Conflict when they have it.
pub async fn grant(op: &Op, b: &RoleBindingCreate) -> Result<ApiBinding, Error> {
    may_grant(op, b.role)?;
    let mut tx = op.write().await?;
    let user = load(&mut tx, &b.user).await?;
    match b.scope {
        Scope::All | Scope::Own => {}
        Scope::Host(id) => drop(virga_store::host::get(&mut tx, id).await?.ok_or_else(|| Error::not_found("host", id))?),
        Scope::Vm(id) => drop(virga_store::vm::get(&mut tx, id).await?.ok_or_else(|| Error::not_found("VM", id))?),
    }
    let binding = RoleBinding { id: RoleBindingId(Uuid::now_v7()), user: user.id, role: b.role, scope: b.scope };
    virga_store::role_binding::insert(&mut tx, &binding).await?;
    let detail = format!("role {} over {:?}", b.role, b.scope);
    op.audit(&mut tx, ObjectRef::RoleBinding(binding.id), &user.name, &detail).await?;
    let answer = binding_shape(&mut tx, &binding).await?;
    op.commit(tx, &answer, None).await?;
    Ok(answer)
}

/// Takes a role back. It counts from the next request of the user on.
///
/// # Errors
/// NotFound, Forbidden for an account above the caller, Conflict for the last admin.
pub async fn take_back(op: &Op, id: RoleBindingId) -> Result<(), Error> {
    let mut tx = op.write().await?;
    let binding = virga_store::role_binding::get(&mut tx, id).await?.ok_or_else(|| Error::not_found("role binding", id))?;
    let user = virga_store::user::get(&mut tx, binding.user).await?.ok_or_else(|| Error::not_found("user", binding.user))?;
    op.caller.require(virga_model::role::Privilege::UserManage, &Target::Installation, "")?;
    may_manage(op, &mut tx, &user).await?;
    if binding.role == Role::Admin && binding.scope == Scope::All {
        admin_remains(&mut tx, None, Some(id)).await?;
    }
    virga_store::role_binding::delete(&mut tx, id).await?;
    let detail = format!("role {} over {:?} taken back", binding.role, binding.scope);
    op.audit(&mut tx, ObjectRef::RoleBinding(id), &user.name, &detail).await?;
    op.commit(tx, &(), None).await
}
