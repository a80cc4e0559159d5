//! The first start: who administers, the first account (or the first three) with one-time passwords, and the network
//! every installation begins with.
//!
//! A password is only ever in a file that its owner alone can read, and the file goes when the password is changed. The
//! mode of administration is written once and never changed.

use crate::config::TokenArgs;
use crate::password::Hasher;
use crate::secret::{self, Kind};
use crate::state::wall_clock;
use std::path::{Path, PathBuf};
use uuid::Uuid;
use virga_model::event::AuditRecord;
use virga_model::network::{Network, NetworkSpec};
use virga_model::role::{Administration, Role, RoleBinding, Scope};
use virga_model::task::ObjectRef;
use virga_model::user::{ApiToken, User};
use virga_model::{Error, NetworkId, RoleBindingId, Time, TokenId, UserId};
use virga_store::{Store, Tx};

/// Login name of the first account.
pub const ADMIN: &str = "admin";
/// Network that is there from the beginning.
pub const NAT: &str = "nat";
/// Its addresses.
const NAT_CIDR: &str = "192.168.200.0/24";

/// Login names of the first three accounts, and their roles, when administration is separated.
pub const SEPARATED: [(&str, Role); 3] = [("system", Role::SystemAdmin), ("security", Role::SecurityAdmin), ("audit", Role::AuditAdmin)];
/// Where the mode of administration is kept.
const MODE: &str = "administration";

/// File with the one-time password of a first account.
#[must_use]
pub fn password_file(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}-password"))
}

/// Whether an account of this name may be one of the first start.
#[must_use]
pub fn is_first(name: &str) -> bool {
    name == ADMIN || SEPARATED.iter().any(|(n, _)| *n == name)
}

/// How this installation is administered.
///
/// # Errors
/// What the database says, or that it holds something that this program does not know.
pub async fn administration(tx: &mut Tx) -> Result<Administration, Error> {
    match virga_store::meta::get(tx, MODE).await? {
        None => Ok(Administration::OneAdmin),
        Some(word) => word.parse().map_err(|_| Error::internal("The database names a mode of administration that this program does not know.")),
    }
}

/// The first accounts of a mode: login name and role.
fn accounts(mode: Administration) -> &'static [(&'static str, Role)] {
    match mode {
        Administration::OneAdmin => &[(ADMIN, Role::Admin)],
        Administration::ThreeRoles => &SEPARATED,
    }
}

/// Makes what a new installation needs, when it is not there.
///
/// # Errors
/// When the database or a file with a password cannot be written; Conflict when `wanted` is not the mode that was chosen
/// at the first start.
pub async fn prepare(store: &Store, hasher: &Hasher, folder: &Path, now: Time, wanted: Option<Administration>) -> Result<(), Error> {
    let mut tx = store.read().await?;
    if virga_store::user::count(&mut tx).await? > 0 {
        return same_mode(&mut tx, wanted).await;
    }
    drop(tx);
    let mode = wanted.unwrap_or_default();
    let mut made = Vec::new();
    for (name, role) in accounts(mode) {
        let password = secret::one_time_password();
        made.push((*name, *role, hasher.hash(&password).await?, password));
    }
    let mut tx = store.write().await?;
    if virga_store::user::count(&mut tx).await? > 0 {
        return same_mode(&mut tx, wanted).await; // another manager was faster
    }
    virga_store::meta::set(&mut tx, MODE, &mode.to_string()).await?;
    for (name, role, hash, password) in &made {
        make_account(&mut tx, name, *role, hash.clone(), now).await?;
        crate::ca::write(&password_file(folder, name), &format!("{password}\n"), 0o600)?;
    }
    make_network(&mut tx, now).await?;
    tx.commit().await?;
    for (name, ..) in &made {
        tracing::info!(file = %password_file(folder, name).display(), "account {name} made; its one-time password is in the file");
    }
    Ok(())
}

async fn same_mode(tx: &mut Tx, wanted: Option<Administration>) -> Result<(), Error> {
    let mode = administration(tx).await?;
    match wanted {
        Some(w) if w != mode => Err(Error::conflict(format!("This installation is administered as {mode}, not as {w}: that was chosen at its first start."))
            .with_hint(format!("Leave the setting out, or give {mode}. Only a new installation can be administered otherwise."))),
        _ => Ok(()),
    }
}

async fn make_account(tx: &mut Tx, name: &str, role: Role, password_hash: String, now: Time) -> Result<(), Error> {
    let id = UserId(Uuid::now_v7());
    let user =
        User { id, name: name.into(), password_hash, must_change: true, disabled: false, failures: 0, locked_until: None, generation: 1, created_at: now };
    virga_store::user::insert(tx, &user).await?;
    let binding = RoleBinding { id: RoleBindingId(Uuid::now_v7()), user: id, role, scope: Scope::All };
    virga_store::role_binding::insert(tx, &binding).await?;
    let detail = format!("account made at the first start with role {role}");
    virga_store::audit::append(tx, &record(now, "first_start", ObjectRef::User(id), name, &detail)).await?;
    Ok(())
}

async fn make_network(tx: &mut Tx, now: Time) -> Result<(), Error> {
    let id = NetworkId(Uuid::now_v7());
    let nat = Network { id, name: NAT.into(), spec: NetworkSpec::Nat { cidr: NAT_CIDR.into() }, generation: 1, deleting: false, created_at: now };
    Ok(virga_store::network::insert(tx, &nat).await?)
}

fn record(now: Time, operation: &str, object: ObjectRef, name: &str, detail: &str) -> AuditRecord {
    AuditRecord {
        id: 0,
        at: now,
        user: None,
        actor: "local administrator".into(),
        source: "local".into(),
        operation: operation.into(),
        object,
        object_name: name.into(),
        result: "ok".into(),
        request_id: String::new(),
        detail: detail.into(),
    }
}

/// `virga-manager token`: an API token for admin, for whoever may read the state folder anyway. Audited.
///
/// # Errors
/// When the database cannot be written, there is no admin, or the file exists and holds something else than a token.
pub async fn write_admin_token(args: &TokenArgs) -> anyhow::Result<()> {
    anyhow::ensure!(args.state_dir.is_dir(), "the state folder {} does not exist; start the manager first", args.state_dir.display());
    // A former token may be replaced; anything else is somebody's file.
    let replaceable = match std::fs::read_to_string(&args.out) {
        Ok(text) => secret::stored_form(Kind::Token, text.trim()).is_some(),
        Err(e) => e.kind() == std::io::ErrorKind::NotFound,
    };
    anyhow::ensure!(replaceable, "{} exists and holds no token; give another --out or remove it", args.out.display());
    let store = Store::open(&crate::config::database_url(args.database.as_deref(), &args.state_dir)?).await?;
    let now = wall_clock();
    let made = admin_token(&store, now, now.plus_seconds(i64::from(args.hours) * 3600)).await?;
    crate::ca::write(&args.out, &format!("{made}\n"), 0o600)?;
    store.close().await;
    Ok(())
}

/// Makes an API token for admin; answers with its secret.
///
/// # Errors
/// When the database cannot be written, or there is no usable admin.
pub async fn admin_token(store: &Store, now: Time, expires_at: Time) -> Result<String, Error> {
    let made = secret::generate(Kind::Token);
    let mut tx = store.write().await?;
    if administration(&mut tx).await? == Administration::ThreeRoles {
        return Err(Error::conflict("With three administrators nobody may do everything, so there is no such token.")
            .with_hint("Let the security administrator reset passwords."));
    }
    let admin = virga_store::user::by_name(&mut tx, ADMIN).await?.ok_or_else(|| Error::not_found("user", ADMIN))?;
    if admin.disabled {
        return Err(Error::conflict("The account admin is disabled."));
    }
    let token = ApiToken {
        id: TokenId(Uuid::now_v7()),
        name: "local-administrator".into(),
        user: admin.id,
        secret_sha256: made.sha256.clone(),
        role: None,
        scope: None,
        expires_at,
        used_at: None,
        created_at: now,
    };
    virga_store::token::insert(&mut tx, &token).await?;
    let detail = format!("API token for {ADMIN}, good until {expires_at}");
    virga_store::audit::append(&mut tx, &record(now, "token_create", ObjectRef::Token(token.id), &token.name, &detail)).await?;
    tx.commit().await?;
    Ok(made.text)
}
