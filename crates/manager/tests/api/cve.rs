//! Published flaws of peers that a manager could have, each under its number (docs/dev/cve.md).

use crate::stream::{open, status, ticket};
use crate::world::{Answer, PASSWORD, World, answer};
use serde_json::{Value, json};
use virga_model::role::{Role, Scope};

async fn sign_in(w: &World, user: &str, password: &str) -> Answer {
    w.send("POST", "/v1/session", "", json!({"user": user, "password": password}), &[]).await
}

async fn as_(w: &World, token: &str, path: &str) -> Answer {
    w.send("GET", path, token, Value::Null, &[]).await
}

/// Alice and Bob, who see only what they made, and a VM of Alice.
async fn two_tenants() -> (World, String, String) {
    let w = World::new().await;
    let alice = w.user("alice", &[(Role::User, Scope::Own)]).await;
    let bob = w.user("bob", &[(Role::User, Scope::Own)]).await;
    let made = w.send("POST", "/v1/vms", &alice, json!({"name": "alices", "start": true, "description": "canary-alice"}), &[]).await.is(202);
    w.done(made).await;
    (w, alice, bob)
}

#[tokio::test(flavor = "multi_thread")]
async fn cve_2025_30675_lists_show_nothing_of_another_tenant() {
    let (w, alice, bob) = two_tenants().await;
    for list in ["vms", "tasks", "events"] {
        let seen = as_(&w, &bob, &format!("/v1/{list}?total=true")).await.is(200).body;
        assert!(!seen.to_string().contains("alices") && seen["total"] == 0, "{list}: {seen}");
        assert!(as_(&w, &alice, &format!("/v1/{list}")).await.is(200).body.to_string().contains("alices"), "{list}");
    }
    // Neither does a filter over what may not be seen.
    let seen = as_(&w, &bob, "/v1/vms?total=true&filter=name%20~%20alice%20or%20not%20name%20%3D%20x").await.is(200).body;
    assert_eq!(seen["total"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn cve_2026_62440_an_object_of_another_tenant_looks_like_none() {
    let (w, alice, bob) = two_tenants().await;
    let vm = as_(&w, &alice, "/v1/vms/alices").await.is(200).body;
    let (id, task) = (vm["id"].as_str().unwrap(), as_(&w, &alice, "/v1/tasks").await.body["items"][0]["id"].clone());
    for (hidden, missing) in [
        (format!("/v1/vms/{id}"), "/v1/vms/00000000-0000-4000-8000-000000000000".to_string()),
        (format!("/v1/vms/{id}/stats"), "/v1/vms/00000000-0000-4000-8000-000000000000/stats".into()),
        (format!("/v1/tasks/{}", task.as_str().unwrap()), "/v1/tasks/00000000-0000-4000-8000-000000000000".into()),
    ] {
        let (a, b) = (as_(&w, &bob, &hidden).await.is(404).body, as_(&w, &bob, &missing).await.is(404).body);
        for same in ["type", "title", "code", "hint"] {
            assert_eq!(a[same], b[same], "{hidden}");
        }
    }
    for (method, path, body) in [
        ("PATCH", format!("/v1/vms/{id}"), json!({"description": "x"})),
        ("DELETE", format!("/v1/vms/{id}?force=true"), Value::Null),
        ("POST", format!("/v1/vms/{id}/power"), json!({"action": "force_off"})),
        ("POST", format!("/v1/vms/{id}/consoles"), json!({"kind": "vnc"})),
        ("POST", format!("/v1/tasks/{}/cancel", task.as_str().unwrap()), Value::Null),
    ] {
        w.send(method, &path, &bob, body, &[]).await.is(404);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn cve_2026_115376_what_is_left_out_is_no_permission() {
    let (w, _, bob) = two_tenants().await;
    // A batch without a list, a role without a scope, a ticket without a kind.
    w.send("POST", "/v1/vm-batches", &bob, json!({"action": "force_off"}), &[]).await.is(422);
    w.post("/v1/role-bindings", json!({"user": "bob", "role": "admin"})).await.is(400);
    w.send("POST", "/v1/vms/alices/consoles", &bob, json!({}), &[]).await.is(400);
    let all = w.send("POST", "/v1/vm-batches?dry_run=true", &bob, json!({"action": "force_off", "filter": "not name = x"}), &[]).await.is(202).body;
    assert_eq!(all["accepted"], json!([]), "a filter chooses among what may be seen");
}

#[tokio::test(flavor = "multi_thread")]
async fn cve_2026_25199_labels_set_nothing_of_the_platform() {
    let (w, alice, bob) = two_tenants().await;
    let victim = as_(&w, &alice, "/v1/vms/alices").await.body;
    let labels = json!({"id": victim["id"], "owner": "admin", "host": "h2", "proxmox-vmid": "100", "generation": "99"});
    let made = w.send("POST", "/v1/vms", &bob, json!({"name": "bobs", "labels": labels}), &[]).await.is(202);
    w.done(made).await;
    let vm = w.get("/v1/vms/bobs").await.is(200).body;
    assert!(vm["id"] != victim["id"] && vm["owner"]["name"] == "bob" && vm["generation"] != 99, "{vm}");
    as_(&w, &bob, "/v1/vms/alices").await.is(404);
}

#[tokio::test(flavor = "multi_thread")]
async fn cve_2024_29008_raw_settings_of_the_hypervisor_are_not_accepted() {
    let w = World::new().await;
    for field in ["extraconfig", "raw_xml", "qemu_args", "hooks", "xml", "cmdline", "raw.qemu"] {
        let a = w.post("/v1/vms", json!({"name": "a", field: "-device vfio-pci"})).await.is(400);
        assert_eq!(a.body["violations"][0]["field"], field);
    }
    w.post("/v1/vms", json!({"name": "a", "machine": "q35,accel=kvm -cdrom /etc/shadow"})).await.is(422);
    w.post("/v1/vms", json!({"name": "a", "cpu_mode": {"mode": "custom", "model": "qemu64'/><x/>"}})).await.is(422);
}

#[tokio::test(flavor = "multi_thread")]
async fn cve_2026_34178_a_field_that_comes_twice_is_refused() {
    let w = World::new().await;
    let body = r#"{"name": "a", "cpus": 1, "cpus": 64}"#;
    let request = w.http.post(w.url("/v1/vms")).bearer_auth(&w.admin).header("content-type", "application/json").body(body);
    let a = answer(request.send().await.unwrap()).await.is(400);
    assert_eq!(a.body["violations"][0]["field"], "cpus");
    w.get("/v1/vms?limit=1&limit=1000").await.is(400);
}

#[tokio::test(flavor = "multi_thread")]
async fn cve_2025_47713_who_has_less_sets_no_password_of_who_has_more() {
    let w = World::bare().await;
    let operator = w.user("operator", &[(Role::Operator, Scope::All)]).await;
    let a = w.send("PATCH", "/v1/users/admin", &operator, json!({"password": "a new one for you"}), &[]).await;
    assert!(matches!(a.status, 403 | 404), "{a:?}");
    sign_in(&w, "admin", PASSWORD).await.is(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn cve_2025_47849_no_list_shows_a_secret() {
    let w = World::bare().await;
    let made = w.post("/v1/tokens", json!({"name": "ci", "valid_s": 3600})).await.is(201).body;
    let secret = made["secret"].as_str().unwrap();
    let bob = w.user("bob", &[(Role::User, Scope::Own)]).await;
    for (token, path) in [(&w.admin, "/v1/tokens"), (&w.admin, "/v1/users"), (&w.admin, "/v1/audit"), (&bob, "/v1/tokens")] {
        let seen = as_(&w, token, path).await.is(200).body.to_string();
        assert!(!seen.contains(&secret[3..]) && !seen.contains("secret") && !seen.contains("argon2") && !seen.contains("sha256"), "{path}: {seen}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn cve_2016_6813_nobody_makes_a_token_for_another() {
    let w = World::bare().await;
    let bob = w.user("bob", &[(Role::User, Scope::Own)]).await;
    w.send("POST", "/v1/tokens", &bob, json!({"name": "x", "valid_s": 60, "user": "admin"}), &[]).await.is(400);
    let own = w.send("POST", "/v1/tokens", &bob, json!({"name": "x", "valid_s": 60}), &[]).await.is(201).body;
    assert_eq!(own["token"]["user"]["name"], "bob");
}

#[tokio::test(flavor = "multi_thread")]
async fn cve_2026_33551_a_limited_token_makes_no_stronger_one() {
    let w = World::new().await;
    let viewer = w.limited(Some(Role::Viewer), Some(Scope::Own)).await;
    w.send("POST", "/v1/tokens", &viewer, json!({"name": "x", "valid_s": 60, "role": "admin"}), &[]).await.is(403);
    let child = w.send("POST", "/v1/tokens", &viewer, json!({"name": "x", "valid_s": 60}), &[]).await;
    if child.status == 201 {
        let secret = child.body["secret"].as_str().unwrap().to_string();
        w.send("POST", "/v1/images", &secret, json!({"name": "i"}), &[]).await.is(403);
        assert!(as_(&w, &secret, "/v1/users").await.status >= 403);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn cve_2014_7851_a_session_is_gone_after_signing_out() {
    let w = World::bare().await;
    w.user("carol", &[(Role::Viewer, Scope::All)]).await;
    let token = sign_in(&w, "carol", PASSWORD).await.is(201).body["token"].as_str().unwrap().to_string();
    as_(&w, &token, "/v1/vms").await.is(200);
    w.send("DELETE", "/v1/session", &token, Value::Null, &[]).await.is(204);
    as_(&w, &token, "/v1/vms").await.is(401);
}

#[tokio::test(flavor = "multi_thread")]
async fn cve_2012_4413_a_role_that_is_taken_back_is_gone_at_once() {
    let w = World::bare().await;
    w.user("carol", &[(Role::Viewer, Scope::All)]).await;
    let session = sign_in(&w, "carol", PASSWORD).await.is(201).body["token"].as_str().unwrap().to_string();
    as_(&w, &session, "/v1/hosts").await.is(200);
    let bindings = w.get("/v1/role-bindings").await.is(200).body;
    let own = bindings["items"].as_array().unwrap().iter().find(|b| b["user"]["name"] == "carol").unwrap();
    w.send("DELETE", &format!("/v1/role-bindings/{}", own["id"].as_str().unwrap()), &w.admin, Value::Null, &[]).await.is(204);
    let seen = as_(&w, &session, "/v1/hosts").await;
    assert!(seen.status == 403 || seen.body["items"] == json!([]), "{seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn cve_2012_4457_a_disabled_account_is_refused_with_whatever_it_has() {
    let w = World::bare().await;
    let token = w.user("carol", &[(Role::Viewer, Scope::All)]).await;
    let session = sign_in(&w, "carol", PASSWORD).await.is(201).body["token"].as_str().unwrap().to_string();
    w.send("PATCH", "/v1/users/carol", &w.admin, json!({"disabled": true}), &[]).await.is(200);
    as_(&w, &token, "/v1/vms").await.is(401);
    as_(&w, &session, "/v1/vms").await.is(401);
    sign_in(&w, "carol", PASSWORD).await.is(401);
}

#[tokio::test(flavor = "multi_thread")]
async fn cve_2013_2059_the_credentials_of_a_removed_account_are_void() {
    let w = World::bare().await;
    let token = w.user("carol", &[(Role::Viewer, Scope::All)]).await;
    let session = sign_in(&w, "carol", PASSWORD).await.is(201).body["token"].as_str().unwrap().to_string();
    w.send("DELETE", "/v1/users/carol", &w.admin, Value::Null, &[]).await.is(204);
    as_(&w, &token, "/v1/vms").await.is(401);
    as_(&w, &session, "/v1/vms").await.is(401);
    // A newcomer of the same name gets nothing of it.
    w.user("carol", &[]).await;
    as_(&w, &token, "/v1/session").await.is(401);
}

#[tokio::test(flavor = "multi_thread")]
async fn cve_2021_38155_an_account_that_is_locked_looks_like_one_that_is_not_there() {
    let w = World::bare().await;
    w.user("bob", &[]).await;
    for i in 0..6 {
        sign_in(&w, "bob", &format!("wrong {i}")).await.is(401);
    }
    let (locked, none) = (sign_in(&w, "bob", PASSWORD).await.is(401).body, sign_in(&w, "nobody", PASSWORD).await.is(401).body);
    for same in ["detail", "hint", "code", "title", "violations"] {
        assert_eq!(locked[same], none[same]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn cve_2012_1572_a_long_password_costs_nothing() {
    let w = World::bare().await;
    let long = "x".repeat(900_000);
    sign_in(&w, "admin", &long).await.is(401);
    let a = w.post("/v1/users", json!({"name": "carol", "password": long})).await.is(422);
    assert_eq!(a.body["violations"][0]["field"], "password");
    // And a pass phrase of a sentence or two is none.
    let phrase = "correct horse battery staple ".repeat(4);
    w.post("/v1/users", json!({"name": "dave", "password": phrase.trim()})).await.is(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn cve_2026_43002_nothing_is_kept_for_who_has_not_signed_in() {
    let w = World::bare().await;
    let digest = async || {
        let mut tx = w.store.read().await.unwrap();
        virga_store::fingerprint::tables(&mut tx, &["audit", "audit_anchor", "counter", "loop_lease", "manager", "api_token.used_at"]).await.unwrap()
    };
    let before = digest().await;
    for i in 0..30 {
        let a = sign_in(&w, &format!("u{i}"), &"x".repeat(2000)).await;
        assert!(matches!(a.status, 401 | 429), "{a:?}");
        assert_eq!(a.header("set-cookie"), "");
    }
    for path in ["/v1/vms", "/v1/events/stream", "/v1/consoles/vc_x"] {
        assert!((400..500).contains(&as_(&w, "", path).await.status), "{path}");
    }
    assert_eq!(digest().await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn cve_2014_0151_a_cookie_alone_changes_nothing() {
    let w = World::bare().await;
    let signed = sign_in(&w, "admin", PASSWORD).await.is(201);
    let cookie = signed.header("set-cookie").split(';').next().unwrap().to_string();
    for (method, path, body) in [
        ("POST", "/v1/images", json!({"name": "i"})),
        ("POST", "/v1/role-bindings", json!({"user": "admin", "role": "viewer", "scope": {"scope": "all"}})),
        ("PATCH", "/v1/users/admin", json!({"disabled": true})),
        ("DELETE", "/v1/networks/nat", Value::Null),
    ] {
        w.send(method, path, "", body, &[("cookie", &cookie), ("origin", "https://evil.example")]).await.is(403);
    }
    // A form of another site cannot send JSON, and nothing else is read.
    let form = w.http.post(w.url("/v1/images")).bearer_auth(&w.admin).header("content-type", "text/plain").body("{\"name\":\"i\"}");
    assert_eq!(form.send().await.unwrap().status(), 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn cve_2014_0154_the_cookie_is_out_of_reach_of_scripts() {
    let w = World::bare().await;
    let set = sign_in(&w, "admin", PASSWORD).await.is(201).header("set-cookie").to_string();
    for part in ["__Host-", "HttpOnly", "Secure", "SameSite=Strict", "Path=/"] {
        assert!(set.contains(part), "{set}");
    }
    assert!(!set.to_lowercase().contains("domain="), "{set}");
}

#[tokio::test(flavor = "multi_thread")]
async fn cve_2015_0259_a_page_of_another_site_opens_no_console() {
    let w = World::new().await;
    w.vm(json!({"name": "c", "start": true})).await;
    let port = w.running.api_addr.port();
    for evil in ["https://evil.example", "null", "http://localhost", &format!("http://localhost:{port}"), &format!("https://localhost:{port}.evil.example")] {
        let path = ticket(&w, &w.admin, "c").await;
        assert_eq!(status(open(&w, &path, Some(evil)).await), 403, "{evil}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn cve_2013_0335_a_ticket_dies_with_its_vm() {
    let w = World::new().await;
    w.vm(json!({"name": "c", "start": true})).await;
    let path = ticket(&w, &w.admin, "c").await;
    let gone = w.send("DELETE", "/v1/vms/c?force=true", &w.admin, Value::Null, &[]).await.is(202);
    w.done(gone).await;
    // The name is given to another machine meanwhile.
    w.vm(json!({"name": "c", "start": true})).await;
    assert_eq!(status(open(&w, &path, None).await), 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn cve_2014_8750_a_ticket_is_good_once() {
    let w = World::new().await;
    w.vm(json!({"name": "c", "start": true})).await;
    let path = ticket(&w, &w.admin, "c").await;
    let tries = futures::future::join_all((0..8).map(|_| open(&w, &path, None))).await;
    assert_eq!(tries.into_iter().filter(|t| t.is_ok()).count(), 1, "also when all come at once");
}

#[tokio::test(flavor = "multi_thread")]
async fn cve_2025_54289_who_may_only_look_finds_no_console_secret() {
    let w = World::new().await;
    w.vm(json!({"name": "c", "start": true})).await;
    let viewer = w.user("viewer", &[(Role::Auditor, Scope::All)]).await;
    let path = ticket(&w, &w.admin, "c").await;
    let secret = path.rsplit('/').next().unwrap();
    for list in ["/v1/tasks", "/v1/events", "/v1/audit", "/v1/vms", "/v1/vms/c"] {
        let seen = as_(&w, &viewer, list).await.is(200).body.to_string();
        assert!(!seen.contains(secret) && !seen.contains("vc_"), "{list}");
    }
    w.send("POST", "/v1/vms/c/consoles", &viewer, json!({"kind": "vnc"}), &[]).await.is(403);
}

#[tokio::test(flavor = "multi_thread")]
async fn cve_2024_29006_a_header_does_not_say_who_calls() {
    let w = World::bare().await;
    let forged = [("x-forwarded-for", "10.1.2.3"), ("forwarded", "for=10.1.2.3"), ("x-real-ip", "10.1.2.3")];
    w.send("POST", "/v1/images", &w.admin, json!({"name": "i"}), &forged).await.is(201);
    let audit = w.get("/v1/audit?filter=operation%3Dimage_create").await.is(200).body;
    assert_eq!(audit["items"][0]["source"], "127.0.0.1");
}

#[tokio::test(flavor = "multi_thread")]
async fn cve_2022_35507_nothing_typed_becomes_a_header() {
    let w = World::bare().await;
    for path in ["/v1/vms/a%0d%0aSet-Cookie:%20x=y", "/v1/vms?filter=a%0d%0aSet-Cookie:%20x=y", "/v1/tasks/%0d%0ax"] {
        let a = w.get(path).await;
        assert!((400..500).contains(&a.status) && a.header("set-cookie").is_empty(), "{path}");
        assert!(a.headers.values().all(|v| !v.as_bytes().contains(&b'\n')), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn cve_2019_14433_errors_show_nothing_of_the_inside() {
    let w = World::new().await;
    w.post("/v1/images", json!({"name": "i"})).await.is(201);
    let dir = w.dir.path().display().to_string();
    for a in [
        w.post("/v1/images", json!({"name": "i"})).await.is(409),
        w.post("/v1/vms", json!({"name": "a", "host": "nope"})).await.is(422),
        w.get("/v1/vms?sort=password_hash").await.is(400),
        w.get("/v1/vms?page_token=eyJzIjoibmFtZSIsInYiOnt9LCJpIjoxfQ").await.is(400),
        w.send("PATCH", "/v1/users/admin", &w.admin, json!({"password": "x"}), &[]).await.is(422),
    ] {
        let text = a.body.to_string();
        for inside in ["SELECT", "UNIQUE", "sqlite", "sqlx", "virga.db", "/src/", "panicked", dir.as_str()] {
            assert!(!text.contains(inside), "{inside}: {text}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn cve_2022_31358_the_page_runs_nothing_but_its_own_script() {
    let w = World::bare().await;
    let page = w.get("/docs").await.is(200);
    let policy = page.header("content-security-policy").to_string();
    assert!(policy.contains("default-src 'none'") && policy.contains("'nonce-") && !policy.contains("unsafe-inline"), "{policy}");
    assert_eq!(page.header("x-content-type-options"), "nosniff");
    assert_ne!(policy, w.get("/docs").await.header("content-security-policy"), "the nonce is used once");
}

#[tokio::test(flavor = "multi_thread")]
async fn cve_2023_54405_an_upload_names_no_path() {
    let w = World::bare().await;
    for evil in ["../../etc/cron.d/x", "..", "/etc/passwd", "a/../../b", "-o"] {
        w.post("/v1/images", json!({"name": evil})).await.is(422);
    }
    for evil in ["..%2f..%2fx", "%2e%2e%2fx", "..%5c..%5cx", "%2fetc%2fpasswd"] {
        let a = w.upload(evil, vec![0; 4096], "").await;
        assert!((400..500).contains(&a.status), "{evil}: {a:?}");
    }
    w.image("right", vec![0; 4096]).await;
    let names = std::fs::read_dir(w.dir.path().join("images")).unwrap().flatten().map(|e| e.file_name().into_string().unwrap());
    assert!(names.into_iter().all(|n| uuid::Uuid::parse_str(n.split('.').next().unwrap()).is_ok()), "files are named by ids");
}

#[tokio::test(flavor = "multi_thread")]
async fn cve_2024_47211_a_content_that_is_not_what_was_promised_is_not_kept() {
    let w = World::bare().await;
    w.post("/v1/images", json!({"name": "i"})).await.is(201);
    let a = w.upload("i", vec![0; 4096], &format!("?sha256={}", "a".repeat(64))).await.is(422);
    assert_eq!(a.body["violations"][0]["field"], "sha256");
    assert_eq!(w.get("/v1/images/i").await.body["state"], "empty");
    assert_eq!(std::fs::read_dir(w.dir.path().join("images")).unwrap().count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn cve_2015_1851_an_upload_that_leads_to_another_file_is_not_kept() {
    let w = World::bare().await;
    w.post("/v1/images", json!({"name": "i"})).await.is(201);
    let evil = virga_tests::images::hostile::backed_by("/etc/shadow");
    let a = w.upload("i", evil, "").await.is(422);
    assert!(a.body["detail"].as_str().unwrap().contains("backing file") && !a.body.to_string().contains("shadow"), "{a:?}");
    assert_eq!(std::fs::read_dir(w.dir.path().join("images")).unwrap().count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn cve_2015_3280_a_vm_that_is_being_made_is_not_removed_half_way() {
    let w = World::new().await;
    w.nodes.be_silent(true);
    let made = w.post("/v1/vms", json!({"name": "a"})).await.is(202);
    let a = w.send("DELETE", "/v1/vms/a?force=true", &w.admin, Value::Null, &[]).await.is(423);
    assert_eq!(a.code(), "locked");
    w.nodes.be_silent(false);
    w.done(made).await;
    let gone = w.send("DELETE", "/v1/vms/a?force=true", &w.admin, Value::Null, &[]).await.is(202);
    w.done(gone).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cve_2015_5286_absurd_sizes_overflow_nothing() {
    let w = World::new().await;
    for (body, field) in [
        (json!({"name": "a", "disks": [{"size_bytes": 7u64 << 60}]}), "disks[0].size_bytes"),
        (json!({"name": "a", "disks": [{"size_bytes": u64::MAX}, {"size_bytes": u64::MAX}]}), "disks[0].size_bytes"),
        (json!({"name": "a", "memory_bytes": u64::MAX}), "memory_bytes"),
        (json!({"name": "a", "cpus": u32::MAX, "cpus_max": u32::MAX}), "cpus"),
    ] {
        let a = w.post("/v1/vms", body).await.is(422);
        assert_eq!(a.body["violations"][0]["field"], field, "{a:?}");
    }
    w.post("/v1/vms", json!({"name": "a", "disks": [{"size_bytes": -1}]})).await.is(400);
}

#[tokio::test(flavor = "multi_thread")]
async fn cve_2017_17051_the_last_room_is_taken_once() {
    let w = World::bare().await;
    w.host("h1").await;
    let one = |i: usize| w.post("/v1/vms", json!({"name": format!("v{i}"), "memory_bytes": 9u64 << 30, "start": true}));
    let answers = futures::future::join_all((0..10).map(one)).await;
    assert_eq!(answers.iter().filter(|a| a.status == 202).count(), 1, "16 GiB hold one VM of 9");
    assert!(answers.iter().all(|a| matches!(a.status, 202 | 507)));
}

#[tokio::test(flavor = "multi_thread")]
async fn cve_2024_39864_the_agents_port_takes_nobody_without_a_certificate() {
    let w = World::bare().await;
    let url = format!("https://localhost:{}/virga.node.Manager/Report", w.running.node_addr.port());
    let with_authority = w.http.post(&url).header("content-type", "application/grpc").body(vec![0; 5]).send().await;
    if let Ok(r) = with_authority {
        let refused = r.headers().get("grpc-status").is_some_and(|s| s != "0") || !r.status().is_success();
        assert!(refused, "{r:?}");
    }
    let plain = reqwest::Client::new().post(url.replace("https", "http")).body("x").send().await;
    assert!(plain.is_err(), "no plain TCP");
    for path in ["/v1/users", "/v1/ping"] {
        if let Ok(r) = w.http.get(format!("https://localhost:{}{path}", w.running.node_addr.port())).send().await {
            assert_eq!(r.text().await.unwrap_or_default(), "", "the public API is not there");
        }
    }
}
