//! Users, role bindings, sessions, tokens, tickets, join tokens, and the small tables of the manager.

mod common;
use common::*;
use virga_model::host::JoinToken;
use virga_model::role::{Role, RoleBinding, Scope};
use virga_model::user::{ApiToken, ConsoleKind, ConsoleTicket, Session};
use virga_model::{JoinTokenId, Time, TokenId};
use virga_store::idempotency::Begin;
use virga_store::{Page, StoreError, idempotency, join_token, loop_lease, meta, role_binding, session, ticket, token, user, vm};

#[tokio::test]
async fn users_are_written_read_and_removed() {
    for store in stores().await {
        let mut tx = store.write().await.unwrap();
        let mut u = user_row(ANNA, "anna");
        u.locked_until = Some(NOW);
        user::insert(&mut tx, &u).await.unwrap();
        assert_eq!(user::get(&mut tx, u.id).await.unwrap(), Some(u.clone()));
        assert_eq!(user::by_name(&mut tx, "anna").await.unwrap(), Some(u.clone()));
        assert_eq!(user::by_ref(&mut tx, "anna").await.unwrap(), Some(u.clone()));
        assert_eq!(user::by_ref(&mut tx, &u.id.to_string().to_uppercase()).await.unwrap(), Some(u.clone()));
        assert_eq!(user::by_ref(&mut tx, "' or 1=1 --").await.unwrap(), None);
        assert!(matches!(
            refused(&store, &mut tx, async |tx| user::insert(tx, &user_row(5, "anna")).await).await,
            StoreError::Taken { what: "user", field: "name" }
        ));
        assert!(matches!(refused(&store, &mut tx, async |tx| user::insert(tx, &user_row(ANNA, "other")).await).await, StoreError::Taken { field: "id", .. }));

        u.generation = 2;
        u.disabled = true;
        user::update(&mut tx, &u, 1).await.unwrap();
        assert!(matches!(user::update(&mut tx, &u, 1).await, Err(StoreError::Stale)));
        assert_eq!(user::get(&mut tx, u.id).await.unwrap(), Some(u.clone()));
        user::update_login(&mut tx, u.id, 5, Some(NOW.plus_seconds(300))).await.unwrap();
        let got = user::get(&mut tx, u.id).await.unwrap().unwrap();
        assert_eq!((got.failures, got.locked_until, got.generation), (5, Some(NOW.plus_seconds(300)), 2));
        user::update_login(&mut tx, u.id, 0, None).await.unwrap();

        user::insert(&mut tx, &user_row(BERT, "bert")).await.unwrap();
        assert_eq!(user::count(&mut tx).await.unwrap(), 2);
        let list = user::list(&mut tx, &Page { total: true, ..page("disabled = no") }).await.unwrap();
        assert_eq!((list.items.len(), list.total, list.next), (1, Some(1), None));
        assert!(user::delete(&mut tx, u.id).await.unwrap() && !user::delete(&mut tx, u.id).await.unwrap());
        assert_eq!(user::get(&mut tx, u.id).await.unwrap(), None);
    }
}

#[tokio::test]
async fn a_user_with_vms_stays_and_takes_all_else_along() {
    for store in stores().await {
        let mut tx = store.write().await.unwrap();
        world(&mut tx).await;
        vm::insert(&mut tx, &vm_row(100, "web", anna())).await.unwrap();
        let s = session_row(1, 'a');
        session::insert(&mut tx, &s).await.unwrap();
        assert!(matches!(refused(&store, &mut tx, async |tx| user::delete(tx, anna()).await).await, StoreError::Reference));
        vm::delete(&mut tx, id(100)).await.unwrap();
        assert!(user::delete(&mut tx, anna()).await.unwrap());
        assert_eq!(session::by_secret(&mut tx, &s.secret_sha256).await.unwrap(), None);
    }
}

#[tokio::test]
async fn role_bindings_keep_their_scope() {
    for store in stores().await {
        let mut tx = store.write().await.unwrap();
        world(&mut tx).await;
        let scopes = [Scope::All, Scope::Own, Scope::Host(id(H1)), Scope::Vm(id(100))];
        let all: Vec<RoleBinding> = (0u128..).zip(scopes).map(|(n, scope)| RoleBinding { id: id(200 + n), user: anna(), role: Role::Viewer, scope }).collect();
        for b in &all {
            role_binding::insert(&mut tx, b).await.unwrap();
            assert_eq!(role_binding::get(&mut tx, b.id).await.unwrap(), Some(*b));
            let again = RoleBinding { id: id(300), ..*b };
            assert!(matches!(refused(&store, &mut tx, async |tx| role_binding::insert(tx, &again).await).await, StoreError::Taken { field: "grant", .. }));
        }
        assert_eq!(role_binding::of_user(&mut tx, anna()).await.unwrap(), all);
        assert_eq!(role_binding::of_user(&mut tx, id(BERT)).await.unwrap(), []);
        for (filter, n) in [("user = anna", 4), ("user = bert", 0), ("scope = host", 1), ("role in (viewer, admin)", 4)] {
            assert_eq!(role_binding::list(&mut tx, &page(filter)).await.unwrap().items.len(), n, "{filter}");
        }
        assert!(role_binding::delete(&mut tx, all[0].id).await.unwrap() && !role_binding::delete(&mut tx, all[0].id).await.unwrap());
        let nobody = RoleBinding { user: id(999), id: id(301), ..all[1] };
        assert!(matches!(refused(&store, &mut tx, async |tx| role_binding::insert(tx, &nobody).await).await, StoreError::Reference));
    }
}

fn session_row(n: u128, secret: char) -> Session {
    Session {
        id: id(400 + n),
        user: anna(),
        secret_sha256: secret.to_string().repeat(64),
        csrf_sha256: "c".repeat(64),
        expires_at: NOW.plus_seconds(n as i64),
        used_at: NOW,
        created_at: NOW,
    }
}

#[tokio::test]
async fn sessions_end() {
    for store in stores().await {
        let mut tx = store.write().await.unwrap();
        world(&mut tx).await;
        let s: Vec<Session> = (1..=4).zip('a'..).map(|(n, c)| session_row(n, c)).collect();
        for s in &s {
            session::insert(&mut tx, s).await.unwrap();
        }
        assert_eq!(session::by_secret(&mut tx, &s[0].secret_sha256).await.unwrap(), Some(s[0].clone()));
        session::touch(&mut tx, s[0].id, NOW.plus_seconds(9)).await.unwrap();
        session::touch(&mut tx, s[0].id, NOW.plus_seconds(5)).await.unwrap();
        assert_eq!(session::by_secret(&mut tx, &s[0].secret_sha256).await.unwrap().unwrap().used_at, NOW.plus_seconds(9));
        assert!(session::delete(&mut tx, s[3].id).await.unwrap() && !session::delete(&mut tx, s[3].id).await.unwrap());
        assert_eq!(session::delete_expired(&mut tx, NOW.plus_seconds(1)).await.unwrap(), 1);
        assert_eq!(session::delete_of_user(&mut tx, anna()).await.unwrap(), 2);
    }
}

#[tokio::test]
async fn tokens_are_listed_of_one_and_of_all() {
    for store in stores().await {
        let mut tx = store.write().await.unwrap();
        world(&mut tx).await;
        let t = ApiToken {
            id: id(500),
            name: "ci".into(),
            user: anna(),
            secret_sha256: "d".repeat(64),
            role: Some(Role::Operator),
            scope: Some(Scope::Host(id(H1))),
            expires_at: NOW.plus_seconds(1),
            used_at: None,
            created_at: NOW,
        };
        let plain = ApiToken { id: id(501), user: id(BERT), secret_sha256: "e".repeat(64), role: None, scope: None, ..t.clone() };
        token::insert(&mut tx, &t).await.unwrap();
        token::insert(&mut tx, &plain).await.unwrap();
        assert!(matches!(
            refused(&store, &mut tx, async |tx| token::insert(tx, &ApiToken { id: id(502), ..t.clone() }).await).await,
            StoreError::Taken { field: "secret", .. }
        ));
        assert_eq!(token::by_secret(&mut tx, &t.secret_sha256).await.unwrap(), Some(t.clone()));
        assert_eq!(token::get(&mut tx, plain.id).await.unwrap(), Some(plain.clone()));
        assert_eq!(token::get(&mut tx, id::<TokenId>(7)).await.unwrap(), None);
        assert_eq!(token::of_user(&mut tx, anna(), &page("")).await.unwrap().items, std::slice::from_ref(&t));
        assert_eq!(token::list(&mut tx, &page("")).await.unwrap().items.len(), 2);
        assert_eq!(token::list(&mut tx, &page("user = bert")).await.unwrap().items, [plain]);
        token::touch(&mut tx, t.id, NOW).await.unwrap();
        token::touch(&mut tx, t.id, Time(5)).await.unwrap();
        assert_eq!(token::get(&mut tx, t.id).await.unwrap().unwrap().used_at, Some(NOW));
        assert!(token::delete(&mut tx, t.id).await.unwrap() && !token::delete(&mut tx, t.id).await.unwrap());
    }
}

#[tokio::test]
async fn tickets_and_join_tokens_work_once() {
    for store in stores().await {
        let mut tx = store.write().await.unwrap();
        world(&mut tx).await;
        vm::insert(&mut tx, &vm_row(100, "web", anna())).await.unwrap();
        let t = ConsoleTicket { secret_sha256: "1".into(), user: anna(), vm: id(100), kind: ConsoleKind::Serial, expires_at: NOW };
        for secret in ["1", "2", "3"] {
            ticket::insert(&mut tx, &ConsoleTicket { secret_sha256: secret.into(), ..t.clone() }).await.unwrap();
        }
        let before = Time(NOW.0 - 1);
        assert_eq!(ticket::take(&mut tx, "1", before).await.unwrap(), Some(t.clone()));
        assert_eq!(ticket::take(&mut tx, "1", before).await.unwrap(), None, "used");
        assert_eq!(ticket::take(&mut tx, "2", NOW).await.unwrap(), None, "expired");
        assert_eq!(ticket::take(&mut tx, "2", before).await.unwrap(), None, "gone all the same");
        assert_eq!(ticket::delete_expired(&mut tx, NOW).await.unwrap(), 1);

        let j = JoinToken { id: id(600), host_name: "host-3".into(), secret_sha256: "x".into(), expires_at: NOW, used_by: None };
        join_token::insert(&mut tx, &j).await.unwrap();
        assert_eq!(join_token::list_open(&mut tx, before).await.unwrap(), std::slice::from_ref(&j));
        assert_eq!(join_token::list_open(&mut tx, NOW).await.unwrap(), []);
        assert_eq!(join_token::take(&mut tx, "x", NOW, h1()).await.unwrap(), None, "expired");
        let used = join_token::take(&mut tx, "x", before, h1()).await.unwrap();
        assert_eq!(used, Some(JoinToken { used_by: Some(h1()), ..j.clone() }));
        assert_eq!(join_token::take(&mut tx, "x", before, h1()).await.unwrap(), None, "used");
        assert_eq!(join_token::list_open(&mut tx, before).await.unwrap(), []);
        assert!(join_token::delete(&mut tx, j.id).await.unwrap() && !join_token::delete(&mut tx, id::<JoinTokenId>(600)).await.unwrap());
    }
}

#[tokio::test]
async fn a_repeated_request_gets_its_answer_again() {
    for store in stores().await {
        let mut tx = store.write().await.unwrap();
        world(&mut tx).await;
        let (u, k) = (anna(), "key ' or 1=1");
        assert_eq!(idempotency::begin(&mut tx, u, k, "h1").await.unwrap(), Begin::New);
        assert_eq!(idempotency::begin(&mut tx, u, k, "h1").await.unwrap(), Begin::InProgress);
        assert_eq!(idempotency::begin(&mut tx, u, k, "h2").await.unwrap(), Begin::Mismatch);
        assert_eq!(idempotency::begin(&mut tx, id(BERT), k, "h2").await.unwrap(), Begin::New, "keys are of a user");
        assert!(idempotency::abandon(&mut tx, id(BERT), k).await.unwrap());
        assert_eq!(idempotency::begin(&mut tx, id(BERT), k, "h3").await.unwrap(), Begin::New);
        idempotency::finish(&mut tx, u, k, 202, "{}", Some("/v1/tasks/1")).await.unwrap();
        let replay = Begin::Replay { status: 202, body: "{}".into(), location: Some("/v1/tasks/1".into()) };
        assert_eq!(idempotency::begin(&mut tx, u, k, "h1").await.unwrap(), replay);
        assert_eq!(idempotency::begin(&mut tx, u, k, "h2").await.unwrap(), Begin::Mismatch);
        assert!(!idempotency::abandon(&mut tx, u, k).await.unwrap(), "an answer stays");
        assert!(matches!(idempotency::finish(&mut tx, u, "other", 200, "", None).await, Err(StoreError::NotFound { .. })));
        assert_eq!(idempotency::delete_old(&mut tx, Time(1)).await.unwrap(), 0);
        assert_eq!(idempotency::delete_old(&mut tx, Time(i64::MAX)).await.unwrap(), 2);
        assert_eq!(idempotency::begin(&mut tx, u, k, "h2").await.unwrap(), Begin::New);
    }
}

#[tokio::test]
async fn meta_and_loop_leases() {
    for store in stores().await {
        let mut tx = store.write().await.unwrap();
        assert_eq!(meta::get(&mut tx, "a").await.unwrap(), None);
        meta::set(&mut tx, "a", "1").await.unwrap();
        meta::set(&mut tx, "a", "2").await.unwrap();
        assert_eq!(meta::get(&mut tx, "a").await.unwrap().as_deref(), Some("2"));

        let later = |s| NOW.plus_seconds(s);
        assert!(loop_lease::try_take(&mut tx, "ha", "m1", NOW, later(10), later(600)).await.unwrap());
        assert!(!loop_lease::try_take(&mut tx, "ha", "m2", later(9), later(20), later(600)).await.unwrap());
        assert!(loop_lease::try_take(&mut tx, "drs", "m2", NOW, later(20), later(600)).await.unwrap());
        assert!(loop_lease::try_take(&mut tx, "ha", "m1", later(9), later(19), later(600)).await.unwrap(), "extended");
        assert!(loop_lease::try_take(&mut tx, "ha", "m2", later(19), later(30), later(600)).await.unwrap(), "run out");
        assert!(!loop_lease::try_take(&mut tx, "ha", "m1", later(20), later(30), later(600)).await.unwrap());
        assert!(loop_lease::try_take(&mut tx, "ha", "m1", later(-3600), later(-3590), later(-3500)).await.unwrap(), "of a clock that was ahead");
    }
}
