//! The program against a server that answers like a manager: what is sent, what is printed, and the exit codes.

mod fake;

use fake::*;
use serde_json::json;
use std::io::{BufRead, BufReader, Read, Write};

#[test]
fn lists_fetch_all_pages_and_print_what_the_api_sent() {
    let f = Fake::start(|r, _| match r.path.contains("page_token=next") {
        true => ok(json!({"items": [vm("b")]})),
        false => ok(json!({"items": [vm("a")], "next_page": "next"})),
    });
    let run = f.run(&["vm", "list", "-o", "json", "--filter", "state = running", "--sort", "-name", "-l", "env=prod"]).expect(0);
    assert_eq!(run.json(), json!([vm("a"), vm("b")]), "also fields that this client does not know");
    let first = &f.log()[0];
    assert_eq!(first.header("authorization"), Some("Bearer secret-token"));
    assert!(first.path.contains("sort=-name") && first.path.contains("limit=1000"), "{}", first.path);
    assert!(first.path.contains("label.env"), "{}", first.path);
    let run = f.run(&["list", "-c", "name,ip"]).expect(0);
    assert_eq!(run.out, "NAME  IP\na     192.168.200.10\nb     192.168.200.10\n");
    assert_eq!(f.run(&["vms", "list", "-o", "name", "--limit", "1"]).expect(0).out, "a\n");
    assert_eq!(f.run(&["vm", "show", "a", "-c", "field_of_the_future.x.0", "-o", "csv", "--no-headers"]).code, 0);
}

#[test]
fn problems_become_messages_and_exit_codes() {
    let f = Fake::start(|r, _| match r.path.as_str() {
        "/v1/vms/no" => problem(404, "not_found", "There is no VM no."),
        "/v1/vms/locked" => problem(423, "locked", "A task works on it."),
        "/v1/vms/who" => problem(401, "unauthenticated", "Who are you?"),
        "/v1/vms/may" => problem(403, "forbidden", "You may not."),
        "/v1/vms/broken" => Reply::Bytes(500, "text/plain", b"oops".to_vec()),
        _ => Reply::Bytes(200, "text/html", b"<html>".to_vec()),
    });
    let run = f.run(&["vm", "show", "no"]).expect(3);
    assert_eq!((run.out.as_str(), run.err.as_str()), ("", "error: There is no VM no.\nrequest id: r-1\n"));
    assert!(f.run(&["vm", "show", "locked"]).expect(4).err.contains("virga task"));
    assert!(f.run(&["vm", "show", "who"]).expect(5).err.contains("virga login"));
    f.run(&["vm", "show", "may"]).expect(5);
    f.run(&["vm", "show", "broken"]).expect(1);
    assert!(f.run(&["vm", "show", "html"]).expect(1).err.contains("not the API's"));
    f.run(&["vm", "show"]).expect(2);
    f.run(&["vm", "shwo", "x"]).expect(2);
    assert!(f.run_bare(&["vm", "list"]).expect(2).err.contains("virga login"));
    let run = f.run_with(&["vm", "list", "--url", "http://127.0.0.1:1"], b"", &[]).expect(6);
    assert!(run.err.starts_with("error: the manager cannot be reached"), "{}", run.err);
}

#[test]
fn a_change_waits_with_progress_on_stderr() {
    let f = Fake::start(|r, n| match r.line().as_str() {
        "POST /v1/vms" => accepted("vm_create"),
        _ => ok(task("vm_create", if n == 0 { "running" } else { "succeeded" })),
    });
    let run = f.run(&["vm", "create", "web-1", "--image", "tiny", "--memory", "256MiB", "--network", "nat", "--start"]).expect(0);
    assert_eq!(run.out, "vm web-1 made and started (2.5s)\n");
    assert!(run.err.contains("vm_create web-1: running 25 % - copying\n"), "{}", run.err);
    assert!(run.err.contains("note: set the CPU model - at the next start: it runs\n"), "{}", run.err);
    let post = &f.of("POST /v1/vms")[0];
    assert_eq!(post.json()["memory_bytes"], 268435456);
    assert!(post.header("idempotency-key").is_some_and(|k| k.len() == 36), "{post:?}");
    assert!(f.of(&task_path())[0].path.ends_with("?wait=2"));
    let run = f.run(&["vm", "create", "web-1", "--image", "tiny", "-o", "json"]).expect(0);
    assert_eq!(run.json()["task"]["state"], "succeeded");
    let keys: Vec<Option<String>> = f.of("POST /v1/vms").iter().map(|r| r.header("idempotency-key").map(String::from)).collect();
    assert_ne!(keys[0], keys[1]);
}

#[test]
fn no_wait_dry_run_and_time_limits() {
    let f = Fake::start(|r, _| if r.method == "POST" { accepted("vm_start") } else { ok(task("vm_start", "running")) });
    assert_eq!(f.run(&["vm", "start", "web-1", "--no-wait"]).expect(0).out, format!("{TASK}\n"));
    let run = f.run(&["vm", "start", "web-1", "--dry-run"]).expect(0);
    assert_eq!(run.out, "vm web-1:\n  1. place it\n  2. set the CPU model - at the next start: it runs\n");
    assert!(f.log().iter().any(|r| r.path == "/v1/vms/web-1/power?dry_run=true"));
    assert!(f.of(&task_path()).is_empty());
    let run = f.run(&["vm", "start", "web-1", "--wait-timeout", "0s"]).expect(8);
    assert!(run.err.contains(&format!("virga task wait {TASK}")), "{}", run.err);
}

#[test]
fn a_failed_task_tells_why_for_each_host() {
    let f = Fake::start(|r, _| match r.method.as_str() {
        "POST" => accepted("vm_start"),
        _ => {
            let mut t = task("vm_start", "failed");
            t["error"] = json!({"type": "x", "title": "t", "status": 507, "code": "no_capacity", "detail": "No host can take it.", "hint": "Add memory.",
                "refusals": [{"host": "h", "host_name": "host-1", "reasons": [{"reason": "maintenance"}]}]});
            ok(t)
        }
    });
    let run = f.run(&["start", "web-1"]).expect(7);
    assert!(run.err.ends_with("error: vm_start web-1 failed: No host can take it.\n  host-1  the host is in maintenance\nhint: Add memory.\n"), "{}", run.err);
}

/// A server that was asked to wait for the end of a task answers late.
fn wait_like_a_server_asked_to() {
    std::thread::sleep(std::time::Duration::from_millis(300));
}

#[test]
fn ctrl_c_detaches_and_says_how_to_go_on() {
    let f = Fake::start(|r, _| {
        if r.method == "POST" {
            return accepted("vm_start");
        }
        wait_like_a_server_asked_to();
        ok(task("vm_start", "running"))
    });
    let mut child = f.spawn(&["vm", "start", "web-1"]);
    let mut err = BufReader::new(child.stderr.take().expect("stderr"));
    let mut text = String::new();
    err.read_line(&mut text).expect("progress");
    assert!(text.contains("vm_start web-1: running"), "{text}");
    let id = rustix::process::Pid::from_raw(child.id() as i32).expect("an id");
    rustix::process::kill_process(id, rustix::process::Signal::INT).expect("interrupted");
    err.read_to_string(&mut text).expect("the rest");
    assert_eq!(child.wait().expect("an end").code(), Some(130), "{text}");
    assert!(text.contains(&format!("virga task wait {TASK}")), "{text}");
}

#[test]
fn what_loses_data_needs_consent() {
    let f = Fake::start(|r, _| if r.method == "GET" { ok(task("vm_delete", "succeeded")) } else { accepted("vm_delete") });
    for args in
        [&["vm", "delete", "web-1"][..], &["vm", "stop", "web-1", "--force"], &["vm", "reset", "web-1"], &["image", "delete", "i"], &["host", "delete", "h"]]
    {
        let run = f.run(args).expect(2);
        assert!(run.err.contains("--yes"), "{}", run.err);
    }
    assert!(f.log().is_empty());
    f.run(&["vm", "delete", "web-1", "--force", "--yes"]).expect(0);
    assert_eq!(f.log()[0].path, "/v1/vms/web-1?force=true");
    f.run(&["vm", "stop", "web-1", "--force", "-y"]).expect(0);
    assert_eq!(f.of("POST /v1/vms/web-1/power")[0].json(), json!({"action": "force_off", "then_force": false}));
    f.run(&["vm", "stop", "web-1", "--timeout", "5m", "--then-force"]).expect(0);
    assert_eq!(f.of("POST /v1/vms/web-1/power")[1].json(), json!({"action": "shutdown", "timeout_s": 300, "then_force": true}));
}

#[test]
fn many_vms_are_one_batch_with_a_summary() {
    let f = Fake::start(|r, _| match r.line().as_str() {
        "GET /v1/vms" => ok(json!({"items": [{"id": "i1", "name": "a"}, {"id": "i2", "name": "b"}, {"id": "i3", "name": "c"}]})),
        "POST /v1/vm-batches" => {
            let refused = json!([{"vm": r.json()["vms"][1], "problem": {"status": 409, "code": "conflict", "title": "t", "type": "x", "detail": "It runs."}}]);
            Reply::Json(202, vec![], json!({"task": task("vm_batch", "queued"), "accepted": [], "refused": refused}))
        }
        "GET /v1/tasks" => {
            let mut t = task("vm_start", "failed");
            t["object"]["name"] = "c".into();
            t["error"] = json!({"detail": "QEMU said no.", "status": 500});
            ok(json!({"items": [t]}))
        }
        _ => ok(task("vm_batch", "failed")),
    });
    let run = f.run_with(&["vm", "start", "-"], b"a b\nc\n", &[]).expect(1);
    assert_eq!(run.out, "1 of 3 VMs started\n");
    assert!(run.err.ends_with("error: 2 of 3 VMs were not started\n  b  It runs.\n  c  vm_start c failed: QEMU said no.\n"), "{}", run.err);
    assert_eq!(f.of("POST /v1/vm-batches")[0].json()["vms"], json!(["a", "b", "c"]));
    f.run(&["vm", "stop", "--all"]).expect(1);
    assert_eq!(f.of("POST /v1/vm-batches")[1].json()["vms"], json!(["i1", "i2", "i3"]));
}

#[test]
fn vm_wait_prints_the_address() {
    let f = Fake::start(|r, n| {
        let mut v = vm("web-1");
        if n == 0 || r.path.ends_with("never") {
            v["observed"]["guest"] = json!({"agent": "not_running"});
        }
        ok(v)
    });
    assert_eq!(f.run(&["vm", "wait", "web-1", "--for", "ip", "--timeout", "30s"]).expect(0).out, "192.168.200.10\n");
    let run = f.run(&["vm", "wait", "never", "--for", "ip", "--timeout", "0s"]).expect(8);
    assert!(run.err.contains("qemu-guest-agent"), "{}", run.err);
}

#[test]
fn events_go_on_after_a_broken_connection() {
    let event = |id: u64| {
        let e = json!({"id": id, "at": "2026-01-01T00:00:00Z", "kind": "vm.state_changed", "severity": "info", "object": {"kind": "vm", "id": "i", "name": "a"}, "message": "m"});
        format!(": hello\n\nid: {id}\nevent: vm.state_changed\ndata: {e}\n\n")
    };
    let f = Fake::start(move |_, n| Reply::Bytes(200, "text/event-stream", event(5 + n as u64).into_bytes()));
    let run = f.run(&["event", "watch", "--since", "4", "--count", "2", "-o", "json"]).expect(0);
    let ids: Vec<i64> = run.out.lines().map(|l| serde_json::from_str::<serde_json::Value>(l).expect("JSON")["id"].as_i64().expect("an id")).collect();
    assert_eq!(ids, [5, 6]);
    let log = f.log();
    assert!(log[0].path.ends_with("?since=4") && log[0].header("last-event-id").is_none());
    assert_eq!(log[1].header("last-event-id"), Some("5"));
}

#[test]
fn an_image_is_uploaded_with_its_checksum_and_removed_when_refused() {
    let f = Fake::start(|r, n| match (r.method.as_str(), n) {
        ("POST", _) => Reply::Json(201, vec![], json!({"id": "im-1", "name": "tiny", "state": "empty"})),
        ("PUT", 0) => ok(json!({"id": "im-1", "name": "tiny", "state": "ready", "size_bytes": r.body.len()})),
        ("PUT", _) => problem(422, "invalid", "The image has a backing file."),
        _ => Reply::Json(202, vec![], json!({"object": {"kind": "image", "id": "im-1", "name": "tiny"}})),
    });
    let content = "0123456789".repeat(300_000);
    let file = f.file("tiny.qcow2", &content);
    let path = file.to_str().expect("a path");
    let run = f.run(&["image", "import", "tiny", path]).expect(0);
    assert_eq!(run.out, "image tiny imported\n");
    let put = &f.of("PUT /v1/images/im-1/content")[0];
    assert_eq!(put.body, content.as_bytes());
    let sha256 = hex::encode(<sha2::Sha256 as sha2::Digest>::digest(content.as_bytes()));
    assert!(put.path.ends_with(&format!("sha256={sha256}")), "{}", put.path);
    let run = f.run(&["image", "import", "tiny", path]).expect(1);
    assert!(run.err.contains("image tiny removed again") && run.err.contains("backing file"), "{}", run.err);
    assert_eq!(f.of("DELETE /v1/images/im-1").len(), 1);
    f.run(&["image", "import", "tiny", "/nonexistent"]).expect(1);
    assert_eq!(f.of("POST /v1/images").len(), 2, "nothing is made for a file that cannot be read");
}

#[test]
fn an_upload_goes_on_where_it_broke_off() {
    let image = json!({"id": "00000000-0000-4000-8000-000000000001", "name": "tiny", "state": "empty", "size_bytes": 0, "virtual_bytes": 0,
        "sha256": "", "generation": 1, "created_at": "2026-01-01T00:00:00Z", "arrived_bytes": 1_000_001});
    let f = Fake::start(move |r, _| match r.method.as_str() {
        "GET" => ok(image.clone()),
        _ => ok(json!({"id": "im-1", "name": "tiny", "state": "ready", "size_bytes": r.body.len()})),
    });
    let content = "0123456789".repeat(300_000);
    let file = f.file("tiny.qcow2", &content);
    f.run(&["image", "upload", "tiny", file.to_str().expect("a path")]).expect(0);
    let put = &f.of("PUT /v1/images/tiny/content")[0];
    assert!(put.path.contains("offset=1000001") && put.path.contains("sha256="), "{}", put.path);
    assert_eq!(put.body, content.as_bytes()[1_000_001..]);
}

fn export() -> serde_json::Value {
    json!({"id": "0198f4c2-0000-7000-8000-000000000009", "disk_format": "vmdk", "made_at": "2026-01-01T00:00:00Z", "state": "ready", "size_bytes": 1})
}

#[test]
fn a_download_goes_on_where_it_broke_off_and_is_checked_before_it_counts() {
    let package = virga_tests::images::ova::vmware();
    let (whole, half) = (package.clone(), package.len() / 2);
    let f = Fake::start(move |r, n| {
        let head = |from: usize| vec![("etag", "\"one\"".to_string()), ("content-length", (whole.len() - from).to_string())];
        match (r.line().as_str(), n) {
            ("GET /v1/vms/web-1", _) => ok(vm("web-1")),
            ("GET /v1/vms/web-1/export", _) => ok(export()),
            (line, 0) if line.ends_with("/export/content") => Reply::Part(200, head(0), whole[..half].to_vec()),
            (line, _) if line.ends_with("/export/content") => {
                let range = format!("bytes {half}-{}/{}", whole.len() - 1, whole.len());
                let headers = head(half).into_iter().chain([("content-range", range)]).collect();
                Reply::Part(206, headers, whole[half..].to_vec())
            }
            _ => problem(404, "not_found", "no such thing"),
        }
    });
    let file = f.path("web-1.ova");
    let text = file.to_str().expect("a path").to_string();
    f.run(&["vm", "export", "web-1", &text, "--take", "--keep"]).expect(0);
    assert_eq!(std::fs::read(&file).expect("the package"), package);
    let asked: Vec<_> = f.log().into_iter().filter(|r| r.line().ends_with("/export/content")).collect();
    assert_eq!((asked[0].header("range"), asked.len()), (None, 2));
    assert_eq!(asked[1].header("range").map(str::to_string), Some(format!("bytes={half}-")));
    assert_eq!(asked[1].header("if-range"), Some("\"one\""));
    assert!(!f.path("web-1.ova.part").exists() && !f.path("web-1.ova.part.etag").exists());
    // What is there already is never written over, and nothing is asked for.
    let before = f.log().len();
    f.run(&["vm", "export", "web-1", &text, "--take"]).expect(2);
    assert_eq!(f.log().len(), before);
}

#[test]
fn a_package_that_arrived_damaged_is_not_kept() {
    let mut package = virga_tests::images::ova::vmware();
    let at = package.len() - 3000;
    package[at] ^= 1;
    let f = Fake::start(move |r, _| match r.line().ends_with("/export/content") {
        true => Reply::Part(200, vec![("content-length", package.len().to_string())], package.clone()),
        false if r.line().ends_with("/export") => ok(export()),
        false => ok(vm("web-1")),
    });
    let folder = f.path("out");
    f.run(&["vm", "export", "web-1", folder.to_str().expect("a path"), "--format", "ovf", "--take", "--keep"]).expect(1);
    let left: Vec<_> =
        std::fs::read_dir(f.dir.path()).expect("the folder").flatten().map(|e| e.file_name()).filter(|n| n.to_string_lossy().starts_with("out")).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn an_edit_sends_only_the_change_and_is_refused_when_somebody_was_faster() {
    let f = Fake::start(|r, n| match (r.method.as_str(), n) {
        ("GET", _) if r.path.starts_with("/v1/tasks") => ok(task("vm_edit", "succeeded")),
        ("GET", _) => Reply::Json(200, vec![("etag", "\"7\"".into())], vm("web-1")),
        (_, 0) => accepted("vm_edit"),
        _ => problem(412, "precondition_failed", "Somebody else changed it."),
    });
    let sed = "sed -i 's/cpus: 2/cpus: 4/'";
    f.run_with(&["vm", "edit", "web-1"], b"", &[("EDITOR", sed), ("VISUAL", "")]).expect(0);
    let patch = &f.of("PATCH /v1/vms/web-1")[0];
    assert_eq!((patch.json(), patch.header("if-match")), (json!({"cpus": 4}), Some("\"7\"")));
    let run = f.run_with(&["vm", "edit", "web-1"], b"", &[("EDITOR", sed), ("VISUAL", "")]).expect(4);
    let kept = run.err.split_whitespace().find(|w| w.ends_with(".yaml")).expect("a file");
    assert!(std::fs::read_to_string(kept).expect("kept").contains("cpus: 4"), "{}", run.err);
    std::fs::remove_file(kept).expect("removed");
    let run = f.run_with(&["vm", "edit", "web-1"], b"", &[("EDITOR", "true"), ("VISUAL", "")]).expect(0);
    assert!(run.err.contains("nothing was changed"));
}

#[test]
fn labels_are_merged_and_guarded_by_the_etag() {
    let f = Fake::start(|r, _| match r.method.as_str() {
        "GET" if r.path.starts_with("/v1/tasks") => ok(task("vm_edit", "succeeded")),
        "GET" => ok(vm("web-1")),
        _ => accepted("vm_edit"),
    });
    f.run(&["vm", "update", "web-1", "--label", "tier=gold"]).expect(0);
    let patch = &f.of("PATCH /v1/vms/web-1")[0];
    assert_eq!((patch.json(), patch.header("if-match")), (json!({"labels": {"env": "prod", "tier": "gold"}}), Some("\"7\"")));
}

#[test]
fn the_serial_console_works_in_pipes() {
    let f = Fake::start(|r, _| match r.method.as_str() {
        "POST" => Reply::Json(201, vec![], json!({"path": "/v1/consoles/ticket-1", "expires_at": "2026-01-01T00:00:00Z"})),
        _ => Reply::Echo("login: "),
    });
    let run = f.run_with(&["vm", "console", "web-1"], b"root\n\x1d", &[]).expect(0);
    assert_eq!(run.out, "login: root\n\x1d", "in a pipe every byte goes through");
    assert_eq!(f.of("POST /v1/vms/web-1/consoles")[0].json(), json!({"kind": "serial"}));
    assert_eq!(f.of("GET /v1/consoles/ticket-1").len(), 1);
    let run = f.run_with(&["console", "web-1", "--linger", "0"], b"bye\n", &[]).expect(0);
    assert_eq!(run.out, "login: ", "the guest's end is the end");
}

#[test]
fn vnc_is_a_local_port() {
    let f = Fake::start(|r, _| match r.method.as_str() {
        "POST" => Reply::Json(201, vec![], json!({"path": "/v1/consoles/ticket-1", "expires_at": "2026-01-01T00:00:00Z"})),
        _ if r.path.starts_with("/v1/vms") => ok(vm("web-1")),
        _ => Reply::Echo("RFB 003.008\n"),
    });
    let mut child = f.spawn(&["vm", "vnc", "web-1", "--once"]);
    let mut address = String::new();
    BufReader::new(child.stdout.take().expect("stdout")).read_line(&mut address).expect("an address");
    let mut viewer = std::net::TcpStream::connect(address.trim()).expect("connected");
    let mut hello = [0; 12];
    viewer.read_exact(&mut hello).expect("a greeting");
    assert_eq!(&hello, b"RFB 003.008\n");
    viewer.write_all(b"abc").expect("sent");
    let mut back = [0; 3];
    viewer.read_exact(&mut back).expect("an echo");
    assert_eq!(&back, b"abc");
    drop(viewer);
    assert_eq!(child.wait().expect("an end").code(), Some(0));
    assert_eq!(f.of("POST /v1/vms/web-1/consoles")[0].json(), json!({"kind": "vnc"}));
}

#[test]
fn screenshots_and_other_bytes() {
    let f = Fake::start(|r, _| match r.path.as_str() {
        "/v1/vms/web-1/screenshot" => Reply::Bytes(200, "image/png", b"\x89PNG".to_vec()),
        "/metrics" => Reply::Bytes(200, "text/plain", b"virga_vms 3\n".to_vec()),
        _ => problem(409, "conflict", "It does not run."),
    });
    let file = f.path("s.png");
    f.run(&["vm", "screenshot", "web-1", "-O", file.to_str().expect("a path")]).expect(0);
    assert_eq!(std::fs::read(file).expect("written"), b"\x89PNG");
    assert!(f.run(&["vm", "screenshot", "off"]).expect(4).err.contains("It does not run."));
    assert_eq!(f.run(&["system", "metrics"]).expect(0).out, "virga_vms 3\n");
    assert_eq!(f.run(&["api", "get", "metrics"]).expect(0).out, "virga_vms 3\n");
}

#[test]
fn a_busy_manager_is_given_time() {
    let f = Fake::start(|_, n| match n {
        0 => Reply::Json(429, vec![("retry-after", "0".into())], json!({"status": 429, "code": "too_many", "detail": "Slower."})),
        _ => ok(vm("web-1")),
    });
    f.run(&["vm", "show", "web-1"]).expect(0);
    assert_eq!(f.log().len(), 2);
}

#[test]
fn join_files_and_tokens_are_secret() {
    let f = Fake::start(|r, _| match r.path.as_str() {
        "/v1/host-join-tokens" => Reply::Json(201, vec![], json!({"join_file": "{\"secret\":\"j-1\"}", "expires_at": "2026-01-01T01:00:00Z"})),
        "/v1/hosts/h1" => ok(json!({"id": "00000000-0000-7000-8000-000000000009", "name": "h1"})),
        _ => Reply::Json(201, vec![], json!({"token": {"id": "t-1", "name": "ci", "expires_at": "2026-02-01T00:00:00Z"}, "secret": "s-1"})),
    });
    let join = f.path("host-2.join");
    let run = f.run(&["host", "join-token", "--name", "host-2", "--valid", "30m", "--out", join.to_str().expect("a path")]).expect(0);
    assert_eq!((mode(&join), std::fs::read_to_string(&join).expect("written").as_str()), (0o600, "{\"secret\":\"j-1\"}\n"));
    assert!(run.err.contains("virga-agent run --join-file host-2.join") && !run.err.contains("j-1"));
    assert_eq!(f.log()[0].json(), json!({"host_name": "host-2", "valid_s": 1800}));
    f.run(&["host", "join-token", "--name", "host-2", "--out", join.to_str().expect("a path")]).expect(2);
    let token = f.path("ci.token");
    let run = f.run(&["token", "create", "ci", "--valid", "30d", "--role", "user", "--scope", "host:h1", "--out", token.to_str().expect("a path")]).expect(0);
    assert_eq!((mode(&token), run.out.as_str()), (0o600, "t-1\n"));
    let want = json!({"name": "ci", "valid_s": 2592000, "role": "user", "scope": {"scope": "host", "id": "00000000-0000-7000-8000-000000000009"}});
    assert_eq!(f.of("POST /v1/tokens")[0].json(), want);
}

#[test]
fn every_operation_of_the_api_can_be_reached() {
    let doc: serde_json::Value = serde_json::from_str(include_str!("../../../openapi/v1.json")).expect("JSON");
    let mut source = String::new();
    let mut folders = vec![std::path::PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it")).join("src")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("the source").flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else {
                source.push_str(&std::fs::read_to_string(path).expect("the source"));
            }
        }
    }
    for operation in doc["paths"].as_object().expect("paths").values().flat_map(|p| p.as_object().expect("methods").values()) {
        let id = operation["operationId"].as_str().expect("an operation");
        // The page of documentation is for browsers; `virga api GET /docs` shows it. The export is a stream, not JSON.
        let streamed =
            [("audit_export", "/v1/audit/export"), ("vm_export_content", "/export/content")].iter().any(|(o, path)| *o == id && source.contains(path));
        let called = source.contains(&format!(".{id}()"))
            || ["page!({id})", "page!({id},"].iter().any(|p| source.contains(&p.replace("{id}", id)))
            || streamed
            || id == "docs";
        assert!(called, "nothing calls {id}");
    }
}
