//! API tokens: for machines, limited in time and, when wanted, to a role and a scope.
//!
//! A token never has more rights than its user, and a token made with a token never more than that one.

use crate::auth::{Credential, PRIVILEGES};
use crate::http::Op;
use crate::secret::{self, Kind};
use crate::{list, user};
use uuid::Uuid;
use virga_api::v1::{ApiToken as Shape, ApiTokenCreate, ApiTokenCreated, ListQuery, PageBody, Reference};
use virga_model::role::{Privilege, Scope, Target};
use virga_model::task::ObjectRef;
use virga_model::user::ApiToken;
use virga_model::{Error, ErrorCode, TokenId, name};
use virga_store::Tx;

/// Longest life of a token in seconds: a year.
const VALID_SECONDS_MAX: u32 = 366 * 86_400;

async fn shape(tx: &mut Tx, t: &ApiToken) -> Result<Shape, Error> {
    let owner = user::name_of(tx, t.user).await?;
    Ok(Shape {
        id: t.id,
        name: t.name.clone(),
        user: Reference::new(&ObjectRef::User(t.user), &owner),
        role: t.role,
        scope: t.scope,
        expires_at: t.expires_at,
        used_at: t.used_at,
        created_at: t.created_at,
    })
}

fn manages_all(op: &Op) -> bool {
    op.caller.may(Privilege::UserManage, &Target::Installation)
}

/// A page of one's own tokens, or of everybody's for who manages accounts.
///
/// # Errors
/// Malformed for wrong parameters.
pub async fn list(op: &Op, q: &ListQuery) -> Result<PageBody<Shape>, Error> {
    let mut tx = op.read().await?;
    let page = list::page(q)?;
    let paged =
        if manages_all(op) { virga_store::token::list(&mut tx, &page).await? } else { virga_store::token::of_user(&mut tx, op.caller.user, &page).await? };
    let mut items = Vec::with_capacity(paged.items.len());
    for t in &paged.items {
        items.push(shape(&mut tx, t).await?);
    }
    list::body(q, paged, items)
}

/// Makes a token for oneself.
///
/// # Errors
/// Invalid for name or time; Forbidden when it would have more than the token it is made with.
pub async fn create(op: &Op, b: &ApiTokenCreate) -> Result<ApiTokenCreated, Error> {
    name::check("name", &b.name)?;
    if !(60..=VALID_SECONDS_MAX).contains(&b.valid_s) {
        return Err(Error::invalid("valid_s", format!("must be 60 to {VALID_SECONDS_MAX} seconds")));
    }
    let made = secret::generate(Kind::Token);
    let mut token = ApiToken {
        id: TokenId(Uuid::now_v7()),
        name: b.name.clone(),
        user: op.caller.user,
        secret_sha256: made.sha256,
        role: b.role,
        scope: b.scope,
        expires_at: op.now.plus_seconds(i64::from(b.valid_s)),
        used_at: None,
        created_at: op.now,
    };
    if let Credential::Token(parent) = &op.caller.credential {
        within(parent, &mut token)?;
    }
    let mut tx = op.write().await?;
    virga_store::token::insert(&mut tx, &token).await?;
    let detail = format!("good until {}; role limit {:?}, scope limit {:?}", token.expires_at, token.role, token.scope);
    op.audit(&mut tx, ObjectRef::Token(token.id), &token.name, &detail).await?;
    let answer = ApiTokenCreated { token: shape(&mut tx, &token).await?, secret: made.text };
    op.commit(tx, &answer, None).await?;
    Ok(answer)
}

/// Cuts a new token down to the limits of the one it is made with.
fn within(parent: &ApiToken, token: &mut ApiToken) -> Result<(), Error> {
    let more = |field: &str| {
        Err(Error::new(ErrorCode::Forbidden, format!("The new token's {field} would allow more than the token it is made with."))
            .with_hint("Sign in to make it."))
    };
    token.expires_at = token.expires_at.min(parent.expires_at);
    match (parent.role, token.role) {
        (Some(p), None) => token.role = Some(p),
        (Some(p), Some(t)) if PRIVILEGES.iter().any(|x| t.has(*x) && !p.has(*x)) => return more("role"),
        _ => {}
    }
    match (parent.scope, token.scope) {
        (Some(p), None) => token.scope = Some(p),
        (Some(p), Some(t)) if p != t && p != Scope::All => return more("scope"),
        _ => {}
    }
    Ok(())
}

/// Revokes a token at once: one's own, or anybody's for who manages accounts.
///
/// # Errors
/// NotFound.
pub async fn revoke(op: &Op, id: TokenId) -> Result<(), Error> {
    let mut tx = op.write().await?;
    let token = virga_store::token::get(&mut tx, id).await?.filter(|t| t.user == op.caller.user || manages_all(op));
    let token = token.ok_or_else(|| Error::not_found("token", id))?;
    virga_store::token::delete(&mut tx, id).await?;
    op.audit(&mut tx, ObjectRef::Token(id), &token.name, "revoked").await?;
    op.commit(tx, &(), None).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use virga_model::Time;
    use virga_model::role::Role;

    fn token(role: Option<Role>, scope: Option<Scope>, expires: i64) -> ApiToken {
        let id = Uuid::nil();
        ApiToken {
            id: TokenId(id),
            name: "t".into(),
            user: id.into(),
            secret_sha256: String::new(),
            role,
            scope,
            expires_at: Time(expires),
            used_at: None,
            created_at: Time(0),
        }
    }

    #[test]
    fn a_token_made_with_a_token_never_has_more() {
        let parent = token(Some(Role::Operator), Some(Scope::Own), 100);
        let mut child = token(None, None, 500);
        within(&parent, &mut child).unwrap();
        assert_eq!((child.role, child.scope, child.expires_at), (Some(Role::Operator), Some(Scope::Own), Time(100)));
        assert!(within(&parent, &mut token(Some(Role::Admin), None, 1)).is_err());
        assert!(within(&parent, &mut token(Some(Role::User), Some(Scope::All), 1)).is_err());
        assert!(within(&parent, &mut token(Some(Role::User), Some(Scope::Own), 1)).is_ok());
    }
}
