//! Handlers of sign-in.

use super::{Rq, SignedInAnswer, run};
use crate::{auth, session};
use dropshot::{HttpResponseCreated, HttpResponseDeleted, HttpResponseHeaders, HttpResponseOk, HttpResponseUpdatedNoContent};
use virga_api::v1::{PasswordChange, Problem, SignIn, SignedInHeaders, TypedBody, WhoAmI};

pub async fn session_create(rqctx: Rq, body: TypedBody<SignIn>) -> Result<SignedInAnswer, Problem> {
    let address = rqctx.request.remote_addr().ip();
    run(&rqctx, |op| async move {
        let made = session::sign_in(&op, address, body.into_inner()).await?;
        let set_cookie = format!("{}={}; Path=/; Secure; HttpOnly; SameSite=Strict", auth::COOKIE_NAME, made.token);
        Ok(HttpResponseHeaders::new(HttpResponseCreated(made), SignedInHeaders { set_cookie }))
    })
    .await
}

pub async fn session_view(rqctx: Rq) -> Result<HttpResponseOk<WhoAmI>, Problem> {
    run(&rqctx, |op| async move { Ok(HttpResponseOk(session::who(&op))) }).await
}

pub async fn session_delete(rqctx: Rq) -> Result<HttpResponseDeleted, Problem> {
    run(&rqctx, |op| async move { session::sign_out(&op).await.map(|()| HttpResponseDeleted()) }).await
}

pub async fn password_change(rqctx: Rq, body: TypedBody<PasswordChange>) -> Result<HttpResponseUpdatedNoContent, Problem> {
    run(&rqctx, |op| async move { session::change_password(&op, body.into_inner()).await.map(|()| HttpResponseUpdatedNoContent()) }).await
}
