//! Accounts, roles and who has them.
//!
//! The last account that can manage accounts can be neither removed, disabled nor stripped of its role; nobody grants
//! or touches what is above themselves. With three separated administrators (`reliability.md` 4.2) one makes accounts
//! without rights, another decides what they may do, nobody decides over themselves, and each of the three must remain.

use crate::http::Op;
use crate::{auth, first, list};
use uuid::Uuid;
use virga_api::v1::{Grant, ListQuery, PageBody, Reference, RoleBinding as ApiBinding, RoleBindingCreate, RoleInfo, User as ApiUser, UserCreate, UserUpdate};
use virga_model::role::{Administration, Role, RoleBinding, Scope, Target};
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
    let mode = first::administration(&mut op.read().await?).await?;
    let password = first_password(mode, b)?;
    if let Some(role) = b.role {
        may_grant(op, mode, role)?;
    }
    let password_hash = op.api.hasher.hash(&password).await?;
    let id = UserId(Uuid::now_v7());
    let user = User {
        id,
        name: b.name.clone(),
        password_hash,
        must_change: true,
        disabled: mode == Administration::ThreeRoles,
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
    let without = if user.disabled { "account made, disabled and without roles" } else { "account made" };
    let detail = b.role.map_or_else(|| without.to_string(), |r| format!("account made with role {r} over everything"));
    op.audit(&mut tx, ObjectRef::User(id), &b.name, &detail).await?;
    let answer = shape(&mut tx, user).await?;
    op.commit(tx, &answer, None).await?;
    Ok(answer)
}

/// The password that a new account begins with. With three administrators it is one that nobody knows: who makes an
/// account must not be able to use it.
fn first_password(mode: Administration, b: &UserCreate) -> Result<String, Error> {
    match (mode, &b.password) {
        (Administration::OneAdmin, None) => Err(Error::invalid("password", "must be given")),
        (Administration::OneAdmin, Some(p)) => check_password("password", &b.name, p).map(|()| p.clone()),
        (Administration::ThreeRoles, Some(_)) => Err(Error::invalid("password", "is set by the security administrator, after the account was made")),
        (Administration::ThreeRoles, None) if b.role.is_some() => {
            Err(Error::invalid("role", "is granted by the security administrator, after the account was made"))
        }
        (Administration::ThreeRoles, None) => Ok(crate::secret::one_time_password()),
    }
}

fn may_grant(op: &Op, mode: Administration, role: Role) -> Result<(), Error> {
    if !mode.knows(role) {
        return Err(Error::invalid("role", format!("{role} cannot be granted here, because the installation is administered as {mode}")));
    }
    // Of three administrators the one over rights grants what they do not have themselves; that is the point.
    if mode == Administration::ThreeRoles || op.caller.outranks(&[(role, Scope::All)]) {
        return Ok(());
    }
    Err(Error::new(ErrorCode::Forbidden, format!("You cannot grant the role {role}, because it allows more than you may.")))
}

async fn may_manage(op: &Op, tx: &mut Tx, user: &User) -> Result<(), Error> {
    if first::administration(tx).await? == Administration::ThreeRoles {
        return match op.caller.user == user.id {
            true => Err(Error::new(ErrorCode::Forbidden, "With three administrators nobody decides over their own account.")
                .with_hint("Ask another security administrator; change your own password with PUT /v1/session/password (virga passwd).")),
            false => Ok(()),
        };
    }
    let theirs = auth::bindings(tx, user.id, None).await?;
    if op.caller.outranks(&theirs) {
        return Ok(());
    }
    Err(Error::new(ErrorCode::Forbidden, format!("You cannot manage {}, who may do more than you.", user.name)))
}

/// That for each vital role of this user (or of this binding only) another account remains that has it and can sign in.
async fn others_remain(tx: &mut Tx, user: UserId, binding: Option<RoleBindingId>) -> Result<(), Error> {
    let mode = first::administration(tx).await?;
    let theirs = virga_store::role_binding::of_user(tx, user).await?;
    for role in mode.vital() {
        let touched = theirs.iter().any(|b| b.role == *role && b.scope == Scope::All && binding.is_none_or(|id| id == b.id));
        if touched && !another_has(tx, *role, user).await? {
            return Err(Error::conflict(format!("This is the last account with the role {role}."))
                .with_hint(format!("Give another account the role {role} over everything first.")));
        }
    }
    Ok(())
}

async fn another_has(tx: &mut Tx, role: Role, user: UserId) -> Result<bool, Error> {
    let filter = virga_model::filter::parse(&format!("role = {role} and scope = all"))?;
    let mut after = None;
    loop {
        let page = Page { limit: virga_store::PAGE_MAX, after, filter: Some(filter.clone()), ..Page::default() };
        let paged = virga_store::role_binding::list(tx, &page).await?;
        for b in paged.items.iter().filter(|b| b.user != user) {
            if virga_store::user::get(tx, b.user).await?.is_some_and(|u| !u.disabled) {
                return Ok(true);
            }
        }
        after = paged.next;
        if after.is_none() {
            return Ok(false);
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
            others_remain(&mut tx, user.id, None).await?;
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
    others_remain(&mut tx, user.id, None).await?;
    if owns_vms(&mut tx, user.id).await? {
        return Err(Error::conflict(format!("{} owns VMs.", user.name)).with_hint("Remove those VMs first, or only forbid the sign-in (disabled)."));
    }
    virga_store::user::delete(&mut tx, user.id).await?;
    op.audit(&mut tx, ObjectRef::User(user.id), &user.name, "account removed").await?;
    op.commit(tx, &(), None).await
}

async fn owns_vms(tx: &mut Tx, user: UserId) -> Result<bool, Error> {
    let mine = virga_model::role::Visible {
        all: false,
        owner: Some(user),
        owner_on: None,
        hosts: Vec::new(),
        vms: Vec::new(),
        kinds: Vec::new(),
        vm_hosts: Vec::new(),
    };
    let page = Page { limit: 1, ..Page::default() };
    Ok(!virga_store::vm::list(tx, &page, virga_store::vm::Listed::All, &mine).await?.items.is_empty())
}

/// The roles that can be granted here, and what they allow.
///
/// # Errors
/// What the database says.
pub async fn roles(op: &Op) -> Result<Vec<RoleInfo>, Error> {
    let mode = first::administration(&mut op.read().await?).await?;
    let info =
        |role: Role| RoleInfo { role, description: role.description().into(), privileges: auth::PRIVILEGES.into_iter().filter(|p| role.has(*p)).collect() };
    Ok(Role::ALL.into_iter().filter(|r| mode.knows(*r)).map(info).collect())
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
    let mut tx = op.write().await?;
    may_grant(op, first::administration(&mut tx).await?, b.role)?;
    let user = load(&mut tx, &b.user).await?;
    may_manage(op, &mut tx, &user).await?;
    if b.role.is_separated() && b.scope != Scope::All {
        return Err(Error::invalid("scope", format!("must be all for {}", b.role)));
    }
    match b.scope {
        Scope::All | Scope::Own => {}
        Scope::Host(id) | Scope::OwnOnHost(id) => drop(virga_store::host::get(&mut tx, id).await?.ok_or_else(|| Error::not_found("host", id))?),
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
    others_remain(&mut tx, user.id, Some(id)).await?;
    virga_store::role_binding::delete(&mut tx, id).await?;
    let detail = format!("role {} over {:?} taken back", binding.role, binding.scope);
    op.audit(&mut tx, ObjectRef::RoleBinding(id), &user.name, &detail).await?;
    op.commit(tx, &(), None).await
}
