//! Every refusal has one form: a problem body with the request's id, its media type, and `Retry-After` where it helps.

use crate::world::{World, provider};
use reqwest::header::HeaderMap;
use serde_json::{Value, json};

async fn answer(r: reqwest::RequestBuilder) -> (u16, HeaderMap, Value) {
    let r = r.send().await.unwrap();
    let (status, headers) = (r.status().as_u16(), r.headers().clone());
    let text = r.text().await.unwrap();
    (status, headers, serde_json::from_str(&text).unwrap_or_else(|_| panic!("{status}: {text}")))
}

fn is_problem(got: &(u16, HeaderMap, Value), status: u16) {
    let (s, headers, body) = got;
    assert_eq!(*s, status, "{body}");
    assert_eq!(headers["content-type"], "application/problem+json");
    assert_eq!(headers["cache-control"], "no-store");
    assert_eq!(headers["x-content-type-options"], "nosniff");
    assert_eq!(body["status"], status);
    assert_eq!(body["request_id"], headers["x-request-id"].to_str().unwrap());
    for field in ["type", "title", "detail", "code"] {
        assert!(!body[field].as_str().unwrap().is_empty(), "{field}: {body}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_refusal_is_a_problem() {
    provider();
    let w = World::bare().await;
    let at = |path: &str| w.url(path);
    is_problem(&answer(w.http.get(at("/v1/nothing"))).await, 404);
    is_problem(&answer(w.http.get(at("/v1/vms/%ff"))).await, 400);
    let wrong = answer(w.http.put(at("/v1/vms"))).await;
    is_problem(&wrong, 405);
    assert_eq!(wrong.1["allow"], "GET, POST");
    let nobody = answer(w.http.get(at("/v1/vms"))).await;
    is_problem(&nobody, 401);
    assert_eq!(nobody.1["www-authenticate"], "Bearer");
    let post = |body: &'static str| w.http.post(at("/v1/vms")).bearer_auth(&w.admin).header("content-type", "application/json").body(body);
    is_problem(&answer(post("{")).await, 400);
    is_problem(&answer(post(r#"{"name": 5}"#)).await, 400);
    is_problem(&answer(w.http.post(at("/v1/vms")).bearer_auth(&w.admin).body("x")).await, 400);
    is_problem(&answer(w.http.get(at("/v1/vms/none")).bearer_auth(&w.admin)).await, 404);
    is_problem(&answer(w.http.get(at("/v1/tasks/none")).bearer_auth(&w.admin)).await, 400);
    is_problem(&answer(w.http.get(at("/v1/consoles/x"))).await, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn deep_json_is_refused_wherever_it_stands() {
    let w = World::new().await;
    let deep = "[".repeat(10_000);
    let bodies = [deep.clone(), format!(r#"{{"name": "a", "labels": {deep}"#), format!(r#"{{"name": "a", "cloud_init": {{"users": {deep}"#)];
    for body in bodies {
        let r = w.http.post(w.url("/v1/vms")).bearer_auth(&w.admin).header("content-type", "application/json").body(body);
        is_problem(&answer(r).await, 400);
    }
    let filter = "(".repeat(1_900);
    is_problem(&answer(w.http.get(w.url(&format!("/v1/vms?filter={filter}"))).bearer_auth(&w.admin)).await, 400);
    let yaml = format!("#cloud-config\na: {}{}", "[".repeat(10_000), "]".repeat(10_000));
    let r = w.http.post(w.url("/v1/vms?dry_run=true")).bearer_auth(&w.admin).json(&json!({"name": "a", "cloud_init": {"user_data": yaml}}));
    let got = answer(r).await;
    // Text for the guest is carried and not read: nothing here has a depth.
    assert!(got.0 < 500, "{}", got.2);
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_says_when_to_come_back() {
    let w = World::under(|l| l.rate_limit = Some("2".parse().unwrap())).await;
    let mut refused = None;
    for _ in 0..50 {
        let got = answer(w.http.get(w.url("/v1/ping"))).await;
        if got.0 == 429 {
            refused = Some(got);
            break;
        }
    }
    let refused = refused.expect("nobody is refused");
    is_problem(&refused, 429);
    let seconds: u32 = refused.1["retry-after"].to_str().unwrap().parse().unwrap();
    assert_eq!(refused.2["retry_after_s"], seconds);
    assert!((1..=60).contains(&seconds));
}

#[tokio::test(flavor = "multi_thread")]
async fn rates_can_be_off_for_a_load_test() {
    let w = World::under(|l| l.rate_limit = Some("off".parse().unwrap())).await;
    for _ in 0..1_000 {
        assert_eq!(w.http.get(w.url("/v1/ping")).send().await.unwrap().status(), 200);
    }
}
