//! Sign-in: certificates that are pinned, passwords that must be changed, sessions that are kept and forgotten.

mod fake;

use fake::*;
use serde_json::json;

fn manager(r: &Request, _: usize) -> Reply {
    match r.line().as_str() {
        "POST /v1/session" if r.json()["password"] == "old hunter phrase" => {
            Reply::Json(201, vec![], json!({"token": "session-1", "csrf": "c", "expires_at": "2099-01-01T00:00:00Z", "must_change_password": true}))
        }
        "POST /v1/session" => problem(401, "unauthenticated", "Name or password is wrong."),
        "PUT /v1/session/password" | "DELETE /v1/session" => Reply::Json(204, vec![], json!(null)),
        _ if r.header("authorization") != Some("Bearer session-1") => problem(401, "unauthenticated", "Who are you?"),
        _ => ok(
            json!({"id": "u", "name": "admin", "must_change_password": false, "grants": [{"role": "admin", "scope": {"scope": "all"}}], "privileges": ["vm_read"]}),
        ),
    }
}

#[test]
fn a_first_sign_in_changes_the_password_and_keeps_the_session() {
    let f = Fake::start(manager);
    let (old, new) = (f.file("old", "old hunter phrase\n"), f.file("new", "new hunter phrase\n"));
    let args = [
        "login",
        "--url",
        &f.url,
        "--user",
        "admin",
        "--password-file",
        old.to_str().expect("a path"),
        "--new-password-file",
        new.to_str().expect("a path"),
        "--debug",
    ];
    let run = f.run_bare(&args).expect(0);
    assert_eq!(run.out, "signed in as admin (context default)\n");
    assert!(!run.err.contains("hunter"), "{}", run.err);
    assert_eq!(f.of("PUT /v1/session/password")[0].json(), json!({"current": "old hunter phrase", "new": "new hunter phrase"}));
    assert_eq!(f.of("PUT /v1/session/password")[0].header("authorization"), Some("Bearer session-1"));
    assert_eq!(mode(&f.path("config.toml")), 0o600);
    let run = f.run_bare(&["whoami"]).expect(0);
    assert!(run.out.contains("admin@all"), "{}", run.out);
    let run = f.run_bare(&["context", "list", "-o", "json"]).expect(0);
    assert_eq!((&run.json()[0]["current"], &run.json()[0]["user"]), (&json!(true), &json!("admin")));
    assert!(!run.out.contains("session-1"));
    f.run_bare(&["logout"]).expect(0);
    assert_eq!(f.of("DELETE /v1/session").len(), 1);
    assert!(!std::fs::read_to_string(f.path("config.toml")).expect("read").contains("session-1"));
    f.run_bare(&["whoami"]).expect(5);
    f.run_bare(&["logout"]).expect(3);
}

#[test]
fn a_wrong_password_is_not_permitted_and_leaves_nothing() {
    let f = Fake::start(manager);
    let wrong = f.file("wrong", "no\n");
    let run = f.run_bare(&["login", "--url", &f.url, "--user", "admin", "--password-file", wrong.to_str().expect("a path")]).expect(5);
    assert_eq!(run.err, "error: Name or password is wrong.\nrequest id: r-1\n");
    assert!(!f.path("config.toml").exists());
    f.run_bare(&["login", "--url", &f.url, "--user", "admin"]).expect(2);
}

#[test]
fn the_ca_is_pinned_by_its_fingerprint() {
    let Tls { config, ca_sha256: sha256, .. } = tls();
    let f = Fake::start_tls(config, manager);
    let (old, new) = (f.file("old", "old hunter phrase\n"), f.file("new", "new hunter phrase\n"));
    let login = |more: &[&str]| {
        let mut args = vec!["login", "--url", &f.url, "--user", "admin", "--password-file", old.to_str().expect("a path")];
        args.extend(["--new-password-file", new.to_str().expect("a path")]);
        args.extend(more);
        f.run_bare(&args)
    };
    let run = login(&[]).expect(2);
    assert!(run.err.contains(&format!("--fingerprint {sha256}")), "{}", run.err);
    assert!(login(&["--fingerprint", &"ab".repeat(32)]).expect(5).err.contains(&sha256));
    assert!(f.log().is_empty(), "no password before the certificate is trusted");
    login(&["--fingerprint", &sha256]).expect(0);
    f.run_bare(&["whoami"]).expect(0);
    assert!(std::fs::read_to_string(f.path("config.toml")).expect("read").contains("BEGIN CERTIFICATE"));
    // Another server at the same address, with certificates of another CA.
    let g = Fake::start_tls(tls().config, manager);
    let text = std::fs::read_to_string(f.path("config.toml")).expect("read").replace(&f.url, &g.url);
    std::fs::write(f.path("config.toml"), text).expect("written");
    assert!(f.run_bare(&["whoami"]).expect(6).err.contains("certificate"));
    assert!(g.log().is_empty(), "the token was not shown to it");
}

#[test]
fn a_ca_file_and_a_single_pinned_certificate() {
    let Tls { config, ca_pem: ca, leaf_sha256, .. } = tls();
    let f = Fake::start_tls(config, manager);
    let file = f.file("ca.pem", &ca);
    let token = f.file("t", "session-1\n");
    f.run_bare(&["context", "add", "lab", "--url", &f.url, "--ca", file.to_str().expect("a path"), "--token-file", token.to_str().expect("a path")]).expect(0);
    f.run_bare(&["whoami"]).expect(0);
    f.run_bare(&["context", "add", "pin", "--url", &f.url, "--fingerprint", &leaf_sha256, "--token-file", token.to_str().expect("a path")]).expect(0);
    f.run_bare(&["whoami", "--context", "pin"]).expect(0);
    f.run_bare(&["context", "add", "pin", "--url", &f.url, "--fingerprint", &"cd".repeat(32), "--token-file", token.to_str().expect("a path")]).expect(0);
    f.run_bare(&["whoami", "--context", "pin"]).expect(6);
    f.run_bare(&["context", "use", "pin"]).expect(0);
    f.run_bare(&["whoami"]).expect(6);
    f.run_bare(&["context", "remove", "pin"]).expect(0);
    f.run_bare(&["context", "use", "pin"]).expect(3);
}
