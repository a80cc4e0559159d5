//! Handlers of accounts, role bindings and API tokens.

use super::{Created, Deleted, Ok200, Rq, Tagged, change, run, tagged};
use crate::{token, user};
use dropshot::{HttpResponseCreated, HttpResponseDeleted, HttpResponseOk};
use virga_api::v1::*;

pub async fn user_list(rqctx: Rq, query: Query<ListQuery>) -> Result<Ok200<PageBody<User>>, Problem> {
    run(&rqctx, |op| async move { user::list(&op, &query.into_inner()).await.map(HttpResponseOk) }).await
}

pub async fn user_create(rqctx: Rq, _: Header<ChangeHeaders>, body: TypedBody<UserCreate>) -> Result<Created<User>, Problem> {
    change(&rqctx, body.into_inner(), |op, b| async move { user::create(&op, &b).await }).await.map(HttpResponseCreated)
}

pub async fn user_view(rqctx: Rq, path: Path<UserPath>) -> Result<Tagged<User>, Problem> {
    run(&rqctx, |op| async move { user::view(&op, &path.into_inner().user).await.map(|u| tagged(u.generation, u)) }).await
}

pub async fn user_update(rqctx: Rq, path: Path<UserPath>, _: Header<ChangeHeaders>, body: TypedBody<UserUpdate>) -> Result<Tagged<User>, Problem> {
    run(&rqctx, |op| async move { user::update(&op, &path.into_inner().user, &body.into_inner()).await.map(|u| tagged(u.generation, u)) }).await
}

pub async fn user_delete(rqctx: Rq, path: Path<UserPath>, _: Header<ChangeHeaders>) -> Result<Deleted, Problem> {
    run(&rqctx, |op| async move { user::delete(&op, &path.into_inner().user).await.map(|()| HttpResponseDeleted()) }).await
}

pub async fn role_list(rqctx: Rq) -> Result<Ok200<Vec<RoleInfo>>, Problem> {
    run(&rqctx, |op| async move { user::roles(&op).await.map(HttpResponseOk) }).await
}

pub async fn role_binding_list(rqctx: Rq, query: Query<ListQuery>) -> Result<Ok200<PageBody<RoleBinding>>, Problem> {
    run(&rqctx, |op| async move { user::binding_list(&op, &query.into_inner()).await.map(HttpResponseOk) }).await
}

pub async fn role_binding_create(rqctx: Rq, _: Header<ChangeHeaders>, body: TypedBody<RoleBindingCreate>) -> Result<Created<RoleBinding>, Problem> {
    change(&rqctx, body.into_inner(), |op, b| async move { user::grant(&op, &b).await }).await.map(HttpResponseCreated)
}

pub async fn role_binding_delete(rqctx: Rq, path: Path<RoleBindingPath>) -> Result<Deleted, Problem> {
    run(&rqctx, |op| async move { user::take_back(&op, path.into_inner().binding).await.map(|()| HttpResponseDeleted()) }).await
}

pub async fn token_list(rqctx: Rq, query: Query<ListQuery>) -> Result<Ok200<PageBody<ApiToken>>, Problem> {
    run(&rqctx, |op| async move { token::list(&op, &query.into_inner()).await.map(HttpResponseOk) }).await
}

pub async fn token_create(rqctx: Rq, _: Header<ChangeHeaders>, body: TypedBody<ApiTokenCreate>) -> Result<Created<ApiTokenCreated>, Problem> {
    change(&rqctx, body.into_inner(), |op, b| async move { token::create(&op, &b).await }).await.map(HttpResponseCreated)
}

pub async fn token_delete(rqctx: Rq, path: Path<TokenPath>) -> Result<Deleted, Problem> {
    run(&rqctx, |op| async move { token::revoke(&op, path.into_inner().token).await.map(|()| HttpResponseDeleted()) }).await
}
